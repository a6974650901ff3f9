"""The runner: takes what happened, turn by turn, through gate, engine and journal, and only then lets it out.

A turn handles everything that queued up since the last one in ONE SQLite transaction: inputs, our own new
envelopes, sealed batches, outbox rows and inline blocks. After the commit the frames go out, effects are
dispatched and callers are answered. If the disk fails, nothing of the turn has happened: the engine is rebuilt
from the journal and the node goes on reading while it waits for room (state `disk-full`).
"""

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import trio
from swarmd.node import codec
from swarmd.node.beginning import begin
from swarmd.node.content.fetch import BatchBlockStore
from swarmd.node.durability import Durability
from swarmd.node.ingress import Arrived, Equivocation, Ingress
from swarmd.node.journal import Journal
from swarmd.node.policy.gates import Gates, Switch, recorded
from swarmd.node.ports import PolicyGate, Verdict
from swarmd.node.resume import Point, ResumeFile, Work
from swarmd.node.sealing import FlushWindow
from swarmd.node.telemetry.histogram import Histogram
from swarmd.node.telemetry.metrics import FAST_S, Timings
from swarmd.node.telemetry.tracing import Tracer
from swarmd.node.turns import Item, Out, Reply
from swarmd.node.voice import PreflightDenied, Voice
from swarmd.protocol import engine
from swarmd.protocol.batch import Batch, Sign, batch_to_list
from swarmd.protocol.chains import Chain, Chains, Head
from swarmd.protocol.consensus.roster import Roster
from swarmd.protocol.dumping import dump
from swarmd.protocol.effects import (
    Adopt,
    Arbitrate,
    Arm,
    CheckClaim,
    CheckQuote,
    CheckSnapshot,
    Effect,
    Fetch,
    Judge,
    MakeSnapshot,
    Publish,
    Report,
    RunAgent,
    Store,
    Submit,
)
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.faults import CorruptState, LocalFault, RemoteFault
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.inputs import (
    Admitted,
    Adopted,
    AgentDone,
    Arbitrated,
    Authored,
    ChainSeen,
    ClaimChecked,
    ContentReady,
    Input,
    Judged,
    ManifestSeen,
    QuoteChecked,
    SnapshotChecked,
    SnapshotMade,
    Ticked,
)
from swarmd.protocol.state import State

log = logging.getLogger("swarmd.runner")

MAX_TURN_ITEMS = 512
MAX_QUEUE = 8_192
SPENT_KEY = "spent"  # in the journal's meta: what our needs of a day before the last checkpoint come to
DISK_RETRY_S = 1.0
TICK_RETRY_NS = 10_000_000_000
# What the disk may say for a while. All else, a failed fsync above all, leaves open what is on it: CorruptState.
_PASSING_ERRORS = frozenset(
    (
        "SQLITE_FULL",
        "SQLITE_IOERR",
        "SQLITE_IOERR_WRITE",
        "SQLITE_IOERR_SHMSIZE",
        "SQLITE_IOERR_SHMOPEN",
        "SQLITE_CANTOPEN",
        "SQLITE_READONLY",
        "SQLITE_BUSY",
    )
)


class Runner:
    """Owns the engine's state. `on_out` is called once a commit is on disk, in order, and must not block."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        me: str,
        sign: Sign,
        journal: Journal,
        gate: PolicyGate,
        blocks: BatchBlockStore,
        clock_ns: Callable[[], int],
        floor: Callable[[], Iterable[tuple[Chain, Head]]] = tuple,
        resume: ResumeFile | None = None,
        new_state: Callable[[], State],
        on_out: Callable[[Out], None],
    ) -> None:
        self.genesis = genesis
        self.me = me
        self.journal = journal
        self.gates = Gates(gate, self._roster_of)
        self._roster_sets: dict[int, tuple[Roster, frozenset[str]]] = {}
        self.blocks = blocks
        self.frames_dropped = 0
        self.counters = {"turns": 0, "authored": 0, "flushes": 0, "bytes_out": 0, "admitted": 0}
        # CPU microseconds of this thread: frames parsed and verified, turns without their commit, commits.
        self.counters |= {"frames_cpu_us": 0, "turns_cpu_us": 0, "commits_cpu_us": 0}
        self.bus = Histogram()  # from an envelope's signed time to our taking it: skew of clocks included
        self.gossip_s = Timings(FAST_S)  # the same, in the buckets of metrics
        self.turn_s = Timings(FAST_S)
        self.trouble = ""
        # A restored node: until it has heard what it said after the backup, it only listens (docs/backup.md).
        self.silent = False
        self.watchers: list[Callable[[Envelope], None]] = []
        self.before_adoption: list[Callable[[], None]] = []  # who takes down what a checkpoint lets go of
        self.floor = floor  # where chains begin whose earlier batches are not here
        self._clock_ns = clock_ns
        self._resume = resume
        self._replayed_s = 0.0
        self._new_state = new_state
        self._on_out = on_out
        self._queue: deque[Item] = deque()
        self._wake = trio.Event()
        self._window = FlushWindow()
        self._seen: list[Envelope] = []
        self._new_blocks: dict[bytes, bytes] = {}
        self._tick_after_ns = 0
        self.tracer: Tracer | None = None
        self.disk = Durability(journal)
        self.disk.wake = lambda: self._wake.set()
        self.voice = Voice(genesis.mesh_id, me, sign, self.gates, journal)
        self.ingress = Ingress(genesis.mesh_id, me, Chains(), journal)
        self._restore()

    def _roster_of(self, epoch: int | None) -> frozenset[str] | None:
        epoch = self.state.epoch if epoch is None else epoch
        found = self.state.terms.rosters.get(epoch)
        if found is None:
            return None
        known = self._roster_sets.get(epoch)
        if known is None or known[0] is not found:
            known = self._roster_sets[epoch] = (found, frozenset(found.members))
            self._roster_sets = {n: kept for n, kept in self._roster_sets.items() if n > epoch - 16}
        return known[1]

    def trace(self, tracer: Tracer) -> None:
        """From now on, make spans of what happens."""
        self.tracer = self.voice.tracer = tracer

    def traceparent_of(self, job_id: str) -> str:
        """For the agent that does a job; "" where it is not traced."""
        return self.tracer.traceparent_of(job_id) if self.tracer is not None else ""

    @property
    def gate(self) -> PolicyGate:
        """The policy in force."""
        return self.gates.active

    # Restoring -----------------------------------------------------------------------------------------

    def _restore(self) -> None:
        """Rebuild the state, the chains and what is not sealed yet from the journal (P2, P9)."""
        self._new_blocks = {}
        self.chains = Chains()
        for chain, head in (*self.journal.heads(), *self.floor()):
            known = self.chains.heads.get(chain)
            if known is None or known.seq < head.seq:
                self.chains.restore(chain, head)
        self.ingress.follow(self.chains)
        point = self._begin()
        self.state, said = point.state, point.said
        began_ns = time.thread_time_ns()
        for given in self.inputs(point.upto):
            engine.step(self.state, given)
            if isinstance(given, Authored):
                said.append(given.envelope)
        self.chains.close(self.state.over)
        self._replayed_s += (time.thread_time_ns() - began_ns) / 1e9
        self.voice.restore(said, self.chains, self.journal.meta(SPENT_KEY))

    def _begin(self) -> Point:
        fresh = self._new_state()
        if self._resume is not None:
            point = self._resume.read(self.journal, check_everything=fresh.check_everything)
            if point is not None:
                return point
        return Point(*begin(self.journal, self.genesis, self.me, fresh), 0)

    def resume_work(self) -> Work | None:
        """What a `ResumeFile` writes, between two turns; None if there is no input since the last checkpoint."""
        last = self.journal.last_input()
        if last is None:
            return None
        return Work(self.state, [each.raw for each in self.voice.remembered(self._clock_ns())], *last)

    def replay_s(self) -> float:
        """CPU seconds of all replays and turns so far: about what another replay of them takes."""
        return self._replayed_s + self.counters["turns_cpu_us"] / 1e6

    def inputs(self, after: int = 0) -> Iterator[Input]:
        """The inputs on record behind that number, in order; from 0 all since the last checkpoint that was adopted."""

        def load(key: codec.BatchKey) -> tuple[Envelope, ...]:
            return self.journal.batch(key).envelopes

        for record in self.journal.inputs(after):
            yield codec.decode_input(record, self.genesis.mesh_id, load)

    def thread(self, need: str) -> list[Envelope]:
        """Every envelope of a need that is here, in causal order: on record, and ours that are not sealed yet."""
        unsealed = [envelope for envelope in self.voice.unsealed if envelope.thread == need]
        return self.journal.thread(need) + unsealed

    def now_ns(self) -> int:
        return self._clock_ns()

    # Taking things in ----------------------------------------------------------------------------------

    def tell(
        self, make: Callable[[int], Input], *, reply: bool = False, of_the_mesh: bool = False
    ) -> Reply | None:
        """Queue an input, made when its turn comes with the node's clock. With `reply`, wait on the result."""
        item = Item(make=make, of_the_mesh=of_the_mesh, reply=Reply() if reply else None)
        self._push(item)
        return item.reply

    def offer_frame(self, peer: str, frame: bytes) -> None:
        """Check a peer's frame and queue what it holds. RemoteFault if it must not be passed on.

        Over the bound of the queue it is dropped and counted: sync brings it again.
        """
        began_ns = time.thread_time_ns()
        try:
            parsed = self.ingress.parse(frame, self._clock_ns())
        finally:
            self._charge_cpu("frames_cpu_us", began_ns)
        if len(self._queue) >= MAX_QUEUE:
            self.frames_dropped += 1
            return
        self._push(Item(peer=peer, batches=parsed.batches, manifest=parsed.manifest))

    def _charge_cpu(self, room: str, began_ns: int) -> None:
        self.counters[room] += (time.thread_time_ns() - began_ns) // 1000

    async def offer_synced(self, peer: str, bodies: list[Any]) -> int:
        """Take the batches of a sync answer; returns how many were new, once they are on disk."""
        item = Item(peer=peer, batches=self.ingress.parse_synced(bodies), reply=Reply())
        self._push(item)
        assert item.reply is not None
        new: int = await item.reply.wait()
        return new

    def switch(self, switch: Switch) -> None:
        """Change the policy when its time has come: before the first turn that begins then."""
        self.gates.schedule(switch)
        self._wake.set()

    def speak(self) -> None:
        """End the silence of a restored node."""
        self.silent = False
        self._restore()
        self._wake.set()

    def suspect_disk(self, fault: LocalFault) -> None:
        """Something outside of a turn found the disk full: say so, and look when that ends."""
        if isinstance(fault.__cause__, sqlite3.Error) and not self.trouble:
            log.error("the block store takes no writes: %s; reading goes on, retrying", fault)
            self.trouble = fault.code
            self._wake.set()

    @property
    def queued(self) -> int:
        """Items that wait for a turn."""
        return len(self._queue)

    def _push(self, item: Item) -> None:
        self._queue.append(item)
        self._wake.set()

    # The loop ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Turn after turn until cancelled."""
        while True:
            ends_at_ns = self._window.ends_at_ns
            waiting = self._to_seal() and ends_at_ns > self._clock_ns()
            with trio.move_on_after(self._patience_s()) as patience:
                await self._wake.wait()
            if patience.cancelled_caught and waiting:
                self._window.rang(self._clock_ns() - ends_at_ns)
            self._wake = trio.Event()
            began_ns, commits_us = time.thread_time_ns(), self.counters["commits_cpu_us"]
            out = self._turn(sync_later=self.disk.is_slow)
            self._charge_cpu("turns_cpu_us", began_ns)
            self.counters["turns_cpu_us"] -= self.counters["commits_cpu_us"] - commits_us
            # What was only heard can wait. Not on a machine that is behind: there the wait makes fewer and larger turns.
            if out.speaks or self._window.is_late or self.disk.due_in_s() == 0.0:
                await self.disk.sync()
            self._show()
            if self._queue and not (self.silent and all(item.waits_in_silence for item in self._queue)):
                self._wake.set()
            if out:
                self._on_out(out)
            if self.trouble:
                await trio.sleep(DISK_RETRY_S)
            else:
                await trio.lowlevel.checkpoint()

    def _patience_s(self) -> float:
        """How long to wait for something to happen: until the next timer or the end of the flush window."""
        if self.trouble:
            return 0.0  # each turn tries whether the disk takes writes again
        now_ns = self._clock_ns()
        until_ns = self._next_tick_ns()
        if self._to_seal():
            until_ns = min(until_ns, self._window.ends_at_ns)
        return min(3600.0, self.disk.due_in_s(), max(0.0, (until_ns - now_ns) / 1e9))

    def _to_seal(self) -> bool:
        return bool(self.voice.unsealed) and not self.silent

    def _items_heard(self, out: Out) -> list[Item]:
        """Of what queued up, what peers said and the mesh decided. Callers are refused; results of agents and the chain wait."""
        heard: list[Item] = []
        kept: deque[Item] = deque()
        while self._queue and len(heard) < MAX_TURN_ITEMS:
            item = self._queue.popleft()
            if not item.waits_in_silence:
                heard.append(item)
            elif item.reply is None:
                kept.append(item)
            else:
                item.reply.fault = LocalFault(
                    "restored-silent",
                    "this node was made of a backup, or its journal was lost: it listens before it speaks",
                    fix="connect it to its mesh; swarmd status says how far it is",
                )
                out.replies.append(item.reply)
        self._queue.extendleft(reversed(kept))
        return heard

    def _next_tick_ns(self) -> int:
        """When the engine wants to be told the time next; far away if it does not."""
        if not self.state.timers or self.silent:
            return 1 << 63
        return max(self.state.timers[0][0], self._tick_after_ns)

    def turn(self) -> Out:
        """One transaction's worth of work, on disk. Never raises for what a peer or a caller did."""
        out = self._turn(sync_later=False)
        self._show()
        return out

    def _show(self) -> None:
        """Tell the watchers what was taken since they were told."""
        seen, self._seen = self._seen, []
        for envelope in seen:
            for watcher in self.watchers:
                watcher(envelope)

    def _turn(self, *, sync_later: bool) -> Out:
        out = Out()
        if self.gates.advance(self.state.lamport):
            log.info("the policy is now %s", self.gate.policy_hash.hex())
        began_ns = self._clock_ns()
        now_ns = max(began_ns, self.state.now_ns)
        if self.silent:
            items, ticking = self._items_heard(out), False
        else:
            items = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_TURN_ITEMS))]
            ticking = self._next_tick_ns() <= now_ns
        if not (items or ticking or self._to_seal() or self.trouble):
            return out
        try:
            self.journal.begin(sync_later=sync_later)
            if self.trouble:
                self.journal.probe()
        except sqlite3.Error as error:
            return self._undo(error, items, moved=False)
        try:
            for position, item in enumerate(items):
                try:
                    self._handle(item, now_ns, out)
                except (sqlite3.Error, CorruptState):
                    raise
                except Exception as error:
                    # The boundary of P10: whatever a rule did not foresee costs this one item, nothing else.
                    return self._drop(error, items, position)
            # What an item made due is done in its own turn: it saves a commit, and the wait for one.
            if ticking or (not self.silent and self._next_tick_ns() <= now_ns):
                try:
                    self._step(Ticked(now_ns), out)
                except (sqlite3.Error, CorruptState):
                    raise
                except Exception as error:
                    # As above; the same tick would fail again at once, so it waits a while.
                    self._tick_after_ns = now_ns + TICK_RETRY_NS
                    return self._drop(error, items, None)
            if self._to_seal() and self._window.due(len(self.voice.unsealed), now_ns):
                self.counters["authored"] += len(self.voice.unsealed)
                out.frames += self.voice.seal(self.chains)
                self.counters["flushes"] += len(out.frames)
                self.counters["bytes_out"] += sum(map(len, out.frames))
                self._window.flushed(now_ns)
            if self._new_blocks:
                self.blocks.put_many(self._new_blocks.items())
                self._new_blocks = {}
            self._commit(sync_later)
        except sqlite3.Error as error:
            return self._undo(error, items, moved=True)
        except LocalFault as fault:
            if not isinstance(fault.__cause__, sqlite3.Error):
                raise
            return self._undo(
                fault.__cause__, items, moved=True
            )  # the block store's: it writes to the same file
        if self.trouble:
            log.info("the journal takes writes again")
            self.trouble = ""
        self.counters["turns"] += 1
        self.turn_s.add((self._clock_ns() - began_ns) / 1e9)
        if self.tracer is not None:
            self.tracer.commit(self.state)
        return out

    def _commit(self, sync_later: bool) -> None:
        began_ns, began_s = time.thread_time_ns(), time.perf_counter()
        self.journal.commit()
        if sync_later:
            self.disk.committed()
        else:
            self.disk.took(time.perf_counter() - began_s)
        self._charge_cpu("commits_cpu_us", began_ns)

    def _drop(self, error: Exception, items: list[Item], position: int | None) -> Out:
        """Forget this turn and take it again without the item (None: the tick) that broke it."""
        self._take_back()
        self._restore()
        culprit = Item() if position is None else items.pop(position)
        self._queue.extendleft(reversed(items))
        out = Out()
        if isinstance(error, LocalFault):
            fault = error
        else:
            log.error("dropped what broke a rule of ours", exc_info=error)
            fault = LocalFault("internal", f"{type(error).__name__}: {error}"[:500])
        if culprit.reply is not None:
            culprit.reply.fault = fault
            out.replies.append(culprit.reply)
        if culprit.peer:
            self.ingress.faults["internal"] += 1
            out.reports.append((culprit.peer, "", "internal"))
        return out

    def _take_back(self) -> None:
        self.journal.rollback()
        self._seen.clear()
        if self.tracer is not None:
            self.tracer.rollback()

    def _undo(self, error: sqlite3.Error, items: list[Item], *, moved: bool) -> Out:
        """The transaction failed: nothing of this turn happened, so the state, if it moved, must forget it too."""
        self._take_back()
        code = getattr(error, "sqlite_errorname", "")
        if code not in _PASSING_ERRORS:
            raise CorruptState("bad-journal", f"{self.journal.path}: {error}") from error
        if not self.trouble:
            log.error("the journal takes no writes: %s; reading goes on, retrying", error)
        self.trouble = "disk-full" if code == "SQLITE_FULL" else f"disk-error: {error}"
        if moved:
            self._restore()
        fault = LocalFault(
            "disk-full" if code == "SQLITE_FULL" else "disk-error",
            f"nothing was changed: {self.journal.path} takes no writes ({error})",
            fix="free some space on its disk; the daemon goes on by itself",
        )
        out = Out()
        for item in items:
            if item.reply is not None:
                item.reply.fault = fault
                out.replies.append(item.reply)
            elif item.make is not None:
                self._queue.append(item)  # results of agents and the chain are not asked for again: keep them
        return out

    # One item ------------------------------------------------------------------------------------------

    def _handle(self, item: Item, now_ns: int, out: Out) -> None:
        if item.reply is not None:
            out.replies.append(item.reply)
        if item.make is not None:
            try:
                self._step(item.make(now_ns), out, item.reply)
            except LocalFault as fault:
                if item.reply is None or isinstance(fault, PreflightDenied):
                    raise
                item.reply.fault = fault
            return
        if item.manifest is not None:
            known = self.state.manifests.get(item.manifest.did)
            if known is None or known.issued_ns < item.manifest.issued_ns:
                self._step(ManifestSeen(item.manifest, now_ns), out)
        if item.batches:
            arrived = self.ingress.order(item.batches, now_ns, self.state.lamport, self.state.parked_by)
            out.gaps.extend((item.peer, gap) for gap in arrived.gaps)
            for author, refusal in arrived.faults:
                self._charge(author, refusal, out)
            self._admit(arrived, now_ns, out)
            if item.reply is not None:
                item.reply.value = len(arrived.batches)

    def _charge(self, author: str, fault: RemoteFault, out: Out) -> None:
        if isinstance(fault, Equivocation):
            # One proof convicts an author; more would let it fill our disk.
            self.journal.add_proof("equivocation", author, fault.record)
        out.reports.append(("", author, fault.code))
        log.info("refused from %s: %s", author, fault)

    def _admit(self, arrived: Arrived, now_ns: int, out: Out) -> None:
        if not arrived.batches:
            return
        keys = []
        envelopes: list[Envelope] = []
        denied: dict[int, str] = {}
        for batch in arrived.batches:
            verdicts = [self._judge(batch, at, out) for at in range(len(batch.envelopes))]
            self.journal.add_batch(batch, recorded(self.gate.policy_hash, verdicts))
            keys.append((batch.author, batch.epoch, batch.bucket, batch.seq))
            for envelope, verdict in zip(batch.envelopes, verdicts, strict=True):
                if not verdict.allow:
                    denied[len(envelopes)] = ", ".join(verdict.reasons)[:400]
                envelopes.append(envelope)
        given = Admitted(tuple(envelopes), denied, now_ns)
        self.journal.add_input(codec.encode_admitted(keys, given, self.gate.policy_hash))
        out.stored += len(arrived.batches)
        self.counters["admitted"] += len(envelopes)
        self.bus.add((now_ns - envelopes[-1].ts_ns) / 1e6)
        self.gossip_s.add((now_ns - envelopes[-1].ts_ns) / 1e9)
        self._seen.extend(envelopes)
        self._follow(engine.step(self.state, given), now_ns, out)

    def _judge(self, batch: Batch, at: int, out: Out) -> Verdict:
        """The ingress gate, and whether the author's digest is true.

        A false one is charged to its author, with proof, but voids nothing: nodes that do not hold the policy it
        names cannot tell, and what counts in the mesh must not depend on who can.
        """
        envelope = batch.envelopes[at]
        if self.tracer is None:
            verdict = self.gates.ingress(envelope)
        else:
            began_ns = self._clock_ns()
            verdict = self.gates.ingress(envelope)
            self.tracer.received(envelope, verdict, began_ns)
        if "log" in verdict.obligations:
            log_verdict(envelope, verdict)
        fault = self.gates.false_digest(envelope, verdict)
        if fault is not None:
            self.journal.add_proof(fault.code, batch.author, [batch_to_list(batch), at])
            self._charge(batch.author, fault, out)
        return verdict

    def _step(self, given: Input, out: Out, reply: Reply | None = None) -> None:
        if isinstance(given, Adopted):
            for follow in self.before_adoption:
                follow()
        if self.tracer is None:
            self._tell(given, out, reply)
            return
        self.tracer.given(given)
        self._tell(given, out, reply)
        self.tracer.answered()

    def _tell(self, given: Input, out: Out, reply: Reply | None) -> None:
        effects = engine.step(self.state, given)
        if isinstance(given, Adopted):
            self.chains.close(self.state.over)
            self.voice.leave_behind(self.chains)
            # What came before is in the state that a restart begins with.
            said, spent = self.voice.settle()
            self.journal.begin_anew(dump(self.state), said)
            self.journal.set_meta(SPENT_KEY, spent)
            self.journal.settle_epoch()
            self._follow(effects, given.at_ns, out, reply)
            return
        self.journal.add_input(codec.encode_input(given))
        if isinstance(given, AgentDone | Judged):
            self.journal.settle(given.job_id)
        elif isinstance(given, ContentReady):
            self.journal.settle("fetch-" + given.cid.hex())
        elif isinstance(given, ChainSeen):
            self.journal.settle("anchor-" + given.anchor_id.hex())
        elif isinstance(given, Arbitrated):
            self.journal.settle(f"arbitrate-{given.epoch}-{given.need}")
        elif isinstance(given, QuoteChecked):
            self.journal.settle("quote-" + given.quote.hex())
        elif isinstance(given, ClaimChecked):
            self.journal.settle("claim-" + given.subject.hex())
        elif isinstance(given, SnapshotChecked):
            self.journal.settle("epoch-check-" + given.proposal.hex())
        elif isinstance(given, SnapshotMade):
            self.journal.settle(f"epoch-make-{given.epoch}-{given.round}")
        self._follow(effects, given.at_ns, out, reply)

    def _follow(self, effects: list[Effect], now_ns: int, out: Out, reply: Reply | None = None) -> None:
        """Carry out what belongs into the transaction; leave the rest for after the commit."""
        todo = deque(effects)
        while todo:
            effect = todo.popleft()
            match effect:
                case Publish() if self.silent:
                    # As in a replay: what we said then comes by sync; what we did not, is not said now.
                    continue
                case Publish():
                    envelope = self.voice.author(effect)
                    if envelope is None:
                        continue
                    if reply is not None and reply.value is None:
                        reply.value = envelope.thread
                    given = Authored(envelope, now_ns)
                    self.journal.add_input(codec.encode_input(given))
                    self.voice.unsealed.append(envelope)
                    self._seen.append(envelope)
                    todo.extend(engine.step(self.state, given))
                case Store(cid, block):
                    self._new_blocks[cid] = block
                case Fetch(cid, _):
                    if cid not in self._new_blocks and not self.blocks.has(cid):
                        self.journal.keep(effect)
                        out.effects.append(effect)
                case (
                    RunAgent()
                    | Judge()
                    | Submit()
                    | Arbitrate()
                    | MakeSnapshot()
                    | CheckSnapshot()
                    | Adopt()
                    | CheckQuote()
                    | CheckClaim()
                ):
                    self.journal.keep(effect)
                    out.effects.append(effect)
                    if self.tracer is not None:
                        self.tracer.began(effect, self.state)
                case Report(did, code):
                    out.reports.append(("", did, code))
                case Arm():
                    pass  # the loop looks at the earliest timer itself


def log_verdict(envelope: Envelope, verdict: Verdict) -> None:
    """What the policy's obligation "log" asks for."""
    log.info(
        "policy: %s %s in %s from %s%s",
        "allows" if verdict.allow else "denies",
        envelope.kind,
        envelope.thread,
        envelope.sender,
        f" ({', '.join(verdict.reasons)})" if verdict.reasons else "",
    )
