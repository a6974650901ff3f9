"""The libp2p host, put together by hand: only what a mesh needs, and every way in guarded.

Against `libp2p.new_host` of 0.8.1: noise and yamux only (the default accepts plaintext peers); no resource
manager (its stream limit hangs callers); no auto-connector (it dials every address it ever heard of), no
implicit dials, no outbound identify (system tasks, in which an exception ends the process); inbound slots
come back when a connection ends (they leaked: after 250 in a lifetime nobody was let in); and no
exception in a task or a stream handler ends a service.
"""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

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
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_ID
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.tools.anyio_service import Service
from libp2p.tools.anyio_service.trio_manager import TrioManager
from libp2p.transport.tcp.tcp import TCP
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr  # type: ignore[import-untyped]
from swarmd.node.transport.p2p.config import P2PLimits
from swarmd.node.transport.p2p.muxer import MeshMuxerMultistream, Violation

log = logging.getLogger(__name__)

# How an Ed25519 key looks as a peer id: identity multihash of the protobuf public key, then its 32 bytes.
ED25519_PREFIX = bytes.fromhex("002408011220")

Admit = Callable[[ID], bool]


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
        self, peer_id: ID, upgrader: TransportUpgrader, store: PeerStore, limits: P2PLimits, admit: Admit
    ) -> None:
        super().__init__(
            peer_id,
            store,
            upgrader,
            transports=[TCP()],
            retry_config=RetryConfig(max_retries=0),
            connection_config=_connection_config(limits),
        )
        self.auto_connector = _NoAutoConnector(swarm=self)
        self._limits = limits
        self._admit = admit
        self._pending_inbound: Counter[str] = Counter()
        # Handshakes under way are bounded below; established connections in add_conn.
        self._inbound_limiter = trio.CapacityLimiter(limits.max_connections + limits.max_pending_inbound)
        self.refused: Counter[str] = Counter()

    def _schedule_auto_connect(self) -> None:
        return

    async def dial_peer(self, peer_id: ID) -> list[INetConn]:
        """Connections that exist. libp2p would dial here whenever anything opens a stream, to addresses
        that other peers supplied; the transport dials explicitly, by `dial_addr`."""
        live = [conn for conn in self.get_connections(peer_id) if not conn.is_closed]
        if not live:
            raise SwarmException(f"not connected to {peer_id}")
        return live

    async def add_conn(self, muxed_conn: IMuxedConn, direction: str = "unknown") -> SwarmConn:
        if not self._admit(muxed_conn.peer_id) or muxed_conn.peer_id == self.self_id:
            self.refused["denied"] += 1
            await muxed_conn.close()
            raise SwarmException(f"{muxed_conn.peer_id} is not admitted")
        conn = await super().add_conn(muxed_conn, direction)
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
        ip = remote[0] if remote else "?"
        limits = self._limits
        if (
            self._pending_inbound[ip] >= limits.max_pending_inbound_per_ip
            or self._pending_inbound.total() >= limits.max_pending_inbound
        ):
            self.refused["too-many-handshakes"] += 1
            await read_write_closer.close()
            return
        self._pending_inbound[ip] += 1
        try:
            muxed = await self.upgrade_inbound_raw_conn(RawConnection(read_write_closer, False), maddr)
        except Exception as error:
            # The isolation boundary of one handshake: anything a stranger's bytes can raise.
            self.refused["handshake"] += 1
            log.debug("inbound handshake from %s failed: %r", ip, error)
            await read_write_closer.close()
            return
        finally:
            self._pending_inbound[ip] -= 1
            if not self._pending_inbound[ip]:
                del self._pending_inbound[ip]
        closed: trio.Event = muxed.event_closed  # type: ignore[attr-defined]
        await closed.wait()


class MeshHost(BasicHost):
    """Protocol negotiation, guarded. Answers identify and ping, asks for neither, takes no pushes."""

    def __init__(self, network: MeshSwarm) -> None:
        super().__init__(network, disable_identify_address_discovery=True)
        self.swarm = network
        self.remove_stream_handler(IDENTIFY_PUSH_ID)
        self.failures: Counter[str] = Counter()

    def _schedule_identify(self, peer_id: ID, *, reason: str) -> None:
        return

    async def _push_identify_to_all_peers(self) -> None:
        return

    async def _swarm_stream_handler(self, net_stream: INetStream) -> None:
        try:
            await super()._swarm_stream_handler(net_stream)
        except Exception as error:
            # The isolation boundary of one stream: as shipped, any exception of a handler ended the daemon.
            self.failures[type(error).__name__] += 1
            log.debug("stream handler failed: %r", error)
            await net_stream.reset()


def _connection_config(limits: P2PLimits) -> ConnectionConfig:
    return ConnectionConfig(
        max_connections=limits.max_connections,
        min_connections=0,
        low_watermark=0,
        high_watermark=limits.max_connections,
        max_connections_per_peer=limits.max_connections_per_peer,
        inbound_upgrade_timeout=limits.handshake_timeout_s,
        outbound_upgrade_timeout=limits.handshake_timeout_s,
        inbound_stream_protocol_negotiation_timeout=limits.handshake_timeout_s,
        outbound_stream_protocol_negotiation_timeout=limits.handshake_timeout_s,
    )


def build_host(
    key_seed: bytes, limits: P2PLimits, admit: Admit, on_violation: Violation, psk: bytes | None = None
) -> MeshHost:
    """A host that is not running yet, for the 32-byte Ed25519 `key_seed`. With a 32-byte `psk` only who has
    it too can open a connection."""
    keys = create_new_key_pair(key_seed)
    peer_id = ID.from_pubkey(keys.public_key)
    store = PeerStore()
    store.add_key_pair(peer_id, keys)
    noise = NoiseTransport(keys, noise_privkey=create_noise_key_pair().private_key)
    upgrader = TransportUpgrader({NOISE_ID: noise}, {})
    upgrader.muxer_multistream = MeshMuxerMultistream(limits, on_violation)
    swarm = MeshSwarm(peer_id, upgrader, store, limits, admit)
    swarm.psk = psk.hex() if psk is not None else None
    return MeshHost(swarm)


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
