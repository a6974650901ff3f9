"""The requests of settlement on the peers' request streams, canonical CBOR (docs/wire.md).

`{"t": "settle.sign", "proposal": {...}, "consents": [[account, signature]...]}` is answered by `{"signature": 65 bytes}`
or `{"refused": code, "why": text, "receipts": [id...]}`; `{"t": "settle.proof", "receipts": [id...]}` by
`{"proofs": [[chain id, contract, publisher, epoch, leaf, index, count, path]...]}`.`{"t": "settle.slash", "chain": id, "contract": StakeRegistry, "roster_epoch": n, "evidence": JSON}` is answered as `settle.sign`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swarmd.protocol import schema
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.ledger.eip712 import ADDRESS_BYTES, SIGNATURE_BYTES
from swarmd.protocol.ledger.netting import Netting, PaymentReceipt, ReceiptProof, net, receipt_of

SIGN, PROOF, SLASH = "settle.sign", "settle.proof", "settle.slash"
REQUESTS = frozenset((SIGN, PROOF, SLASH))
MAX_EVIDENCE_BYTES = 1_048_576
MAX_EPOCH_RECEIPTS = 4_096  # their leaves fit into a message
MAX_LEAF_BYTES = 1_024
MAX_PROOFS = 64
MAX_PATH = 16

_account = schema.blob(ADDRESS_BYTES, ADDRESS_BYTES)
_signature = schema.blob(SIGNATURE_BYTES, SIGNATURE_BYTES)
_digest = schema.blob(32, 32)
_uint = schema.uint((1 << 63) - 1)
_proposal = schema.record(
    {
        "chain": _uint,
        "contract": _account,
        "publisher": _account,
        "epoch": _digest,
        "deadline_s": _uint,
        "leaves": schema.list_of(schema.blob(1, MAX_LEAF_BYTES), 1, MAX_EPOCH_RECEIPTS),
    }
)
_sign = schema.record(
    {
        "t": schema.one_of(SIGN),
        "proposal": _proposal,
        "consents": schema.list_of(schema.pair(_account, _signature), 0, MAX_EPOCH_RECEIPTS),
    }
)
_ask = schema.record({"t": schema.one_of(PROOF), "receipts": schema.list_of(_digest, 1, MAX_PROOFS)})
_slash = schema.record(
    {
        "t": schema.one_of(SLASH),
        "chain": _uint,
        "contract": _account,
        "roster_epoch": _uint,
        "evidence": schema.blob(2, MAX_EVIDENCE_BYTES),
    }
)
_refusal = schema.record(
    {
        "refused": schema.pattern(r"[a-z][a-z0-9-]{0,63}", "a code"),
        "why": schema.text(512),
        "receipts": schema.list_of(_digest, 0, MAX_EPOCH_RECEIPTS),
    }
)
_signed = schema.record({"signature": _signature})


@dataclass(frozen=True, slots=True)
class Proposal:
    """An epoch that `publisher` wants to settle. What moves follows from the leaves: nobody takes it from the wire."""

    chain_id: int
    contract: bytes
    publisher: bytes
    epoch: bytes
    deadline_s: int
    leaves: tuple[bytes, ...]

    def to_map(self) -> dict[str, Any]:
        return {
            "chain": self.chain_id,
            "contract": self.contract,
            "publisher": self.publisher,
            "epoch": self.epoch,
            "deadline_s": self.deadline_s,
            "leaves": list(self.leaves),
        }

    def receipts(self) -> list[PaymentReceipt]:
        """RemoteFault `bad-receipt`."""
        return [receipt_of(leaf) for leaf in self.leaves]

    def netting(self) -> Netting:
        """RemoteFault `bad-receipt`, `bad-proposal`."""
        try:
            return net(self.receipts())
        except LocalFault as fault:
            raise RemoteFault("bad-proposal", fault.message) from None


class Refused(Exception):
    """We don't sign, and it is nobody's fault: who asked may leave `receipts` out, or all of ours if none is named."""

    def __init__(self, code: str, why: str, receipts: tuple[bytes, ...] = ()) -> None:
        super().__init__(f"{code}: {why}")
        self.code, self.why, self.receipts = code, why, receipts


def parse_sign(message: Mapping[str, Any]) -> tuple[Proposal, dict[bytes, bytes]]:
    """RemoteFault `bad-payload`."""
    _sign(message, SIGN)
    fields = message["proposal"]
    proposal = Proposal(
        fields["chain"],
        fields["contract"],
        fields["publisher"],
        fields["epoch"],
        fields["deadline_s"],
        tuple(fields["leaves"]),
    )
    return proposal, {account: signature for account, signature in message["consents"]}


def parse_signed(answer: Mapping[str, Any]) -> bytes | tuple[str, list[bytes]]:
    """A signature, or (code, receipts) of a refusal. RemoteFault `bad-payload`."""
    if "signature" in answer:
        _signed(answer, "answer")
        signature: bytes = answer["signature"]
        return signature
    _refusal(answer, "answer")
    return answer["refused"], answer["receipts"]


def parse_ask(message: Mapping[str, Any]) -> list[bytes]:
    _ask(message, PROOF)
    found: list[bytes] = message["receipts"]
    return found


@dataclass(frozen=True, slots=True)
class Charge:
    """What a verifier is asked to sign: the stake of whom `evidence` (JSON of a certificate) convicts is to be taken."""

    chain_id: int
    contract: bytes
    roster_epoch: int
    evidence: bytes

    def to_map(self) -> dict[str, Any]:
        return {
            "t": SLASH,
            "chain": self.chain_id,
            "contract": self.contract,
            "roster_epoch": self.roster_epoch,
            "evidence": self.evidence,
        }


def parse_charge(message: Mapping[str, Any]) -> Charge:
    """RemoteFault `bad-payload`."""
    _slash(message, SLASH)
    return Charge(message["chain"], message["contract"], message["roster_epoch"], message["evidence"])


def parse_proofs(answer: Mapping[str, Any]) -> list[ReceiptProof]:
    """Well-formed ones; whether they hold is for the chain to say. RemoteFault `bad-payload`."""
    rows = answer.get("proofs")
    if type(rows) is not list or len(rows) > MAX_PROOFS:
        raise RemoteFault("bad-payload", f"at most {MAX_PROOFS} proofs")
    return [_proof_of(row) for row in rows]


def _proof_of(row: Any) -> ReceiptProof:
    if type(row) is not list or len(row) != 8:
        raise RemoteFault("bad-payload", "a proof has 8 fields")
    chain_id, contract, publisher, epoch, leaf, index, count, path = row
    for number in (chain_id, index, count):
        _uint(number, "proof")
    for account in (contract, publisher):
        _account(account, "proof")
    _digest(epoch, "proof")
    schema.blob(1, MAX_LEAF_BYTES)(leaf, "proof")
    schema.list_of(_digest, 0, MAX_PATH)(path, "proof")
    return ReceiptProof(chain_id, contract, publisher, epoch, leaf, index, count, tuple(path))
