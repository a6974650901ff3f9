"""What one peer may do on the gossip stream beyond sending frames: RPCs, copies, control entries, each in bounds.

RPCs over the rate wait. Copies and control entries are legal, so only far more of them than a mesh has cause
for is a fault.
"""

from collections import Counter
from dataclasses import dataclass

from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from swarmd.node.transport.p2p.config import P2PLimits
from swarmd.node.transport.p2p.muxer import Violation
from swarmd.node.transport.p2p.rates import MAX_WAIT_S, Bucket

_MAX_ENTRIES_PER_RPC = 64
_MAX_IDS_PER_RPC = 5_000
_COPIES_A_FAULT = 1_000


@dataclass(slots=True)
class _Peer:
    rpcs: Bucket
    copies: Bucket
    control: Bucket
    odd: Bucket


class GossipGuard:
    """By peer, forgotten with its connection."""

    def __init__(self, limits: P2PLimits, on_violation: Violation, drops: Counter[str]) -> None:
        self._limits = limits
        self._on_violation = on_violation
        self._drops = drops
        self._peers: dict[ID, _Peer] = {}

    def _of(self, peer_id: ID) -> _Peer:
        found = self._peers.get(peer_id)
        if found is None:
            limits = self._limits
            found = self._peers[peer_id] = _Peer(
                Bucket(limits.gossip_rpcs_per_s, limits.gossip_rpcs_burst),
                Bucket(limits.gossip_copies_per_s, limits.gossip_copies_burst),
                Bucket(limits.gossip_control_per_s, limits.gossip_control_burst),
                Bucket(limits.gossip_control_per_s, limits.gossip_control_burst),
            )
        return found

    def wait_s(self, peer_id: ID, rpcs: int) -> float:
        """Its next RPCs came: how long not to read on."""
        wait_s = min(MAX_WAIT_S, self._of(peer_id).rpcs.take(rpcs))
        if wait_s:
            self._drops["throttled-gossip-rpcs"] += 1
        return wait_s

    def copy(self, peer_id: ID) -> None:
        """It sent a message that we have: most of a mesh's traffic, but no peer sends more than there is."""
        if not self._of(peer_id).copies.try_take():
            self._of(peer_id).copies.level += _COPIES_A_FAULT
            self._on_violation(peer_id, "duplicate-flood")

    def other_topic(self, peer_id: ID) -> None:
        """A message that is not for us: some software sends its peers all it has, but not that much."""
        self._drops["other-topic"] += 1
        if not self._of(peer_id).odd.try_take():
            self._on_violation(peer_id, "other-topic")

    def allows(self, peer_id: ID, control: rpc_pb2.ControlMessage) -> bool:
        """May this be handled? If not, the peer is charged and the message left alone."""
        entries = (control.ihave, control.iwant, control.graft, control.prune)
        ids = sum(len(e.messageIDs) for e in control.ihave) + sum(len(e.messageIDs) for e in control.iwant)
        count = sum(len(entry) for entry in entries)
        if (
            any(len(entry) > _MAX_ENTRIES_PER_RPC for entry in entries)
            or ids > _MAX_IDS_PER_RPC
            or not self._of(peer_id).control.try_take(count)
        ):
            self._drops["control-refused"] += 1
            self._on_violation(peer_id, "control-flood")
            return False
        return True

    def forget(self, peer_id: ID) -> None:
        self._peers.pop(peer_id, None)
