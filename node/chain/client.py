"""What the outbox and the service need of a chain, whatever it is: the embedded EVM now, JSON-RPC endpoints later.

Everything here blocks and is called in a worker thread, one call at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Log:
    """One event as the contract emitted it."""

    address: bytes  # 20 bytes
    topics: tuple[bytes, ...]  # 32 bytes each
    data: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """A transaction that is in a block."""

    tx_hash: bytes  # 32 bytes
    block_number: int
    block_hash: bytes  # 32 bytes
    index: int  # position within the block
    succeeded: bool
    gas_used: int
    logs: tuple[Log, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """What a transaction does. `to` is None to create a contract."""

    to: bytes | None  # 20 bytes
    data: bytes
    gas: int  # the most it may use


@dataclass(frozen=True, slots=True)
class Fees:
    """EIP-1559 bids for one unit of gas, in wei."""

    max_fee_wei: int
    priority_fee_wei: int


class Rejected(Exception):
    """The chain does not take a transaction; nothing of it was executed. `code` is stable and kebab-case."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


# What a node says of a transaction that it already has: the goal is reached or decided by the receipt.
NOT_ERRORS = frozenset({"already-known", "nonce-too-low"})


class Reverted(Exception):
    """A call ended in a revert. `data` is what the contract gave as the reason (an encoded custom error)."""

    def __init__(self, data: bytes) -> None:
        super().__init__(f"reverted: 0x{data.hex()}")
        self.data = data


class ChainClient(Protocol):
    """A chain as the outbox sees it."""

    @property
    def chain_id(self) -> int: ...

    @property
    def genesis_hash(self) -> bytes:
        """32 bytes. Tells two chains with one id apart, such as a development chain that was started anew."""

    def head(self) -> int:
        """The number of the newest block."""

    def nonce(self, account: bytes) -> int:
        """How many transactions of the 20-byte `account` are in blocks."""

    def fees(self) -> Fees: ...

    def send_raw(self, raw: bytes) -> bytes:
        """Hand over a signed transaction; returns its hash. Raises Rejected."""

    def receipts(self, tx_hashes: Sequence[bytes]) -> list[Receipt | None]:
        """One result for each hash, None where the transaction is in no block."""

    def call(self, to: bytes, data: bytes, *, sender: bytes = bytes(20)) -> bytes:
        """Run a read-only call on the newest state. Raises Reverted."""


class Signer(Protocol):
    """An account that signs."""

    @property
    def account(self) -> bytes:
        """Its 20-byte address."""

    def sign(self, call: Call, *, nonce: int, fees: Fees, chain_id: int) -> tuple[bytes, bytes]:
        """The raw EIP-1559 transaction and its 32-byte hash."""
