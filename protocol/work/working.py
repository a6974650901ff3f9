"""CLAIM, YIELD, RELEASE and COMMIT: attempts, their leases and their ends."""

from typing import Any

from swarmd.protocol.envelope import Envelope
from swarmd.protocol.limits import S_NS
from swarmd.protocol.terms import Terms
from swarmd.protocol.work import plan as states
from swarmd.protocol.work.committees import plan_committee, quorum
from swarmd.protocol.work.facts import Claim, Commit, Ending, Proposal
from swarmd.protocol.work.need import Need
from swarmd.protocol.work.void import Void, first, member


def _attempt_of(need: Need, envelope: Envelope) -> tuple[Proposal, str, int, str]:
    """The decided (proposal, task, attempt, candidate) that an envelope is about, checked against its refs."""
    decide = first(envelope.refs, need.decides, "decision")
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


def add_fact(need: Need, known: dict[bytes, Any], fact: Any) -> list[str]:
    known[fact.id] = fact
    need.by_task.setdefault(fact.task, []).append(fact)
    return [fact.task]


def claim(terms: Terms, need: Need, envelope: Envelope) -> list[str] | None:
    proposal, task, attempt, worker = _attempt_of(need, envelope)
    if worker != envelope.sender:
        raise Void("the plan gives this attempt to another worker")
    lease_s = min(envelope.payload["lease_s"], proposal.lease_s)
    need.plan.set_state(task, states.CLAIMED, envelope.lamport, envelope.id)
    parents = proposal.specs[task].parents
    finals = [final for ref in envelope.refs if (final := need.finals.get(ref)) is not None]
    claim = Claim(
        id=envelope.id,
        proposal=proposal.id,
        task=task,
        attempt=attempt,
        worker=worker,
        ts_ns=envelope.ts_ns,
        until_ns=envelope.ts_ns + lease_s * S_NS,
        basis=tuple(sorted({final.commit for final in finals if final.task in parents})),
    )
    return add_fact(need, need.claims, claim)


def yield_(terms: Terms, need: Need, envelope: Envelope) -> list[str] | None:
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


def release(terms: Terms, need: Need, envelope: Envelope) -> list[str] | None:
    payload = envelope.payload
    cause = payload["cause"]
    if cause == "rejected":
        return _release_rejected(terms, need, envelope)
    if cause == "expired":
        claim = first(envelope.refs, need.claims, "claim")
        member(plan_committee(terms, need, need.proposals[claim.proposal].draw), envelope.sender)
        if (claim.task, claim.attempt) != (payload["task"], payload["attempt"]):
            raise Void("the claim is for another attempt")
        if envelope.ts_ns < claim.until_ns:
            raise Void("the lease has not expired")
        return _end(need, envelope, claim.proposal, cause, "the lease expired")
    proposal, _, _, _ = _attempt_of(need, envelope)
    member(plan_committee(terms, need, proposal.draw), envelope.sender)
    since = max(need.seen[ref][1] for ref in envelope.refs)
    if envelope.ts_ns < since + terms.genesis.claim_timeout_s * S_NS:
        raise Void("the worker still has time to claim")
    return _end(need, envelope, proposal.id, cause, "nobody claimed it in time")


def _release_rejected(terms: Terms, need: Need, envelope: Envelope) -> list[str] | None:
    commit = first(envelope.refs, need.commits, "result")
    claim = need.claims[commit.claim]
    payload = envelope.payload
    if (claim.task, claim.attempt) != (payload["task"], payload["attempt"]):
        raise Void("the result is of another attempt")
    reasons = quorum(terms, need, envelope, commit, "reject")
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
    return add_fact(need, need.endings, ending)


def commit(terms: Terms, need: Need, envelope: Envelope) -> list[str] | None:
    claim = first(envelope.refs, need.claims, "claim")
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
    need.fall_with_basis(commit)
    return add_fact(need, need.commits, commit)
