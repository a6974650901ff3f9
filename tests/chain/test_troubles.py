"""Each trouble of a chain is a finding with its name and what helps, while the chain answers and while it does not."""

from functools import partial

import pytest
import trio
from eth_account import Account
from swarmd.node.chain import EmbeddedChain, RpcChainService, RpcSettings, keystore
from swarmd.node.chain.money import MoneyDesk
from swarmd.node.chain.troubles import FIXES, chain_findings, gas_finding, mesh_findings

LIMIT_S = 60
PASSPHRASE = "correct horse"
STATUS = {
    "kind": "rpc",
    "state": "ready",
    "head": 7,
    "pending": 0,
    "requests": {},
    "trouble": "",
    "error": "",
}


@pytest.mark.parametrize("trouble", FIXES)
def test_each_trouble_has_a_name_and_a_fix(trouble):
    (first, *_) = chain_findings({**STATUS, "trouble": trouble, "error": f"{trouble}: so it is"})
    assert (first.name, first.ok, first.fix) == (f"chain {trouble}", False, FIXES[trouble])
    assert trouble in first.message


def test_endpoints_reorgs_reverts_and_gas():
    endpoints = [
        {"url": "https://a", "state": "ok", "head": 9, "error": ""},
        {"url": "https://b", "state": "behind", "head": 1, "error": "8 blocks behind another endpoint"},
        {"url": "https://c", "state": "down", "head": 0, "error": "refused"},
    ]
    requests = {"final": 3, "failed": 1}
    found = {
        f.name: f
        for f in chain_findings({**STATUS, "endpoints": endpoints, "reorged": 2, "requests": requests})
    }
    assert found["chain"].ok and found["endpoint https://a"].ok
    assert found["endpoint https://b"].ok is False and found["endpoint https://b"].fix == FIXES["behind"]
    assert found["endpoint https://c"].fix == FIXES["rpc-down"]
    assert found["transactions"].ok is None and "1 reverted" in found["transactions"].message
    assert "2 transactions" in found["reorg"].message
    assert gas_finding(10**18, 10**9, 250_000).ok
    assert gas_finding(10**15, 10**9, 250_000).fix == FIXES["out-of-gas"]


def test_what_keeps_payments_from_being_settled():
    (found,) = mesh_findings({}, is_shared=False)
    assert found.ok is None and "chain_kind" in found.fix
    mesh = {"dues": {"open": 2, "settled": 1}, "bound": [], "set_aside": {"silent": 2}}
    found = {f.name: f for f in mesh_findings(mesh, is_shared=True)}
    assert found["binding"].ok is False and found["binding"].fix == "swarmd wallet bind"
    assert "2 payments" in found["left out: silent"].message and found["left out: silent"].fix


async def test_the_daemon_says_what_is_wrong_with_an_endpoint_that_dies(anvil, tmp_path):
    keystore.create(tmp_path / "chain", PASSPHRASE, Account.create().key)
    settings = RpcSettings((anvil.url,), anvil.CHAIN_ID, confirmations=1, poll_s=0.05)
    chain = RpcChainService(tmp_path, settings, PASSPHRASE)
    desk = MoneyDesk(tmp_path, chain)

    async def until(trouble):
        with trio.fail_after(LIMIT_S):
            while chain.status()["trouble"] != trouble:  # noqa: ASYNC110
                await trio.sleep(0.02)

    async def on_seen(anchor):
        raise AssertionError

    with trio.fail_after(2 * LIMIT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(chain.run, on_seen))
            for trouble, change in (("out-of-gas", lambda: None), ("rpc-down", anvil.stop)):
                change()
                await until(trouble)
                found = await desk.diagnose()
                assert found["ok"] is False
                assert found["checks"][0]["name"] == f"chain {trouble}"
                assert found["checks"][0]["fix"] == FIXES[trouble] == chain.status()["fix"]
            nursery.cancel_scope.cancel()
    await chain.aclose()


async def test_on_the_embedded_chain_all_is_well(tmp_path):
    chain = EmbeddedChain(tmp_path)
    desk = MoneyDesk(tmp_path, chain)

    async def on_seen(anchor):
        raise AssertionError

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(chain.run, on_seen))
            await desk.handle("wallet", {})
            found = await desk.diagnose()
            assert found["ok"] and [each["name"] for each in found["checks"]] == [
                "chain",
                "transactions",
                "gas",
                "settlement",
            ]
            nursery.cancel_scope.cancel()
    await chain.aclose()
