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
from swarmd.protocol.work import committees, deciding
from swarmd.protocol.work import plan as states
from swarmd.protocol.work.need import Attest, Claim, Commit, Need, Proposal, Run, TaskSpec

ROUND_NS = 2_500_000_000  # the first round; each next one takes twice as long, up to
MAX_ROUND_NS = 60 * S_NS
VOTE_BACKUP_NS = 1_000_000_000
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
    if not need.since_ns:
        # Rounds are no help as long as nobody could propose anything.
        if not need.proposals and _chosen(state, need) is None:
            return
        need.since_ns = state.now_ns
    _recall(state, need)
    _skip(state, need, committee, out)
    _propose(state, need, committee, out)
    _vote(state, need, committee, rank, out)
    _decide(state, need, committee, out)


def _recall(state: State, need: Need) -> None:
    """Mind what we said and only heard again: of a node that was restored from a backup others know more than it."""
    for proposal in need.proposals.values():
        if state.me in need.votes.get(proposal.id, ()):
            need.voted.setdefault(proposal.round, proposal.id)
            need.promised = max(need.promised, proposal.round)
    for skip in need.skips.values():
        if skip.voter == state.me:
            need.promised = max(need.promised, skip.round)


def _chosen(state: State, need: Need) -> dict[str, list[list[Any]]] | None:
    """A plan for all tasks; None, with what it waits for, if there is none to be made now."""
    plan: dict[str, list[list[Any]]] = {}
    for spec in need.all_specs():
        found = candidates(state, need, spec)
        if not found:
            need.waiting_for = (
                f"an agent that offers {spec.capability} for at most {spec.max_price} minor units"
            )
            state.waiting[need.id] = None
            return None
        plan[spec.id] = [[did, price] for price, did in found]
    # An owner can add more than one proposal can refer to or plan.
    if len(need.updates) >= limits.MAX_REFS // 2 or len(plan) > limits.MAX_TASKS_PER_NEED:
        need.waiting_for = "a smaller plan: more updates or tasks than a proposal can hold"
        return None
    need.waiting_for = ""
    state.waiting.pop(need.id, None)
    return plan


def round_start_ns(round_: int) -> int:
    """Nanoseconds after the need could be planned: 0, 2.5 s, 7.5 s, 17.5 s, ... at last one a minute."""
    start_ns, length_ns = 0, ROUND_NS
    for _ in range(round_):
        start_ns += length_ns
        length_ns = min(2 * length_ns, MAX_ROUND_NS)
    return start_ns


def _round_by_time(state: State, need: Need) -> int:
    round_ = 0
    while state.now_ns >= need.since_ns + round_start_ns(round_ + 1):
        round_ += 1
    return round_


def _skip(state: State, need: Need, committee: Committee, out: list[Effect]) -> None:
    """Ask for the next round when this one has taken too long, or when others ask and it has for us too."""
    if len(committee.members) == 1 or _decidable(need, committee):
        return
    wanted, ours = need.promised + 1, _round_by_time(state, need)
    if ours < wanted:
        _due(state, need, need.since_ns + round_start_ns(wanted), out, "round", wanted)
        # Others may have begun to count earlier; one round ahead of our own count we go with them.
        if ours == 0 or not any(skip.round == wanted == ours + 1 for skip in need.skips.values()):
            return
    own = [need.votes.get(proposal, {}).get(state.me) for proposal in need.voted.values()]
    if None in own:
        return  # our vote is on its way into the journal: a skip must show it
    need.promised = wanted = max(wanted, ours)
    payload = {"verdict": "skip", "round": wanted, "reason": "no decision in time"}
    latest = need.votes[need.voted[max(need.voted)]][state.me] if need.voted else None
    state.draft(
        out, need.id, kinds.ATTEST_PLAN, payload, (need.envelope, latest) if latest else (need.envelope,)
    )
    _due(state, need, need.since_ns + round_start_ns(wanted + 1), out, "round", wanted + 1)


def _decidable(need: Need, committee: Committee) -> bool:
    return any(len(votes) >= committee.quorum for votes in need.votes.values())


def _propose(state: State, need: Need, committee: Committee, out: list[Effect]) -> None:
    round_ = need.promised
    if committee.proposer(round_) != state.me or ("proposed", round_) in need.done_here:
        return
    by_voter = {skip.voter: skip for skip in need.skips.values() if skip.round == round_}
    skips = [by_voter[did] for did in committee.members if did in by_voter][: committee.quorum]
    if round_ and len(skips) < committee.quorum:
        return
    values = deciding.latest_values(need, skips)
    if len(values) > 1:
        return  # their proposer signed two in one round: nobody can tell which was decided
    if values:
        repeated = need.proposals[values.pop()]
        plan, lease_s, updates = repeated.plan, repeated.lease_s, repeated.updates
    else:
        fresh = _chosen(state, need)
        if fresh is None:
            return
        plan, lease_s, updates = fresh, state.lease_s, tuple(need.updates)
    if _once(need, "proposed", round_):
        state.draft(
            out,
            need.id,
            kinds.PROPOSE,
            {"round": round_, "lease_s": lease_s, "plan": plan},
            (need.envelope, *updates, *(skip.id for skip in skips)),
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
    """For the proposal of the latest round, once a round, and for none below what we promised."""
    for proposal in sorted(need.proposals.values(), key=lambda p: (-p.round, p.id)):
        if proposal.round < need.promised or proposal.round in need.voted:
            return
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
        # The first K are enough as a rule.
        if (
            proposal.round == 0
            and rank >= committee.quorum
            and not _due(state, need, need.since_ns + VOTE_BACKUP_NS, out, "vote")
        ):
            return
        # Two votes in one round are slashable, and so is one below a round that we asked for.
        need.voted[proposal.round] = proposal.id
        need.promised = proposal.round
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
