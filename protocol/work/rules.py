"""What each verb may do: one function a verb, in a table.

A rule looks only at the envelope, at what it refers to, and at what genesis fixes; never at what else happened to
have arrived. So every node voids the same envelopes, whatever the order of delivery. A void envelope stays on
record with its reason (`swarmd why` shows it) and moves nothing.
"""

from collections.abc import Callable
from typing import Any

from swarmd.protocol import kinds, limits
from swarmd.protocol.consensus import committee
from swarmd.protocol.consensus.committee import Committee
from swarmd.protocol.envelope import Envelope, need_id
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.limits import S_NS
from swarmd.protocol.work import plan as states
from swarmd.protocol.work.need import (
    Attest,
    Claim,
    Closing,
    Commit,
    Decide,
    Ending,
    Final,
    Need,
    Proposal,
    TaskSpec,
    task_spec,
)


class Void(Exception):
    """This envelope moves nothing; the text says why."""


def plan_committee(genesis: Genesis, need: Need, epoch: int) -> Committee:
    """The committee that decides about `need`: drawn from the roster, the owner only if nobody else is there."""
    order = committee.ranked(genesis.roster, "plan", need.id, "", epoch)
    return committee.draw(order, committee.k_plan(len(genesis.roster), genesis), {need.owner})


def result_committee(
    genesis: Genesis, need: Need, task: str, epoch: int, worker: str, abstained: frozenset[str]
) -> Committee:
    """The committee that judges a result of `worker`; members that abstained are replaced by the next in rank."""
    order = committee.ranked(genesis.roster, "result", need.id, task, epoch)
    k = committee.k_result(len(genesis.roster), genesis)
    return committee.draw([did for did in order if did not in abstained], k, {need.owner, worker})


def misplaced(envelope: Envelope) -> str:
    """Why a NEED cannot be what its thread is about, or "" if it can.

    A misplaced one leaves no trace: it comes from another chain than the true NEED, so nodes hear the two in
    either order, and a stranger must not be able to block a thread whose id it can foresee.
    """
    if envelope.thread != need_id(envelope.sender, envelope.payload["fund"]["seq"]):
        return "the id is not that of the sender's account entry"
    return f"epoch {envelope.epoch} has no roster" if envelope.epoch != 0 else ""


def open_need(envelope: Envelope) -> Need:
    """The record of a NEED that is not `misplaced`. Raises Void if it contradicts itself."""
    payload = envelope.payload
    if reason := misplaced(envelope):
        raise Void(reason)
    specs = [task_spec(task) for task in payload["tasks"]]
    check_graph(specs)
    cheapest = sum(spec.max_price for spec in specs)
    need = Need(
        id=envelope.thread,
        owner=envelope.sender,
        envelope=envelope.id,
        epoch=envelope.epoch,
        lamport=envelope.lamport,
        ts_ns=envelope.ts_ns,
        title=payload["title"],
        budget=payload["budget"],
        deadline_ns=payload["deadline_ns"],
        tasks={spec.id: spec for spec in specs},
    )
    if cheapest > payload["budget"]:
        raise Void("the tasks' top prices add up to more than the budget")
    if payload["deadline_ns"] - envelope.ts_ns > limits.MAX_DEADLINE_S * S_NS:
        raise Void(f"the deadline is more than {limits.MAX_DEADLINE_S} s away")
    need.seen[envelope.id] = (envelope.lamport, envelope.ts_ns)
    for spec, raw in zip(specs, payload["tasks"], strict=True):
        _plan_task(need, spec, raw, envelope)
    need.derive_all()
    return need


def _known_epoch(envelope: Envelope) -> None:
    # The roster is genesis' until checkpoints move it; another epoch would draw another committee at will.
    if envelope.epoch != 0:
        raise Void(f"epoch {envelope.epoch} has no roster")


def _plan_task(need: Need, spec: TaskSpec, raw: Any, envelope: Envelope) -> None:
    need.plan.add_task(spec.id, raw, envelope.lamport, envelope.id)
    for parent in spec.parents:
        need.plan.link(parent, spec.id)


def check_graph(specs: list[TaskSpec]) -> None:
    """Unique ids, known parents, no cycle; Void names what is wrong."""
    parents = {spec.id: set(spec.parents) for spec in specs}
    if len(parents) != len(specs):
        raise Void("two tasks have one id")
    edges = 0
    for spec in specs:
        edges += len(spec.parents)
        unknown = parents[spec.id] - parents.keys()
        if unknown:
            raise Void(f"task {spec.id} comes after {min(unknown)}, which does not exist")
        if len(spec.parents) > 48:
            raise Void(f"task {spec.id} has more than 48 parents")
    if edges > limits.MAX_EDGES_PER_NEED:
        raise Void("too many edges")
    ready = [task for task, above in parents.items() if not above]
    children: dict[str, list[str]] = {}
    for task, above in parents.items():
        for parent in above:
            children.setdefault(parent, []).append(task)
    done = 0
    while ready:
        task = ready.pop()
        done += 1
        for child in children.get(task, ()):
            parents[child].discard(task)
            if not parents[child]:
                ready.append(child)
    if done != len(parents):
        cycle = sorted(task for task, above in parents.items() if above)
        raise Void(f"the tasks wait for each other: {', '.join(cycle[:8])}")


def apply(genesis: Genesis, need: Need, envelope: Envelope) -> tuple[str, list[str] | None]:
    """Take one envelope whose refs are all on record.

    Returns (void reason or "", the tasks that moved; None for all of them).
    """
    need.seen[envelope.id] = (envelope.lamport, envelope.ts_ns)
    try:
        _known_epoch(envelope)
        for ref in envelope.refs:
            if need.seen[ref][0] >= envelope.lamport:
                raise Void("its lamport is not after that of what it refers to")
        rule = _RULES.get(envelope.kind)
        if rule is None:
            raise Void(f"{envelope.kind} does nothing in this version")
        return "", rule(genesis, need, envelope)
    except Void as void:
        need.void[envelope.id] = str(void)
        return str(void), []


def _first(refs: tuple[bytes, ...], known: dict[bytes, Any], what: str) -> Any:
    for ref in refs:
        found = known.get(ref)
        if found is not None:
            return found
    raise Void(f"it refers to no valid {what}")


def _member(committee: Committee, did: str) -> None:
    if did not in committee.members:
        raise Void("its sender is not in the committee")


def _update_plan(genesis: Genesis, need: Need, envelope: Envelope) -> list[str] | None:
    claimed = {
        claim.task
        for ref in envelope.refs
        if (claim := need.claims.get(ref)) is not None and claim.worker == envelope.sender
    }
    if envelope.sender != need.owner and not claimed:
        raise Void("only the owner, or a worker that refers to its claim, updates a plan")
    ops = envelope.payload["ops"]
    if envelope.sender != need.owner:
        # What is noted of the whole need, its anchor for one, is its owner's word.
        foreign = next(
            (op["task"] for op in ops if op["op"] == "ANNOTATE" and op["task"] not in claimed), None
        )
        if foreign is not None:
            raise Void(f"a worker notes something of {foreign or 'the need'}, which it has not claimed")
    added = tuple(task_spec(op["task"]) for op in ops if op["op"] == "ADD_TASK")
    if added:
        if envelope.sender != need.owner:
            raise Void("only the owner adds tasks")
        base = list(need.tasks.values()) + [
            spec for ref in envelope.refs for spec in need.updates.get(ref, ())
        ]
        check_graph(base + list(added))
    if any(op["op"] == "STATE" for op in ops):
        raise Void("states follow from the verbs of work, not from UPDATE_PLAN")
    fresh = {spec.id for spec in added}
    for op in ops:
        if op["op"] == "LINK" and op["child"] not in fresh:
            raise Void(f"a link into {op['child']}, which this update does not add")
    for op in ops:
        if op["op"] == "ADD_TASK":
            _plan_task(need, task_spec(op["task"]), op["task"], envelope)
        elif op["op"] == "LINK":
            need.plan.link(op["parent"], op["child"])
        else:
            need.plan.annotate(op["task"], op["key"], op["value"], envelope.lamport, envelope.id)
    if added:
        need.updates[envelope.id] = added
    return []


def _propose(genesis: Genesis, need: Need, envelope: Envelope) -> list[str] | None:
    _member(plan_committee(genesis, need, envelope.epoch), envelope.sender)
    if need.envelope not in envelope.refs:
        raise Void("it does not refer to the need")
    payload = envelope.payload
    if payload["round"] != 0:
        raise Void(f"round {payload['round']} has no committee")
    updates = [need.updates[ref] for ref in envelope.refs if ref in need.updates]
    specs = need.tasks if not updates else need.tasks | {spec.id: spec for added in updates for spec in added}
    if updates:
        check_graph(list(specs.values()))  # two updates that each stand alone may close a cycle together
    if payload["plan"].keys() != specs.keys():
        raise Void("it does not plan exactly the tasks of the need")
    total = 0
    for task, candidates in payload["plan"].items():
        if len({worker for worker, _ in candidates}) != len(candidates):
            raise Void(f"{task}: a worker twice")
        top = max(price for _, price in candidates)
        if top > specs[task].max_price:
            raise Void(f"{task}: {top} is over the top price {specs[task].max_price}")
        total += top
    if total > need.budget:
        raise Void("it costs more than the budget")
    need.proposals[envelope.id] = Proposal(
        id=envelope.id,
        sender=envelope.sender,
        round=payload["round"],
        lease_s=payload["lease_s"],
        plan=payload["plan"],
        specs=specs,
        lamport=envelope.lamport,
        ts_ns=envelope.ts_ns,
    )
    _set_states(need, payload["plan"], states.PROPOSED, envelope)
    return None if need.decided is None else []


def _set_states(need: Need, tasks: Any, state: str, envelope: Envelope) -> None:
    for task in tasks:
        need.plan.set_state(task, state, envelope.lamport, envelope.id)


def _attest_plan(genesis: Genesis, need: Need, envelope: Envelope) -> list[str] | None:
    proposal = _first(envelope.refs, need.proposals, "proposal")
    _member(plan_committee(genesis, need, envelope.epoch), envelope.sender)
    if envelope.payload["verdict"] != "accept":
        return []
    for other_id, (voter, other) in need.vote_of.items():
        if voter == envelope.sender and other != proposal.id:
            need.equivocators[voter] = (min(other_id, envelope.id), max(other_id, envelope.id))
    need.votes.setdefault(proposal.id, {}).setdefault(envelope.sender, envelope.id)
    need.vote_of[envelope.id] = (envelope.sender, proposal.id)
    return []


def _decide(genesis: Genesis, need: Need, envelope: Envelope) -> list[str] | None:
    proposal = _first(envelope.refs, need.proposals, "proposal")
    drawn = plan_committee(genesis, need, envelope.epoch)
    _member(drawn, envelope.sender)
    voters = {
        vote[0]: ref
        for ref in envelope.refs
        if (vote := need.vote_of.get(ref)) is not None and vote[1] == proposal.id
    }
    if len(voters) < drawn.quorum:
        raise Void(f"{len(voters)} votes of the committee, {drawn.quorum} are needed")
    said = envelope.payload["round"], envelope.payload["k"]
    if said != (proposal.round, drawn.quorum):
        raise Void(f"it says round {said[0]}, K {said[1]}; it is round {proposal.round}, K {drawn.quorum}")
    need.decides[envelope.id] = Decide(
        id=envelope.id,
        proposal=proposal.id,
        decider=envelope.sender,
        epoch=envelope.epoch,
        lamport=envelope.lamport,
        ts_ns=envelope.ts_ns,
        votes=tuple(sorted(voters.values())),
    )
    _set_states(need, proposal.plan, states.DECIDED, envelope)
    if need.derive_decided():
        return None
    return []


def _attempt_of(need: Need, envelope: Envelope) -> tuple[Proposal, str, int, str]:
    """The decided (proposal, task, attempt, candidate) that an envelope is about, checked against its refs."""
    decide = _first(envelope.refs, need.decides, "decision")
    proposal = need.proposals[decide.proposal]
    task, attempt = envelope.payload["task"], envelope.payload["attempt"]
    candidates = proposal.plan.get(task)
    if candidates is None or attempt >= len(candidates):
        raise Void("no such task or attempt in the decided plan")
    if attempt > 0 and not any(
        (ending := need.endings.get(ref)) is not None
        and ending.proposal == proposal.id
        and ending.task == task
        and ending.attempt == attempt - 1
        for ref in envelope.refs
    ):
        raise Void(f"it does not show how attempt {attempt - 1} ended")
    # Of this proposal's tasks, not of whatever update happened to arrive first.
    for parent in proposal.specs[task].parents:
        if not any(
            (final := need.finals.get(ref)) is not None and final.task == parent for ref in envelope.refs
        ):
            raise Void(f"it does not refer to the result of {parent}")
    return proposal, task, attempt, candidates[attempt][0]


def _fact(need: Need, known: dict[bytes, Any], fact: Any) -> list[str]:
    known[fact.id] = fact
    need.by_task.setdefault(fact.task, []).append(fact)
    return [fact.task]


def _claim(genesis: Genesis, need: Need, envelope: Envelope) -> list[str] | None:
    proposal, task, attempt, worker = _attempt_of(need, envelope)
    if worker != envelope.sender:
        raise Void("the plan gives this attempt to another worker")
    lease_s = min(envelope.payload["lease_s"], proposal.lease_s)
    need.plan.set_state(task, states.CLAIMED, envelope.lamport, envelope.id)
    claim = Claim(
        id=envelope.id,
        proposal=proposal.id,
        task=task,
        attempt=attempt,
        worker=worker,
        ts_ns=envelope.ts_ns,
        until_ns=envelope.ts_ns + lease_s * S_NS,
    )
    return _fact(need, need.claims, claim)


def _yield(genesis: Genesis, need: Need, envelope: Envelope) -> list[str] | None:
    payload = envelope.payload
    claim = next((need.claims[ref] for ref in envelope.refs if ref in need.claims), None)
    if claim is not None:
        if claim.worker != envelope.sender:
            raise Void("the lease is another's")
        if (claim.task, claim.attempt) != (payload["task"], payload["attempt"]):
            raise Void("the claim is for another attempt")
        proposal = claim.proposal
    else:
        decided, _, _, worker = _attempt_of(need, envelope)
        if worker != envelope.sender:
            raise Void("the plan gives this attempt to another worker")
        proposal = decided.id
    return _end(need, envelope, proposal, "yielded", payload["reason"])


def _release(genesis: Genesis, need: Need, envelope: Envelope) -> list[str] | None:
    payload = envelope.payload
    cause = payload["cause"]
    if cause == "rejected":
        return _release_rejected(genesis, need, envelope)
    _member(plan_committee(genesis, need, envelope.epoch), envelope.sender)
    if cause == "expired":
        claim = _first(envelope.refs, need.claims, "claim")
        if (claim.task, claim.attempt) != (payload["task"], payload["attempt"]):
            raise Void("the claim is for another attempt")
        if envelope.ts_ns < claim.until_ns:
            raise Void("the lease has not expired")
        return _end(need, envelope, claim.proposal, cause, "the lease expired")
    proposal, _, _, _ = _attempt_of(need, envelope)
    since = max(need.seen[ref][1] for ref in envelope.refs)
    if envelope.ts_ns < since + genesis.claim_timeout_s * S_NS:
        raise Void("the worker still has time to claim")
    return _end(need, envelope, proposal.id, cause, "nobody claimed it in time")


def _release_rejected(genesis: Genesis, need: Need, envelope: Envelope) -> list[str] | None:
    commit = _first(envelope.refs, need.commits, "result")
    claim = need.claims[commit.claim]
    payload = envelope.payload
    if (claim.task, claim.attempt) != (payload["task"], payload["attempt"]):
        raise Void("the result is of another attempt")
    reasons = _quorum(genesis, need, envelope, commit, "reject")
    return _end(need, envelope, claim.proposal, "rejected", need.attests[reasons[0]].reason)


def _end(need: Need, envelope: Envelope, proposal: bytes, cause: str, reason: str) -> list[str]:
    payload = envelope.payload
    need.plan.set_state(payload["task"], states.DECIDED, envelope.lamport, envelope.id)
    ending = Ending(
        id=envelope.id,
        proposal=proposal,
        task=payload["task"],
        attempt=payload["attempt"],
        cause=cause,
        reason=reason,
        sender=envelope.sender,
        ts_ns=envelope.ts_ns,
    )
    return _fact(need, need.endings, ending)


def _commit(genesis: Genesis, need: Need, envelope: Envelope) -> list[str] | None:
    claim = _first(envelope.refs, need.claims, "claim")
    payload = envelope.payload
    if claim.worker != envelope.sender or claim.task != payload["task"]:
        raise Void("the lease is another's")
    if envelope.ts_ns > claim.until_ns:
        raise Void("the lease had expired")
    need.plan.set_state(claim.task, states.COMMITTED, envelope.lamport, envelope.id)
    commit = Commit(
        id=envelope.id,
        claim=claim.id,
        task=claim.task,
        worker=claim.worker,
        result=bytes(payload["result"]),
        size=payload["size"],
        telemetry=payload["telemetry"],
        ts_ns=envelope.ts_ns,
    )
    return _fact(need, need.commits, commit)


def abstained(need: Need, refs: Any, commit: bytes) -> frozenset[str]:
    """Who abstained about `commit`, as far as `refs` show."""
    return frozenset(
        attest.judge
        for ref in refs
        if (attest := need.attests.get(ref)) is not None
        and attest.commit == commit
        and attest.verdict == "abstain"
    )


def _judges(genesis: Genesis, need: Need, envelope: Envelope, commit: Commit) -> Committee:
    gone = abstained(need, envelope.refs, commit.id)
    return result_committee(genesis, need, commit.task, envelope.epoch, commit.worker, gone)


def _attest(genesis: Genesis, need: Need, envelope: Envelope) -> list[str] | None:
    commit = _first(envelope.refs, need.commits, "result")
    payload = envelope.payload
    if payload["task"] != commit.task:
        raise Void("the result is of another task")
    _member(_judges(genesis, need, envelope, commit), envelope.sender)
    need.attests[envelope.id] = Attest(
        id=envelope.id,
        commit=commit.id,
        judge=envelope.sender,
        verdict=payload["verdict"],
        score=payload["score"],
        reason=payload["reason"],
        ts_ns=envelope.ts_ns,
    )
    need.by_task.setdefault("attests/" + commit.task, []).append(need.attests[envelope.id])
    return [commit.task]


def _quorum(
    genesis: Genesis, need: Need, envelope: Envelope, commit: Commit, verdict: str
) -> tuple[bytes, ...]:
    """The attests among the refs that carry `verdict` with a quorum; Void if they do not."""
    drawn = _judges(genesis, need, envelope, commit)
    by_judge = {
        attest.judge: ref
        for ref in envelope.refs
        if (attest := need.attests.get(ref)) is not None
        and attest.commit == commit.id
        and attest.verdict == verdict
        and attest.judge in drawn.members
    }
    if len(by_judge) < drawn.quorum:
        raise Void(f"{len(by_judge)} of the committee say {verdict}, {drawn.quorum} are needed")
    return tuple(sorted(by_judge.values()))


def _finalize(genesis: Genesis, need: Need, envelope: Envelope) -> list[str] | None:
    outcome = envelope.payload["outcome"]
    if outcome == "accepted":
        return _finalize_accepted(genesis, need, envelope)
    if outcome == "expired":
        if envelope.sender != need.owner and envelope.sender not in genesis.roster:
            raise Void("only the owner or a verifier says that a need expired")
        if envelope.ts_ns < need.deadline_ns + genesis.expiry_grace_s * S_NS:
            raise Void("the deadline and its grace have not passed")
        task = ""
    else:
        task = envelope.payload["task"]
        _member(plan_committee(genesis, need, envelope.epoch), envelope.sender)
        ending = _first(envelope.refs, need.endings, "ending of the last attempt")
        proposal = need.proposals[ending.proposal]
        if ending.task != task or ending.attempt + 1 < len(proposal.plan[task]):
            raise Void("there are candidates left")
    need.closings[envelope.id] = Closing(
        id=envelope.id,
        outcome=outcome,
        task=task,
        reason=envelope.payload["reason"],
        lamport=envelope.lamport,
        ts_ns=envelope.ts_ns,
        sender=envelope.sender,
    )
    if task:
        need.plan.set_state(task, states.FAILED, envelope.lamport, envelope.id)
    return None


def _finalize_accepted(genesis: Genesis, need: Need, envelope: Envelope) -> list[str] | None:
    commit = _first(envelope.refs, need.commits, "result")
    payload = envelope.payload
    if payload["task"] != commit.task or payload["result"] != commit.result:
        raise Void("it names another task or result")
    attests = _quorum(genesis, need, envelope, commit, "accept")
    claim = need.claims[commit.claim]
    proposal = need.proposals[claim.proposal]
    _, price = proposal.plan[claim.task][claim.attempt]
    need.plan.set_state(commit.task, states.FINALIZED, envelope.lamport, envelope.id)
    final = Final(
        id=envelope.id,
        task=commit.task,
        commit=commit.id,
        proposal=proposal.id,
        worker=commit.worker,
        price=price,
        result=commit.result,
        epoch=envelope.epoch,
        lamport=envelope.lamport,
        ts_ns=envelope.ts_ns,
        sender=envelope.sender,
        attests=attests,
    )
    return _fact(need, need.finals, final)


def _challenge(genesis: Genesis, need: Need, envelope: Envelope) -> list[str] | None:
    final = _first(envelope.refs, need.finals, "accepted result")
    if final.task != envelope.payload["task"]:
        raise Void("the result is of another task")
    need.challenges[envelope.id] = envelope.payload["reason"]
    return []


_RULES: dict[str, Callable[[Genesis, Need, Envelope], list[str] | None]] = {
    kinds.UPDATE_PLAN: _update_plan,
    kinds.PROPOSE: _propose,
    kinds.ATTEST_PLAN: _attest_plan,
    kinds.DECIDE: _decide,
    kinds.CLAIM: _claim,
    kinds.YIELD: _yield,
    kinds.RELEASE: _release,
    kinds.COMMIT: _commit,
    kinds.ATTEST: _attest,
    kinds.FINALIZE: _finalize,
    kinds.CHALLENGE: _challenge,
}
