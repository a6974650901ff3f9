"""One life of the libp2p host: connections, gossip and request streams, from listening to closing.

The transport starts another session should this one fall.
"""

import logging
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import trio
from libp2p.abc import INetConn, INetStream, INetwork, INotifee
from libp2p.custom_types import TProtocol
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11
from libp2p.rcmgr import Direction
from multiaddr import Multiaddr  # type: ignore[import-untyped]
from swarmd.node.ports import PeerGone, PeerInfo, TransportHandler
from swarmd.node.transport.p2p.access import AccessList
from swarmd.node.transport.p2p.budget import Budget
from swarmd.node.transport.p2p.config import P2PLimits
from swarmd.node.transport.p2p.gossip import MeshPubsub, MeshRouter
from swarmd.node.transport.p2p.gossip_guard import GossipGuard
from swarmd.node.transport.p2p.host import build_host, close_host, ip_of, public_key_of, running
from swarmd.node.transport.p2p.link import PeerLink
from swarmd.node.transport.p2p.plugins import Plugin, keep_running
from swarmd.node.transport.p2p.pool import Pool
from swarmd.node.transport.p2p.rates import Meter
from swarmd.node.transport.p2p.responder import Responder
from swarmd.node.transport.p2p.scores import ScoreBook
from swarmd.node.transport.p2p.stats import StatsBook
from swarmd.protocol.didkey import did_of
from swarmd.protocol.faults import CorruptState, LocalFault, RemoteFault
from trio import TASK_STATUS_IGNORED, TaskStatus

log = logging.getLogger(__name__)


class Owner(Protocol):
    """What a session needs of the transport, which outlives it."""

    limits: P2PLimits
    scores: ScoreBook
    access: AccessList
    spare_peers: Callable[[], bool]
    drops: Counter[str]
    plugins: list[Plugin]
    frames_are_signed: bool
    keeps: list[Callable[[str], bool]]

    def report(self, peer_id: str, code: str) -> None: ...

    def stop_for(self, error: CorruptState) -> None: ...


class MeshSession:
    def __init__(
        self,
        owner: Owner,
        key_seed: bytes,
        mesh_id: str,
        handler: TransportHandler,
        static_peers: Sequence[tuple[Multiaddr, ID]] = (),
        psk: bytes | None = None,
    ) -> None:
        self._owner = owner
        self._limits = limits = owner.limits
        self._static_peers = static_peers
        self._handler = handler
        self._stats = StatsBook()
        self._links: dict[ID, PeerLink] = {}
        self._nursery: trio.Nursery | None = None
        self._topic = f"/swarm/{mesh_id}/flush/1"
        self._protocol = TProtocol(f"/swarm/{mesh_id}/sync/1")
        self._roused = trio.Event()
        self._roused_at_s = -math.inf
        self.budget = Budget(limits.max_held_bytes, self._shed)
        keep = frozenset(peer_id for _, peer_id in static_peers)
        self._pool = Pool(
            limits, owner.scores, owner.access, lambda: owner.spare_peers(), keep, _Connections(self)
        )
        self.host = build_host(key_seed, limits, self._pool, self._violation, self.budget, owner.drops, psk)
        self.host.single_stream |= {self._protocol, PROTOCOL_ID_V11}
        self._swarm = self.host.swarm
        self._gossip_meter = Meter(
            "gossip-frames",
            (limits.gossip_frames_per_s, limits.gossip_frames_burst),
            (limits.all_gossip_frames_per_s, limits.all_gossip_frames_burst),
            owner.drops,
            self._share_of,
        )
        self._request_meter = Meter(
            "requests",
            (limits.requests_per_s, limits.requests_burst),
            (limits.all_requests_per_s, limits.all_requests_burst),
            owner.drops,
            self._share_of,
        )
        guard = GossipGuard(limits, self._violation, owner.drops)
        self._router = MeshRouter(self._topic, limits, guard)
        self._pubsub = MeshPubsub(
            self.host,
            self._router,
            topic=self._topic,
            limits=owner.limits,
            budget=self.budget,
            on_frame=self._on_frame,
            charge=lambda peer_id: self._gossip_meter.charge(str(peer_id)),
            on_violation=self._violation,
            reach_of=self._reach_of,
            stats=self._stats,
            drops=owner.drops,
            frames_are_signed=owner.frames_are_signed,
        )
        responder = Responder(
            owner.limits,
            self._link_of,
            handler.on_request,
            self._violation,
            owner.stop_for,
            owner.drops,
            self._request_meter,
            self.budget,
        )
        self.host.set_stream_handler(self._protocol, responder.serve)
        self._swarm.register_notifee(_Notifee(self))
        for plugin in owner.plugins:
            plugin.attach(self.host)

    async def run(
        self,
        listen: Sequence[Multiaddr],
        *,
        task_status: TaskStatus[None] = TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled. LocalFault `listen-failed` if an address cannot be listened on."""
        try:
            async with running(self.host.swarm):
                try:
                    await self._swarm.listen(*listen)
                    if len(self.bound()) < len(listen):
                        raise LocalFault(
                            "listen-failed",
                            f"could not listen on all of {', '.join(map(str, listen))}",
                            fix="use addresses of this host (ip address shows them; /ip4/0.0.0.0/tcp/4001 is all) and free ports",
                        )
                    async with running(self._pubsub), running(self._router), trio.open_nursery() as nursery:
                        self._nursery = nursery
                        await self._pubsub.wait_until_ready()
                        await self._pubsub.subscribe(self._topic)
                        for plugin in self._owner.plugins:
                            nursery.start_soon(keep_running, plugin)
                        for addr, peer_id in self._static_peers:
                            nursery.start_soon(self._keep_connected, addr, peer_id)
                        nursery.start_soon(self._pool.tend)
                        task_status.started()
                        await trio.sleep_forever()
                finally:
                    self._nursery = None
                    with trio.CancelScope(shield=True):
                        await close_host(self.host, self._limits.close_timeout_s / 2)
        finally:
            if left := self._swarm.tcp.close_left():
                log.debug("closed %d connections that nobody knew of any more", left)

    def bound(self) -> Sequence[Multiaddr]:
        """The addresses listened on, with their real ports."""
        return self.host.get_transport_addrs()

    # What the transport asks for.

    def publish(self, frame: bytes) -> None:
        if self._nursery is not None:
            self._pubsub.publish_frame(frame)

    async def request(self, peer_id: str, body: bytes, timeout_s: float) -> bytes:
        link = self._links.get(_id_of(peer_id))
        if link is None:
            raise PeerGone(f"{peer_id}: not connected")
        return await link.request(body, timeout_s)

    async def connect(self, addr: Multiaddr, peer_id: ID) -> None:
        """Dial unless connected; return when the peer is up."""
        with trio.move_on_after(self._limits.dial_timeout_s):
            link = await self._dial(addr, peer_id)
            async with trio.open_nursery() as nursery:

                async def until_gone() -> None:
                    await link.gone.wait()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(until_gone)
                await link.up.wait()
                nursery.cancel_scope.cancel()
            if link.up.is_set():
                return
            raise PeerGone(f"{addr}: it closed the connection; it may be of another mesh")
        raise PeerGone(f"{addr}: no answer in {self._limits.dial_timeout_s} s")

    async def dial(self, addr: Multiaddr, peer_id: ID) -> None:
        """Dial unless connected; return when there is a connection, to whatever software."""
        with trio.move_on_after(self._limits.dial_timeout_s):
            await self._dial(addr, peer_id)
            return
        raise PeerGone(f"{addr}: no answer in {self._limits.dial_timeout_s} s")

    async def _dial(self, addr: Multiaddr, peer_id: ID) -> PeerLink:
        access = self._owner.access
        verdict = access.verdict(str(peer_id))
        denied_s = self._owner.scores.denied_for_s(str(peer_id))
        if verdict == "deny" or (access.only_allowed and verdict != "allow"):
            raise PeerGone(f"{peer_id}: this node's lists do not let it in (swarmd peers allow)")
        if denied_s and verdict != "allow":
            raise PeerGone(f"{peer_id}: denied for another {denied_s:.0f} s after its faults")
        if self._pool.rests(peer_id):
            raise PeerGone(f"{peer_id}: rotated out for its score a short time ago")
        if peer_id not in self._links:
            try:
                await self._swarm.dial_addr(addr, peer_id)
            except SwarmException as error:
                raise PeerGone(f"{addr}: {_why(error)}") from error
        link = self._links.get(peer_id)
        if link is None:
            raise PeerGone(f"{addr}: it closed the connection")
        return link

    def cut_off(self, peer_id: str, why: str) -> None:
        """Close every connection to a peer, soon."""
        target = _id_of(peer_id)
        if self._nursery is not None and self._swarm.get_connections(target):
            log.info("cutting off %s: %s", peer_id, why)
            self._nursery.start_soon(self._swarm.close_peer, target)

    def peers(self) -> list[PeerInfo]:
        return [self._info(link) for link in self._links.values() if link.up.is_set()]

    def _info(self, link: PeerLink) -> PeerInfo:
        peer_id = str(link.peer_id)
        conns = link.connections()
        addrs = {f"{addr}/p2p/{peer_id}": None for conn in conns for addr in conn.get_transport_addresses()}
        outbound = any(conn.direction is Direction.OUTBOUND for conn in conns)
        return PeerInfo(
            peer_id=peer_id,
            did=link.did,
            addrs=tuple(addrs),
            direction="outbound" if outbound else "inbound",
            connected_at_ns=link.connected_at_ns,
            rtt_ms=link.rtt_ms,
            score=self._owner.scores.score(peer_id),
            faults=self._owner.scores.faults(peer_id),
            frames_in=link.stats.frames_in,
            frames_out=link.stats.frames_out,
            bytes_in=link.stats.bytes_in,
            bytes_out=link.stats.bytes_out,
        )

    def pool(self) -> dict[str, int]:
        """Connections and memory as they are now. For operators."""
        conns = [conn for conn in _Connections(self).all() if not conn.is_closed]
        outbound = sum(conn.direction is Direction.OUTBOUND for conn in conns)
        return {
            "connections": len(conns),
            "outbound": outbound,
            "inbound": len(conns) - outbound,
            "peers_up": sum(link.up.is_set() for link in self._links.values()),
            "held_bytes": self.budget.total_bytes,
            "held_bytes_peak": self.budget.peak_bytes,
        }

    def unwelcome(self) -> list[str]:
        """Peers that are connected and would not be let in now."""
        access = self._owner.access
        found = set()
        for conn in self._swarm.get_connections():
            peer_id = str(conn.muxed_conn.peer_id)
            verdict = access.verdict(peer_id, ip_of(conn.muxed_conn))
            if verdict == "deny" or (access.only_allowed and verdict != "allow"):
                found.add(peer_id)
        return sorted(found)

    # What libp2p tells us.

    def _shed(self, peer_id: ID) -> None:
        """All peers together make us hold too much, and this one most of it."""
        self._violation(peer_id, "memory-hog")
        self.cut_off(str(peer_id), "it makes us hold more than we can")

    def _share_of(self, peer_id: str) -> float:
        return 1.0 if self._owner.scores.state(peer_id) == "good" else 0.25

    def _violation(self, peer_id: ID, code: str) -> None:
        self._owner.report(str(peer_id), code)

    def _reach_of(self, peer_id: ID) -> frozenset[bytes]:
        link = self._links.get(peer_id)
        return frozenset() if link is None else link.reach

    def _link_of(self, peer_id: ID) -> PeerLink | None:
        """The peer's link, made on first sight of it."""
        link = self._links.get(peer_id)
        public_key = public_key_of(peer_id)
        if link is not None or self._nursery is None or public_key is None:
            return link
        link = self._links[peer_id] = PeerLink(
            self.host,
            peer_id,
            did_of(public_key),
            self._protocol,
            self._limits,
            self._stats.of(peer_id),
            self._violation,
            self._pubsub.reach,
            self.budget,
            partial(self._owner.scores.observe, str(peer_id)),
        )
        self._nursery.start_soon(self._run_link, link)
        return link

    def connected(self, peer_id: ID) -> None:
        known = peer_id in self._links
        self._link_of(peer_id)
        now_s = trio.current_time()
        if not known and now_s - self._roused_at_s > self._limits.rouse_interval_s:
            # The network may be back for the others, too: they are dialed again now.
            self._roused_at_s = now_s
            self._roused.set()
            self._roused = trio.Event()

    def disconnected(self, peer_id: ID) -> None:
        link = self._links.get(peer_id)
        if link is not None and not link.connections():
            # At once: the peer may be back before this link has wound up.
            del self._links[peer_id]
            self._stats.forget(peer_id)
            self._forget(peer_id)
            link.gone.set()

    def _forget(self, peer_id: ID) -> None:
        """What libp2p keeps for each key it ever saw would grow with every stranger."""
        self._gossip_meter.forget(str(peer_id))
        self._request_meter.forget(str(peer_id))
        router = self._router
        router.guard.forget(peer_id)
        for table in (router.iwant_request_limits, router.ihave_message_limits, router.graft_flood_tracking):
            table.pop(peer_id, None)

    async def _run_link(self, link: PeerLink) -> None:
        peer_id = str(link.peer_id)

        async def announce() -> None:
            try:
                await self._handler.on_peer_up(peer_id, link.did)
            except RemoteFault as fault:
                self._owner.report(peer_id, fault.code)
            except CorruptState as error:
                self._owner.stop_for(error)
            except Exception:
                # The isolation boundary of the handler.
                log.exception("the handler failed on a new peer")

        try:
            await link.run(announce, lambda why: self._drop_useless(link.peer_id, why))
        except Exception:
            # The isolation boundary of one peer.
            log.exception("the link to %s failed", peer_id)
            self.cut_off(peer_id, "link failed")
        if link.up.is_set():
            try:
                await self._handler.on_peer_down(peer_id)
            except CorruptState as error:
                self._owner.stop_for(error)
            except Exception:
                log.exception("the handler failed on a peer that left")

    def _drop_useless(self, peer_id: ID, why: str) -> None:
        """A peer of other software that gossips on our topic or exchanges blocks is of use; it is just never up."""
        if why != "foreign" or not self._of_use(peer_id):
            self.cut_off(str(peer_id), why)

    def _subscribed(self, peer_id: ID) -> bool:
        return peer_id in self._pubsub.peer_topics.get(self._topic, ())

    def _of_use(self, peer_id: ID) -> bool:
        return self._subscribed(peer_id) or any(keep(str(peer_id)) for keep in self._owner.keeps)

    def _on_frame(self, peer_id: ID, frame: bytes) -> bool:
        try:
            self._handler.on_frame(str(peer_id), frame)
        except RemoteFault as fault:
            self._violation(peer_id, fault.code)
        except CorruptState as error:
            self._owner.stop_for(error)
        except Exception:
            # The isolation boundary of one frame: what we could not judge is not passed on.
            log.exception("the handler failed on a frame of %s", peer_id)
            self._owner.drops["handler-error"] += 1
        else:
            return True
        self._owner.drops["frame-refused"] += 1
        return False

    # Static peers.

    async def _keep_connected(self, addr: Multiaddr, peer_id: ID) -> None:
        """Dial, and again after each loss, for ever: backoff grows with failures, jitter keeps nodes that
        start together from dialing each other in step."""
        failures = 0
        while True:
            link = self._links.get(peer_id)
            if link is not None:
                await link.gone.wait()
                await trio.sleep(random.uniform(0, self._limits.redial_min_s))
                continue
            try:
                await self.connect(addr, peer_id)
                failures = 0
                continue
            except PeerGone as error:
                log.debug("static peer: %s", error)
            except Exception:
                # A dial must never end the redialing, whatever it raises.
                log.exception("dialing %s failed", addr)
            failures += 1
            pause_s = min(self._limits.redial_max_s, self._limits.redial_min_s * 2 ** min(failures, 16))
            with trio.move_on_after(pause_s * random.uniform(0.5, 1.0)):
                await self._roused.wait()


class _Connections:
    """The session as its pool sees it."""

    def __init__(self, session: MeshSession) -> None:
        self._session = session
        self.cut_off = session.cut_off

    def all(self) -> Sequence[SwarmConn]:
        return [conn for conn in self._session._swarm.get_connections() if isinstance(conn, SwarmConn)]

    def useful(self, peer_id: ID) -> bool:
        link = self._session._links.get(peer_id)
        return (link is not None and link.up.is_set()) or self._session._of_use(peer_id)

    def age_s(self, peer_id: ID) -> float:
        link = self._session._links.get(peer_id)
        return 0.0 if link is None else (time.time_ns() - link.connected_at_ns) / 1e9

    def up(self) -> Sequence[ID]:
        return [link.peer_id for link in self._session._links.values() if link.up.is_set()]


class _Notifee(INotifee):
    def __init__(self, session: MeshSession) -> None:
        self._session = session

    async def connected(self, network: INetwork, conn: INetConn) -> None:
        self._session.connected(conn.muxed_conn.peer_id)

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:
        self._session.disconnected(conn.muxed_conn.peer_id)

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None:
        return

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None:
        return

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None:
        return

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None:
        return


def _why(error: BaseException) -> str:
    """What a libp2p error began with: the outer ones only say in which step."""
    while error.__cause__ is not None or isinstance(error, BaseExceptionGroup):
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__
        assert inner is not None
        error = inner
    return f"{type(error).__name__}: {error}"


def _id_of(peer_id: str) -> ID:
    try:
        return ID.from_base58(peer_id)
    except ValueError:
        raise LocalFault("bad-peer-id", f"not a peer id: {peer_id!r}") from None
