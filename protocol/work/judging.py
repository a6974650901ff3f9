"""ATTEST and FINALIZE: what results are worth, and how needs end."""

from swarmd.protocol.envelope import Envelope
from swarmd.protocol.limits import S_NS
from swarmd.protocol.terms import Terms
from swarmd.protocol.work import challenging
from swarmd.protocol.work import plan as states
from swarmd.protocol.work.committees import abstained, judges, plan_committee, quorum
from swarmd.protocol.work.facts import Attest, Closing, Final
from swarmd.protocol.work.need import Need
from swarmd.protocol.work.void import Void, first, member
from swarmd.protocol.work.working import add_fact


def attest(terms: Terms, need: Need, envelope: Envelope) -> list[str] | None:
    if any(ref in need.challenges for ref in envelope.refs):
        return challenging.review(terms, need, envelope)
    commit = first(envelope.refs, need.commits, "result")
    payload = envelope.payload
    if payload["task"] != commit.task:
        raise Void("the result is of another task")
    member(judges(terms, need, envelope, commit), envelope.sender)
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


def finalize(terms: Terms, need: Need, envelope: Envelope) -> list[str] | None:
    outcome = envelope.payload["outcome"]
    if outcome == "accepted":
        return _finalize_accepted(terms, need, envelope)
    if outcome == "dismissed":
        return challenging.dismiss(terms, need, envelope)
    if outcome == "expired":
        if envelope.sender != need.owner and envelope.sender not in terms.roster(envelope.epoch):
            raise Void("only the owner or a verifier says that a need expired")
        if envelope.ts_ns < need.deadline_ns + terms.genesis.expiry_grace_s * S_NS:
            raise Void("the deadline and its grace have not passed")
        task = ""
    else:
        task = envelope.payload["task"]
        ending = first(envelope.refs, need.endings, "ending of the last attempt")
        proposal = need.proposals[ending.proposal]
        member(plan_committee(terms, need, proposal.draw), envelope.sender)
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


def _finalize_accepted(terms: Terms, need: Need, envelope: Envelope) -> list[str] | None:
    commit = first(envelope.refs, need.commits, "result")
    payload = envelope.payload
    if payload["task"] != commit.task or payload["result"] != commit.result:
        raise Void("it names another task or result")
    attests = quorum(terms, need, envelope, commit, "accept")
    drawn = judges(terms, need, envelope, commit)
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
        epoch=proposal.draw,
        lamport=envelope.lamport,
        ts_ns=envelope.ts_ns,
        sender=envelope.sender,
        attests=attests,
        judges=(*drawn.members, *sorted(abstained(need, envelope.refs, commit.id))),
    )
    return add_fact(need, need.finals, final)
