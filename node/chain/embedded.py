"""A whole EVM chain inside the daemon: py-evm (fork Prague) over SQLite, one account, blocks made on demand.

It behaves towards the outbox like a node behind JSON-RPC: a pool that a crash empties, the usual refusals,
receipts only for what is in a block. There are no other miners, so a block is final as soon as it is written.
Not thread-safe and slow to import (0.5 s): the service runs it in one worker thread.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import rlp  # type: ignore[import-untyped]
from eth.abc import BlockHeaderAPI, ReceiptAPI, SignedTransactionAPI
from eth.chains.base import MiningChain
from eth.constants import POST_MERGE_DIFFICULTY, POST_MERGE_MIX_HASH, POST_MERGE_NONCE
from eth.db.atomic import AtomicDB
from eth.db.schema import SchemaV1
from eth.exceptions import PyEVMError, TransactionNotFound
from eth.exceptions import Revert as EvmRevert
from eth.vm.forks.prague import PragueVM
from eth_typing import Address, BlockNumber, Hash32
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError
from swarmd.node.chain.client import Fees, Log, Receipt, Rejected, Reverted
from swarmd.node.chain.kv import SqliteKv
from swarmd.protocol.faults import CorruptState, LocalFault

BLOCK_GAS_LIMIT = 30_000_000
# Play money: the account pays itself for gas. Enough for 10**13 anchors, far below 2**256.
GENESIS_BALANCE_WEI = 10**9 * 10**18
CALL_GAS = 30_000_000
_PRIORITY_FEE_WEI = 1
_CHAIN_ID_KEY = b"swarmd:chain-id"
_OK_STATUS = b"\x01"  # EIP-658: the status takes the place of the state root in a receipt


class _LocalChain(MiningChain):
    chain_id = 0  # set per instance by configure()
    vm_configuration = ((BlockNumber(0), PragueVM),)

    def create_header_from_parent(
        self, parent_header: BlockHeaderAPI, **header_params: Any
    ) -> BlockHeaderAPI:
        header_params["gas_limit"] = parent_header.gas_limit
        return super().create_header_from_parent(parent_header, **header_params)


def contract_address(sender: bytes, nonce: int) -> bytes:
    """The 20-byte address of the contract that `sender` creates in its transaction `nonce`."""
    return bytes(keccak(rlp.encode([sender, nonce]))[12:])


class EmbeddedEvm:
    """The chain in `kv`. A fresh one has a genesis block that gives `account` (20 bytes) all the money."""

    def __init__(self, kv: SqliteKv, chain_id: int, account: bytes) -> None:
        """Raises LocalFault `chain-id-changed`, CorruptState `account-changed` if `kv` is of another account."""
        self._kv = kv
        self._chain_class = _LocalChain.configure(__name__="EmbeddedChain", chain_id=chain_id)
        if SchemaV1.make_canonical_head_hash_lookup_key() not in kv:
            with kv.transaction():
                self._write_genesis(chain_id, account)
        elif (stored := int.from_bytes(kv[_CHAIN_ID_KEY], "big")) != chain_id:
            fix = f"set the chain id back to {stored}, or use a new home"
            raise LocalFault(
                "chain-id-changed", f"this chain was made with id {stored}, not {chain_id}", fix=fix
            )
        self._chain: MiningChain = self._chain_class(AtomicDB(kv))
        self._pool: dict[bytes, SignedTransactionAPI] = {}
        self._genesis_hash = bytes(self._chain.get_canonical_block_hash(BlockNumber(0)))
        if self.balance(account) == 0:
            raise CorruptState("account-changed", f"0x{account.hex()} owns nothing on the chain of this home")

    def _write_genesis(self, chain_id: int, account: bytes) -> None:
        self._kv[_CHAIN_ID_KEY] = chain_id.to_bytes(32, "big")
        self._chain_class.from_genesis(
            AtomicDB(self._kv),
            {
                "difficulty": POST_MERGE_DIFFICULTY,
                "mix_hash": POST_MERGE_MIX_HASH,
                "nonce": POST_MERGE_NONCE,
                "gas_limit": BLOCK_GAS_LIMIT,
                "extra_data": b"swarmd embedded",
            },
            {Address(account): {"balance": GENESIS_BALANCE_WEI, "nonce": 0, "code": b"", "storage": {}}},
        )

    @property
    def chain_id(self) -> int:
        return self._chain.chain_id

    @property
    def genesis_hash(self) -> bytes:
        return self._genesis_hash

    def copy_to(self, path: Path) -> None:
        """A copy of the chain in a new file `path`."""
        self._kv.copy_to(path)

    def close(self) -> None:
        self._kv.close()

    # State

    def _head_header(self) -> BlockHeaderAPI:
        return self._chain.get_canonical_head()

    def _state_vm(self) -> Any:
        return self._chain.get_vm(self._head_header())

    def head(self) -> int:
        return int(self._head_header().block_number)

    def nonce(self, account: bytes, *, depth: int = 0) -> int:
        header = self._header_at(depth)
        return int(self._chain.get_vm(header).state.get_nonce(Address(account)))

    def block_hash(self, number: int) -> bytes | None:
        if not 0 <= number <= self.head():
            return None
        return bytes(self._chain.get_canonical_block_hash(BlockNumber(number)))

    def _header_at(self, depth: int) -> BlockHeaderAPI:
        number = BlockNumber(max(0, self.head() - depth))
        return self._chain.get_canonical_block_header_by_number(number) if depth else self._head_header()

    def block_time_s(self, *, depth: int = 0) -> int:
        return int(self._header_at(depth).timestamp)

    def advance(self) -> None:
        self.mine()

    def balance(self, account: bytes) -> int:
        return int(self._state_vm().state.get_balance(account))

    def code(self, address: bytes) -> bytes:
        return bytes(self._state_vm().state.get_code(address))

    def fees(self) -> Fees:
        """Twice the base fee of the next block: good for at least five full blocks in a row (EIP-1559)."""
        return Fees(2 * self._base_fee_wei() + _PRIORITY_FEE_WEI, _PRIORITY_FEE_WEI)

    def _base_fee_wei(self) -> int:
        return int(self._chain.header.base_fee_per_gas or 0)

    def call(self, to: bytes, data: bytes, *, sender: bytes = bytes(20), depth: int = 0) -> bytes:
        """Run a call on the newest state, which is final here, and forget its effects. Raises Reverted."""
        vm = self._state_vm()
        computation = vm.execute_bytecode(
            origin=sender,
            gas_price=0,
            gas=CALL_GAS,
            to=to,
            sender=sender,
            value=0,
            data=data,
            code=vm.state.get_code(to),
        )
        if computation.is_error:
            revert = isinstance(computation.error, EvmRevert)
            raise Reverted(bytes(computation.output) if revert else b"")
        return bytes(computation.output)

    # Transactions

    def send_raw(self, raw: bytes) -> bytes:
        """Take a signed transaction into the pool; returns its 32-byte hash. Raises Rejected."""
        try:
            builder = PragueVM.get_transaction_builder()
            transaction = builder.decode(raw)
            transaction.validate()
            sender = bytes(transaction.sender)
            tx_hash = bytes(transaction.hash)
        # The bytes may come from anywhere, and py-evm, rlp and eth-keys share no base class for what bad bytes
        # make them raise. Nothing was changed yet.
        except Exception as error:
            raise Rejected("malformed", f"{type(error).__name__}: {error}") from None
        self._admit(transaction, sender, tx_hash)
        self._pool[tx_hash] = transaction
        return tx_hash

    def _admit(self, transaction: SignedTransactionAPI, sender: bytes, tx_hash: bytes) -> None:
        """Raise Rejected for what a node would refuse at its door, cheapest question first."""
        if tx_hash in self._pool or self.receipts([tx_hash])[0] is not None:
            raise Rejected("already-known", f"0x{tx_hash.hex()}")
        if transaction.chain_id != self.chain_id:
            raise Rejected("wrong-chain-id", f"signed for {transaction.chain_id}, this is {self.chain_id}")
        nonce = self.nonce(sender)
        if transaction.nonce < nonce:
            raise Rejected("nonce-too-low", f"{transaction.nonce}, the next is {nonce}")
        mine = [other for other in self._pool.values() if other.sender == sender]
        if any(other.nonce == transaction.nonce for other in mine):
            raise Rejected("nonce-taken", f"the pool holds another transaction {transaction.nonce}")
        if transaction.gas > BLOCK_GAS_LIMIT:
            raise Rejected("gas-limit", f"{transaction.gas} is over the block's {BLOCK_GAS_LIMIT}")
        if transaction.gas < transaction.intrinsic_gas:
            raise Rejected("intrinsic-gas", f"{transaction.gas}, it takes {transaction.intrinsic_gas}")
        if transaction.max_fee_per_gas < self._base_fee_wei():
            raise Rejected(
                "fee-too-low", f"{transaction.max_fee_per_gas}, the base is {self._base_fee_wei()}"
            )
        cost = sum(t.value + t.gas * t.max_fee_per_gas for t in [*mine, transaction])
        if cost > self.balance(sender):
            raise Rejected("insufficient-funds", f"it may cost {cost}, there is {self.balance(sender)}")

    def mine(self) -> int:
        """Write one block with the pool's transactions that are due; returns how many. None due: no block.

        A transaction that can't be executed after all leaves the pool, as if a node had evicted it.
        """
        due = list(self._due())
        if not due:
            return 0
        try:
            self._write_block(due)
        except (ValidationError, PyEVMError):
            # One of them spoiled the block (the base fee rose above its bid, say). Find it one by one.
            return sum(self._mine_single(transaction) for transaction in due)
        for transaction in due:
            del self._pool[bytes(transaction.hash)]
        return len(due)

    def _mine_single(self, transaction: SignedTransactionAPI) -> int:
        del self._pool[bytes(transaction.hash)]
        try:
            self._write_block([transaction])
        except (ValidationError, PyEVMError):
            return 0
        return 1

    def _due(self) -> Iterable[SignedTransactionAPI]:
        """The pool in nonce order for each sender, without what waits for a missing nonce, up to a full block."""
        next_nonces: dict[bytes, int] = {}
        gas = 0
        for transaction in sorted(self._pool.values(), key=lambda t: t.nonce):
            sender = bytes(transaction.sender)
            expected = next_nonces.get(sender)
            if expected is None:
                expected = self.nonce(sender)
            if transaction.nonce != expected or gas + transaction.gas > BLOCK_GAS_LIMIT:
                continue
            gas += transaction.gas
            next_nonces[sender] = expected + 1
            yield transaction

    def _write_block(self, transactions: Sequence[SignedTransactionAPI]) -> None:
        try:
            with self._kv.transaction():
                self._chain.mine_all(transactions)
        except BaseException:
            # The chain object may hold a header that was rolled back.
            self._chain = self._chain_class(AtomicDB(self._kv))
            raise

    # Receipts

    def receipts(self, tx_hashes: Sequence[bytes]) -> list[Receipt | None]:
        return [self._receipt(tx_hash) for tx_hash in tx_hashes]

    def _receipt(self, tx_hash: bytes) -> Receipt | None:
        try:
            number, index = self._chain.get_canonical_transaction_index(Hash32(tx_hash))
        except TransactionNotFound:
            return None
        found = self._chain.get_transaction_receipt_by_index(number, index)
        before = self._chain.get_transaction_receipt_by_index(number, index - 1).gas_used if index else 0
        return _plain_receipt(
            tx_hash, number, self._chain.get_canonical_block_hash(number), index, found, before
        )

    def logs(self, address: bytes, topic: bytes | None, *, first_block: int, last_block: int) -> list[Log]:
        """The events of `address` in a range of blocks, both ends included, in order; of one kind by first topic."""
        found = []
        for number in range(first_block, last_block + 1):
            header = self._chain.get_canonical_block_header_by_number(BlockNumber(number))
            hashes = self._chain.get_canonical_block_by_number(BlockNumber(number)).transactions
            receipts = self._chain.chaindb.get_receipts(header, PragueVM.get_receipt_builder())
            index = 0
            for transaction, receipt in zip(hashes, receipts, strict=True):
                for log in _plain_logs(receipt):
                    if log.address == address and (topic is None or log.topics[:1] == (topic,)):
                        place = (number, bytes(header.hash), bytes(transaction.hash), index)
                        found.append(Log(log.address, log.topics, log.data, *place))
                    index += 1
        return found


def _plain_logs(receipt: ReceiptAPI) -> tuple[Log, ...]:
    return tuple(
        Log(bytes(log.address), tuple(t.to_bytes(32, "big") for t in log.topics), bytes(log.data))
        for log in receipt.logs
    )


def _plain_receipt(
    tx_hash: bytes, number: int, block_hash: bytes, index: int, receipt: ReceiptAPI, gas_before: int
) -> Receipt:
    return Receipt(
        tx_hash=tx_hash,
        block_number=int(number),
        block_hash=bytes(block_hash),
        index=int(index),
        succeeded=receipt.state_root == _OK_STATUS,
        gas_used=receipt.gas_used - gas_before,
        logs=_plain_logs(receipt),
    )
