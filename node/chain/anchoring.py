"""The parts of a chain at work: contracts deployed once, queued requests turned into transactions, roots read back.

Everything here blocks and is driven by one worker thread at a time. Heavy to import: see `service`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from swarmd.contracts import load_artifact
from swarmd.node.chain.account import LocalSigner, load_or_create_key
from swarmd.node.chain.client import UNLIMITED, Call, ChainClient, FeePolicy, Receipt, Reverted, Unavailable
from swarmd.node.chain.codec import ContractCodec, checksum
from swarmd.node.chain.embedded import EmbeddedEvm, contract_address
from swarmd.node.chain.kv import SqliteKv
from swarmd.node.chain.outbox import Outbox, unpack_anchor
from swarmd.node.chain.requests import ANCHOR, CALL, DEPLOY, Request
from swarmd.node.ports import AnchorSeen
from swarmd.protocol.faults import CorruptState, LocalFault

ANCHOR_CONTRACT = "SettlementAnchor"
REQUESTS_PER_ROUND = 64
# A first anchor costs about 69,000 gas (tests/chain measures it); the rest is room.
ANCHOR_GAS = 100_000
DEPLOY_GAS = 4_000_000


@dataclass(frozen=True, slots=True)
class Terms:
    """How a chain is used. The defaults are those of the embedded one, whose blocks are final as they are made."""

    confirmations: int = 0
    fees: FeePolicy = UNLIMITED
    contracts: Mapping[str, bytes] = field(
        default_factory=dict
    )  # name -> 20-byte address of what lies there already
    is_ours_alone: bool = True  # nobody else makes blocks or sends


def pack_call(to: bytes, data: bytes, gas: int) -> bytes:
    """The payload of a CALL request: 20 bytes of address, 8 of gas, then the data."""
    return to + gas.to_bytes(8, "big") + data


def unpack_call(payload: bytes) -> Call:
    return Call(payload[:20], payload[28:], int.from_bytes(payload[20:28], "big"))


class AnchorMachine:
    """Everything that blocks: chain, outbox and signer in one place, driven by one worker thread at a time."""

    def __init__(
        self, client: ChainClient, signer: LocalSigner, outbox: Outbox, terms: Terms | None = None
    ) -> None:
        """Raises Unavailable, or CorruptState `outbox-of-another-chain`."""
        outbox.bind(client, signer.account)
        self.client = client
        self.signer = signer
        self.outbox = outbox
        self.terms = terms or Terms()
        self.contract = b""  # where anchors go
        self._codecs: dict[str, ContractCodec] = {}
        self.trouble = ""  # the code of what stands in the way: out-of-gas, stuck, ...

    def codec(self, name: str) -> ContractCodec:
        found = self._codecs.get(name)
        if found is None:
            found = self._codecs[name] = ContractCodec(load_artifact(name))
        return found

    # Contracts

    def deploy(self) -> str:
        """Put the anchor contract on chain if it is not there yet; returns why it is not there yet, or "".

        It goes through the outbox like everything else. A new version of the contract has other bytecode, so it is
        deployed beside the old one.
        """
        artifact = load_artifact(ANCHOR_CONTRACT)
        known = self.terms.contracts.get(ANCHOR_CONTRACT)
        if known is None:
            key = sha256(artifact.bytecode).digest()
            self.outbox.submit(DEPLOY, key, b"")
            refusal = self.tick(DEPLOY)
            known = self._deployed(key, ANCHOR_CONTRACT)
            if known is None:
                return refusal or "deploying: waits for its confirmations"
        if self.client.code(known) != artifact.deployed_bytecode:
            raise CorruptState("contract-missing", f"other code lies at 0x{known.hex()}")
        self.contract = known
        return ""

    def _deployed(self, key: bytes, name: str) -> bytes | None:
        """The address of a finished deployment, None while it is under way."""
        request = self.outbox.get(DEPLOY, key)
        if (
            request is None
            or request.state == "failed"
            or (request.state == "final" and request.nonce is None)
        ):
            raise CorruptState("deployment-failed", f"{name}: {request.label if request else 'lost'}")
        if request.state != "final" or request.nonce is None:
            return None
        return contract_address(self.signer.account, request.nonce)

    def install(self, name: str, *arguments: object) -> bytes | None:
        """The address of a contract of `name`, deployed with these arguments unless the operator named one.

        None while the deployment is under way.
        """
        if name in self.terms.contracts:
            return self.terms.contracts[name]
        code, key = self._creation(name, *arguments)
        self.outbox.submit(DEPLOY, key, code)
        if self._deployed(key, name) is None and self.terms.is_ours_alone:
            self.tick()
        return self._deployed(key, name)

    def is_installed(self, name: str, *arguments: object) -> bool:
        """Has our account deployed it, or begun to?"""
        return self.outbox.get(DEPLOY, self._creation(name, *arguments)[1]) is not None

    def _creation(self, name: str, *arguments: object) -> tuple[bytes, bytes]:
        """The code that creates a contract, and the outbox' key for it."""
        code = load_artifact(name).bytecode + self.codec(name).encode_constructor(*arguments)
        return code, sha256(code).digest()

    def address_of(self, name: str) -> bytes:
        """Where the operator says a contract lies. LocalFault `no-contract`."""
        found = self.terms.contracts.get(name)
        if found is None:
            fix = f'name it in chain_contracts: "{name}=0x..."'
            raise LocalFault("no-contract", f"no {name} is known on chain {self.client.chain_id}", fix=fix)
        return found

    # Rounds

    def tick(self, kind: str | None = None) -> str:
        """One round of the outbox, and a block where blocks are ours to make; returns what stands in the way, or "".

        Raises Unavailable.
        """
        self._pull()
        refused = self.outbox.push(
            self.client,
            self.signer,
            self.build,
            kind=kind,
            limit=REQUESTS_PER_ROUND,
            policy=self.terms.fees,
        )
        if self.terms.is_ours_alone:
            self.client.advance()
            self._pull()
        self.trouble = refused[0].code if refused else ""
        if refused:
            return str(refused[0])
        if not self.terms.is_ours_alone:
            return ""
        # Alone on the chain, what is sent is mined at once: what is not would be tried forever in a busy loop.
        counts = self.outbox.counts()
        stuck = counts["signed"] + counts["sent"]
        self.trouble = "stuck" if stuck else ""
        return f"stuck: {stuck} transactions were sent and not mined" if stuck else ""

    def _pull(self) -> None:
        self.outbox.pull(
            self.client, self.signer.account, self.explain, confirmations=self.terms.confirmations
        )

    def build(self, request: Request) -> Call:
        if request.kind == DEPLOY:
            return Call(None, request.payload or load_artifact(ANCHOR_CONTRACT).bytecode, DEPLOY_GAS)
        if request.kind == CALL:
            return unpack_call(request.payload)
        root, count = unpack_anchor(request.payload)
        data = self.codec(ANCHOR_CONTRACT).encode_call("anchor", request.key, root, count)
        return Call(self.contract, data, ANCHOR_GAS)

    def explain(self, request: Request, receipt: Receipt) -> str:
        """Why a mined transaction reverted: receipts don't say, so the call is asked again."""
        if request.target is None:
            return "reverted"
        call = self.build(request)
        try:
            self.client.call(request.target, call.data, sender=self.signer.account)
        except Reverted as error:
            return self.error_name(error.data) or "reverted"
        except Unavailable:
            return "reverted"
        return "out-of-gas" if receipt.gas_used >= call.gas else "reverted"

    def error_name(self, data: bytes) -> str:
        """The name of a custom error of any contract of ours, "" if it is none."""
        for name in (ANCHOR_CONTRACT, *self._codecs):
            if found := self.codec(name).decode_error(data)[0]:
                return found
        return ""

    # Reading

    def view(
        self, name: str, address: bytes, function: str, *arguments: object, depth: int = 0
    ) -> tuple[Any, ...]:
        """What a read-only function of the contract `name` at `address` returns, with `depth` blocks on top.

        Raises Reverted, Unavailable; LocalFault `no-contract` if nothing lies there.
        """
        codec = self.codec(name)
        data = codec.encode_call(function, *arguments)
        found = self.client.call(address, data, sender=self.signer.account, depth=depth)
        if not found:
            raise LocalFault("no-contract", f"no {name} lies at {checksum(address)}", fix="check the address")
        return codec.decode_result(function, found)

    def root_of(self, anchor_id: bytes) -> bytes | None:
        request = self.outbox.get(ANCHOR, anchor_id)
        contract = self.contract if request is None or request.target is None else request.target
        account = "0x" + self.signer.account.hex()
        root, block_number = self.view(ANCHOR_CONTRACT, contract, "anchorOf", account, anchor_id)
        return bytes(root) if block_number else None

    def anchor_seen(self, request: Request) -> AnchorSeen:
        if request.tx_hash is None or request.block_number is None or request.target is None:
            raise CorruptState("outbox-row", f"request {request.seq} is final without a receipt")
        return AnchorSeen(
            anchor_id=request.key,
            tx_hash=request.tx_hash,
            block_number=request.block_number,
            chain_id=self.client.chain_id,
            contract=checksum(request.target),
        )

    def close(self) -> None:
        self.client.close()


def open_embedded(folder: Path, chain_id: int, outbox: Outbox) -> AnchorMachine:
    """The machine over the EVM of a home."""
    kv = SqliteKv(folder / "chain.sqlite")  # first: it keeps a second daemon out
    try:
        signer = LocalSigner(load_or_create_key(folder / "account.key"))
        return AnchorMachine(EmbeddedEvm(kv, chain_id, signer.account), signer, outbox)
    except BaseException:
        kv.close()
        raise
