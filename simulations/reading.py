"""What each envelope of one need means, and why it is void if it is: the second telling of the rules of `protocol/work`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swarmd.protocol.envelope import Envelope

if TYPE_CHECKING:
    from swarmd.simulations.oracle import Oracle

S_NS = 1_000_000_000


@dataclass(slots=True)
class Fact:
    """A valid envelope and what it is about; fields that a kind has no use for keep their defaults."""

    said: Envelope
    proposal: bytes = b""
    task: str = ""
    attempt: int = 0
    worker: str = ""
    until_ns: int = 0
    commit: bytes = b""
    result: bytes = b""
    price: int = 0
    certificate: tuple[bytes, ...] = ()
    round: int = 0
    shown: bytes = b""  # of a skip: the last proposal that its sender had voted for, and its round
    shown_round: int = -1
    draw: int = 0  # the epoch whose committee a proposal is before


class Wrong(Exception):
    """An envelope moves nothing; the text says why."""


class Reading:
    """What each envelope of one need means. `take` all of them; then ask `why`, `facts`."""

    def __init__(self, oracle: "Oracle", need: Envelope, draws: tuple[int, ...]) -> None:
        self.oracle = oracle
        self.terms = oracle.terms
        self.seen = oracle.seen
        self.need = need
        self.draws = draws
        self.facts: dict[bytes, Fact] = {need.id: Fact(need)}
        self._why: dict[bytes, str] = {need.id: ""}
        self._waiting: list[Envelope] = []

    def take(self, envelope: Envelope) -> None:
        self._waiting.append(envelope)
        self.again()

    def again(self) -> None:
        """Try what waits for what it refers to, or for its epoch."""
        moved = True
        while moved and self._waiting:
            left = [waiting for waiting in self._waiting if not self._try(waiting)]
            moved = len(left) < len(self._waiting)
            self._waiting = left

    def why(self, envelope: bytes) -> str | None:
        """ "" if it is valid, else why not; None as long as something it refers to is unknown."""
        return self._why.get(envelope)

    def _try(self, envelope: Envelope) -> bool:
        if envelope.id in self._why:
            return True
        if envelope.epoch not in self.oracle.beacons:
            return False
        if envelope.kind == "NEED":
            if not self.oracle.wrong_need(envelope.id):  # that leaves no trace
                self._why[envelope.id] = "a second need for one entry"
            return True
        if any(ref not in self._why for ref in envelope.refs):
            return False
        try:
            if envelope.epoch < self.need.epoch:
                raise Wrong("the need is of a later epoch")
            if any(self.seen[ref].lamport >= envelope.lamport for ref in envelope.refs):
                raise Wrong("older than what it refers to")
            if any(self.seen[ref].epoch > envelope.epoch for ref in envelope.refs):
                raise Wrong("of an older epoch than what it refers to")
            judge = _JUDGES.get(envelope.kind)
            if judge is None:
                raise Wrong("a kind that does nothing")
            self.facts[envelope.id] = judge(self, envelope)
            self._why[envelope.id] = ""
        except Wrong as wrong:
            self._why[envelope.id] = str(wrong)
        return True

    def _draw_at(self, epoch: int) -> int:
        """Of which draw is what somebody says who is in `epoch`?"""
        return max((draw for draw in self.draws if draw <= epoch), default=self.draws[0])

    def planners(self, draw: int) -> tuple[tuple[str, ...], int]:
        return self.oracle.draw("plan", self.need.thread, "", draw, frozenset({self.need.sender}))

    def _judges_of(self, envelope: Envelope, commit: Fact) -> tuple[tuple[str, ...], int]:
        gone = self.abstained(envelope, commit)
        excused = frozenset({self.need.sender, commit.worker})
        draw = self.facts[commit.proposal].draw
        return self.oracle.draw("result", self.need.thread, commit.task, draw, excused, gone)

    def judged_by(self, envelope: Envelope, commit: Fact) -> frozenset[str]:
        """The committee of a result and those who abstained from it, as far as `envelope` shows."""
        return self.abstained(envelope, commit) | set(self._judges_of(envelope, commit)[0])

    def abstained(self, envelope: Envelope, commit: Fact) -> frozenset[str]:
        return frozenset(
            fact.said.sender
            for ref in envelope.refs
            if (fact := self.fact(ref, "ATTEST"))
            and fact.commit == commit.said.id
            and fact.said.payload["verdict"] == "abstain"
        )

    def fact(self, ref: bytes, kind: str) -> Fact | None:
        fact = self.facts.get(ref)
        return fact if fact is not None and fact.said.kind == kind else None

    def first(self, envelope: Envelope, *kinds: str) -> Fact:
        for ref in envelope.refs:
            fact = self.facts.get(ref)
            if fact is not None and fact.said.kind in kinds:
                return fact
        raise Wrong(f"it refers to no valid {kinds[0]}")

    def _planner(self, envelope: Envelope, draw: int) -> int:
        members, quorum = self.planners(draw)
        if envelope.sender not in members:
            raise Wrong("not of the committee")
        return quorum

    # The verbs -----------------------------------------------------------------------------------------

    def _propose(self, envelope: Envelope) -> Fact:
        draw = self._draw_at(envelope.epoch)
        members, quorum = self.planners(draw)
        self._planner(envelope, draw)
        need = self.need
        if need.id not in envelope.refs:
            raise Wrong("it does not refer to the need")
        prices = {task["id"]: task["max_price"] for task in need.payload["tasks"]}
        plan = envelope.payload["plan"]
        if sorted(plan) != sorted(prices):
            raise Wrong("not the tasks of the need")
        for task, row in plan.items():
            if len({did for did, _ in row}) < len(row) or max(price for _, price in row) > prices[task]:
                raise Wrong("a worker twice, or too dear")
        if sum(max(price for _, price in row) for row in plan.values()) > need.payload["budget"]:
            raise Wrong("over the budget")
        round_ = envelope.payload["round"]
        if members[round_ % len(members)] != envelope.sender:
            raise Wrong("not its turn")
        bound = self._bound(envelope, draw, round_, quorum) if round_ else b""
        if bound and any(
            self.seen[bound].payload[key] != envelope.payload[key] for key in ("plan", "lease_s")
        ):
            raise Wrong("not the plan that was voted for")
        return Fact(envelope, proposal=bound or bytes(envelope.id), round=round_, draw=draw)

    def _bound(self, envelope: Envelope, draw: int, round_: int, quorum: int) -> bytes:
        """What the skips of round `round_` bind its proposer to: the plan of the last vote that any of them shows."""
        asked = {}
        for ref in envelope.refs:
            skip = self.fact(ref, "ATTEST_PLAN")
            if skip and skip.said.payload["verdict"] == "skip" and (skip.draw, skip.round) == (draw, round_):
                asked[skip.said.sender] = skip.shown
        if len(asked) < quorum:
            raise Wrong("nobody asked for this round")
        shown = [self.facts[proposal] for proposal in asked.values() if proposal]
        last = [fact.proposal for fact in shown if fact.round == max(f.round for f in shown)]
        if len(set(last)) > 1:
            raise Wrong("two proposals in a round")
        return last[0] if last else b""

    def _vote(self, envelope: Envelope) -> Fact:
        draw = self._draw_at(envelope.epoch)
        self._planner(envelope, draw)
        if envelope.payload["verdict"] == "skip":
            return self._skip(envelope, draw)
        proposal = self.first(envelope, "PROPOSE")
        if proposal.draw != draw:
            raise Wrong("before another committee")
        return Fact(envelope, proposal=bytes(proposal.said.id), round=proposal.round, draw=draw)

    def _skip(self, envelope: Envelope, draw: int) -> Fact:
        own = [
            (vote.round, vote.proposal)
            for ref in envelope.refs
            if (vote := self.fact(ref, "ATTEST_PLAN"))
            and vote.said.sender == envelope.sender
            and vote.said.payload["verdict"] == "accept"
            and vote.draw == draw
        ]
        asked = envelope.payload["round"]
        if self.need.id not in envelope.refs or asked == 0:
            raise Wrong("skips nothing")
        voted, shown = max(own, default=(-1, b""))
        if voted >= asked:
            raise Wrong("voted there or later")
        return Fact(envelope, round=asked, shown=shown, shown_round=voted, draw=draw)

    def _decide(self, envelope: Envelope) -> Fact:
        proposal = self.first(envelope, "PROPOSE")
        if proposal.draw != self.draws[-1]:
            raise Wrong("orphaned: another committee has been drawn")
        quorum = self._planner(envelope, proposal.draw)
        votes = {}
        for ref in envelope.refs:
            vote = self.fact(ref, "ATTEST_PLAN")
            if vote and vote.proposal == proposal.said.id and vote.said.payload["verdict"] == "accept":
                votes[vote.said.sender] = bytes(ref)
        if len(votes) < quorum:
            raise Wrong("no quorum of votes")
        if envelope.payload != {"round": proposal.round, "k": quorum}:
            raise Wrong("another round or K")
        return Fact(
            envelope, proposal=proposal.proposal, certificate=tuple(votes.values()), draw=proposal.draw
        )

    def _attempt(self, envelope: Envelope) -> Fact:
        """The attempt that an envelope is about, by a decision and what must have come before."""
        decided = self.first(envelope, "DECIDE")
        task, attempt = envelope.payload["task"], envelope.payload["attempt"]
        row = self.seen[decided.proposal].payload["plan"].get(task, [])
        if attempt >= len(row):
            raise Wrong("no such attempt")
        facts = [fact for ref in envelope.refs if (fact := self.facts.get(ref))]
        if attempt and not any(
            fact.said.kind in ("YIELD", "RELEASE", "INVALIDATE")
            and (fact.proposal, fact.task, fact.attempt) == (decided.proposal, task, attempt - 1)
            for fact in facts
        ):
            raise Wrong("the attempt before has not ended")
        spec = next(t for t in self.need.payload["tasks"] if t["id"] == task)
        done = {f.task for f in facts if f.said.kind == "FINALIZE" and f.commit}
        if not parents_of(spec) <= done:
            raise Wrong("results it builds on are missing")
        worker, price = row[attempt]
        return Fact(envelope, decided.proposal, task, attempt, worker, price=price)

    def _claim(self, envelope: Envelope) -> Fact:
        fact = self._attempt(envelope)
        if fact.worker != envelope.sender:
            raise Wrong("another's attempt")
        lease_s = min(envelope.payload["lease_s"], self.seen[fact.proposal].payload["lease_s"])
        fact.until_ns = envelope.ts_ns + lease_s * S_NS
        return fact

    def _yield(self, envelope: Envelope) -> Fact:
        claim = next((c for ref in envelope.refs if (c := self.fact(ref, "CLAIM"))), None)
        about = claim or self._attempt(envelope)
        body = envelope.payload
        if about.worker != envelope.sender or (about.task, about.attempt) != (body["task"], body["attempt"]):
            raise Wrong("another's attempt")
        return Fact(envelope, about.proposal, about.task, about.attempt, about.worker)

    def _release(self, envelope: Envelope) -> Fact:
        body = envelope.payload
        about = (body["task"], body["attempt"])
        if body["cause"] == "rejected":
            commit = self.first(envelope, "COMMIT")
            if (commit.task, commit.attempt) != about:
                raise Wrong("another attempt")
            self._certified(envelope, commit, "reject")
            return Fact(envelope, commit.proposal, commit.task, commit.attempt, commit.worker)
        if body["cause"] == "expired":
            claim = self.first(envelope, "CLAIM")
            self._planner(envelope, self.facts[claim.proposal].draw)
            if (claim.task, claim.attempt) != about or envelope.ts_ns < claim.until_ns:
                raise Wrong("another attempt, or its lease holds")
            return Fact(envelope, claim.proposal, claim.task, claim.attempt, claim.worker)
        fact = self._attempt(envelope)
        self._planner(envelope, self.facts[fact.proposal].draw)
        since_ns = max(self.seen[ref].ts_ns for ref in envelope.refs)
        if envelope.ts_ns < since_ns + self.terms.claim_timeout_s * S_NS:
            raise Wrong("too early")
        return fact

    def _commit(self, envelope: Envelope) -> Fact:
        claim = self.first(envelope, "CLAIM")
        if claim.worker != envelope.sender or claim.task != envelope.payload["task"]:
            raise Wrong("another's lease")
        if envelope.ts_ns > claim.until_ns:
            raise Wrong("the lease is over")
        return Fact(
            envelope,
            claim.proposal,
            claim.task,
            claim.attempt,
            claim.worker,
            claim.until_ns,
            result=bytes(envelope.payload["result"]),
            price=claim.price,
            certificate=(bytes(claim.said.id),),
        )

    def attest(self, envelope: Envelope) -> Fact:
        commit = self.first(envelope, "COMMIT")
        if envelope.payload["task"] != commit.task:
            raise Wrong("another task")
        if envelope.sender not in self._judges_of(envelope, commit)[0]:
            raise Wrong("not of the committee")
        return Fact(envelope, commit.proposal, commit.task, commit=bytes(commit.said.id))

    def _certified(self, envelope: Envelope, commit: Fact, verdict: str) -> tuple[bytes, ...]:
        members, quorum = self._judges_of(envelope, commit)
        by_judge = {
            fact.said.sender: bytes(ref)
            for ref in envelope.refs
            if (fact := self.fact(ref, "ATTEST"))
            and fact.commit == commit.said.id
            and fact.said.payload["verdict"] == verdict
            and fact.said.sender in members
        }
        if len(by_judge) < quorum:
            raise Wrong("no quorum of judges")
        return tuple(by_judge.values())

    def finalize(self, envelope: Envelope) -> Fact:
        body = envelope.payload
        if body["outcome"] == "accepted":
            commit = self.first(envelope, "COMMIT")
            if (body["task"], body["result"]) != (commit.task, commit.result):
                raise Wrong("another result")
            return Fact(
                envelope,
                commit.proposal,
                commit.task,
                commit.attempt,
                commit.worker,
                commit=bytes(commit.said.id),
                result=commit.result,
                price=commit.price,
                certificate=self._certified(envelope, commit, "accept"),
            )
        need = self.need
        if body["outcome"] == "expired":
            if (
                envelope.sender != need.sender
                and envelope.sender not in self.oracle.rosters[envelope.epoch][0]
            ):
                raise Wrong("a stranger")
            if envelope.ts_ns < need.payload["deadline_ns"] + self.terms.expiry_grace_s * S_NS:
                raise Wrong("too early")
            return Fact(envelope)
        ending = self.first(envelope, "YIELD", "RELEASE", "INVALIDATE")
        self._planner(envelope, self.facts[ending.proposal].draw)
        row = self.seen[ending.proposal].payload["plan"][ending.task]
        if ending.task != body["task"] or ending.attempt + 1 < len(row):
            raise Wrong("candidates are left")
        return Fact(envelope, ending.proposal, ending.task)

    def _update(self, envelope: Envelope) -> Fact:
        """Annotations by the owner, or by a worker that shows its claim; the simulator adds no tasks."""
        claims = [c for ref in envelope.refs if (c := self.fact(ref, "CLAIM"))]
        own = {claim.task for claim in claims if claim.worker == envelope.sender}
        if envelope.sender != self.need.sender:
            if not own:
                raise Wrong("a stranger")
            if any(op.get("task") not in own for op in envelope.payload["ops"]):
                raise Wrong("not the worker's to note")
        if any(op["op"] != "ANNOTATE" for op in envelope.payload["ops"]):
            raise Wrong("not modelled")
        return Fact(envelope)

    def _reconcile(self, envelope: Envelope) -> Fact:
        """Decisions that another committee took over from, on record; it moves nothing."""
        orphaned = [bytes(ref) for ref in envelope.payload["orphaned"]]
        if envelope.payload["epoch"] not in self.draws[1:] or not orphaned:
            raise Wrong("no such draw, or nothing named")
        if not {self.need.id, *orphaned} <= {bytes(ref) for ref in envelope.refs}:
            raise Wrong("it does not refer to what it names")
        if any(not (self.why(ref) or "").startswith("orphaned") for ref in orphaned):
            raise Wrong("nothing orphaned that")
        return Fact(envelope)


def parents_of(spec: Mapping[str, Any]) -> set[str]:
    bound = {binding["task"] for binding in spec["input"].values() if "task" in binding}
    return bound | set(spec.get("after", ()))


_JUDGES: dict[str, Callable[[Reading, Envelope], Fact]] = {
    "PROPOSE": Reading._propose,
    "ATTEST_PLAN": Reading._vote,
    "DECIDE": Reading._decide,
    "CLAIM": Reading._claim,
    "YIELD": Reading._yield,
    "RELEASE": Reading._release,
    "COMMIT": Reading._commit,
    "ATTEST": Reading.attest,
    "FINALIZE": Reading.finalize,
    "UPDATE_PLAN": Reading._update,
    "RECONCILE": Reading._reconcile,
}


def add_verb(kind: str, judge: Callable[[Reading, Envelope], Fact]) -> None:
    """Have another module judge a kind."""
    _JUDGES[kind] = judge
