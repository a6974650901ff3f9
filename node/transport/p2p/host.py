"""The libp2p host, put together by hand: only what a mesh needs, and every way in guarded.

Against `libp2p.new_host` of 0.8.1: noise and yamux only (the default accepts plaintext peers); no resource
manager (its stream limit hangs callers); no auto-connector (it dials every address it ever heard of), no
implicit dials, no outbound identify (system tasks, in which an exception ends the process); inbound slots
come back when a connection ends (they leaked: after 250 in a lifetime nobody was let in); and no
exception in a task or a stream handler ends a service.
"""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Protocol

import trio
from libp2p.abc import IMuxedConn, INetConn, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.host.basic_host import BasicHost
from libp2p.identity.identify_push.identify_push import ID_PUSH as IDENTIFY_PUSH_ID
from libp2p.io.abc import ReadWriteCloser
from libp2p.metrics.swarm import SwarmEvent
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.protocol_muxer.exceptions import MultiselectError
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_ID
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.tools.anyio_service import Service
from libp2p.tools.anyio_service.trio_manager import TrioManager
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr  # type: ignore[import-untyped]
from swarmd.node.transport.p2p.budget import Budget
from swarmd.node.transport.p2p.config import P2PLimits
from swarmd.node.transport.p2p.muxer import MeshMuxerMultistream, Violation
from swarmd.node.transport.p2p.patches import BadMultistream
from swarmd.node.transport.p2p.rates import Bucket
from swarmd.node.transport.p2p.sockets import KnownTCP

log = logging.getLogger(__name__)

_MAX_PLACES = 4_096
# How an Ed25519 key looks as a peer id: identity multihash of the protobuf public key, then its 32 bytes.
ED25519_PREFIX = bytes.fromhex("002408011220")


class NotAdmitted(SwarmException):
    """The gate refused a connection, and counted why."""


class Gatekeeper(Protocol):
    """Who decides about connections; raises nothing."""

    def knocks(self, ip: str) -> str | None:
        """A stranger from `ip`, before any handshake: why not to let it in."""

    def admits(self, peer_id: ID, ip: str | None, *, inbound: bool) -> str | None:
        """A peer that has proved its key: why not to let it in. May make room for it."""


def public_key_of(peer_id: ID) -> bytes | None:
    """The 32-byte Ed25519 key inside a peer id; None for any other kind of key."""
    raw = peer_id.to_bytes()
    return raw[len(ED25519_PREFIX) :] if len(raw) == 38 and raw.startswith(ED25519_PREFIX) else None


class IsolatingManager(TrioManager):
    """Runs a libp2p service. A task of it that fails is logged; as shipped it takes the service with it,
    and tasks run on peers' input. The service's own loops (daemon tasks) may still fall: then the
    transport's supervisor restarts the host."""

    def run_task(
        self,
        async_fn: Callable[..., Awaitable[Any]],
        *args: Any,
        daemon: bool = False,
        name: str | None = None,
        _internal: bool = False,
    ) -> None:
        if daemon or _internal:
            super().run_task(async_fn, *args, daemon=daemon, name=name, _internal=_internal)
            return

        async def isolated(*task_args: Any) -> None:
            try:
                await async_fn(*task_args)
            except Exception:
                # The isolation boundary of one background task of libp2p.
                log.debug("a libp2p task failed", exc_info=True)

        super().run_task(isolated, *args, name=name or getattr(async_fn, "__name__", None))


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[None]:
    """Run a libp2p service in an isolating manager for the length of the block."""
    async with trio.open_nursery() as nursery:
        manager = IsolatingManager(service)
        service._manager = manager
        nursery.start_soon(manager.run)
        await manager.wait_started()
        try:
            yield
        finally:
            await manager.stop()


class _NoAutoConnector(AutoConnector):
    async def maybe_connect(self) -> None:
        return

    async def run_background_task(self, nursery: trio.Nursery) -> None:
        return


class MeshSwarm(Swarm):
    """Connections: admission, slots, no dial that nobody asked for."""

    def __init__(
        self,
        peer_id: ID,
        upgrader: TransportUpgrader,
        store: PeerStore,
        limits: P2PLimits,
        gate: Gatekeeper,
        drops: Counter[str],
    ) -> None:
        self.tcp = KnownTCP()
        super().__init__(
            peer_id,
            store,
            upgrader,
            transports=[self.tcp],
            retry_config=RetryConfig(max_retries=0),
            connection_config=_connection_config(limits),
        )
        self.auto_connector = _NoAutoConnector(swarm=self)
        self.dial_circuit: Callable[[Multiaddr, ID], Awaitable[INetConn]] | None = None
        self._limits = limits
        self._gate = gate
        self._drops = drops
        self._accepted: dict[str, Bucket] = {}
        self._pending_inbound: Counter[str] = Counter()
        # Handshakes under way are bounded below; established connections in add_conn.
        self._inbound_limiter = trio.CapacityLimiter(2 * limits.max_connections + limits.max_pending_inbound)

    def _schedule_auto_connect(self) -> None:
        return

    async def dial_peer(self, peer_id: ID) -> list[INetConn]:
        """Connections that exist. libp2p would dial here whenever anything opens a stream, to addresses
        that other peers supplied; the transport dials explicitly, by `dial_addr`."""
        live = [conn for conn in self.get_connections(peer_id) if not conn.is_closed]
        if not live:
            raise SwarmException(f"not connected to {peer_id}")
        return live

    async def dial_addr(
        self, addr: Multiaddr, peer_id: ID, source: tuple[str, int] | None = None
    ) -> INetConn:
        if "/p2p-circuit" not in str(addr):
            return await super().dial_addr(addr, peer_id, source)
        if self.dial_circuit is None:
            raise SwarmException("this node does not dial through relays")
        return await self.dial_circuit(addr, peer_id)

    async def add_conn(self, muxed_conn: IMuxedConn, direction: str = "unknown") -> SwarmConn:
        peer_id = muxed_conn.peer_id
        why = (
            "refused-self"
            if peer_id == self.self_id
            else self._gate.admits(peer_id, ip_of(muxed_conn), inbound=direction == "inbound")
        )
        if why is not None:
            self._drops[why] += 1
            await muxed_conn.close()
            raise NotAdmitted(f"{peer_id} is not admitted: {why}")
        conn = await super().add_conn(muxed_conn, direction)
        # It was read from before it was registered: who was denied for that could not be cut off yet.
        why = self._gate.admits(peer_id, ip_of(muxed_conn), inbound=direction == "inbound")
        if why is not None:
            self._drops[why] += 1
            await conn.close()
            raise NotAdmitted(f"{peer_id} is not admitted: {why}")
        # The newest win: a peer that restarted comes back before we notice that the old socket is dead.
        siblings = self.connections.get(muxed_conn.peer_id, [])
        for old in siblings[: -self._limits.max_connections_per_peer]:
            self.manager.run_task(self._close_connection_async, old)
        return conn

    def _trim_connections(self, peer_id: ID) -> None:
        return  # spares what is younger than 20 s, which let one key take all slots

    async def _do_handle_inbound_connection(
        self, read_write_closer: ReadWriteCloser, maddr: Multiaddr, failure_event: SwarmEvent
    ) -> None:
        """Handshake within bounds, then hold the slot until the connection ends, not for ever."""
        remote = read_write_closer.get_remote_address()
        ip = place_of(remote[0]) if remote else "?"
        why = self._may_knock(ip)
        if why is not None:
            self._drops[why] += 1
            await read_write_closer.close()
            return
        self._pending_inbound[ip] += 1
        try:
            muxed = await self.upgrade_inbound_raw_conn(RawConnection(read_write_closer, False), maddr)
        except Exception as error:
            # The isolation boundary of one handshake: anything a stranger's bytes can raise.
            if not isinstance(error, NotAdmitted):
                self._drops["handshake-failed"] += 1
            log.debug("inbound handshake from %s failed: %r", ip, error)
            await read_write_closer.close()
            return
        finally:
            self._pending_inbound[ip] -= 1
            if not self._pending_inbound[ip]:
                del self._pending_inbound[ip]
        closed: trio.Event = muxed.event_closed  # type: ignore[attr-defined]
        await closed.wait()

    def _may_knock(self, ip: str) -> str | None:
        """Why not to begin a handshake with `ip`. A refusal costs us some 0.1 ms, a handshake 2."""
        limits = self._limits
        if self._pending_inbound.total() >= limits.max_pending_inbound:
            return "refused-handshakes-pending"
        if self._pending_inbound[ip] >= limits.max_pending_inbound_per_ip:
            return "refused-handshakes-pending-of-ip"
        bucket = self._accepted.pop(ip, None) or Bucket(
            limits.inbound_per_ip_per_s, limits.inbound_per_ip_burst
        )
        self._accepted[ip] = bucket
        if len(self._accepted) > _MAX_PLACES:
            del self._accepted[next(iter(self._accepted))]
        if not bucket.try_take():
            return "refused-dials-of-ip"
        return self._gate.knocks(ip)


class MeshHost(BasicHost):
    """Protocol negotiation, guarded. Answers identify and ping, asks for neither, takes no pushes."""

    def __init__(self, network: MeshSwarm, limits: P2PLimits, on_violation: Violation) -> None:
        self.announced: Callable[[], Sequence[str]] = tuple  # multiaddrs that others can dial
        super().__init__(network, disable_identify_address_discovery=True)
        self.swarm = network
        self.remove_stream_handler(IDENTIFY_PUSH_ID)
        self.failures: Counter[str] = Counter()
        self.single_stream: set[str] = (
            set()
        )  # protocols of which a peer has one stream; a newer one replaces it
        self.stream_limits: dict[str, int] = {}  # those of which it may have more than others
        self._limits = limits
        self._on_violation = on_violation
        self._serving: dict[tuple[ID, str], list[INetStream]] = {}

    def get_addrs(self) -> list[Multiaddr]:
        """What identify tells others: the addresses of interfaces, not the wildcard that is listened on."""
        return [Multiaddr(addr) for addr in self.announced()]

    def _schedule_identify(self, peer_id: ID, *, reason: str) -> None:
        return

    async def _push_identify_to_all_peers(self) -> None:
        return

    async def _swarm_stream_handler(self, net_stream: INetStream) -> None:
        try:
            await self._serve_stream(net_stream)
        except Exception as error:
            # The isolation boundary of one stream: as shipped, any exception of a handler ended the daemon.
            self.failures[type(error).__name__] += 1
            log.debug("stream handler failed: %r", error)
            await net_stream.reset()

    async def _serve_stream(self, stream: INetStream) -> None:
        """Agree on a protocol, then run its handler; of one protocol only so many at a time."""
        peer_id = stream.muxed_conn.peer_id
        began_s = trio.current_time()
        timeout_s = int(self._limits.handshake_timeout_s) or 1
        try:
            protocol, handler = await self.multiselect.negotiate(MultiselectCommunicator(stream), timeout_s)
        except MultiselectError as error:
            if isinstance(error.__cause__, BadMultistream) or error.__cause__ is None:
                slow = trio.current_time() - began_s >= timeout_s
                self._on_violation(peer_id, "slow-negotiation" if slow else "bad-multistream")
            await stream.reset()
            return
        if protocol is None or handler is None:
            await stream.reset()
            return
        stream.set_protocol(protocol)
        streams = self._serving.setdefault((peer_id, protocol), [])
        streams.append(stream)
        try:
            most = self.stream_limits.get(protocol, self._limits.max_streams_per_protocol)
            if len(streams) > (1 if protocol in self.single_stream else most):
                await streams[0].reset()
            await handler(stream)
        finally:
            streams.remove(stream)
            if not streams:
                self._serving.pop((peer_id, protocol), None)


def ip_of(muxed: IMuxedConn) -> str | None:
    """The remote address of a connection; None if it has none (a relayed one)."""
    remote = muxed.get_remote_address() if hasattr(muxed, "get_remote_address") else None
    return remote[0] if remote else None


def place_of(ip: str) -> str:
    """What counts as one place on the net: an IPv4 address, or the /64 of an IPv6 one, which is one customer's."""
    try:
        address = ip_address(ip.partition("%")[0])
    except ValueError:
        return ip
    if isinstance(address, IPv6Address):
        # A v4 peer of a v6 listener is still that v4 peer.
        return str(address.ipv4_mapped or ip_network((address, 64), strict=False))
    return str(address)


def _connection_config(limits: P2PLimits) -> ConnectionConfig:
    return ConnectionConfig(
        # The gate counts, and makes room for better peers; libp2p would refuse everybody before a handshake.
        max_connections=2 * limits.max_connections + limits.max_pending_inbound,
        min_connections=0,
        low_watermark=0,
        high_watermark=2 * limits.max_connections + limits.max_pending_inbound,
        max_connections_per_peer=limits.max_connections_per_peer,
        inbound_upgrade_timeout=limits.handshake_timeout_s,
        outbound_upgrade_timeout=limits.handshake_timeout_s,
        inbound_stream_protocol_negotiation_timeout=limits.handshake_timeout_s,
        outbound_stream_protocol_negotiation_timeout=limits.handshake_timeout_s,
    )


def build_host(
    key_seed: bytes,
    limits: P2PLimits,
    gate: Gatekeeper,
    on_violation: Violation,
    budget: Budget,
    drops: Counter[str],
    psk: bytes | None = None,
) -> MeshHost:
    """A host that is not running yet, for the 32-byte Ed25519 `key_seed`. With a 32-byte `psk` only who has
    it too can open a connection."""
    keys = create_new_key_pair(key_seed)
    peer_id = ID.from_pubkey(keys.public_key)
    store = PeerStore()
    store.add_key_pair(peer_id, keys)
    noise = NoiseTransport(keys, noise_privkey=create_noise_key_pair().private_key)
    upgrader = TransportUpgrader({NOISE_ID: noise}, {})
    upgrader.muxer_multistream = MeshMuxerMultistream(limits, budget, on_violation, drops)
    swarm = MeshSwarm(peer_id, upgrader, store, limits, gate, drops)
    swarm.psk = psk.hex() if psk is not None else None
    return MeshHost(swarm, limits, on_violation)


async def close_host(host: MeshHost, timeout_s: float) -> None:
    """Close the listeners, then every connection at once: libp2p takes 0.2 s for each in turn."""
    swarm = host.swarm
    for listener in swarm.listeners.values():
        await listener.close()
    with trio.move_on_after(timeout_s):
        async with trio.open_nursery() as nursery:
            for conn in swarm.get_connections():
                nursery.start_soon(_close_quietly, conn)
    with trio.move_on_after(timeout_s):
        await host.close()


async def _close_quietly(conn: INetConn) -> None:
    try:
        await conn.close()
    except Exception as error:
        # Closing must reach every connection, whatever one of them raises.
        log.debug("closing a connection failed: %r", error)
