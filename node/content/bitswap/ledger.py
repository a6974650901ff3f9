"""Who wants what of us, what each has had, and whose turn it is. Pure: no IO, no clock.

Turns go by start-time fair queueing (Goyal, Vin and Cheng, 1996): each peer has a virtual time that its bytes
advance, and the one that is least far ahead is served next. Whoever comes back from silence starts where the others
are, so nobody saves up turns. Weight makes bytes count for less: peers that sent us blocks get up to four times the
share of those that only take, and what the transport thinks little of gets a quarter.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

MAX_WANTS_PER_PEER: Final = 1_024  # as boxo
MAX_LEDGERS: Final = 4_096
# So much must flow before a ratio says anything.
_GOODWILL_BYTES: Final = 1_048_576
_MAX_WEIGHT: Final = 4.0


@dataclass(slots=True)
class Ledger:
    """One peer. `wants` (CID -> is HAVE enough?) are those not answered yet, oldest first."""

    sent_bytes: int = 0
    received_bytes: int = 0
    sent_blocks: int = 0
    received_blocks: int = 0
    refused: int = 0  # wants of what we do not serve, and beyond the limit
    ready: OrderedDict[bytes, None] = field(default_factory=OrderedDict)  # blocks to send: they are here
    waiting: OrderedDict[bytes, bool] = field(
        default_factory=OrderedDict
    )  # not here yet; True: HAVE is enough
    virtual_time: float = 0.0
    busy: bool = False  # a message of its blocks is on its way

    @property
    def wants(self) -> int:
        return len(self.ready) + len(self.waiting)

    @property
    def weight(self) -> float:
        """1.0 for who only takes, up to 4.0 for who gave as much as it had."""
        gave = self.received_bytes / (self.sent_bytes + _GOODWILL_BYTES)
        return 1.0 + (_MAX_WEIGHT - 1.0) * min(1.0, gave)


class Ledgers:
    """All peers. `share_of` is what the transport thinks of one: 1.0, or less."""

    def __init__(self, share_of: Callable[[str], float] = lambda _: 1.0) -> None:
        self._share_of = share_of
        self._ledgers: OrderedDict[str, Ledger] = OrderedDict()  # least recently used first
        self._now = 0.0

    def of(self, peer_id: str) -> Ledger:
        ledger = self._ledgers.get(peer_id)
        if ledger is None:
            ledger = self._ledgers[peer_id] = Ledger()
            self._forget_oldest()
        self._ledgers.move_to_end(peer_id)
        return ledger

    def __iter__(self) -> Iterator[tuple[str, Ledger]]:
        return iter(self._ledgers.items())

    def want(self, peer_id: str, cid: bytes) -> bool:
        """A block that is here is wanted. False if the peer wants too much already."""
        ledger = self.of(peer_id)
        if cid in ledger.ready:
            return True
        if not self._has_room(ledger):
            return False
        if not ledger.ready and not ledger.busy:
            ledger.virtual_time = max(ledger.virtual_time, self._now)
        ledger.waiting.pop(cid, None)
        ledger.ready[cid] = None
        return True

    def wait(self, peer_id: str, cid: bytes, *, have_only: bool) -> bool:
        """Something that is not here is wanted. False if the peer wants too much already."""
        ledger = self.of(peer_id)
        if cid not in ledger.waiting and not self._has_room(ledger):
            return False
        ledger.waiting[cid] = have_only and ledger.waiting.get(cid, True)
        return True

    def _has_room(self, ledger: Ledger) -> bool:
        if ledger.wants >= MAX_WANTS_PER_PEER:
            ledger.refused += 1
            return False
        return True

    def cancel(self, peer_id: str, cid: bytes) -> bool:
        """False if the peer did not want it (any more)."""
        ledger = self._ledgers.get(peer_id)
        if ledger is None:
            return False
        found = ledger.ready.pop(cid, ledger) is None
        return ledger.waiting.pop(cid, None) is not None or found

    def leave(self, peer_id: str) -> None:
        """The peer is gone, or starts its wantlist anew: what it wanted is forgotten, what it had is not."""
        ledger = self._ledgers.get(peer_id)
        if ledger is not None:
            ledger.ready.clear()
            ledger.waiting.clear()

    def next(self) -> str | None:
        """Whose turn it is: of those with blocks to send and none on the way, the one that had least for its weight."""
        best: str | None = None
        best_time = 0.0
        for peer_id, ledger in self._ledgers.items():
            if ledger.ready and not ledger.busy and (best is None or ledger.virtual_time < best_time):
                best, best_time = peer_id, ledger.virtual_time
        if best is not None:
            self._now = max(self._now, best_time)
        return best

    def sent(self, peer_id: str, count: int, size: int) -> None:
        """`count` blocks of `size` bytes in all go to the peer."""
        ledger = self.of(peer_id)
        ledger.virtual_time += size / (ledger.weight * self._share_of(peer_id))
        ledger.sent_blocks += count
        ledger.sent_bytes += size

    def received(self, peer_id: str, size: int) -> None:
        """A block that we had asked for came."""
        ledger = self.of(peer_id)
        ledger.received_blocks += 1
        ledger.received_bytes += size

    def _forget_oldest(self) -> None:
        while len(self._ledgers) > MAX_LEDGERS:
            idle = next((p for p, each in self._ledgers.items() if not each.wants and not each.busy), None)
            if idle is None:
                return
            del self._ledgers[idle]
