"""What the outbox holds: requests, and the transactions that were signed for them."""

from collections.abc import Callable
from dataclasses import dataclass

from swarmd.node.chain.client import Call, Fees, Receipt

ANCHOR, DEPLOY, CALL = "anchor", "deploy", "call"  # the kinds of request in the outbox
STATES = ("queued", "signed", "sent", "mined", "final", "failed")
SETTLED = frozenset({"final", "failed"})


@dataclass(frozen=True, slots=True)
class Request:
    """One row of the outbox."""

    seq: int
    kind: str
    key: bytes
    payload: bytes
    state: str  # one of STATES
    reason: str
    nonce: int | None
    target: bytes | None  # 20 bytes
    tx_hash: bytes | None  # 32 bytes
    block_number: int | None
    block_hash: bytes | None  # 32 bytes

    @property
    def label(self) -> str:
        """The state as an operator reads it: "sent", "failed:AnchorConflict"."""
        return f"failed:{self.reason}" if self.state == "failed" else self.state


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction of a request. `head`: the newest block when it was signed."""

    tx_hash: bytes
    seq: int
    raw: bytes
    fees: Fees
    head: int


Change = tuple[Request, Request]  # before, after
Builder = Callable[[Request], Call]
Explainer = Callable[[Request, Receipt], str]
