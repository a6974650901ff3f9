"""The record of one need: what was said about it, and what follows from that.

Facts (proposals, votes, claims, ...) only grow and come in any order that respects causality; what follows
(the winning decision, the current attempt of each task, its result) is derived from them, so that every node
that has the same envelopes holds the same record.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from swarmd.protocol.envelope import Envelope
from swarmd.protocol.work import plan as states
from swarmd.protocol.work.facts import (
    Attest,
    Challenge,
    Claim,
    Closing,
    Commit,
    Decide,
    Ending,
    Final,
    Proposal,
    Review,
    Ruling,
    Skip,
    TaskSpec,
)
from swarmd.protocol.work.graph import Graph
from swarmd.protocol.work.plan import Plan


@dataclass(slots=True)
class Run:
    """Where one task stands, derived: `attempt` counts the endings of earlier ones."""

    state: str = states.OPEN
    attempt: int = 0
    ending: Ending | None = None
    claim: Claim | None = None
    commit: Commit | None = None
    final: Final | None = None


@dataclass(slots=True)
class Need:
    """A need and everything about it. Changed only by `rules.apply` and `derive`."""

    id: str
    owner: str
    envelope: bytes
    epoch: int
    lamport: int
    ts_ns: int
    title: str
    budget: int
    deadline_ns: int
    fund_seq: int
    tasks: dict[str, TaskSpec]
    plan: Plan = field(default_factory=Plan)
    seen: dict[bytes, tuple[int, int, int]] = field(default_factory=dict)  # id -> (lamport, ts_ns, epoch)
    void: dict[bytes, str] = field(default_factory=dict)
    updates: dict[bytes, tuple[TaskSpec, ...]] = field(default_factory=dict)
    proposals: dict[bytes, Proposal] = field(default_factory=dict)
    votes: dict[bytes, dict[str, bytes]] = field(default_factory=dict)  # proposal -> voter -> attest id
    vote_of: dict[bytes, tuple[str, bytes]] = field(default_factory=dict)  # attest id -> (voter, proposal)
    skips: dict[bytes, Skip] = field(default_factory=dict)
    decides: dict[bytes, Decide] = field(default_factory=dict)
    claims: dict[bytes, Claim] = field(default_factory=dict)
    endings: dict[bytes, Ending] = field(default_factory=dict)
    commits: dict[bytes, Commit] = field(default_factory=dict)
    attests: dict[bytes, Attest] = field(default_factory=dict)
    finals: dict[bytes, Final] = field(default_factory=dict)
    closings: dict[bytes, Closing] = field(default_factory=dict)
    challenges: dict[bytes, Challenge] = field(default_factory=dict)
    reviews: dict[bytes, Review] = field(default_factory=dict)
    rulings: dict[bytes, Ruling] = field(default_factory=dict)
    window_s: int = 0  # how long results can be challenged and their price is held; 0: they are paid at once
    equivocators: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    arbitrated: bytes = b""  # what the arbiter, where the mesh has one, has on record as decided
    # By checkpoints (protocol/checkpoint): the epochs whose rosters committees that decide were drawn from, the first
    # being `epoch`; and what stands whatever else comes: a decision, and results by task.
    draws: tuple[int, ...] = ()
    undecided: int = -1  # the first epoch whose checkpoint found no decision
    fixed_decision: bytes = b""
    fixed_finals: dict[str, bytes] = field(default_factory=dict)
    found: dict[bytes, int] = field(
        default_factory=dict
    )  # result or challenge -> time of the first cut with it
    reconciled: dict[bytes, int] = field(default_factory=dict)  # decision that was orphaned -> by which epoch
    # Derived:
    decided: Decide | None = None
    closed: Closing | None = None
    runs: dict[str, Run] = field(default_factory=dict)
    graph: Graph = field(
        default_factory=lambda: Graph({})
    )  # of the decided plan; before that, of what was asked
    _graph_of: bytes = b""
    by_task: dict[str, list[Any]] = field(default_factory=dict)
    open_tasks: int = 0
    invalid: dict[bytes, bytes] = field(default_factory=dict)  # results that were reversed -> the INVALIDATE
    fallen: set[bytes] = field(default_factory=set)  # those, and results that were made from them
    # Local to this node, no part of the mesh's state:
    done_here: set[tuple[Any, ...]] = field(default_factory=set)
    since_ns: int = 0  # when we could first have planned it: rounds are counted from then
    promised: int = 0  # the round below which we vote for nothing any more
    voted: dict[int, bytes] = field(default_factory=dict)  # round -> the proposal that has our vote
    waiting_for: str = ""

    def __post_init__(self) -> None:
        self.draws = self.draws or (self.epoch,)

    @property
    def draw(self) -> int:
        """The epoch whose committee decides: the need's own, or a later one if that one never did."""
        return self.draws[-1]

    def draw_at(self, epoch: int) -> int:
        """The one that who writes in `epoch` knows of."""
        return next((draw for draw in reversed(self.draws) if draw <= epoch), self.draws[0])

    def record(self, envelope: Envelope) -> None:
        self.seen[envelope.id] = (envelope.lamport, envelope.ts_ns, envelope.epoch)

    def once(self, *key: Any) -> bool:
        """Has this node not done `key` yet? From now on it has."""
        if key in self.done_here:
            return False
        self.done_here.add(key)
        return True

    # Derivation ----------------------------------------------------------------------------------------

    def all_specs(self) -> Iterator[TaskSpec]:
        yield from self.tasks.values()
        for specs in self.updates.values():
            yield from specs

    def spec(self, task: str) -> TaskSpec | None:
        """A task as the decided plan defines it; before a decision, as it came first to us."""
        proposal = self.proposal()
        if proposal is not None and task in proposal.specs:
            return proposal.specs[task]
        found = self.tasks.get(task)
        if found is None:
            found = next((spec for specs in self.updates.values() for spec in specs if spec.id == task), None)
        return found

    def proposal(self) -> Proposal | None:
        return self.proposals[self.decided.proposal] if self.decided else None

    def derive_decided(self) -> bool:
        """Pick the winning decision: highest epoch, then lamport, then the smaller decider id; True if it moved.

        Decisions for one plan, in whatever round, are one decision: the earliest stands for it. An arbiter's choice
        goes before all that, once a decision for it is here.
        """
        best: Decide | None = self.decides.get(self.fixed_decision)
        if best is None:
            chosen = [d for d in self.decides.values() if d.proposal == self.arbitrated]
            for decide in chosen or self.decides.values():
                if best is None or _beats(decide, best):
                    best = decide
        if best is not None and not self.fixed_decision:
            same = [d for d in self.decides.values() if d.proposal == best.proposal]
            best = min(same, key=lambda d: (d.lamport, d.decider, d.id))
        moved = (best and best.proposal) != (self.decided and self.decided.proposal)
        self.decided = best
        return moved

    def derive_all(self) -> None:
        """Derive every task anew: after the decision, the closing or the plan moved."""
        proposal = self.proposal()
        names = list(proposal.plan) if proposal else list(self.tasks)
        planned = proposal.id if proposal else self.envelope
        if self._graph_of != planned:
            self._graph_of = planned
            specs = proposal.specs if proposal else self.tasks
            self.graph = Graph({name: specs[name].parents for name in names})
        self.closed = min(self.closings.values(), key=lambda c: (c.ts_ns, c.id), default=None)
        self.runs = {}
        self.open_tasks = len(names)
        for name in names:
            self.runs[name] = Run(state=states.OPEN)
            self.derive_task(name)

    def derive_task(self, task: str) -> Run | None:
        """Derive where one task stands from the facts about it."""
        run = self.runs.get(task)
        if run is None:
            return None
        was_open = run.final is None
        run.ending = run.claim = run.commit = run.final = None
        run.attempt = 0
        proposal = self.proposal()
        if proposal is None:
            run.state = states.PROPOSED if self.proposals else states.OPEN
            return run
        planned, claims_by_id = proposal.id, self.claims
        facts = [
            fact
            for fact in self.by_task.get(task, ())
            if (claims_by_id[fact.claim] if type(fact) is Commit else fact).proposal == planned
        ]
        if self.fallen:
            facts = [fact for fact in facts if not self._fell(fact)]
        fixed = self.finals.get(self.fixed_finals.get(task, b""))
        finals = (
            [fixed]
            if fixed is not None and fixed.commit not in self.fallen
            else [f for f in facts if type(f) is Final and not (self.closed and self.closed.ts_ns < f.ts_ns)]
        )
        endings = [f for f in facts if type(f) is Ending]
        while ended := [e for e in endings if e.attempt == run.attempt]:
            run.ending = min(ended, key=lambda e: (e.ts_ns, e.id))
            run.attempt += 1
        if finals:
            run.final = min(finals, key=lambda f: (-f.epoch, f.lamport, f.id))
            run.commit = self.commits[run.final.commit]
            run.claim = self.claims[run.commit.claim]
            run.state = states.FINALIZED
            self.open_tasks -= was_open
            return run
        self.open_tasks += not was_open
        claims = [f for f in facts if type(f) is Claim and f.attempt == run.attempt]
        if claims:
            run.claim = min(claims, key=lambda c: (c.ts_ns, c.id))
            commits = [f for f in facts if type(f) is Commit and f.claim == run.claim.id]
            if commits:
                run.commit = min(commits, key=lambda c: (c.ts_ns, c.id))
        if run.attempt >= len(proposal.plan[task]):
            run.state = states.FAILED
        elif run.commit:
            run.state = states.COMMITTED
        elif run.claim:
            run.state = states.CLAIMED
        else:
            run.state = states.DECIDED
        return run

    def _fell(self, fact: Any) -> bool:
        """Is it about a result that was reversed, or about work on one? How attempts ended stays as it was."""
        if type(fact) is Final:
            return fact.commit in self.fallen
        if type(fact) is Claim:
            return not self.fallen.isdisjoint(fact.basis)
        return type(fact) is Commit and fact.id in self.fallen

    def fall_with_basis(self, commit: Commit) -> None:
        """Note a new result that was made from one that was reversed."""
        if self.fallen and not self.fallen.isdisjoint(self.claims[commit.claim].basis):
            self.fallen.add(commit.id)

    def invalidate(self, commit: bytes, ruling: Ruling) -> None:
        """`commit` was reversed, and all that was made from it falls too; of several rulings the first stands for it."""
        known = self.rulings.get(self.invalid.get(commit, b""))
        if known is None or (ruling.lamport, ruling.id) < (known.lamport, known.id):
            self.invalid[commit] = ruling.id
        self.fallen = set(self.invalid)
        for each in sorted(self.commits, key=lambda ref: self.seen[ref][0]):  # causes first
            if not self.fallen.isdisjoint(self.claims[self.commits[each].claim].basis):
                self.fallen.add(each)

    def basis(self, task: str) -> tuple[bytes, ...]:
        """The results that a task can be worked on with now, by parent."""
        spec = self.spec(task)
        finals = [self.runs[parent].final for parent in spec.parents] if spec else []
        return tuple(final.commit for final in finals if final is not None)

    def parents_final(self, task: str) -> bool:
        spec = self.spec(task)
        return spec is not None and all(
            (run := self.runs.get(parent)) is not None and run.final is not None for parent in spec.parents
        )

    def complete(self) -> bool:
        return self.decided is not None and self.open_tasks == 0

    def state(self) -> str:
        """FINALIZED, REFUNDED, EXPIRED or how far it has come."""
        if self.complete():
            return states.FINALIZED
        if self.closed:
            return self.closed.outcome.upper()
        if self.decided is None:
            return states.PROPOSED if self.proposals else states.OPEN
        return "RUNNING" if self.claims else states.DECIDED

    def held(self) -> bool:
        """Does its money wait for the checkpoint that ends the challenge window?"""
        return self.window_s > 0 and (
            bool(self.challenges) or any(run.final is not None for run in self.runs.values())
        )

    def payments(self) -> dict[str, tuple[str, int]]:
        """What is paid at once: nothing of a need whose results can be challenged, else what results earn."""
        return {} if self.held() else self.earned()

    def earned(self) -> dict[str, tuple[str, int]]:
        """What accepted results earn: task -> (worker, minor units)."""
        return {
            task: (run.final.worker, run.final.price)
            for task, run in self.runs.items()
            if run.final is not None
        }

    def closing_state(self) -> str | None:
        """How the escrow closes at once, if the need is at its end."""
        return None if self.held() else self.ended()

    def ended(self) -> str | None:
        """released, refunded or expired; None while it goes on."""
        if self.complete():
            return "released"
        return self.closed.outcome if self.closed else None


def _beats(one: Decide, other: Decide) -> bool:
    if one.epoch != other.epoch:
        return one.epoch > other.epoch
    if one.lamport != other.lamport:
        return one.lamport > other.lamport
    return (one.decider, one.id) < (other.decider, other.id)
