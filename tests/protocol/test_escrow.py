"""The escrow's machine by example: who may say what when, where money goes, and that ends have no way out."""

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any

import pytest
from swarmd.protocol.cbor import Link
from swarmd.protocol.cids import raw_cid
from swarmd.protocol.escrow import fees
from swarmd.protocol.escrow.deal import ENDS, Tick
from swarmd.protocol.escrow.ids import escrow_thread
from swarmd.protocol.escrow.machine import TRANSITIONS, apply, fold
from swarmd.protocol.escrow.terms import split_of
from swarmd.protocol.limits import MAX_AMOUNT, S_NS

START_NS = 1_700_000_000 * S_NS
USDC = 1_000_000
BLOCK = Link(raw_cid(b"the manual in French"))


@dataclass
class Table:
    """One escrow and everybody who may speak about it: `say` builds what somebody says, `deal` folds all that was said."""

    author_of: Any
    terms: dict[str, Any] = field(default_factory=dict)
    said: list[Any] = field(default_factory=list)
    base: list[Any] = field(default_factory=list)
    at_ns: int = START_NS
    lamport: int = 0

    def __post_init__(self):
        self.people = {
            name: self.author_of(name) for name in ("ann", "bob", "cee", "dan", "eve", "fay", "gus")
        }
        self.thread = escrow_thread(self.did("ann"), bytes(16))
        names = self.did
        self.terms = {
            "title": "a translation",
            "spec": "",
            "amount": 100 * USDC,
            "milestones": [{"name": "all", "amount": 100 * USDC}],
            "deadline_ns": START_NS + 3_600 * S_NS,
            "review_s": 600,
            "scorers": [],
            "score_quorum": 0,
            "panel": [names("cee"), names("dan"), names("eve")],
            "quorum": 2,
            "panel_s": 600,
            "undecided_bp": 5_000,
            "after": [],
            "seller": names("bob"),
            **self.terms,
        }

    def did(self, name):
        return self.people[name].did

    def say(self, who, op, refs=(), **more):
        self.at_ns += S_NS
        self.lamport += 1
        payload = {"op": op, **more}
        said = self.people[who].envelope(
            "ESCROW", payload, thread=self.thread, ts_ns=self.at_ns, lamport=self.lamport, refs=tuple(refs)
        )
        self.said.append(said)
        return said

    def deal(self, said=None):
        return fold(self.thread, self.base, self.said if said is None else said)

    def void(self, said):
        """Why it is void, or None."""
        return self.deal().void.get(said.id)

    def checkpoint(self, seconds=0, covered=True):
        """What a checkpoint makes of all that was said: the next base."""
        self.at_ns += seconds * S_NS
        deal = self.deal()
        if deal.state not in ENDS:
            apply(deal, Tick(self.at_ns, covered))
        self.base, self.said = list(deal.steps), []
        return deal

    # The usual steps.

    def create(self, **terms):
        made = {"terms": {**self.terms, **terms}, "expires_ns": self.at_ns + 600 * S_NS}
        return self.say("ann", "create", nonce=bytes(16), **made)

    def offer(self, who, before, **terms):
        expires_ns = self.at_ns + 600 * S_NS
        return self.say(
            who, "offer", [before.id], terms={**self.terms, **terms}, expires_ns=expires_ns, note=""
        )

    def funded(self, **terms):
        created = self.create(**terms)
        accepted = self.say("bob", "accept", [created.id])
        return self.fund(accepted, {**self.terms, **terms}["amount"])

    def fund(self, accepted, amount=100 * USDC, who="ann", seq=0):
        return self.say(who, "fund", [accepted.id], amount=amount, fund={"seq": seq, "prev": bytes(32)})

    def submit(self, fund, who="bob", milestone="all"):
        return self.say(who, "submit", [fund.id], milestone=milestone, deliverable=BLOCK, note="")

    def release(self, fund, *milestones, who="ann"):
        return self.say(who, "release", [fund.id], milestones=list(milestones))

    def dispute(self, fund, who="ann"):
        return self.say(who, "dispute", [fund.id], reason="half is missing", evidence=[BLOCK])

    def vote(self, who, dispute, seller_bp):
        return self.say(who, "resolve", [dispute.id], seller_bp=seller_bp, reason="")


@pytest.fixture
def table(author_of):
    return lambda **terms: Table(author_of, terms)


def adds_up(deal):
    """Conservation: what is paid, given back, kept as fee and open is what was locked."""
    if deal.terms is None or deal.uncovered:
        assert not deal.payments()
        return
    out = sum(amount for _, amount in deal.payments().values())
    assert out + deal.fee() + sum(deal.open.values()) == deal.terms.amount
    assert all(amount > 0 for _, amount in deal.payments().values())


def get(deal, did):
    return sum(amount for who, amount in deal.payments().values() if who == did)


# Negotiation -------------------------------------------------------------------------------------------------


def test_offer_counter_offer_accept_fund(table):
    t = table()
    created = t.create()
    assert t.deal().state == "offered"
    dearer = t.offer("bob", created, amount=120 * USDC, milestones=[{"name": "all", "amount": 120 * USDC}])
    between = t.offer("ann", dearer, amount=110 * USDC, milestones=[{"name": "all", "amount": 110 * USDC}])
    assert t.deal().state == "negotiating"
    accepted = t.say("bob", "accept", [between.id])
    assert t.deal().state == "accepted"
    fund = t.fund(accepted, 110 * USDC)
    deal = t.deal()
    assert (deal.state, deal.seller, deal.terms.amount) == ("funded", t.did("bob"), 110 * USDC)
    assert (deal.fund, [offer.answers for offer in deal.offers.values()]) == (
        fund.id,
        [b"", created.id, dearer.id],
    )
    assert not deal.void
    adds_up(deal)


def test_strangers_and_the_wrong_side_accept_nothing(table):
    t = table()
    created = t.create()
    assert t.void(t.say("gus", "accept", [created.id])) == "the offer was made to another"
    assert t.void(t.say("ann", "accept", [created.id])) == "nobody accepts an offer of its own"
    counter = t.offer("bob", created)
    assert t.void(t.say("bob", "accept", [counter.id])) == "nobody accepts an offer of its own"
    assert t.void(t.say("gus", "accept", [counter.id])) == "the offer was made to another"
    assert "stranger" in t.void(t.offer("gus", created, seller=t.did("gus")))
    assert "is the seller in it" in t.void(t.offer("bob", created, seller=t.did("gus")))
    assert "names another" in t.void(t.offer("ann", counter, seller=t.did("gus")))
    assert t.deal().state == "negotiating"


def test_an_offer_expires(table):
    t = table()
    created = t.create()
    t.at_ns += 600 * S_NS
    assert t.void(t.say("bob", "accept", [created.id])) == "the offer has expired"
    again = t.offer("ann", created)
    assert t.void(t.say("bob", "accept", [again.id])) is None
    # Nobody funds it: a checkpoint after the deadline ends it.
    assert t.checkpoint(2_900).state == "accepted"
    assert t.checkpoint(3_000).state == "expired"


def test_offers_that_nobody_accepts_end_with_a_checkpoint(table):
    t = table()
    t.create()
    assert t.checkpoint(500).state == "offered"
    assert (t.checkpoint(200).state, t.deal().fault) == ("expired", "")


def test_an_open_offer_goes_to_whom_the_buyer_funds(table):
    t = table()
    del t.terms["seller"]
    created = t.create()
    one, two = t.say("bob", "accept", [created.id]), t.say("gus", "accept", [created.id])
    counter = t.offer(
        "fay",
        created,
        seller=t.did("fay"),
        amount=90 * USDC,
        milestones=[{"name": "all", "amount": 90 * USDC}],
    )
    assert t.void(counter) == "an escrow that is accepted takes no offer"
    assert t.void(t.say("cee", "accept", [created.id])) == "a scorer or a member of the panel is the seller"
    t.fund(two)
    deal = t.deal()
    assert (deal.seller, len(deal.acceptances)) == (t.did("gus"), 2)
    assert one.id in deal.acceptances
    assert t.void(t.say("bob", "accept", [created.id])) == "an escrow that is funded takes no accept"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"amount": 99 * USDC}, "do not add up"),
        ({"milestones": [{"name": "a", "amount": 0}, {"name": "b", "amount": 100 * USDC}]}, "do not add up"),
        ({"milestones": [{"name": "a", "amount": 50 * USDC}] * 2}, "have one name"),
        ({"amount": MAX_AMOUNT, "milestones": [{"name": "a", "amount": MAX_AMOUNT}, {"name": "b", "amount": 1}]}, "do not add up"),
        ({"deadline_ns": START_NS}, "deadline is not within"),
        ({"deadline_ns": START_NS + 31 * 86_400 * S_NS}, "deadline is not within"),
        ({"quorum": 1}, "no quorum"),
        ({"quorum": 4}, "no quorum"),
        ({"panel": [], "quorum": 1}, "no quorum"),
        ({"score_quorum": 1}, "no quorum"),
    ],
)  # fmt: skip
def test_terms_that_make_no_sense(table, change, why):
    t = table()
    assert why in t.void(t.create(**change))
    assert t.deal().state == "new"


def test_people_who_cannot_be_what_the_terms_make_them(table):
    for change in ({"seller": "ann"}, {"panel": ["ann", "cee", "dan"]}, {"panel": ["bob", "cee", "dan"]}):
        t = table()
        named = {
            role: t.did(who) if type(who) is str else [t.did(w) for w in who] for role, who in change.items()
        }
        assert t.void(t.create(**named))
    t = table()
    twice = [t.did("cee"), t.did("cee"), t.did("dan")]
    assert "twice" in t.void(t.create(panel=twice))


def test_only_the_buyer_opens_its_escrow(table):
    t = table()
    stolen = t.say("bob", "create", nonce=bytes(16), terms=t.terms, expires_ns=t.at_ns + 9 * S_NS)
    assert t.void(stolen) == "it is not its sender's escrow"
    t.create()
    assert t.void(t.create()) == "an escrow that is offered takes no create"


def test_a_fund_is_the_buyers_and_of_the_agreed_amount(table):
    t = table()
    created = t.create()
    accepted = t.say("bob", "accept", [created.id])
    assert t.void(t.fund(accepted, who="bob")) == "not the buyer"
    assert "the terms say" in t.void(t.fund(accepted, 99 * USDC))
    assert t.void(t.say("ann", "fund", [created.id], amount=1, fund={"seq": 0, "prev": bytes(32)}))
    first = t.fund(accepted)
    assert t.void(first) is None
    assert t.void(t.fund(accepted, seq=1)) == "an escrow that is funded takes no fund"


# Work --------------------------------------------------------------------------------------------------------


def test_released_by_the_buyer_the_seller_gets_all_but_the_fee(table):
    t = table()
    fund = t.funded()
    t.submit(fund)
    assert t.deal().state == "submitted"
    t.release(fund)
    deal = t.deal()
    assert (deal.state, deal.fee()) == ("released", 500_000)
    assert deal.payments() == {"milestone/all": (t.did("bob"), 99_500_000)}
    adds_up(deal)
    for again in (
        t.release(fund),
        t.say("bob", "refund", [fund.id], reason=""),
        t.dispute(fund),
        t.submit(fund),
    ):
        assert t.void(again) == f"an escrow that is released takes no {again.payload['op']}"
    assert t.deal().payments() == deal.payments()


def test_a_score_of_80_releases_by_itself_and_79_does_not(table):
    for score, state, paid in ((80, "released", 99_500_000), (79, "verified", 0)):
        t = table(scorers=["x"], score_quorum=1)
        t.terms["scorers"] = [t.did("fay")]
        fund = t.funded()
        delivered = t.submit(fund)
        assert t.void(t.say("gus", "score", [delivered.id], score=100, reason="")) == "not a scorer"
        assert t.void(t.say("bob", "score", [delivered.id], score=100, reason="")) == "not a scorer"
        t.say("fay", "score", [delivered.id], score=score, reason="")
        deal = t.deal()
        assert (deal.state, get(deal, t.did("bob"))) == (state, paid)
        adds_up(deal)


def test_the_lower_median_of_a_quorum_counts_and_later_scores_do_not(table):
    t = table(score_quorum=2)
    t.terms["scorers"] = [t.did(name) for name in ("fay", "gus", "cee")]
    t.terms["panel"], t.terms["quorum"] = [], 0
    fund = t.funded()
    delivered = t.submit(fund)
    t.say("fay", "score", [delivered.id], score=95, reason="")
    assert t.void(t.say("fay", "score", [delivered.id], score=95, reason="")) == "it was scored before"
    assert t.deal().state == "submitted"
    t.say("gus", "score", [delivered.id], score=60, reason="")
    assert (t.deal().submissions["all"].score, t.deal().state) == (60, "verified")
    assert t.void(t.say("cee", "score", [delivered.id], score=99, reason="")) == "it was scored before"
    # What failed may be delivered again, and is scored anew.
    better = t.submit(fund)
    assert t.deal().state == "submitted"
    for who in ("cee", "fay"):
        t.say(who, "score", [better.id], score=88, reason="")
    assert t.deal().state == "released"


def test_milestones_are_paid_one_by_one(table):
    parts = [{"name": "draft", "amount": 40 * USDC + 1}, {"name": "print", "amount": 60 * USDC - 1}]
    t = table(milestones=parts)
    fund = t.funded()
    t.submit(fund, milestone="draft")
    t.release(fund, "draft")
    deal = t.deal()
    assert (deal.state, deal.open) == ("funded", {"print": 60 * USDC - 1})
    assert deal.payments() == {"milestone/draft": (t.did("bob"), 40 * USDC + 1 - 200_000)}
    adds_up(deal)
    assert "not open" in t.void(t.release(fund, "draft"))
    assert "not open" in t.void(t.release(fund, "print", "draft"))
    assert "twice" in t.void(t.release(fund, "print", "print"))
    assert "not open" in t.void(t.submit(fund, milestone="draft"))
    assert t.deal().payments() == deal.payments()
    t.say("bob", "refund", [fund.id], reason="no time")
    deal = t.deal()
    assert (deal.state, deal.returned, deal.fault) == ("refunded", 60 * USDC - 1, t.did("bob"))
    adds_up(deal)


def test_who_may_release_and_refund(table):
    t = table()
    fund = t.funded()
    for who in ("bob", "cee", "gus"):
        assert t.void(t.release(fund, who=who)) == "not the buyer"
    for who in ("ann", "cee", "gus"):
        assert "only the seller" in t.void(t.say(who, "refund", [fund.id], reason=""))
    assert t.void(t.submit(fund, who="ann")) == "not the seller"
    assert t.deal().payments() == {}


def test_before_funding_the_buyer_withdraws(table):
    t = table()
    created = t.create()
    assert "withdraws" in t.void(t.say("bob", "refund", [created.id], reason=""))
    t.say("ann", "refund", [created.id], reason="")
    assert (t.deal().state, t.deal().fault) == ("refunded", "")
    assert t.void(t.say("bob", "accept", [created.id])) == "an escrow that is refunded takes no accept"


def test_what_nobody_objects_to_is_paid_after_the_review(table):
    t = table(review_s=600)
    fund = t.funded()
    t.submit(fund)
    # The clock of a review begins with the first checkpoint that finds the delivery, whatever its sender's time says.
    assert t.checkpoint(900).state == "submitted"
    assert t.checkpoint(599).state == "submitted"
    deal = t.checkpoint(1)
    assert (deal.state, deal.paid["all"][1]) == ("released", "nobody objected in time")
    adds_up(deal)


def test_a_new_delivery_begins_the_review_anew(table):
    t = table(review_s=600)
    fund = t.funded()
    t.submit(fund)
    t.checkpoint(1)
    t.submit(fund)
    assert t.checkpoint(601).state == "submitted"
    assert t.checkpoint(600).state == "released"


def test_what_is_not_delivered_by_the_deadline_goes_back(table):
    t = table()
    t.funded()
    assert t.checkpoint(3_000).state == "funded"
    deal = t.checkpoint(3_000)
    assert (deal.state, deal.returned, deal.fault) == ("expired", 100 * USDC, t.did("bob"))
    adds_up(deal)


def test_what_goes_back_later_is_a_payment_of_its_own(table):
    """A payment that a checkpoint has never changes: the second return must not hide behind the first."""
    parts = [{"name": "draft", "amount": 40 * USDC}, {"name": "print", "amount": 60 * USDC}]
    t = table(milestones=parts, review_s=3_600)
    fund = t.funded()
    t.submit(fund, milestone="draft")
    first = t.checkpoint(3_700).payments()
    assert first == {"escrow/return/milestone/print": (t.did("ann"), 60 * USDC)}
    t.say("bob", "refund", [fund.id], reason="")
    deal = t.deal()
    assert (deal.state, deal.returned) == ("refunded", 100 * USDC)
    assert first.items() <= deal.payments().items() and get(deal, t.did("ann")) == 100 * USDC
    adds_up(deal)


def test_money_that_never_came_pays_nobody(table):
    t = table()
    fund = t.funded()
    t.release(fund, who="bob")
    t.checkpoint(10, covered=False)
    deal = t.checkpoint(4_000, covered=False)
    assert (deal.state, deal.uncovered, deal.payments(), deal.fault) == ("expired", True, {}, t.did("ann"))


# Waiting for others ------------------------------------------------------------------------------------------


def awaiting(table):
    t = table()
    t.terms["after"] = [{"name": "dataset", "by": t.did("fay")}, {"name": "licence", "by": t.did("gus")}]
    return t


def test_what_waits_is_paid_once_all_is_ready(table):
    t = awaiting(table)
    fund = t.funded()
    t.submit(fund)
    t.release(fund)
    deal = t.deal()
    assert (deal.state, deal.payments(), deal.awaited()) == ("verified", {}, ["dataset", "licence"])
    assert "not its sender" in t.void(t.say("gus", "ready", [fund.id], name="dataset"))
    t.say("fay", "ready", [fund.id], name="dataset")
    assert "before" in t.void(t.say("fay", "ready", [fund.id], name="dataset"))
    assert t.deal().payments() == {}
    t.say("gus", "ready", [fund.id], name="licence")
    deal = t.deal()
    assert (deal.state, get(deal, t.did("bob"))) == ("released", 99_500_000)
    adds_up(deal)


def test_what_is_not_ready_in_time_is_rolled_back(table):
    t = awaiting(table)
    fund = t.funded()
    t.submit(fund)
    t.release(fund)
    t.say("fay", "ready", [fund.id], name="dataset")
    assert t.checkpoint(3_000).state == "verified"
    deal = t.checkpoint(3_000)
    assert (deal.state, deal.returned, deal.fault) == ("expired", 100 * USDC, "")
    assert "rolled back" in deal.reason
    adds_up(deal)


# Disputes ----------------------------------------------------------------------------------------------------


def test_a_panel_splits_by_quorum(table):
    t = table()
    fund = t.funded()
    t.submit(fund)
    dispute = t.dispute(fund)
    t.say("bob", "dispute", [fund.id], reason="all is there", evidence=[])
    assert [by for by, _, _ in t.deal().dispute.claims] == [t.did("ann"), t.did("bob")]
    assert t.void(t.vote("gus", dispute, 0)) == "not a member of the panel"
    t.vote("cee", dispute, 7_000)
    t.vote("dan", dispute, 3_000)
    t.vote("cee", dispute, 7_000)  # once more is once
    assert t.deal().state == "disputed"
    t.vote("dan", dispute, 7_000)  # it lets itself be convinced
    deal = t.deal()
    assert (deal.state, deal.split, deal.returned) == ("resolved", 70 * USDC, 30 * USDC)
    assert (get(deal, t.did("bob")), get(deal, t.did("ann"))) == (70 * USDC - 350_000, 30 * USDC)
    assert deal.fault == t.did("ann")
    adds_up(deal)
    assert t.void(t.vote("eve", dispute, 0)) == "an escrow that is resolved takes no resolve"


def test_in_a_dispute_nothing_but_concessions_moves_money(table):
    parts = [{"name": "draft", "amount": 40 * USDC}, {"name": "print", "amount": 60 * USDC}]
    t = table(milestones=parts)
    t.terms["scorers"], t.terms["score_quorum"] = [t.did("fay")], 1
    fund = t.funded()
    delivered = t.submit(fund, milestone="draft")
    t.dispute(fund)
    assert "disputed takes no score" in t.void(t.say("fay", "score", [delivered.id], score=100, reason=""))
    assert "disputed takes no submit" in t.void(t.submit(fund, milestone="print"))
    t.release(fund, "draft")  # the buyer gives way in part
    deal = t.deal()
    assert (deal.state, get(deal, t.did("bob"))) == ("disputed", 40 * USDC - 200_000)
    t.say("bob", "refund", [fund.id], reason="the rest is yours")
    assert (t.deal().state, t.deal().returned) == ("refunded", 60 * USDC)
    adds_up(t.deal())


def test_a_panel_that_is_silent_splits_as_agreed(table):
    t = table(undecided_bp=3_333)
    fund = t.funded()
    t.dispute(fund)
    assert t.checkpoint(1).state == "disputed"
    assert t.checkpoint(599).state == "disputed"
    deal = t.checkpoint(1)
    assert (deal.state, deal.split, deal.returned) == ("resolved", 33_330_000, 66_670_000)
    adds_up(deal)


def test_who_may_dispute_and_when(table):
    t = table()
    fund = t.funded()
    assert "neither" in t.void(t.dispute(fund, who="cee"))
    t.release(fund)
    assert "released takes no dispute" in t.void(t.dispute(fund))
    t = table(panel=[], quorum=0)
    assert "no panel" in t.void(t.dispute(t.funded()))


# The fold ----------------------------------------------------------------------------------------------------


def test_release_and_refund_race_and_all_orders_agree_on_one(table):
    t = table()
    fund = t.funded()
    t.submit(fund)
    t.lamport += 1
    one = t.release(fund)
    t.lamport -= 1  # said at once: nobody saw the other's
    two = t.say("bob", "refund", [fund.id], reason="")
    common = [each for each in t.said if each not in (one, two)]
    deals = [t.deal(order) for order in ([*common, one, two], [*common, two, one])]
    assert deals[0].payments() == deals[1].payments() and deals[0].state == deals[1].state
    assert Counter(len(deal.void) for deal in deals) == {1: 2}
    adds_up(deals[0])


def test_what_a_checkpoint_fixed_no_backdated_word_undoes(table):
    t = table()
    fund = t.funded()
    t.submit(fund)
    t.release(fund)
    before = t.deal().payments()
    t.checkpoint(1)
    t.lamport = 3  # as early as it likes
    late = t.say("bob", "refund", [fund.id], reason="")
    assert t.void(late) and t.deal().payments() == before


def test_the_order_of_arrival_does_not_matter(table):
    t = table()
    fund = t.funded()
    t.submit(fund)
    dispute = t.dispute(fund)
    t.vote("cee", dispute, 2_000)
    t.vote("dan", dispute, 2_000)
    t.vote("eve", dispute, 9_000)
    expected = t.deal()
    for order in list(permutations(t.said))[::97]:
        found = t.deal(order)
        assert (found.state, found.payments(), found.void) == (
            expected.state,
            expected.payments(),
            expected.void,
        )


def test_effects_before_causes_and_unknown_causes_are_void(table):
    t = table()
    created = t.create()
    early = t.people["bob"].envelope(
        "ESCROW", {"op": "accept"}, thread=t.thread, lamport=t.lamport, ts_ns=t.at_ns, refs=(created.id,)
    )
    assert "not said after" in t.deal([created, early]).void[early.id]
    t.lamport += 5
    lost = t.say("bob", "accept", [raw_cid(b"nothing")])
    assert t.void(lost) == "it refers to what moved nothing"


def test_ends_have_no_way_out_and_every_state_a_way_in():
    reached = {target for ops in TRANSITIONS.values() for targets in ops.values() for target in targets}
    assert reached | {"new"} == set(TRANSITIONS)
    for state, ops in TRANSITIONS.items():
        assert (not ops) == (state in ENDS)


# Fees --------------------------------------------------------------------------------------------------------


def test_fees_discounts_priorities_and_ratings():
    assert [fees.fee_of(amount) for amount in (0, 1, 199, 200, 399, 100 * USDC)] == [0, 0, 0, 1, 1, 500_000]
    assert fees.fee_of(MAX_AMOUNT) == MAX_AMOUNT // 200
    off = {stake: fees.tier_of(stake * USDC).off_percent for stake in (0, 99, 100, 1_000, 10_000, 100_000)}
    assert off == {0: 0, 99: 0, 100: 50, 1_000: 65, 10_000: 80, 100_000: 100}
    assert fees.discount_of(3, 100 * USDC) == 1 and fees.discount_of(3, 100_000 * USDC) == 3
    priorities = [fees.priority_of(stake * USDC) for stake in (0, 1, 2, 100, 10_000, 1 << 40)]
    assert priorities == [0, 5, 10, 35, 70, 100] == sorted(priorities)
    assert [fees.rating(*counts) for counts in ((0, 0), (1, 0), (98, 0), (0, 98))] == [50, 66, 99, 1]
    assert split_of(MAX_AMOUNT, 10_000) == MAX_AMOUNT and split_of(3, 5_000) == 1


def test_a_deal_is_what_its_steps_are(table):
    t = table()
    fund = t.funded()
    t.submit(fund)
    deal = t.checkpoint(1)
    assert replace(fold(t.thread, deal.steps, ()), void={}) == replace(deal, void={})
