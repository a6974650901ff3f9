"""Escrows as operators and programs see them: plain maps, amounts as decimal USDC, ids as text."""

from collections.abc import Iterable
from typing import Any

from swarmd.protocol.amounts import format_usdc
from swarmd.protocol.cids import cid_text
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.escrow.deal import Deal, Dispute, Offer, Submission
from swarmd.protocol.escrow.fees import priority_of, rating, tier_of
from swarmd.protocol.escrow.money import money_of, stake_of
from swarmd.protocol.escrow.record import Ended, Record
from swarmd.protocol.escrow.terms import Terms
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.state import State


def find(state: State, text: str) -> str:
    """The id of an escrow by an unambiguous beginning of it; LocalFault `unknown-escrow`."""
    every = {*state.escrows.records, *state.escrows.ended}
    if text in every:
        return text
    found = [name for name in every if name.startswith(text) or name.startswith("escrow-" + text)]
    if len(found) == 1 and len(text) >= 4:
        return found[0]
    why = "several escrows begin with it" if len(found) > 1 else "no such escrow here"
    raise LocalFault("unknown-escrow", f"{text!r}: {why}", fix="see swarmd escrow list")


def row(state: State, name: str) -> dict[str, Any]:
    """One line of `escrow list`."""
    record = state.escrows.records.get(name)
    return _live_row(state, record) if record is not None else _ended_row(state, state.escrows.ended[name])


def _live_row(state: State, record: Record) -> dict[str, Any]:
    deal = record.deal
    terms, money = deal.shown_terms(), money_of(state, deal)
    covered = money is not None
    return {
        "escrow": deal.id,
        "title": terms.title,
        "state": deal.state,
        "role": _role(state.me, deal, terms),
        "buyer": deal.buyer,
        "seller": deal.seller or terms.seller or None,
        "amount": format_usdc(terms.amount),
        "held": format_usdc(money.held if money is not None else 0),
        "paid": format_usdc(deal.gross() - deal.fee() if covered else 0),
        "returned": format_usdc(deal.returned if covered else 0),
        "fee": format_usdc(deal.fee() if covered else 0),
        "covered": covered,
        "waits_for": deal.awaited(),
        "priority": priority_of(stake_of(state, deal.buyer)),
        "deadline_ns": terms.deadline_ns,
        "reason": deal.reason,
        "final": not record.said,
    }


def _ended_row(state: State, ended: Ended) -> dict[str, Any]:
    me = state.me
    return {
        "escrow": ended.id,
        "title": ended.title,
        "state": ended.outcome,
        "role": "buyer" if me == ended.buyer else "seller" if me == ended.seller else "other",
        "buyer": ended.buyer,
        "seller": ended.seller or None,
        "amount": format_usdc(ended.amount),
        "held": format_usdc(0),
        "paid": format_usdc(ended.paid),
        "returned": format_usdc(ended.returned),
        "fee": format_usdc(ended.fee),
        "covered": True,
        "waits_for": [],
        "priority": priority_of(stake_of(state, ended.buyer)),
        "deadline_ns": None,
        "reason": ended.reason,
        "final": True,
    }


def _role(me: str, deal: Deal, terms: Terms) -> str:
    places = (
        ("buyer", (deal.buyer,)),
        ("seller", (deal.seller or terms.seller,)),
        ("scorer", terms.scorers),
        ("panel", terms.panel),
        ("awaited", tuple(terms.after.values())),
        ("bidder", tuple(offer.by for offer in deal.offers.values())),
    )
    return next((name for name, people in places if me in people), "other")


def detail(state: State, name: str) -> dict[str, Any]:
    """All of `escrow show`. Of one that a checkpoint closed, what it came to; its envelopes are in the journal."""
    record = state.escrows.records.get(name)
    shown = row(state, name)
    parties = {"buyer": shown["buyer"], "seller": shown["seller"]}
    shown["reputation"] = {role: reputation(state, did) for role, did in parties.items() if did}
    if record is None:
        ended = state.escrows.ended[name]
        return {**shown, "discount": format_usdc(ended.discount), "epoch": ended.epoch}
    deal = record.deal
    terms = deal.shown_terms()
    return {
        **shown,
        "terms": terms_map(terms),
        "offers": [_offer(deal, offer) for offer in deal.offers.values()],
        "milestones": [_milestone(deal, each) for each in terms.milestones] if deal.terms else [],
        "ready": sorted(deal.ready),
        "dispute": _dispute(deal.dispute) if deal.dispute is not None else None,
    }


def history(state: State, name: str, said: Iterable[Envelope]) -> list[dict[str, Any]]:
    """Who said what of an escrow and when, as far back as the journal goes; `void`: why it was without effect, or None."""
    record = state.escrows.records.get(name)
    void = record.deal.void if record is not None else {}
    spent = record.fixed.spent if record is not None else frozenset()
    return [
        {
            "id": cid_text(envelope.id),
            "at_ns": envelope.ts_ns,
            "by": envelope.sender,
            "op": envelope.payload.get("op", ""),
            "text": envelope.payload.get("reason") or envelope.payload.get("note") or "",
            "void": void.get(envelope.id, "void when a checkpoint had it" if envelope.id in spent else None),
        }
        for envelope in said
    ]


def reputation(state: State, did: str) -> int:
    """0..100 from settled escrows only; 50 for who has none."""
    return rating(*state.escrows.standings.get(did, (0, 0)))


def standing(state: State, did: str) -> dict[str, Any]:
    """What `escrow reputation` shows of one account."""
    good, bad = state.escrows.standings.get(did, (0, 0))
    stake = stake_of(state, did)
    tier = tier_of(stake)
    return {
        "did": did,
        "reputation": rating(good, bad),
        "settled_well": good,
        "settled_badly": bad,
        "stake": format_usdc(stake),
        "tier": tier.name,
        "fee_discount_percent": tier.off_percent,
        "priority": priority_of(stake),
    }


def terms_map(terms: Terms) -> dict[str, Any]:
    return {
        "title": terms.title,
        "spec": terms.spec,
        "amount": format_usdc(terms.amount),
        "seller": terms.seller or None,
        "milestones": [
            {"name": name, "amount": format_usdc(amount)} for name, amount in terms.milestones.items()
        ],
        "deadline_ns": terms.deadline_ns,
        "review_s": terms.review_s,
        "scorers": list(terms.scorers),
        "score_quorum": terms.score_quorum,
        "panel": list(terms.panel),
        "quorum": terms.quorum,
        "panel_s": terms.panel_s,
        "undecided_bp": terms.undecided_bp,
        "after": [{"name": name, "by": by} for name, by in terms.after.items()],
    }


def _offer(deal: Deal, offer: Offer) -> dict[str, Any]:
    return {
        "offer": cid_text(offer.id),
        "by": offer.by,
        "to": offer.to or None,
        "at_ns": offer.ts_ns,
        "expires_ns": offer.expires_ns,
        "answers": cid_text(offer.answers) if offer.answers else None,
        "note": offer.note,
        "amount": format_usdc(offer.terms.amount),
        "accepted_by": sorted(
            each.seller if offer.by == deal.buyer else deal.buyer
            for each in deal.acceptances.values()
            if each.offer == offer.id
        ),
        "terms": terms_map(offer.terms),
    }


def _milestone(deal: Deal, name: str) -> dict[str, Any]:
    assert deal.terms is not None
    delivered = deal.submissions.get(name)
    if name in deal.paid:
        state, why = "paid", deal.paid[name][1]
    elif name in deal.approved:
        state, why = "approved", deal.approved[name]
    elif name in deal.open:
        state, why = ("submitted" if delivered is not None else "open"), ""
    else:
        state, why = "ended", deal.reason
    return {
        "name": name,
        "amount": format_usdc(deal.terms.milestones[name]),
        "state": state,
        "because": why,
        "delivery": _delivery(delivered) if delivered is not None else None,
    }


def _delivery(found: Submission) -> dict[str, Any]:
    return {
        "cid": cid_text(found.deliverable),
        "note": found.note,
        "at_ns": found.ts_ns,
        "score": found.score if found.score >= 0 else None,
        "scores": [
            {"by": did, "score": score, "reason": reason}
            for did, (score, reason) in sorted(found.scores.items())
        ],
        "reviewed_since_ns": found.found_ns or None,
    }


def _dispute(found: Dispute) -> dict[str, Any]:
    return {
        "claims": [
            {"by": by, "reason": reason, "evidence": [cid_text(cid) for cid in evidence]}
            for by, reason, evidence in found.claims
        ],
        "votes": [
            {"by": did, "seller_bp": share, "reason": reason}
            for did, (share, reason) in sorted(found.votes.items())
        ],
        "since_ns": found.found_ns or None,
    }
