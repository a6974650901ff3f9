"""The escrow's machine against random people: conservation, ends, order, and a second reading of who was owed what."""

from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from swarmd.protocol.cbor import Link
from swarmd.protocol.cids import raw_cid
from swarmd.protocol.escrow.deal import ENDS, Tick
from swarmd.protocol.escrow.ids import escrow_thread
from swarmd.protocol.escrow.machine import TRANSITIONS, apply, fold
from swarmd.protocol.limits import S_NS

START_NS = 1_700_000_000 * S_NS
PEOPLE = ("ann", "bob", "cee", "dan", "eve", "fay")
BLOCK = Link(raw_cid(b"work"))


@pytest.fixture(scope="session")
def machine_of(author_of):
    """The state machine, with this session's way to build envelopes."""

    class Escrow(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            self.people = {name: author_of(name) for name in PEOPLE}
            self.thread = escrow_thread(self.people["ann"].did, bytes(16))
            self.base, self.said, self.lamport, self.now_s = [], [], 0, 0
            self.last = None
            self.loose = []  # said, and on its way
            self.was = {}

        # What there is to say, and who says it: anybody, anything.

        def say(self, who, payload, refs, back_s=0, hold=False):
            self.lamport += 1
            said = self.people[who].envelope(
                "ESCROW",
                payload,
                thread=self.thread,
                lamport=self.lamport,
                ts_ns=START_NS + (self.now_s - min(back_s, self.now_s)) * S_NS,
                refs=tuple(dict.fromkeys(refs)),
            )
            (self.loose if hold else self.said).append(said)

        def known(self, *ops):
            found = [e for e in self.said + [s for s in self.base if not isinstance(s, Tick)]]
            return [e.id for e in found if e.payload["op"] in ops]

        @initialize(
            parts=st.lists(st.integers(1, 10**9), min_size=1, max_size=4),
            scorers=st.sampled_from([(), ("fay",), ("eve", "fay")]),
            panel=st.sampled_from([(), ("cee",), ("cee", "dan", "eve")]),
            after=st.sampled_from([(), ("dan",)]),
            open_offer=st.booleans(),
            undecided=st.integers(0, 10_000),
        )
        def begin(self, parts, scorers, panel, after, open_offer, undecided):
            did = {name: author.did for name, author in self.people.items()}
            self.parts = {f"m{number}": amount for number, amount in enumerate(parts)}
            self.scorers, self.panel = scorers, panel
            self.terms = {
                "title": "",
                "spec": "",
                "amount": sum(parts),
                "milestones": [{"name": name, "amount": amount} for name, amount in self.parts.items()],
                "deadline_ns": START_NS + 1_000 * S_NS,
                "review_s": 100,
                "scorers": [did[name] for name in scorers],
                "score_quorum": len(scorers) // 2 + 1 if scorers else 0,
                "panel": [did[name] for name in panel],
                "quorum": len(panel) // 2 + 1 if panel else 0,
                "panel_s": 100,
                "undecided_bp": undecided,
                "after": [{"name": "it", "by": did[name]} for name in after],
            }
            if not open_offer:
                self.terms["seller"] = did["bob"]
            self.say(
                "ann",
                {
                    "op": "create",
                    "nonce": bytes(16),
                    "terms": self.terms,
                    "expires_ns": START_NS + 300 * S_NS,
                },
                (),
            )

        @rule(who=st.sampled_from(PEOPLE), hold=st.booleans(), data=st.data())
        def negotiate(self, who, hold, data):
            offers = self.known("create", "offer")
            ref = data.draw(st.sampled_from(offers)) if offers else raw_cid(b"none")
            terms = dict(self.terms)
            if who != "ann":
                terms["seller"] = self.people[who].did
            body = {"op": "offer", "terms": terms, "expires_ns": START_NS + 900 * S_NS, "note": ""}
            self.say(who, body if data.draw(st.booleans()) else {"op": "accept"}, [ref], hold=hold)

        @rule(who=st.sampled_from(("ann", "ann", "bob")), extra=st.sampled_from((0, 0, 0, 1, -1)))
        def pay_in(self, who, extra):
            accepted = self.known("accept")
            body = {
                "op": "fund",
                "amount": max(0, self.terms["amount"] + extra),
                "fund": {"seq": len(self.said), "prev": bytes(32)},
            }
            self.say(who, body, accepted[-1:] or [raw_cid(b"none")])

        @precondition(lambda self: self.last is not None and self.last.fund)
        @rule(
            who=st.sampled_from(PEOPLE),
            op=st.sampled_from(
                ("submit", "submit", "release", "refund", "dispute", "ready", "score", "resolve")
            ),
            back_s=st.sampled_from((0, 0, 500)),
            hold=st.booleans(),
            data=st.data(),
        )
        def work(self, who, op, back_s, hold, data):
            part = data.draw(st.sampled_from([*self.parts, "nothing"]))
            refs = [self.last.fund]
            if op == "score":
                refs += [each.id for each in self.last.submissions.values()]
            if op == "resolve" and self.last.dispute is not None:
                refs.append(self.last.dispute.id)
            body = {
                "submit": {"milestone": part, "deliverable": BLOCK, "note": ""},
                "release": {"milestones": data.draw(st.sampled_from([[], [part], list(self.parts)]))},
                "refund": {"reason": ""},
                "dispute": {"reason": "", "evidence": []},
                "ready": {"name": "it"},
                "score": {"score": data.draw(st.integers(0, 100)), "reason": ""},
                "resolve": {"seller_bp": data.draw(st.sampled_from((0, 3_333, 10_000))), "reason": ""},
            }[op]
            self.say(who, {"op": op, **body}, refs, back_s, hold)

        @rule(seconds=st.sampled_from((1, 50, 120, 400)))
        def wait(self, seconds):
            self.now_s += seconds

        @rule()
        def arrive(self):
            """What was on its way comes, with the lamport that it had then."""
            self.said += self.loose
            self.loose = []

        @rule(covered=st.sampled_from((True, True, True, False)))
        def checkpoint(self, covered):
            deal = fold(self.thread, self.base, self.said)
            if deal.state in ENDS:
                return
            before = deal.state
            apply(deal, Tick(START_NS + self.now_s * S_NS, covered))
            assert deal.state == before or deal.state in TRANSITIONS[before]["tick"]
            self.base, self.said = list(deal.steps), []
            self.fixed = deal.payments()
            again = fold(self.thread, self.base, ())
            assert (again.state, again.payments(), again.open) == (deal.state, deal.payments(), deal.open)

        # What always holds.

        @invariant()
        def it_adds_up_in_every_order(self):
            deal = fold(self.thread, self.base, self.said)
            self.last = deal
            if not self.said and not self.base:
                return
            out = sum(amount for _, amount in deal.payments().values())
            if deal.terms is None or deal.uncovered:
                assert out == 0
            else:
                assert out + deal.fee() + sum(deal.open.values()) == deal.terms.amount
                assert all(type(amount) is int and amount > 0 for _, amount in deal.payments().values())
                assert {who for who, _ in deal.payments().values()} <= {deal.buyer, deal.seller}
                # 0.5 % of what the seller is given, but for less than a unit a payment.
                exact = Fraction(deal.gross() * 50, 10_000)
                assert exact - len(deal.paid) - 1 < deal.fee() <= exact
            for order in (self.said[::-1], self.said[1::2] + self.said[::2]):
                other = fold(self.thread, self.base, order)
                assert (other.state, other.payments(), other.void) == (
                    deal.state,
                    deal.payments(),
                    deal.void,
                )
            assert (not deal.open) or deal.state not in ENDS

        @invariant()
        def nobody_is_paid_but_by_who_may(self):
            """Read anew: whose word, of those that counted, is behind each payment."""
            deal = self.last
            if deal is None or deal.terms is None:
                return
            did = {author.did: name for name, author in self.people.items()}
            steps = [step for step in deal.steps if not isinstance(step, Tick)]
            by_buyer = any(s.payload["op"] == "release" and did[s.sender] == "ann" for s in steps)
            scored = any(s.payload["op"] == "score" and did[s.sender] in self.scorers for s in steps)
            voted = {did[s.sender] for s in steps if s.payload["op"] == "resolve"}
            ticked = any(isinstance(step, Tick) for step in deal.steps)
            if deal.paid:
                assert by_buyer or scored or ticked
            if deal.split >= 0:
                assert ticked or len(voted) >= deal.terms.quorum > len(self.panel) / 2
            if deal.returned and deal.split < 0:
                refunded = any(s.payload["op"] == "refund" and s.sender == deal.seller for s in steps)
                assert refunded or ticked
            if deal.awaited():
                assert not deal.paid

        @invariant()
        def what_a_checkpoint_fixed_stays(self):
            fixed = getattr(self, "fixed", {})
            if self.last is not None and not self.last.uncovered:
                assert fixed.items() <= self.last.payments().items()

    return Escrow


@pytest.mark.property_id("P9")
def test_random_people_never_make_or_lose_money(machine_of):
    run = machine_of.TestCase
    run.settings = settings(
        max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run().runTest()


@pytest.mark.property_id("P9")
@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 1 << 57), min_size=1, max_size=32), st.integers(0, 10_000))
def test_splits_and_fees_lose_no_unit(author_of, parts, share):
    people = {name: author_of(name) for name in ("ann", "bob", "cee")}
    ann, bob, cee = people.values()
    thread = escrow_thread(ann.did, bytes(16))
    lamport = 0

    def say(author, refs, **payload):
        nonlocal lamport
        lamport += 1
        return author.envelope(
            "ESCROW", payload, thread=thread, lamport=lamport, ts_ns=START_NS + lamport, refs=tuple(refs)
        )

    terms = {
        "title": "", "spec": "", "amount": sum(parts), "seller": bob.did,
        "milestones": [{"name": f"m{n}", "amount": amount} for n, amount in enumerate(parts)],
        "deadline_ns": START_NS + 9 * S_NS, "review_s": 0, "scorers": [], "score_quorum": 0, "panel": [cee.did],
        "quorum": 1, "panel_s": 0, "undecided_bp": 0, "after": [],
    }  # fmt: skip
    created = say(ann, (), op="create", nonce=bytes(16), terms=terms, expires_ns=START_NS + S_NS)
    accepted = say(bob, [created.id], op="accept")
    fund = say(ann, [accepted.id], op="fund", amount=sum(parts), fund={"seq": 0, "prev": bytes(32)})
    released = say(ann, [fund.id], op="release", milestones=["m0"])
    dispute = say(bob, [fund.id], op="dispute", reason="", evidence=[])
    vote = say(cee, [dispute.id], op="resolve", seller_bp=share, reason="")
    deal = fold(thread, (), [created, accepted, fund, released, dispute, vote])
    assert deal.state == ("resolved" if len(parts) > 1 else "released")
    assert sum(amount for _, amount in deal.payments().values()) + deal.fee() == sum(parts)
