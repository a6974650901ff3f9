"""Circuit relay v2, the side of who is behind a NAT and of who wants to reach it.

While nobody can dial this node it holds reservations with some of its peers, and announces their addresses as its
own. A relayed connection is one like any other, slower; DCUtR tries to put a direct one in its place.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence

import trio
from libp2p.abc import INetConn, INetStream
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.pb.circuit_pb2 import OK, HopMessage, Status, StopMessage
from multiaddr import Multiaddr  # type: ignore[import-untyped]
from swarmd.bootstrap.addresses import ip_of, is_relayed
from swarmd.node.ports import PeerGone
from swarmd.node.transport.p2p.host import MeshHost, public_key_of
from swarmd.node.transport.p2p.identify import identify, readable
from swarmd.node.transport.p2p.kad.service import Network
from swarmd.node.transport.p2p.nat.circuit import (
    HOP,
    MAX_MESSAGE_BYTES,
    STOP,
    circuit_of,
    raw_connection,
    split,
)
from swarmd.node.transport.p2p.rpc import NOT_ANSWERED, ask, open_stream, read_message, write_message
from swarmd.protocol.faults import LocalFault, RemoteFault

log = logging.getLogger(__name__)

WANTED_RELAYS = 2
MAX_HANDSHAKES = 16
MESSAGE_TIMEOUT_S = 10.0
CHECK_EVERY_S = 30.0
# A reservation is renewed when so much of it is over.
RENEW_AFTER_S = 1_800.0
MAX_ADDRS_PER_RELAY = 3


class Relayed:
    """A plugin of the transport. Reserves while `wanted()`; `on_change` is called when `addrs` change.

    `on_circuit(peer)` is called when a peer reached us through a relay.
    """

    def __init__(self, network: Network, wanted: Callable[[], bool]) -> None:
        self.addrs: tuple[str, ...] = ()
        self.relays: dict[str, tuple[float, tuple[str, ...]]] = {}  # relay -> (since, its circuit addresses)
        self.on_change: Callable[[], None] = lambda: None
        self.on_circuit: Callable[[ID], Awaitable[None]] | None = None
        self._network = network
        self._wanted = wanted
        self._own = network.peer_id
        self._host: MeshHost | None = None
        self._handshakes = trio.CapacityLimiter(MAX_HANDSHAKES)
        self._nursery: trio.Nursery | None = None
        self._woken = trio.Event()

    def attach(self, host: MeshHost) -> None:
        self._host = host
        self.relays.clear()
        host.set_stream_handler(STOP, self._serve)
        host.swarm.dial_circuit = self.dial

    def wake(self) -> None:
        """A peer came or went, or whether we want relays has changed."""
        self._woken.set()

    def lost(self, peer_id: str) -> None:
        """A peer is gone. If it comes back, it holds no reservation of ours any more."""
        self.relays.pop(peer_id, None)
        self.wake()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                while True:
                    self._woken = trio.Event()
                    await self._tend()
                    with trio.move_on_after(CHECK_EVERY_S):
                        await self._woken.wait()
                        await trio.sleep(0.2)
            finally:
                self._nursery = None

    # Reserving -----------------------------------------------------------------------------------------

    async def _tend(self) -> None:
        direct = {
            peer.peer_id: peer for peer in self._network.peers() if not any(map(is_relayed, peer.addrs))
        }
        now_s = trio.current_time()
        if not self._wanted():
            self.relays.clear()
        for relay in [each for each in self.relays if each not in direct]:
            del self.relays[relay]
        if self._wanted():
            due = [relay for relay, (since_s, _) in self.relays.items() if now_s - since_s > RENEW_AFTER_S]
            others = [peer for peer in direct if peer not in self.relays]
            for relay in (*due, *others):
                if relay in self.relays or len(self.relays) < WANTED_RELAYS:
                    await self._reserve(relay)
        addrs = tuple(addr for _, found in self.relays.values() for addr in found)
        if addrs != self.addrs:
            self.addrs = addrs
            log.info("reached through relays: %s", ", ".join(addrs) or "none")
            self.on_change()

    async def _reserve(self, relay: str) -> None:
        assert self._host is not None
        peer = ID.from_base58(relay)
        try:
            told = await identify(self._host, peer)
            if HOP not in told.protocols:
                return
            answer = await ask(
                self._host,
                peer,
                HOP,
                HopMessage(type=HopMessage.RESERVE),
                HopMessage,
                max_bytes=MAX_MESSAGE_BYTES,
                timeout_s=MESSAGE_TIMEOUT_S,
            )
        except PeerGone as error:
            log.debug("no reservation: %s", error)
            return
        except RemoteFault as fault:
            self._network.report(relay, fault.code)
            return
        if answer.type != HopMessage.STATUS or answer.status != OK:
            log.debug("%s reserves nothing for us: %s", relay, answer.status)
            self.relays.pop(relay, None)
            return
        reached = [addr for addr in readable(peer, answer.reservation.addrs) if not is_relayed(addr)]
        found = _of_use(reached or told.addrs)[:MAX_ADDRS_PER_RELAY]
        self.relays[relay] = (
            trio.current_time(),
            tuple(f"{circuit_of(addr, peer)}/p2p/{self._own}" for addr in found),
        )

    # Dialing -------------------------------------------------------------------------------------------

    async def dial(self, addr: Multiaddr, peer: ID) -> INetConn:
        """A connection through the relay that the address names. SwarmException as any dial that fails."""
        assert self._host is not None
        relay_addr, _ = split(str(addr))
        try:
            relay = ID.from_base58(await self._network.connect(relay_addr))
            stream = await open_stream(self._host, relay, HOP, MESSAGE_TIMEOUT_S)
        except (PeerGone, LocalFault) as error:
            raise SwarmException(f"no way to the relay: {error}") from None
        try:
            hello = HopMessage(type=HopMessage.CONNECT)
            hello.peer.id = peer.to_bytes()
            with trio.fail_after(MESSAGE_TIMEOUT_S):
                await write_message(stream, hello)
                answer = await read_message(stream, HopMessage, MAX_MESSAGE_BYTES)
            if answer.type != HopMessage.STATUS or answer.status != OK:
                said = Status.Name(answer.status) if answer.status in Status.values() else "nothing sensible"
                raise SwarmException(f"the relay says {said}")
            swarm = self._host.swarm
            via = circuit_of(relay_addr, relay)
            raw = raw_connection(stream, initiator=True, via=via, psk=swarm.psk)
            with trio.fail_after(MESSAGE_TIMEOUT_S):
                return await swarm.upgrade_outbound_raw_conn(raw, peer)
        except BaseException as error:
            with trio.move_on_after(1.0, shield=True):
                await stream.reset()
            if isinstance(error, (RemoteFault, *NOT_ANSWERED)) and not isinstance(error, SwarmException):
                raise SwarmException(f"no circuit: {error!r}") from None
            raise

    # Being reached -------------------------------------------------------------------------------------

    async def _serve(self, stream: INetStream) -> None:
        """A relay brings a circuit. Only from relays that hold our reservation."""
        relay = stream.muxed_conn.peer_id
        assert self._host is not None
        try:
            with trio.fail_after(MESSAGE_TIMEOUT_S):
                hello = await read_message(stream, StopMessage, MAX_MESSAGE_BYTES)
            peer = ID(hello.peer.id)
            if hello.type != StopMessage.CONNECT or public_key_of(peer) is None:
                raise RemoteFault("bad-circuit-message", "not a CONNECT")
            if str(relay) not in self.relays or self._handshakes.available_tokens < 1:
                await stream.reset()
                return
            async with self._handshakes:
                with trio.fail_after(MESSAGE_TIMEOUT_S):
                    await write_message(stream, StopMessage(type=StopMessage.STATUS, status=OK))
                    # Addresses of the relay: what is dialed is not known here, and not needed.
                    via = circuit_of(self._relay_addr(relay, stream), relay)
                    swarm = self._host.swarm
                    raw = raw_connection(stream, initiator=False, via=via, psk=None)
                    muxed = await swarm.upgrade_inbound_raw_conn(raw, via)
        except RemoteFault as fault:
            self._network.report(str(relay), fault.code)
            await stream.reset()
            return
        except (SwarmException, *NOT_ANSWERED) as error:
            log.debug("a circuit through %s came to nothing: %r", relay, error)
            await stream.reset()
            return
        if self.on_circuit is not None and self._nursery is not None:
            self._nursery.start_soon(self.on_circuit, muxed.peer_id)
        closed: trio.Event = muxed.event_closed  # type: ignore[attr-defined]
        await closed.wait()  # the stream is the connection: its handler ends with it

    def _relay_addr(self, relay: ID, stream: INetStream) -> str:
        addrs: Sequence[Multiaddr] = stream.muxed_conn.get_transport_addresses()
        return str(addrs[0]) if addrs else f"/p2p/{relay}"


def _of_use(addrs: Sequence[str]) -> list[str]:
    """Without loopback, unless there is nothing else."""
    outside = [addr for addr in addrs if (ip := ip_of(addr)) is None or not ip.is_loopback]
    return outside or list(addrs)
