"""PROPOSE, ATTEST_PLAN and DECIDE: who shall do the tasks, for how much.

One decision for a need is one instance of Paxos among the 2K-1 members of its committee (consensus/ballot.py).
"""

from typing import Any

from swarmd.protocol.consensus import ballot
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.terms import Terms
from swarmd.protocol.work import plan as states
from swarmd.protocol.work.committees import plan_committee
from swarmd.protocol.work.facts import Decide, Proposal, Skip, TaskSpec
from swarmd.protocol.work.need import Need
from swarmd.protocol.work.opening import check_graph
from swarmd.protocol.work.void import ORPHANED, Void, first, member


def propose(terms: Terms, need: Need, envelope: Envelope) -> list[str] | None:
    draw = need.draw_at(envelope.epoch)
    committee = plan_committee(terms, need, draw)
    member(committee, envelope.sender)
    if need.envelope not in envelope.refs:
        raise Void("it does not refer to the need")
    payload = envelope.payload
    if committee.proposer(payload["round"]) != envelope.sender:
        raise Void(f"round {payload['round']} is another's to propose in")
    updates = tuple(ref for ref in envelope.refs if ref in need.updates)
    specs = dict(need.tasks)
    for update in updates:
        specs |= {spec.id: spec for spec in need.updates[update]}
    if updates:
        check_graph(list(specs.values()))  # two updates that each stand alone may close a cycle together
    _check_plan(need, payload["plan"], specs)
    value = ballot.to_repeat(need, envelope.refs, draw, payload["round"], committee.quorum, committee.members)
    repeated = need.proposals[value] if value is not None else None
    if repeated is not None and (repeated.plan, repeated.lease_s, repeated.specs) != (
        payload["plan"],
        payload["lease_s"],
        specs,
    ):
        raise Void("members have accepted a plan in an earlier round: it must be proposed again")
    need.proposals[envelope.id] = Proposal(
        id=envelope.id,
        sender=envelope.sender,
        round=payload["round"],
        lease_s=payload["lease_s"],
        plan=payload["plan"],
        specs=specs,
        updates=updates,
        value=repeated.id if repeated is not None else envelope.id,
        lamport=envelope.lamport,
        ts_ns=envelope.ts_ns,
        draw=draw,
    )
    ballot.note_proposal(need, need.proposals[envelope.id])
    for task in payload["plan"]:
        need.plan.set_state(task, states.PROPOSED, envelope.lamport, envelope.id)
    return None if need.decided is None else []


def _check_plan(need: Need, plan: dict[str, list[list[Any]]], specs: dict[str, TaskSpec]) -> None:
    if plan.keys() != specs.keys():
        raise Void("it does not plan exactly the tasks of the need")
    total = 0
    for task, candidates in plan.items():
        if len({worker for worker, _ in candidates}) != len(candidates):
            raise Void(f"{task}: a worker twice")
        top = max(price for _, price in candidates)
        if top > specs[task].max_price:
            raise Void(f"{task}: {top} is over the top price {specs[task].max_price}")
        total += top
    if total > need.budget:
        raise Void("it costs more than the budget")


def attest_plan(terms: Terms, need: Need, envelope: Envelope) -> list[str] | None:
    draw = need.draw_at(envelope.epoch)
    member(plan_committee(terms, need, draw), envelope.sender)
    if envelope.payload["verdict"] == "skip":
        return _skip(need, envelope, draw)
    proposal = first(envelope.refs, need.proposals, "proposal")
    if proposal.draw != draw:
        raise Void(f"the proposal is of epoch {proposal.draw}, which another committee has taken over from")
    if envelope.payload["verdict"] == "accept":
        ballot.cast(need, envelope, proposal)
    return []


def _skip(need: Need, envelope: Envelope, draw: int) -> list[str] | None:
    if need.envelope not in envelope.refs:
        raise Void("it does not refer to the need")
    asked = envelope.payload["round"]
    accepted = ballot.shown(need, envelope, draw, asked)
    skip = Skip(envelope.id, envelope.sender, asked, accepted, envelope.lamport, draw)
    need.skips[envelope.id] = skip
    ballot.note_skip(need, skip)
    return []


def decide(terms: Terms, need: Need, envelope: Envelope) -> list[str] | None:
    proposal = first(envelope.refs, need.proposals, "proposal")
    if proposal.draw != need.draw:
        raise Void(f"{ORPHANED} {need.draw}: epoch {proposal.draw} had not decided when it began")
    drawn = plan_committee(terms, need, proposal.draw)
    member(drawn, envelope.sender)
    need.decides[envelope.id] = Decide(
        id=envelope.id,
        proposal=proposal.value,
        decider=envelope.sender,
        epoch=proposal.draw,
        lamport=envelope.lamport,
        ts_ns=envelope.ts_ns,
        votes=ballot.certificate(need, envelope, proposal, drawn.quorum),
    )
    for task in proposal.plan:
        need.plan.set_state(task, states.DECIDED, envelope.lamport, envelope.id)
    if need.derive_decided():
        return None
    return []
