"""What this node must do about challenges: judge a result again if it is in the challenge's committee, and say what
the committee came to. The rules are those of `work/challenging.py`.
"""

from typing import Any

from swarmd.protocol import kinds, limits
from swarmd.protocol.consensus.committee import Committee
from swarmd.protocol.effects import Effect, Judge
from swarmd.protocol.inputs import Judged
from swarmd.protocol.limits import S_NS
from swarmd.protocol.state import JobRef, State
from swarmd.protocol.work import challenging
from swarmd.protocol.work.facts import Challenge, Review, TaskSpec
from swarmd.protocol.work.need import Need

BACKUP_NS = (
    5 * S_NS
)  # after the challenge, and twice what the work took: then those beyond the first K judge too
CERTIFY_BACKUP_NS = 700_000_000
MIN_JUDGING_S = 60  # the need's deadline may be past


def attend(state: State, need: Need, out: list[Effect]) -> None:
    """Do what is due about the challenges of `need` whose bond is paid."""
    for challenge in list(need.challenges.values()):
        escrow = state.ledger.escrows.get(challenge.bond)
        if escrow is None or escrow.state != "funded":
            continue
        if challenging.outcome(need, challenge) == challenging.PENDING:
            _attend(state, need, challenge, out)


def _attend(state: State, need: Need, challenge: Challenge, out: list[Effect]) -> None:
    reviews = [review for review in need.reviews.values() if review.challenge == challenge.id]
    gone = frozenset(review.judge for review in reviews if review.verdict == "abstain")
    committee = challenging.review_committee(
        state.terms, need, need.finals[challenge.final], challenge.challenger, gone
    )
    rank = committee.rank(state.me)
    if rank is None or _certify(state, need, challenge, committee, reviews, gone, out):
        return
    commit = need.commits[challenge.commit]
    backup_ns = challenge.ts_ns + BACKUP_NS + 2_000_000 * commit.telemetry["wall_ms"]
    if rank < committee.quorum or state.due(need, backup_ns, out, "review", challenge.id):
        _start(state, need, challenge, out)


def _start(state: State, need: Need, challenge: Challenge, out: list[Effect]) -> None:
    if not need.once("reviewed", challenge.id):
        return
    commit = need.commits[challenge.commit]
    claim = need.claims[commit.claim]
    spec = need.proposals[claim.proposal].specs[claim.task]
    job_id = "review-" + challenge.id.hex()[8:40]
    state.jobs[job_id] = JobRef(need.id, challenge.task, challenge.id)
    bound, makers = _inputs(need, spec, claim.basis)
    out.append(
        Judge(
            job_id=job_id,
            need=need.id,
            task=challenge.task,
            capability=spec.capability,
            input=bound,
            verify={"type": "reexec"},  # whatever its owner asked for: that is what let it pass
            result=commit.result,
            size=commit.size,
            telemetry=commit.telemetry,
            holders=tuple(dict.fromkeys((commit.worker, challenge.challenger, *makers, need.owner))),
            until_ns=max(need.deadline_ns, state.now_ns + max(MIN_JUDGING_S, need.window_s) * S_NS),
        )
    )


def _inputs(
    need: Need, spec: TaskSpec, basis: tuple[bytes, ...]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """What the work was done on, and who made it: the parents' results of then, not those that stand now."""
    made = {need.commits[ref].task: need.commits[ref] for ref in basis}
    bound = {
        argument: (
            {"cid": bytes(binding["cid"]), "as": binding["as"]}
            if "cid" in binding
            else {"cid": made[binding["task"]].result, "pointer": binding["pointer"]}
        )
        for argument, binding in spec.input.items()
    }
    return bound, [commit.worker for commit in made.values()]


def judged(state: State, need: Need, subject: bytes, given: Judged, out: list[Effect]) -> None:
    """Our judgement of a challenged result is there."""
    challenge = need.challenges[subject]
    reviews = [review for review in need.reviews.values() if review.challenge == challenge.id]
    if any(review.judge == state.me for review in reviews):
        return  # said by a life that a backup does not know of: two judgements might differ
    excused = [review.id for review in reviews if review.verdict == "abstain"]
    payload = {
        "task": challenge.task,
        "verdict": given.verdict,
        "score": given.score,
        "reason": given.reason[:500],
    }
    refs = (challenge.id, *excused)[: limits.MAX_REFS]
    state.draft(out, need.id, kinds.ATTEST, payload, refs)


def _certify(
    state: State,
    need: Need,
    challenge: Challenge,
    committee: Committee,
    reviews: list[Review],
    gone: frozenset[str],
    out: list[Effect],
) -> bool:
    """If a quorum agrees, say what it came to. True if there was a quorum."""
    excused = [review.id for review in reviews if review.verdict == "abstain"]
    for verdict in ("reject", "accept"):
        by_judge = {
            review.judge: review.id
            for review in reviews
            if review.verdict == verdict and review.judge in committee.members
        }
        if len(by_judge) < committee.quorum:
            continue
        last = max(by_judge.values(), key=lambda review: need.seen[review])
        if by_judge.get(state.me) != last and not state.due(
            need, need.seen[last][1] + CERTIFY_BACKUP_NS, out, "rule", challenge.id
        ):
            return True
        if need.once("ruled", challenge.id, verdict):
            chosen = sorted(by_judge.values(), key=lambda ref: (need.seen[ref], ref))[: committee.quorum]
            refs = (challenge.id, *chosen, *excused)[: limits.MAX_REFS]
            payload: dict[str, Any] = {"task": challenge.task, "reason": need.reviews[chosen[0]].reason}
            if verdict == "reject":
                state.draft(out, need.id, kinds.INVALIDATE, payload, refs)
            else:
                state.draft(out, need.id, kinds.FINALIZE, {"outcome": "dismissed", **payload}, refs)
        return True
    return False
