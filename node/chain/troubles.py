"""What can be wrong with a chain and with settling on it: each under its name, with what helps. Light to import.

The names are those of `ChainService.status()["trouble"]`, of endpoints' states, and of what left payments out.
"""

from collections.abc import Mapping
from typing import Any, Final

from swarmd.node.doctor import Finding

_GAS: Final = "send gas to the account (swarmd wallet address): it goes on by itself"
# trouble -> what helps
FIXES: Final[Mapping[str, str]] = {
    "out-of-gas": _GAS,
    "fee-above-cap": "wait until gas is cheaper, or raise chain_max_fee_gwei",
    "stuck": "raise chain_max_fee_gwei: bids were raised to it and the transaction is still not mined",
    "rpc-down": "check chain_rpc and the network; name a second endpoint there",
    "behind": "wait, or name another endpoint in chain_rpc; vouchers are refused meanwhile",
    "wrong-chain": "make chain_id and chain_rpc name the same chain",
    "chain-storage": "free disk space; it goes on by itself",
    "deep-reorg": "compare deposits with the chain, then raise chain_confirmations",
    "deploying": "wait for its confirmations",
    "no-contract": "name the contract in chain_contracts, or swarmd settle deploy",
}
# why payments of needs were left out of an epoch -> what helps
LEFT_OUT: Final[Mapping[str, str]] = {
    "silent": "its payer's node did not answer: is it up and connected? It is asked again by itself",
    "not-covered": "its payer has to deposit more (swarmd settle deposit there)",
    "unknown-receipts": "its payer's node lags behind or has another binding: swarmd sync there",
    "other-contract": "compare chain_contracts on both nodes: they name two Settlements",
    "wrong-chain": "compare chain_id on both nodes",
    "in-another-epoch": "another node is publishing it; nothing to do",
    "already-settled": "its proof is being fetched; nothing to do",
    "has-vault": "its payer's node pays out by withdrawals: compare chain_vault on both nodes",
    "no-shared-chain": "its payer's node uses its embedded chain: set chain_kind there",
}
LOW_GAS_TRANSACTIONS: Final = 20


def fix_of(trouble: str) -> str:
    return FIXES.get(trouble, "see docs/money.md" if trouble else "")


def chain_findings(status: Mapping[str, Any]) -> list[Finding]:
    """Of `ChainService.status()`: answers while the chain does not."""
    trouble, error = status.get("trouble", ""), status.get("error", "")
    kind = status.get("kind", "")
    if trouble or error:
        found = [Finding(f"chain {trouble}".strip(), False, error or trouble, fix_of(trouble))]
    else:
        text = f"{kind} {status.get('state', '')}, block {status.get('head', 0)}"
        found = [Finding("chain", True, text)]
    for endpoint in status.get("endpoints", ()):
        state = endpoint["state"]
        found.append(
            Finding(
                f"endpoint {endpoint['url']}",
                state == "ok",
                f"{state}, block {endpoint['head']}"
                + (f": {endpoint['error']}" if endpoint["error"] else ""),
                "" if state == "ok" else fix_of({"down": "rpc-down"}.get(state, state)),
            )
        )
    requests = status.get("requests", {})
    waiting = status.get("pending", 0)
    failed = requests.get("failed", 0)
    found.append(
        Finding(
            "transactions",
            None if failed else True,
            f"{waiting} under way, {requests.get('final', 0)} final, {failed} reverted",
            "swarmd settle status names why" if failed else "",
        )
    )
    if reorged := status.get("reorged", 0):
        text = f"a reorg took the blocks of {reorged} transactions since the start; they were sent again"
        found.append(Finding("reorg", True, text))
    return found


def gas_finding(balance_wei: int, fee_wei: int, gas: int) -> Finding:
    """Does the account have gas for a while? `fee_wei` a unit, `gas` a transaction."""
    count = balance_wei // max(1, fee_wei * gas)
    text = f"the account can pay for about {count} transactions"
    return Finding("gas", count >= LOW_GAS_TRANSACTIONS, text, _GAS if count < LOW_GAS_TRANSACTIONS else "")


def mesh_findings(mesh: Mapping[str, Any], *, is_shared: bool) -> list[Finding]:
    """Of the payments of needs; `mesh` as `MeshDesk.status`."""
    if not is_shared:
        text = "payments of needs are not settled: the embedded chain is this host's alone"
        return [Finding("settlement", None, text, 'chain_kind = "rpc" names one that others see')]
    dues = mesh["dues"]
    found = []
    if not any(row["me"] for row in mesh["bound"]):
        text = "nobody knows whose account this node's is"
        found.append(Finding("binding", False, text, "swarmd wallet bind"))
    else:
        found.append(Finding("binding", True, f"{len(mesh['bound'])} nodes are bound to accounts"))
    found.append(
        Finding(
            "settlement",
            True,
            f"{dues['open']} payments certified and not settled, {dues['settled']} settled",
        )
    )
    for why, count in mesh["set_aside"].items():
        fix = LEFT_OUT.get(why, "see docs/money.md")
        found.append(Finding(f"left out: {why}", None, f"{count} payments wait", fix))
    return found
