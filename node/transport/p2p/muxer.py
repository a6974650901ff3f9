"""Yamux (https://github.com/hashicorp/yamux/blob/master/spec.md), bounded and fast.

libp2p 0.8.1's receive loop does not enforce the windows it grants (+290 MB from one peer), has no cap on
streams, blocks on its own replies, and takes half a dozen locks, each a scheduler round, per frame. This
keeps its classes, for what else refers to them, and replaces both loops:

- receiving: whole noise messages are parsed without awaiting; a peer that oversteps a window, the
  connection's buffer or the stream cap is reported and cut off; one that sends more frames than it may is
  read more slowly, and cut off if it insists;
- sending: frames of all streams go to one outbox that one task writes, so that what was queued
  meanwhile leaves in one system call. Writers wait while the outbox is full.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import trio
from libp2p.abc import IMuxedConn, ISecureConn
from libp2p.io.exceptions import IOException
from libp2p.network.connection.exceptions import RawConnError
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux.yamux import (
    DEFAULT_WINDOW_SIZE,
    FLAG_ACK,
    FLAG_FIN,
    FLAG_RST,
    FLAG_SYN,
    GO_AWAY_NORMAL,
    HEADER_SIZE,
    PROTOCOL_ID,
    TYPE_DATA,
    TYPE_GO_AWAY,
    TYPE_PING,
    TYPE_WINDOW_UPDATE,
    Yamux,
    YamuxStream,
)
from noise.exceptions import NoiseInvalidMessage  # type: ignore[import-untyped]
from swarmd.node.transport.p2p.budget import Budget
from swarmd.node.transport.p2p.config import P2PLimits
from swarmd.node.transport.p2p.rates import MAX_WAIT_S, Bucket
from swarmd.node.transport.p2p.wire import NoiseWire
from swarmd.node.transport.p2p.yamux_stream import HEADER, Cut, MeshStream

_OUTBOX_HIGH_BYTES = 262_144
_OUTBOX_LIMIT_BYTES = 4 << 20  # replies alone (pongs, resets) never fill this unless the peer stopped reading
_FLUSH_TIMEOUT_S = 0.25
_CLEANUP_TIMEOUT_S = 0.5
# So many arrivals of one read are handled on the spot; the rest waits for its streams' tasks, as other peers do
# (docs/adr/0041-frames-are-taken-where-they-are-read.md).
_TAPS_A_TURN = 16

# Whom to tell that a peer broke a rule: peer, fault code.
Violation = Callable[[ID, str], None]


class MeshYamux(Yamux):
    """One connection."""

    def __init__(
        self,
        secured_conn: ISecureConn,
        peer_id: ID,
        *,
        is_initiator: bool,
        limits: P2PLimits,
        budget: Budget,
        on_violation: Violation,
        drops: Counter[str],
    ) -> None:
        super().__init__(secured_conn, peer_id, is_initiator=is_initiator)
        self._wire = NoiseWire.under(secured_conn)
        self._flushes = 0  # under way: one, and another while closing
        self.limits = limits
        self.buffered_bytes = 0
        self.budget = budget
        self._drops = drops
        self._frame_rate = Bucket(limits.mux_frames_per_s, limits.mux_frames_burst)
        self._open_rate = Bucket(limits.stream_opens_per_s, limits.stream_opens_burst)
        self._patience = Bucket(limits.max_mux_throttled_s / 60, limits.max_mux_throttled_s)
        self.heard_at_s = trio.current_time()
        self._cleaned = False
        self._on_violation = on_violation
        self._inbound_streams = 0
        self._taps = 0
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._outbox_filled = trio.Event()
        self._outbox_drained = trio.Event()
        # The accept loop must never stall the receive loop.
        self.new_stream_send_channel, self.new_stream_receive_channel = trio.open_memory_channel(
            limits.max_inbound_streams + 1
        )

    def hold(self, count: int) -> None:
        """So many bytes more are buffered for the peer; fewer, if negative. What a closed connection held is let go of."""
        if self._cleaned:
            return
        self.buffered_bytes += count
        self.budget.hold(self.peer_id, count)

    def refund_stream(self) -> None:
        """A stream that the peer opened brought what we had asked for: it does not count against its rate."""
        self._open_rate.give()

    # Sending.

    def push(self, data: bytes) -> None:
        """Queue a frame for the writer, without waiting. A closed connection has none."""
        if self._cleaned:
            return
        self._outbox.append(data)
        self._outbox_bytes += len(data)
        self.budget.hold(self.peer_id, len(data))
        self._outbox_filled.set()

    def poke(self) -> None:
        """Ask for a sign of life, without waiting; `heard_at_s` says when there was one."""
        self.push(HEADER.pack(0, TYPE_PING, FLAG_SYN, 0, 0))

    def send_now(self, data: bytes) -> None:
        """As `push`; if nothing waits, past the writer, which saves waking it."""
        if self._outbox or self._flushes or self._wire is None or not self._wire.write_now(data):
            self.push(data)
        elif self._wire.unsent:
            self.push(b"")

    @property
    def crowded(self) -> bool:
        """Does so much wait to be sent that who writes must wait, too?"""
        return self._outbox_bytes > _OUTBOX_HIGH_BYTES

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()
        while self.crowded:
            if self.event_shutting_down.is_set():
                raise MuxedStreamError("connection is shutting down")
            await self._outbox_drained.wait()

    async def _write_frame(self, data: bytes) -> None:
        if self.event_shutting_down.is_set():
            raise RawConnError("connection is shutting down")
        self.push(data)
        await self.wait_writable()

    async def _write_loop(self) -> None:
        try:
            while True:
                await self._outbox_filled.wait()
                await self._flush()
        except (IOException, RawConnError, OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            # Only that: it wakes the receive loop, which cleans up. Doing it here would be cut short when
            # the receive loop ends this task.
            await self.secured_conn.close()

    async def _flush(self) -> None:
        frames, self._outbox = self._outbox, []
        self.budget.hold(self.peer_id, -self._outbox_bytes)
        self._outbox_bytes = 0
        self._outbox_filled = trio.Event()
        self._outbox_drained.set()
        self._outbox_drained = trio.Event()
        self._flushes += 1  # from here on nothing may overtake `frames`
        try:
            async with self._write_lock:
                if self._wire is not None:
                    await self._wire.write(frames)
                elif data := b"".join(frames):
                    await self.secured_conn.write(data)
        finally:
            self._flushes -= 1

    async def open_stream(self) -> YamuxStream:
        await self.stream_backlog_semaphore.acquire()
        if self.event_shutting_down.is_set():
            self.stream_backlog_semaphore.release()
            raise MuxedStreamError("connection is shutting down")
        stream = self._add_stream(self.next_stream_id, is_initiator=True)
        self.next_stream_id += 2
        stream._owns_backlog_slot = True
        # The SYN carries what we grant above the default window.
        extra = self.limits.stream_window_bytes - DEFAULT_WINDOW_SIZE
        self.push(HEADER.pack(0, TYPE_WINDOW_UPDATE, FLAG_SYN, stream.stream_id, extra))
        return stream

    def _add_stream(self, stream_id: int, *, is_initiator: bool) -> MeshStream:
        stream = MeshStream(stream_id, self, is_initiator)
        self.streams[stream_id] = stream
        self.stream_buffers[stream_id] = bytearray()
        self.stream_events[stream_id] = trio.Event()
        return stream

    def _finalize_stream_locked(self, stream: YamuxStream, *, fully_closed: bool) -> None:
        known = stream.stream_id in self.streams
        super()._finalize_stream_locked(stream, fully_closed=fully_closed)
        if known and stream.stream_id not in self.streams and not stream.is_initiator:
            self._inbound_streams -= 1

    def _sweep_stale_streams(self, now: float | None = None) -> int:
        held = sum(len(buffer) for buffer in self.stream_buffers.values())
        reclaimed = super()._sweep_stale_streams(now)
        left = sum(len(buffer) for buffer in self.stream_buffers.values())
        self.hold(left - held)
        self._inbound_streams = sum(not stream.is_initiator for stream in self.streams.values())
        return reclaimed

    # Receiving.

    async def handle_incoming(self) -> None:
        """Until the connection ends. Every way out closes it."""
        assert self._nursery is not None
        self._nursery.start_soon(self._write_loop)
        rest = bytearray()  # of a frame that is not whole yet
        try:
            while not self.event_shutting_down.is_set():
                if self.budget.full:
                    await self.budget.room()
                arrived = await self._wire.read() if self._wire else (await self.secured_conn.read(),)
                self.heard_at_s = trio.current_time()
                self._taps = 0
                frames = sum([self._take_plain(data, rest) for data in arrived])
                if self._outbox_bytes > _OUTBOX_LIMIT_BYTES:
                    raise Cut("reads-nothing")
                if wait_s := self._frame_rate.take(frames):
                    await self._slow_down(wait_s)
        except Cut as cut:
            self._on_violation(self.peer_id, cut.code)
        except NoiseInvalidMessage:
            self._on_violation(self.peer_id, "bad-noise")
        except Exception:
            # The isolation boundary of one connection: whatever the crypto or the socket raises on a
            # peer's bytes ends this connection and nothing else. Cancelled passes.
            pass
        finally:
            rest.clear()  # now, not when the collector comes to the tracebacks that know of it
        await self._cleanup_on_error()

    async def _slow_down(self, wait_s: float) -> None:
        """More frames than it may send: TCP tells it, because we do not read. Whoever fills that too is cut off."""
        self._drops["throttled-mux-frames"] += 1
        wait_s = min(wait_s, MAX_WAIT_S)
        if not self._patience.try_take(wait_s):
            raise Cut("frame-flood")
        with trio.move_on_after(wait_s):
            await self.event_shutting_down.wait()

    def _take_plain(self, data: bytes, rest: bytearray) -> int:
        """Handle `data` and what is left of those before; how many frames they were. Mostly they are whole."""
        if rest:
            rest += data
            used, frames = self._take_frames(rest)
            del rest[:used]
        else:
            used, frames = self._take_frames(data)
            if used < len(data):
                rest += memoryview(data)[used:]
        return frames

    def _take_frames(self, buffer: bytes | bytearray) -> tuple[int, int]:
        """Handle the whole frames in `buffer`; the bytes used, and how many frames they were."""
        position, end, frames = 0, len(buffer), 0
        while end - position >= HEADER_SIZE:
            version, kind, flags, stream_id, length = HEADER.unpack_from(buffer, position)
            if version != 0 or kind > TYPE_GO_AWAY:
                raise Cut("bad-yamux-frame")
            body_start = position + HEADER_SIZE
            if kind != TYPE_DATA:
                self._take_control(kind, flags, stream_id, length)
                position = body_start
                frames += 1
                continue
            if length > self.limits.stream_window_bytes:
                raise Cut("flow-control")
            if end - body_start < length:
                break
            if flags & FLAG_SYN:
                self._accept(stream_id, 0)
            self._take_data(stream_id, buffer, body_start, length)
            if flags & (FLAG_FIN | FLAG_RST):
                self._end(stream_id, flags)
            position = body_start + length
            frames += 1
        return position, frames

    def _take_control(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        if kind == TYPE_WINDOW_UPDATE:
            if flags & FLAG_SYN:
                self._accept(stream_id, length)
            else:
                stream = self.streams.get(stream_id)
                if isinstance(stream, MeshStream):
                    stream.open_window(length)
            if flags & (FLAG_FIN | FLAG_RST):
                self._end(stream_id, flags)
        elif kind == TYPE_PING:
            if flags & FLAG_SYN:
                self.push(HEADER.pack(0, TYPE_PING, FLAG_ACK, 0, length))
            else:
                sample_s = trio.current_time() - self._ping_sent_time
                self._rtt = sample_s if self._rtt == 0.0 else (self._rtt + sample_s) / 2
                self._ping_event.set()
        else:
            raise trio.EndOfChannel  # GO_AWAY

    def _accept(self, stream_id: int, window: int) -> None:
        if stream_id in self.streams or stream_id % 2 == self.next_stream_id % 2:
            raise Cut("bad-stream-id")
        if self._inbound_streams >= self.limits.max_inbound_streams or not self._open_rate.try_take():
            self._drops["stream-refused"] += 1
            self.push(HEADER.pack(0, TYPE_WINDOW_UPDATE, FLAG_RST, stream_id, 0))
            self._on_violation(self.peer_id, "stream-flood")
            return
        stream = self._add_stream(stream_id, is_initiator=False)
        self._inbound_streams += 1
        try:
            self.new_stream_send_channel.send_nowait(stream)
        except trio.WouldBlock:
            self._drops["stream-refused"] += 1
            self._drop(stream)
            self.push(HEADER.pack(0, TYPE_WINDOW_UPDATE, FLAG_RST, stream_id, 0))
            return
        stream.open_window(window)
        extra = self.limits.stream_window_bytes - DEFAULT_WINDOW_SIZE
        self.push(HEADER.pack(0, TYPE_WINDOW_UPDATE, FLAG_ACK, stream_id, extra))

    def _take_data(self, stream_id: int, buffer: bytes | bytearray, start: int, length: int) -> None:
        """The body of a frame, `length` bytes of `buffer` at `start`."""
        stream = self.streams.get(stream_id)
        if not length or not isinstance(stream, MeshStream):
            return  # of a stream we reset: already paid for by its window
        stream.recv_window -= length
        if stream.recv_window < 0 or self.buffered_bytes + length > self.limits.max_connection_buffer_bytes:
            raise Cut("flow-control")
        buffered = self.stream_buffers[stream_id]
        if stream.tap is not None and not buffered and self._taps < _TAPS_A_TURN:
            self._taps += 1
            taken = stream.tap(bytes(buffer[start : start + length]))
            if taken:
                stream.grant(taken)
                start, length = start + taken, length - taken
                if not length:
                    return
        self.hold(length)
        buffered += memoryview(buffer)[start : start + length]
        self.stream_events[stream_id].set()

    def _end(self, stream_id: int, flags: int) -> None:
        stream = self.streams.get(stream_id)
        if not isinstance(stream, MeshStream):
            return
        self.stream_events[stream_id].set()
        if flags & FLAG_RST:
            stream.closed = stream.reset_received = stream.recv_closed = stream.send_closed = True
            stream.wake_writer()
            self._drop(stream)
            return
        stream.recv_closed = True
        if stream.send_closed:
            stream.closed = True
            self._finalize_stream_locked(stream, fully_closed=True)

    def _drop(self, stream: YamuxStream) -> None:
        """Forget a dead stream with what it still buffered."""
        buffer = self.stream_buffers.get(stream.stream_id)
        if buffer:
            self.hold(-len(buffer))
            buffer.clear()
        self._finalize_stream_locked(stream, fully_closed=True)

    async def _finalize_stream(self, stream: YamuxStream, *, fully_closed: bool) -> None:
        if fully_closed and (stream.reset_received or stream.stream_id not in self.stream_buffers):
            self._drop(stream)
        else:
            self._finalize_stream_locked(stream, fully_closed=fully_closed)

    # Closing.

    async def _cleanup_on_error(self) -> None:
        if self._cleaned:
            return
        streams = list(self.streams.values())
        # What is buffered goes with the connection, whoever still reads some of it.
        self.hold(-self.buffered_bytes)
        self._cleaned = True
        self.budget.hold(self.peer_id, -self._outbox_bytes)
        self._outbox.clear()
        self._outbox_bytes = 0
        await super()._cleanup_on_error()
        self._wake_all(streams)

    async def close(self, error_code: int = GO_AWAY_NORMAL) -> None:
        """Flush what is queued, briefly, then close the socket: also when we are being cancelled."""
        if not self.event_shutting_down.is_set():
            self.push(HEADER.pack(0, TYPE_GO_AWAY, 0, 0, error_code))
            with trio.move_on_after(_FLUSH_TIMEOUT_S, shield=True):
                try:
                    await self._flush()
                except (IOException, RawConnError, OSError, trio.BrokenResourceError):
                    pass  # it is gone already
        with trio.move_on_after(_CLEANUP_TIMEOUT_S, shield=True):
            await self._cleanup_on_error()

    def _wake_all(self, streams: list[YamuxStream]) -> None:
        self._outbox_drained.set()
        for stream in streams:
            if isinstance(stream, MeshStream):
                stream.wake_writer()


class MeshMuxerMultistream(MuxerMultistream):
    """Negotiates as libp2p does, builds `MeshYamux` (libp2p names its own class there)."""

    def __init__(
        self, limits: P2PLimits, budget: Budget, on_violation: Violation, drops: Counter[str]
    ) -> None:
        super().__init__({PROTOCOL_ID: Yamux})  # type: ignore[dict-item]
        self._limits = limits
        self._budget = budget
        self._on_violation = on_violation
        self._drops = drops

    async def new_conn(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        protocol, _ = await self._selector.select(conn, conn.is_initiator, self.negotiate_timeout)
        muxed: Any = MeshYamux(
            conn,
            peer_id,
            is_initiator=conn.is_initiator,
            limits=self._limits,
            budget=self._budget,
            on_violation=self._on_violation,
            drops=self._drops,
        )
        return self._annotate_connection(muxed, conn, protocol)
