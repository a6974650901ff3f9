"""Who is connected: the peer id that each node, by its DID, was seen at last."""


class Acquaintances:
    """DID <-> peer id of those that are connected. A peer id stands for one key, a DID for one node."""

    def __init__(self) -> None:
        self._peer_of: dict[str, str] = {}

    def up(self, peer_id: str, did: str) -> None:
        self._peer_of[did] = peer_id

    def down(self, peer_id: str) -> None:
        self._peer_of = {did: peer for did, peer in self._peer_of.items() if peer != peer_id}

    def peer_of(self, did: str) -> str:
        """ "" of one that is not connected."""
        return self._peer_of.get(did, "")

    def did_of(self, peer_id: str) -> str:
        """ "" of one that is not connected."""
        return next((did for did, peer in self._peer_of.items() if peer == peer_id), "")
