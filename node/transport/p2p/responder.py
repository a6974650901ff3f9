"""The request streams that peers opened to us."""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable

import trio
from libp2p.abc import INetStream
from libp2p.peer.id import ID
from swarmd.node.transport.p2p.budget import Budget
from swarmd.node.transport.p2p.config import P2PLimits
from swarmd.node.transport.p2p.link import PeerLink
from swarmd.node.transport.p2p.muxer import Violation
from swarmd.node.transport.p2p.rates import Meter
from swarmd.node.transport.p2p.streams import STREAM_ENDED, MessageReader, MessageWriter
from swarmd.node.transport.p2p.sync_wire import Kind, encode_error
from swarmd.protocol.faults import CorruptState, RemoteFault

log = logging.getLogger(__name__)

OnRequest = Callable[[str, bytes], Awaitable[bytes]]


class Responder:
    """Answers requests. One stream per peer: a newer one replaces the older."""

    def __init__(
        self,
        limits: P2PLimits,
        link_of: Callable[[ID], PeerLink | None],
        on_request: OnRequest,
        on_violation: Violation,
        on_corrupt: Callable[[CorruptState], None],
        drops: Counter[str],
        meter: Meter,
        budget: Budget,
    ) -> None:
        self._limits = limits
        self._link_of = link_of
        self._on_request = on_request
        self._on_violation = on_violation
        self._on_corrupt = on_corrupt
        self._drops = drops
        self._meter = meter
        self._budget = budget
        self._serving: dict[ID, trio.CancelScope] = {}

    async def serve(self, stream: INetStream) -> None:
        """The libp2p stream handler."""
        peer_id = stream.muxed_conn.peer_id
        link = self._link_of(peer_id)
        if link is None:
            await stream.reset()
            return
        if (older := self._serving.get(peer_id)) is not None:
            older.cancel()
        with trio.CancelScope() as scope:
            self._serving[peer_id] = scope
            try:
                await _Conversation(self, stream, link).run()
            except STREAM_ENDED as error:
                log.debug("request stream of %s ended: %r", peer_id, error)
            except RemoteFault as fault:
                self._on_violation(peer_id, fault.code)
            finally:
                if self._serving.get(peer_id) is scope:
                    del self._serving[peer_id]
        await stream.reset()

    async def answer(self, link: PeerLink, body: bytes) -> tuple[Kind, bytes]:
        """What to send back for a request; never raises but Cancelled."""
        peer_id = str(link.peer_id)
        try:
            answer = await self._on_request(peer_id, body)
        except RemoteFault as fault:
            self._on_violation(link.peer_id, fault.code)
            return Kind.ERROR, encode_error(fault.code, fault.message)
        except CorruptState as error:
            self._on_corrupt(error)
            return Kind.ERROR, encode_error("internal", "")
        except Exception:
            # The isolation boundary of one request: a bug of ours costs the peer an answer, no more, and
            # its text stays with us.
            log.exception("the handler failed on a request of %s", peer_id)
            self._drops["handler-error"] += 1
            return Kind.ERROR, encode_error("internal", "")
        if len(answer) > self._limits.max_message_bytes:
            log.error("an answer of %d bytes for %s is too big to send", len(answer), peer_id)
            return Kind.ERROR, encode_error("answer-too-big", "")
        return Kind.RESPONSE, answer


class _Conversation:
    """One stream: reads requests, runs a bounded number of them, writes answers as they come."""

    def __init__(self, responder: Responder, stream: INetStream, link: PeerLink) -> None:
        self._responder = responder
        self._limits = responder._limits
        self._budget = responder._budget
        self._reader = MessageReader(stream, self._limits.max_message_bytes, self._budget)
        self._writer = MessageWriter(stream)
        self._link = link
        self._in_flight = 0
        self._bytes_in_flight = 0

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:

            async def write() -> None:
                try:
                    await self._writer.run()
                except STREAM_ENDED:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(write)
            try:
                while True:
                    kind, request_id, body = await self._reader.read()
                    await self._responder._meter.take(str(self._link.peer_id))
                    if kind is Kind.PING:
                        self._link.take_reach(body)
                        self._writer.post(Kind.PONG, request_id)
                    elif kind is Kind.REQUEST:
                        self._take(request_id, body, nursery)
                    else:
                        raise RemoteFault("bad-message", f"{kind.name} where a request belongs")
            except STREAM_ENDED as error:
                log.debug("request stream of %s ended: %r", self._link.peer_id, error)
            except RemoteFault as fault:
                self._responder._on_violation(self._link.peer_id, fault.code)
            finally:
                self._reader.close()
            nursery.cancel_scope.cancel()

    def _take(self, request_id: int, body: bytes, nursery: trio.Nursery) -> None:
        self._link.stats.bytes_in += len(body)
        if (
            self._in_flight >= self._limits.max_requests_in_flight
            or self._bytes_in_flight + len(body) > self._limits.max_inbound_request_bytes
        ):
            self._responder._drops["too-many-requests"] += 1
            self._responder._on_violation(self._link.peer_id, "too-many-requests")
            self._writer.post(Kind.ERROR, request_id, encode_error("busy", "too many requests at once"))
            return
        self._in_flight += 1
        self._bytes_in_flight += len(body)
        self._budget.hold(self._link.peer_id, len(body))
        nursery.start_soon(self._answer, request_id, body)

    async def _answer(self, request_id: int, body: bytes) -> None:
        held = len(body)
        try:
            # The handler hears of a peer before it hears from it.
            await self._link.up.wait()
            kind, answer = await self._responder.answer(self._link, body)
            self._budget.hold(self._link.peer_id, len(answer))
            held += len(answer)
            # The slot is held until the answer is written: who does not read is not served on.
            await self._writer.send(kind, request_id, answer)
            self._link.stats.bytes_out += len(answer)
        finally:
            self._in_flight -= 1
            self._bytes_in_flight -= len(body)
            self._budget.hold(self._link.peer_id, -held)
