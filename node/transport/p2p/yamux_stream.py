"""One stream of a yamux connection: reads and writes within the windows, without locks."""

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio
from libp2p.security.noise.io import MAX_PLAINTEXT_LENGTH
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamError, MuxedStreamReset
from libp2p.stream_muxer.yamux.yamux import (
    HEADER_SIZE,
    TYPE_DATA,
    TYPE_WINDOW_UPDATE,
    YamuxStream,
)

if TYPE_CHECKING:
    from swarmd.node.transport.p2p.muxer import MeshYamux

HEADER = struct.Struct("!BBHII")
_MAX_CHUNK_BYTES = MAX_PLAINTEXT_LENGTH - HEADER_SIZE  # a frame and its header fit one noise message
_MAX_SEND_WINDOW = 1 << 31

# Takes what came in for a stream on the spot, without waiting; says how many bytes of it. The rest is buffered.
Tap = Callable[[bytes], int]


class Cut(Exception):
    """The peer broke the protocol: close the connection. `code` is the fault charged."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class MeshStream(YamuxStream):
    """One stream. Reads and writes take no locks: trio switches tasks at awaits only."""

    conn: "MeshYamux"

    def __init__(self, stream_id: int, conn: "MeshYamux", is_initiator: bool) -> None:
        super().__init__(stream_id, conn, is_initiator)
        self.recv_window = conn.limits.stream_window_bytes
        # Asked only while nothing is buffered: order is kept. Set by who waits in `read`, unset when it returns.
        self.tap: Tap | None = None
        self._unacked = 0
        self._window_opened = trio.Event()

    def open_window(self, increment: int) -> None:
        self.send_window += increment
        if self.send_window > _MAX_SEND_WINDOW:
            raise Cut("window-overflow")
        self.wake_writer()

    def wake_writer(self) -> None:
        self._window_opened.set()
        self._window_opened = trio.Event()

    async def write(self, data: bytes) -> None:
        """Send all of `data`; MuxedStreamError if the stream ends or the peer grants no window for long."""
        sent, total = 0, len(data)
        view = memoryview(data)
        while sent < total:
            if self.send_closed or self.closed:
                raise MuxedStreamError("stream is closed for sending")
            if self.send_window <= 0:
                with trio.move_on_after(self.conn.limits.write_stall_timeout_s):
                    await self._window_opened.wait()
                    continue
                raise MuxedStreamError("the peer stopped reading")
            count = min(self.send_window, _MAX_CHUNK_BYTES, total - sent)
            self.send_window -= count
            header = HEADER.pack(0, TYPE_DATA, 0, self.stream_id, count)
            self.conn.push(b"".join((header, view[sent : sent + count])))
            sent += count
            if sent == total or self.conn.crowded:
                await self.conn.wait_writable()

    def try_write(self, data: bytes) -> bool:
        """Queue all of `data` now if it fits window and outbox; else nothing. Never beside a `write`."""
        conn, count = self.conn, len(data)
        if (
            self.send_closed
            or self.closed
            or count > min(self.send_window, _MAX_CHUNK_BYTES)
            or conn.crowded
            or conn.event_shutting_down.is_set()
        ):
            return False
        self.send_window -= count
        conn.send_now(HEADER.pack(0, TYPE_DATA, 0, self.stream_id, count) + data)
        return True

    async def read(self, n: int | None = -1) -> bytes:
        """What has arrived, at most `n` bytes; waits for the first. MuxedStreamEOF at the end."""
        buffer = await self._arrived()
        if n is None or n < 0 or n >= len(buffer):
            data = bytes(buffer)
            buffer.clear()
        else:
            data = bytes(buffer[:n])
            del buffer[:n]
        await self._was_read(len(data), buffer)
        return data

    async def take(self) -> bytearray:
        """As `read`, all that has arrived, without a copy."""
        buffer = await self._arrived()
        left = self.conn.stream_buffers[self.stream_id] = bytearray()
        await self._was_read(len(buffer), left)
        return buffer

    async def _arrived(self) -> bytearray:
        while True:
            buffer = self.conn.stream_buffers.get(self.stream_id)
            if buffer:
                return buffer
            if self.reset_received:
                raise MuxedStreamReset("stream was reset")
            if buffer is None or self.recv_closed or self.conn.event_shutting_down.is_set():
                raise MuxedStreamEOF("stream is closed for receiving")
            event = self.conn.stream_events.get(self.stream_id)
            if event is None:
                raise MuxedStreamEOF("stream was removed")
            if event.is_set():
                event = self.conn.stream_events[self.stream_id] = trio.Event()
            await event.wait()

    async def _was_read(self, count: int, left: bytearray) -> None:
        self.conn.hold(-count)
        self.grant(count)
        if self.closed and not left:
            await self.conn._finalize_stream(self, fully_closed=True)

    def grant(self, count: int) -> None:
        """Give the window back in halves: an update for each read cost 17 % of the CPU."""
        self._unacked += count
        if self._unacked * 2 >= self.conn.limits.stream_window_bytes and not self.recv_closed:
            self.recv_window += self._unacked
            self.conn.push(HEADER.pack(0, TYPE_WINDOW_UPDATE, 0, self.stream_id, self._unacked))
            self._unacked = 0
