"""What each peer sent and was sent."""

from dataclasses import dataclass

from libp2p.peer.id import ID


@dataclass(slots=True)
class PeerStats:
    frames_in: int = 0
    frames_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class StatsBook:
    """Counters by peer, forgotten with the connection."""

    def __init__(self) -> None:
        self._by_peer: dict[ID, PeerStats] = {}

    def of(self, peer_id: ID) -> PeerStats:
        stats = self._by_peer.get(peer_id)
        if stats is None:
            stats = self._by_peer[peer_id] = PeerStats()
        return stats

    def forget(self, peer_id: ID) -> None:
        self._by_peer.pop(peer_id, None)
