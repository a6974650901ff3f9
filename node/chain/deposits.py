"""Deposits and payouts of the mesh's shadow balances: what a node looks up on the chain, and what it does there.

A deposit is a `Deposited` event of the Settlement contract into the mesh's *vault*, an account that every member's operator
names (`chain_vault`); its sender is bound to a did:key by both signatures. A withdrawal is a receipt of the vault that its
node settles, each once. Blocking, in the chain's worker thread, but for `ChainClaims`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import trio
from swarmd.node.chain.service import ChainService
from swarmd.protocol.effects import CheckClaim
from swarmd.protocol.faults import CorruptState, LocalFault, RemoteFault
from swarmd.protocol.limits import MAX_AMOUNT
from swarmd.protocol.shadow.record import DEPOSIT, Spend

if TYPE_CHECKING:
    from swarmd.node.chain.anchoring import AnchorMachine
    from swarmd.node.chain.desk import Desk
    from swarmd.node.chain.settlement import Settlements

# A member may see the chain a little later than who claims.
PATIENCE_S = 120.0
AGAIN_S = 3.0


class NotYet(Exception):
    """It may still become so: the event is not there, or not deep enough."""


class ChainClaims:
    """Looks claims up with this node's own chain. A `ports.Claims`. `vault`: 20 bytes, or None for the node's account."""

    def __init__(self, chain: ChainService, vault: bytes | None, *, patience_s: float = PATIENCE_S) -> None:
        self._chain = chain
        self._vault = vault
        self._patience_s = patience_s

    async def check(self, claim: CheckClaim) -> tuple[int, str]:
        ends_at = trio.current_time() + self._patience_s
        while True:
            try:
                return await self._chain.with_machine(lambda machine: self._look(machine, claim)), ""
            except RemoteFault as fault:
                return 0, f"{fault.code}: {fault.message}"
            except (NotYet, LocalFault) as error:
                if trio.current_time() >= ends_at:
                    return 0, str(error)
            await trio.sleep(AGAIN_S)

    def _look(self, machine: "AnchorMachine", claim: CheckClaim) -> int:
        from swarmd.node.chain.desk import Desk

        desk = Desk(machine)
        vault = self._vault or desk.account
        if claim.what == DEPOSIT:
            return deposited(desk, vault, claim.to, claim.claim)
        return paid_out(desk, vault, claim)


def deposited(desk: "Desk", vault: bytes, did: str, claim: Mapping[str, Any]) -> int:
    """How many minor units the claimed event brought. RemoteFault `not-a-deposit`, `bad-signature`; NotYet."""
    from swarmd.node.chain.desk import SETTLEMENT
    from swarmd.node.chain.evm_signatures import recover
    from swarmd.protocol.ledger.eip712 import require_signer

    machine = desk.machine
    if (claim["chain_id"], claim["contract"]) != (machine.client.chain_id, desk.contract(SETTLEMENT)):
        raise RemoteFault("not-a-deposit", "it is of another chain or contract")
    binding = binding_of(did, claim["account"], claim["chain_id"], claim["made_at_s"])
    require_signer(recover, binding.digest(), claim["signature"], claim["account"])
    fields = event_at(desk, claim["tx"], claim["log"])
    if _address(fields["account"]) != vault:
        raise RemoteFault("not-a-deposit", "it was paid into another account than the vault")
    if _address(fields["from"]) != claim["account"]:
        raise RemoteFault("not-a-deposit", "another account paid it")
    if not 0 < fields["amount"] <= MAX_AMOUNT:
        raise RemoteFault("not-a-deposit", "it is of nothing, or of more than there can be")
    return int(fields["amount"])


def event_at(desk: "Desk", tx_hash: bytes, log_index: int) -> dict[str, Any]:
    """The fields of a `Deposited` event of the Settlement contract, if it is deep enough to stay."""
    from swarmd.node.chain.desk import SETTLEMENT

    machine = desk.machine
    receipt = machine.client.receipts([tx_hash])[0]
    if receipt is None:
        raise NotYet("the transaction is not on this node's chain")
    if receipt.block_number > machine.client.head() - machine.terms.confirmations:
        raise NotYet(f"its block needs {machine.terms.confirmations} confirmations")
    contract, codec = desk.contract(SETTLEMENT), machine.codec(SETTLEMENT)
    at = receipt.block_number
    # By the block's own logs: where a log stands in its block is what names it.
    for log in machine.client.logs(contract, None, first_block=at, last_block=at):
        if (log.tx_hash, log.index) == (tx_hash, log_index) and codec.event_of(log.topics) == "Deposited":
            return codec.decode_event("Deposited", log.topics, log.data)
    raise RemoteFault("not-a-deposit", "there is no deposit at that place of the transaction")


def paid_out(desk: "Desk", vault: bytes, claim: CheckClaim) -> int:
    """That a receipt of the vault for this withdrawal was settled. RemoteFault `not-a-payout`; NotYet."""
    from swarmd.node.chain.desk import SETTLEMENT
    from swarmd.node.chain.settlement import verify_proof
    from swarmd.protocol.ledger.netting import ReceiptProof

    given = claim.claim
    if given["contract"] != desk.contract(SETTLEMENT):
        raise RemoteFault("not-a-payout", "it is of another contract")
    proof = ReceiptProof(
        given["chain_id"],
        given["contract"],
        given["publisher"],
        given["epoch"],
        given["leaf"],
        given["index"],
        given["count"],
        tuple(given["path"]),
    )
    try:
        receipt = verify_proof(desk, proof)
    except LocalFault as fault:
        if fault.code == "not-on-chain":
            raise NotYet(fault.message) from None
        raise RemoteFault("not-a-payout", fault.message) from None
    expected = (claim.subject, vault, _address(claim.to), claim.amount)
    if (receipt.id, receipt.payer, receipt.payee, receipt.amount) != expected:
        raise RemoteFault("not-a-payout", "the receipt is of another payment")
    return receipt.amount


def binding_of(did: str, account: bytes, chain_id: int, made_at_s: int) -> Any:
    """What a depositor's account signs; its did signs the envelope that the signature travels in."""
    from swarmd.protocol.ledger.binding import Binding

    return Binding(did, account, chain_id, made_at_s)


# Our own deposits and payouts --------------------------------------------------------------------------------------------


def make_deposit(desk: "Desk", key: str, amount: int, vault: bytes | None) -> dict[str, Any]:
    """Pay into the vault, once for `key`; {state, tx} as far as it is."""
    return desk.deposit(f"shadow/{key}", amount, vault or desk.account).document()


def claim_of(desk: "Desk", did: str, tx_hash: bytes, vault: bytes | None, now_s: int) -> dict[str, Any]:
    """The claim of a deposit that our account made in `tx_hash`. LocalFault `not-a-deposit`, `not-deep-enough`."""
    from swarmd.node.chain.desk import SETTLEMENT

    machine = desk.machine
    receipt = machine.client.receipts([tx_hash])[0]
    codec, contract = machine.codec(SETTLEMENT), desk.contract(SETTLEMENT)
    logs = (
        []
        if receipt is None
        else machine.client.logs(
            contract, None, first_block=receipt.block_number, last_block=receipt.block_number
        )
    )
    for log in logs:
        if log.tx_hash != tx_hash or codec.event_of(log.topics) != "Deposited":
            continue
        binding = binding_of(did, desk.account, machine.client.chain_id, now_s)
        claim = {
            "op": "claim",
            "chain_id": machine.client.chain_id,
            "contract": contract,
            "tx": tx_hash,
            "log": log.index,
            "account": desk.account,
            "made_at_s": now_s,
            "signature": machine.signer.sign_digest(binding.digest()),
        }
        try:
            deposited(desk, vault or desk.account, did, claim)
        except RemoteFault as fault:
            raise LocalFault("not-a-deposit", fault.message, fix="swarmd deposit AMOUNT makes one") from None
        except NotYet as error:
            raise LocalFault("not-deep-enough", str(error), fix="ask again with the same key") from None
        return claim
    if receipt is None:
        raise LocalFault("not-deep-enough", "it is not in a block yet", fix="ask again with the same key")
    raise LocalFault(
        "not-a-deposit", "the transaction holds no deposit", fix="swarmd deposit AMOUNT makes one"
    )


def pay(
    desk: "Desk", settlements: "Settlements", due: list[Spend], vault: bytes | None, now_s: int
) -> list[dict[str, Any]]:
    """Queue receipts for withdrawals that are due, each once; returns the proofs of those that are settled.

    Nothing where the vault is not our account.
    """
    from swarmd.protocol.ledger.netting import PaymentReceipt

    account = desk.account
    if vault is not None and vault != account:
        return []
    receipts = [
        PaymentReceipt(spend.hash, account, _address(spend.to), spend.amount, "withdrawal")
        for spend in due
        if _address(spend.to)
        != account  # no receipt is to oneself; such a withdrawal, of another node, stays held
    ]
    settlements.add(receipts, now_s=now_s)
    found = []
    for receipt in receipts:
        try:
            proof = settlements.proof(desk, receipt.id)
        except LocalFault as fault:
            if fault.code != "not-settled":
                raise CorruptState("lost-receipt", f"the book has no 0x{receipt.id.hex()}") from fault
            continue
        found.append(
            {
                "op": "payout",
                "entry": receipt.id,
                "chain_id": proof.chain_id,
                "contract": proof.contract,
                "publisher": proof.publisher,
                "epoch": proof.epoch,
                "leaf": proof.leaf,
                "index": proof.index,
                "count": proof.count,
                "path": list(proof.path),
            }
        )
    return found


def _address(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
