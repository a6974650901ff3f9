"""Netting: many receipts become one tree and a few movements, whose sums are equal to the last unit.

Pure. The contract is contracts/src/Settlement.sol: it moves exactly these movements and keeps this root, and each net
debtor signs all of it, so nobody can be made to pay what it did not see.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.ledger.eip712 import ADDRESS_BYTES, Domain, address, keccak, uint, words
from swarmd.protocol.limits import MAX_AMOUNT
from swarmd.protocol.merkle import root_and_proofs, root_from_proof

RECEIPT_ID_BYTES = 32
MAX_MEMO_CHARS = 256
MAX_RECEIPTS = 100_000
_RECEIPT_TAG = "swarmd/payment/1"
_MOVEMENT = b"Movement(address account,uint256 amount)"
_MOVEMENT_TYPE = keccak(_MOVEMENT)
_SETTLEMENT_TYPE = keccak(
    b"Settlement(address publisher,bytes32 epoch,bytes32 root,uint32 count,Movement[] debits,"
    b"Movement[] credits,uint256 deadline)" + _MOVEMENT
)


@dataclass(frozen=True, slots=True)
class PaymentReceipt:
    """`payer` owes `payee` `amount` minor units for what `memo` names. Accounts are 20-byte addresses."""

    id: bytes  # 32 bytes, the payment's own: two with one id are one payment
    payer: bytes
    payee: bytes
    amount: int
    memo: str = ""

    def __post_init__(self) -> None:
        if len(self.id) != RECEIPT_ID_BYTES or not isinstance(self.memo, str):
            raise LocalFault("bad-receipt", "a receipt's id has 32 bytes, and its memo is text")
        if len(self.payer) != ADDRESS_BYTES or len(self.payee) != ADDRESS_BYTES:
            raise LocalFault("bad-receipt", "an account is a 20-byte address")
        if not any(self.payer) or not any(self.payee) or self.payer == self.payee:
            raise LocalFault("bad-receipt", "payer and payee are two accounts, and none is zero")
        if type(self.amount) is not int or not 0 < self.amount <= MAX_AMOUNT:
            raise LocalFault("bad-receipt", f"an amount is a positive whole number, not {self.amount!r}")
        if len(self.memo) > MAX_MEMO_CHARS:
            raise LocalFault("bad-receipt", f"a memo has at most {MAX_MEMO_CHARS} characters")

    def leaf(self) -> bytes:
        """What goes into the tree: canonical CBOR."""
        return encode([_RECEIPT_TAG, self.id, self.payer, self.payee, self.amount, self.memo])


def due_id(mesh_id: bytes, need: str, task: str) -> bytes:
    """The id of the payment for one task of a need: 32 bytes, the same on every node, and the same for any accounts."""
    return sha256(b"swarmd/due/1\0" + encode([mesh_id, need, task])).digest()


def receipt_of(leaf: bytes) -> PaymentReceipt:
    """The receipt in a leaf. RemoteFault `bad-receipt`."""
    fields = decode(leaf)
    try:
        tag, *rest = fields
        if tag != _RECEIPT_TAG:
            raise ValueError
        return PaymentReceipt(*rest)
    except (LocalFault, TypeError, ValueError):
        raise RemoteFault("bad-receipt", "the leaf is no receipt of a payment") from None


@dataclass(frozen=True, slots=True)
class Movement:
    account: bytes  # 20 bytes
    amount: int


@dataclass(frozen=True, slots=True)
class Netting:
    """One epoch to settle: receipts in the order of the tree, and what moves."""

    receipts: tuple[PaymentReceipt, ...]
    root: bytes
    debits: tuple[Movement, ...]  # by ascending address
    credits: tuple[Movement, ...]
    deferred: tuple[PaymentReceipt, ...] = ()  # left for later: their debtor's deposit does not cover them

    @property
    def count(self) -> int:
        return len(self.receipts)

    @property
    def moved(self) -> int:
        return sum(debit.amount for debit in self.debits)


def _positions(receipts: Iterable[PaymentReceipt]) -> Counter[bytes]:
    """What each account gets (above zero) or owes (below)."""
    positions: Counter[bytes] = Counter()
    for receipt in receipts:
        positions[receipt.payer] -= receipt.amount
        positions[receipt.payee] += receipt.amount
    return positions


def net(receipts: Sequence[PaymentReceipt], deposits: Mapping[bytes, int] | None = None) -> Netting:
    """Net `receipts` in their order. With `deposits`, the newest receipts of a debtor they do not cover are deferred.

    Leaving one out may uncover another debtor, so this repeats until all are covered; each round leaves out at least one
    receipt, so it ends. Raises LocalFault `duplicate-receipt`, `too-many-receipts`; `nothing-to-settle` if none is left.
    """
    if len(receipts) > MAX_RECEIPTS:
        raise LocalFault(
            "too-many-receipts", f"{len(receipts)}", fix=f"settle at most {MAX_RECEIPTS} at a time"
        )
    if len({receipt.id for receipt in receipts}) != len(receipts):
        raise LocalFault("duplicate-receipt", "a payment is in the epoch twice")
    kept = list(receipts)
    deferred: list[PaymentReceipt] = []
    while deposits is not None:
        positions = _positions(kept)
        lacking = {
            account: -position - deposits.get(account, 0)
            for account, position in positions.items()
            if -position > deposits.get(account, 0)
        }
        if not lacking:
            break
        left: list[PaymentReceipt] = []
        for receipt in reversed(kept):
            if lacking.get(receipt.payer, 0) > 0:
                lacking[receipt.payer] -= receipt.amount
                deferred.append(receipt)
            else:
                left.append(receipt)
        kept = left[::-1]
    if not kept:
        raise LocalFault("nothing-to-settle", f"{len(deferred)} receipts wait for deposits of their payers")
    positions = _positions(kept)
    root, _ = root_and_proofs([receipt.leaf() for receipt in kept])
    return Netting(
        tuple(kept),
        root,
        tuple(Movement(account, -amount) for account, amount in sorted(positions.items()) if amount < 0),
        tuple(Movement(account, amount) for account, amount in sorted(positions.items()) if amount > 0),
        tuple(reversed(deferred)),
    )


def settlement_domain(chain_id: int, contract: bytes) -> Domain:
    """The domain of the Settlement at the 20-byte address."""
    return Domain("swarmd Settlement", "1", chain_id, contract)


def _hash_movements(movements: Iterable[Movement]) -> bytes:
    return words(keccak(_MOVEMENT_TYPE + address(m.account) + uint(m.amount)) for m in movements)


def settlement_digest(
    domain: Domain, publisher: bytes, epoch: bytes, netting: Netting, deadline_s: int
) -> bytes:
    """What each net debtor signs: that `publisher` (20 bytes) may settle this under `epoch` until `deadline_s`."""
    struct = (
        _SETTLEMENT_TYPE
        + address(publisher)
        + epoch
        + netting.root
        + uint(netting.count)
        + _hash_movements(netting.debits)
        + _hash_movements(netting.credits)
        + uint(deadline_s)
    )
    return domain.digest(keccak(struct))


@dataclass(frozen=True, slots=True)
class ReceiptProof:
    """Shows to anybody with the chain that a receipt was settled: leaf `index` of `count` under an epoch's root."""

    chain_id: int
    contract: bytes
    publisher: bytes
    epoch: bytes
    leaf: bytes
    index: int
    count: int
    path: tuple[bytes, ...]

    def root(self) -> bytes | None:
        """The root that the proof leads to, None if its shape is impossible. True only if the chain has it too."""
        return root_from_proof(self.leaf, self.index, self.count, self.path)


def proofs(netting: Netting) -> list[tuple[bytes, ...]]:
    """The path of each receipt, in their order."""
    return root_and_proofs([receipt.leaf() for receipt in netting.receipts])[1]
