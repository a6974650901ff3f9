"""What two owners agree on: amounts by milestone, times, who scores, who judges a dispute, what must be there first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swarmd.protocol.escrow.payloads import ALL_BP
from swarmd.protocol.limits import MAX_DEADLINE_S, S_NS
from swarmd.protocol.work.void import Void


@dataclass(frozen=True, slots=True)
class Terms:
    """`milestones`: name -> minor units, in order, adding up to `amount`. `seller` "": whoever accepts.

    `deadline_ns`: what has not been delivered then goes back, and what waits for `after` is rolled back. `review_s`: what
    nobody disputes for so long after its delivery is paid. `scorers`: `score_quorum` of them make a score (their lower
    median). `panel`: `quorum` of it decide a dispute; after `panel_s` without them the seller gets `undecided_bp` basis points.
    `after`: name -> who says that it is there; nothing is paid before all are.
    """

    title: str
    spec: str
    amount: int
    milestones: Mapping[str, int]
    deadline_ns: int
    review_s: int
    scorers: tuple[str, ...]
    score_quorum: int
    panel: tuple[str, ...]
    quorum: int
    panel_s: int
    undecided_bp: int
    after: Mapping[str, str]
    seller: str


def split_of(amount: int, seller_bp: int) -> int:
    """The seller's part of `amount`, rounded down; the rest is the buyer's."""
    return amount * seller_bp // ALL_BP


def read(payload: Mapping[str, Any], buyer: str, said_ns: int) -> Terms:
    """Terms of a checked payload, said at `said_ns` in an escrow of `buyer`; Void if they make no sense."""
    milestones = {each["name"]: each["amount"] for each in payload["milestones"]}
    after = {each["name"]: each["by"] for each in payload["after"]}
    terms = Terms(
        title=payload["title"],
        spec=payload["spec"],
        amount=payload["amount"],
        milestones=milestones,
        deadline_ns=payload["deadline_ns"],
        review_s=payload["review_s"],
        scorers=tuple(payload["scorers"]),
        score_quorum=payload["score_quorum"],
        panel=tuple(payload["panel"]),
        quorum=payload["quorum"],
        panel_s=payload["panel_s"],
        undecided_bp=payload["undecided_bp"],
        after=after,
        seller=payload.get("seller", ""),
    )
    if len(milestones) != len(payload["milestones"]) or len(after) != len(payload["after"]):
        raise Void("two milestones, or two things to wait for, have one name")
    if min(milestones.values()) == 0 or sum(milestones.values()) != terms.amount:
        raise Void("the milestones, each above nothing, do not add up to the amount")
    if not said_ns < terms.deadline_ns <= said_ns + MAX_DEADLINE_S * S_NS:
        raise Void(f"its deadline is not within {MAX_DEADLINE_S // 86_400} days")
    _check_people(terms, buyer)
    return terms


def _check_people(terms: Terms, buyer: str) -> None:
    if terms.seller == buyer:
        raise Void("the buyer is the seller")
    parties = {buyer, terms.seller}
    for people, quorum, least, what in (
        (terms.scorers, terms.score_quorum, 1, "scorers"),
        (terms.panel, terms.quorum, len(terms.panel) // 2 + 1, "panel"),
    ):
        if len(set(people)) != len(people) or parties & set(people):
            raise Void(f"its {what} name somebody twice, or the buyer or the seller")
        if not (least <= quorum <= len(people) if people else quorum == 0):
            raise Void(f"{quorum} of {len(people)} {what} are no quorum")
