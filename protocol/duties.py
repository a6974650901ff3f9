"""What this node must do next about a need: propose, vote, decide, claim, judge, finalise, release, expire.

Looks at a record and drafts envelopes; each duty is done once (`need.done_here`). Ranks stagger the members of
a committee: the first K act at once, the others only when time shows that they are needed.
"""

from hashlib import sha256
from typing import Any

from swarmd.protocol import kinds, limits
from swarmd.protocol.cbor import Link
from swarmd.protocol.consensus.committee import Committee
from swarmd.protocol.effects import Effect, Judge, RunAgent
from swarmd.protocol.identity.manifest import TTL_NS
from swarmd.protocol.limits import S_NS
from swarmd.protocol.state import JobRef, State
from swarmd.protocol.work import committees
from swarmd.protocol.work import plan as states
from swarmd.protocol.work.need import Attest, Claim, Commit, Need, Proposal, Run, TaskSpec

PROPOSE_BACKUP_NS = 2_500_000_000
VOTE_BACKUP_NS = 1_000_000_000
# A vote is given once. Where nodes are slow a backup's proposal may be first at some and second at others; who waits
# for those of better rank to be heard splits the committee less often.
VOTE_PATIENCE_NS = 700_000_000
CERTIFY_BACKUP_NS = 700_000_000
JUDGE_BACKUP_NS = 5 * S_NS
RELEASE_STAGGER_NS = S_NS
EXPIRE_STAGGER_NS = 5 * S_NS
SHORTLIST = 3
UNRELIABLE = 30  # of 100: two failures more than results accepted, for a newcomer


def attend(state: State, need: Need, tasks: list[str] | None, out: list[Effect]) -> None:
    """Do what is due about `need`; `tasks` limits the look to tasks that moved (None: all)."""
    if need.complete() or need.closed is not None:
        state.waiting.pop(need.id, None)
        return
    escrow = state.ledger.escrows.get(need.id)
    if escrow is None or escrow.state == "waiting":
        need.waiting_for = "the owner's money: its balance does not cover the budget"
        return
    if _expire(state, need, out):
        return
    if need.decided is None:
        _plan(state, need, out)
        return
    state.waiting.pop(need.id, None)
    need.waiting_for = ""
    proposal = need.proposal()
    assert proposal is not None
    names = list(need.runs) if tasks is None else _with_children(need, tasks)
    for name in names:
        run = need.runs.get(name)
        if run is not None and run.state != states.FINALIZED:
            _attend_task(state, need, proposal, name, run, out)


def _with_children(need: Need, tasks: list[str]) -> list[str]:
    names = dict.fromkeys(tasks)
    for task in tasks:
        names.update(dict.fromkeys(need.graph.children(task)))
    return list(names)


def _once(need: Need, *key: Any) -> bool:
    if key in need.done_here:
        return False
    need.done_here.add(key)
    return True


def _due(state: State, need: Need, at_ns: int, out: list[Effect], *key: Any) -> bool:
    """Is it time? If not, be woken then."""
    if state.now_ns >= at_ns:
        return True
    if _once(need, "armed", at_ns, *key):
        state.arm(out, at_ns, need.id)
    return False


def _expire(state: State, need: Need, out: list[Effect]) -> bool:
    at_ns = need.deadline_ns + state.genesis.expiry_grace_s * S_NS
    if state.me != need.owner:
        roster = state.genesis.roster
        if state.me not in roster:
            return False
        at_ns += (1 + roster.index(state.me)) * EXPIRE_STAGGER_NS
    if not _due(state, need, at_ns, out, "expire"):
        return False
    if _once(need, "expired"):
        reason = need.waiting_for or "not all results came in time"
        state.draft(
            out,
            need.id,
            kinds.FINALIZE,
            {"outcome": "expired", "reason": reason[:500]},
            (need.envelope,),
        )
    return True


# Deciding ------------------------------------------------------------------------------------------------


def _plan(state: State, need: Need, out: list[Effect]) -> None:
    committee = committees.plan_committee(state.genesis, need, need.epoch)
    rank = committee.rank(state.me)
    if rank is None:
        return
    if not need.proposals:
        if _due(state, need, need.ts_ns + rank * PROPOSE_BACKUP_NS, out, "propose"):
            _propose(state, need, out)
        return
    _vote(state, need, committee, rank, out)
    _decide(state, need, committee, out)


def _propose(state: State, need: Need, out: list[Effect]) -> None:
    plan: dict[str, list[list[Any]]] = {}
    for spec in need.all_specs():
        found = candidates(state, need, spec)
        if not found:
            need.waiting_for = (
                f"an agent that offers {spec.capability} for at most {spec.max_price} minor units"
            )
            state.waiting[need.id] = None
            return
        plan[spec.id] = [[did, price] for price, did in found]
    # An owner can add more than one proposal can refer to or plan.
    if len(need.updates) >= limits.MAX_REFS or len(plan) > limits.MAX_TASKS_PER_NEED:
        need.waiting_for = "a smaller plan: more updates or tasks than a proposal can hold"
        return
    need.waiting_for = ""
    state.waiting.pop(need.id, None)
    if _once(need, "proposed", need.epoch):
        state.draft(
            out,
            need.id,
            kinds.PROPOSE,
            {"round": 0, "lease_s": state.lease_s, "plan": plan},
            (need.envelope, *need.updates),
        )


def candidates(state: State, need: Need, spec: TaskSpec) -> list[tuple[int, str]]:
    """Who could do a task, best first: by price, then reputation, then a hash that spreads the load."""
    found = []
    for did, manifest in state.manifests.items():
        price = manifest.offers.get(spec.capability)
        if price is None or price > spec.max_price or state.now_ns - manifest.issued_ns > TTL_NS:
            continue
        spread = sha256(f"{need.id}/{spec.id}/{did}".encode()).digest()
        # Who failed again and again comes last whatever it asks: a low price must not buy the right to stall.
        rates = state.rates(did)
        found.append((rates < UNRELIABLE, price, -rates, spread, did))
    return [(price, did) for _, price, _, _, did in sorted(found)[:SHORTLIST]]


def _acceptable(state: State, proposal: Proposal) -> bool:
    """Do the manifests we know back the proposal's workers and prices?"""
    for task, workers in proposal.plan.items():
        del task
        for did, _ in workers:
            if did not in state.manifests:
                return False
    return True


def _backed(state: State, proposal: Proposal) -> bool:
    for task, workers in proposal.plan.items():
        capability = proposal.specs[task].capability
        for did, price in workers:
            offer = state.manifests[did].offers.get(capability)
            if offer is None or offer > price:
                return False
    return True


def _vote(state: State, need: Need, committee: Committee, rank: int, out: list[Effect]) -> None:
    if ("voted", need.epoch) in need.done_here:
        return
    if rank >= committee.quorum and not _due(state, need, need.ts_ns + VOTE_BACKUP_NS, out, "vote"):
        return
    for proposal in sorted(need.proposals.values(), key=lambda p: (committee.rank(p.sender), p.id)):
        if not _acceptable(state, proposal):
            need.waiting_for = "the offers of the workers in the proposed plan"
            state.waiting[need.id] = None
            continue
        if not _backed(state, proposal):
            if _once(need, "rejected", proposal.id):
                state.draft(
                    out,
                    need.id,
                    kinds.ATTEST_PLAN,
                    {"verdict": "reject", "reason": "a price or capability that its worker does not offer"},
                    (proposal.id,),
                )
            continue
        better = committee.rank(proposal.sender) or 0
        heard_ns = need.heard_ns.setdefault(proposal.id, state.now_ns)
        if not _due(state, need, heard_ns + better * VOTE_PATIENCE_NS, out, "vote", proposal.id):
            return
        # At most one accepted proposal per (need, epoch): signing two is slashable.
        if _once(need, "voted", need.epoch):
            state.draft(
                out,
                need.id,
                kinds.ATTEST_PLAN,
                {"verdict": "accept", "reason": "workers and prices are as offered"},
                (proposal.id,),
            )
        return


def _decide(state: State, need: Need, committee: Committee, out: list[Effect]) -> None:
    for proposal in need.proposals.values():
        votes = need.votes.get(proposal.id, {})
        if len(votes) < committee.quorum:
            continue
        # Who cast the completing vote decides at once; the others only if that is not heard of.
        mine = votes.get(state.me)
        last = max(votes.values(), key=lambda vote: need.seen[vote])
        if mine != last and not _due(
            state, need, need.seen[last][1] + CERTIFY_BACKUP_NS, out, "decide", proposal.id
        ):
            continue
        if _once(need, "decided", need.epoch, proposal.id):
            chosen = sorted(votes.values(), key=lambda vote: (need.seen[vote], vote))[: committee.quorum]
            state.draft(
                out,
                need.id,
                kinds.DECIDE,
                {"round": proposal.round, "k": committee.quorum},
                (proposal.id, *chosen),
            )


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
    if not _once(need, "claimed", task, run.attempt, run.ending and run.ending.id):
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
    rank = committees.plan_committee(state.genesis, need, need.epoch).rank(state.me)
    if rank is None:
        return
    refs = attempt_refs(need, task, run)
    since_ns = max(need.seen[ref][1] for ref in refs)
    at_ns = since_ns + state.genesis.claim_timeout_s * S_NS + rank * RELEASE_STAGGER_NS
    if _due(state, need, at_ns, out, task) and _once(need, "released", task, run.attempt):
        payload = {"task": task, "attempt": run.attempt, "cause": "unclaimed"}
        state.draft(out, need.id, kinds.RELEASE, payload, refs)


def _release_expired(state: State, need: Need, task: str, claim: Claim, out: list[Effect]) -> None:
    rank = committees.plan_committee(state.genesis, need, need.epoch).rank(state.me)
    if rank is None:
        return
    at_ns = claim.until_ns + (1 + rank) * RELEASE_STAGGER_NS
    if _due(state, need, at_ns, out, task) and _once(need, "released", task, claim.attempt):
        payload = {"task": task, "attempt": claim.attempt, "cause": "expired"}
        state.draft(out, need.id, kinds.RELEASE, payload, (claim.id,))


def _refund(state: State, need: Need, task: str, run: Run, out: list[Effect]) -> None:
    rank = committees.plan_committee(state.genesis, need, need.epoch).rank(state.me)
    if rank is None or run.ending is None:
        return
    at_ns = run.ending.ts_ns + rank * RELEASE_STAGGER_NS
    if _due(state, need, at_ns, out, "refund") and _once(need, "refunded", task):
        reason = f"{task}: every candidate failed; last: {run.ending.cause}, {run.ending.reason}"[:500]
        payload = {"outcome": "refunded", "task": task, "reason": reason}
        state.draft(out, need.id, kinds.FINALIZE, payload, (run.ending.id,))


# Judging -------------------------------------------------------------------------------------------------


def _judge(
    state: State, need: Need, proposal: Proposal, task: str, commit: Commit, out: list[Effect]
) -> None:
    attests = [a for a in need.by_task.get("attests/" + task, ()) if a.commit == commit.id]
    gone = frozenset(a.judge for a in attests if a.verdict == "abstain")
    committee = committees.result_committee(state.genesis, need, task, need.epoch, commit.worker, gone)
    rank = committee.rank(state.me)
    if rank is None:
        return
    counted = [a for a in attests if a.judge in committee.members]
    if not _certify(state, need, task, commit, committee, counted, gone, attests, out):
        backup = commit.ts_ns + JUDGE_BACKUP_NS + 2_000_000 * commit.telemetry["wall_ms"]
        if rank < committee.quorum or _due(state, need, backup, out, "judge", commit.id):
            _start_judging(state, need, task, commit, out)


def _start_judging(state: State, need: Need, task: str, commit: Commit, out: list[Effect]) -> None:
    if not _once(need, "judged", commit.id):
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
        if by_judge.get(state.me) != last and not _due(
            state, need, need.seen[last][1] + CERTIFY_BACKUP_NS, out, "certify", commit.id
        ):
            return True
        if _once(need, "certified", commit.id, verdict):
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
