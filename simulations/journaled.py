"""The core of a simulated node and the journal that it is rebuilt from: what happens to one item of a turn.

It writes nothing by itself: what an item leaves behind is in the transaction, what goes out after the commit in `Out`. What this
file must keep in step with: node/journaled.py and node/ingress.py.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from swarmd.protocol import engine
from swarmd.protocol.batch import Batch, Sign
from swarmd.protocol.chains import Chain, Chains, chain_of
from swarmd.protocol.digest import Digests, state_digest
from swarmd.protocol.effects import (
    Adopt,
    Arbitrate,
    Arm,
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
from swarmd.protocol.inputs import (
    Admitted,
    Adopted,
    AgentDone,
    Arbitrated,
    Authored,
    ChainSeen,
    ContentReady,
    Input,
    Judged,
    ManifestSeen,
    SnapshotChecked,
    SnapshotMade,
)
from swarmd.protocol.state import State
from swarmd.simulations.checkpoints import Certified, Kept
from swarmd.simulations.disk import Disk, Transaction, effect_id
from swarmd.simulations.turns import Item, Out
from swarmd.simulations.wire import seal

ALLOW_DIGEST = bytes(32)
# The input for a snapshot, given the time, batches that are not on disk yet, and envelopes not sealed yet.
MakeAdopted = Callable[[Kept, int, Sequence[Batch], Sequence[Envelope]], Adopted]


class JournaledCore:
    """`unsealed`: what it said that no batch holds yet."""

    def __init__(
        self,
        mesh_id: bytes,
        did: str,
        sign: Sign,
        disk: Disk,
        new_state: Callable[[], State],
        adopted: MakeAdopted,
    ) -> None:
        self._mesh_id = mesh_id
        self._did = did
        self._sign = sign
        self._new_state = new_state
        self._adopted = adopted
        self.disk = disk
        self.counters: Counter[str] = Counter()
        self.restore()

    def restore(self) -> None:
        """State, chains and what is not sealed yet, from the journal alone."""
        self.state = self._new_state()
        self.digests = Digests()
        self.chains = Chains()
        for chain, head in self.disk.heads():
            self.chains.restore(chain, head)
        sealed = self.disk.sealed_ids(self._did)
        self.unsealed: list[Envelope] = []
        for given in self.disk.inputs:
            engine.step(self.state, given)
            if isinstance(given, Authored) and given.envelope.id not in sealed:
                self.unsealed.append(given.envelope)
        self.chains.close(self.state.over)

    def replayed(self) -> bytes:
        """The digest of the state that the journal gives (P2)."""
        state = self._new_state()
        for given in self.disk.inputs:
            engine.step(state, given)
        return state_digest(state)

    def take(self, item: Item, now_ns: int, transaction: Transaction, out: Out) -> None:
        value: Any = None
        if item.snapshot is not None:
            transaction.snapshots[item.snapshot.packed.state] = item.snapshot
        if item.drop:
            transaction.kept[item.drop] = None
        if item.adopt is not None:
            self._adopt(*item.adopt, now_ns, transaction, out)
        elif item.make is not None:
            try:
                value = self.step(item.make(now_ns), transaction, out)
            except LocalFault as fault:
                if item.answer is None:
                    raise
                value = fault
        elif item.manifest is not None:
            known = self.state.manifests.get(item.manifest.did)
            if known is None or known.issued_ns < item.manifest.issued_ns:
                self.step(ManifestSeen(item.manifest, now_ns), transaction, out)
        elif item.draft is not None:
            said = item.draft(self.state)
            if said is not None:
                self._follow([said], now_ns, transaction, out)
        elif item.batches is not None:
            value = self._admit(item, now_ns, transaction, out)
        if item.answer is not None:
            out.answers.append((item.answer, value))

    def _adopt(
        self, found: Kept, certified: tuple[Certified, ...], now_ns: int, transaction: Transaction, out: Out
    ) -> None:
        if found.snapshot.epoch <= self.state.epoch:
            return
        state = found.packed.state
        transaction.snapshots[state] = found
        transaction.certified.update((each.epoch, each) for each in certified)
        transaction.adopted.append(state)
        self.counters["epochs adopted"] += 1
        given = self._adopted(found, now_ns, transaction.batches, self.unsealed)
        self.counters["said in closed chains"] += len(given.stale)
        self.step(given, transaction, out)
        self.chains.close(self.state.over)

    def _admit(self, item: Item, now_ns: int, transaction: Transaction, out: Out) -> int:
        ready: list[Batch] = []
        for batch in item.batches or ():
            try:
                self._order(batch, now_ns, item.peer, ready, transaction, out)
            except RemoteFault as fault:
                self.counters["refused: " + fault.code] += 1
        if not ready:
            return 0
        envelopes = tuple(envelope for batch in ready for envelope in batch.envelopes)
        given = Admitted(envelopes, {}, now_ns)
        transaction.inputs.append(given)
        transaction.heard.extend(envelopes)
        self.counters["admitted"] += len(envelopes)
        self._follow(engine.step(self.state, given), now_ns, transaction, out)
        return len(ready)

    def _order(
        self,
        batch: Batch,
        now_ns: int,
        peer: int,
        ready: list[Batch],
        transaction: Transaction,
        out: Out,
    ) -> None:
        chain = chain_of(batch)
        head = self.chains.heads.get(chain)
        if head is not None and batch.seq <= head.seq:
            known = self._known(chain, batch.seq, transaction)
            if known is None or known.hash != batch.hash:
                if known is not None and batch.author != self._did:
                    transaction.proofs.append((known, batch))
                raise RemoteFault("equivocation", f"two batches with seq {batch.seq}")
            self.counters["duplicates"] += 1
            return
        following, gap = self.chains.order(batch, now_ns, self.state.lamport)
        for follower in following:
            self.chains.accept(follower)
            transaction.batches.append(follower)
        ready.extend(following)
        if gap is not None:
            out.gaps.append((peer, gap))

    def _known(self, chain: Chain, seq: int, transaction: Transaction) -> Batch | None:
        known = self.disk.batch(chain, seq)
        if known is None:
            known = next((b for b in transaction.batches if b.seq == seq and chain_of(b) == chain), None)
        return known

    def step(self, given: Input, transaction: Transaction, out: Out) -> str | None:
        effects = engine.step(self.state, given)
        transaction.inputs.append(given)
        if isinstance(given, AgentDone | Judged):
            transaction.kept[given.job_id] = None
        elif isinstance(given, ContentReady):
            transaction.kept["fetch-" + given.cid.hex()] = None
        elif isinstance(given, ChainSeen):
            transaction.kept["anchor-" + given.anchor_id.hex()] = None
        elif isinstance(given, Arbitrated):
            transaction.kept[f"arbitrate-{given.epoch}-{given.need}"] = None
        elif isinstance(given, SnapshotMade):
            transaction.kept[f"make-{given.epoch}-{given.round}"] = None
        elif isinstance(given, SnapshotChecked):
            transaction.kept["check-" + given.proposal.hex()] = None
        elif isinstance(given, Adopted):
            transaction.kept[f"adopt-{given.snapshot.epoch}"] = None
        return self._follow(effects, given.at_ns, transaction, out)

    def _follow(self, effects: list[Effect], now_ns: int, transaction: Transaction, out: Out) -> str | None:
        """Carry out what belongs into the transaction; returns the thread of the first envelope said."""
        thread = None
        todo = deque(effects)
        while todo:
            effect = todo.popleft()
            match effect:
                case Publish():
                    envelope = effect.envelope(self._did, ALLOW_DIGEST, ALLOW_DIGEST, effect.trace)
                    thread = thread or envelope.thread
                    given = Authored(envelope, now_ns)
                    transaction.inputs.append(given)
                    transaction.said.append(envelope)
                    self.unsealed.append(envelope)
                    todo.extend(engine.step(self.state, given))
                case (
                    RunAgent()
                    | Judge()
                    | Submit()
                    | Fetch()
                    | Arbitrate()
                    | MakeSnapshot()
                    | CheckSnapshot()
                    | Adopt()
                ):
                    transaction.kept[effect_id(effect)] = effect
                    out.effects.append(effect)
                case Report(_, code):
                    self.counters["reports: " + code] += 1
                case Store() | Arm():
                    pass  # small blocks are not modelled; turns look at the earliest timer themselves
        return thread

    def seal(self, transaction: Transaction, out: Out) -> None:
        def record(batch: Batch) -> None:
            transaction.batches.append(batch)
            self.chains.accept(batch)

        out.frames += seal(self._mesh_id, self._did, self.chains, self.unsealed, self._sign, record)
        self.counters["authored"] += len(self.unsealed)
        self.unsealed = []
