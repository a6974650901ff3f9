"""Documents of `swarmd escrow`."""

from collections.abc import Mapping

from swarmd.node.console.documents.shapes import (
    AT_NS,
    CID,
    COUNT,
    DID,
    DURATION_S,
    ESCROW,
    TEXT,
    USDC,
    YES,
    Schema,
    count,
    either,
    many,
    maybe,
    more,
    nullable,
    one_of,
    record,
)

_ROW = record(
    escrow=ESCROW,
    title=TEXT,
    state=TEXT,
    role=one_of("buyer", "seller", "scorer", "panel", "awaited", "bidder", "other"),
    buyer=DID,
    seller=nullable(DID),
    amount=USDC,
    held=USDC,
    paid=USDC,
    returned=USDC,
    fee=USDC,
    covered=YES,
    waits_for=many(TEXT),
    priority=COUNT,
    deadline_ns=nullable(AT_NS),
    reason=TEXT,
    final=YES,
)
_TERMS = record(
    title=TEXT,
    spec=TEXT,
    amount=USDC,
    seller=nullable(DID),
    milestones=many(record(name=TEXT, amount=USDC)),
    deadline_ns=AT_NS,
    review_s=DURATION_S,
    scorers=many(DID),
    score_quorum=COUNT,
    panel=many(DID),
    quorum=COUNT,
    panel_s=DURATION_S,
    undecided_bp=count("the seller's part where the panel decides nothing, in hundredths of a percent"),
    after=many(record(name=TEXT, by=DID)),
)
_OFFER = record(
    offer=CID,
    by=DID,
    to=nullable(DID),
    at_ns=AT_NS,
    expires_ns=AT_NS,
    answers=nullable(CID),
    note=TEXT,
    amount=USDC,
    accepted_by=many(DID),
    terms=_TERMS,
)
_DELIVERY = record(
    cid=CID,
    note=TEXT,
    at_ns=AT_NS,
    score=nullable(COUNT),
    scores=many(record(by=DID, score=COUNT, reason=TEXT)),
    reviewed_since_ns=nullable(AT_NS),
)
_MILESTONE = record(
    name=TEXT,
    amount=USDC,
    state=one_of("open", "submitted", "approved", "paid", "ended"),
    because=TEXT,
    delivery=nullable(_DELIVERY),
)
_DISPUTE = record(
    claims=many(record(by=DID, reason=TEXT, evidence=many(CID))),
    votes=many(record(by=DID, seller_bp=count("the seller's part, in hundredths of a percent"), reason=TEXT)),
    since_ns=nullable(AT_NS),
)
_SEEN = more(
    _ROW,
    reputation=record(buyer=COUNT, seller=maybe(COUNT)),
    history=many(record(id=CID, at_ns=AT_NS, by=DID, op=TEXT, text=TEXT, void=nullable(TEXT))),
)
SHOWN = either(
    more(
        _SEEN,
        terms=_TERMS,
        offers=many(_OFFER),
        milestones=many(_MILESTONE),
        ready=many(TEXT),
        dispute=nullable(_DISPUTE),
    ),
    # Of one that a checkpoint closed, what it came to.
    more(_SEEN, discount=USDC, epoch=COUNT),
)
# Each answers with what the escrow is then.
_STEPS = (
    *("create", "offer", "counter", "accept", "fund", "submit", "score", "ready"),
    *("release", "milestone", "refund", "dispute", "resolve", "show"),
)

DOCUMENTS: Mapping[str, Schema] = {
    "escrow list": record(escrows=many(_ROW), total=COUNT),
    "escrow reputation": record(
        did=DID,
        reputation=COUNT,
        settled_well=COUNT,
        settled_badly=COUNT,
        stake=USDC,
        tier=TEXT,
        fee_discount_percent=COUNT,
        priority=COUNT,
    ),
    **{f"escrow {step}": SHOWN for step in _STEPS},
}
