"""Transfers, deposits and withdrawals between real daemons, with the chain inside them."""

import pytest
import trio
from swarmd.node.balances.service import BalanceSettings
from swarmd.node.consensus.certificates import check
from swarmd.protocol.amounts import format_usdc
from swarmd.protocol.envelope import account_thread
from swarmd.protocol.faults import RemoteFault

AT_ONCE = BalanceSettings(withdraw_delay_s=0)


def held(node, of):
    return node.state.ledger.account(of.did).available


@pytest.mark.property_id("P9")
async def test_a_transfer_is_final_on_every_daemon_and_made_once_for_its_key(mesh, wait_until):
    found = await mesh(3)
    await found.until_met()
    ann, bob, cee = found
    before = held(ann, bob)
    args = {"to": bob.did, "amount": "1.25", "key": "invoice 7", "memo": "a summary"}
    sent = await ann.call("transfer", **args)
    assert (sent["state"], sent["amount"], sent["to"]) == ("final", "1.25", bob.did)
    assert (await ann.call("transfer", **args))["name"] == sent["name"]
    await wait_until(lambda: all(held(node, bob) == before + 1_250_000 for node in found))
    await found.until_agreed()
    found.check_money()
    assert (await cee.call("transfer.show", name=sent["name"]))["state"] == "final"
    for change, code in (
        ({"amount": "2"}, "key-conflict"),
        ({"amount": "1000000", "key": "a"}, "insufficient-funds"),
        ({"amount": "-1", "key": "b"}, "bad-amount"),
        ({"amount": "0.0000001", "key": "c"}, "bad-amount"),
        ({"amount": "0", "key": "d"}, "bad-amount"),
        ({"amount": "1e3", "key": "e"}, "bad-amount"),
        ({"to": ann.did, "key": "f"}, "to-itself"),
        ({"to": "did:key:zz", "key": "g"}, "bad-transfer"),
        ({"wait_s": -1, "key": "h"}, "bad-args"),
    ):
        assert (await ann.refused("transfer", **{**args, **change})).code == code, change
    page = await ann.call("statement")
    assert [(row["what"], row["amount"], row["memo"]) for row in page["moves"]] == [
        ("transfer to", "-1.25", "a summary"),
        ("opening", format_usdc(before), ""),
    ]
    assert page["moves"][0]["balance"] == page["balance"] == (await ann.call("balance"))["available"]
    [got, _] = (await bob.call("statement"))["moves"]
    assert (got["what"], got["other"], got["amount"], got["memo"]) == (
        "transfer from",
        ann.did,
        "1.25",
        "a summary",
    )


async def test_without_a_quorum_it_waits_and_says_for_what(mesh):
    found = await mesh(3)
    await found.until_met()
    for node in found.nodes[1:]:
        await node.stop()
    sent = await found[0].call("transfer", to=found[1].did, amount="1", key="k", wait_s=0.2)
    assert (sent["state"], sent["why"]) == ("waiting", "the committee: 1 of the 2 signatures needed are here")
    assert (await found[0].call("balance"))["pending"] == "1"
    await found[1].start()
    with trio.fail_after(30):
        # No event of the socket tells it.
        while (await found[0].call("transfer.show", name=sent["name"]))["state"] != "final":  # noqa: ASYNC110
            await trio.sleep(0.05)


async def test_a_double_spend_is_on_record_and_its_proof_verifies_anywhere(mesh, stranger, wait_until):
    found = await mesh(1)
    node = found[0]
    async with stranger(found.genesis).connected(node) as bad:
        said = [
            bad.envelope(
                "MONEY",
                account_thread(bad.did),
                {
                    "op": "transfer", "seq": 0, "prev": bytes(32), "to": node.did, "amount": amount, "key": "k",
                    "memo": "",
                },
            )
            for amount in (5, 6)
        ]  # fmt: skip
        await bad.transport.publish(bad.flush(*said)[0])
        await wait_until(lambda: node.state.ledger.double_spends)
    [row] = (await node.call("consensus.evidence"))["evidence"]
    assert (row["what"], row["who"], row["at"]) == ("double-spend", bad.did, "entry 0 of its account")
    document = await node.call("consensus.export", against=bad.did)
    shown = check(found.genesis, document)
    assert (shown["what"], shown["who"], shown["seq"]) == ("double-spend", bad.did, 0)
    for broken in ([], document["envelopes"][:1] * 2, document["envelopes"] * 2):
        with pytest.raises(RemoteFault):
            check(found.genesis, {**document, "envelopes": broken})
    assert (await node.call("balance", did=bad.did))["double_spends"] == 1


async def test_limits_of_the_operator(mesh):
    found = await mesh(1, balances=BalanceSettings(max_amount=2_000_000, max_per_day=3_000_000))
    to = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"
    assert (await found[0].refused("transfer", to=to, amount="2.000001")).code == "over-limit"
    await found[0].call("transfer", to=to, amount="2")
    assert (await found[0].refused("transfer", to=to, amount="1.1")).code == "over-daily-limit"
    await found[0].call("transfer", to=to, amount="1")


async def test_a_statement_has_pages_and_survives_restarts_and_its_own_loss(mesh):
    found = await mesh(1, balances=AT_ONCE)
    node = found[0]
    to = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"
    for n in range(7):
        await node.call("transfer", to=to, amount=f"0.{n + 1}", key=str(n))

    async def rows():
        pages, before = [], None
        while True:
            page = await node.call("statement", limit=3, **({"before": before} if before else {}))
            pages.append(page["moves"])
            before = page["next"]
            if before is None:
                return [row for page in pages for row in page], [len(page) for page in pages]

    first, sizes = await rows()
    assert sizes == [3, 3, 2]
    assert [row["amount"] for row in first] == [f"-0.{n}" for n in range(7, 0, -1)] + ["1000"]
    assert first[0]["balance"] == format_usdc(1_000_000_000 - 2_800_000)
    await node.stop()
    await node.start()
    assert (await rows())[0] == first
    await node.stop()
    for file in node.home.glob("statement.db*"):
        file.unlink()
    await node.start()
    assert [row["amount"] for row in (await rows())[0]] == [row["amount"] for row in first]
    assert (await node.refused("statement", limit=0)).code == "bad-args"
    assert (await node.refused("statement", before="x")).code == "bad-args"


@pytest.mark.property_id("P9")
async def test_money_comes_from_the_chain_and_goes_back_each_once(mesh):
    """One daemon, its embedded chain: deposit, withdrawal, settlement, payout, and the same keys again."""
    found = await mesh(1, genesis={"epoch_s": 0}, balances=AT_ONCE)
    node = found[0]
    before = held(node, node)
    await node.call("wallet.fund", amount="100", key="f", timeout_s=60)
    for _ in range(2):
        made = await node.call("deposit", amount="40", key="d", timeout_s=60)
        assert made["state"] == "credited", made
    assert held(node, node) == before + 40_000_000
    again = await node.call("deposit", tx=bytes.fromhex(made["tx"][2:]), timeout_s=60)
    assert (again["state"], held(node, node)) == ("credited", before + 40_000_000)
    unknown = await node.call("deposit", tx=b"\x01" * 32)
    assert (unknown["state"], held(node, node)) == ("sent", before + 40_000_000)
    assert (await node.refused("withdraw", amount="1")).code == "to-the-vault"
    to = "0x" + "ab" * 20
    for _ in range(2):
        out = await node.call("withdraw", to=to, amount="15", key="w")
        assert out["state"] in ("held", "paid")
    assert held(node, node) == before + 25_000_000
    with trio.fail_after(60):
        while (await node.call("transfer.show", name=out["name"]))["state"] != "paid":
            await node.call("settle.now", timeout_s=60)
            await trio.sleep(0.3)
    node.state.ledger.check_all()
    status = await node.call("settle.status", timeout_s=60)
    assert status["settled"] == 1
    kinds = [(row["what"], row["amount"]) for row in (await node.call("statement"))["moves"]]
    assert kinds == [("withdrawal", "-15"), ("deposit", "40"), ("opening", format_usdc(before))]
    await node.stop()
    await node.start()
    assert held(node, node) == before + 25_000_000
    assert (await node.call("deposit", amount="40", key="d", timeout_s=60))["state"] == "credited"
    assert held(node, node) == before + 25_000_000


async def test_a_deposit_that_others_do_not_see_is_not_credited(mesh):
    """Each daemon has a chain of its own here: what one says of its own convinces nobody else."""
    found = await mesh(3, balances=AT_ONCE)
    await found.until_met()
    node = found[0]
    await node.call("wallet.fund", amount="100", key="f", timeout_s=60)
    made = await node.call("deposit", amount="40", key="d", wait_s=3, timeout_s=60)
    assert made["state"] == "claimed"
    for each in found:
        assert not each.state.ledger.credits
