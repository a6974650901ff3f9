"""PROPOSE, ATTEST_PLAN and DECIDE: who shall do the tasks, for how much.

One decision for a need is one instance of Paxos (Lamport, "Paxos Made Simple", 2001) among the 2K-1 members of its
committee. A round has one proposer. To open round r > 0 it shows K skips, by which members promise to vote in no
earlier round and say what they voted for last; if any of them did, that plan is proposed again. So whatever K members
may have decided unseen is what is decided, however late and between whom messages come.
"""

from collections.abc import Iterable
from typing import Any

from swarmd.protocol.consensus.committee import Committee
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.work import plan as states
from swarmd.protocol.work.committees import plan_committee
from swarmd.protocol.work.need import (
    Decide,
    Need,
    Proposal,
    Skip,
    TaskSpec,
)
from swarmd.protocol.work.opening import check_graph
from swarmd.protocol.work.void import Void, first, member


def propose(genesis: Genesis, need: Need, envelope: Envelope) -> list[str] | None:
    committee = plan_committee(genesis, need, envelope.epoch)
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
    repeated = _to_repeat(need, envelope, committee)
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
    )
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


def _to_repeat(need: Need, envelope: Envelope, committee: Committee) -> Proposal | None:
    """The proposal whose plan this one must repeat, by the skips it refers to; None in round 0 or if all are free."""
    asked = envelope.payload["round"]
    if asked == 0:
        return None
    skips = {
        skip.voter: skip
        for ref in envelope.refs
        if (skip := need.skips.get(ref)) is not None and skip.round == asked
    }
    if len(skips) < committee.quorum:
        raise Void(f"{len(skips)} of the committee ask for round {asked}, {committee.quorum} are needed")
    values = latest_values(need, skips.values())
    if len(values) > 1:
        raise Void("there are two proposals of one round: nobody can say which was decided")
    return need.proposals[values.pop()] if values else None


def latest_values(need: Need, skips: Iterable[Skip]) -> set[bytes]:
    """Of the latest round that any of `skips` voted in, what those voted for. Honest proposers leave one at most."""
    voted = [need.proposals[skip.accepted] for skip in skips if skip.accepted is not None]
    latest = max((proposal.round for proposal in voted), default=0)
    return {proposal.value for proposal in voted if proposal.round == latest}


def attest_plan(genesis: Genesis, need: Need, envelope: Envelope) -> list[str] | None:
    member(plan_committee(genesis, need, envelope.epoch), envelope.sender)
    if envelope.payload["verdict"] == "skip":
        return _skip(need, envelope)
    proposal = first(envelope.refs, need.proposals, "proposal")
    if envelope.payload["verdict"] != "accept":
        return []
    need.votes.setdefault(proposal.id, {}).setdefault(envelope.sender, envelope.id)
    twice = [
        ref
        for ref, (voter, other) in need.vote_of.items()
        if voter == envelope.sender and other != proposal.id and need.proposals[other].round == proposal.round
    ]
    need.vote_of[envelope.id] = (envelope.sender, proposal.id)
    skipped = [
        skip.id
        for skip in need.skips.values()
        if skip.voter == envelope.sender and _hides_or_returns(need, skip, envelope.id, proposal)
    ]
    _note(need, envelope.sender, envelope.id, twice + skipped)
    return []


def _skip(need: Need, envelope: Envelope) -> list[str] | None:
    if need.envelope not in envelope.refs:
        raise Void("it does not refer to the need")
    asked = envelope.payload["round"]
    if asked == 0:
        raise Void("there is nothing below round 0 to skip")
    own = [
        need.proposals[vote[1]]
        for ref in envelope.refs
        if (vote := need.vote_of.get(ref)) is not None and vote[0] == envelope.sender
    ]
    latest = max(own, key=lambda proposal: (proposal.round, proposal.id), default=None)
    if latest is not None and latest.round >= asked:
        raise Void(f"its sender has voted in round {latest.round}")
    accepted = latest.id if latest is not None else None
    skip = Skip(envelope.id, envelope.sender, asked, accepted, envelope.lamport)
    need.skips[envelope.id] = skip
    votes = [
        ref
        for ref, (voter, proposal) in need.vote_of.items()
        if voter == envelope.sender and _hides_or_returns(need, skip, ref, need.proposals[proposal])
    ]
    _note(need, envelope.sender, envelope.id, votes)
    return []


def _note(need: Need, voter: str, said: bytes, contradicted: Iterable[bytes]) -> None:
    """`said` contradicts these of the same voter: any pair is proof, and of all the smallest is kept."""
    known = need.equivocators.get(voter)
    pairs = [(min(said, other), max(said, other)) for other in contradicted] + ([known] if known else [])
    if pairs:
        need.equivocators[voter] = min(pairs)


def _hides_or_returns(need: Need, skip: Skip, vote: bytes, proposal: Proposal) -> bool:
    """Does a vote of who skipped stand below the skip, said after it, or before it and not shown by it?

    An author's lamports order what it said, so it does not matter which of the two was heard first.
    """
    if proposal.round >= skip.round:
        return False
    lamport = need.seen[vote][0]
    shown = need.proposals[skip.accepted].round if skip.accepted is not None else -1
    return lamport > skip.lamport or (lamport < skip.lamport and proposal.round > shown)


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
        proposal=proposal.value,
        decider=envelope.sender,
        epoch=envelope.epoch,
        lamport=envelope.lamport,
        ts_ns=envelope.ts_ns,
        votes=tuple(sorted(voters.values())),
    )
    for task in proposal.plan:
        need.plan.set_state(task, states.DECIDED, envelope.lamport, envelope.id)
    if need.derive_decided():
        return None
    return []
