"""The book of known peers: where each was reached or is said to be, kept over restarts in the node's home.

Everything in it is a hint. Who answers at an address proves its identity in the handshake; a wrong address costs
one failed dial. So the book takes hints from strangers, but a bounded number, and never lets them push out what
the operator named or what worked before.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarmd.bootstrap.addresses import ip_of, is_relayed, peer_of, worth_dialing
from swarmd.protocol.faults import LocalFault

log = logging.getLogger(__name__)

BOOK_FILE = "peers.json"
MAX_PEERS = 1_024
MAX_ADDRS_PER_PEER = 8
MAX_SAVED_BYTES = 4 * 1_048_576
FORGET_AFTER_FAILURES = 12
RETRY_MIN_S = 0.5
RETRY_MAX_S = 300.0
PINNED_RETRY_MAX_S = 30.0
# Who is back makes us try the others that did not answer, but no more often than this.
ROUSE_INTERVAL_S = 5.0
# How much a source is trusted: pinned ones are never forgotten, later ones give way to earlier ones.
SOURCES = ("list", "ticket", "mdns", "peer", "dht")
PINNED = frozenset(("list", "ticket"))


@dataclass(slots=True)
class Known:
    """One peer. Times are Unix seconds, 0 for never; `retry_at_s` is of the book's clock."""

    peer_id: str
    source: str
    addrs: list[str] = field(default_factory=list)  # what worked last comes first
    heard_from: set[str] = field(default_factory=set)  # every source that named it in this run
    heard_at_s: float = 0.0
    connected_at_s: float = 0.0
    failures: int = 0
    error: str = ""
    retry_at_s: float = 0.0
    shunned: bool = False  # it answered, and was told apart: that the network is back makes no difference

    @property
    def pinned(self) -> bool:
        return self.source in PINNED

    def retry_after_s(self) -> float:
        most_s = PINNED_RETRY_MAX_S if self.pinned else RETRY_MAX_S
        return float(min(most_s, RETRY_MIN_S * 2 ** min(self.failures, 16)))


def _rank(addr: str) -> tuple[bool, bool]:
    """Direct before relayed, other hosts before this one: a wildcard listener announces its loopback too."""
    ip = ip_of(addr)
    return is_relayed(addr), ip is not None and ip.is_loopback


class PeerBook:
    """`own` is this node's peer id, which is never taken in."""

    def __init__(
        self,
        own: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._own = own
        self._clock = clock
        self._wall_s = wall_s
        self._peers: dict[str, Known] = {}
        self.on_new: Callable[[], None] = lambda: None
        self._roused_at_s = -ROUSE_INTERVAL_S
        self.changed = False

    def __len__(self) -> int:
        return len(self._peers)

    def get(self, peer_id: str) -> Known | None:
        return self._peers.get(peer_id)

    def all(self) -> list[Known]:
        return list(self._peers.values())

    # Hints ---------------------------------------------------------------------------------------------

    def learn(self, addr: str, source: str) -> bool:
        """Take in an address; False if it is of no use. LocalFault never: hints come from anybody."""
        try:
            peer_id = peer_of(addr)
        except LocalFault:
            return False
        if peer_id == self._own or not worth_dialing(addr):
            return False
        known = self._peers.get(peer_id)
        if known is None:
            if not self._make_room(source):
                return False
            known = self._peers[peer_id] = Known(peer_id, source)
        elif SOURCES.index(source) < SOURCES.index(known.source):
            known.source = source
        known.heard_at_s = self._wall_s()
        known.heard_from.add(source)
        if addr not in known.addrs:
            first = known.addrs[:1] if known.connected_at_s else []
            others = sorted([*known.addrs[len(first) :], addr], key=_rank)
            known.addrs = [*first, *others]
            # One place stays with what worked; of the rest the newest hint is kept.
            while len(known.addrs) > MAX_ADDRS_PER_PEER:
                known.addrs.remove(next(a for a in reversed(known.addrs) if a != addr))
            known.retry_at_s = min(known.retry_at_s, self._clock() + RETRY_MIN_S)
            if known.failures == 0:
                known.retry_at_s = 0.0
            self.changed = True
            self.on_new()
        return True

    def _make_room(self, source: str) -> bool:
        """Place for one more: the least useful goes, unless all are more useful than a hint of `source`."""
        if len(self._peers) < MAX_PEERS:
            return True

        def use(known: Known) -> tuple[bool, float, int, int, float]:
            trust = -SOURCES.index(known.source)
            return known.pinned, known.connected_at_s, trust, -known.failures, known.heard_at_s

        worst = min(self._peers.values(), key=use)
        if worst.pinned or worst.connected_at_s and source not in PINNED:
            return False
        del self._peers[worst.peer_id]
        return True

    # What became of them -------------------------------------------------------------------------------

    def worked(self, peer_id: str, addr: str = "") -> None:
        """We are connected to the peer, by `addr` if we dialed it."""
        known = self._peers.get(peer_id)
        if known is None:
            return
        known.connected_at_s = self._wall_s()
        was_away = known.failures > 0 and not known.shunned
        known.failures, known.error, known.retry_at_s, known.shunned = 0, "", 0.0, False
        if was_away:
            self._rouse()
        if addr in known.addrs:
            known.addrs.remove(addr)
            known.addrs.insert(0, addr)
        self.changed = True

    def failed(self, peer_id: str, error: str, *, wait_s: float = 0.0) -> None:
        """No address of the peer worked. It is tried again after a growing pause, at least `wait_s`."""
        known = self._peers.get(peer_id)
        if known is None:
            return
        known.failures += 1
        known.error = error[:300]
        known.retry_at_s = self._clock() + max(wait_s, known.retry_after_s())
        known.shunned = wait_s > 0
        self.changed = True
        if known.failures >= FORGET_AFTER_FAILURES and not known.pinned:
            week_s = 7 * 86_400.0
            if self._wall_s() - known.connected_at_s > week_s:
                del self._peers[peer_id]

    def _rouse(self) -> None:
        """One who did not answer is here again. If that was the network's fault, the others are not worth waiting for."""
        now_s = self._clock()
        if now_s - self._roused_at_s < ROUSE_INTERVAL_S:
            return
        self._roused_at_s = now_s
        for known in self._peers.values():
            if known.failures and not known.shunned:
                known.retry_at_s = min(known.retry_at_s, now_s)
        self.on_new()

    def candidates(self, without: Collection[str], count: int) -> list[Known]:
        """Up to `count` peers worth dialing now, best first."""
        now_s = self._clock()
        ready = [
            known
            for known in self._peers.values()
            if known.peer_id not in without and known.addrs and known.retry_at_s <= now_s
        ]
        ready.sort(key=lambda known: (known.failures, SOURCES.index(known.source), -known.connected_at_s))
        return ready[: max(0, count)]

    def next_retry_s(self, without: Collection[str]) -> float | None:
        """When, by the book's clock, the next peer is worth dialing; None if there is none."""
        times = [k.retry_at_s for k in self._peers.values() if k.peer_id not in without and k.addrs]
        return min(times, default=None)

    # On disk -------------------------------------------------------------------------------------------

    def load(self, home: Path) -> None:
        """Take in what was saved. A book that cannot be read is put aside: it is only hints."""
        path = home / BOOK_FILE
        try:
            if path.stat().st_size > MAX_SAVED_BYTES:
                raise ValueError("too big")
            saved = json.loads(path.read_text("utf-8"))
            rows = [row for row in saved["peers"] if row["source"] in SOURCES]
            for row in rows[:MAX_PEERS]:
                self._load_row(row)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s cannot be read (%s): beginning a new one", path, error)
            try:
                os.replace(path, path.with_suffix(".bad"))
            except OSError:
                pass  # it is written over then
        self.changed = False

    def _load_row(self, row: dict[str, Any]) -> None:
        # What an operator's list said then does not hold now: the list itself is read at each start.
        source = "peer" if row["source"] == "list" else row["source"]
        for addr in row["addrs"][:MAX_ADDRS_PER_PEER]:
            self.learn(str(addr), source)
        known = self._peers.get(str(row["peer_id"]))
        if known is not None:
            known.connected_at_s = float(row["connected_at_s"])
            known.heard_at_s = float(row["heard_at_s"])

    def save(self, home: Path) -> None:
        """Atomically; OSError if the disk does not take it."""
        rows = [
            {
                "peer_id": known.peer_id,
                "source": known.source,
                "addrs": known.addrs,
                "heard_at_s": known.heard_at_s,
                "connected_at_s": known.connected_at_s,
            }
            for known in self._peers.values()
        ]
        path = home / BOOK_FILE
        temporary = path.with_suffix(".tmp")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump({"version": 1, "peers": rows}, file, indent=1)
        os.replace(temporary, path)
        self.changed = False
