"""The daemon: composes the rooms around the runner and keeps them in one nursery tree.

    run -> journal, gate, content, agents, chain, transport
        -> runner loop · dispatcher · sync per peer · manifest announcer · local socket · signals

Whatever ends one of them ends all, in order: no new input, the turn at hand commits, connections close.
"""

import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from swarmd import policies
from swarmd.bootstrap.swarmkey import load_psk
from swarmd.node.agents.host import Agents
from swarmd.node.agents.ops import INLINE_OPS
from swarmd.node.agents.registry import AgentRegistry
from swarmd.node.analytics.ops import analytics_ops
from swarmd.node.analytics.service import Analytics
from swarmd.node.api.service import ApiService
from swarmd.node.api.settings import ApiSettings
from swarmd.node.arbiter.settings import EtcdSettings, open_arbiter
from swarmd.node.backup.ops import backup_ops
from swarmd.node.backup.silence import Silence
from swarmd.node.backup.snapshot import remove_snapshot
from swarmd.node.balances.service import Balances, BalanceSettings
from swarmd.node.bridges.hybrid import DEFAULT_PREFER_P2P_S, HybridInbox
from swarmd.node.bridges.nats import NatsBridge
from swarmd.node.chain import RpcSettings, make_chain
from swarmd.node.chain.money import MoneyDesk
from swarmd.node.checkpoint.archive import Archive
from swarmd.node.checkpoint.ops import checkpoint_ops
from swarmd.node.checkpoint.pruning import KEEP_EPOCHS, MAX_COLD_BYTES, Pruner
from swarmd.node.checkpoint.records import Records
from swarmd.node.checkpoint.service import Checkpoints, Wish, floor_of
from swarmd.node.clock import SteadyClock
from swarmd.node.codec import Kept
from swarmd.node.consensus.ops import ConsensusOps
from swarmd.node.content.host import ContentHost
from swarmd.node.content.layered import LayeredBlocks
from swarmd.node.content.network import ContentSettings
from swarmd.node.content.ops import ContentOps
from swarmd.node.content.repo import ContentRepo
from swarmd.node.content.roots import roots_of_needs
from swarmd.node.content.store import SqliteBlockStore
from swarmd.node.content.wire import serve as serve_blocks
from swarmd.node.dashboard.ops import DashboardOps
from swarmd.node.discovery import Discovery, DiscoverySettings, Membership
from swarmd.node.dispatch import Dispatcher
from swarmd.node.doctor import time_answer
from swarmd.node.escrow.ops import EscrowOps
from swarmd.node.garbage import Garbage, give_back_large
from swarmd.node.home import CONTENT_FOLDER, socket_path
from swarmd.node.home_lock import home_lock
from swarmd.node.invoices import InvoiceOps
from swarmd.node.jobs import Content
from swarmd.node.joining import genesis_answer
from swarmd.node.journal import Journal
from swarmd.node.keys import load_key
from swarmd.node.local_api import LocalApi
from swarmd.node.network_ops import NetworkOps
from swarmd.node.peer_ops import PeerOps
from swarmd.node.policy.capsule_store import CapsuleStore
from swarmd.node.policy.capsules import REQUEST_TYPE as CAPSULES_REQUEST
from swarmd.node.policy.capsules import Capsules, is_capsule
from swarmd.node.policy.host import WasmGate
from swarmd.node.pool.attestation import SoftwareAttestation
from swarmd.node.pool.monitor import watch_bootstrap
from swarmd.node.pool.ops import VerifierOps
from swarmd.node.ports import AnchorSeen, Transport
from swarmd.node.proof_ops import proof_ops
from swarmd.node.runner import Runner
from swarmd.node.settling.ops import slash_ops
from swarmd.node.settling.own import load_own
from swarmd.node.settling.service import MeshSettlement
from swarmd.node.settling.terms import Terms as SettleTerms
from swarmd.node.settling.wire import REQUESTS as SETTLE_REQUESTS
from swarmd.node.setup import GENESIS_FILE, load_genesis
from swarmd.node.spending import SpendingLimits
from swarmd.node.state.ops import state_ops
from swarmd.node.state.replica_host import ReplicaHost
from swarmd.node.state.sync import Sync
from swarmd.node.telemetry.collect import Collector, metrics_ops
from swarmd.node.telemetry.service import Telemetry, TelemetrySettings
from swarmd.node.transport.local import LocalServer
from swarmd.node.transport.p2p.access import AccessList
from swarmd.node.transport.p2p.config import P2PLimits
from swarmd.node.transport.p2p.peer_store import PEERS_FILE, PeerStore
from swarmd.node.transport.p2p.transport import P2PTransport
from swarmd.node.turns import Out
from swarmd.protocol.canonical_json import parse_json
from swarmd.protocol.cbor import decode
from swarmd.protocol.effects import Arbitrate, CheckClaim, CheckQuote, Fetch, Judge, RunAgent, Submit
from swarmd.protocol.faults import CorruptState, LocalFault, RemoteFault
from swarmd.protocol.identity.manifest import Manifest, sign_manifest
from swarmd.protocol.inputs import ChainSeen, Commanded, ManifestSeen
from swarmd.protocol.limits import DEFAULT_LEASE_S, S_NS
from swarmd.protocol.state import State

log = logging.getLogger("swarmd.daemon")

MANIFEST_INTERVAL_S = 60.0
ANCHOR_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What the daemon needs of its configuration. Addresses are multiaddrs, times in their unit."""

    home: Path
    listen: Sequence[str] = ("/ip4/127.0.0.1/tcp/0",)
    peers: Sequence[str] = ()
    chain_id: int = 1337
    rpc: RpcSettings | None = None  # a chain elsewhere in place of the embedded one
    keystore_passphrase: str = field(default="", repr=False)
    policy_path: str = ""
    policy_signers: Sequence[str] = ()
    lease_ttl_s: int = DEFAULT_LEASE_S
    anchor_interval_s: float = 2.0
    sync_interval_s: float = 30.0
    check_everything: bool = False
    state_replica: bool = False
    content_max_bytes: int = 0
    keep_epochs: int = KEEP_EPOCHS
    cold_max_bytes: int = MAX_COLD_BYTES
    attestation_keys: Sequence[str] = ()
    verifier_commands: dict[str, list[str]] = field(default_factory=dict)
    discovery: DiscoverySettings = DiscoverySettings()
    max_connections: int = 100
    allow_peers: Sequence[str] = ()
    deny_peers: Sequence[str] = ()
    only_allowed_peers: bool = False
    nats_url: str = ""
    nats_hold_s: float = DEFAULT_PREFER_P2P_S
    etcd: EtcdSettings = EtcdSettings()
    content: ContentSettings = ContentSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    api: ApiSettings = ApiSettings()
    spending: SpendingLimits = SpendingLimits()
    settlement: SettleTerms = SettleTerms()
    settle_interval_s: float = 15.0
    balances: BalanceSettings = BalanceSettings()


class Daemon:
    """One node of the mesh on this host. `on_ready` is called with the API once everything serves."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        home = settings.home
        remove_snapshot(home)
        self.identity = load_key(home)
        self.genesis = load_genesis(home / GENESIS_FILE)
        self.journal = Journal(home / "journal.db")
        self._clock_ns = SteadyClock()
        self._check_same_mesh()
        self.arbiter = open_arbiter(settings.etcd, self.genesis, self._clock_ns)
        self.journal.set_meta("did", self.identity.did.encode())
        self.capsules = make_capsules(settings, self.identity.did)
        self.repo = ContentRepo(home / CONTENT_FOLDER, max_bytes=settings.content_max_bytes)
        self.blocks = LayeredBlocks(SqliteBlockStore(self.journal.db), self.repo)
        registry = AgentRegistry(home / "agents.json")
        scratch = home / "scratch"
        self.agents = Agents(registry, scratch=scratch)
        self.chain = make_chain(home, settings.chain_id, settings.rpc, settings.keystore_passphrase)
        self.money = MoneyDesk(home, self.chain, settings.settlement)
        self._peer_store = PeerStore(home / PEERS_FILE)
        limits = P2PLimits(
            max_connections=settings.max_connections, target_peers=max(1, settings.discovery.target_peers)
        )
        self.p2p = P2PTransport(
            self.identity.seed,
            self.genesis.mesh_name,
            settings.listen,
            settings.peers,
            limits,
            frames_are_signed=True,
            psk=load_psk(home),
            access=AccessList(
                settings.allow_peers, settings.deny_peers, only_allowed=settings.only_allowed_peers
            ),
            store=self._peer_store,
        )
        self.transport: Transport = self.p2p
        membership = Membership(self.genesis.mesh_name, self.genesis.roster)
        self.discovery = Discovery(home, self.p2p, settings.discovery, membership, self._announced_addrs)
        self.content_host = ContentHost(settings.content, self.p2p, self.blocks, lambda: self.discovery.dht)
        self.content = Content(
            self.blocks, self.transport, self._addrs_of, self.content_host.network, self.identity.did
        )
        self.content.on_here.append(self.content_host.on_here)
        records = Records(self.journal)
        pruner = Pruner(
            self.journal, records, self.blocks.journal, settings.keep_epochs, settings.cold_max_bytes
        )
        self.runner = Runner(
            genesis=self.genesis,
            me=self.identity.did,
            sign=self.identity.sign,
            journal=self.journal,
            gate=self.capsules.in_force(),
            blocks=self.blocks.journal,
            clock_ns=self._clock_ns,
            floor=floor_of(records),
            new_state=self._new_state,
            on_out=self._on_out,
        )
        self.runner.watchers.append(self.content.seen)
        self.runner.voice.limits = settings.spending
        self._clock_ns.not_before(self.runner.state.now_ns)
        self.telemetry = Telemetry(settings.telemetry, self.runner)
        self.analytics = Analytics(home, self.runner)
        self.capsules.attach(self.runner, self.content, self.transport)
        self.balances = Balances(home, self.runner, self.chain, self.money, settings.balances)
        attestation = SoftwareAttestation(settings.attestation_keys)
        self.dispatcher = Dispatcher(
            self.runner,
            self.content,
            self.agents,
            self.agents.launcher,
            registry,
            self.chain,
            settings.verifier_commands,
            scratch,
            self.arbiter,
            attestation,
            self.balances.claims,
        )
        self._configure()
        self._manifest: Manifest | None = None
        self.sync = Sync(
            self.runner,
            self.journal,
            self.transport,
            self._manifest_frame,
            interval_s=settings.sync_interval_s,
        )
        self.checkpoints = Checkpoints(
            self.runner,
            self.journal,
            records,
            self.transport,
            self.sync,
            lambda did: self._peer_of.get(did, ""),
            pruner,
        )
        self.sync.epochs = self.checkpoints
        self.settling = MeshSettlement(
            home,
            self.money,
            self.runner,
            self.transport,
            self.checkpoints,
            lambda did: self._peer_of.get(did, ""),
            settings.settlement,
            interval_s=settings.settle_interval_s,
        )
        self.money.on_bound = self._announce_set
        self.money.on_settle_now = lambda: self.settling.poke(at_once=True)
        self.money.mesh_status = self.settling.status
        pruner.still_needed = lambda: set(roots_of_needs(self.runner.state))
        pruner.me = self.identity.did
        if self.discovery.nat is not None:
            self.discovery.nat.on_change = self._on_addrs_changed
        self.replica = ReplicaHost(home, self._batches_on_record)
        self.silence = Silence(self.runner, self.journal)
        self.sync.on_level = self._on_level
        self.p2p.spare_peers = self.discovery.has_spare
        self._peer_of: dict[str, str] = {}
        self._nursery: trio.Nursery | None = None
        self._frames_send, self._frames_receive = trio.open_memory_channel[bytes](1_024)
        self._announce = trio.Event()
        self._stop = trio.CancelScope()
        self.bridge = self._make_bridge(settings)
        self.http = ApiService(settings.api, home, self.identity.did)
        self.api = LocalApi(
            self.runner,
            self.transport,
            self.agents,
            self.content,
            self.chain,
            self.sync,
            self.stop,
            {
                **NetworkOps(
                    self.identity, self.genesis, self.transport, self.discovery, home, settings.peers
                ).ops(),
                **(peers := PeerOps(self.p2p, self.runner)).ops(),
                **self.capsules.ops(),
                **backup_ops(home, self.chain),
                **self.money.ops(),
                **self.balances.ops(),
                **self.silence.ops(),
                **InvoiceOps(self.runner, self._archived, self.settling.settlement_of).ops(),
                **ContentOps(
                    self.blocks,
                    self._content_roots,
                    lambda cid: self.content.ensure(cid, ()),
                    self.content_host.on_here,
                ).ops(),
                **state_ops(self.runner, self.replica.status),
                **(
                    consensus := ConsensusOps(
                        self.runner,
                        self.transport,
                        self.arbiter.status if self.arbiter else lambda: None,
                        self.arbiter.on_record if self.arbiter else None,
                    )
                ).ops(),
                **slash_ops(self.settling, consensus.against),
                **VerifierOps(self.runner, attestation).ops(),
                **EscrowOps(self.runner).ops(),
                **checkpoint_ops(self.checkpoints, self.runner),
                **proof_ops(self.runner),
                **analytics_ops(self.analytics, self.runner),
                **metrics_ops(lambda: self.metrics),
                **self.content_host.ops(),
                **self.http.ops(),
                **DashboardOps(
                    self.runner, self.transport, peers, self.agents, self.chain, self.checkpoints.archive
                ).ops(),
            },
            peers.network,
            self.silence.status,
        )

        self.metrics = Collector(
            self.runner,
            self.transport,
            self.agents,
            self.chain,
            self.sync,
            self.analytics,
            self.telemetry,
        )
        self.telemetry.read = self.metrics.read
        self.api.bridge = self.bridge.status if self.bridge is not None else lambda: None
        self.api.checkpoints = self.checkpoints.status
        self.api.archive = self.checkpoints.archive
        self.api.http = self.http.status
        if self.arbiter is not None:
            self.api.arbiter = self.arbiter.status

    def _archived(self) -> Archive | None:
        return self.checkpoints.archive

    def _content_roots(self) -> Iterator[bytes]:
        yield from roots_of_needs(self.runner.state)
        yield from self.capsules.content()

    def _make_bridge(self, settings: Settings) -> NatsBridge | None:
        if not settings.nats_url:
            return None
        inbox = HybridInbox(
            lambda frame: self._take_frame("", frame),
            lambda: len(self.transport.peers()),
            settings.nats_hold_s,
        )
        return NatsBridge(settings.nats_url, self.genesis.mesh_name, inbox)

    def _check_same_mesh(self) -> None:
        known = self.journal.meta("mesh_id")
        if known is None:
            self.journal.set_meta("mesh_id", self.genesis.mesh_id)
        elif known != self.genesis.mesh_id:
            raise LocalFault(
                "other-mesh",
                f"{self._settings.home} holds the journal of another mesh than its {GENESIS_FILE}",
                fix="put the genesis.json it was made with back, or use another --home",
            )

    def _new_state(self) -> State:
        return State(self.genesis, self.identity.did, check_everything=self._settings.check_everything)

    def _configure(self) -> None:
        """Settings that shape what the engine decides are inputs, or a replay under others would differ (P2)."""
        wanted = {
            "lease_s": self._settings.lease_ttl_s,
            "anchor_interval_ns": int(self._settings.anchor_interval_s * S_NS),
        }
        state = self.runner.state
        if wanted != {"lease_s": state.lease_s, "anchor_interval_ns": state.anchor_interval_ns}:
            self.runner.tell(lambda at_ns: Commanded("configure", wanted, at_ns))

    # Running -------------------------------------------------------------------------------------------

    async def run(
        self, on_ready: Callable[["Daemon"], None] = lambda _: None, *, handle_signals: bool = True
    ) -> None:
        """Serve until SIGTERM, SIGINT, `stop` or cancellation; signals only in the main thread's only daemon."""
        with self._stop:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                if handle_signals:
                    nursery.start_soon(self._signals)
                await nursery.start(self.agents.run)
                await nursery.start(self.chain.run, self._on_anchor)
                await nursery.start(self.transport.run, self)
                nursery.start_soon(self.runner.run)
                nursery.start_soon(self._publisher)
                if self._settings.state_replica:
                    nursery.start_soon(self.replica.run)
                if self.bridge is not None:
                    nursery.start_soon(self.bridge.run)
                nursery.start_soon(self.capsules.run)
                nursery.start_soon(self.content_host.run)
                nursery.start_soon(self.settling.run)
                nursery.start_soon(self.balances.payer.run)
                nursery.start_soon(watch_bootstrap, self.runner)
                nursery.start_soon(self.telemetry.run)
                nursery.start_soon(self.analytics.run)
                kept = self.journal.outbox()
                await nursery.start(
                    self.dispatcher.run, [each for each in kept if not isinstance(each, Wish)]
                )
                await nursery.start(self.checkpoints.run, [each for each in kept if isinstance(each, Wish)])
                self.agents.on_change.append(self._announce_set)
                nursery.start_soon(self._announcer)
                nursery.start_soon(self.discovery.run)
                server = LocalServer(socket_path(self._settings.home), self.api.handle, inline=INLINE_OPS)
                await nursery.start(server.run)
                await nursery.start(self.http.run, self.api, self.runner, self.repo)
                on_ready(self)
        self._nursery = None

    def stop(self) -> None:
        """End `run`, a moment later, so that who asked for it still hears the answer."""
        if self._nursery is not None:
            self._nursery.start_soon(self._stop_soon)

    async def _stop_soon(self) -> None:
        await trio.sleep(0.05)
        self._stop.cancel()

    def _addrs_of(self, did: str) -> Sequence[str]:
        manifest = self.runner.state.manifests.get(did)
        return manifest.addrs if manifest is not None and did != self.identity.did else ()

    def _on_addrs_changed(self) -> None:
        self._announce.set()
        self.discovery.on_addrs_changed()

    def _announced_addrs(self) -> list[str]:
        manifests = self.runner.state.manifests.items()
        return [addr for did, each in manifests if did != self.identity.did for addr in each.addrs]

    def close(self) -> None:
        """Commit what is queued and close the files. After `run`."""
        try:
            # A turn that CorruptState broke off is still open: what it held must not get on disk.
            if not self.journal.db.in_transaction:
                self.runner.turn()
        finally:
            self.release()

    def release(self) -> None:
        """Close the files, whatever is queued."""
        self.journal.close()
        self.analytics.close()
        self.repo.close()
        self.balances.close()
        self._peer_store.close()
        self.content_host.close()
        if self.arbiter is not None:
            self.arbiter.client.close()

    async def _signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                log.info("stopping: %s", signal.Signals(number).name)
                self._stop.cancel()
                return

    def _on_out(self, out: Out) -> None:
        """After a commit: let out what the turn produced. Must not block."""
        if out.stored or out.frames:
            self.replica.poke()
        for frame in out.frames:
            try:
                self._frames_send.send_nowait(frame)
            except trio.WouldBlock:
                log.warning("a frame is left to sync: the transport is behind")
        for effect in out.effects:
            if isinstance(effect, RunAgent | Judge | Fetch | Submit | Arbitrate | CheckQuote | CheckClaim):
                kept: Kept = effect
                self.dispatcher.start(kept)
            elif isinstance(effect, Wish):
                self.checkpoints.start(effect)
        for peer, did, code in out.reports:
            target = peer or self._peer_of.get(did, "")
            if target:
                self.transport.report(target, code)
        if self._nursery is not None:
            for peer, gap in out.gaps:
                if peer:
                    self._nursery.start_soon(self.sync.fill, peer, gap)
        for reply in out.replies:
            reply.done.set()

    async def _publisher(self) -> None:
        async for frame in self._frames_receive:
            await self._say(frame)

    async def _say(self, frame: bytes) -> None:
        if self.bridge is not None:
            self.bridge.publish(frame)
        await self.transport.publish(frame)

    async def _on_anchor(self, seen: AnchorSeen) -> None:
        def make(at_ns: int) -> ChainSeen:
            return ChainSeen(
                seen.anchor_id, seen.tx_hash, seen.block_number, seen.chain_id, seen.contract, at_ns
            )

        while True:
            reply = self.runner.tell(make, reply=True)
            assert reply is not None
            try:
                await reply.wait()
                return
            except LocalFault as fault:
                # The chain takes our return for a receipt and does not tell us again.
                log.warning("anchor not recorded: %s; trying again", fault)
                await trio.sleep(ANCHOR_RETRY_S)

    # What we offer -------------------------------------------------------------------------------------

    def _announce_set(self) -> None:
        self._announce.set()

    def _manifest_frame(self) -> bytes:
        if self._manifest is None:
            self._make_manifest()
        assert self._manifest is not None
        return self._manifest.frame()

    def _make_manifest(self) -> None:
        offers = {capability.name: capability.price for capability in self.agents.capabilities()}
        state = self.runner.state
        roles = ("verifier",) if self.identity.did in state.terms.roster(state.epoch) else ()
        self._manifest = sign_manifest(
            self.genesis.mesh_id,
            self.identity.did,
            self._clock_ns(),
            offers,
            roles,
            self.transport.addrs,
            self.identity.sign,
            load_own(self._settings.home / "chain"),
        )
        manifest = self._manifest
        self.runner.tell(lambda at_ns: ManifestSeen(manifest, at_ns))

    async def _announcer(self) -> None:
        """Tell the mesh what we offer: now, whenever it changes, and before the last word gets old."""
        while True:
            self._announce = trio.Event()
            self._make_manifest()
            await self._say(self._manifest_frame())
            with trio.move_on_after(MANIFEST_INTERVAL_S):
                await self._announce.wait()

    # TransportHandler ----------------------------------------------------------------------------------

    async def on_frame(self, peer_id: str, frame: bytes) -> None:
        self._take_frame(peer_id, frame)
        if self.bridge is not None:
            self.bridge.heard(frame)

    def _take_frame(self, peer_id: str, frame: bytes) -> None:
        """`peer_id` is "" for a frame from a bridge. RemoteFault unless it carries its author's signature: gossip
        counts on that (`frames_are_signed`)."""
        if is_capsule(frame):
            self.capsules.on_frame(frame)
        else:
            self.runner.offer_frame(peer_id, frame)

    async def on_request(self, peer_id: str, body: bytes) -> bytes:
        message = decode(body)
        if type(message) is not dict:
            raise RemoteFault("bad-request", "not a map")
        if message.get("t") == "blocks":
            return serve_blocks(self.blocks, body)
        if message.get("t") == "time":
            return time_answer()
        if message.get("t") == "genesis":
            return genesis_answer(self.genesis)
        if message.get("t") == CAPSULES_REQUEST:
            return self.capsules.answer()
        if message.get("t") in SETTLE_REQUESTS:
            return await self.settling.serve(self._did_of(peer_id), message)
        return self.sync.serve(peer_id, message)

    def _did_of(self, peer_id: str) -> str:
        return next((did for did, peer in self._peer_of.items() if peer == peer_id), "")

    async def on_peer_up(self, peer_id: str, did: str) -> None:
        self._peer_of[did] = peer_id
        self.discovery.on_peer_up(peer_id)
        if self._nursery is not None:
            self._nursery.start_soon(self.sync.follow, peer_id)
            self._nursery.start_soon(self.capsules.ask, peer_id)

    def _batches_on_record(self) -> int:
        return sum(head.seq + 1 for head in self.runner.chains.heads.values())

    def _on_level(self, peer_id: str) -> None:
        for did, peer in self._peer_of.items():
            if peer == peer_id:
                self.silence.level(did)

    async def on_peer_down(self, peer_id: str) -> None:
        if any(peer.peer_id == peer_id for peer in self.transport.peers()):
            return  # it is back already, on another connection
        self.sync.leave(peer_id)
        self.discovery.on_peer_down(peer_id)
        self._peer_of = {did: peer for did, peer in self._peer_of.items() if peer != peer_id}


def make_capsules(settings: Settings, me: str) -> Capsules:
    """The capsules of the home, over the policy that is configured."""
    return Capsules(
        CapsuleStore(settings.home / "policies"),
        load_gate(settings),
        me=me,
        signers=settings.policy_signers,
        cache_dir=settings.home / "cache",
    )


def load_gate(settings: Settings) -> WasmGate:
    """The policy that ships, another of those (`policy_path` is its name), or the compiled wasm at `policy_path` with
    the data.json beside it."""
    cache = settings.home / "cache"
    if settings.policy_path in ("", *policies.names()):
        policy = policies.load(settings.policy_path or "base")
        return WasmGate(policy.wasm, policy.data, cache)
    path = Path(settings.policy_path).expanduser()
    data_path = path.with_name("data.json")
    try:
        data: Any = parse_json(data_path.read_bytes()) if data_path.exists() else {}
        return WasmGate(path.read_bytes(), data, cache, limited=True)
    except (OSError, ValueError) as error:
        raise LocalFault("bad-policy", f"{path}: {error}", fix="see policy_path in swarmd.toml") from None


def serve(settings: Settings, on_ready: Callable[[Daemon], None] = lambda _: None) -> None:
    """Run a daemon to its end. LocalFault for what an operator can mend, CorruptState for what nobody should ignore."""
    give_back_large()
    garbage = Garbage()
    garbage.start()
    try:
        with home_lock(settings.home):
            daemon = Daemon(settings)
            try:
                trio.run(_serve, daemon, on_ready, garbage, strict_exception_groups=True)
            except* (LocalFault, CorruptState) as group:
                raise _first(group) from None
            finally:
                daemon.close()
    finally:
        garbage.stop()


async def _serve(daemon: Daemon, on_ready: Callable[[Daemon], None], garbage: Garbage) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(garbage.watch)
        await daemon.run(on_ready)
        nursery.cancel_scope.cancel()


def _first(group: BaseExceptionGroup[Any]) -> Exception:
    error: Any = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    found: Exception = error
    return found
