"""The `Transport` port over libp2p: outlives the sessions that serve it."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from swarmd.node.groups import first
from swarmd.node.ports import PeerGone, PeerInfo, TransportHandler
from swarmd.node.transport.p2p import patches
from swarmd.node.transport.p2p.access import AccessList, Verdict, parse_entry, parse_peer_id
from swarmd.node.transport.p2p.addresses import dialable, parse_listen, parse_peer, require_free
from swarmd.node.transport.p2p.config import P2PLimits
from swarmd.node.transport.p2p.peer_store import PeerStore
from swarmd.node.transport.p2p.plugins import Plugin
from swarmd.node.transport.p2p.scores import ScoreBook, Standing
from swarmd.node.transport.p2p.session import MeshSession
from swarmd.protocol.faults import CorruptState, LocalFault
from trio import TASK_STATUS_IGNORED, TaskStatus

log = logging.getLogger(__name__)

_MESH_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_STEADY_S = 60.0


class P2PTransport:
    """Frames to the mesh, requests to a peer, between hosts.

    `key_seed` is the 32-byte Ed25519 seed of this node, so its peer id and its did:key are one key. Nodes
    of different `mesh_id` do not hear each other. `listen` are multiaddrs (port 0: any), `static_peers`
    multiaddrs ending in /p2p/PEER_ID that are kept connected. With a 32-byte `psk` the mesh is private: who
    lacks it cannot open a connection. `access` are the operator's lists, `store` where they and the scores of
    peers are kept over restarts. LocalFault for what cannot be used.
    `frames_are_signed`: the handler refuses each frame without its author's signature, so that gossip need
    not verify another one of each.
    """

    def __init__(
        self,
        key_seed: bytes,
        mesh_id: str,
        listen: Sequence[str] = ("/ip4/127.0.0.1/tcp/0",),
        static_peers: Sequence[str] = (),
        limits: P2PLimits | None = None,
        *,
        psk: bytes | None = None,
        access: AccessList | None = None,
        store: PeerStore | None = None,
        frames_are_signed: bool = False,
    ) -> None:
        patches.apply()
        if len(key_seed) != 32:
            raise LocalFault("bad-key", f"an Ed25519 seed has 32 bytes, not {len(key_seed)}")
        if _MESH_ID.fullmatch(mesh_id) is None:
            raise LocalFault(
                "bad-mesh-id",
                f"not a mesh id: {mesh_id!r}",
                fix="use 1 to 64 letters, digits, '.', '_' or '-'",
            )
        self.limits = limits or P2PLimits()
        self.scores = ScoreBook(self.limits)
        self.access = access or AccessList()
        # Set by who finds peers: could another one take the place of a bad one?
        self.spare_peers: Callable[[], bool] = lambda: False
        self._store = store
        if store is not None:
            records, entries = store.load()
            self.scores.restore(records)
            self.access.restore(entries)
        self.drops: Counter[str] = Counter()
        self.frames_are_signed = frames_are_signed
        self.restarts = 0
        self.plugins: list[Plugin] = []  # before `run`
        self.keeps: list[Callable[[str], bool]] = []  # do these want to keep a peer of other software?
        self.more_addrs: Callable[[], Sequence[str]] = (
            tuple  # where others reach us beside those we listen on
        )
        self._key_seed = key_seed
        self._mesh_id = mesh_id
        self._psk = psk
        self._id = ID.from_pubkey(create_new_key_pair(key_seed).public_key)
        self._listen = [parse_listen(text) for text in listen]
        peers = [parse_peer(text) for text in static_peers]
        self._static_peers = [(addr, peer_id) for addr, peer_id in peers if peer_id != self._id]
        self._session: MeshSession | None = None
        self._scope: trio.CancelScope | None = None
        self._corrupt: CorruptState | None = None
        self._addrs: tuple[str, ...] = ()

    @property
    def peer_id(self) -> str:
        return str(self._id)

    @property
    def addrs(self) -> tuple[str, ...]:
        """Multiaddrs ending in /p2p/PEER_ID that others can dial; empty before it listens."""
        return tuple(dict.fromkeys((*self._addrs, *self.more_addrs()))) if self._addrs else ()

    @property
    def bound_addrs(self) -> tuple[str, ...]:
        """Those of `addrs` that are listened on."""
        return self._addrs

    async def run(
        self, handler: TransportHandler, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled; a host that falls is started again on the same ports.

        Raises LocalFault if it cannot listen at first, CorruptState if the handler did.
        """
        for addr in self._listen:
            if addr.value_for_protocol("tcp") != "0":
                require_free(addr)
        try:
            await self._supervise(handler, task_status)
        finally:
            self.save_scores()

    async def _keep_scores(self) -> None:
        while True:
            await trio.sleep(self.limits.save_interval_s)
            self.save_scores()

    def save_scores(self) -> None:
        if self._store is None:
            return
        changed, dropped = self.scores.take_changes()
        if (changed or dropped) and not self._store.save(changed, dropped):
            self.scores.put_back(changed, dropped)
            self.drops["scores-not-saved"] += 1

    async def _supervise(self, handler: TransportHandler, task_status: TaskStatus[None]) -> None:
        """Session after session, on the ports of the first. Raises as `run`."""
        bound = list(self._listen)
        pause_s = self.limits.restart_min_s
        while self._corrupt is None:
            started_s = trio.current_time()
            session = MeshSession(self, self._key_seed, self._mesh_id, handler, self._static_peers, self._psk)
            session.host.announced = lambda: self.addrs
            try:
                with trio.CancelScope() as self._scope:
                    async with trio.open_nursery() as nursery:
                        await nursery.start(session.run, bound)
                        nursery.start_soon(self._keep_scores)
                        if not self._addrs:
                            bound = list(session.bound())
                            self._addrs = dialable(bound, self._id)
                            task_status.started()
                        self._session = session
            except BaseExceptionGroup as group:
                self._sort_out(group)
            finally:
                self._session = None
            if self._corrupt is None:
                self.restarts += 1
                log.warning("the libp2p host fell; starting it again in %.1f s", pause_s)
                await trio.sleep(pause_s)
                steady = trio.current_time() - started_s > _STEADY_S
                pause_s = self.limits.restart_min_s if steady else min(self.limits.restart_max_s, pause_s * 2)
        raise self._corrupt

    def _sort_out(self, group: BaseExceptionGroup[BaseException]) -> None:
        """Re-raise what is not an accident of the host's."""
        accidents, rest = group.split(Exception)
        if rest is not None:
            if accidents is not None:
                log.warning("the libp2p host failed while stopping: %r", accidents)
            raise rest
        fault, _ = group.split(LocalFault)
        if fault is not None and not self._addrs:
            raise first(fault)
        log.error("the libp2p host fell", exc_info=group)

    async def publish(self, frame: bytes) -> None:
        """Gossip `frame`; it is not delivered to ourselves. LocalFault `frame-too-big`."""
        if len(frame) > self.limits.max_frame_bytes:
            raise LocalFault("frame-too-big", f"{len(frame)} bytes, at most {self.limits.max_frame_bytes}")
        if self._session is None:
            self.drops["not-running"] += 1
        else:
            self._session.publish(frame)

    async def request(self, peer_id: str, body: bytes, *, timeout_s: float = 30.0) -> bytes:
        if self._session is None:
            raise PeerGone("the transport is not running")
        return await self._session.request(peer_id, body, timeout_s)

    async def connect(self, addr: str) -> str:
        target, peer_id = parse_peer(addr)
        if peer_id == self._id:
            raise LocalFault("self-dial", f"{addr} is this node")
        if self._session is None:
            raise PeerGone("the transport is not running")
        await self._session.connect(target, peer_id)
        return str(peer_id)

    async def dial(self, addr: str) -> str:
        """As `connect`, to whatever libp2p software: it need not speak the protocols of a mesh."""
        target, peer_id = parse_peer(addr)
        if peer_id == self._id:
            raise LocalFault("self-dial", f"{addr} is this node")
        if self._session is None:
            raise PeerGone("the transport is not running")
        await self._session.dial(target, peer_id)
        return str(peer_id)

    def report(self, peer_id: str, code: str) -> None:
        """Charge a fault (`code` as in `Fault.code`); below the threshold the peer is cut off and denied,
        unless the operator allows it."""
        if self.scores.charge(peer_id, code) and self.access.of(peer_id) != "allow":
            self._cut_off(peer_id, code)

    def peers(self) -> Sequence[PeerInfo]:
        return [] if self._session is None else self._session.peers()

    def counters(self) -> Mapping[str, int]:
        """Everything dropped, refused or throttled, by reason, and restarts of the host. For operators."""
        return {**self.drops, "restarts": self.restarts}

    def pool(self) -> Mapping[str, int]:
        """Connections, memory held for peers, and the limits of both. For operators."""
        limits = self.limits
        now = {} if self._session is None else self._session.pool()
        return {
            **now,
            "max_connections": limits.max_connections,
            "target_peers": limits.target_peers,
            "max_held_bytes": limits.max_held_bytes,
        }

    # For operators.

    def standing(self, peer_id: str) -> Standing:
        return self.scores.standing(parse_peer_id(peer_id))

    def standings(self) -> Sequence[Standing]:
        """Of all peers that something is held against, worst first."""
        return [self.scores.standing(peer_id) for peer_id in self.scores.known()]

    def ban(self, peer: str, for_s: float, reason: str) -> str:
        """Cut a peer off for a time, kept over restarts. Its peer id."""
        peer_id = self._other(peer)
        if self.access.of(peer_id) == "allow":
            raise LocalFault(
                "allowed-peer", f"{peer} is on the allow list", fix=f"swarmd peers allow --remove {peer}"
            )
        self.scores.deny(peer_id, for_s, reason)
        self.save_scores()
        self._cut_off(peer_id, reason)
        return peer_id

    def unban(self, peer: str) -> bool:
        """Forget all that is held against a peer. False if that was nothing."""
        forgiven = self.scores.forgive(self._other(peer))
        self.save_scores()
        return forgiven

    def set_access(self, text: str, verdict: Verdict | None) -> str:
        """Put a peer or network on a list, or on none: on disk first, then in force. Its one spelling."""
        entry = parse_entry(text)
        if entry == self.peer_id:
            raise LocalFault("self-ban", f"{text} is this node")
        before = self.access.of(entry)
        self.access.set(entry, verdict)
        try:
            if self._store is not None:
                self._store.set_access(entry, verdict)
        except LocalFault:
            self.access.set(entry, before)
            raise
        self._enforce()
        return entry

    def access_rows(self) -> Sequence[Mapping[str, str]]:
        return self.access.rows()

    def _other(self, peer: str) -> str:
        peer_id = parse_peer_id(peer)
        if peer_id == self.peer_id:
            raise LocalFault("self-ban", f"{peer} is this node")
        return peer_id

    def _enforce(self) -> None:
        """The lists changed: who is connected and may not be, goes."""
        if self._session is not None:
            for peer_id in self._session.unwelcome():
                self._session.cut_off(peer_id, "the operator's lists")

    def _cut_off(self, peer_id: str, why: str) -> None:
        if self._session is not None:
            self._session.cut_off(peer_id, why)

    def stop_for(self, error: CorruptState) -> None:
        """End `run` with an error of our own state that the handler met."""
        self._corrupt = error
        if self._scope is not None:
            self._scope.cancel()
