"""What all peers together make us hold: received and not yet read, half messages, requests being answered, what
waits to be sent. Bounded as a whole, because a bound per peer times a hundred peers is none."""

from collections import Counter
from collections.abc import Callable

import trio
from libp2p.peer.id import ID

_PAUSE_S = 0.02
_PATIENCE_S = 1.0


class Budget:
    """Bytes held, by peer. Over `limit_bytes`, `shed` is told who holds most, and reading pauses."""

    def __init__(self, limit_bytes: int, shed: Callable[[ID], None]) -> None:
        self._limit_bytes = limit_bytes
        self._shed = shed
        self._held: Counter[ID] = Counter()
        self._told: dict[ID, float] = {}
        self.total_bytes = 0
        self.peak_bytes = 0

    def hold(self, peer_id: ID, count: int) -> None:
        """`count` more bytes, or fewer if negative."""
        self.total_bytes += count
        held = self._held[peer_id] + count
        if held > 0:
            self._held[peer_id] = held
        else:
            del self._held[peer_id]
            self._told.pop(peer_id, None)
        if self.total_bytes > self.peak_bytes:
            self.peak_bytes = self.total_bytes
        if count > 0 and self.full:
            self._shed_worst()

    @property
    def full(self) -> bool:
        return self.total_bytes > self._limit_bytes

    async def room(self) -> None:
        """Wait while too much is held, but not for ever. Whoever reads from a peer does this first."""
        with trio.move_on_after(_PATIENCE_S):
            while self.full:
                self._shed_worst()
                await trio.sleep(_PAUSE_S)

    def _shed_worst(self) -> None:
        """Who holds most is cut off, which takes a moment; only if that did not help, the next one."""
        now_s = trio.current_time()
        stuck = {peer_id for peer_id, told_s in self._told.items() if now_s - told_s > _PATIENCE_S}
        worst = max((p for p in self._held if p not in stuck), key=self._held.__getitem__, default=None)
        if worst is not None and worst not in self._told:
            self._told[worst] = now_s
            self._shed(worst)

    def of(self, peer_id: ID) -> int:
        return self._held[peer_id]
