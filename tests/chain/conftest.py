"""A real chain per test: the embedded EVM in a temporary folder, with the contract deployed."""

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from swarmd.contracts import load_artifact
from swarmd.node.chain.account import LocalSigner, load_or_create_key
from swarmd.node.chain.client import Call, Receipt, Reverted
from swarmd.node.chain.codec import ContractCodec
from swarmd.node.chain.embedded import EmbeddedEvm, contract_address
from swarmd.node.chain.kv import SqliteKv

CHAIN_ID = 1337
GAS = 200_000


class Bench:
    """An EVM, its account and the deployed SettlementAnchor, with the few calls that tests repeat."""

    def __init__(self, folder: Path, chain_id: int = CHAIN_ID) -> None:
        self.folder = folder
        self.chain_id = chain_id
        self.artifact = load_artifact("SettlementAnchor")
        self.codec = ContractCodec(self.artifact)
        self.signer = LocalSigner(load_or_create_key(folder / "account.key"))
        self.evm = self.open()
        self.contract = contract_address(self.signer.account, 0)
        if self.evm.nonce(self.signer.account) == 0:
            assert self.transact(Call(None, self.artifact.bytecode, 1_500_000)).succeeded

    def open(self) -> EmbeddedEvm:
        return EmbeddedEvm(SqliteKv(self.folder / "chain.sqlite"), self.chain_id, self.signer.account)

    def reopen(self) -> None:
        self.evm.close()
        self.evm = self.open()

    def sign(self, call: Call, *, nonce: int | None = None, signer: LocalSigner | None = None) -> bytes:
        signer = signer or self.signer
        nonce = self.evm.nonce(signer.account) if nonce is None else nonce
        return signer.sign(call, nonce=nonce, fees=self.evm.fees(), chain_id=self.chain_id)[0]

    def transact(self, call: Call, *, signer: LocalSigner | None = None) -> Receipt:
        tx_hash = self.evm.send_raw(self.sign(call, signer=signer))
        assert self.evm.mine() == 1
        receipt = self.evm.receipts([tx_hash])[0]
        assert receipt is not None
        return receipt

    def anchor(
        self, anchor_id: bytes, root: bytes, count: int, *, signer: LocalSigner | None = None
    ) -> Receipt:
        data = self.codec.encode_call("anchor", anchor_id, root, count)
        return self.transact(Call(self.contract, data, GAS), signer=signer)

    def view(self, name: str, *arguments: object) -> Any:
        data = self.codec.encode_call(name, *arguments)
        result = self.codec.decode_result(name, self.evm.call(self.contract, data))
        return result[0] if len(result) == 1 else result

    def error_of(self, name: str, *arguments: object) -> tuple[str, tuple[Any, ...]]:
        """The custom error that a call by our account reverts with."""
        with pytest.raises(Reverted) as caught:
            self.evm.call(self.contract, self.codec.encode_call(name, *arguments), sender=self.signer.account)
        return self.codec.decode_error(caught.value.data)

    def stranger(self, key: bytes) -> LocalSigner:
        """Another account, given some play money for gas."""
        other = LocalSigner(key)
        tx = Account.from_key((self.folder / "account.key").read_text().strip()).sign_transaction(
            {
                "type": 2,
                "chainId": self.chain_id,
                "nonce": self.evm.nonce(self.signer.account),
                "to": other.account,
                "value": 10**18,
                "gas": 21_000,
                "maxFeePerGas": self.evm.fees().max_fee_wei,
                "maxPriorityFeePerGas": 1,
            }
        )
        self.evm.send_raw(bytes(tx.raw_transaction))
        assert self.evm.mine() == 1
        return other

    def anchored_events(self) -> list[dict[str, Any]]:
        topic = self.codec.topic("Anchored")
        logs = self.evm.logs(self.contract, topic, first_block=0, last_block=self.evm.head())
        return [self.codec.decode_event("Anchored", log.topics, log.data) for log in logs]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.evm.close()


@pytest.fixture(scope="session")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One chain for tests that only read."""
    made = Bench(tmp_path_factory.mktemp("shared"))
    yield made
    made.evm.close()


@pytest.fixture(scope="session")
def digest() -> Callable[[object], bytes]:
    """32 bytes that depend on the argument alone."""
    return lambda value: sha256(repr(value).encode()).digest()
