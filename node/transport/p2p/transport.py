"""The `Transport` port over libp2p: outlives the sessions that serve it."""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from swarmd.node.ports import PeerGone, PeerInfo, TransportHandler
from swarmd.node.transport.p2p import patches
from swarmd.node.transport.p2p.addresses import dialable, parse_listen, parse_peer, require_free
from swarmd.node.transport.p2p.config import P2PLimits
from swarmd.node.transport.p2p.scores import ScoreBook
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
    multiaddrs ending in /p2p/PEER_ID that are kept connected. With a 32-byte `psk` the mesh is
    private: who lacks it cannot open a connection. LocalFault for what cannot be used.
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
        self.drops: Counter[str] = Counter()
        self.restarts = 0
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
        bound = list(self._listen)
        pause_s = self.limits.restart_min_s
        while self._corrupt is None:
            started_s = trio.current_time()
            session = MeshSession(self, self._key_seed, self._mesh_id, handler, self._psk)
            try:
                with trio.CancelScope() as self._scope:
                    async with trio.open_nursery() as nursery:
                        await nursery.start(session.run, bound, self._static_peers)
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
            raise _first(fault)
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

    def report(self, peer_id: str, code: str) -> None:
        """Charge a fault (`code` as in `Fault.code`); below the threshold the peer is cut off and denied."""
        if self.scores.charge(peer_id, code) and self._session is not None:
            self._session.cut_off(peer_id, code)

    def peers(self) -> Sequence[PeerInfo]:
        return [] if self._session is None else self._session.peers()

    def counters(self) -> Mapping[str, int]:
        """Everything dropped or refused, by reason, and restarts of the host. For operators."""
        return {**self.drops, "restarts": self.restarts}

    def stop_for(self, error: CorruptState) -> None:
        """End `run` with an error of our own state that the handler met."""
        self._corrupt = error
        if self._scope is not None:
            self._scope.cancel()


def _first(group: BaseExceptionGroup[LocalFault]) -> LocalFault:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, LocalFault)
    return error
