"""The engine and the journal that it can be rebuilt from: what happens to one item of a turn, within its transaction.

When to begin a transaction, commit it or take it back is for the runner to say, and so is when to wait. What an item has the node
say, store or ask for is on record once `take` returns; what leaves is in `Out`, for after the commit.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from swarmd.node import codec
from swarmd.node.beginning import begin
from swarmd.node.content.fetch import BatchBlockStore
from swarmd.node.ingress import Arrived, Equivocation, Ingress
from swarmd.node.journal import Journal
from swarmd.node.policy.gates import Gates, recorded
from swarmd.node.ports import PolicyGate, Verdict
from swarmd.node.resume import Point, ResumeFile, Work
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
from swarmd.protocol.faults import LocalFault, RemoteFault
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

SPENT_KEY = "spent"  # in the journal's meta: what our needs of a day before the last checkpoint come to


class JournaledEngine:
    """Owns the engine's state and all that follows from the journal. `restore` builds it anew."""

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
        new_state: Callable[[], State],
        floor: Callable[[], Iterable[tuple[Chain, Head]]] = tuple,
        resume: ResumeFile | None = None,
    ) -> None:
        self.genesis = genesis
        self.me = me
        self.journal = journal
        self.blocks = blocks
        self.gates = Gates(gate, self._roster_of)
        self.floor = floor  # where chains begin whose earlier batches are not here
        # A restored node: until it has heard what it said after the backup, it only listens (docs/backup.md).
        self.silent = False
        self.tracer: Tracer | None = None
        self.before_adoption: list[Callable[[], None]] = []  # who takes down what a checkpoint lets go of
        self.seen: list[Envelope] = []  # taken since `told` was asked
        self.counters = {"authored": 0, "flushes": 0, "bytes_out": 0, "admitted": 0}
        self.bus = Histogram()  # from an envelope's signed time to our taking it: skew of clocks included
        self.gossip_s = Timings(FAST_S)  # the same, in the buckets of metrics
        self.replayed_s = 0.0  # CPU of all replays so far
        self.clock_ns = clock_ns
        self._resume = resume
        self._new_state = new_state
        self._new_blocks: dict[bytes, bytes] = {}
        self._roster_sets: dict[int, tuple[Roster, frozenset[str]]] = {}
        self.voice = Voice(genesis.mesh_id, me, sign, self.gates, journal)
        self.ingress = Ingress(genesis.mesh_id, me, Chains(), journal)
        self.restore()

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

    def restore(self) -> None:
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
        self.replayed_s += (time.thread_time_ns() - began_ns) / 1e9
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
        return Work(self.state, [each.raw for each in self.voice.remembered(self.clock_ns())], *last)

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

    # Turns ---------------------------------------------------------------------------------------------

    def told(self) -> list[Envelope]:
        """What was taken since this was asked."""
        seen, self.seen = self.seen, []
        return seen

    def tick(self, now_ns: int, out: Out) -> None:
        """Tell the engine the time."""
        self._step(Ticked(now_ns), out)

    def seal(self, out: Out) -> None:
        """Sign what was said as batches of our chains."""
        self.counters["authored"] += len(self.voice.unsealed)
        out.frames += self.voice.seal(self.chains)
        self.counters["flushes"] += len(out.frames)
        self.counters["bytes_out"] += sum(map(len, out.frames))

    def store_blocks(self) -> None:
        """Write what was stored in this turn; LocalFault by the disk."""
        if self._new_blocks:
            self.blocks.put_many(self._new_blocks.items())
            self._new_blocks = {}

    def committed(self) -> None:
        if self.tracer is not None:
            self.tracer.commit(self.state)

    def take_back(self) -> None:
        """Nothing of this turn has happened. If anything of it moved the state, `restore` follows."""
        self.journal.rollback()
        self.seen.clear()
        if self.tracer is not None:
            self.tracer.rollback()

    def take(self, item: Item, now_ns: int, out: Out) -> None:
        """One item of a turn. Whatever it raises, the turn must be taken back; what only its caller has to know is in its reply."""
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
            self.journal.add_batch(batch, recorded(self.gates.active.policy_hash, verdicts))
            keys.append((batch.author, batch.epoch, batch.bucket, batch.seq))
            for envelope, verdict in zip(batch.envelopes, verdicts, strict=True):
                if not verdict.allow:
                    denied[len(envelopes)] = ", ".join(verdict.reasons)[:400]
                envelopes.append(envelope)
        given = Admitted(tuple(envelopes), denied, now_ns)
        self.journal.add_input(codec.encode_admitted(keys, given, self.gates.active.policy_hash))
        out.stored += len(arrived.batches)
        self.counters["admitted"] += len(envelopes)
        self.bus.add((now_ns - envelopes[-1].ts_ns) / 1e6)
        self.gossip_s.add((now_ns - envelopes[-1].ts_ns) / 1e9)
        self.seen.extend(envelopes)
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
            began_ns = self.clock_ns()
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
                    self.seen.append(envelope)
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
