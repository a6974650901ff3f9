"""The verifier pool on real daemons: a fourth node joins and takes part; leaves, quotes, and what is refused."""

from hashlib import sha256

import nacl.signing
from swarmd.node.pool.attestation import software_quote
from swarmd.protocol.didkey import did_of
from swarmd.protocol.digest import mesh_digest
from swarmd.protocol.envelope import pool_thread

GENESIS = {"epoch_s": 2, "verifier_stake": 1_000_000, "alpha_permille": 1000, "bootstrap_threshold": 4}
ATTESTER = nacl.signing.SigningKey(sha256(b"attester").digest())


async def listed(node, did):
    rows = (await node.call("verifier.list"))["verifiers"]
    return next((row for row in rows if row["did"] == did), None)


async def test_a_fourth_node_joins_the_pool_and_takes_part(mesh, task, echo, wait_until):
    four = await mesh(4, verifiers=3, genesis={**GENESIS, "bootstrap_stable_s": 2})
    fourth = four[3]
    await four[0].attach(echo("a"))
    await four.until_met()
    status = await four[0].call("status")
    assert status["bootstrap"] is True
    assert status["pool"]["bootstrap"].items() >= {"on": True, "active": 3, "missing": 1, "left_s": 2}.items()
    assert (status["pool"]["mine"], (await fourth.call("status"))["pool"]["mine"]) == ("active", "none")
    mine = await fourth.call("verifier.join")
    assert (mine["state"], mine["pending"]) == ("joining", ["join"])
    assert (await fourth.call("balance"))["minor"]["locked"] == 1_000_000
    await wait_until(
        lambda: all(fourth.did in node.state.terms.roster(node.state.epoch) for node in four),
        "the fourth is in the roster that is on",
        60.0,
    )
    seated = fourth.state.epoch
    assert (await fourth.call("status"))["roles"] == ["verifier"]
    assert (await listed(four[1], fourth.did))["state"] == "active"
    votes = []
    four[0].runner.watchers.append(
        lambda e: votes.append(e) if e.sender == fourth.did and e.kind in ("ATTEST_PLAN", "PROPOSE") else None
    )
    for _ in range(2):
        need = await four[1].post(task())
        assert (await four[1].finish(need))["state"] == "FINALIZED"
    await wait_until(lambda: votes, "the fourth votes")
    assert votes[0].epoch >= seated
    # Enough verifiers for as long as this mesh asks: bootstrap mode ends.
    await wait_until(
        lambda: not four[2].state.terms.rosters[four[2].state.epoch].bootstrap, "bootstrap mode ends", 60.0
    )
    status = await four[2].call("status")
    assert (status["bootstrap"], status["k_result"]) == (False, 4)
    four.check_money()
    left = await fourth.call("verifier.leave", reason="moving")
    assert left["pending"] == ["leave"]
    await wait_until(
        lambda: all(node.state.pool.members[fourth.did].state == "leaving" for node in four),
        "everybody knows that it leaves",
        60.0,
    )
    await wait_until(lambda: len({mesh_digest(node.state) for node in four}) == 1, "equal digests")
    four.check_money()


async def test_an_attested_verifier_has_twice_the_weight(mesh, wait_until):
    three = await mesh(
        3, genesis={**GENESIS, "epoch_s": 4}, attestation_keys=[did_of(bytes(ATTESTER.verify_key))]
    )
    await three.until_met()
    asked = await three[0].call("verifier.attest")
    assert asked["verifies"] == ["software"]
    member = three[0].did

    async def show():
        """In time for its epoch, unless that ends just then."""
        asked = await three[0].call("verifier.attest")
        quote = software_quote(ATTESTER, b"what it runs", bytes.fromhex(asked["data"]))
        await three[0].call("verifier.attest", form="software", quote=quote)
        await wait_until(
            lambda: (
                three[1].state.pool.members[member].attested >= 0 or three[1].state.epoch > asked["epoch"] + 1
            ),
            "a checkpoint has judged the quote",
            60.0,
        )

    for _ in range(3):
        if three[1].state.pool.members[member].attested < 0:
            await show()
    await wait_until(
        lambda: all(each.state.terms.rosters[each.state.epoch].weight(three[0].did) == 2 for each in three),
        "twice the weight",
        60.0,
    )
    refused = await three[1].call("verifier.attest", form="tdx", quote=b"\x04\x00")
    assert refused["verifies"] == ["software"]
    await wait_until(
        lambda: (
            any(
                each.payload["op"] == "vouch" and "no means" in each.payload["reason"]
                for each in three[0].state.pool.said.get(three[2].did, {}).values()
            )
            or any(
                each.payload["op"] == "vouch" and "no means" in each.payload["reason"]
                for each in three[0].runner.thread(pool_thread(three[2].did))
            )
        ),
        "refused by who cannot tell",
    )


async def test_what_an_operator_may_not(mesh):
    three = await mesh(3, verifiers=2, genesis=GENESIS)
    assert (await three[2].refused("verifier.leave")).code == "no-verifier"
    assert (await three[2].refused("verifier.join", stake="0.5")).code == "stake-too-small"
    assert (await three[2].refused("verifier.join", stake="1e6")).code == "bad-amount"
    assert (await three[2].refused("verifier.join", stake="999999999")).code == "insufficient-funds"
    assert (await three[2].refused("verifier.leave", reason="x" * 600)).code == "bad-args"
    assert (await three[2].refused("verifier.attest", quote="text")).code == "bad-args"
    assert (await three[2].refused("verifier.attest", quote=b"x")).code == "no-verifier"
    await three[2].call("verifier.join")
    assert (await three[2].refused("verifier.join")).code == "joining"


async def test_a_mesh_without_epochs_has_the_verifiers_of_its_genesis(mesh):
    [alone] = await mesh(1, genesis={**GENESIS, "epoch_s": 0})
    assert (await alone.refused("verifier.join")).code == "no-epochs"


async def test_strangers_in_the_pool_are_refused_counted_and_scored(mesh, stranger, wait_until):
    two = await mesh(2, genesis=GENESIS)
    someone = stranger(two.genesis)
    async with someone.connected(*two):
        thread = pool_thread(someone.did)
        before = [mesh_digest(node.state) for node in two if node.state.epoch == 0]
        cheap = {"op": "join", "amount": 5, "fund": {"seq": 0, "prev": bytes(32)}}
        own = [someone.envelope("POOL", thread, payload) for payload in ({"op": "heartbeat"}, cheap)]
        others = someone.envelope("POOL", pool_thread(two[0].did), {"op": "leave", "reason": "for another"})
        for frame in someone.frames_of(own, [others]):
            await someone.transport.publish(frame)
        await wait_until(
            lambda: {"pool-stranger", "misplaced-pool", "join-without-stake"} <= set(someone.faults(two[0])),
            "all three are charged",
        )
        assert someone.score(two[0]) < 1.0
        assert not two[0].state.pool.said.get(someone.did)
        assert before
