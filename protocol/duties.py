"""What this node must do next about a need: plan it (planning.py), claim, judge, finalise, release, expire.

Looks at a record and drafts envelopes; each duty is done once (`need.done_here`). Ranks stagger the members of
a committee: the first K act at once, the others only when time shows that they are needed.
"""

from typing import Any

from swarmd.protocol import kinds, limits, planning, reviewing
from swarmd.protocol.amounts import format_usdc
from swarmd.protocol.cbor import Link
from swarmd.protocol.consensus.committee import Committee
from swarmd.protocol.effects import Effect, Judge, RunAgent
from swarmd.protocol.limits import S_NS
from swarmd.protocol.state import NOBODY, JobRef, State
from swarmd.protocol.work import committees
from swarmd.protocol.work import plan as states
from swarmd.protocol.work.facts import Attest, Claim, Commit, Ending, Proposal, TaskSpec
from swarmd.protocol.work.need import Need, Run

JUDGE_BACKUP_NS = 5 * S_NS
RELEASE_STAGGER_NS = S_NS
EXPIRE_STAGGER_NS = 5 * S_NS
_NO_MONEY = "the owner's money: its balance does not cover the budget"


def attend(state: State, need: Need, tasks: list[str] | None, out: list[Effect]) -> None:
    """Do what is due about `need`; `tasks` limits the look to tasks that moved (None: all)."""
    if state.me == NOBODY:
        return
    if need.challenges:
        reviewing.attend(state, need, out)
    if need.complete() or need.closed is not None:
        state.waiting.pop(need.id, None)
        return
    if state.ledger.paid_for(need.id) is None:
        need.waiting_for = _NO_MONEY
        return
    if need.waiting_for == _NO_MONEY:
        # A checkpoint brought the money, and who does not sit in its committee has nothing else to say.
        need.waiting_for = ""
    if _expire(state, need, out):
        return
    if need.decided is None:
        planning.attend(state, need, out)
        return
    state.waiting.pop(need.id, None)
    need.waiting_for = ""
    proposal = need.proposal()
    assert proposal is not None
    if not _has_part(state, need, proposal):
        return
    names = list(need.runs) if tasks is None else _with_children(need, tasks)
    for name in names:
        run = need.runs.get(name)
        if run is not None and run.state != states.FINALIZED:
            _attend_task(state, need, proposal, name, run, out)


def _draw(need: Need) -> int:
    """The epoch of the decision that stands."""
    return need.decided.epoch if need.decided is not None else need.draw


def _has_part(state: State, need: Need, proposal: Proposal) -> bool:
    """Could it fall to us to work, to judge or to release? Of a large mesh, to few: the plan's workers and verifiers."""
    me, seats = state.me, state.terms.seats
    return (
        me in seats(_draw(need)).places
        or me in seats(proposal.draw).places
        or any(worker == me for workers in proposal.plan.values() for worker, _ in workers)
    )


def _with_children(need: Need, tasks: list[str]) -> list[str]:
    names = dict.fromkeys(tasks)
    for task in tasks:
        names.update(dict.fromkeys(need.graph.children(task)))
    return list(names)


def _expire(state: State, need: Need, out: list[Effect]) -> bool:
    at_ns = need.deadline_ns + state.genesis.expiry_grace_s * S_NS
    if state.me != need.owner:
        place = state.terms.seats(state.epoch).places.get(state.me)
        if place is None:
            return False
        at_ns += (1 + place) * EXPIRE_STAGGER_NS
    if not state.due(need, at_ns, out, "expire"):
        return False
    if need.once("expired"):
        reason = _why_expired(state, need)
        state.draft(
            out,
            need.id,
            kinds.FINALIZE,
            {"outcome": "expired", "reason": reason[:500]},
            (need.envelope,),
        )
    return True


def _why_expired(state: State, need: Need) -> str:
    """What was missing, as far as we know: an owner that plans nothing itself knows who offers what, and who voted."""
    if need.decided is not None:
        return "not all results came in time"
    for spec in need.all_specs():
        if not planning.candidates(state, need, spec):
            return f"nobody offered {spec.capability} for at most {format_usdc(spec.max_price)} USDC"
    if need.waiting_for:
        return f"it waited for {need.waiting_for}"
    return "no plan had votes enough in time" if need.proposals else "nobody proposed a plan in time"


# Working -------------------------------------------------------------------------------------------------


def _attend_task(
    state: State, need: Need, proposal: Proposal, task: str, run: Run, out: list[Effect]
) -> None:
    if run.state == states.FAILED:
        _refund(state, need, task, run, out)
        return
    if not need.parents_final(task):
        return
    if run.commit is not None:
        _judge(state, need, proposal, task, run.commit, out)
    if run.claim is None:
        worker = proposal.plan[task][run.attempt][0]
        if worker == state.me:
            _claim(state, need, task, run, out)
        _release_unclaimed(state, need, task, run, out)
    elif run.state == states.CLAIMED or run.commit is not None:
        _release_expired(state, need, task, run.claim, out)


def attempt_refs(need: Need, task: str, run: Run) -> tuple[bytes, ...]:
    """What an envelope about the current attempt refers to: the decision, the last ending, the parents' results."""
    assert need.decided is not None
    refs = [need.decided.id]
    if run.ending is not None:
        refs.append(run.ending.id)
    spec = need.spec(task)
    for parent in spec.parents if spec else ():
        final = need.runs[parent].final
        assert final is not None
        refs.append(final.id)
    return tuple(refs)


def _claim(state: State, need: Need, task: str, run: Run, out: list[Effect]) -> None:
    spec = need.spec(task)
    assert spec is not None
    if not need.once("claimed", task, run.attempt, run.ending and run.ending.id, *need.basis(task)):
        return
    own = state.manifests.get(state.me)
    refs = attempt_refs(need, task, run)
    if own is None or spec.capability not in own.offers:
        payload = {"task": task, "attempt": run.attempt, "reason": f"no agent for {spec.capability} now"}
        state.draft(out, need.id, kinds.YIELD, payload, refs)
        return
    payload = {"task": task, "attempt": run.attempt, "lease_s": state.lease_s}
    state.draft(out, need.id, kinds.CLAIM, payload, refs)


def start_work(state: State, need: Need, claim: Claim, out: list[Effect]) -> None:
    """Our claim stands: run the agent."""
    spec = need.spec(claim.task)
    assert spec is not None
    job_id = "work-" + claim.id.hex()[8:40]
    state.jobs[job_id] = JobRef(need.id, claim.task, claim.id)
    out.append(
        RunAgent(
            job_id=job_id,
            need=need.id,
            task=claim.task,
            capability=spec.capability,
            input=_bindings(need, spec),
            holders=_holders(need, spec),
            until_ns=claim.until_ns,
        )
    )


def _bindings(need: Need, spec: TaskSpec) -> dict[str, dict[str, Any]]:
    bound: dict[str, dict[str, Any]] = {}
    for argument, binding in spec.input.items():
        if "cid" in binding:
            bound[argument] = {"cid": bytes(binding["cid"]), "as": binding["as"]}
        else:
            final = need.runs[binding["task"]].final
            assert final is not None
            bound[argument] = {"cid": final.result, "pointer": binding["pointer"]}
    return bound


def _holders(need: Need, spec: TaskSpec) -> tuple[str, ...]:
    workers = [final.worker for parent in spec.parents if (final := need.runs[parent].final)]
    return tuple(dict.fromkeys((*workers, need.owner)))


def _release_unclaimed(state: State, need: Need, task: str, run: Run, out: list[Effect]) -> None:
    rank = committees.plan_committee(state.terms, need, _draw(need)).rank(state.me)
    if rank is None:
        return
    refs = attempt_refs(need, task, run)
    since_ns = max(need.seen[ref][1] for ref in refs)
    at_ns = since_ns + state.genesis.claim_timeout_s * S_NS + rank * RELEASE_STAGGER_NS
    if state.due(need, at_ns, out, task) and need.once("released", task, run.attempt, *need.basis(task)):
        payload = {"task": task, "attempt": run.attempt, "cause": "unclaimed"}
        state.draft(out, need.id, kinds.RELEASE, payload, refs)


def _release_expired(state: State, need: Need, task: str, claim: Claim, out: list[Effect]) -> None:
    rank = committees.plan_committee(state.terms, need, _draw(need)).rank(state.me)
    if rank is None:
        return
    at_ns = claim.until_ns + (1 + rank) * RELEASE_STAGGER_NS
    if state.due(need, at_ns, out, task) and need.once("released", task, claim.attempt, *claim.basis):
        payload = {"task": task, "attempt": claim.attempt, "cause": "expired"}
        state.draft(out, need.id, kinds.RELEASE, payload, (claim.id,))


def _refund(state: State, need: Need, task: str, run: Run, out: list[Effect]) -> None:
    rank = committees.plan_committee(state.terms, need, _draw(need)).rank(state.me)
    if rank is None or run.ending is None:
        return
    at_ns = run.ending.ts_ns + rank * RELEASE_STAGGER_NS
    if state.due(need, at_ns, out, "refund") and need.once("refunded", task):
        reason = f"{task}: every candidate failed; last: {_what_ended(need, run.ending)}"[:500]
        payload = {"outcome": "refunded", "task": task, "reason": reason}
        state.draft(out, need.id, kinds.FINALIZE, payload, (run.ending.id,))


def _what_ended(need: Need, ending: Ending) -> str:
    """Why the last attempt failed, for people. Of a lease that ran out, what it ran out waiting for."""
    if ending.cause != "expired":
        return f"{ending.cause}, {ending.reason}"
    attempt = (ending.proposal, ending.task, ending.attempt)
    claims = {c.id for c in need.claims.values() if (c.proposal, c.task, c.attempt) == attempt}
    delivered = {c.id for c in need.commits.values() if c.claim in claims}
    if not delivered:
        return f"{ending.cause}, its worker took it and delivered nothing before {ending.reason}"
    abstained = [a for a in need.attests.values() if a.commit in delivered and a.verdict == "abstain"]
    if abstained:
        reasons = sorted({a.reason for a in abstained})
        return f"a result was delivered and nobody could judge it: {'; '.join(reasons)}"
    return "a result was delivered and not judged before the lease ran out"


# Judging -------------------------------------------------------------------------------------------------


def _judge(
    state: State, need: Need, proposal: Proposal, task: str, commit: Commit, out: list[Effect]
) -> None:
    attests = [a for a in need.by_task.get("attests/" + task, ()) if a.commit == commit.id]
    gone = frozenset(a.judge for a in attests if a.verdict == "abstain")
    committee = committees.result_committee(
        state.terms, need, task, committees.draw_of(need, commit), commit.worker, gone
    )
    rank = committee.rank(state.me)
    if rank is None:
        return
    counted = [a for a in attests if a.judge in committee.members]
    if not _certify(state, need, task, commit, committee, counted, gone, attests, out):
        backup = commit.ts_ns + JUDGE_BACKUP_NS + 2_000_000 * commit.telemetry["wall_ms"]
        if rank < committee.quorum or state.due(need, backup, out, "judge", commit.id):
            _start_judging(state, need, task, commit, out)


def _start_judging(state: State, need: Need, task: str, commit: Commit, out: list[Effect]) -> None:
    if not need.once("judged", commit.id):
        return
    spec = need.spec(task)
    assert spec is not None
    job_id = "judge-" + commit.id.hex()[8:40]
    state.jobs[job_id] = JobRef(need.id, task, commit.id)
    out.append(
        Judge(
            job_id=job_id,
            need=need.id,
            task=task,
            capability=spec.capability,
            input=_bindings(need, spec),
            verify=spec.verify,
            result=commit.result,
            size=commit.size,
            telemetry=commit.telemetry,
            holders=(commit.worker, *_holders(need, spec)),
            until_ns=need.deadline_ns,
        )
    )


def _certify(
    state: State,
    need: Need,
    task: str,
    commit: Commit,
    committee: Committee,
    counted: list[Attest],
    gone: frozenset[str],
    attests: list[Attest],
    out: list[Effect],
) -> bool:
    """If a quorum agrees, say so with the certificate. True if there was a quorum."""
    excused = [a.id for a in attests if a.judge in gone and a.verdict == "abstain"]
    for verdict in ("accept", "reject"):
        by_judge = {a.judge: a.id for a in counted if a.verdict == verdict}
        if len(by_judge) < committee.quorum:
            continue
        last = max(by_judge.values(), key=lambda attest: need.seen[attest])
        if by_judge.get(state.me) != last and not state.due(
            need, need.seen[last][1] + planning.CERTIFY_BACKUP_NS, out, "certify", commit.id
        ):
            return True
        if need.once("certified", commit.id, verdict):
            chosen = sorted(by_judge.values(), key=lambda a: (need.seen[a], a))[: committee.quorum]
            refs = (commit.id, *chosen, *excused)[: limits.MAX_REFS]
            claim = need.claims[commit.claim]
            if verdict == "accept":
                payload: dict[str, Any] = {
                    "outcome": "accepted",
                    "task": task,
                    "result": Link(commit.result),
                }
                state.draft(out, need.id, kinds.FINALIZE, payload, refs)
            else:
                payload = {"task": task, "attempt": claim.attempt, "cause": "rejected"}
                state.draft(out, need.id, kinds.RELEASE, payload, refs)
        return True
    return False
