"""PROPOSE, ATTEST_PLAN and DECIDE: who shall do the tasks, for how much."""

from typing import Any

from swarmd.protocol.envelope import Envelope
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.work import plan as states
from swarmd.protocol.work.committees import plan_committee
from swarmd.protocol.work.need import (
    Decide,
    Need,
    Proposal,
)
from swarmd.protocol.work.opening import check_graph
from swarmd.protocol.work.void import Void, first, member


def propose(genesis: Genesis, need: Need, envelope: Envelope) -> list[str] | None:
    member(plan_committee(genesis, need, envelope.epoch), envelope.sender)
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


def attest_plan(genesis: Genesis, need: Need, envelope: Envelope) -> list[str] | None:
    proposal = first(envelope.refs, need.proposals, "proposal")
    member(plan_committee(genesis, need, envelope.epoch), envelope.sender)
    if envelope.payload["verdict"] != "accept":
        return []
    for other_id, (voter, other) in need.vote_of.items():
        if voter == envelope.sender and other != proposal.id:
            need.equivocators[voter] = (min(other_id, envelope.id), max(other_id, envelope.id))
    need.votes.setdefault(proposal.id, {}).setdefault(envelope.sender, envelope.id)
    need.vote_of[envelope.id] = (envelope.sender, proposal.id)
    return []


def decide(genesis: Genesis, need: Need, envelope: Envelope) -> list[str] | None:
    proposal = first(envelope.refs, need.proposals, "proposal")
    drawn = plan_committee(genesis, need, envelope.epoch)
    member(drawn, envelope.sender)
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
