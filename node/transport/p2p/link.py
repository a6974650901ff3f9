"""Our side of one peer: the request stream we opened to it, kept open, and its liveness.

Each side opens one stream and asks on it; answers come back on the same stream. It is reopened while a
connection lasts. The peer is up once it has answered a ping on it.
"""

import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.exceptions import HostException
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from swarmd.node.ports import PeerGone
from swarmd.node.transport.p2p.budget import Budget
from swarmd.node.transport.p2p.config import P2PLimits
from swarmd.node.transport.p2p.gossip import TAG_BYTES
from swarmd.node.transport.p2p.host import MeshHost
from swarmd.node.transport.p2p.muxer import MeshYamux, Violation
from swarmd.node.transport.p2p.stats import PeerStats
from swarmd.node.transport.p2p.streams import STREAM_ENDED, MessageReader, MessageWriter
from swarmd.node.transport.p2p.sync_wire import Kind, decode_error
from swarmd.protocol.faults import LocalFault, RemoteFault

log = logging.getLogger(__name__)

_RTT_SMOOTHING = 0.2
_REOPEN_MIN_S = 0.1
_REOPEN_MAX_S = 5.0
_STEADY_S = 5.0
_FOREIGN_AFTER_ATTEMPTS = 4
_MAX_REACH = 256


@dataclass(slots=True)
class _Waiter:
    answered: trio.Event = field(default_factory=trio.Event)
    body: bytes | None = None
    error: Exception | None = None

    def result(self) -> bytes:
        if self.body is None:
            raise self.error or PeerGone("the peer left")
        return self.body


class PeerLink:
    """Lives from the first connection to a peer until the last one ends."""

    def __init__(
        self,
        host: MeshHost,
        peer_id: ID,
        did: str,
        protocol: TProtocol,
        limits: P2PLimits,
        stats: PeerStats,
        on_violation: Violation,
        reach: Callable[[], bytes],
        budget: Budget,
        observe: Callable[[bool, float | None], None],
    ) -> None:
        self.peer_id = peer_id
        self.did = did
        self.stats = stats
        self.up = trio.Event()
        self.gone = trio.Event()
        self.connected_at_ns = time.time_ns()
        self.rtt_ms: float | None = None
        self.reach: frozenset[bytes] = frozenset()  # whom the peer says its own frames reach directly
        self._own_reach = reach
        self._told_reach: bytes | None = None  # what the peer knows of it
        self._answered_at_s = -math.inf
        self._host = host
        self._protocol = protocol
        self._limits = limits
        self._on_violation = on_violation
        self._budget = budget
        self._observe = observe
        self._writer: MessageWriter | None = None
        self._pending: dict[int, _Waiter] = {}
        self._next_id = 0
        self._slots = trio.Semaphore(limits.max_requests_in_flight)

    def connections(self) -> list[SwarmConn]:
        found = self._host.get_network().get_connections(self.peer_id)
        return [conn for conn in found if isinstance(conn, SwarmConn) and not conn.is_closed]

    async def run(self, announce: Callable[[], Awaitable[None]], useless: Callable[[str], None]) -> None:
        """Keep the stream open until the peer is gone. `announce` runs once, when the peer is up, and is
        let finish; `useless` is told why the connections to the peer should be closed."""
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as io:

                async def watch() -> None:
                    await self.gone.wait()
                    io.cancel_scope.cancel()

                io.start_soon(watch)
                attempts = 0
                first_s = trio.current_time()
                while True:
                    began_s = trio.current_time()
                    stream = await self._open()
                    if stream is not None and await self._serve(stream, announce, nursery):
                        useless("silent")
                    if stream is not None and trio.current_time() - began_s > _STEADY_S:
                        attempts = 0
                        continue
                    # Also after a stream that ended at once: a peer must not make us open them without end.
                    attempts += 1
                    if not self.up.is_set():
                        late = trio.current_time() - first_s > self._limits.up_timeout_s
                        if late or (stream is None and attempts >= _FOREIGN_AFTER_ATTEMPTS):
                            useless("foreign")
                        if not self._poke():
                            useless("silent")
                    pause_s = min(_REOPEN_MAX_S, _REOPEN_MIN_S * 2**attempts)
                    await trio.sleep(pause_s * random.uniform(0.5, 1.0))

    def _poke(self) -> bool:
        """Is a peer that does not speak our protocol alive? It must answer yamux pings, as all libp2p does."""
        limits = self._limits
        patience_s = (
            limits.max_missed_pings * limits.ping_timeout_s + limits.handshake_timeout_s + _REOPEN_MAX_S
        )
        alive = False
        for conn in self.connections():
            muxed = conn.muxed_conn
            if isinstance(muxed, MeshYamux):
                muxed.poke()
                alive = alive or trio.current_time() - muxed.heard_at_s < patience_s
        return alive

    async def _open(self) -> INetStream | None:
        try:
            with trio.fail_after(self._limits.handshake_timeout_s):
                return await self._host.new_stream(self.peer_id, [self._protocol])
        except (SwarmException, HostException, trio.TooSlowError, *STREAM_ENDED) as error:
            log.debug("no request stream to %s: %r", self.peer_id, error)
            return None

    async def _serve(
        self, stream: INetStream, announce: Callable[[], Awaitable[None]], outer: trio.Nursery
    ) -> bool:
        """Use `stream` until it ends. True if that is because the peer is dead."""
        writer = MessageWriter(stream)
        dead = False
        try:
            async with trio.open_nursery() as nursery:

                async def guarded(loop: Callable[[], Awaitable[None]]) -> None:
                    try:
                        await loop()
                    except STREAM_ENDED as error:
                        log.debug("request stream to %s ended: %r", self.peer_id, error)
                    except RemoteFault as fault:
                        self._on_violation(self.peer_id, fault.code)
                    nursery.cancel_scope.cancel()

                async def read() -> None:
                    reader = MessageReader(stream, self._limits.max_message_bytes, self._budget)
                    try:
                        while True:
                            self._take(*await reader.read())
                    finally:
                        reader.close()

                nursery.start_soon(guarded, writer.run)
                nursery.start_soon(guarded, read)
                self._writer = writer
                self._told_reach = None  # the other side may be new, too
                missed = 0
                while missed < self._limits.max_missed_pings:
                    if self._lively(stream) or await self._ping(stream, writer):
                        missed = 0
                        if not self.up.is_set():
                            self.up.set()
                            outer.start_soon(announce)
                        await trio.sleep(self._limits.ping_interval_s)
                    else:
                        missed += 1
                dead = True
                nursery.cancel_scope.cancel()
        finally:
            self._writer = None
            for waiter in self._pending.values():
                waiter.answered.set()
            with trio.move_on_after(self._limits.close_timeout_s, shield=True):
                await stream.reset()
        return dead

    def _lively(self, stream: INetStream) -> bool:
        """Would a ping tell neither side anything? With 20 peers that talk all the time pings were a tenth of
        what a node did."""
        now_s = trio.current_time()
        conn = stream.muxed_conn
        return (
            now_s - self._answered_at_s < self._limits.max_unpinged_s
            and isinstance(conn, MeshYamux)
            and now_s - conn.heard_at_s < self._limits.ping_interval_s
            and self._own_reach() == self._told_reach
        )

    async def _ping(self, stream: INetStream, writer: MessageWriter) -> bool:
        """Did the peer answer? Anything it sent meanwhile counts: a large answer may be in its way."""
        conn = stream.muxed_conn
        request_id, waiter = self._new_waiter()
        sent_s = trio.current_time()
        try:
            with trio.move_on_after(self._limits.ping_timeout_s):
                reach = self._own_reach()
                writer.post(Kind.PING, request_id, reach)
                await waiter.answered.wait()
        finally:
            del self._pending[request_id]
        if waiter.body is None:
            self._observe(False, None)
            return self.up.is_set() and isinstance(conn, MeshYamux) and conn.heard_at_s > sent_s
        self._told_reach, self._answered_at_s = reach, trio.current_time()
        sample_ms = (self._answered_at_s - sent_s) * 1e3
        self.rtt_ms = (
            sample_ms if self.rtt_ms is None else self.rtt_ms + _RTT_SMOOTHING * (sample_ms - self.rtt_ms)
        )
        self._observe(True, sample_ms)
        return True

    async def request(self, body: bytes, timeout_s: float) -> bytes:
        """The peer's answer. PeerGone, or the RemoteFault it answered with."""
        if len(body) > self._limits.max_message_bytes:
            raise LocalFault(
                "request-too-big",
                f"{len(body)} bytes, at most {self._limits.max_message_bytes}",
                fix="ask for less at a time",
            )
        with trio.move_on_after(timeout_s):
            async with self._slots:
                writer = self._writer
                if writer is None:
                    raise PeerGone(f"{self.peer_id}: no request stream")
                request_id, waiter = self._new_waiter()
                try:
                    await writer.send(Kind.REQUEST, request_id, body)
                    if self._writer is writer:
                        await waiter.answered.wait()
                finally:
                    del self._pending[request_id]
                self.stats.bytes_out += len(body)
                self._observe(waiter.answered.is_set(), None)
                return waiter.result()
        self._observe(False, None)
        raise PeerGone(f"{self.peer_id}: no answer in {timeout_s} s")

    def _new_waiter(self) -> tuple[int, _Waiter]:
        self._next_id += 1
        waiter = self._pending[self._next_id] = _Waiter()
        return self._next_id, waiter

    def take_reach(self, body: bytes) -> None:
        """From the body of the peer's ping."""
        if len(body) <= _MAX_REACH * TAG_BYTES:
            self.reach = frozenset(body[at : at + TAG_BYTES] for at in range(0, len(body), TAG_BYTES))

    def _take(self, kind: Kind, request_id: int, body: bytes) -> None:
        if kind not in (Kind.RESPONSE, Kind.ERROR, Kind.PONG):
            raise RemoteFault("bad-message", f"{kind.name} on our own request stream")
        self.stats.bytes_in += len(body)
        waiter = self._pending.get(request_id)
        if waiter is None:
            return  # answered after we gave up
        if kind is Kind.ERROR:
            waiter.error = decode_error(body)
        else:
            waiter.body = body
        waiter.answered.set()
