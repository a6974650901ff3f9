"""Circuit relay v2, the relay's side: holds reservations of nodes behind NATs and passes bytes to them.

For members of the mesh only, each thing bounded: reservations in all and of one place on the net, circuits in all
and of one peer, bytes and time of a circuit. What passes is encrypted end to end; back pressure goes through.
"""

import logging
import time
from collections import Counter

import trio
from libp2p.abc import INetStream
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.pb.circuit_pb2 import (
    CONNECTION_FAILED,
    MALFORMED_MESSAGE,
    NO_RESERVATION,
    OK,
    PERMISSION_DENIED,
    RESERVATION_REFUSED,
    RESOURCE_LIMIT_EXCEEDED,
    HopMessage,
    Status,
    StopMessage,
)
from multiaddr import Multiaddr  # type: ignore[import-untyped]
from swarmd.bootstrap.addresses import is_relayed
from swarmd.node.ports import PeerGone
from swarmd.node.transport.p2p.host import MeshHost, ip_of, place_of, public_key_of
from swarmd.node.transport.p2p.kad.service import Network
from swarmd.node.transport.p2p.nat.circuit import HOP, MAX_MESSAGE_BYTES, STOP
from swarmd.node.transport.p2p.rpc import NOT_ANSWERED, open_stream, read_message, write_message
from swarmd.protocol.faults import RemoteFault

log = logging.getLogger(__name__)

RESERVATION_S = 3_600
MAX_RESERVATIONS = 64
MAX_RESERVATIONS_PER_PLACE = 8
MAX_CIRCUITS = 64
MAX_CIRCUITS_PER_PEER = 8
CIRCUIT_S = 6 * 3_600
CIRCUIT_BYTES = 4 << 30
MESSAGE_TIMEOUT_S = 10.0
_CHUNK_BYTES = 65_536


class Refused(Exception):
    """Why a request is not met."""

    def __init__(self, status: "Status.ValueType") -> None:
        super().__init__(Status.Name(status))
        self.status = status


class RelayServer:
    """A plugin of the transport. Serves while `enabled`."""

    def __init__(self, network: Network) -> None:
        self.enabled = True
        self.counters: Counter[str] = Counter()
        self._network = network
        self._host: MeshHost | None = None
        self._reserved: dict[bytes, tuple[float, str]] = {}  # peer -> (until, its place on the net)
        self._circuits: Counter[bytes] = Counter()  # of each peer, at either end

    def attach(self, host: MeshHost) -> None:
        self._host = host
        self._reserved.clear()
        self._circuits.clear()
        host.set_stream_handler(HOP, self._serve)

    async def run(self) -> None:
        await trio.sleep_forever()

    @property
    def reservations(self) -> int:
        self._expire()
        return len(self._reserved)

    @property
    def circuits(self) -> int:
        return self._circuits.total() // 2

    async def _serve(self, stream: INetStream) -> None:
        """One request: RESERVE or CONNECT. A circuit lives on its CONNECT's stream."""
        peer = stream.muxed_conn.peer_id
        try:
            with trio.fail_after(MESSAGE_TIMEOUT_S):
                asked = await read_message(stream, HopMessage, MAX_MESSAGE_BYTES)
            try:
                self._check_asker(peer, stream)
                if asked.type == HopMessage.RESERVE:
                    answer = self._reserve(peer, stream)
                elif asked.type == HopMessage.CONNECT:
                    await self._connect(peer, ID(asked.peer.id), stream)
                    return
                else:
                    raise Refused(MALFORMED_MESSAGE)
            except Refused as refused:
                self.counters[f"refused-{refused}".lower().replace("_", "-")] += 1
                answer = HopMessage(type=HopMessage.STATUS, status=refused.status)
            with trio.fail_after(MESSAGE_TIMEOUT_S):
                await write_message(stream, answer)
                await stream.close()
                return
        except RemoteFault as fault:
            self._network.report(str(peer), fault.code)
        except NOT_ANSWERED as error:
            log.debug("hop stream of %s ended: %r", peer, error)
        with trio.move_on_after(1.0):
            await stream.reset()

    def _check_asker(self, peer: ID, stream: INetStream) -> None:
        member = any(each.peer_id == str(peer) for each in self._network.peers())
        relayed = ip_of(stream.muxed_conn) is None
        if not self.enabled or relayed or not member:
            raise Refused(PERMISSION_DENIED)

    # RESERVE -------------------------------------------------------------------------------------------

    def _expire(self) -> None:
        now_s = trio.current_time()
        self._reserved = {
            peer: held
            for peer, held in self._reserved.items()
            if held[0] > now_s and self._host is not None and self._host.swarm.get_connections(ID(peer))
        }

    def _reserve(self, peer: ID, stream: INetStream) -> HopMessage:
        assert self._host is not None
        self._expire()
        raw = peer.to_bytes()
        place = place_of(ip_of(stream.muxed_conn) or "")
        if raw not in self._reserved:
            of_place = sum(held[1] == place for held in self._reserved.values())
            if len(self._reserved) >= MAX_RESERVATIONS or of_place >= MAX_RESERVATIONS_PER_PLACE:
                raise Refused(RESERVATION_REFUSED)
        self._reserved[raw] = (trio.current_time() + RESERVATION_S, place)
        self.counters["reserved"] += 1
        answer = HopMessage(type=HopMessage.STATUS, status=OK)
        answer.reservation.expire = int(time.time()) + RESERVATION_S
        answer.reservation.addrs.extend(
            Multiaddr(addr).to_bytes() for addr in self._host.announced() if not is_relayed(addr)
        )
        answer.limit.duration, answer.limit.data = CIRCUIT_S, min(CIRCUIT_BYTES, (1 << 32) - 1)
        return answer

    # CONNECT -------------------------------------------------------------------------------------------

    async def _connect(self, source: ID, target: ID, stream: INetStream) -> None:
        self._expire()
        ends = (source.to_bytes(), target.to_bytes())
        if public_key_of(target) is None or ends[0] == ends[1]:
            raise Refused(MALFORMED_MESSAGE)
        if ends[1] not in self._reserved:
            raise Refused(NO_RESERVATION)
        if self.circuits >= MAX_CIRCUITS or any(self._circuits[end] >= MAX_CIRCUITS_PER_PEER for end in ends):
            raise Refused(RESOURCE_LIMIT_EXCEEDED)
        self._circuits.update(ends)
        try:
            far = await self._stop(source, target)
            try:
                await write_message(stream, HopMessage(type=HopMessage.STATUS, status=OK))
                self.counters["circuits"] += 1
                await self._pass(stream, far)
            finally:
                with trio.move_on_after(1.0, shield=True):
                    await far.reset()
        finally:
            self._circuits.subtract(ends)
            self._circuits += Counter()  # drops what is zero
            with trio.move_on_after(1.0, shield=True):
                await stream.reset()

    async def _stop(self, source: ID, target: ID) -> INetStream:
        """A stream to the target that it has taken for a circuit from the source."""
        assert self._host is not None
        far = None
        try:
            far = await open_stream(self._host, target, STOP, MESSAGE_TIMEOUT_S)
            with trio.fail_after(MESSAGE_TIMEOUT_S):
                hello = StopMessage(type=StopMessage.CONNECT)
                hello.peer.id = source.to_bytes()
                await write_message(far, hello)
                answer = await read_message(far, StopMessage, MAX_MESSAGE_BYTES)
            if answer.type == StopMessage.STATUS and answer.status == OK:
                return far
        except (PeerGone, RemoteFault, *NOT_ANSWERED) as error:
            log.debug("no circuit to %s: %r", target, error)
        if far is not None:
            with trio.move_on_after(1.0, shield=True):
                await far.reset()
        raise Refused(CONNECTION_FAILED)

    async def _pass(self, near: INetStream, far: INetStream) -> None:
        """Bytes both ways, until either end, the time or the bytes of a circuit are over."""
        left = [CIRCUIT_BYTES]
        with trio.move_on_after(CIRCUIT_S):
            async with trio.open_nursery() as nursery:

                async def pump(source: INetStream, target: INetStream) -> None:
                    try:
                        while left[0] > 0:
                            data = await source.muxed_stream.read(_CHUNK_BYTES)  # type: ignore[attr-defined]
                            left[0] -= len(data)
                            self.counters["bytes"] += len(data)
                            await target.muxed_stream.write(data)  # type: ignore[attr-defined]
                    except NOT_ANSWERED as error:
                        log.debug("a circuit ended: %r", error)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(pump, near, far)
                nursery.start_soon(pump, far, near)
