"""One inbound gossip stream: its bytes cut into RPCs, and those handled in their order.

Nearly all RPCs hold one frame, whole in what the connection just read. Those are handled there and then, on the
connection's own task: waking another one for each took a fifth of what a small frame costs (docs/adr/0041). What is
larger, must wait or says something else than a frame goes to the stream's task, which is also where a peer's rates
are enforced: while it owes time nothing of it is handled, and its window is not given back.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio
from libp2p.abc import INetStream
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from swarmd.node.transport.p2p.budget import Budget

_RPC_SLACK_BYTES: Final = 4_096
_MAX_MESSAGES_PER_RPC: Final = 1_000
_MESSAGES_PER_TURN: Final = 16

# Handles one message of a peer; seconds the peer must wait for it. Raises BadRpc.
TakeMessage = Callable[[ID, rpc_pb2.Message], float]
# Handles what else an RPC says. Raises BadRpc.
TakeRest = Callable[[ID, rpc_pb2.RPC], Awaitable[None]]


class BadRpc(Exception):
    """The peer broke the rules of gossip: its stream ends. `code` is the fault charged."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class GossipReader:
    """`run` raises BadRpc, or what a stream raises when it ends."""

    def __init__(
        self,
        stream: INetStream,
        max_frame_bytes: int,
        budget: Budget,
        rpc_wait_s: Callable[[ID, int], float],
        take_message: TakeMessage,
        take_rest: TakeRest,
    ) -> None:
        self._peer_id = stream.muxed_conn.peer_id
        self._muxed: Any = stream.muxed_stream  # type: ignore[attr-defined]
        self._limit = max_frame_bytes + _RPC_SLACK_BYTES
        self._budget = budget
        self._rpc_wait_s = rpc_wait_s
        self._take_message = take_message
        self._take_rest = take_rest
        self._buffer = bytearray()  # of an RPC that is not whole yet
        self._rests_until_s = 0.0
        self._bad: BadRpc | None = None

    async def run(self) -> None:
        try:
            while True:
                if not self._buffer:
                    self._muxed.tap = self._take_now
                try:
                    data = await self._muxed.read()
                finally:
                    self._muxed.tap = None
                self._buffer += data
                self._budget.hold(self._peer_id, len(data))
                used = await self._take_buffered()
                del self._buffer[:used]
                self._budget.hold(self._peer_id, -used)
        finally:
            self._budget.hold(self._peer_id, -len(self._buffer))
            self._buffer.clear()  # now, not when the last traceback that knows of it is collected

    def _take_now(self, data: bytes) -> int:
        """Handle the RPCs at the start of `data` that hold nothing but a frame or a few; how many bytes they were.
        The stream's task goes on with the first other one."""
        if self._rests():
            return 0
        position = messages = 0
        try:
            while messages < _MESSAGES_PER_TURN and (span := rpc_span(data, position, self._limit)):
                rpc = _parsed(data[span[0] : span[1]])
                count = len(rpc.publish)
                if not 0 < count <= _MESSAGES_PER_TURN or rpc.subscriptions or rpc.HasField("control"):
                    break
                for message in rpc.publish:
                    self._owes(self._take_message(self._peer_id, message))
                messages += count
                position = span[1]
                self._owes(self._rpc_wait_s(self._peer_id, 1))
                if self._rests_until_s:
                    break
        except BadRpc as bad:
            self._bad = bad  # for the task, which it ends
        return position

    async def _take_buffered(self) -> int:
        """Handle the whole RPCs of the buffer, waiting as the peer must; how many bytes they were."""
        if self._bad is not None:
            raise self._bad
        await self._rest()
        position = taken = 0
        while (span := rpc_span(self._buffer, position, self._limit)) is not None:
            start, position = span
            rpc = _parsed(bytes(self._buffer[start:position]))
            if len(rpc.publish) > _MAX_MESSAGES_PER_RPC:
                raise BadRpc("publish-flood")
            for message in rpc.publish:
                self._owes(self._take_message(self._peer_id, message))
                taken += 1
                await self._rest(turn=taken % _MESSAGES_PER_TURN == 0)
            await self._take_rest(self._peer_id, rpc)
            taken += 1
            self._owes(self._rpc_wait_s(self._peer_id, 1))
            await self._rest(turn=taken % _MESSAGES_PER_TURN == 0)
        return position

    def _owes(self, wait_s: float) -> None:
        if wait_s:
            self._rests_until_s = max(self._rests_until_s, trio.current_time() + wait_s)

    def _rests(self) -> bool:
        if self._rests_until_s and trio.current_time() >= self._rests_until_s:
            self._rests_until_s = 0.0
        return self._rests_until_s > 0

    async def _rest(self, *, turn: bool = False) -> None:
        """Wait as long as the peer owes. `turn`: let others run in any case; one peer's burst must not keep them
        waiting."""
        if self._rests():
            await trio.sleep_until(self._rests_until_s)
        elif turn:
            await trio.lowlevel.checkpoint()


def _parsed(data: bytes) -> rpc_pb2.RPC:
    try:
        return rpc_pb2.RPC.FromString(data)
    except Exception:
        # protobuf's own DecodeError, but also its UTF-8 and recursion errors.
        raise BadRpc("bad-protobuf") from None


def rpc_span(buffer: bytes | bytearray, position: int, limit: int) -> tuple[int, int] | None:
    """(start, end) of the varint-prefixed RPC at `position`; None while it is incomplete."""
    length = shift = 0
    at, end = position, len(buffer)
    while at < end:
        byte = buffer[at]
        at += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            if length > limit:
                raise BadRpc("frame-too-big")
            return (at, at + length) if end - at >= length else None
        if shift > 28:
            raise BadRpc("bad-varint")
    return None
