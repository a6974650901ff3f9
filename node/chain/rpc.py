"""A chain behind JSON-RPC endpoints, asked through web3. Blocking, and slow to import: worker thread only.

Several endpoints: each round `refresh` asks all for their heads and settles on the first that is on our chain and not
behind the others; everything until the next `refresh` is asked of that one alone, so that a nonce and the receipts
that explain it come from one view of the chain.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from swarmd.node.chain.client import Fees, Log, Receipt, Rejected, Reverted, Unavailable
from swarmd.protocol.faults import LocalFault
from web3 import HTTPProvider, Web3
from web3.exceptions import (
    BlockNotFound,
    ContractLogicError,
    TransactionNotFound,
    Web3Exception,
    Web3RPCError,
)

T = TypeVar("T")

TIMEOUT_S = 10.0
MAX_HEAD_LAG_BLOCKS = 5
MIN_PRIORITY_FEE_WEI = 10**6
# What nodes (geth, nethermind, erigon, reth, anvil) say, and the codes they all mean. The first match counts.
_REFUSALS = (
    ("already known", "already-known"),
    ("already imported", "already-known"),
    ("known transaction", "already-known"),
    ("nonce too low", "nonce-too-low"),
    ("oldnonce", "nonce-too-low"),
    ("nonce too high", "nonce-too-high"),
    ("replacement", "replacement-underpriced"),
    ("insufficient funds", "insufficient-funds"),
    ("max fee per gas less than block base fee", "fee-too-low"),
    ("underpriced", "fee-too-low"),
    ("intrinsic gas", "intrinsic-gas"),
    ("gas limit", "gas-limit"),
    ("chain id", "wrong-chain-id"),
    ("invalid sender", "wrong-chain-id"),
)


def refusal_code(message: str) -> str:
    """The stable code for what a node said, "rejected" if it is none of those we know."""
    lower = message.lower()
    return next((code for words, code in _REFUSALS if words in lower), "rejected")


@dataclass(slots=True)
class Endpoint:
    """One endpoint and what was seen of it last. state: ok | down | behind | wrong-chain."""

    url: str
    web3: Web3
    state: str = "down"
    head: int = 0
    error: str = ""

    def report(self) -> dict[str, Any]:
        """For operators. The url without what may be a key in its path."""
        scheme, _, rest = self.url.partition("://")
        host = rest.partition("/")[0].rpartition("@")[2]
        return {"url": f"{scheme}://{host}", "state": self.state, "head": self.head, "error": self.error}


class RpcChain:
    """The `ChainClient` over `urls`."""

    def __init__(
        self,
        urls: Sequence[str],
        chain_id: int,
        *,
        max_head_lag_blocks: int = MAX_HEAD_LAG_BLOCKS,
        max_head_age_s: float = 0.0,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Asks nothing yet. `max_head_age_s` 0: a chain may stand still, as a test chain does."""
        for url in urls:
            if not url.startswith(("http://", "https://")):
                raise LocalFault("bad-rpc-url", url, fix="such as https://host/path")
        if not urls:
            raise LocalFault("bad-rpc-url", "no endpoint is given", fix="set chain_rpc in swarmd.toml")
        # Neither retries nor caches of web3's: failures are answered here, and each view is fresh.
        self.endpoints = [
            Endpoint(
                url,
                Web3(HTTPProvider(url, {"timeout": timeout_s}, exception_retry_configuration=None)),
            )
            for url in urls
        ]
        self._chain_id = chain_id
        self._max_lag = max_head_lag_blocks
        self._max_age_s = max_head_age_s
        self._genesis: bytes | None = None
        self._chosen: Endpoint | None = None

    @property
    def chain_id(self) -> int:
        return self._chain_id

    @property
    def genesis_hash(self) -> bytes:
        if self._genesis is None:
            found = self.block_hash(0)
            if found is None:
                raise Unavailable("behind", "the endpoint does not know block 0")
            self._genesis = found
        return self._genesis

    def refresh(self) -> None:
        """Choose the endpoint to ask. Raises Unavailable: rpc-down, behind, wrong-chain."""
        self._chosen = None
        for endpoint in self.endpoints:
            self._probe(endpoint)
        best = max((e.head for e in self.endpoints if e.state == "ok"), default=0)
        for endpoint in self.endpoints:
            if endpoint.state == "ok" and best - endpoint.head > self._max_lag:
                endpoint.state = "behind"
                endpoint.error = f"{best - endpoint.head} blocks behind another endpoint"
        chosen = next((e for e in self.endpoints if e.state == "ok"), None)
        if chosen is None:
            states = {e.state for e in self.endpoints}
            code = next((s for s in ("wrong-chain", "behind") if states == {s}), "rpc-down")
            raise Unavailable(code, "; ".join(f"{e.report()['url']}: {e.error}" for e in self.endpoints))
        self._chosen = chosen
        if self._max_age_s and (age_s := time.time() - self.block_time_s()) > self._max_age_s:
            self._chosen = None
            chosen.state = "behind"
            chosen.error = f"its newest block is {age_s:.0f} s old"
            raise Unavailable("behind", chosen.error)

    def _probe(self, endpoint: Endpoint) -> None:
        endpoint.error = ""
        try:
            chain_id = endpoint.web3.eth.chain_id
            endpoint.head = int(endpoint.web3.eth.block_number)
        except (Web3Exception, OSError, ValueError) as error:
            endpoint.state, endpoint.error = "down", f"{type(error).__name__}: {str(error)[:200]}"
            return
        endpoint.state = "ok"
        if chain_id != self._chain_id:
            endpoint.state = "wrong-chain"
            endpoint.error = f"it serves chain {chain_id}, not {self._chain_id}"

    def _ask(self, question: Callable[[Any], T]) -> T:
        """Ask the chosen endpoint. A failure of the connection takes it out until the next `refresh`."""
        if self._chosen is None:
            self.refresh()
        chosen = self._chosen
        assert chosen is not None
        try:
            return question(chosen.web3.eth)
        except OSError as error:  # what requests raises is one too
            chosen.state, chosen.error = "down", f"{type(error).__name__}: {str(error)[:200]}"
            self._chosen = None
            raise Unavailable("rpc-down", f"{chosen.report()['url']}: {chosen.error}") from None
        except (TransactionNotFound, BlockNotFound, ContractLogicError, Web3RPCError):
            raise
        except (Web3Exception, ValueError, KeyError, TypeError) as error:
            # An endpoint that answers nonsense is as good as none.
            chosen.state, chosen.error = "down", f"bad answer: {type(error).__name__}: {str(error)[:200]}"
            self._chosen = None
            raise Unavailable("rpc-down", f"{chosen.report()['url']}: {chosen.error}") from None

    def _read(self, question: Callable[[Any], T]) -> T:
        """As `_ask`, where an error the node itself reports is an outage too (rate limits, missing state)."""
        try:
            return self._ask(question)
        except (TransactionNotFound, BlockNotFound):
            raise
        except Web3RPCError as error:
            raise Unavailable("rpc-down", str(error)[:200]) from None

    # The chain

    def head(self) -> int:
        return self._read(lambda eth: int(eth.get_block_number()))

    def nonce(self, account: bytes, *, depth: int = 0) -> int:
        if depth == 0:
            return self._read(lambda eth: int(eth.get_transaction_count(_address(account), "latest")))
        at_block = max(0, self.head() - depth)
        return self._read(lambda eth: int(eth.get_transaction_count(_address(account), at_block)))

    def balance(self, account: bytes) -> int:
        return self._read(lambda eth: int(eth.get_balance(_address(account))))

    def code(self, address: bytes) -> bytes:
        return bytes(self._read(lambda eth: eth.get_code(_address(address))))

    def block_hash(self, number: int) -> bytes | None:
        try:
            return bytes(self._read(lambda eth: eth.get_block(number))["hash"])
        except BlockNotFound:
            return None

    def block_time_s(self, *, depth: int = 0) -> int:
        block: Any = "latest" if not depth else max(0, self.head() - depth)
        return int(self._read(lambda eth: eth.get_block(block))["timestamp"])

    def fees(self) -> Fees:
        """Twice the base fee of the next block and the median tip of the last four, at least 10**6 wei."""
        history = self._read(lambda eth: eth.fee_history(4, "latest", [50]))
        base = int(history["baseFeePerGas"][-1])
        tips = sorted(int(tip[0]) for tip in history.get("reward") or [] if tip)
        tip = max(tips[len(tips) // 2] if tips else 0, MIN_PRIORITY_FEE_WEI)
        return Fees(2 * base + tip, tip)

    def send_raw(self, raw: bytes) -> bytes:
        try:
            return bytes(self._ask(lambda eth: eth.send_raw_transaction(raw)))
        except Web3RPCError as error:
            response = error.rpc_response or {}
            detail = response.get("error")
            message = str(detail.get("message") if isinstance(detail, dict) else detail or error)
            raise Rejected(refusal_code(message), message[:300]) from None

    def receipts(self, tx_hashes: Sequence[bytes]) -> list[Receipt | None]:
        return [self._receipt(tx_hash) for tx_hash in tx_hashes]

    def _receipt(self, tx_hash: bytes) -> Receipt | None:
        try:
            found = self._read(lambda eth: eth.get_transaction_receipt("0x" + tx_hash.hex()))
        except TransactionNotFound:
            return None
        return Receipt(
            tx_hash=tx_hash,
            block_number=int(found["blockNumber"]),
            block_hash=bytes(found["blockHash"]),
            index=int(found["transactionIndex"]),
            succeeded=int(found["status"]) == 1,
            gas_used=int(found["gasUsed"]),
            logs=tuple(_log(entry) for entry in found["logs"]),
        )

    def logs(self, address: bytes, topic: bytes | None, *, first_block: int, last_block: int) -> list[Log]:
        query: dict[str, Any] = {
            "address": _address(address),
            "fromBlock": first_block,
            "toBlock": last_block,
        }
        if topic is not None:
            query["topics"] = ["0x" + topic.hex()]
        found = [_log(entry) for entry in self._read(lambda eth: eth.get_logs(query))]
        return sorted(found, key=lambda log: (log.block_number, log.index))

    def call(self, to: bytes, data: bytes, *, sender: bytes = bytes(20), depth: int = 0) -> bytes:
        at_block = max(0, self.head() - depth) if depth else "latest"
        transaction = {"to": _address(to), "from": _address(sender), "data": "0x" + data.hex()}
        try:
            return bytes(self._ask(lambda eth: eth.call(transaction, at_block)))
        except ContractLogicError as error:
            text = error.data if isinstance(error.data, str) and error.data.startswith("0x") else "0x"
            raise Reverted(bytes.fromhex(text[2:])) from None
        except Web3RPCError as error:
            raise Unavailable("rpc-down", str(error)[:200]) from None

    def advance(self) -> None:
        """Others make the blocks."""

    def close(self) -> None:
        self._chosen = None


def _address(account: bytes) -> str:
    return Web3.to_checksum_address(account)


def _log(entry: Any) -> Log:
    return Log(
        address=bytes.fromhex(entry["address"][2:]),
        topics=tuple(bytes(topic) for topic in entry["topics"]),
        data=bytes(entry["data"]),
        block_number=int(entry["blockNumber"]),
        block_hash=bytes(entry["blockHash"]),
        tx_hash=bytes(entry["transactionHash"]),
        index=int(entry["logIndex"]),
    )
