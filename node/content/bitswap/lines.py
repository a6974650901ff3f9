"""Bitswap's streams: reading whole messages within bounds, and writing on streams that stay open.

Answers do not go back on the stream that a question came by: kubo and helia do not read those they opened. Each side
opens its own; kubo a new one for each message with blocks, we two to each peer that we keep: one for wants and who has
what, one for blocks.
"""

from collections.abc import Callable

import trio
from libp2p.abc import INetStream
from libp2p.peer.id import ID
from swarmd.node.content.bitswap.config import BitswapLimits
from swarmd.node.content.bitswap.message import MAX_MESSAGE_BYTES, PROTOCOLS
from swarmd.node.content.dagpb import varint
from swarmd.node.ports import PeerGone
from swarmd.node.transport.p2p.budget import Budget
from swarmd.node.transport.p2p.host import MeshHost
from swarmd.node.transport.p2p.muxer import MeshYamux
from swarmd.node.transport.p2p.rpc import NOT_ANSWERED
from swarmd.protocol.faults import RemoteFault

_READ_BYTES = 262_144
_MAX_LENGTH_BYTES = 4  # of a varint up to MAX_MESSAGE_BYTES
_CLOSE_TIMEOUT_S = 1.0

# Makes the bytes of a message for the protocol that was agreed on.
Build = Callable[[str], bytes]


class NoBitswap(PeerGone):
    """The peer is there, and opens no stream for any version of the protocol."""


class FrameReader:
    """Messages of one stream, each behind its length as a varint. What is read of an unfinished one counts as held for
    the peer until `close`."""

    def __init__(self, stream: INetStream, timeout_s: float) -> None:
        self._muxed = stream.muxed_stream  # type: ignore[attr-defined]
        self._peer = stream.muxed_conn.peer_id
        conn = stream.muxed_conn
        self._budget: Budget | None = conn.budget if isinstance(conn, MeshYamux) else None
        self._timeout_s = timeout_s
        self._buffer = bytearray()

    async def read(self) -> bytes:
        """The next message. One of NOT_ANSWERED when the stream ends; RemoteFault `bad-varint`, `message-too-big`,
        `slow-message`."""
        if not self._buffer:
            await self._fill()
        with trio.move_on_after(self._timeout_s):
            length, start = await self._length()
            while len(self._buffer) < start + length:
                await self._fill()
            data = bytes(self._buffer[start : start + length])
            del self._buffer[: start + length]
            self._hold(-(start + length))
            return data
        raise RemoteFault("slow-message", "a message was not finished in time")

    async def _length(self) -> tuple[int, int]:
        value = 0
        for at in range(_MAX_LENGTH_BYTES):
            while len(self._buffer) <= at:
                await self._fill()
            byte = self._buffer[at]
            value |= (byte & 0x7F) << 7 * at
            if byte < 0x80:
                if value > MAX_MESSAGE_BYTES:
                    break
                return value, at + 1
        raise RemoteFault("message-too-big", f"over the {MAX_MESSAGE_BYTES} bytes that a message may have")

    async def _fill(self) -> None:
        data = await self._muxed.read(_READ_BYTES)
        self._buffer += data
        self._hold(len(data))

    def _hold(self, count: int) -> None:
        if self._budget is not None:
            self._budget.hold(self._peer, count)

    def close(self) -> None:
        self._hold(-len(self._buffer))
        self._buffer.clear()


class Lane:
    """One kept stream to a peer, opened when there is something to say. `opened` gets each new stream: a peer may
    answer on it."""

    def __init__(
        self, host: MeshHost, peer: ID, limits: BitswapLimits, opened: Callable[[INetStream], None]
    ) -> None:
        self._host = host
        self._peer = peer
        self._limits = limits
        self._opened = opened
        self._stream: INetStream | None = None
        self._lock = trio.Lock()
        self.used_at_s = trio.current_time()

    @property
    def idle(self) -> bool:
        late = trio.current_time() - self.used_at_s > self._limits.idle_stream_s
        return late and self._stream is not None and not self._lock.locked()

    async def write(self, build: Build) -> None:
        """Return when it is written. PeerGone if it cannot be."""
        async with self._lock:
            kept = self._stream is not None
            if not kept:
                await self._open()
            try:
                await self._write(build)
            except NOT_ANSWERED as error:
                if not kept:
                    raise PeerGone(f"{self._peer}: {type(error).__name__}") from None
                # The peer had closed the one we kept.
                await self._open()
                try:
                    await self._write(build)
                except NOT_ANSWERED as again:
                    raise PeerGone(f"{self._peer}: {type(again).__name__}") from None

    async def _open(self) -> None:
        try:
            with trio.fail_after(self._limits.open_timeout_s):
                self._stream = await self._host.new_stream(self._peer, PROTOCOLS)
        except NOT_ANSWERED as error:
            raise NoBitswap(f"{self._peer} does not speak bitswap ({type(error).__name__})") from None
        self._opened(self._stream)

    async def _write(self, build: Build) -> None:
        stream = self._stream
        assert stream is not None
        written = False
        try:
            body = build(str(stream.get_protocol()))
            await stream.muxed_stream.write(varint(len(body)) + body)  # type: ignore[attr-defined]
            written = True
            self.used_at_s = trio.current_time()
        finally:
            if not written:  # half a message may be out, also when we are cancelled
                await self._drop()

    async def close(self) -> None:
        """Close the stream, for now."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await finish(stream)

    async def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with trio.move_on_after(_CLOSE_TIMEOUT_S, shield=True):
                await stream.reset()


async def finish(stream: INetStream) -> None:
    """Close a stream as one who has said all."""
    with trio.move_on_after(_CLOSE_TIMEOUT_S, shield=True):
        try:
            await stream.close()
        except NOT_ANSWERED:
            await stream.reset()
