"""Asking one peer for blocks by Bitswap, in the shape of a request and its answer."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio
from swarmd.node.content.bitswap.config import BitswapLimits
from swarmd.node.content.bitswap.message import Message, Want
from swarmd.node.content.wire import Answer
from swarmd.node.ports import PeerGone
from swarmd.protocol.cids import DAG_CBOR, DAG_PB, RAW
from swarmd.protocol.faults import RemoteFault


@dataclass(slots=True, eq=False)
class _Ask:
    """`open` are the CIDs that the peer has not answered yet."""

    open: dict[bytes, None]
    blocks: dict[bytes, bytes] = field(default_factory=dict)
    missing: set[bytes] = field(default_factory=set)
    fault: Exception | None = None
    heard: trio.Event = field(default_factory=trio.Event)

    def wake(self) -> None:
        self.heard.set()
        self.heard = trio.Event()


@dataclass(slots=True)
class _Peer:
    asks: dict[_Ask, None] = field(default_factory=dict)
    asked: OrderedDict[bytes, None] = field(default_factory=OrderedDict)  # lately: a late block is no fault


class BlockAsker:
    """`want(peer_id, wants)` queues entries for a peer's wantlist."""

    def __init__(
        self,
        want: Callable[[str, Sequence[Want]], None],
        limits: BitswapLimits,
        counters: Counter[str],
    ) -> None:
        self._want = want
        self._limits = limits
        self._counters = counters
        self._peers: dict[str, _Peer] = {}

    async def ask(self, peer_id: str, cids: Sequence[bytes]) -> Answer:
        """What the peer has of `cids`, each block verified. PeerGone if it leaves, or sends what it was not asked for
        (`take` has charged it); RemoteFault `content-timeout` if it says nothing for `idle_timeout_s`."""
        peer = self._peers.setdefault(peer_id, _Peer())
        ask = _Ask(dict.fromkeys(cids))
        peer.asks[ask] = None
        for cid in cids:
            peer.asked[cid] = None
            peer.asked.move_to_end(cid)
        while len(peer.asked) > max(self._limits.remember_asked, len(cids)):
            peer.asked.popitem(last=False)
        try:
            self._want(peer_id, [Want(cid, send_dont_have=True) for cid in cids])
            await self._until_answered(ask)
        finally:
            peer.asks.pop(ask, None)
            still = [cid for cid in ask.open if not any(cid in other.open for other in peer.asks)]
            if still and not isinstance(ask.fault, PeerGone):
                self._want(peer_id, [Want(cid, cancel=True) for cid in still])
        if ask.fault is not None:
            raise ask.fault
        return Answer(ask.blocks, frozenset(ask.missing), verified=True)

    async def _until_answered(self, ask: _Ask) -> None:
        """Until each CID is answered, or the peer is silent: then what came until then is its answer."""
        while ask.open and ask.fault is None:
            left = len(ask.open)
            with trio.move_on_after(self._limits.idle_timeout_s):
                await ask.heard.wait()
            if len(ask.open) == left and ask.fault is None:
                if not ask.blocks:
                    raise RemoteFault("content-timeout", "asked for blocks, it said nothing")
                return

    def take(self, peer_id: str, message: Message) -> int:
        """Blocks and presences of `peer_id`; how many bytes of them were asked for. RemoteFault `bad-block` for a
        block that we did not ask it for."""
        peer = self._peers.get(peer_id)
        used = 0
        for cid, block in message.blocks:
            used += self._take_block(peer, (cid,), block)
        for digest, block in message.bare:
            cids = tuple(bytes((1, codec, 0x12, 0x20)) + digest for codec in (RAW, DAG_PB, DAG_CBOR))
            used += self._take_block(peer, cids, block)
        if peer is not None:
            for ask in list(peer.asks):
                gone = [cid for cid in message.dont_have if cid in ask.open]
                for cid in gone:
                    del ask.open[cid]
                    ask.missing.add(cid)
                if gone:
                    ask.wake()
        return used

    def _take_block(self, peer: _Peer | None, cids: Sequence[bytes], block: bytes) -> int:
        asked = [cid for cid in cids if peer is not None and cid in peer.asked]
        if peer is None or not asked:
            for ask in [] if peer is None else list(peer.asks):
                ask.fault = PeerGone("it sent a block that was not asked for")
                ask.wake()
            raise RemoteFault("bad-block", "a block that was not asked for, or not what it was asked as")
        used = 0
        for ask in list(peer.asks):
            for cid in asked:
                if cid in ask.open:
                    del ask.open[cid]
                    ask.blocks[cid] = block
                    used = len(block)
                    ask.wake()
        if not used:
            self._counters["late-blocks"] += 1
        return used

    def leave(self, peer_id: str) -> None:
        """The peer is gone: who waits for it hears so."""
        peer = self._peers.pop(peer_id, None)
        for ask in [] if peer is None else list(peer.asks):
            ask.fault = PeerGone(f"{peer_id} left")
            ask.wake()
