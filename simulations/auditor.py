"""The auditor: judges every run by what nodes made durable, with its own model (`oracle.py`), not the core's rules.

It looks at each envelope when it first becomes durable anywhere, at each node after every commit that touches
decisions, leases or money, at a random node in depth now and then, and at all of them at the end.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from swarmd.protocol.checkpoint.ballots import verify_certificate
from swarmd.protocol.checkpoint.closing import WHY
from swarmd.protocol.effects import Submit
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.genesis import BFT, Genesis
from swarmd.protocol.inputs import Admitted, Adopted, Authored
from swarmd.simulations import challenges
from swarmd.simulations.books import Ruling
from swarmd.simulations.books import books as books_of
from swarmd.simulations.checkpoints import Certified
from swarmd.simulations.clock import MS_NS, S_NS, START_NS, Loop
from swarmd.simulations.disk import Transaction
from swarmd.simulations.node import SimNode
from swarmd.simulations.oracle import Oracle, Terms
from swarmd.simulations.reading import Reading
from swarmd.simulations.rulings import Rulings, tree
from swarmd.simulations.statements import Statements

MAX_VIOLATIONS = 50
MAX_AHEAD_NS = 30 * S_NS
PROPERTIES = {
    "P1": "one decision per need and draw, one checkpoint per epoch; no honest member votes twice",
    "P2": "a replay of the journal gives the state",
    "P3": "what a challenge reverses is wrong, what it leaves is right, and nothing reversed stands",
    "P4": "what a checkpoint closed stays closed; later statements about it move nothing",
    "P5": "leases: only the holder commits, in time, and a next attempt shows how the last one ended",
    "P6": "no decision and no result without a valid certificate",
    "P7": "the root of an anchor is that of its receipts; a checkpoint says what its cut comes to, and is certified",
    "P9": "money: conserved, never negative, as the second model has it; what was acknowledged is kept",
    "P10": "no input ends a node",
    "admission": "what is admitted was said by its author, and is not dated from the future",
    "honest": "an honest node says nothing that the rules void",
    "result": "no wrong result is accepted while fewer than a quorum lie",
    "convergence": "honest nodes agree once faults stop",
    "liveness": "every funded need ends finalised, refunded or expired",
}
_PROPERTY_OF = {
    "DECIDE": "P6",
    "FINALIZE": "P6",
    "PROPOSE": "P1",
    "ATTEST_PLAN": "P1",
    "CLAIM": "P5",
    "COMMIT": "P5",
    "YIELD": "P5",
    "RELEASE": "P5",
    "ATTEST": "P6",
    "NEED": "P9",
}
_MOVES_MONEY = frozenset({"NEED", "DECIDE", "FINALIZE", "ESCROW", "MONEY"})
_ENDED = frozenset({"FINALIZED", "REFUNDED", "EXPIRED"})


@dataclass(frozen=True, slots=True)
class Violation:
    """`at_ms` since the start of the run."""

    property: str
    node: int
    at_ms: int
    what: str

    def to_map(self) -> dict[str, Any]:
        return asdict(self)


class Auditor:
    """Implements `node.Watch`. `violations` is the verdict, `checks` how often each property was looked at."""

    def __init__(self, genesis: Genesis, loop: Loop) -> None:
        terms = Terms(
            genesis.roster,
            dict(genesis.balances),
            genesis.k_target,
            genesis.alpha_permille,
            genesis.bootstrap_threshold,
            genesis.claim_timeout_s,
            genesis.expiry_grace_s,
            genesis.quorum_mode == BFT,
            genesis.challenge_window_s,
            genesis.verifier_stake,
            genesis.chain_epochs,
            genesis.challenge_reward_permille,
            genesis.epoch_s,
        )
        self.oracle = Oracle(terms)
        self.rulings = Rulings(self.oracle)
        self.genesis = genesis
        self._windows_end = genesis.challenge_window_s > 0 and genesis.epoch_s > 0
        self.supply = sum(genesis.balances.values())
        self.violations: list[Violation] = []
        self.checks = dict.fromkeys(PROPERTIES, 0)
        self.broken = dict.fromkeys(PROPERTIES, 0)
        self.admissions = 0
        self.proofs = 0
        self._loop = loop
        self._honest: dict[str, bool] = {}
        self._statements = Statements(self.oracle, self._honest, self._check)
        self._held: dict[int, dict[bytes, None]] = {}
        self._acknowledged: dict[int, list[str]] = {}
        self._said: set[bytes] = set()
        self._verified: set[int] = set()

    def meet(self, nodes: Iterable[SimNode]) -> None:
        for node in nodes:
            self._honest[node.did] = node.conduct.honest
            if node.conduct.honest:
                self.rulings.honest.add(node.did)
            self._held[node.index] = {}
            self._acknowledged[node.index] = []

    def _check(self, property_id: str, holds: bool, node: SimNode, what: str) -> None:
        self.checks[property_id] += 1
        if not holds:
            self._violate(property_id, node.index, what)

    def _violate(self, property_id: str, node: int, what: str) -> None:
        self.broken[property_id] += 1
        if len(self.violations) < MAX_VIOLATIONS:
            at_ms = (self._loop.now_ns - START_NS) // MS_NS
            self.violations.append(Violation(property_id, node, at_ms, what))

    # What nodes tell -----------------------------------------------------------------------------------

    def broke(self, property_id: str, node: SimNode, what: str) -> None:
        """A node's own check or its boundary of exceptions was hit. A liar may break itself."""
        if node.conduct.honest:
            self._check(property_id if property_id in self.broken else "P10", False, node, what)

    def acknowledged(self, node: SimNode, need: str) -> None:
        self._acknowledged[node.index].append(need)

    def committed(self, node: SimNode, transaction: Transaction) -> None:
        held = self._held[node.index]
        self.checks["P10"] += len(transaction.heard)
        self.admissions += len(transaction.heard) + len(transaction.said)
        self.proofs += len(transaction.proofs)
        for effect in transaction.kept.values():
            if isinstance(effect, Submit) and node.conduct.honest:
                self._check("P7", effect.root == tree(effect.leaves), node, "an anchor's root is another")
        money = False
        self.rulings.heard(transaction.batches)
        adopted = [given for given in transaction.inputs if isinstance(given, Adopted)]
        for given in adopted:
            money = True
            self._adopted(node, given, transaction)
        shut = self.rulings.of.get(node.state.epoch) if not adopted else None
        for envelope in transaction.said:
            held[envelope.id] = None
            self._publish(node, envelope)
            money = money or envelope.kind in _MOVES_MONEY
        latest_ns = max(node.clock.now_ns(), node.state.now_ns) + MAX_AHEAD_NS
        for envelope in transaction.heard:
            held[envelope.id] = None
            if node.conduct.honest:
                self.checks["admission"] += 2
                if envelope.id not in self._said and self._honest.get(envelope.sender, False):
                    what = f"{envelope.sender[-8:]} never said this {envelope.kind}"
                    self._violate("admission", node.index, what)
                if shut is not None and shut.closed_to(envelope):
                    self._violate("P4", node.index, f"a {envelope.kind} of a closed epoch is admitted")
                if envelope.ts_ns > latest_ns:
                    self._violate("admission", node.index, f"{envelope.kind} is dated from the future")
            if self.oracle.see(envelope):
                self._weigh(node, envelope)
            money = money or envelope.kind in _MOVES_MONEY
        if adopted and (ruling := self.rulings.of.get(node.state.epoch)) is not None:
            self._held[node.index] = self._carried(held, ruling)
        if not node.conduct.honest:
            return
        if money:
            self._money(node)
        for envelopes in (transaction.heard, transaction.said):
            for envelope in envelopes:
                self._treatment(node, envelope)

    def _publish(self, node: SimNode, envelope: Envelope) -> None:
        self._said.add(envelope.id)
        if not self.oracle.see(envelope):
            return
        if node.conduct.honest:
            why = self._author_thinks(envelope)
            self._check("honest", why == "", node, f"{envelope.kind} in {envelope.thread}: {why}")
        self._weigh(node, envelope)

    def _reading(self, envelope: Envelope, epoch: int) -> Reading | None:
        """What the thread of an envelope means to who is in `epoch`; None if there is no need there."""
        ruling = self.rulings.of[epoch]
        standing = ruling.open.get(envelope.thread)
        needs = self.oracle.needs_of(envelope.thread)
        if standing is not None:
            needs = [self.oracle.seen[standing.need]]
        # A liar may say two for one entry; then nodes differ in which they heard first, until a checkpoint settles it.
        readings = [self.oracle.reading(need.id, ruling.draws(need)) for need in needs]
        return next((r for r in readings if envelope.id in r.facts), readings[0] if readings else None)

    def _author_thinks(self, envelope: Envelope) -> str | None:
        """Why what an honest node has just said is void, or ""."""
        if not envelope.thread.startswith("need-"):
            return ""  # `_ballot` looks at ballots; the pool of verifiers is not modelled
        ruling = self.rulings.of.get(envelope.epoch)
        if ruling is None:
            return f"epoch {envelope.epoch} has begun nowhere"
        if envelope.thread in ruling.closed:
            return f"the checkpoint of epoch {envelope.epoch} or before has closed it"
        reading = self._reading(envelope, envelope.epoch)
        return reading.why(envelope.id) if reading is not None else None

    # Epochs --------------------------------------------------------------------------------------------

    def _adopted(self, node: SimNode, given: Adopted, transaction: Transaction) -> None:
        """A node begins an epoch: is that the one that was certified, and does it say what its cut comes to?"""
        if not node.conduct.honest:
            return
        epoch = given.snapshot.epoch
        state = transaction.adopted[-1]
        self.rulings.adopted(
            given.snapshot,
            state,
            lambda property_id, holds, what: self._check(property_id, holds, node, what),
        )
        certified = transaction.certified.get(epoch)
        if certified is not None and epoch not in self._verified:
            self._verified.add(epoch)
            self._offline(node, certified)

    def _carried(self, held: Iterable[bytes], ruling: Ruling) -> dict[bytes, None]:
        """What counts of what a node holds that begins with `ruling`: of epochs that are closed, what the cuts had."""
        seen = self.oracle.seen
        left = dict.fromkeys(ref for ref in held if not ruling.closed_to(seen[ref]))
        left.update((ref, None) for ref in ruling.carried())
        return left

    def _offline(self, node: SimNode, certified: Certified) -> None:
        """Is the certificate one to who has nothing but the roster? And not with one vote less than it takes?"""
        epoch, proofs = certified.epoch, certified.proofs
        roster, mesh_id = self.oracle.rosters[epoch - 1][0], self.genesis.mesh_id
        _, quorum = self.oracle.epoch_enders(epoch - 1)
        for given, fits in ((proofs, True), (proofs[:quorum], False), (proofs[1:], False)):
            try:
                holds = verify_certificate(mesh_id, epoch, roster, given)[1] == certified.packed.state
            except RemoteFault:
                holds = False
            self._check("P7", holds == fits, node, f"the certificate of epoch {epoch} verifies: {holds}")

    def _treatment(self, node: SimNode, envelope: Envelope) -> None:
        """Did the node void exactly what the model voids?"""
        property_id = _PROPERTY_OF.get(envelope.kind)
        need = node.state.needs.get(envelope.thread)
        if property_id is None or need is None or envelope.id not in need.seen:
            return
        ruling = self.rulings.of.get(node.state.epoch)
        if ruling is None:
            return
        standing = ruling.open.get(envelope.thread)
        if standing is not None:
            draws = standing.draws
            self._check("P4", need.envelope == standing.need, node, f"{envelope.thread} is another NEED")
        else:
            draws = (need.epoch,)
        self._check(
            "P1", need.draws == draws, node, f"{envelope.thread} was drawn in {need.draws}, not {draws}"
        )
        why = self.oracle.reading(need.envelope, draws).why(envelope.id)
        void = need.void.get(envelope.id)
        if (void is None) != (why == ""):
            what = f"{envelope.kind} in {envelope.thread} of {envelope.sender[-8:]}: core {void!r}, model {why!r}"
            self._violate(property_id, node.index, what)
        self.checks[property_id] += 1

    def _weigh(self, node: SimNode, envelope: Envelope) -> None:
        """What it states, once when it first becomes durable, as those see it who are in the epoch that its author is in."""
        reading = None
        if envelope.thread.startswith("need-"):
            reading = self._reading(envelope, min(envelope.epoch, self.rulings.latest.epoch))
        self._statements.weigh(node, envelope, reading)

    # What nodes hold -----------------------------------------------------------------------------------

    def _money(self, node: SimNode) -> None:
        ledger = node.state.ledger
        total = lowest = 0
        for account in ledger.accounts.values():
            available, locked = account.available, account.locked
            total += available
            if available < lowest or locked < lowest:
                lowest = min(available, locked)
        for escrow in ledger.escrows.values():
            total += escrow.held
        self.checks["P9"] += 2
        if total != self.supply:
            self._violate("P9", node.index, f"there is {total}, and not {self.supply}")
        if lowest < 0:
            self._violate("P9", node.index, f"an account is at {lowest}")

    def restarted(self, node: SimNode, before: bytes | None) -> None:
        """A node came back from its journal: same state as before, nothing acknowledged is lost."""
        held: dict[bytes, None] = {}
        for given in node.disk.inputs:
            if isinstance(given, Authored):
                held[given.envelope.id] = None
            elif isinstance(given, Admitted):
                held.update((envelope.id, None) for envelope in given.envelopes)
            elif isinstance(given, Adopted) and given.snapshot.epoch in self.rulings.of:
                held = self._carried(held, self.rulings.of[given.snapshot.epoch])
        self._held[node.index] = held
        if not node.conduct.honest:
            return
        if before is not None:
            self._check("P2", node.state_digest() == before, node, "the restart gave another state")
        kept = {*node.state.needs, *self.rulings.of[node.state.epoch].closed}
        # Said in a chain that was closed before anybody else heard it: its owner is told so.
        kept |= {need for need, why in node.state.refused.items() if why == WHY}
        lost = [need for need in self._acknowledged[node.index] if need not in kept]
        self._check("P9", not lost, node, f"acknowledged needs are lost: {', '.join(lost)}")

    def examine(self, node: SimNode) -> None:
        """In depth: needs, escrows and accounts against the model's reading of the same envelopes."""
        state = node.state
        ruled = {thread: need.arbitrated for thread, need in state.needs.items() if need.arbitrated}
        for thread, plan in ruled.items():
            said = node.mesh.arbiter.records.get((thread, state.needs[thread].draw))
            self._check("P1", said == plan, node, f"the arbiter did not say so of {thread}")
        ruling = self.rulings.of.get(state.epoch)
        self._check("P1", ruling is not None, node, f"nobody began epoch {state.epoch} before")
        if ruling is None:
            return
        back = sorted(thread for thread in state.needs if thread in ruling.closed)
        self._check("P4", not back, node, f"closed needs are open: {', '.join(back)}")
        first = {thread: need.envelope for thread, need in state.needs.items()}
        books = books_of(self.oracle, ruling, self._held[node.index], ruled, first)
        needs = {thread: (need.state(), need.payments()) for thread, need in state.needs.items()}
        model = {thread: (outcome.state, outcome.paid) for thread, outcome in books.needs.items()}
        self._same("P6", node, "needs", needs, model)
        for holds, what in challenges.breaches(state):
            self._check("P3", holds, node, what)
        void = {ref for need in state.needs.values() for ref in need.void}
        self._check("P6", void == books.void, node, self._differ(void, books.void))
        escrows = {
            name: (escrow.state, escrow.held, escrow.paid, escrow.returned)
            for name, escrow in state.ledger.escrows.items()
            if escrow.state != "waiting"
        }
        closed = ruling.closed.keys() - ruling.unpaid
        over = {*closed, *ruling.returned, *ruling.bonds, *ruling.purses, *ruling.sent.done}
        open_escrows = {name: escrow for name, escrow in books.escrows.items() if name not in over}
        self._same("P9", node, "escrows", escrows, open_escrows)
        trades = {
            name: (record.deal.payments(), bool(record.deal.seller), set(record.deal.void))
            for name, record in state.escrows.records.items()
        }
        modelled = {
            name: (account.payments(), bool(account.seller), account.void)
            for name, account in books.deals.items()
        }
        self._same("P9", node, "trades", trades, modelled)
        empty = (0, 0, 0)
        accounts = {
            did: (account.available, account.locked, account.earned)
            for did, account in state.ledger.accounts.items()
        }
        purses = {did: (purse.available, purse.locked, purse.earned) for did, purse in books.purses.items()}
        every = sorted({*accounts, *purses})
        self._same(
            "P9",
            node,
            "accounts",
            {did: accounts.get(did, empty) for did in every},
            {did: purses.get(did, empty) for did in every},
        )

    def _differ(self, core: set[bytes], model: set[bytes]) -> str:
        found = [self.oracle.seen[ref] for ref in sorted(core ^ model)[:3]]
        told = [
            f"{e.kind} in {e.thread} of {e.sender[-8:]} ({'core' if e.id in core else 'model'})"
            for e in found
        ]
        return f"void differs in {len(core ^ model)} envelopes: {', '.join(told)}"

    def _same(self, property_id: str, node: SimNode, what: str, core: Any, model: Any) -> None:
        if core == model:
            self.checks[property_id] += 1
            return
        for name in sorted({*core, *model}):
            if core.get(name) != model.get(name):
                text = f"{what}, {name}: core {core.get(name)}, model {model.get(name)}"
                self._check(property_id, False, node, text[:500])
                return

    # The end -------------------------------------------------------------------------------------------

    def settled(self, nodes: Sequence[SimNode]) -> bool:
        """Have all honest nodes come to the same end of every funded need?"""
        for node in nodes:
            escrows = node.state.ledger.escrows
            for thread, need in node.state.needs.items():
                funded = thread in escrows and escrows[thread].state == "funded"
                if funded and (need.state() not in _ENDED or (self._windows_end and need.held())):
                    return False
        # One by one: as long as they differ, the first few say so.
        digests = (node.mesh_digest() for node in nodes)
        first = next(digests, None)
        return first is not None and all(digest == first for digest in digests)

    def outcomes(self, node: SimNode) -> dict[str, int]:
        """How many needs ended how, those that checkpoints closed among them, and where the others stand."""
        ruling = self.rulings.of.get(node.state.epoch)
        closed = [need.outcome.state for need in ruling.closed.values()] if ruling is not None else []
        return dict(Counter([*closed, *(need.state() for need in node.state.needs.values())]))

    def judge_end(self, nodes: Sequence[SimNode], *, replay: bool) -> None:
        """All honest nodes, after the faults stopped and the mesh had its time."""
        digests: dict[bytes, list[int]] = {}
        for node in nodes:
            digests.setdefault(node.mesh_digest(), []).append(node.index)
            ended = self.rulings.of[node.state.epoch].closed if node.state.epoch in self.rulings.of else ()
            self.checks["liveness"] += len(ended)
            for thread, need in node.state.needs.items():
                escrow = node.state.ledger.escrows.get(thread)
                funded = escrow is not None and escrow.state != "waiting"
                if funded:
                    state = need.state()
                    why = f"{thread} is still {state}: {need.waiting_for or 'no reason given'}"
                    self._check("liveness", state in _ENDED, node, why)
                    if self._windows_end:
                        self._check("liveness", not need.held(), node, f"the window of {thread} does not end")
            self.examine(node)
            if replay:
                self._replay(node)
        groups = sorted(digests.values(), key=lambda group: (-len(group), group))
        self._check("convergence", len(groups) == 1, nodes[0], f"nodes stay apart: {groups}")

    def _replay(self, node: SimNode) -> None:
        try:
            same = node.replayed() == node.state_digest()
        except Exception as error:  # whatever it is: the core once took these very inputs
            self._check("P2", False, node, f"the journal does not replay: {type(error).__name__}: {error}")
            return
        self._check("P2", same, node, "the journal's replay gives another state")
