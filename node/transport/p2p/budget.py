"""What all peers together make us hold: received and not yet read, half messages, requests being answered, what
waits to be sent. Bounded as a whole, because a bound per peer times a hundred peers is none."""

from collections import Counter
from collections.abc import Callable

from libp2p.peer.id import ID


class Budget:
    """Bytes held, by peer. Over `limit_bytes`, `shed` is told who holds most, once until it has let go."""

    def __init__(self, limit_bytes: int, shed: Callable[[ID], None]) -> None:
        self._limit_bytes = limit_bytes
        self._shed = shed
        self._held: Counter[ID] = Counter()
        self._told: set[ID] = set()
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
            self._told.discard(peer_id)
        if self.total_bytes > self.peak_bytes:
            self.peak_bytes = self.total_bytes
        if count > 0 and self.total_bytes > self._limit_bytes:
            worst = max(self._held, key=self._held.__getitem__)
            if worst not in self._told:
                self._told.add(worst)
                self._shed(worst)

    def of(self, peer_id: ID) -> int:
        return self._held[peer_id]
