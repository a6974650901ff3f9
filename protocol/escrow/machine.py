"""An escrow's life as one table: in which state an op counts, and in which it may leave the escrow.

Pure: a fold over envelopes and checkpoints' ticks. What does not fit is void with its reason and moves nothing. Ends have no way
out. Time enters by ticks alone, whose time a quorum signed: nobody shortens a deadline by its own clock. Only an offer's
expiry looks at the time that who accepts it signs, and there the other side must act on it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from swarmd.protocol import kinds
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.escrow import terms as termsheet
from swarmd.protocol.escrow.deal import (
    ACCEPTED,
    DISPUTED,
    ENDS,
    EXPIRED,
    FUNDED,
    NEGOTIATING,
    NEW,
    OFFERED,
    REFUNDED,
    RELEASED,
    RESOLVED,
    SUBMITTED,
    VERIFIED,
    Acceptance,
    Deal,
    Dispute,
    Offer,
    Step,
    Submission,
    Tick,
)
from swarmd.protocol.escrow.fees import RELEASE_SCORE
from swarmd.protocol.escrow.ids import escrow_thread, purse_of
from swarmd.protocol.limits import S_NS
from swarmd.protocol.work.void import Void

T = TypeVar("T")

MAX_OFFERS = 128  # in one escrow; of one party half of it
MAX_ACCEPTANCES = 128
MAX_CLAIMS = 32  # said in one dispute by one party

_OPEN = (OFFERED, NEGOTIATING, ACCEPTED)
_WORKING = (FUNDED, SUBMITTED, VERIFIED)
_PAID = (*_WORKING, RELEASED)

# state -> op -> the states that it may lead to. What is not here is void.
TRANSITIONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    NEW: {"create": (OFFERED,)},
    OFFERED: {
        "offer": (NEGOTIATING,),
        "accept": (ACCEPTED,),
        "refund": (REFUNDED,),
        "tick": (OFFERED, EXPIRED),
    },
    NEGOTIATING: {
        "offer": (NEGOTIATING,),
        "accept": (ACCEPTED,),
        "refund": (REFUNDED,),
        "tick": (NEGOTIATING, EXPIRED),
    },
    ACCEPTED: {
        "accept": (ACCEPTED,),
        "fund": (FUNDED,),
        "refund": (REFUNDED,),
        "tick": (ACCEPTED, EXPIRED),
    },
    **{
        state: {
            "ready": _PAID,
            "submit": (SUBMITTED, VERIFIED),
            "score": _PAID,
            "release": _PAID,
            "dispute": (DISPUTED,),
            "refund": (REFUNDED,),
            "tick": (*_PAID, EXPIRED),
        }
        for state in _WORKING
    },
    DISPUTED: {
        "ready": (DISPUTED, RELEASED),
        "release": (DISPUTED, RELEASED),
        "dispute": (DISPUTED,),
        "resolve": (DISPUTED, RESOLVED),
        "refund": (REFUNDED,),
        "tick": (DISPUTED, RESOLVED, EXPIRED),
    },
    RELEASED: {},
    RESOLVED: {},
    REFUNDED: {},
    EXPIRED: {},
}


def fold(thread: str, base: Sequence[Step], said: Iterable[Envelope]) -> Deal:
    """The escrow after what a checkpoint fixed, in its order, and what was said since, by (lamport, id)."""
    deal = Deal(thread)
    for step in base:
        apply(deal, step)
    for envelope in sorted(said, key=lambda e: (e.lamport, e.id)):
        apply(deal, envelope)
    return deal


def apply(deal: Deal, step: Step) -> str:
    """Take one step; returns why it is void, or "". A void one changes nothing but `void`."""
    op = step.payload["op"] if isinstance(step, Envelope) else "tick"
    try:
        if op not in TRANSITIONS[deal.state]:
            raise Void(f"an escrow that is {deal.state} takes no {op}")
        if isinstance(step, Tick):
            if not _tick(deal, step):
                return ""  # nothing was due: not worth remembering
        else:
            _check_causes(deal, step)
            _RULES[op](deal, step)
            deal.seen[step.id] = step
    except Void as void:
        if isinstance(step, Envelope):
            deal.void[step.id] = str(void)
        return str(void)
    deal.steps.append(step)
    return ""


def _check_causes(deal: Deal, said: Envelope) -> None:
    if said.kind != kinds.ESCROW:
        raise Void(f"{said.kind} is not said of an escrow")
    for ref in said.refs:
        cause = deal.seen.get(ref)
        if cause is None:
            raise Void("it refers to what moved nothing")
        if cause.lamport >= said.lamport or cause.ts_ns > said.ts_ns or cause.epoch > said.epoch:
            raise Void("it was not said after what it refers to")


# Negotiation -------------------------------------------------------------------------------------------------


def _create(deal: Deal, said: Envelope) -> None:
    payload = said.payload
    if said.thread != escrow_thread(said.sender, payload["nonce"]) or said.refs:
        raise Void("it is not its sender's escrow")
    terms = termsheet.read(payload["terms"], said.sender, said.ts_ns)
    _check_expiry(said, terms)
    deal.buyer = said.sender
    deal.offers[said.id] = Offer(
        said.id, said.sender, terms.seller, terms, payload["expires_ns"], b"", "", said.ts_ns
    )
    deal.state = OFFERED


def _check_expiry(said: Envelope, terms: termsheet.Terms) -> None:
    if not said.ts_ns < said.payload["expires_ns"] <= terms.deadline_ns:
        raise Void("an offer expires after it is made and not after its deadline")


def _offer(deal: Deal, said: Envelope) -> None:
    before = _first(said, deal.offers, "offer")
    terms = termsheet.read(said.payload["terms"], deal.buyer, said.ts_ns)
    _check_expiry(said, terms)
    if said.sender == deal.buyer:
        if before.by not in (deal.buyer, terms.seller):
            raise Void("a counter-offer to a seller names another")
        to = terms.seller
    else:
        if before.to not in ("", said.sender) and before.by != said.sender:
            raise Void("a stranger to the offer that it answers")
        if terms.seller != said.sender:
            raise Void("who makes an offer to the buyer is the seller in it")
        to = deal.buyer
    if sum(offer.by == said.sender for offer in deal.offers.values()) >= MAX_OFFERS // 2:
        raise Void("more offers than one party may make")
    if len(deal.offers) >= MAX_OFFERS:
        raise Void("more offers than an escrow may have")
    payload = said.payload
    deal.offers[said.id] = Offer(
        said.id, said.sender, to, terms, payload["expires_ns"], before.id, payload["note"], said.ts_ns
    )
    deal.state = NEGOTIATING


def _accept(deal: Deal, said: Envelope) -> None:
    offer = _first(said, deal.offers, "offer")
    if said.sender == offer.by:
        raise Void("nobody accepts an offer of its own")
    if offer.to not in ("", said.sender):
        raise Void("the offer was made to another")
    if said.ts_ns > offer.expires_ns:
        raise Void("the offer has expired")
    seller = offer.by if said.sender == deal.buyer else said.sender
    if seller in offer.terms.scorers or seller in offer.terms.panel:
        raise Void("a scorer or a member of the panel is the seller")
    known = deal.acceptances.values()
    if any(each.offer == offer.id and each.seller == seller for each in known):
        raise Void("it was accepted before")
    if len(known) >= MAX_ACCEPTANCES:
        raise Void("more acceptances than an escrow may have")
    deal.acceptances[said.id] = Acceptance(said.id, offer.id, seller)
    deal.state = ACCEPTED


def _fund(deal: Deal, said: Envelope) -> None:
    if said.sender != deal.buyer:
        raise Void("not the buyer")
    accepted = _first(said, deal.acceptances, "acceptance")
    terms = deal.offers[accepted.offer].terms
    if said.payload["amount"] != terms.amount:
        raise Void(f"the terms say {terms.amount} minor units, it locks {said.payload['amount']}")
    if said.ts_ns > terms.deadline_ns:
        raise Void("the deadline has passed")
    deal.terms = terms
    deal.seller = accepted.seller
    deal.fund = said.id
    deal.purse = purse_of(said)
    deal.fund_seq = said.payload["fund"]["seq"]
    deal.open = dict(terms.milestones)
    deal.state = FUNDED


# Work --------------------------------------------------------------------------------------------------------


def _terms(deal: Deal) -> termsheet.Terms:
    assert deal.terms is not None  # it is funded
    return deal.terms


def _about_this(deal: Deal, said: Envelope) -> None:
    if deal.fund not in said.refs:
        raise Void("it does not refer to the funding")


def _ready(deal: Deal, said: Envelope) -> None:
    _about_this(deal, said)
    name = said.payload["name"]
    if _terms(deal).after.get(name) != said.sender:
        raise Void("it is not its sender who says that this is ready")
    if name in deal.ready:
        raise Void("it was ready before")
    deal.ready.add(name)
    _move(deal)


def _submit(deal: Deal, said: Envelope) -> None:
    _about_this(deal, said)
    payload = said.payload
    name = payload["milestone"]
    if said.sender != deal.seller:
        raise Void("not the seller")
    if name not in deal.open or name in deal.approved:
        raise Void(f"milestone {name} is not open")
    known = deal.submissions.get(name)
    if known is not None and known.score < 0 and _terms(deal).scorers:
        raise Void("the delivery before is being scored")
    # A new one begins the time to look at it anew.
    deal.submissions[name] = Submission(said.id, bytes(payload["deliverable"]), payload["note"], said.ts_ns)
    _move(deal)


def _score(deal: Deal, said: Envelope) -> None:
    terms = _terms(deal)
    name = next((name for name, each in deal.submissions.items() if each.id in said.refs), None)
    if name is None:
        raise Void("it refers to no delivery that stands")
    submission = deal.submissions[name]
    if said.sender not in terms.scorers:
        raise Void("not a scorer")
    if said.sender in submission.scores or submission.score >= 0:
        raise Void("it was scored before")
    if name not in deal.open:
        raise Void(f"milestone {name} is not open")
    submission.scores[said.sender] = (said.payload["score"], said.payload["reason"])
    if len(submission.scores) == terms.score_quorum:
        every = sorted(score for score, _ in submission.scores.values())
        submission.score = every[(len(every) - 1) // 2]
        if submission.score >= RELEASE_SCORE:
            deal.approved.setdefault(name, f"scored {submission.score}")
    _move(deal)


def _release(deal: Deal, said: Envelope) -> None:
    _about_this(deal, said)
    if said.sender != deal.buyer:
        raise Void("not the buyer")
    names = said.payload["milestones"] or [name for name in deal.open if name not in deal.approved]
    if not names or len(set(names)) != len(names):
        raise Void("it names no milestone, or one twice")
    for name in names:
        if name not in deal.open or name in deal.approved:
            raise Void(f"milestone {name} is not open: it is released, given back, or not in the terms")
    deal.approved |= dict.fromkeys(names, "released by the buyer")
    _move(deal)


def _move(deal: Deal) -> None:
    """Pay what is approved if nothing more is awaited, and say where that leaves the escrow."""
    if not deal.awaited():
        for name, why in deal.approved.items():
            deal.paid[name] = (deal.open.pop(name), why)
        deal.approved.clear()
    if not deal.open:
        deal.state = RELEASED
    elif deal.dispute is not None:
        deal.state = DISPUTED
    else:
        waiting = [deal.submissions[name] for name in deal.open if name in deal.submissions]
        scored = deal.approved or any(each.score >= 0 for each in waiting)
        deal.state = VERIFIED if scored else SUBMITTED if waiting else FUNDED


# Disputes ----------------------------------------------------------------------------------------------------


def _dispute(deal: Deal, said: Envelope) -> None:
    _about_this(deal, said)
    if said.sender not in (deal.buyer, deal.seller):
        raise Void("neither the buyer nor the seller")
    if not _terms(deal).panel:
        raise Void("the terms name no panel")
    payload = said.payload
    found = deal.dispute or Dispute(said.id)
    if sum(by == said.sender for by, _, _ in found.claims) >= MAX_CLAIMS:
        raise Void("more than a party may say in a dispute")
    found.claims.append((said.sender, payload["reason"], tuple(bytes(ref) for ref in payload["evidence"])))
    deal.dispute = found
    deal.state = DISPUTED


def _resolve(deal: Deal, said: Envelope) -> None:
    terms, dispute = _terms(deal), deal.dispute
    assert dispute is not None  # it is disputed
    if said.sender not in terms.panel:
        raise Void("not a member of the panel")
    if dispute.id not in said.refs:
        raise Void("it does not refer to the dispute")
    share = said.payload["seller_bp"]
    # Who sees how the others vote may join them: its latest word counts.
    dispute.votes[said.sender] = (share, said.payload["reason"])
    alike = sum(vote == share for vote, _ in dispute.votes.values())
    if alike >= terms.quorum:
        _split(deal, share, f"the panel, {alike} of {len(terms.panel)}")
        deal.fault = deal.seller if share < 5_000 else deal.buyer if share > 5_000 else ""


def _split(deal: Deal, seller_bp: int, why: str) -> None:
    left = sum(deal.open.values())
    deal.split = termsheet.split_of(left, seller_bp)
    deal.home["split"] = left - deal.split
    _close(deal, RESOLVED, why)


def _milestone(name: str) -> str:
    """The name of what is paid, or goes back, of a milestone: not to be mistaken for a split."""
    return f"milestone/{name}"


def _close(deal: Deal, state: str, why: str) -> None:
    deal.open.clear()
    deal.approved.clear()
    deal.state = state
    deal.reason = why


def _refund(deal: Deal, said: Envelope) -> None:
    if deal.state in _OPEN:
        if said.sender != deal.buyer:
            raise Void("only its buyer withdraws what is not funded")
        _first(said, deal.offers, "offer")
        _close(deal, REFUNDED, said.payload["reason"] or "withdrawn")
        return
    _about_this(deal, said)
    if said.sender != deal.seller:
        raise Void("only the seller gives back what is funded; at the deadline it goes back by itself")
    deal.home |= {_milestone(name): amount for name, amount in deal.open.items()}
    deal.fault = deal.seller
    _close(deal, REFUNDED, said.payload["reason"] or "given back by the seller")


# Time --------------------------------------------------------------------------------------------------------


def _tick(deal: Deal, tick: Tick) -> bool:
    """What is due by then. Did anything change?"""
    if deal.state in _OPEN:
        return _tick_open(deal, tick.at_ns)
    terms = _terms(deal)
    if not tick.covered:
        if tick.at_ns > terms.deadline_ns:
            without_money(deal)
            return True
        return False
    if deal.dispute is not None:
        fresh = not deal.dispute.found_ns
        deal.dispute.found_ns = deal.dispute.found_ns or tick.at_ns
        if tick.at_ns < deal.dispute.found_ns + terms.panel_s * S_NS:
            return fresh
        _split(deal, terms.undecided_bp, "the panel did not decide in time")
        return True
    moved = _tick_reviews(deal, tick.at_ns)
    if deal.state not in ENDS and tick.at_ns > terms.deadline_ns:
        moved = _overdue(deal) or moved
    return moved


def _tick_open(deal: Deal, at_ns: int) -> bool:
    if deal.acceptances:
        accepted = [deal.offers[each.offer] for each in deal.acceptances.values()]
        last_ns, why = max(each.terms.deadline_ns for each in accepted), "not funded in time"
    else:
        last_ns = max(each.expires_ns for each in deal.offers.values())
        why = "no offer was accepted in time"
    if at_ns > last_ns:
        _close(deal, EXPIRED, why)
        return True
    return False


def without_money(deal: Deal) -> None:
    """It ends because its money never came: nothing was paid, whatever was said."""
    deal.uncovered, deal.fault = True, deal.buyer
    deal.paid.clear()
    deal.split = -1
    deal.home.clear()
    _close(deal, EXPIRED, "the money never came")


def _tick_reviews(deal: Deal, at_ns: int) -> bool:
    """Pay deliveries that nobody objected to since a checkpoint first found them."""
    moved = False
    for name in [name for name in deal.open if name not in deal.approved]:
        submission = deal.submissions.get(name)
        if submission is None or submission.failed:
            continue
        if not submission.found_ns:
            submission.found_ns, moved = at_ns, True
        if at_ns >= submission.found_ns + _terms(deal).review_s * S_NS:
            deal.approved[name] = "nobody objected in time"
            moved = True
    if moved:
        _move(deal)
    return moved


def _overdue(deal: Deal) -> bool:
    """The deadline has passed: what nobody delivered, or what waits for others, goes back."""
    waits = bool(deal.awaited())
    late = [
        name for name in deal.open if waits or name not in deal.submissions or deal.submissions[name].failed
    ]
    if not late:
        return False
    for name in late:
        deal.home[_milestone(name)] = deal.open.pop(name)
        deal.approved.pop(name, None)
    if not deal.open:
        deal.fault = "" if waits else deal.seller
        _close(deal, EXPIRED, "rolled back: not all was ready in time" if waits else "not delivered in time")
    else:
        _move(deal)
    return True


def _first(said: Envelope, known: Mapping[bytes, T], what: str) -> T:
    for ref in said.refs:
        found = known.get(ref)
        if found is not None:
            return found
    raise Void(f"it refers to no {what} that stands")


_RULES: Mapping[str, Callable[[Deal, Envelope], None]] = {
    "create": _create,
    "offer": _offer,
    "accept": _accept,
    "fund": _fund,
    "ready": _ready,
    "submit": _submit,
    "score": _score,
    "release": _release,
    "dispute": _dispute,
    "resolve": _resolve,
    "refund": _refund,
}
