"""Whole daemons on one chain: what a need paid is certified, asked for, signed, settled and proved, over real libp2p."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from eth_account import Account
from swarmd.node.chain import RpcSettings, keystore
from swarmd.node.chain.account import LocalSigner
from swarmd.node.chain.anchoring import AnchorMachine
from swarmd.node.chain.anchoring import Terms as ChainTerms
from swarmd.node.chain.client import FeePolicy
from swarmd.node.chain.desk import SETTLEMENT, STAKES, TOKEN, UNBONDING_S, Desk
from swarmd.node.chain.outbox import Outbox
from swarmd.node.chain.rpc import RpcChain
from swarmd.node.private_file import write_private
from swarmd.node.settling.terms import Terms
from swarmd.node.spending import SpendingLimits
from swarmd.protocol.batch import batch_to_list
from swarmd.protocol.cbor import decode, encode, encode_ordered
from swarmd.protocol.faults import LocalFault, RemoteFault

PASSPHRASE = "correct horse"
LIMIT_S = 90
GWEI = 10**9


def deploy(anvil, folder) -> Desk:
    """The token and the Settlement on anvil, from its first account."""
    client = RpcChain([anvil.url], anvil.CHAIN_ID)
    client.refresh()
    anvil.rpc("evm_setAutomine", True)
    outbox = Outbox(folder / "bank.sqlite")
    machine = AnchorMachine(
        client,
        LocalSigner(anvil.KEY),
        outbox,
        ChainTerms(0, FeePolicy(500 * GWEI), {}, False),
    )
    desk = Desk(machine)
    addresses: dict[str, bytes] = {}
    for name in (TOKEN, SETTLEMENT):
        while (found := desk.deploy(name)) is None:
            client.refresh()
            machine.tick()
        addresses[name] = found
        machine.terms = replace(machine.terms, contracts=dict(addresses))
    return desk


def deploy_registry(desk: Desk, accounts: list[bytes]) -> None:
    """A StakeRegistry whose roster these accounts are, two of them a quorum."""
    machine = desk.machine
    arguments = (machine.terms.contracts[TOKEN], desk.account, UNBONDING_S, sorted(accounts), 2)
    while (found := machine.install(STAKES, *arguments)) is None:
        machine.client.refresh()
        machine.tick()
    machine.terms = replace(machine.terms, contracts={**machine.terms.contracts, STAKES: found})


def stake(desk: Desk, account: bytes, amount: int) -> None:
    """Put at stake for another account."""
    for _ in range(20):
        try:
            desk.fund(f"{account.hex()} stake fund", amount)
            desk.send(f"{account.hex()} stake", STAKES, "stake", account, amount, takes=amount)
        except LocalFault as fault:
            assert fault.code in ("approving", "not-enough-tokens")
        desk.machine.client.refresh()
        desk.machine.tick()
        if desk.view(STAKES, "stakeOf", account)[0] == amount:
            return
    raise AssertionError


def make_account(folder: Path) -> str:
    """A keystore that opens at once; one as strong as it should be takes a second."""
    account = Account.create()
    folder.mkdir(mode=0o700)
    record = Account.encrypt(account.key, PASSPHRASE, kdf="pbkdf2", iterations=2)
    write_private(folder / keystore.KEYSTORE_FILE, json.dumps(record).encode())
    return account.address


def deposit(desk: Desk, account: bytes, amount: int) -> None:
    for step in (
        lambda: desk.fund(f"{account.hex()} fund", amount),
        lambda: desk.deposit(f"{account.hex()} deposit", amount, account),
    ):
        for _ in range(20):
            try:
                step()
            except LocalFault as fault:
                assert fault.code in ("approving", "not-enough-tokens")
            desk.machine.client.refresh()
            desk.machine.tick()
            if not desk.machine.outbox.pending():
                break
    assert desk.view(SETTLEMENT, "balanceOf", account)[0] == amount


@pytest.fixture
def settle_mesh(mesh: Any, anvil: Any, tmp_path: Any) -> Callable[..., Any]:
    """settle_mesh(n) -> (mesh, desk): daemons with accounts on anvil, gas and a deposit each, all bound."""

    async def make(count: int) -> tuple[Any, Desk]:
        desk = await trio.to_thread.run_sync(deploy, anvil, tmp_path)
        found = await mesh(
            count,
            genesis={"epoch_s": 600, "verifier_stake": 400_000},
            start=False,
            keystore_passphrase=PASSPHRASE,
            settlement=Terms(min_receipts=250, deadline_s=3_600, patience_s=0.5),
            settle_interval_s=0.3,
        )
        accounts = []
        for node in found:
            address = await trio.to_thread.run_sync(make_account, node.home / "chain")
            accounts.append(bytes.fromhex(address[2:]))
            await trio.to_thread.run_sync(anvil.rpc, "anvil_setBalance", address, hex(10**18))
            await trio.to_thread.run_sync(deposit, desk, accounts[-1], 1_000_000)
        await trio.to_thread.run_sync(deploy_registry, desk, accounts)
        for node in found:
            contracts = dict(desk.machine.terms.contracts)
            rpc = RpcSettings((anvil.url,), anvil.CHAIN_ID, confirmations=0, poll_s=0.2, contracts=contracts)
            node.settings = replace(node.settings, rpc=rpc)
        await found.start()
        for node in found:
            await node.call("wallet.bind", timeout_s=60)
        return found, desk

    return make


async def bound(node, count):
    with trio.fail_after(LIMIT_S):
        while len((await node.call("wallet.bound"))["bound"]) < count:  # noqa: ASYNC110
            await trio.sleep(0.1)


async def counted(node, which, count):
    """Until it has so many payments of needs that are open, or settled."""
    with trio.fail_after(LIMIT_S):
        while (await node.call("settle.status"))["mesh"]["dues"][which] < count:  # noqa: ASYNC110
            await trio.sleep(0.1)


async def end_epoch(nodes):
    """Whoever's turn it is proposes its end; needs that were done are closed with it."""
    for node in nodes:
        try:
            await node.call("checkpoint.advance")
            return
        except LocalFault as fault:
            assert fault.code == "not-our-turn"
    raise AssertionError("nobody's turn")


async def test_a_need_is_paid_between_accounts_and_its_payee_has_the_proof(settle_mesh, task, echo, stranger):
    with trio.fail_after(3 * LIMIT_S):
        three, desk = await settle_mesh(3)
        owner, worker, other = three
        await worker.attach(echo(price="0.05"))
        for node in three:
            await bound(node, 3)
        need = await owner.post(task())
        assert (await owner.finish(need))["state"] == "FINALIZED"
        await end_epoch(three)
        for node in three:  # a payer that does not know of it yet refuses, and is asked again much later
            await counted(node, "open", 1)
        await other.call("settle.now")  # it publishes; the owner pays and signs
        for node in (owner, worker, other):
            await counted(node, "settled", 1)
        proof_of = [row for row in (await worker.call("wallet.bound"))["bound"] if row["me"]]
        account = bytes.fromhex(proof_of[0]["address"][2:])
        paid = await trio.to_thread.run_sync(lambda: desk.view(SETTLEMENT, "balanceOf", account)[0])
        assert paid == 1_050_000
        signed = [(await node.call("settle.status"))["mesh"]["counters"] for node in (owner, other)]
        assert signed[0]["signed"] == 1 and signed[1]["signed-by-others"] == 1

        invoice = await owner.call("invoice.show", need=need)
        (line,) = invoice["lines"]
        assert (invoice["state"], invoice["budget"], invoice["charged"]) == ("closed", "1", "0.05")
        assert (line["charged_by"], line["amount"], line["settlement"]) == (worker.did, "0.05", "settled")
        proof = await worker.call("receipt.show", id=line["receipt"])
        assert (await owner.call("receipt.verify", proof=proof))["amount"] == "0.05"

        # A stranger is refused, counted and scored.
        someone = stranger(three.genesis)
        async with someone.connected(owner):
            proposal = {
                "chain": 31_337,
                "contract": bytes(20),
                "publisher": b"p" * 20,
                "epoch": bytes(32),
                "deadline_s": 1,
                "leaves": [b"x"],
            }
            peer = owner.daemon.transport.peer_id
            for message, code in (
                ({"t": "settle.sign", "proposal": proposal, "consents": []}, "not-publisher"),
                ({"t": "settle.sign", "proposal": 7, "consents": []}, "bad-payload"),
                ({"t": "settle.proof", "receipts": []}, "bad-payload"),
                ({"t": "settle.proof"}, "bad-payload"),
            ):
                with pytest.raises(RemoteFault) as caught:
                    await someone.transport.request(peer, encode(message))
                assert caught.value.code == code
            answer = await someone.transport.request(
                peer, encode({"t": "settle.proof", "receipts": [bytes(32)]})
            )
            assert decode(answer) == {"proofs": []}
            assert someone.faults(owner)["not-publisher"] == 1
            assert someone.score(owner) < 1.0
        counters = (await owner.call("settle.status"))["mesh"]["counters"]
        assert counters["refused-not-publisher"] == 1


async def test_the_stake_of_a_node_that_forked_its_chain_is_taken(settle_mesh, stranger):
    """A node of the mesh signs two histories; its account loses the stake, by the votes of the others' daemons."""
    with trio.fail_after(3 * LIMIT_S):
        three, desk = await settle_mesh(3)
        bad, judge, other = three
        for node in three:
            await bound(node, 3)
        account = next(
            bytes.fromhex(row["address"][2:])
            for row in (await judge.call("wallet.bound"))["bound"]
            if row["did"] == bad.did
        )
        await trio.to_thread.run_sync(stake, desk, account, 1_000_000)
        twin = stranger(three.genesis, bad.daemon.identity.seed)
        frames = [twin.flush(twin.need(seq=7, budget=budget)) for budget in (1_000, 2_000)]
        batches = [batch_to_list(made[0]) for _, made in frames]
        document = {
            "format": "swarmd-certificate/1",
            "mesh": three.genesis.mesh_name,
            "genesis": three.genesis.to_map(),
            "what": "fork",
            "batches": [base64.b64encode(encode_ordered(batch)).decode() for batch in batches],
        }
        assert (
            await judge.refused("stake.slash", who=bad.did)
        ).code == "no-contradiction"  # not on record here
        found = await judge.call("stake.slash", evidence=document, timeout_s=60)
        assert (found["who"], found["amount"]) == (bad.did, "0.4") and found["signatures"] >= 2
        while await trio.to_thread.run_sync(lambda: desk.view(STAKES, "stakeOf", account)[0]) != 600_000:  # noqa: ASYNC110
            await trio.sleep(0.2)
        assert (await other.refused("stake.slash", evidence=document)).code == "already-punished"
        assert (await other.refused("stake.slash", evidence={})).code == "bad-certificate"
        await other.stop()
        again = [twin.flush(twin.need(seq=8, budget=budget)) for budget in (1_000, 2_000)]
        batches = [batch_to_list(made[0]) for _, made in again]
        document["batches"] = [base64.b64encode(encode_ordered(batch)).decode() for batch in batches]
        await bad.stop()
        assert (await judge.refused("stake.slash", evidence=document)).code == "quorum-missed"


async def test_invoices_and_limits_of_needs(mesh, task, echo):
    limits = SpendingLimits(per_day=1_500_000, per_agent={"planner": 600_000})
    with trio.fail_after(LIMIT_S):
        three = await mesh(3, spending=limits)
        owner, worker, other = three
        await worker.attach(echo(price="0.05"))
        await three.until_met()
        need = await owner.post(task(), budget="0.50", agent="planner")
        assert (await owner.finish(need))["state"] == "FINALIZED"
        assert (
            await owner.refused("need.post", spec={"budget": "0.2", "agent": "planner", "tasks": [task()]})
        ).code == ("over-budget")
        fault = await owner.refused("need.post", spec={"budget": "1.01", "tasks": [task()]})
        assert fault.code == "over-budget" and "1.5 are allowed a day, 0.5 of it are used" in fault.message
        for budget, code in (
            ("-1", "bad-need"),
            ("0.0000001", "bad-need"),
            ("many", "bad-need"),
            (1, "bad-need"),
        ):
            spec = {"budget": budget, "tasks": [task()]}
            assert (await owner.refused("need.post", spec=spec)).code == code
        assert (
            await owner.refused("need.post", spec={"budget": "1", "agent": "no agent", "tasks": [task()]})
        ).code == ("bad-need")
        listed = (await owner.call("invoice.list"))["invoices"]
        assert [(row["need"], row["charged"]) for row in listed] == [(need, "0.05")]
        assert (await other.call("invoice.list"))["invoices"] == []
        assert len((await other.call("invoice.list", all=True))["invoices"]) == 1
        before = await owner.call("invoice.show", need=need)
        assert (before["agent"], before["charged"], before["returned"]) == ("planner", "0.05", "0.45")
        assert (await owner.refused("invoice.show", need="need-none")).code == "unknown-need"
        spent = await owner.call("spending")
        assert spent["day"] == {"spent": "0.5", "limit": "1.5"}
        assert spent["agents"]["planner"] == {"spent": "0.5", "limit": "0.6"}
        await end_epoch(three)
        while need in owner.state.needs:  # noqa: ASYNC110
            await trio.sleep(0.05)
        after = await owner.call("invoice.show", need=need)  # brought back from what closed it
        assert {**after, "anchor": ""} == {**before, "anchor": ""}
