"""What a peer may say about escrows and what comes of it: nothing, charged to it, and every daemon lives (P10)."""

import pytest
from swarmd.protocol.digest import mesh_digest
from swarmd.protocol.escrow.ids import escrow_thread

GENESIS = {"epoch_s": 0, "alpha_permille": 1000}


@pytest.mark.property_id("P10")
async def test_a_stranger_gets_nothing_out_of_an_escrow(mesh, stranger, wait_until):
    two = await mesh(2, genesis=GENESIS)
    ann, bob = two
    await two.until_met()
    made = await ann.call("escrow.create", title="Translate", amount="5", seller=bob.did)
    escrow = made["escrow"]
    await wait_until(lambda: escrow in bob.state.escrows.records, "the offer")
    await bob.call("escrow.accept", escrow=escrow)
    await wait_until(lambda: ann.state.escrows.records[escrow].deal.acceptances, "the acceptance")
    await ann.call("escrow.fund", escrow=escrow)
    await wait_until(lambda: bob.state.escrows.records[escrow].deal.fund, "the money")
    fund = bob.state.escrows.records[escrow].deal.fund
    before = [(await node.call("balance"))["minor"] for node in two]
    thief = stranger(two.genesis)
    async with thief.connected(*two):
        own = escrow_thread(thief.did, bytes(16))
        created = bob.state.escrows.records[escrow].deal.steps[0].payload
        said = [
            thief.envelope("ESCROW", escrow, {"op": "release", "milestones": []}, refs=[fund]),
            thief.envelope("ESCROW", escrow, {"op": "refund", "reason": "mine"}, refs=[fund]),
            thief.envelope("ESCROW", own, {**created, "nonce": b"y" * 16}),
            # More than it has, and for an acceptance that is another's.
            thief.envelope(
                "ESCROW",
                escrow,
                {"op": "fund", "amount": (1 << 63) - 1, "fund": {"seq": 0, "prev": bytes(32)}},
                refs=[fund],
            ),
        ]
        for frame in thief.frames_of([said[0], said[1], said[3]], [said[2]]):
            await thief.transport.publish(frame)
        await wait_until(lambda: "misplaced-escrow" in thief.faults(ann), "it is charged")
        assert thief.score(ann) < 1.0
    assert [(await node.call("balance"))["minor"] for node in two] == before
    shown = await bob.call("escrow.show", escrow=escrow)
    assert (shown["state"], shown["held"]) == ("funded", "5")
    # Both go on as if nothing had been.
    await ann.call("escrow.release", escrow=escrow)
    await wait_until(lambda: bob.state.escrows.records[escrow].deal.state == "released", "the release")
    two.check_money()
    await wait_until(lambda: len({mesh_digest(node.state) for node in two}) == 1, "equal digests")
