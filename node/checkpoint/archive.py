"""Needs that a checkpoint closed: found in the journal's index, brought back from their batches for who asks."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import trio
from swarmd.node import views
from swarmd.node.checkpoint.records import Records
from swarmd.node.journal import Journal
from swarmd.node.runner import Runner
from swarmd.protocol import engine
from swarmd.protocol.amounts import format_usdc
from swarmd.protocol.batch import reload_batch
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.checkpoint import settling
from swarmd.protocol.checkpoint.making import EXPIRED
from swarmd.protocol.checkpoint.snapshot import ClosedNeed
from swarmd.protocol.envelope import Envelope, bucket_of
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.inputs import Admitted
from swarmd.protocol.ledger.accounts import Account, Ledger
from swarmd.protocol.state import NOBODY, State
from swarmd.protocol.terms import Terms
from swarmd.protocol.work.facts import Closing
from swarmd.protocol.work.need import Need

MAX_ROW = (1 << 63) - 1
LINES_AT_ONCE = 64  # some milliseconds
LAPSED = "nobody paid for it: its owner's account did not cover the budget"
_STATES = {"released": "FINALIZED", "refunded": "REFUNDED", "expired": "EXPIRED"}


class Archive:
    def __init__(self, runner: Runner, journal: Journal, records: Records) -> None:
        self._runner = runner
        self._records = records
        self._journal = journal
        self._db = journal.db
        # By need, of a checkpoint that is about to close them: the need, how much had been heard of it, its line.
        self._lines: dict[str, tuple[Need, int, bytes]] = {}

    def find(self, text: str) -> str | None:
        """A closed need by its id, or by a beginning of it that no other closed one has."""
        exact = self._db.execute("select need from closed where need = ?", (text,)).fetchone()
        if exact is not None:
            return str(exact[0])
        if len(text) < 4:
            return None
        names = (text, text if text.startswith("need-") else "need-" + text)
        found = self._db.execute(
            "select need from closed where substr(need, 1, ?) = ? or substr(need, 1, ?) = ? limit 2",
            (len(names[0]), names[0], len(names[1]), names[1]),
        ).fetchall()
        return str(found[0][0]) if len(found) == 1 else None

    def count(self, state: str | None = None) -> int:
        wanted = self._outcomes(state)
        marks = ",".join("?" * len(wanted))
        row = self._db.execute(f"select count(*) from closed where outcome in ({marks})", wanted).fetchone()
        return int(row[0])

    def rows(
        self, state: str | None, limit: int, below: int = MAX_ROW, offset: int = 0
    ) -> list[tuple[int, dict[str, Any]]]:
        """Lines of `need list` with their row's number, what closed last first, from rows below `below` and without
        the first `offset`; what a checkpoint alone tells where we were not there."""
        wanted = self._outcomes(state)
        marks = ",".join("?" * len(wanted))
        found = self._db.execute(
            f"select need, epoch, outcome, row, rowid from closed where outcome in ({marks}) and rowid < ?"
            " order by rowid desc limit ? offset ?",
            (*wanted, below, limit, offset),
        )
        return [
            (number, {**(decode(row) if row else _unknown(need, outcome)), "closed_by_epoch": epoch})
            for need, epoch, outcome, row, number in found
        ]

    def _outcomes(self, state: str | None) -> list[str]:
        return [outcome for outcome, name in _STATES.items() if state is None or name == state]

    @asynccontextmanager
    async def with_lines_of(self, closed: Iterable[ClosedNeed]) -> AsyncIterator[None]:
        """Within, `row_of` these has its lines ready, as far as nothing more is heard of them: the turn of a checkpoint is
        long enough without."""
        try:
            await self._make_lines(closed)
            yield
        finally:
            self._lines.clear()

    async def _make_lines(self, closed: Iterable[ClosedNeed]) -> None:
        for number, each in enumerate(closed):
            if (need := self._runner.state.needs.get(each.id)) is not None:
                self._lines[each.id] = (need, len(need.seen), self._line(need, each))
            if number % LINES_AT_ONCE == LINES_AT_ONCE - 1:
                await trio.lowlevel.checkpoint()

    def row_of(self, closed: ClosedNeed) -> bytes | None:
        """Its line of `need list`, while the need is still in memory."""
        need = self._runner.state.needs.get(closed.id)
        if need is None:
            return None
        known = self._lines.get(closed.id)
        if known is not None and known[0] is need and known[1] == len(need.seen):
            return known[2]
        return self._line(need, closed)

    def _line(self, need: Need, closed: ClosedNeed) -> bytes:
        # What was held for a challenge window is paid with this checkpoint.
        paid = sum(amount for _, amount in closed.paid.values())
        row = {**views.need_row(self._runner.state, need), "paid": format_usdc(paid)}
        if _lapsed(need, closed.outcome):
            row |= {"state": _STATES[EXPIRED], "waiting_for": ""}
        return encode(row)

    def bring_back(self, name: str) -> State:
        """A state that has only this need, derived from its envelopes. LocalFault `archived` if those are gone."""
        row = self._db.execute("select outcome, draws from closed where need = ?", (name,)).fetchone()
        envelopes = self._runner.thread(name)
        first = next((each for each in envelopes if each.kind == "NEED"), None)
        if row is None or first is None:
            raise LocalFault(
                "archived",
                f"{name} was closed by a checkpoint, and its envelopes are not here any more",
                fix="raise keep_epochs on nodes that should keep more, or ask another node",
            )
        state = self._derived(envelopes, first, tuple(decode(row[1])))
        if _lapsed(state.needs[name], row[0]):
            _let_go(state, state.needs[name])
        return state

    def retrieve(self, name: str) -> dict[str, Any]:
        """What there is of a closed need and in which tier: derived again from its envelopes."""
        row = self._db.execute("select epoch, outcome from closed where need = ?", (name,)).fetchone()
        state = self.bring_back(name)
        every = {envelope.id for envelope in self._runner.thread(name)}
        cold = {
            envelope.id
            for body in self._journal.cold(bucket_of(name))
            for envelope in reload_batch(decode(body)).envelopes
            if envelope.thread == name
        }
        return {
            "need": name,
            "epoch": row[0],
            "outcome": row[1],
            "state": state.needs[name].state(),
            "warm": len(every - cold),
            "cold": len(cold),
        }

    def _derived(self, envelopes: list[Envelope], first: Envelope, draws: tuple[int, ...]) -> State:
        live = self._runner.state
        state = State(live.genesis, NOBODY)
        state.epoch = live.epoch
        state.terms = Terms(live.genesis, {**Terms(live.genesis).rosters, **self._records.rosters()})
        budget, fund = first.payload["budget"], first.payload["fund"]
        # Its entry as the next of an account that has just this money: the escrow then goes the way it went.
        state.ledger = Ledger({first.sender: budget})
        state.ledger.base[first.sender] = Account(available=budget, next_seq=fund["seq"], head=fund["prev"])
        state.ledger.rebuild()
        engine.step(state, Admitted((first,), {}, first.ts_ns))
        state.needs[first.thread].draws = draws
        for envelope in envelopes:
            engine.step(state, Admitted((envelope,), {}, envelope.ts_ns))
        settling.close(state, state.needs[first.thread])
        return state


def _lapsed(need: Need, outcome: str) -> bool:
    """Did a checkpoint let go of it unpaid, and nobody say that it has expired? (adr/0047)"""
    return outcome == EXPIRED and need.ended() is None


def _let_go(state: State, need: Need) -> None:
    """As the checkpoint did."""
    need.closed = Closing(b"", EXPIRED, "", LAPSED, need.lamport, need.deadline_ns, "")
    escrow = state.ledger.escrows[need.id]
    escrow.state, escrow.held = EXPIRED, 0


def _unknown(need: str, outcome: str) -> dict[str, Any]:
    return {
        "need": need,
        "title": "",
        "state": _STATES[outcome],
        "owner": "",
        "budget": "",
        "paid": "",
        "tasks": 0,
        "done": 0,
        "created_ns": 0,
        "waiting_for": "",
    }
