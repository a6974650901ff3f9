"""Keeps analytics level with the journal: behind the acknowledgement, a slice at a time, at most a second later.

A need that is in memory can still change (a challenge, a decision that loses): its tally is taken away and added anew.
What a checkpoint closed stays as it is: its tally goes into sums on disk for good, once, in the order of the journal's
index of closed needs, whose last row that is counted is kept with the sums.
"""

import logging
import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import trio
from swarmd.node.analytics.store import FILE, Store
from swarmd.node.analytics.tally import HOUR_S, Tally, Totals, tally_of
from swarmd.node.runner import Runner
from swarmd.node.telemetry.metrics import MAX_LABEL_VALUES, OTHER, SLOW_S, Timings
from swarmd.protocol.amounts import parse_usdc
from swarmd.protocol.cbor import decode
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.limits import S_NS
from swarmd.protocol.work.need_states import ENDS

log = logging.getLogger("swarmd.analytics")

INTERVAL_S: Final = 1.0
SLICE: Final = 64  # needs between two looks at the loop
SWEEP: Final = 512  # open needs looked at each time, whoever said nothing: deadlines pass in silence
CLOSED_PAGE: Final = 256
_OUTCOMES: Final = {"released": "FINALIZED", "refunded": "REFUNDED", "expired": "EXPIRED"}


class Since:
    """What ended since this daemon began: counts that only grow, as metrics want them. Amounts in minor units."""

    def __init__(self) -> None:
        self.opened = 0
        self.ended: Counter[str] = Counter()
        self.flows: Counter[str] = Counter()
        self.tasks: Counter[tuple[str, str]] = Counter()  # (capability, accepted | failed)
        self._capabilities: set[str] = set()
        self.decide_s = Timings(SLOW_S)
        self.finalize_s = Timings(SLOW_S)

    def add(self, tally: Tally) -> None:
        self.ended[tally.state.lower()] += 1
        self.flows["promised"] += tally.budget
        self.flows["paid"] += tally.paid
        self.flows["returned"] += tally.budget - tally.paid
        for each in tally.tasks:
            # Names of strangers' choosing: the first so many have their own count.
            known = each.capability in self._capabilities or len(self._capabilities) < MAX_LABEL_VALUES
            name = each.capability if known else OTHER
            self._capabilities.add(name)
            self.tasks[name, "accepted"] += each.accepted
            self.tasks[name, "failed"] += each.failed
        for timings, value_ms in ((self.decide_s, tally.decide_ms), (self.finalize_s, tally.finalize_ms)):
            if value_ms is not None:
                timings.add(value_ms / 1e3)


class Analytics:
    """`level` once everything that was in memory at the start is counted."""

    def __init__(self, home: Path, runner: Runner) -> None:
        self._runner = runner
        self._store = Store(home / FILE, f"{runner.me} {runner.genesis.mesh_name}")
        self._closed = self._store.totals
        self._cursor = self._store.cursor
        self._live: dict[str, Tally] = {}
        self._sums = Totals()  # of `_live`
        self._open: dict[str, None] = {}  # of `_live`, those that have not ended
        self._merged: Totals | None = None
        self._dirty: dict[str, None] = dict.fromkeys(runner.state.needs)
        self._dirty_since_ns = runner.now_ns() if self._dirty else 0
        self._epoch = -1
        self._sweep: Iterator[str] = iter(())
        self._unsaved: dict[str, Tally] = {}
        self._counted: list[str] = []
        self._disk_trouble = False
        self._one_at_a_time = trio.Lock()
        self.since = Since()
        self.level = not self._dirty
        if self._cursor > self._last_closed():
            log.warning("the journal is older than what analytics counted of it; counting anew")
            self._closed, self._cursor, self._counted = Totals(), 0, list(self._store.ended)
        runner.watchers.append(self._mark)

    def close(self) -> None:
        self._store.close()

    def behind_s(self) -> float:
        """How long something has been on disk that is not counted; 0.0: level."""
        return max(0.0, (self._runner.now_ns() - self._dirty_since_ns) / S_NS) if self._dirty else 0.0

    def totals(self) -> Totals:
        """Everything that is counted, of needs in memory and of closed ones."""
        if self._merged is None:
            self._merged = self._closed.merged(self._sums)
        return self._merged

    def _mark(self, envelope: Envelope) -> None:
        # All that the hot path pays.
        if not self._dirty:
            self._dirty_since_ns = self._runner.now_ns()
        self._dirty[envelope.thread] = None

    # The task ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await self.catch_up()
            await trio.sleep(INTERVAL_S)

    async def catch_up(self) -> None:
        """Count what moved. Yields to the loop every few needs, and writes from a thread."""
        async with self._one_at_a_time:
            await self._catch_up()

    async def _catch_up(self) -> None:
        await self._take_closed()
        taken, since_ns = self._dirty, self._runner.now_ns()
        self._dirty = {}
        names = [*taken, *self._next_to_sweep()]
        for start in range(0, len(names), SLICE):
            for name in names[start : start + SLICE]:
                self._count(name)
            await trio.lowlevel.checkpoint()
        self.level = True
        if self._dirty:
            self._dirty_since_ns = since_ns
        await self._save()

    def _next_to_sweep(self) -> list[str]:
        found = list(islice(self._sweep, SWEEP))
        if len(found) < SWEEP:
            self._sweep = iter(list(self._open))
        return found

    def _count(self, name: str) -> None:
        state = self._runner.state
        need = state.needs.get(name)
        if need is None:
            return  # closed, or of another thread than a need's
        old, new = self._live.get(name), tally_of(state, need)
        if new == old:
            return
        if old is not None:
            self._sums.add(old, -1)
        self._sums.add(new)
        self._live[name] = new
        self._merged = None
        if new.ended:
            self._unsaved[name] = new
            self._open.pop(name, None)
        else:
            self._open[name] = None
        if self.level:
            self.since.opened += old is None
            if new.ended and (old is None or not old.ended):
                self.since.add(new)

    # Checkpoints ---------------------------------------------------------------------------------------

    def _last_closed(self) -> int:
        row = self._runner.journal.db.execute("select max(rowid) from closed").fetchone()
        return int(row[0] or 0)

    async def _take_closed(self) -> None:
        """After a checkpoint: what it closed goes into the sums of the closed, for good."""
        epoch = self._runner.state.epoch
        if epoch == self._epoch:
            return
        while page := self._closed_page():
            for row, name, outcome, shown in page:
                tally = self._live.get(name) or self._store.ended.get(name)
                self._closed.add(_final(tally, outcome, shown))
                self._forget(name)
                self._store.ended.pop(name, None)
                self._counted.append(name)
                self._cursor = row
            self._closed.bound()
            self._merged = None
            await trio.lowlevel.checkpoint()
        here = self._runner.state.needs
        for name in [each for each in (*self._live, *self._store.ended) if each not in here]:
            self._forget(name)  # it came to nothing: no checkpoint closed it, and it is not here
            self._store.ended.pop(name, None)
            self._counted.append(name)
        self._epoch = epoch

    def _closed_page(self) -> list[tuple[int, str, str, bytes | None]]:
        return self._runner.journal.db.execute(
            "select rowid, need, outcome, row from closed where rowid > ? order by rowid limit ?",
            (self._cursor, CLOSED_PAGE),
        ).fetchall()

    def _forget(self, name: str) -> None:
        tally = self._live.pop(name, None)
        if tally is not None:
            self._sums.add(tally, -1)
        self._unsaved.pop(name, None)
        self._open.pop(name, None)
        self._merged = None

    async def _save(self) -> None:
        if not (self._unsaved or self._counted or self._cursor != self._store.cursor):
            return
        ended, gone, cursor = self._unsaved, self._counted, self._cursor
        self._unsaved, self._counted = {}, []
        bodies = {name: tally.to_json() for name, tally in ended.items()}
        totals = self._closed.to_json()
        try:
            with trio.CancelScope(shield=True):  # short, and half of it would be lost
                await trio.to_thread.run_sync(self._store.save, totals, cursor, bodies, gone)
        except sqlite3.Error as error:
            if not self._disk_trouble:
                log.warning("analytics is not written and kept in memory for now: %s", error)
            self._disk_trouble = True
            self._unsaved = {**ended, **self._unsaved}
            self._counted = [*gone, *self._counted]
            return
        self._disk_trouble = False
        self._store.cursor = cursor


def _final(tally: Tally | None, outcome: str, shown: bytes | None) -> Tally:
    """What a closed need counts for: as it was counted, with what the checkpoint made of it.

    Of one that was never in memory here only the checkpoint's own line is known, or its outcome alone.
    """
    row: dict[str, Any] = decode(shown) if shown else {}
    state = _OUTCOMES.get(outcome, ENDS[-1])
    paid = _minor(row.get("paid"))
    if tally is None:
        hour = row.get("created_ns", 0) // (HOUR_S * S_NS)
        return Tally(state, row.get("owner", ""), hour, _minor(row.get("budget")), paid)
    fields = {name: getattr(tally, name) for name in Tally.__dataclass_fields__}
    return Tally(**{**fields, "state": state, "paid": paid if row else tally.paid})


def _minor(text: Any) -> int:
    try:
        return parse_usdc(text) if text else 0
    except LocalFault:
        return 0
