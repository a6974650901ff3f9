"""What the outbox and the service need of a chain, whatever it is: the embedded EVM, or JSON-RPC endpoints.

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
    block_number: int = 0
    block_hash: bytes = b""  # 32 bytes
    tx_hash: bytes = b""  # 32 bytes
    index: int = 0  # position within the block


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


@dataclass(frozen=True, slots=True)
class FeePolicy:
    """What an operator allows the outbox to bid, and when it bids again for what is not mined."""

    max_fee_wei: int  # no bid for a unit of gas is ever higher
    bump_after_blocks: int = 3  # without a receipt for so many blocks, the oldest transaction is bid up

    def capped(self, fees: Fees) -> Fees:
        return Fees(min(fees.max_fee_wei, self.max_fee_wei), min(fees.priority_fee_wei, self.max_fee_wei))

    def bumped(self, old: Fees, market: Fees) -> Fees | None:
        """At least 12.5 % more of both, which satisfies geth (10 %) and nethermind; None if the cap forbids it."""
        wanted = Fees(
            max(-(-old.max_fee_wei * 9 // 8), market.max_fee_wei),
            max(-(-old.priority_fee_wei * 9 // 8), market.priority_fee_wei),
        )
        if wanted.max_fee_wei <= self.max_fee_wei and wanted.priority_fee_wei <= self.max_fee_wei:
            return wanted
        least = Fees(-(-old.max_fee_wei * 9 // 8), -(-old.priority_fee_wei * 9 // 8))
        return least if least.max_fee_wei <= self.max_fee_wei else None


UNLIMITED = FeePolicy(max_fee_wei=1 << 62)


class Rejected(Exception):
    """The chain does not take a transaction; nothing of it was executed. `code` is stable and kebab-case."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Unavailable(Exception):
    """The chain can't be asked now. `code`: rpc-down, behind, wrong-chain."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


# What a node says of a transaction that it already has: the goal is reached or decided by the receipt.
# "replacement-underpriced": an older bid of ours for the same nonce is in the pool and stays there for now.
NOT_ERRORS = frozenset({"already-known", "nonce-too-low", "replacement-underpriced"})


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

    def nonce(self, account: bytes, *, depth: int = 0) -> int:
        """How many transactions of the 20-byte `account` are in blocks that have `depth` others on top."""

    def balance(self, account: bytes) -> int:
        """What `account` has for gas, in wei."""

    def code(self, address: bytes) -> bytes:
        """The contract at the 20-byte address, b"" if there is none."""

    def block_hash(self, number: int) -> bytes | None:
        """32 bytes, None if there is no such block."""

    def block_time_s(self, *, depth: int = 0) -> int:
        """When the block was made that `depth` others lie on, in seconds since 1970."""

    def advance(self) -> None:
        """Make blocks of what is due, where nobody else makes them."""

    def logs(self, address: bytes, topic: bytes | None, *, first_block: int, last_block: int) -> list["Log"]:
        """The events of a contract in these blocks, both ends included, in order; of one kind if `topic` is given."""

    def close(self) -> None:
        """Let go of files and connections."""

    def fees(self) -> Fees: ...

    def send_raw(self, raw: bytes) -> bytes:
        """Hand over a signed transaction; returns its hash. Raises Rejected."""

    def receipts(self, tx_hashes: Sequence[bytes]) -> list[Receipt | None]:
        """One result for each hash, None where the transaction is in no block."""

    def call(self, to: bytes, data: bytes, *, sender: bytes = bytes(20), depth: int = 0) -> bytes:
        """Run a read-only call on the state that `depth` blocks lie on. Raises Reverted."""


class Signer(Protocol):
    """An account that signs."""

    @property
    def account(self) -> bytes:
        """Its 20-byte address."""

    def sign(self, call: Call, *, nonce: int, fees: Fees, chain_id: int) -> tuple[bytes, bytes]:
        """The raw EIP-1559 transaction and its 32-byte hash."""
