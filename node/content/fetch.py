"""Fetching a DAG from peers: each block verified, the next peer when one lies, stalls or leaves.

A peer is a `Source`: it is asked over `Transport.request` (`fetch`, which the simulator runs as it is) or by Bitswap.
One fetch asks few peers at a time; a small content costs one request to the first of them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio
from swarmd.node.content.treewalk import TreeWalk
from swarmd.node.content.wire import (
    MAX_ANSWER_BLOCK_BYTES,
    MAX_CIDS_PER_REQUEST,
    Answer,
    content_request,
    decode_answer,
)
from swarmd.node.ports import BlockStore, PeerGone, Transport
from swarmd.protocol.cids import RAW, cid_text, codec_of, raw_cid, verify_block
from swarmd.protocol.faults import Fault, LocalFault, RemoteFault
from swarmd.protocol.limits import MAX_CONTENT_BYTES

# How much is hashed and written between two checkpoints: a few milliseconds of the daemon's loop.
_SLICE_BYTES: Final = 1_048_576
_EMPTY: Final = raw_cid(b"")


class BatchBlockStore(BlockStore, Protocol):
    """A BlockStore that also writes many blocks at once."""

    def put_many(self, blocks: Iterable[tuple[bytes, bytes]], /) -> int: ...


class Source(Protocol):
    """A peer and a way to ask it."""

    @property
    def peer_id(self) -> str: ...

    async def ask(self, cids: Sequence[bytes]) -> Answer:
        """What it has of `cids`. PeerGone if it left, RemoteFault if it misbehaves or is silent."""


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Bounds of one fetch."""

    max_bytes: int = MAX_CONTENT_BYTES  # of the file, as its root declares
    request_timeout_s: float = 10.0  # a peer that needs longer for one request stalls
    requests_per_peer: int = 2  # the next is on its way while one is hashed and written
    requests: int = 8  # over all peers
    # A node of unknown size is taken to be this big when requests are cut to what one answer can hold.
    unknown_block_bytes: int = 16_384
    unknown_file_bytes: int = 262_144  # and a file of one block, that a directory names without its size


@dataclass(frozen=True, slots=True)
class RequestSource:
    """Asks a peer of our own protocol: all its blocks in one answer."""

    transport: Transport
    peer_id: str
    timeout_s: float

    async def ask(self, cids: Sequence[bytes]) -> Answer:
        try:
            with trio.fail_after(self.timeout_s):
                body = await self.transport.request(
                    self.peer_id, content_request(cids), timeout_s=self.timeout_s
                )
        except trio.TooSlowError:
            raise RemoteFault("content-timeout", f"no answer in {self.timeout_s} s") from None
        return decode_answer(body, cids)


@dataclass(slots=True)
class _Peer:
    source: Source
    in_flight: int = 0
    gone: bool = False  # lied, stalled or left: not asked again in this fetch
    asked: bool = False
    lacks: set[bytes] = field(default_factory=set)


async def fetch(
    transport: Transport,
    peers: Sequence[str],
    cid: bytes,
    store: BatchBlockStore,
    limits: FetchLimits = FetchLimits(),
) -> None:
    """Bring the whole DAG under `cid` (a file, a directory with all in it, a record) into `store`, asking `peers`, best
    first; what is here is not asked for.

    A peer whose block does not hash to its CID is reported as `bad-block` and left. LocalFault
    `content-unavailable` when no peer that is left has a block: what came before stays in the store, so a
    later fetch resumes. RemoteFault (`bad-dag`, `bad-dag-pb`, ...) when the content itself is bad, which is
    its author's fault and nobody's here.
    """
    sources = [RequestSource(transport, peer, limits.request_timeout_s) for peer in dict.fromkeys(peers)]
    await fetch_from(sources, transport.report, cid, store, limits)


async def fetch_from(
    sources: Sequence[Source],
    report: Callable[[str, str], None],
    cid: bytes,
    store: BatchBlockStore,
    limits: FetchLimits = FetchLimits(),
) -> None:
    """As `fetch`, from any sources, best first. `report(peer_id, code)` hears of those that misbehave."""
    await _Fetch(sources, report, cid, store, limits).run()


class _Fetch:
    def __init__(
        self,
        sources: Sequence[Source],
        report: Callable[[str, str], None],
        root: bytes,
        store: BatchBlockStore,
        limits: FetchLimits,
    ) -> None:
        self._report = report
        self._store = store
        self._limits = limits
        self._root = root
        self._walk = TreeWalk(root, max_bytes=limits.max_bytes)
        self._peers = [_Peer(source) for source in sources]
        self._todo: dict[bytes, None] = {}  # an ordered set: the file's order
        self._in_flight = 0
        self._fault: Fault | None = None
        self._changed = trio.Event()

    async def run(self) -> None:
        await self._expect([self._root])
        async with trio.open_nursery() as nursery:
            while self._todo or self._in_flight:
                if self._fault is None:
                    self._dispatch(nursery)
                if self._fault is None and not self._in_flight:
                    self._fault = self._unavailable()
                if self._fault is not None:
                    nursery.cancel_scope.cancel()
                    break
                await self._changed.wait()
                self._changed = trio.Event()
        if self._fault is not None:
            raise self._fault

    def _dispatch(self, nursery: trio.Nursery) -> None:
        """Start as many requests as the limits allow; a peer gets a second one only if the rest are busy."""
        for rank in range(self._limits.requests_per_peer):
            for peer in self._peers:
                if peer.gone or peer.in_flight != rank or self._in_flight >= self._limits.requests:
                    continue
                cids = self._pick(peer)
                if cids:
                    peer.in_flight += 1
                    peer.asked = True
                    self._in_flight += 1
                    nursery.start_soon(self._ask, peer, cids)

    def _pick(self, peer: _Peer) -> list[bytes]:
        """The next CIDs to ask of `peer`: as many as one answer can hold."""
        picked: list[bytes] = []
        room = MAX_ANSWER_BLOCK_BYTES
        for cid in self._todo:
            if cid in peer.lacks:
                continue
            room -= self._guess_bytes(cid)
            if picked and (room < 0 or len(picked) == MAX_CIDS_PER_REQUEST):
                break
            picked.append(cid)
        for cid in picked:
            del self._todo[cid]
        return picked

    def _guess_bytes(self, cid: bytes) -> int:
        size = self._walk.size_of(cid)
        if codec_of(cid) != RAW:
            return self._limits.unknown_block_bytes
        return self._limits.unknown_file_bytes if size is None else size

    async def _ask(self, peer: _Peer, cids: list[bytes]) -> None:
        """One request. Whatever happens, each of `cids` is in the store or back in the queue afterwards."""
        open_cids = dict.fromkeys(cids)
        try:
            answer = await self._answer_of(peer, cids)
            if answer is None:
                peer.gone = True
                return
            peer.lacks |= answer.missing
            await self._take(peer, answer, open_cids)
            if not answer.blocks and not answer.missing:
                peer.gone = True  # it answers, but with nothing: the same as a stall
        except Fault as fault:
            # A bad DAG or a full disk ends the fetch; raised by `run`, outside of the nursery's group.
            self._fault = fault
        finally:
            self._todo = open_cids | self._todo  # first in line again
            peer.in_flight -= 1
            self._in_flight -= 1
            self._changed.set()

    async def _answer_of(self, peer: _Peer, cids: list[bytes]) -> Answer | None:
        """The peer's answer; None (and the fault reported) if it left, stalled or talks nonsense."""
        try:
            return await peer.source.ask(cids)
        except RemoteFault as fault:
            self._report(peer.source.peer_id, fault.code)
        except PeerGone:
            pass  # leaving is no fault
        return None

    async def _take(self, peer: _Peer, answer: Answer, open_cids: dict[bytes, None]) -> None:
        """Verify and store the blocks of an answer, slice by slice; those done leave `open_cids`."""
        todo = list(answer.blocks.items())
        while todo and not peer.gone:
            good: list[tuple[bytes, bytes]] = []
            size = 0
            while todo and size < _SLICE_BYTES:
                cid, block = todo.pop(0)
                if not answer.verified and not verify_block(cid, block):
                    self._report(peer.source.peer_id, "bad-block")
                    peer.gone = True
                    break
                good.append((cid, block))
                size += len(block)
            # The walk goes first: a block that makes the DAG bad is not worth keeping.
            found = [child for cid, block in good for child in self._walk.add(cid, block)]
            self._store.put_many(good)
            for cid, _ in good:
                del open_cids[cid]
            await self._expect(found)

    async def _expect(self, cids: list[bytes]) -> None:
        """Queue what is not in the store, and walk on through what is."""
        while cids:
            found: list[bytes] = []
            for cid in cids:
                if cid == _EMPTY:
                    # Everybody has it, and kubo's Bitswap never sends it.
                    self._store.put(_EMPTY, b"")
                if self._walk.is_known_leaf(cid):
                    if not self._store.has(cid):
                        self._todo[cid] = None
                    continue
                block = self._store.get(cid)
                if block is None:
                    self._todo[cid] = None
                else:
                    found += self._walk.add(cid, block)
            cids = found
            self._changed.set()  # idle peers may take these while this answer is still being written
            await trio.lowlevel.checkpoint()

    def _unavailable(self) -> LocalFault | None:
        if not self._todo:
            return None
        cid = cid_text(next(iter(self._todo)))
        asked = sum(peer.asked for peer in self._peers)
        return LocalFault(
            "content-unavailable",
            f"no peer gave block {cid} of {cid_text(self._root)} ({asked} of {len(self._peers)} peers asked)",
            fix="wait for a peer that has it, or add one",
        )
