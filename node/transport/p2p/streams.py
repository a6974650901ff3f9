"""Reading and writing whole sync messages on one libp2p stream."""

from collections import deque

import trio
from libp2p.abc import INetStream
from libp2p.io.exceptions import IOException
from libp2p.network.connection.exceptions import RawConnError
from libp2p.stream_muxer.exceptions import MuxedStreamError
from swarmd.node.transport.p2p.budget import Budget
from swarmd.node.transport.p2p.sync_wire import (
    LENGTH_BYTES,
    MAX_HEAD_BYTES,
    Kind,
    decode,
    encode,
    encode_head,
)
from swarmd.protocol.faults import RemoteFault

# Everything a stream raises when it, its connection or the peer ends.
STREAM_ENDED = (MuxedStreamError, IOException, RawConnError, OSError, trio.ClosedResourceError)

_BODY_TIMEOUT_S = 60.0
_BATCH_BYTES = 131_072
_MAX_POSTED = 256


class MessageReader:
    """Raises one of STREAM_ENDED at the end, RemoteFault for a message against the rules.

    What it has read of an unfinished message counts as held for the peer; `close` lets go of it."""

    def __init__(self, stream: INetStream, max_body_bytes: int, budget: Budget) -> None:
        self._muxed = stream.muxed_stream  # type: ignore[attr-defined]
        self._peer_id = stream.muxed_conn.peer_id
        self._budget = budget
        self._max_bytes = max_body_bytes + MAX_HEAD_BYTES
        self._buffer = bytearray()

    async def read(self) -> tuple[Kind, int, bytes]:
        await self._fill(LENGTH_BYTES)
        length = int.from_bytes(self._buffer[:LENGTH_BYTES], "big")
        if length > self._max_bytes:
            raise RemoteFault("message-too-big", f"{length} bytes announced, {self._max_bytes} allowed")
        end = LENGTH_BYTES + length
        if len(self._buffer) < end:
            with trio.move_on_after(_BODY_TIMEOUT_S) as scope:
                await self._fill(end)
            if scope.cancelled_caught:
                raise RemoteFault("slow-message", "a message was not finished in time")
        with memoryview(self._buffer) as view, view[LENGTH_BYTES:end] as message:
            found = decode(message)
        del self._buffer[:end]
        self._budget.hold(self._peer_id, -end)
        return found

    def close(self) -> None:
        self._budget.hold(self._peer_id, -len(self._buffer))
        self._buffer.clear()

    async def _fill(self, count: int) -> None:
        while len(self._buffer) < count:
            data = await self._muxed.take()
            self._budget.hold(self._peer_id, len(data))
            if self._buffer:
                self._buffer += data
            else:
                self._buffer = data


class MessageWriter:
    """One task writes, so that a caller who gives up never leaves half a message on the stream."""

    def __init__(self, stream: INetStream) -> None:
        self._muxed = stream.muxed_stream  # type: ignore[attr-defined]
        self._queue: deque[tuple[bytes, trio.Event]] = deque()
        self._filled = trio.Event()
        self._ended = False

    async def run(self) -> None:
        """Write until the stream ends. Raises one of STREAM_ENDED."""
        batch: list[tuple[bytes, trio.Event]] = []
        try:
            while True:
                await self._filled.wait()
                self._filled = trio.Event()
                while self._queue:
                    size = 0
                    batch = []
                    while self._queue and (not batch or size + len(self._queue[0][0]) <= _BATCH_BYTES):
                        batch.append(self._queue.popleft())
                        size += len(batch[-1][0])
                    await self._muxed.write(b"".join([data for data, _ in batch]))
                    for _, written in batch:
                        written.set()
        finally:
            self._ended = True
            for _, written in (*batch, *self._queue):
                written.set()

    def post(self, kind: Kind, request_id: int, body: bytes = b"") -> None:
        """Queue a small message without waiting; dropped if the peer stopped reading."""
        if len(self._queue) < _MAX_POSTED:
            self._push(kind, request_id, body)

    async def send(self, kind: Kind, request_id: int, body: bytes = b"") -> None:
        """Queue a message, return when it is written, or when it never will be."""
        if not self._ended:
            await self._push(kind, request_id, body).wait()

    def _push(self, kind: Kind, request_id: int, body: bytes) -> trio.Event:
        written = trio.Event()
        if len(body) > _BATCH_BYTES:
            self._queue.append((encode_head(kind, request_id, len(body)), trio.Event()))
            self._queue.append((body, written))
        else:
            self._queue.append((encode(kind, request_id, body), written))
        self._filled.set()
        return written
