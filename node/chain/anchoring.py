"""The parts of the embedded chain at work: deploys the anchor contract once, turns queued anchors into blocks.

Everything here blocks and is driven by one worker thread at a time. Heavy to import: see `service`.
"""

from hashlib import sha256
from pathlib import Path

from swarmd.contracts import load_artifact
from swarmd.node.chain.account import LocalSigner, load_or_create_key
from swarmd.node.chain.client import Call, Receipt, Reverted
from swarmd.node.chain.codec import ContractCodec, checksum
from swarmd.node.chain.embedded import EmbeddedEvm, contract_address
from swarmd.node.chain.kv import SqliteKv
from swarmd.node.chain.outbox import ANCHOR, DEPLOY, Outbox, Request, unpack_anchor
from swarmd.node.ports import AnchorSeen
from swarmd.protocol.faults import CorruptState

CONTRACT = "SettlementAnchor"
ANCHORS_PER_BLOCK = 64
# A first anchor costs about 69,000 gas (tests/chain measures it); the rest is room.
ANCHOR_GAS = 100_000
DEPLOY_GAS = 1_500_000
# The embedded chain has no other miner, hence no reorgs: what is in a block is final.
CONFIRMATIONS = 0


class AnchorMachine:
    """Everything that blocks: EVM, outbox and signer in one place, driven by one worker thread at a time."""

    def __init__(self, folder: Path, chain_id: int, outbox: Outbox) -> None:
        kv = SqliteKv(folder / "chain.sqlite")  # first: it keeps a second daemon out
        try:
            self.signer = LocalSigner(load_or_create_key(folder / "account.key"))
            self.evm = EmbeddedEvm(kv, chain_id, self.signer.account)
            outbox.bind(self.evm, self.signer.account)
        except BaseException:
            kv.close()
            raise
        self.outbox = outbox
        self.artifact = load_artifact(CONTRACT)
        self.codec = ContractCodec(self.artifact)
        self.contract = b""

    def deploy(self) -> None:
        """Put the contract on chain if it is not there yet. It goes through the outbox like everything else.

        A new version of the contract has other bytecode, so it is deployed beside the old one.
        """
        key = sha256(self.artifact.bytecode).digest()
        self.outbox.submit(DEPLOY, key, b"")
        self.tick(DEPLOY)
        request = self.outbox.get(DEPLOY, key)
        if request is None or request.state != "final" or request.nonce is None:
            raise CorruptState("deployment-failed", f"{CONTRACT}: {request.label if request else 'lost'}")
        self.contract = contract_address(self.signer.account, request.nonce)
        if self.evm.code(self.contract) != self.artifact.deployed_bytecode:
            raise CorruptState("contract-missing", f"other code lies at 0x{self.contract.hex()}")

    def tick(self, kind: str) -> str:
        """One round of the outbox and one block; returns why the chain refuses, or ""."""
        self.outbox.pull(self.evm, self.signer.account, self.explain, confirmations=CONFIRMATIONS)
        refused = self.outbox.push(self.evm, self.signer, self.build, kind=kind, limit=ANCHORS_PER_BLOCK)
        self.evm.mine()
        self.outbox.pull(self.evm, self.signer.account, self.explain, confirmations=CONFIRMATIONS)
        if refused:
            return str(refused[0])
        # Alone on the chain, what is sent is mined at once: what is not would be tried forever in a busy loop.
        counts = self.outbox.counts()
        stuck = counts["signed"] + counts["sent"]
        return f"stuck: {stuck} transactions were sent and not mined" if stuck else ""

    def build(self, request: Request) -> Call:
        if request.kind == DEPLOY:
            return Call(None, self.artifact.bytecode, DEPLOY_GAS)
        root, count = unpack_anchor(request.payload)
        return Call(self.contract, self.codec.encode_call("anchor", request.key, root, count), ANCHOR_GAS)

    def explain(self, request: Request, receipt: Receipt) -> str:
        """Why a mined transaction reverted: receipts don't say, so the call is asked again."""
        if request.target is None:
            return "reverted"
        try:
            self.evm.call(request.target, self.build(request).data, sender=self.signer.account)
        except Reverted as error:
            return self.codec.decode_error(error.data)[0] or "reverted"
        return "out-of-gas" if receipt.gas_used >= ANCHOR_GAS else "reverted"

    def root_of(self, anchor_id: bytes) -> bytes | None:
        request = self.outbox.get(ANCHOR, anchor_id)
        contract = self.contract if request is None or request.target is None else request.target
        data = self.codec.encode_call("anchorOf", "0x" + self.signer.account.hex(), anchor_id)
        root, block_number = self.codec.decode_result("anchorOf", self.evm.call(contract, data))
        return bytes(root) if block_number else None

    def anchor_seen(self, request: Request) -> AnchorSeen:
        if request.tx_hash is None or request.block_number is None or request.target is None:
            raise CorruptState("outbox-row", f"request {request.seq} is final without a receipt")
        return AnchorSeen(
            anchor_id=request.key,
            tx_hash=request.tx_hash,
            block_number=request.block_number,
            chain_id=self.evm.chain_id,
            contract=checksum(request.target),
        )
