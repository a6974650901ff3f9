"""Gossipsub 1.1 for one topic: libp2p's router, with the path of a frame rewritten.

A frame costs stock gossipsub about 1.4 ms of CPU, most of it around the frame: a freshly signed peer
record in each RPC, a task per message, protobuf copies per peer, a validation cache, a write per frame.
Here each message is checked and handed over where its connection is read (`gossip_reader.py`; that is the
backpressure, the order and the isolation), and what waits for a peer leaves in one write.

The handler sees a frame before it is forwarded, so a frame it refuses goes no further, and peers are
charged only for what they should have refused themselves.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection

from libp2p.abc import INetStream
from libp2p.host.basic_host import BasicHost
from libp2p.host.exceptions import StreamFailure
from libp2p.io.exceptions import IOException
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.stream_muxer.exceptions import MuxedStreamError
from swarmd.node.transport.p2p.budget import Budget
from swarmd.node.transport.p2p.config import P2PLimits
from swarmd.node.transport.p2p.gossip_guard import GossipGuard
from swarmd.node.transport.p2p.gossip_reader import BadRpc, GossipReader
from swarmd.node.transport.p2p.gossip_wire import (
    FrameCache,
    OutQueue,
    SeenIds,
    Signer,
    fingerprint,
    rpc_of,
    signature_ok,
    well_formed,
)
from swarmd.node.transport.p2p.muxer import Violation
from swarmd.node.transport.p2p.stats import StatsBook

log = logging.getLogger(__name__)

_BATCH_BYTES = 131_072
_MAX_BACKOFF_S = 3_600
_MAX_SUBSCRIPTIONS = 64
# Larger frames of ours go to the mesh only, however few the peers are: an uplink is slower than a CPU.
FLOOD_BYTES = 131_072

# Called with the forwarding peer and the frame; False means: refuse it, do not forward.
OnFrame = Callable[[ID, bytes], bool]


TAG_BYTES = 8


def tag_of(peer_id: ID) -> bytes:
    """A short name of a peer: the last bytes of its public key."""
    return peer_id.to_bytes()[-TAG_BYTES:]


class MeshRouter(GossipSub):
    """The mesh of one topic. Control messages are bounded before libp2p's handlers see them."""

    def __init__(self, topic: str, limits: P2PLimits, guard: GossipGuard) -> None:
        super().__init__(
            [PROTOCOL_ID_V11],
            limits.mesh_degree,
            limits.mesh_degree_low,
            limits.mesh_degree_high,
            heartbeat_interval=limits.heartbeat_interval_s,
            adaptive_gossip_enabled=False,
            spam_protection_enabled=False,
            eclipse_protection_enabled=False,
        )
        # libp2p's has an inverted sign and thresholds of minus infinity; ours is `scores`.
        self.scorer = None
        self.mcache = FrameCache(window=3, history=5, max_bytes=limits.max_cache_bytes)
        self._topic = topic
        self.guard = guard

    async def handle_rpc(self, rpc: rpc_pb2.RPC, sender_peer_id: ID) -> None:
        control = rpc.control
        if not self.guard.allows(sender_peer_id, control):
            return
        # libp2p keeps a table entry for each topic a peer names.
        for ihave in control.ihave:
            if ihave.topicID == self._topic:
                await self.handle_ihave(ihave, sender_peer_id)
        for iwant in control.iwant:
            await self.handle_iwant(iwant, sender_peer_id)
        for graft in control.graft:
            if graft.topicID == self._topic:
                await self.handle_graft(graft, sender_peer_id)
        for prune in control.prune:
            if prune.topicID == self._topic:
                # Peer exchange would make us dial addresses of the sender's choosing.
                kept = rpc_pb2.ControlPrune(topicID=prune.topicID, backoff=min(prune.backoff, _MAX_BACKOFF_S))
                await self.handle_prune(kept, sender_peer_id)

    async def handle_iwant(self, iwant_msg: rpc_pb2.ControlIWant, sender_peer_id: ID) -> None:
        if self.pubsub is None or not self._check_iwant_rate_limit(sender_peer_id):
            return
        queue = self.pubsub.peer_queues.get(sender_peer_id)
        if not isinstance(queue, OutQueue):
            return
        for message_id in set(iwant_msg.messageIDs):
            message = self.mcache.get(message_id)
            if message is not None and not queue.push_bytes(rpc_of(message.SerializeToString())):
                return

    async def emit_control_message(self, control_msg: rpc_pb2.ControlMessage, to_peer: ID) -> None:
        self.send_rpc(to_peer, rpc_pb2.RPC(control=control_msg), priority=True)

    def send_rpc(self, peer_id: ID, rpc: rpc_pb2.RPC, priority: bool = False) -> None:
        queue = self.pubsub.peer_queues.get(peer_id) if self.pubsub is not None else None
        if queue is not None and not queue.push(rpc, priority=priority):
            self._handle_dropped_rpc(peer_id, rpc, "queue_full")

    async def send_recent_messages(self, peer_id: ID, topic: str) -> None:
        """Through the queue: libp2p writes to the stream beside its writer, which tears large frames."""
        queue = self.pubsub.peer_queues.get(peer_id) if self.pubsub is not None else None
        if isinstance(queue, OutQueue):
            for message_id in self.mcache.window(topic):
                message = self.mcache.get(message_id)
                if message is not None:
                    queue.push_bytes(rpc_of(message.SerializeToString()))


class MeshPubsub(Pubsub):
    """One topic, every message signed by its author and verified once."""

    router: MeshRouter

    def __init__(
        self,
        host: BasicHost,
        router: MeshRouter,
        *,
        topic: str,
        limits: P2PLimits,
        budget: Budget,
        on_frame: OnFrame,
        charge: Callable[[ID], float],
        on_violation: Violation,
        reach_of: Callable[[ID], frozenset[bytes]],
        stats: StatsBook,
        drops: Counter[str],
        frames_are_signed: bool = False,
    ) -> None:
        """`charge`: a peer brought a new frame; the seconds it must wait. `frames_are_signed`: `on_frame` refuses every frame that does not carry its author's own signature."""
        super().__init__(
            host,
            router,
            validation_cache_size=1,
            max_subscriptions_per_rpc=_MAX_SUBSCRIPTIONS,
            max_subscriptions_per_peer=4,
            allowed_topics={topic},
        )
        self.seen_messages.stop()
        self.seen_messages = SeenIds(limits.seen_ttl_s, limits.max_seen_ids)  # type: ignore[assignment]
        self._topic = topic
        self._limits = limits
        self._budget = budget
        self._signer = Signer(host.get_private_key(), topic)
        self._me = host.get_id()
        self._on_frame = on_frame
        self._charge = charge
        self._on_violation = on_violation
        self._reach_of = reach_of
        self._stats = stats
        self._drops = drops
        self._frames_are_signed = frames_are_signed
        self._copies = SeenIds(limits.seen_ttl_s, limits.max_seen_ids)
        self._frames = SeenIds(limits.seen_ttl_s, limits.max_seen_ids)

    # Out.

    def publish_frame(self, frame: bytes) -> None:
        """Sign `frame` and queue it for the mesh. Never waits."""
        message_id, message = self._signer.sign(frame)
        self.seen_messages.add(message_id)
        # Also where all have it from us: what a connection that ends takes with it is asked for again.
        self.router.mcache.put(rpc_pb2.Message.FromString(message))
        self._fan_out(message, len(frame), self._own_targets(len(frame)))

    def _own_targets(self, frame_bytes: int) -> Collection[ID]:
        """Whom our own frames go to at once: all subscribers while they are few and the frame is small, else
        the mesh."""
        subscribed = self.peer_topics.get(self._topic, set())
        few = len(subscribed) <= self._limits.max_flood_peers
        mesh = self.router.mesh.get(self._topic, set())
        return subscribed if few and (frame_bytes <= FLOOD_BYTES or len(subscribed) <= len(mesh)) else mesh

    def reach(self) -> bytes:
        """The tags of `_own_targets` of small frames, which we tell our peers: they need not forward those."""
        return b"".join(tag_of(peer_id) for peer_id in self._own_targets(0) if peer_id in self.peer_queues)

    def _lacking(self, forwarder: ID, msg: rpc_pb2.Message) -> list[ID]:
        """Our subscribers that neither sent us the message nor have it from its author. In a small mesh its
        author reaches everybody, and forwarding or advertising it would only multiply the traffic. An author
        that claims too much harms only its own frames; sync repairs those."""
        author = msg.from_id
        source = forwarder.to_bytes()
        reached = self._reach_of(ID(author)) if len(msg.data) <= FLOOD_BYTES else frozenset()
        lacking = []
        for peer_id in self.peer_topics.get(self._topic, ()):
            raw = peer_id.to_bytes()
            if raw[-TAG_BYTES:] not in reached and raw != source and raw != author:
                lacking.append(peer_id)
        return lacking

    def _fan_out(self, message: bytes, frame_bytes: int, targets: Collection[ID]) -> None:
        rpc: bytes | None = None
        for peer_id in targets:
            queue = self.peer_queues.get(peer_id)
            if not isinstance(queue, OutQueue):
                continue
            rpc = rpc or rpc_of(message)
            if queue.push_bytes(rpc):
                stats = self._stats.of(peer_id)
                stats.frames_out += 1
                stats.bytes_out += frame_bytes
            else:
                self._drops["gossip-queue-full"] += 1

    async def handle_sending_messages(self, peer_id: ID, stream: INetStream, queue: object) -> None:
        assert isinstance(queue, OutQueue)
        muxed = stream.muxed_stream  # type: ignore[attr-defined]
        try:
            shortcut = getattr(muxed, "try_write", None)
            while batch := await queue.pop_batch(_BATCH_BYTES, shortcut):
                await muxed.write(batch)
        except (MuxedStreamError, IOException, RawConnError, OSError) as error:
            log.debug("gossip to %s ended: %r", peer_id, error)
            if self.peer_queues.get(peer_id) is queue:
                self._handle_dead_peer(peer_id)

    async def _handle_new_peer(self, peer_id: ID) -> None:
        """As libp2p's, with our queue (its 32 entries drop most of a burst, silently)."""
        if peer_id in self.peers or self.is_peer_blacklisted(peer_id):
            return
        try:
            stream = await self.host.new_stream(peer_id, list(self.protocols))
        except StreamFailure as error:
            # Raised as what the caller retries: a slow negotiation would else mean no gossip for good.
            raise SwarmException(str(error)) from error
        if peer_id in self.peers:  # another attempt was quicker
            await stream.reset()
            return
        queue = OutQueue(self._limits.max_queue_frames, self._limits.max_queue_bytes)
        queue.push(self.get_hello_packet())
        self.router.add_peer(peer_id, stream.get_protocol())
        self.peers[peer_id] = stream
        self.peer_queues[peer_id] = queue
        self.manager.run_task(self.handle_sending_messages, peer_id, stream, queue)
        if peer_id in self._peer_added_events:
            self._peer_added_events.pop(peer_id).set()
        await self._send_recent_messages_to_new_peer(peer_id)

    def get_hello_packet(self) -> rpc_pb2.RPC:
        subscription = rpc_pb2.RPC.SubOpts(subscribe=True, topicid=self._topic)
        return rpc_pb2.RPC(subscriptions=[subscription])

    # In.

    async def stream_handler(self, stream: INetStream) -> None:
        peer_id = stream.muxed_conn.peer_id
        # Whoever opens a new stream may have forgotten our subscription with the old one.
        queue = self.peer_queues.get(peer_id)
        if queue is not None:
            queue.push(self.get_hello_packet(), priority=True)
        try:
            await self.continuously_read_stream(stream)
        except BadRpc as bad:
            self._on_violation(peer_id, bad.code)
        except (MuxedStreamError, IOException, RawConnError, OSError) as error:
            log.debug("gossip from %s ended: %r", peer_id, error)
        await stream.reset()

    async def continuously_read_stream(self, stream: INetStream) -> None:
        await GossipReader(
            stream,
            self._limits.max_frame_bytes,
            self._budget,
            self.router.guard.wait_s,
            self._take_message,
            self._take_rest,
        ).run()

    async def _take_rest(self, peer_id: ID, rpc: rpc_pb2.RPC) -> None:
        if len(rpc.subscriptions) > _MAX_SUBSCRIPTIONS:
            raise BadRpc("subscription-flood")
        for subscription in rpc.subscriptions:
            self.handle_subscription(peer_id, subscription)
        if rpc.HasField("control"):
            await self.router.handle_rpc(rpc, peer_id)

    def _take_message(self, msg_forwarder: ID, msg: rpc_pb2.Message) -> float:
        """A peer's message: seen check, signature, handler, then on to the mesh. Seconds the peer must wait."""
        message_id = msg.from_id + msg.seqno
        copy = fingerprint(message_id, msg.signature, msg.data) if self._frames_are_signed else message_id
        if self._copies.has(copy):
            self.router.guard.copy(msg_forwarder)
            return 0.0
        if len(msg.topicIDs) != 1 or msg.topicIDs[0] != self._topic:
            self.router.guard.other_topic(msg_forwarder)
            return 0.0
        frame = msg.data
        if len(frame) > self._limits.max_frame_bytes:
            raise BadRpc("frame-too-big")
        if msg.from_id == self._signer.author:
            if not signature_ok(msg):
                raise BadRpc("bad-gossip-signature")
            # Said before we were restarted, and still on its way round the mesh: nobody has done wrong.
            self._drops["own-frame"] += 1
            return 0.0
        proven = self._prove(msg)
        self._copies.add(copy)
        self.seen_messages.add(message_id)  # what IHAVE is compared with
        stats = self._stats.of(msg_forwarder)
        stats.frames_in += 1
        stats.bytes_in += len(frame)
        wait_s = self._charge(msg_forwarder)
        if not self._on_frame(msg_forwarder, frame):
            return wait_s
        lacking = self._lacking(msg_forwarder, msg)
        if not lacking:
            return wait_s
        if not proven and not signature_ok(msg):
            raise BadRpc("bad-gossip-signature")
        # To the mesh now; the others learn of it by IHAVE from the cache, and pull it if they lack it still.
        self.router.mcache.put(msg)
        mesh = self.router.mesh.get(self._topic, ())
        targets = [peer_id for peer_id in lacking if peer_id in mesh]
        if targets:
            self._fan_out(msg.SerializeToString(), len(frame), targets)
        return wait_s

    def _prove(self, msg: rpc_pb2.Message) -> bool:
        """Check the gossip signature, if it must be known now. BadRpc if it is wrong: an honest forwarder has
        looked.

        Where every frame carries its author's signature, which the handler checks, a frame we have not seen
        needs no second one (55 us, a third of what a small frame costs). One that we have seen must prove that
        its author sent it again: else a forger could replay frames under ever new message ids. Copies are told
        apart by all their bytes, so that a forged one cannot make us deaf to the true one. `_take_message` checks
        what it forwards: other implementations cut off whoever passes a bad signature on.
        """
        if self._frames_are_signed:
            if not well_formed(msg):
                raise BadRpc("bad-gossip-signature")
            if self._frames.add(fingerprint(msg.data)):
                return False
        # Verified before it counts as seen: else a forger could make us deaf to an author's next messages.
        if not signature_ok(msg):
            raise BadRpc("bad-gossip-signature")
        return True

    def _build_announce_rpc(self, topic_id: str, subscribe: bool) -> tuple[rpc_pb2.RPC, rpc_pb2.RPC.SubOpts]:
        option = rpc_pb2.RPC.SubOpts(subscribe=subscribe, topicid=topic_id)
        return rpc_pb2.RPC(subscriptions=[option]), option
