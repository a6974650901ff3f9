"""Bitswap on the transport's host: a plugin that serves blocks to peers and asks them for blocks."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import trio
from libp2p.abc import INetConn, INetStream, INetwork, INotifee
from libp2p.peer.id import ID
from multiaddr import Multiaddr  # type: ignore[import-untyped]
from swarmd.node.content.bitswap.asking import BlockAsker
from swarmd.node.content.bitswap.config import BitswapLimits
from swarmd.node.content.bitswap.ledger import Ledgers
from swarmd.node.content.bitswap.lines import FrameReader, Lane, NoBitswap, finish
from swarmd.node.content.bitswap.message import PROTOCOLS, Message, Want, decode, encode, encode_blocks
from swarmd.node.content.bitswap.server import BlockServer
from swarmd.node.content.wire import Answer
from swarmd.node.ports import BlockStore, PeerGone
from swarmd.node.transport.p2p.host import MeshHost, public_key_of
from swarmd.node.transport.p2p.muxer import MeshYamux
from swarmd.node.transport.p2p.rates import Meter
from swarmd.node.transport.p2p.rpc import NOT_ANSWERED
from swarmd.protocol.faults import LocalFault, RemoteFault

log = logging.getLogger(__name__)

_MAX_QUEUED = 16_384
_MAX_PER_MESSAGE = 1_024
_USEFUL_S = 120.0

V = TypeVar("V")


class Network(Protocol):
    """What Bitswap needs of the transport."""

    def report(self, peer_id: str, code: str) -> None: ...


@dataclass(frozen=True, slots=True)
class BitswapSource:
    """A peer asked by Bitswap (`content.fetch.Source`)."""

    bitswap: "Bitswap"
    peer_id: str

    async def ask(self, cids: Sequence[bytes]) -> Answer:
        return await self.bitswap.ask(self.peer_id, cids)


@dataclass(slots=True, eq=False)
class _Peer:
    """A peer we say something to. What is queued leaves in one message."""

    peer_id: str
    small: Lane
    bulk: Lane
    wants: dict[bytes, Want] = field(default_factory=dict)
    have: dict[bytes, None] = field(default_factory=dict)
    dont_have: dict[bytes, None] = field(default_factory=dict)
    flushing: bool = False


class Bitswap:
    """A plugin of the transport (before it runs). `share_of` is what the transport thinks of a peer: 1.0, or less."""

    def __init__(
        self,
        network: Network,
        store: BlockStore,
        limits: BitswapLimits = BitswapLimits(),
        *,
        share_of: Callable[[str], float] = lambda _: 1.0,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.ledgers = Ledgers(share_of)
        self.store = store
        self._network = network
        self._limits = limits
        self._server = BlockServer(store, self.ledgers, self, limits, self.counters)
        self._asker = BlockAsker(self._want, limits, self.counters)
        self._share_of = share_of
        self._entries: Meter | None = None
        self._host: MeshHost | None = None
        self._nursery: trio.Nursery | None = None
        self._peers: dict[str, _Peer] = {}
        self._heard_at_s: dict[str, float] = {}
        self._silent: set[str] = set()  # speak no bitswap

    # Plugin --------------------------------------------------------------------------------------------

    def attach(self, host: MeshHost) -> None:
        for peer_id in list(self._peers):
            self.leave(peer_id)
        self._host = host
        # Here, as the daemon is put together before its loop runs, and a meter looks at the clock.
        self._entries = Meter(
            "bitswap-entries",
            (self._limits.entries_per_s, self._limits.entries_burst),
            (4 * self._limits.entries_per_s, 4 * self._limits.entries_burst),
            self.counters,
            self._share_of,
        )
        for protocol in PROTOCOLS:
            host.set_stream_handler(protocol, self._serve)
            host.stream_limits[protocol] = self._limits.max_streams
        host.swarm.register_notifee(_Notifee(self))

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                nursery.start_soon(self._close_idle)
                await self._server.run()
            finally:
                self._nursery = None

    def useful(self, peer_id: str) -> bool:
        """Has the peer exchanged anything lately? A foreign one that has is worth its connection."""
        heard_at_s = self._heard_at_s.get(peer_id)
        return heard_at_s is not None and trio.current_time() - heard_at_s < _USEFUL_S

    def may_speak(self, peer_id: str) -> bool:
        """False for a peer that has refused Bitswap on this connection."""
        return peer_id not in self._silent

    def leave(self, peer_id: str) -> None:
        """The last connection to a peer ended."""
        self._silent.discard(peer_id)
        self._peers.pop(peer_id, None)
        self._heard_at_s.pop(peer_id, None)
        self._server.leave(peer_id)
        self._asker.leave(peer_id)
        if self._entries is not None:
            self._entries.forget(peer_id)

    def status(self) -> Mapping[str, Any]:
        """For operators: the counters, and the ledger of each peer with whom something was exchanged."""
        return {
            "counters": dict(self.counters),
            "peers": [
                {
                    "peer_id": peer_id,
                    "sent_bytes": ledger.sent_bytes,
                    "received_bytes": ledger.received_bytes,
                    "sent_blocks": ledger.sent_blocks,
                    "received_blocks": ledger.received_blocks,
                    "wants": ledger.wants,
                    "refused": ledger.refused,
                    "weight": round(ledger.weight, 2),
                }
                for peer_id, ledger in self.ledgers
            ],
        }

    # Asking --------------------------------------------------------------------------------------------

    async def ask(self, peer_id: str, cids: Sequence[bytes]) -> Answer:
        """What a connected peer has of `cids`, verified. PeerGone if it leaves, lies (it is charged) or speaks no
        bitswap; RemoteFault if it is silent."""
        if not self.is_connected(peer_id):
            raise PeerGone(f"{peer_id}: not connected")
        self._heard_at_s.setdefault(peer_id, trio.current_time())
        return await self._asker.ask(peer_id, cids)

    def _want(self, peer_id: str, wants: Sequence[Want]) -> None:
        peer = self._peer(peer_id)
        if peer is None:
            self._asker.leave(peer_id)
            return
        for want in wants:
            before = peer.wants.pop(want.cid, None)
            if not (want.cancel and before is not None and not before.cancel):  # it was not even said
                peer.wants[want.cid] = want
        self._flush_soon(peer)

    # Line: where the server's answers go ----------------------------------------------------------------

    def tell(self, peer_id: str, have: Sequence[bytes], dont_have: Sequence[bytes]) -> None:
        peer = self._peer(peer_id)
        if peer is None:
            return
        for cids, queue in ((have, peer.have), (dont_have, peer.dont_have)):
            room = _MAX_QUEUED - len(queue)
            queue.update(dict.fromkeys(cids[:room]))
            if len(cids) > room:
                self.counters["answers-dropped"] += len(cids) - room
        self._flush_soon(peer)

    async def send_blocks(self, peer_id: str, blocks: Sequence[tuple[bytes, bytes]]) -> None:
        peer = self._peer(peer_id)
        if peer is None:
            raise PeerGone(f"{peer_id} left")
        await peer.bulk.write(partial(encode_blocks, blocks))
        self.counters["blocks-sent"] += len(blocks)

    def report(self, peer_id: str, code: str) -> None:
        self._network.report(peer_id, code)

    # Speaking ------------------------------------------------------------------------------------------

    def is_connected(self, peer_id: str) -> bool:
        return self._host is not None and bool(self._host.swarm.get_connections(_id_of(peer_id)))

    def _peer(self, peer_id: str) -> _Peer | None:
        """None if it is not connected."""
        peer = self._peers.get(peer_id)
        if peer is None and self._host is not None and self._nursery is not None:
            target = _id_of(peer_id)
            if not self._host.swarm.get_connections(target):
                return None
            small, bulk = (Lane(self._host, target, self._limits, self._listen) for _ in range(2))
            peer = self._peers[peer_id] = _Peer(peer_id, small, bulk)
        return peer

    def _flush_soon(self, peer: _Peer) -> None:
        if not peer.flushing and self._nursery is not None:
            peer.flushing = True
            self._nursery.start_soon(self._flush, peer)

    async def _flush(self, peer: _Peer) -> None:
        try:
            while peer.wants or peer.have or peer.dont_have:
                wants = _take(peer.wants).values()
                have, dont_have = _take(peer.have), _take(peer.dont_have)
                with trio.fail_after(self._limits.send_timeout_s):
                    await peer.small.write(
                        lambda protocol, w=wants, h=have, d=dont_have: encode(  # type: ignore[misc]
                            wants=w, have=h, dont_have=d, protocol=protocol
                        )
                    )
        except (PeerGone, trio.TooSlowError) as error:
            if isinstance(error, NoBitswap):
                self._silent.add(peer.peer_id)
            log.debug("not said to %s: %r", peer.peer_id, error)
            for queue in (peer.wants, peer.have, peer.dont_have):
                queue.clear()
            self._asker.leave(peer.peer_id)
        finally:
            peer.flushing = False

    async def _close_idle(self) -> None:
        while True:
            await trio.sleep(self._limits.idle_stream_s / 4)
            for peer in list(self._peers.values()):
                for lane in (peer.small, peer.bulk):
                    if lane.idle:
                        await lane.close()

    # Listening -----------------------------------------------------------------------------------------

    def _listen(self, stream: INetStream) -> None:
        """A stream of ours: kubo says nothing on it, libp2p for Python answers there."""
        if self._nursery is not None:
            self._nursery.start_soon(self._read, stream)

    async def _serve(self, stream: INetStream) -> None:
        """The stream handler."""
        if public_key_of(stream.muxed_conn.peer_id) is None or self._nursery is None:
            await stream.reset()
        else:
            await self._read(stream)

    async def _read(self, stream: INetStream) -> None:
        """Take messages until the stream ends. What is against the rules ends it and is charged."""
        peer_id = str(stream.muxed_conn.peer_id)
        reader = FrameReader(stream, self._limits.message_timeout_s)
        try:
            while True:
                await self._take_message(peer_id, decode(await reader.read()), stream)
        except RemoteFault as fault:
            self.counters[f"fault-{fault.code}"] += 1
            log.debug("bitswap stream of %s: %s", peer_id, fault)
            self._network.report(peer_id, fault.code)
            with trio.move_on_after(1.0, shield=True):
                await stream.reset()
        except NOT_ANSWERED as error:
            log.debug("bitswap stream of %s ended: %r", peer_id, error)
            if not getattr(stream.muxed_stream, "is_initiator", False):  # type: ignore[attr-defined]
                await finish(stream)
        finally:
            reader.close()

    async def _take_message(self, peer_id: str, message: Message, stream: INetStream) -> None:
        self._heard_at_s[peer_id] = trio.current_time()
        self.counters["messages"] += 1
        used = self._asker.take(peer_id, message)
        if used:
            self.ledgers.received(peer_id, used)
            self.counters["blocks-received"] += len(message.blocks) + len(message.bare)
            # It was opened for us: kubo opens one for each message with blocks.
            if isinstance(stream.muxed_conn, MeshYamux):
                stream.muxed_conn.refund_stream()
        assert self._entries is not None
        await self._entries.take(peer_id, 1 + len(message.wants) + len(message.have) + len(message.dont_have))
        if message.wants or message.full:
            await self._server.take(peer_id, message.wants, full=message.full)


def _take(queue: dict[bytes, V]) -> dict[bytes, V]:
    """The first entries of a queue, as many as one message has."""
    taken = {}
    for key in list(queue)[:_MAX_PER_MESSAGE]:
        taken[key] = queue.pop(key)
    return taken


def _id_of(peer_id: str) -> ID:
    try:
        return ID.from_base58(peer_id)
    except ValueError:
        raise LocalFault("bad-peer-id", f"not a peer id: {peer_id!r}") from None


class _Notifee(INotifee):
    def __init__(self, bitswap: Bitswap) -> None:
        self._bitswap = bitswap

    async def connected(self, network: INetwork, conn: INetConn) -> None:
        return

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:
        peer = conn.muxed_conn.peer_id
        if not [each for each in network.get_connections(peer) if each is not conn]:
            self._bitswap.leave(str(peer))

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None:
        return

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None:
        return

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None:
        return

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None:
        return
