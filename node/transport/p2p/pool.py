"""Which connections we have: who is let in, who leaves when there is no room, or for somebody better.

Slots are bounded, some are kept for our own dials, and one place on the net gets only a part, so that no
number of fresh keys behind one address shuts us off. When full, who is greylisted or of no use makes way.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import trio
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.peer.id import ID
from libp2p.rcmgr import Direction
from swarmd.node.transport.p2p.access import AccessList
from swarmd.node.transport.p2p.config import P2PLimits
from swarmd.node.transport.p2p.host import ip_of, place_of, public_key_of
from swarmd.node.transport.p2p.scores import ScoreBook

log = logging.getLogger(__name__)

_GRACE_S = 10.0  # so long a new peer need not be of use yet


class Connections(Protocol):
    """What the pool needs of the session."""

    def all(self) -> Sequence[SwarmConn]: ...

    def useful(self, peer_id: ID) -> bool:
        """Is it up, or does it gossip on our topic?"""

    def age_s(self, peer_id: ID) -> float: ...

    def up(self) -> Sequence[ID]: ...

    def cut_off(self, peer_id: str, why: str) -> None: ...


class Pool:
    """The gatekeeper of one session's host. `spare`: are there peers that could take the place of a bad one?"""

    def __init__(
        self,
        limits: P2PLimits,
        scores: ScoreBook,
        access: AccessList,
        spare: Callable[[], bool],
        keep: frozenset[ID],
        connections: Connections,
    ) -> None:
        self._limits = limits
        self._scores = scores
        self._access = access
        self._spare = spare
        self._resting: dict[ID, float] = {}
        self._keep = keep  # static peers
        self._connections = connections
        self._rotated_s = trio.current_time()

    # Letting in ----------------------------------------------------------------------------------------

    def knocks(self, ip: str) -> str | None:
        return "refused-denied-ip" if self._access.ip_denied(ip.partition("/")[0]) else None

    def admits(self, peer_id: ID, ip: str | None, *, inbound: bool) -> str | None:
        if public_key_of(peer_id) is None:
            return "refused-key-type"
        verdict = self._access.verdict(str(peer_id), ip)
        if verdict == "deny":
            return "refused-denied"
        if self._access.only_allowed and verdict != "allow":
            return "refused-not-allowed"
        if verdict != "allow" and self._scores.denied_for_s(str(peer_id)):
            return "refused-banned"
        return self._room_for(peer_id, ip, inbound, favoured=verdict == "allow" or peer_id in self._keep)

    def _room_for(self, peer_id: ID, ip: str | None, inbound: bool, favoured: bool) -> str | None:
        open_ones = [conn for conn in self._connections.all() if not conn.is_closed]
        if any(conn.muxed_conn.peer_id == peer_id for conn in open_ones):
            return None  # its oldest connection goes
        limits = self._limits
        if ip is not None and not favoured:
            place = place_of(ip)
            there = sum(place_of(ip_of(conn.muxed_conn) or "") == place for conn in open_ones)
            if there >= limits.max_connections_per_ip:
                return "refused-connections-of-ip"
        if inbound and not favoured:
            taken = sum(conn.direction is not Direction.OUTBOUND for conn in open_ones)
            full = taken >= limits.max_connections * (1 - limits.outbound_part)
        else:
            full = False
        if not full and len(open_ones) < limits.max_connections:
            return None
        worst = self._worst(open_ones, inbound and not favoured, anybody=favoured)
        if worst is None:
            return "refused-pool-full"
        self._connections.cut_off(str(worst), "it makes room for another peer")
        return None

    def _worst(self, open_ones: Sequence[SwarmConn], inbound_only: bool, anybody: bool) -> ID | None:
        """Who leaves first, if somebody may have to: of no use, then greylisted, then by score."""
        found: list[tuple[bool, float, ID]] = []
        for conn in open_ones:
            peer_id = conn.muxed_conn.peer_id
            if self._protected(peer_id) or (inbound_only and conn.direction is Direction.OUTBOUND):
                continue
            useless = not self._connections.useful(peer_id) and self._connections.age_s(peer_id) > _GRACE_S
            greylisted = self._scores.state(str(peer_id)) != "good"
            if useless or greylisted or anybody:
                found.append((not useless, self._scores.score(str(peer_id)), peer_id))
        return min(found, key=lambda each: each[:2])[2] if found else None

    def _protected(self, peer_id: ID) -> bool:
        return peer_id in self._keep or self._access.verdict(str(peer_id)) == "allow"

    # Better ones ---------------------------------------------------------------------------------------

    def rests(self, peer_id: ID) -> bool:
        """Was it rotated out a short time ago? Then we do not dial it, or it would be back at once."""
        return self._resting.get(peer_id, 0.0) > trio.current_time()

    async def tend(self) -> None:
        """Until cancelled: exchange bad peers for others, one at a time."""
        while True:
            await trio.sleep(self._limits.pool_interval_s)
            self._rotate(self._connections.up())

    def _rotate(self, up: Sequence[ID]) -> None:
        """Enough peers, and others to try: let the worst one go if it is bad. Who dials, dials the next."""
        limits = self._limits
        now_s = trio.current_time()
        enough = len(up) > limits.target_peers or (len(up) == limits.target_peers and self._spare())
        if now_s - self._rotated_s < limits.rotate_interval_s or not enough:
            return
        bad = [
            (score, peer_id)
            for peer_id in up
            if not self._protected(peer_id)
            and self._connections.age_s(peer_id) > limits.rotate_after_s
            and (score := self._scores.score(str(peer_id))) < limits.rotate_below
        ]
        if bad:
            self._rotated_s = now_s
            score, peer_id = min(bad, key=lambda each: each[0])
            self._resting = {p: until_s for p, until_s in self._resting.items() if until_s > now_s}
            self._resting[peer_id] = now_s + limits.rotate_interval_s
            self._connections.cut_off(str(peer_id), f"rotated out with score {score:.2f}")
