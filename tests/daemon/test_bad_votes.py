"""A member of the committee that lies to real daemons: refused, counted, scored, and proven to whoever asks."""

import json

import pytest
import trio
from swarmd.node.consensus.certificates import check
from swarmd.node.keys import load_key
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.work.committees import plan_committee, result_committee

pytestmark = [pytest.mark.property_id("P1"), pytest.mark.property_id("P6"), pytest.mark.property_id("P10")]


@pytest.fixture
def with_liar(mesh, echo, stranger):
    """Four honest daemons, and a fifth verifier whose key the test has: K is 3 of the four that do not own the need."""

    async def make():
        five = await mesh(5, genesis={"alpha_permille": 600}, start=False, sync_interval_s=1.0)
        liar = stranger(five.genesis, load_key(five[4].home).seed)
        five.nodes.pop()
        await five.start()
        for index, node in enumerate(five):
            await node.attach(echo(f"agent{index}"))
        await five.until_met()
        return five, liar

    return make


async def until_it_proposes(four, liar, task):
    """A need whose round 0 is the liar's, and its owner. The liar judges no result: it would be silent, and it is alone."""
    with trio.fail_after(30):
        while True:
            for node in four:
                need = await node.post(task(), budget="0.10")
                record = node.state.needs[need]
                terms = node.state.terms
                judges = {
                    did
                    for worker in four
                    for did in result_committee(terms, record, "t", 0, worker.did, frozenset()).members
                }
                if plan_committee(terms, record, 0).members[0] == liar.did and liar.did not in judges:
                    return node, record


async def test_a_member_that_contradicts_itself(with_liar, task, wait_until, tmp_path):
    four, liar = await with_liar()
    async with liar.connected(*four):
        owner, record = await until_it_proposes(four, liar, task)
        need, envelope = record.id, record.envelope
        liar.lamport = owner.state.lamport + 100

        def plan(worker, price):
            return {"round": 0, "lease_s": 60, "plan": {"t": [[worker.did, price]]}}

        one = liar.envelope("PROPOSE", need, plan(four[1], 10_000), (envelope,))
        # Nobody offers it at that price: no honest member is split over the two.
        other = liar.envelope("PROPOSE", need, plan(four[2], 1), (envelope,))
        votes = [
            liar.envelope("ATTEST_PLAN", need, {"verdict": "accept", "reason": ""}, (proposal.id,))
            for proposal in (one, other)
        ]
        bad = [
            liar.envelope("DECIDE", need, {"round": 0, "k": 3}, (one.id, votes[0].id)),
            liar.envelope("DECIDE", need, {"round": 0, "k": 1}, (one.id, votes[0].id)),
            liar.envelope("DECIDE", need, {"round": 1, "k": 3}, (other.id, *(vote.id for vote in votes))),
        ]
        again = liar.envelope("ATTEST_PLAN", need, {"verdict": "accept", "reason": "twice"}, (one.id,))
        await liar.transport.publish(liar.flush(one, other, *votes, *bad, again)[0])
        assert (await owner.finish(need, 60))["state"] == "FINALIZED", "the honest decide the other"
        for node in four:
            await wait_until(
                lambda node=node: liar.did in node.state.needs[need].equivocators, "it is on record"
            )
            seen = node.state.needs[need]
            assert set(seen.equivocators) == {liar.did}
            assert {each.id for each in bad} <= seen.void.keys()
            assert len({decide.proposal for decide in seen.decides.values()}) == 1
            assert len(seen.votes[one.id]) <= 4, "its second vote for one plan counts once"
            await wait_until(
                lambda node=node: {"contradiction", "void-decide"} <= liar.faults(node).keys(),
                "it is charged",
            )
            assert liar.score(node) < 0.6
        await four.until_agreed()
        four.check_money()
    node = four[3]
    status = await node.call("consensus.status")
    assert status["evidence"] == 1 and sum(status["refused"]["void"].values()) == 3
    rows = (await node.call("consensus.roster"))["verifiers"]
    assert {row["did"] for row in rows if row["contradictions"]} == {liar.did}
    told = await node.call("consensus.explain", need=need)
    assert [each["kind"] for each in told["void"]] == ["DECIDE"] * 3
    assert [row["did"] for row in told["committee"] if row["contradicted_itself"]] == [liar.did]
    assert [decision["wins"] for decision in told["decisions"]] == [True] * len(told["decisions"])
    # What leaves the node, through a file.
    [found] = (await node.call("consensus.evidence"))["evidence"]
    assert (found["who"], found["need"]) == (liar.did, need)
    for asked, what in (
        ({"need": need}, "decision"),
        ({"need": need, "task": "t"}, "result"),
        ({"need": need, "result": True}, "result"),
        ({"need": need, "against": liar.did}, "contradiction"),
    ):
        document = json.loads(json.dumps(await node.call("consensus.export", **asked)))
        shown = check(four.genesis, document)
        assert (shown["what"], shown["need"]) == (what, need)
        if what == "contradiction":
            assert shown["who"] == liar.did
        else:
            document["proofs"].pop()
            with pytest.raises(RemoteFault):
                check(four.genesis, document)
    for asked, code in (
        ({"need": need, "against": node.did}, "no-contradiction"),
        ({"against": liar.did}, "no-contradiction"),
        ({"need": need, "task": "none"}, "no-result"),
        ({"need": need, "against": "nobody"}, "bad-did"),
        ({}, "bad-args"),
    ):
        assert (await node.refused("consensus.export", **asked)).code == code, asked


async def test_a_forked_chain_is_exported_and_holds_elsewhere(with_liar, stranger, wait_until):
    four, liar = await with_liar()
    async with liar.connected(*four):
        for budget in (10_000, 20_000):
            await liar.transport.publish(liar.flush(liar.need(budget=budget))[0])
        await wait_until(lambda: all(node.daemon.journal.proofs() for node in four), "all have the proof")
    document = await four[1].call("consensus.export", against=liar.did)
    shown = check(four.genesis, json.loads(json.dumps(document)))
    assert (shown["what"], shown["who"], shown["seq"]) == ("fork", liar.did, 0)
    rows = (await four[1].call("consensus.roster"))["verifiers"]
    assert {row["did"] for row in rows if row["forked"]} == {liar.did}
    document["batches"][1] = document["batches"][0]
    with pytest.raises(RemoteFault, match="no-contradiction"):
        check(four.genesis, document)


async def test_a_need_that_waits_says_for_whom(mesh, task, wait_until):
    """Three of five verifiers: K = 3 of a committee of four, of whom one or two live."""
    five = await mesh(5, genesis={"alpha_permille": 600}, start=False)
    await five[0].start()
    need = await five[0].post(task(capability="unheard-of"))
    told = await five[0].call("consensus.explain", need=need)
    assert (told["quorum"], len(told["committee"]), told["state"]) == (3, 4, "OPEN")
    assert told["why"].startswith("not decided") and told["decisions"] == [] and told["arbitrated"] is None
    assert (await five[0].refused("consensus.export", need=need)).code == "undecided"
    status = await five[0].call("consensus.status")
    assert status["plan"] == {"k": 3, "members": 5, "quorum": 3, "liars_borne": 0, "silent_borne": 2}
    assert status["bootstrap"].items() >= {"on": True, "threshold": 10, "missing": 5}.items()
    assert (status["roster"], status["seen"], status["arbiter"]["kind"]) == (5, 1, "committee")
    epoch = await five[0].call("consensus.epoch")
    assert (epoch["epoch"], epoch["roster"], epoch["fixed_by"]) == (0, 5, "genesis")
    assert epoch["digest"] == (await five[0].call("consensus.roster"))["digest"]
