"""Escrows on real daemons: two owners negotiate, deliver and release; a panel resolves a dispute; what is refused."""

import pytest
from swarmd.protocol.cids import cid_text, raw_cid
from swarmd.protocol.digest import mesh_digest
from swarmd.protocol.faults import LocalFault

GENESIS = {"epoch_s": 0, "alpha_permille": 1000}
CID = cid_text(raw_cid(b"the manual in French"))


async def all_see(nodes, escrow, wait_until, what, **expected):
    """Wait until every node shows these fields."""

    def shown(node):
        record = node.state.escrows.records.get(escrow)
        return record is not None and all(
            getattr(record.deal, name) == value for name, value in expected.items()
        )

    await wait_until(lambda: all(shown(node) for node in nodes), what)


async def end_epoch(nodes):
    """By the one whose turn it is."""
    for node in nodes:
        try:
            await node.call("checkpoint.advance")
            return
        except LocalFault as fault:
            assert fault.code == "not-our-turn"
    pytest.fail("it is nobody's turn to end the epoch")


@pytest.mark.property_id("P9")
async def test_two_owners_negotiate_deliver_and_release(mesh, wait_until):
    three = await mesh(3, genesis=GENESIS)
    ann, bob, cee = three
    await three.until_met()
    made = await ann.call(
        "escrow.create", title="Translate the manual", amount="50", seller=bob.did, key="order 7"
    )
    escrow = made["escrow"]
    assert (made["state"], made["role"], made["final"]) == ("offered", "buyer", False)
    again = await ann.refused("escrow.create", title="Translate the manual", amount="50", key="order 7")
    assert again.code == "escrow-exists"
    await all_see(three, escrow, wait_until, "the offer is everywhere", state="offered")
    parts = [{"name": "draft", "amount": "20"}, {"name": "print", "amount": "40.000001"}]
    countered = await bob.call("escrow.counter", escrow=escrow[:14], milestones=parts, note="two rounds")
    assert [offer["amount"] for offer in countered["offers"]] == ["50", "60.000001"]
    assert (await cee.refused("escrow.accept", escrow=escrow)).code == "no-offer"
    await all_see(three, escrow, wait_until, "the counter is everywhere", state="negotiating")
    await ann.call("escrow.accept", escrow=escrow)
    funded = await ann.call("escrow.fund", escrow=escrow)
    assert (funded["state"], funded["amount"], funded["seller"]) == ("funded", "60.000001", bob.did)
    await all_see(three, escrow, wait_until, "the money is locked", state="funded")
    assert (await ann.call("balance"))["minor"]["locked"] == 60_000_001
    await bob.call("escrow.submit", escrow=escrow, cid=CID, milestone="draft")
    assert (
        await bob.refused("escrow.submit", escrow=escrow, cid="nonsense", milestone="print")
    ).code == "bad-args"
    assert (await bob.refused("escrow.release", escrow=escrow)).message == "not the buyer"
    await all_see(three, escrow, wait_until, "the draft is there", state="submitted")
    half = await ann.call("escrow.release", escrow=escrow, milestones=["draft"])
    assert [each["state"] for each in half["milestones"]] == ["paid", "open"]
    assert "not open" in (await ann.refused("escrow.release", escrow=escrow, milestones=["draft"])).message
    await ann.call("escrow.release", escrow=escrow)
    await all_see(three, escrow, wait_until, "it is released", state="released")
    # 0.5 % of 20 and of 40.000001, each rounded down, stay locked for the checkpoint.
    assert (await bob.call("escrow.show", escrow=escrow))["paid"] == "59.700001"
    assert len({mesh_digest(node.state) for node in three}) == 1
    three.check_money()
    assert (
        await bob.refused("escrow.refund", escrow=escrow)
    ).message == "an escrow that is released takes no refund"
    await end_epoch(three)
    await wait_until(
        lambda: all(escrow in node.state.escrows.ended for node in three), "a checkpoint closes it"
    )
    shown = await cee.call("escrow.show", escrow=escrow)
    assert (shown["state"], shown["final"], shown["fee"], shown["held"]) == ("released", True, "0.3", "0")
    said = [step["op"] for step in shown["history"] if step["void"] is None]
    assert said == ["create", "offer", "accept", "fund", "submit", "release", "release"]
    assert (await bob.call("escrow.reputation"))["reputation"] == 66
    assert (await ann.refused("escrow.release", escrow=escrow)).code == "escrow-ended"
    listed = await ann.call("escrow.list")
    assert [(row["escrow"], row["role"]) for row in listed["escrows"]] == [(escrow, "buyer")]
    assert (await cee.call("escrow.list"))["total"] == 0
    assert (await cee.call("escrow.list", all=True))["total"] == 1
    three.check_money()


@pytest.mark.property_id("P9")
async def test_a_panel_resolves_a_dispute_and_a_restart_forgets_nothing(mesh, wait_until):
    four = await mesh(4, verifiers=2, genesis=GENESIS)
    ann, bob, cee, dan = four
    await four.until_met()
    panel = [cee.did, dan.did]
    made = await ann.call("escrow.create", title="Label images", amount="10", seller=bob.did, panel=panel)
    escrow = made["escrow"]
    assert (made["terms"]["quorum"], made["terms"]["undecided_bp"]) == (2, 5_000)
    await all_see(four, escrow, wait_until, "the offer", state="offered")
    await bob.call("escrow.accept", escrow=escrow)
    await all_see(four, escrow, wait_until, "the acceptance", state="accepted")
    await ann.call("escrow.fund", escrow=escrow)
    await all_see(four, escrow, wait_until, "the money", state="funded")
    await bob.call("escrow.submit", escrow=escrow, cid=CID)
    await all_see(four, escrow, wait_until, "the delivery", state="submitted")
    await ann.call("escrow.dispute", escrow=escrow, reason="half is missing", evidence=[CID])
    await all_see(four, escrow, wait_until, "the dispute", state="disputed")
    assert (
        await ann.refused("escrow.resolve", escrow=escrow, seller_bp=0)
    ).message == "not a member of the panel"
    assert (await cee.refused("escrow.resolve", escrow=escrow, seller_bp=10_001)).code == "bad-args"
    await cee.call("escrow.resolve", escrow=escrow, seller_bp=6_250, reason="five of eight")
    await dan.stop()
    await dan.start()
    await wait_until(lambda: len(dan.state.escrows.records[escrow].deal.dispute.votes) == 1, "the first vote")
    resolved = await dan.call("escrow.resolve", escrow=escrow, seller_bp=6_250)
    assert (resolved["state"], resolved["returned"]) == ("resolved", "3.75")
    await all_see(four, escrow, wait_until, "the verdict", state="resolved")
    paid = (await bob.call("balance"))["minor"]["earned"]
    assert paid == 6_250_000 - 31_250
    four.check_money()
    assert len({mesh_digest(node.state) for node in four}) == 1


async def test_what_a_call_may_not_say(mesh):
    [alone] = await mesh(1, genesis=GENESIS)
    for args, code in (
        ({"title": "t"}, "bad-args"),
        ({"title": "t", "amount": "1e6"}, "bad-amount"),
        ({"title": "t", "amount": "-1"}, "bad-amount"),
        ({"title": "t", "amount": "0.0000001"}, "bad-amount"),
        ({"title": "t", "amount": "0"}, "bad-amount"),
        ({"title": "t", "amount": "99999999999999999999"}, "bad-amount"),
        ({"title": "t", "amount": 5}, "bad-amount"),
        ({"title": "t", "amount": "1", "seler": alone.did}, "bad-args"),
        ({"title": "t", "amount": "1", "seller": "bob"}, "bad-args"),
        ({"title": "t", "amount": "1", "seller": alone.did}, "escrow-refused"),
        ({"title": "t", "amount": "1", "panel": [alone.did]}, "escrow-refused"),
        ({"title": "t", "amount": "1", "milestones": [{"name": "a", "amount": "2"}]}, "bad-args"),
        ({"title": "t", "milestones": [{"name": "a b", "amount": "2"}]}, "bad-args"),
        ({"title": "t", "milestones": [{"name": "a"}]}, "bad-args"),
        ({"title": "x" * 300, "amount": "1"}, "bad-args"),
        ({"title": "t", "amount": "1", "deadline_s": 0}, "escrow-refused"),
        ({"title": "t", "amount": "1", "deadline_s": 1 << 40}, "bad-args"),
        ({"title": "t", "amount": "1", "after": [{"name": "a", "by": "nobody"}]}, "bad-args"),
        ({"title": 5, "amount": "1"}, "bad-args"),
        ({"title": "t", "amount": "1", "key": "k" * 200}, "bad-args"),
    ):
        assert (await alone.refused("escrow.create", **args)).code == code, args
    assert (await alone.refused("escrow.show", escrow="escrow-nothing")).code == "unknown-escrow"
    assert (await alone.refused("escrow.fund", escrow=5)).code == "bad-args"
    made = await alone.call("escrow.create", title="t", amount="1")
    assert (await alone.refused("escrow.fund", escrow=made["escrow"])).code == "no-acceptance"
    assert (await alone.refused("escrow.score", escrow=made["escrow"], score=101)).code == "bad-args"
    withdrawn = await alone.call("escrow.refund", escrow=made["escrow"])
    assert withdrawn["state"] == "refunded"
    assert (await alone.call("balance"))["minor"]["locked"] == 0
