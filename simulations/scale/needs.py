"""One need, from NEED to its last FINALIZE, as `protocol.duties` has it: who says what when, with its backups.

Committees and K are the protocol's own (`consensus.committee`). Left out, because no agent fails here: YIELD,
RELEASE, challenges, second candidates, expiry.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from swarmd.protocol import duties, kinds, planning
from swarmd.protocol.consensus import committee
from swarmd.simulations.scale.daemon import Daemon, Envelope, Mesh
from swarmd.simulations.scale.events import MS_NS

ANCHOR_INTERVAL_NS = (
    2_000_000_000  # State.anchor_interval_ns: then the owner annotates the need with its anchor
)
Stamp = tuple[int, int]  # (signed time, rank): who of those that voted was last
# What a worker's daemon does with a task: run it and call back, with the milliseconds it took.
Work = Callable[[Daemon, Callable[[int], None]], None]


@dataclass(slots=True, eq=False)
class Task:
    """`work` runs on the daemon of `worker`, `judge` on those of the judges."""

    worker: Daemon
    work: Work
    judge: Work
    parents: Sequence["Task"] = ()
    children: list["Task"] = field(default_factory=list)
    judges: "Body" = field(init=False)
    final_at: set[Daemon] = field(default_factory=set)
    final_ns: int = -1


class Body:
    """A committee and, for each of its members, what that one has heard of the votes."""

    def __init__(self, drawn: committee.Committee, member: dict[str, Daemon]) -> None:
        self.members = tuple(member[name] for name in drawn.members)
        self.rank = {daemon: rank for rank, daemon in enumerate(self.members)}
        self.quorum = drawn.quorum
        self.voted: set[Daemon] = set()
        self._votes: dict[Daemon, dict[Daemon, Stamp]] = {daemon: {} for daemon in self.members}
        self.certified: set[Daemon] = set()

    def count(self, daemon: Daemon, voter: Daemon, ts_ns: int) -> Daemon | None:
        """`daemon` hears a vote; once it has a quorum, who of the voters was the last."""
        votes = self._votes[daemon]
        votes[voter] = (ts_ns, self.rank[voter])
        if len(votes) < self.quorum:
            return None
        return max(votes, key=lambda one: votes[one])


class Need:
    """`done` is called when the owner holds every result for certain: once its daemon has committed that."""

    def __init__(
        self, mesh: Mesh, owner: Daemon, tasks: Sequence[Task], done: Callable[["Need"], None]
    ) -> None:
        mesh.needs += 1
        self.id = f"{mesh.name}/need-{mesh.needs}"
        self.mesh = mesh
        self.owner = owner
        self.tasks = tasks
        self.posted_ns = self.decided_ns = self.finalized_ns = -1
        self.backups = 0
        self._done = done
        self._events = mesh.world.events
        self._proposed_at: set[Daemon] = set()
        self._decided_at: set[Daemon] = set()
        self._open = len(tasks)
        self._draw()

    def _draw(self) -> None:
        genesis, member = self.mesh.genesis, self.mesh.member
        active = len(genesis.roster)
        owner = self.mesh.roster[self.owner.index]
        order = committee.ranked(genesis.roster, "plan", self.id, "", 0)
        self.plan = Body(committee.draw(order, committee.k_plan(active, genesis), {owner}), member)
        for number, task in enumerate(self.tasks):
            for parent in task.parents:
                parent.children.append(task)
            order = committee.ranked(genesis.roster, "result", self.id, str(number), 0)
            excluded = {owner, self.mesh.roster[task.worker.index]}
            task.judges = Body(committee.draw(order, committee.k_result(active, genesis), excluded), member)
        workers = [task.worker for task in self.tasks]
        self._planners = frozenset(self.plan.members)
        self._decision = frozenset((*self.plan.members, *workers))
        self._finals = frozenset((self.owner, *workers))

    def post(self) -> None:
        """Have the owner post it; call in a turn of the owner."""
        self.posted_ns = self._events.now_ns
        self._say(self.owner, kinds.NEED, self._planners)

    def _say(self, daemon: Daemon, kind: str, minded: frozenset[Daemon], data: object = None) -> None:
        daemon.say(Envelope(kind, self, daemon, minded, self._events.now_ns, data))

    def hear(self, daemon: Daemon, envelope: Envelope) -> None:
        _HEAR[envelope.kind](self, daemon, envelope)

    def _backup(
        self, at_ns: int, daemon: Daemon, needed: Callable[[], bool], duty: Callable[[], None]
    ) -> None:
        """At a time, if it is still needed then, let a daemon do what another should have done."""

        def due() -> None:
            if needed():
                daemon.tell(act)

        def act() -> None:
            if needed():
                self.backups += 1
                duty()

        self._events.at(at_ns, due)

    # Deciding ------------------------------------------------------------------------------------------

    def _hear_need(self, daemon: Daemon, envelope: Envelope) -> None:
        rank = self.plan.rank.get(daemon)
        if rank is None:
            return
        if rank == 0:
            self._say(daemon, kinds.PROPOSE, self._planners)
            return
        # Of a later round only its proposal is modelled, not the skips that ask for it.
        at_ns = envelope.ts_ns + planning.round_start_ns(rank)
        self._backup(
            at_ns,
            daemon,
            lambda: daemon not in self._proposed_at,
            lambda: self._say(daemon, kinds.PROPOSE, self._planners),
        )

    def _hear_propose(self, daemon: Daemon, envelope: Envelope) -> None:
        if daemon not in self.plan.rank or daemon in self._proposed_at:
            return
        self._proposed_at.add(daemon)
        if self.plan.rank[daemon] < self.plan.quorum:
            self._vote(daemon)
            return
        at_ns = max(self._events.now_ns, self.posted_ns + planning.VOTE_BACKUP_NS)
        self._backup(at_ns, daemon, lambda: daemon not in self._decided_at, lambda: self._vote(daemon))

    def _vote(self, daemon: Daemon) -> None:
        if daemon not in self.plan.voted:
            self.plan.voted.add(daemon)
            self._say(daemon, kinds.ATTEST_PLAN, self._planners)

    def _hear_vote(self, daemon: Daemon, envelope: Envelope) -> None:
        if daemon not in self.plan.rank or daemon in self._decided_at:
            return
        last = self.plan.count(daemon, envelope.author, envelope.ts_ns)
        if last is daemon:
            self._decide(daemon)
        elif last is not None:
            at_ns = self._events.now_ns + planning.CERTIFY_BACKUP_NS
            self._backup(at_ns, daemon, lambda: daemon not in self._decided_at, lambda: self._decide(daemon))

    def _decide(self, daemon: Daemon) -> None:
        if daemon not in self._decided_at:
            self._say(daemon, kinds.DECIDE, self._decision)

    def _hear_decide(self, daemon: Daemon, envelope: Envelope) -> None:
        if daemon in self._decided_at:
            return
        self._decided_at.add(daemon)
        if self.decided_ns < 0:
            self.decided_ns = envelope.ts_ns
        for task in self.tasks:
            if task.worker is daemon and not task.parents:
                self._claim(task)

    # Working -------------------------------------------------------------------------------------------

    def _claim(self, task: Task) -> None:
        self._say(task.worker, kinds.CLAIM, frozenset())
        task.worker.after(lambda: task.work(task.worker, lambda wall_ms: self._commit(task, wall_ms)))

    def _commit(self, task: Task, wall_ms: int) -> None:
        """In a turn of the worker's daemon."""
        self._say(task.worker, kinds.COMMIT, frozenset(task.judges.members), (task, wall_ms))

    # Judging -------------------------------------------------------------------------------------------

    def _hear_commit(self, daemon: Daemon, envelope: Envelope) -> None:
        task, wall_ms = envelope.data
        rank = task.judges.rank.get(daemon)
        if rank is None:
            return
        if rank < task.judges.quorum:
            self._judge(daemon, task)
            return
        at_ns = envelope.ts_ns + duties.JUDGE_BACKUP_NS + 2 * wall_ms * MS_NS
        self._backup(at_ns, daemon, lambda: daemon not in task.final_at, lambda: self._judge(daemon, task))

    def _judge(self, daemon: Daemon, task: Task) -> None:
        daemon.after(lambda: task.judge(daemon, lambda _: self._attest(daemon, task)))

    def _attest(self, daemon: Daemon, task: Task) -> None:
        self._say(daemon, kinds.ATTEST, frozenset(task.judges.members), task)

    def _hear_attest(self, daemon: Daemon, envelope: Envelope) -> None:
        task: Task = envelope.data
        if daemon not in task.judges.rank or daemon in task.judges.certified:
            return
        last = task.judges.count(daemon, envelope.author, envelope.ts_ns)
        if last is daemon:
            self._finalize(daemon, task)
        elif last is not None:
            self._backup(
                self._events.now_ns + planning.CERTIFY_BACKUP_NS,
                daemon,
                lambda: daemon not in task.judges.certified,
                lambda: self._finalize(daemon, task),
            )

    def _finalize(self, daemon: Daemon, task: Task) -> None:
        if daemon not in task.judges.certified:
            self._say(daemon, kinds.FINALIZE, self._finals | frozenset(task.judges.members), task)

    def _hear_final(self, daemon: Daemon, envelope: Envelope) -> None:
        task: Task = envelope.data
        if daemon in task.final_at:
            return
        task.final_at.add(daemon)
        task.judges.certified.add(daemon)
        if task.final_ns < 0:
            task.final_ns = envelope.ts_ns
        for child in task.children:
            if child.worker is daemon and all(daemon in parent.final_at for parent in child.parents):
                self._claim(child)
        if daemon is self.owner:
            self._open -= 1
            if not self._open:
                self.finalized_ns = max(task.final_ns for task in self.tasks)
                daemon.after(self._end)

    def _end(self) -> None:
        self._done(self)
        receipts = self.mesh.receipts.setdefault(self.owner, [])
        receipts.append(self)
        if len(receipts) == 1:
            self._events.at(self._events.now_ns + ANCHOR_INTERVAL_NS, self.owner.tell, self._anchored)

    def _anchored(self) -> None:
        """The owner's receipts of the interval are on chain under one root: each need is annotated with it."""
        for need in self.mesh.receipts.pop(self.owner):
            assert isinstance(need, Need)
            need._say(self.owner, kinds.UPDATE_PLAN, frozenset())


def _ignore(need: Need, daemon: Daemon, envelope: Envelope) -> None:
    """Nothing follows from it."""


_HEAR: dict[str, Callable[[Need, Daemon, Envelope], None]] = {
    kinds.NEED: Need._hear_need,
    kinds.PROPOSE: Need._hear_propose,
    kinds.ATTEST_PLAN: Need._hear_vote,
    kinds.DECIDE: Need._hear_decide,
    kinds.CLAIM: _ignore,
    kinds.COMMIT: Need._hear_commit,
    kinds.ATTEST: Need._hear_attest,
    kinds.FINALIZE: Need._hear_final,
    kinds.UPDATE_PLAN: _ignore,
}
