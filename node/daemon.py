"""The daemon: composes the rooms around the runner and keeps them in one nursery tree.

    run -> journal, gate, content, agents, chain, transport
        -> runner loop · dispatcher · sync per peer · manifest announcer · local socket · signals

Whatever ends one of them ends all, in order: no new input, the turn at hand commits, connections close.
"""

import logging
import signal
from collections.abc import Callable, Sequence

import trio
from swarmd.bootstrap.swarmkey import load_psk
from swarmd.node.acquaintance import Acquaintances
from swarmd.node.agents.host import Agents
from swarmd.node.agents.ops import INLINE_OPS
from swarmd.node.agents.registry import AgentRegistry
from swarmd.node.analytics.service import Analytics
from swarmd.node.announcing import Announcer
from swarmd.node.answering import Answers
from swarmd.node.api.service import ApiService
from swarmd.node.arbiter.settings import open_arbiter
from swarmd.node.backup.silence import Silence
from swarmd.node.backup.snapshot import remove_snapshot
from swarmd.node.balances.service import Balances
from swarmd.node.bridges.hybrid import HybridInbox
from swarmd.node.bridges.nats import NatsBridge
from swarmd.node.chain import make_chain
from swarmd.node.chain.money import MoneyDesk
from swarmd.node.checkpoint.pruning import Pruner
from swarmd.node.checkpoint.records import Records
from swarmd.node.checkpoint.service import Checkpoints, Wish, floor_of
from swarmd.node.clock import SteadyClock
from swarmd.node.codec import Kept
from swarmd.node.content.host import ContentHost
from swarmd.node.content.layered import LayeredBlocks
from swarmd.node.content.repo import ContentRepo
from swarmd.node.content.roots import roots_of_needs
from swarmd.node.content.store import SqliteBlockStore
from swarmd.node.discovery import Discovery, Membership
from swarmd.node.dispatch import Dispatcher
from swarmd.node.home import CONTENT_FOLDER, socket_path
from swarmd.node.jobs import Content
from swarmd.node.journaled import JournaledEngine
from swarmd.node.keys import load_key
from swarmd.node.operations import make_api
from swarmd.node.own_journal import open_own
from swarmd.node.policy.capsules import is_capsule
from swarmd.node.policy.loading import make_capsules
from swarmd.node.pool.attestation import SoftwareAttestation
from swarmd.node.pool.monitor import watch_bootstrap
from swarmd.node.ports import AnchorSeen, Transport
from swarmd.node.resume import RESUME_FILE, ResumeFile, Resumer
from swarmd.node.runner import Runner
from swarmd.node.settings import Settings
from swarmd.node.settling.service import MeshSettlement
from swarmd.node.setup import GENESIS_FILE, load_genesis
from swarmd.node.state.replica_host import ReplicaHost
from swarmd.node.state.sync import Sync
from swarmd.node.telemetry.collect import Collector
from swarmd.node.telemetry.service import Telemetry
from swarmd.node.transport.local import LocalServer
from swarmd.node.transport.p2p.access import AccessList
from swarmd.node.transport.p2p.config import P2PLimits
from swarmd.node.transport.p2p.peer_store import PEERS_FILE, PeerStore
from swarmd.node.transport.p2p.transport import P2PTransport
from swarmd.node.turns import Out
from swarmd.protocol.effects import Arbitrate, CheckClaim, CheckQuote, Fetch, Judge, RunAgent, Submit
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.inputs import ChainSeen, Commanded
from swarmd.protocol.limits import S_NS
from swarmd.protocol.state import State

log = logging.getLogger("swarmd.daemon")

ANCHOR_RETRY_S = 1.0


class Daemon:
    """One node of the mesh on this host. `on_ready` is called with the API once everything serves."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._nursery: trio.Nursery | None = None
        self._stop = trio.CancelScope()
        self._frames_send, self._frames_receive = trio.open_memory_channel[bytes](1_024)
        self.known = Acquaintances()
        self._open_home()
        self._join()
        self._reason()
        self._keep_level()
        self._settle()
        self._face()

    def _open_home(self) -> None:
        """The key, the mesh, and the files of this node."""
        settings, home = self.settings, self.settings.home
        remove_snapshot(home)
        self.identity = load_key(home)
        self.genesis = load_genesis(home / GENESIS_FILE)
        self.journal = open_own(home, self.genesis.mesh_id, self.identity.did)
        self._clock_ns = SteadyClock()
        self.arbiter = open_arbiter(settings.etcd, self.genesis, self._clock_ns)
        self.capsules = make_capsules(home, settings.policy_path, settings.policy_signers, self.identity.did)
        self.repo = ContentRepo(home / CONTENT_FOLDER, max_bytes=settings.content_max_bytes)
        self.blocks = LayeredBlocks(SqliteBlockStore(self.journal.db), self.repo)
        self._scratch = home / "scratch"
        self.agents = Agents(AgentRegistry(home / "agents.json"), scratch=self._scratch)
        self.chain = make_chain(home, settings.chain_id, settings.rpc, settings.keystore_passphrase)
        self.money = MoneyDesk(home, self.chain, settings.settlement)
        self._peer_store = PeerStore(home / PEERS_FILE)

    def _join(self) -> None:
        """The network: peers, how they are found, and content from them."""
        settings, home = self.settings, self.settings.home
        self.p2p = P2PTransport(
            self.identity.seed,
            self.genesis.mesh_name,
            settings.listen,
            settings.peers,
            P2PLimits(
                max_connections=settings.max_connections,
                target_peers=max(1, settings.discovery.target_peers),
            ),
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
        if self.discovery.nat is not None:
            self.discovery.nat.on_change = self._on_addrs_changed
        self.p2p.spare_peers = self.discovery.has_spare
        self.bridge = self._make_bridge()
        self.content_host = ContentHost(settings.content, self.p2p, self.blocks, lambda: self.discovery.dht)
        self.content = Content(
            self.blocks, self.transport, self._addrs_of, self.content_host.network, self.identity.did
        )
        self.content.on_here.append(self.content_host.on_here)

    def _reason(self) -> None:
        """The runner over the core, and who does what it wants done."""
        settings = self.settings
        self._records = Records(self.journal)
        resume = ResumeFile(settings.home / RESUME_FILE, self.genesis, self.identity.did)
        core = JournaledEngine(
            genesis=self.genesis,
            me=self.identity.did,
            sign=self.identity.sign,
            journal=self.journal,
            gate=self.capsules.in_force(),
            blocks=self.blocks.journal,
            clock_ns=self._clock_ns,
            floor=floor_of(self._records),
            resume=resume,
            new_state=self._new_state,
        )
        self.runner = Runner(core, self._on_out)
        self.runner.watchers.append(self.content.seen)
        self.runner.voice.limits = settings.spending
        self.resumer = Resumer(resume, self.runner.resume_work, self.runner.replay_s)
        self._clock_ns.not_before(self.runner.state.now_ns)
        self.telemetry = Telemetry(settings.telemetry, self.runner)
        self.analytics = Analytics(settings.home, self.runner)
        self.capsules.attach(self.runner, self.content, self.transport)
        self.balances = Balances(settings.home, self.runner, self.chain, self.money, settings.balances)
        self.attestation = SoftwareAttestation(settings.attestation_keys)
        self.dispatcher = Dispatcher(
            self.runner,
            self.content,
            self.agents,
            self.agents.launcher,
            self.agents.registry,
            self.chain,
            settings.verifier_commands,
            self._scratch,
            self.arbiter,
            self.attestation,
            self.balances.claims,
        )
        self._configure()

    def _keep_level(self) -> None:
        """With the others: what we offer, sync, checkpoints and what they let us forget."""
        settings = self.settings
        self.announcer = Announcer(
            settings.home, self.identity, self.runner, self.agents, self.transport, self._clock_ns, self._say
        )
        self.sync = Sync(
            self.runner,
            self.journal,
            self.transport,
            self.announcer.frame,
            interval_s=settings.sync_interval_s,
        )
        self.sync.on_level = lambda peer: self.silence.level(self.known.did_of(peer))
        pruner = Pruner(
            self.journal, self._records, self.blocks.journal, settings.keep_epochs, settings.cold_max_bytes
        )
        pruner.still_needed = lambda: roots_of_needs(self.runner.state)
        self.runner.watchers.append(pruner.seen)
        pruner.me = self.identity.did
        self.checkpoints = Checkpoints(
            self.runner,
            self.journal,
            self._records,
            self.transport,
            self.sync,
            self.known.peer_of,
            pruner,
        )
        self.sync.epochs = self.checkpoints
        self.replica = ReplicaHost(settings.home, self._batches_on_record)
        self.silence = Silence(self.runner, self.journal)

    def _settle(self) -> None:
        """What needs cost, paid out on the chain."""
        self.settling = MeshSettlement(
            self.settings.home,
            self.money,
            self.runner,
            self.transport,
            self.checkpoints,
            self.known.peer_of,
            self.settings.settlement,
            interval_s=self.settings.settle_interval_s,
        )
        self.money.on_bound = self.announcer.poke
        self.money.on_settle_now = lambda: self.settling.poke(at_once=True)
        self.money.mesh_status = self.settling.status

    def _face(self) -> None:
        """What others see of it: peers by requests, its operator by the socket, HTTP and metrics."""
        self._answers = Answers(
            self.genesis, self.blocks, self.capsules, self.settling, self.sync, self.known
        )
        self.http = ApiService(self.settings.api, self.settings.home, self.identity.did)
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
        self.api = make_api(self)

    def _make_bridge(self) -> NatsBridge | None:
        settings = self.settings
        if not settings.nats_url:
            return None
        inbox = HybridInbox(
            lambda frame: self._take_frame("", frame),
            lambda: len(self.transport.peers()),
            settings.nats_hold_s,
        )
        return NatsBridge(settings.nats_url, self.genesis.mesh_name, inbox)

    def _new_state(self) -> State:
        return State(self.genesis, self.identity.did, check_everything=self.settings.check_everything)

    def _configure(self) -> None:
        """Settings that shape what the engine decides are inputs, or a replay under others would differ (P2)."""
        wanted = {
            "lease_s": self.settings.lease_ttl_s,
            "anchor_interval_ns": int(self.settings.anchor_interval_s * S_NS),
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
                nursery.start_soon(self.resumer.run)
                nursery.start_soon(self._publisher)
                if self.settings.state_replica:
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
                self.agents.on_change.append(self.announcer.poke)
                nursery.start_soon(self.announcer.run)
                nursery.start_soon(self.discovery.run)
                server = LocalServer(socket_path(self.settings.home), self.api.handle, inline=INLINE_OPS)
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
        self.announcer.poke()
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
                self.resumer.write_last()
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
        """A commit is on disk: let out what the turn produced. Must not block."""
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
            target = peer or self.known.peer_of(did)
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

    # TransportHandler ----------------------------------------------------------------------------------

    def on_frame(self, peer_id: str, frame: bytes) -> None:
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
        answer = await self._answers.serve(peer_id, body)
        await self.runner.disk.settled()
        return answer

    async def on_peer_up(self, peer_id: str, did: str) -> None:
        self.known.up(peer_id, did)
        self.discovery.on_peer_up(peer_id)
        if self._nursery is not None:
            self._nursery.start_soon(self.sync.follow, peer_id)
            self._nursery.start_soon(self.capsules.ask, peer_id)

    def _batches_on_record(self) -> int:
        return sum(head.seq + 1 for head in self.runner.chains.heads.values())

    async def on_peer_down(self, peer_id: str) -> None:
        if any(peer.peer_id == peer_id for peer in self.transport.peers()):
            return  # it is back already, on another connection
        self.sync.leave(peer_id)
        self.discovery.on_peer_down(peer_id)
        self.known.down(peer_id)
