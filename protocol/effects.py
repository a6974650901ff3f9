"""What the engine asks for. Every effect is idempotent by its id, so dispatching one twice does no harm."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swarmd.protocol.envelope import Envelope, build


@dataclass(frozen=True, slots=True)
class Publish:
    """A draft: the node asks its gates, adds policy hash and digest, builds and seals the envelope."""

    kind: str
    thread: str
    lamport: int
    ts_ns: int
    epoch: int
    payload: Mapping[str, Any]
    refs: tuple[bytes, ...]
    trace: str

    def envelope(self, sender: str, policy: bytes, eval_digest: bytes, trace: str) -> Envelope:
        """What `sender` says under its policy (32 bytes), with its digest of the evaluation (32 bytes) and its trace."""
        return build(
            kind=self.kind,
            thread=self.thread,
            sender=sender,
            lamport=self.lamport,
            ts_ns=self.ts_ns,
            epoch=self.epoch,
            payload=dict(self.payload),
            refs=self.refs,
            policy=policy,
            eval_digest=eval_digest,
            trace=trace,
        )


@dataclass(frozen=True, slots=True)
class Store:
    """Keep this small block: it came inline with an envelope."""

    cid: bytes
    block: bytes


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get this content from whoever has it, `holders` (did:key) first."""

    cid: bytes
    holders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunAgent:
    """Assemble the input and run a local agent.

    `input`: argument -> {"cid": bytes, "as": "json"|"text"|"bytes"} or {"cid": bytes, "pointer": JSON Pointer}.
    """

    job_id: str
    need: str
    task: str
    capability: str
    input: Mapping[str, Mapping[str, Any]]
    holders: tuple[str, ...]
    until_ns: int


@dataclass(frozen=True, slots=True)
class Judge:
    """Judge `result` of a task: like RunAgent, with the way to verify as the owner asked for it."""

    job_id: str
    need: str
    task: str
    capability: str
    input: Mapping[str, Mapping[str, Any]]
    verify: Mapping[str, Any]
    result: bytes
    size: int
    telemetry: Mapping[str, int]
    holders: tuple[str, ...]
    until_ns: int


@dataclass(frozen=True, slots=True)
class Submit:
    """Anchor the merkle root of `leaves` (receipts) on chain."""

    anchor_id: bytes
    root: bytes
    leaves: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Arbitrate:
    """Record `proposal` (the id of the PROPOSE that named the plan) with the arbiter as what is decided about `need`,
    unless something is recorded for the epoch; after `until_ns`, the need's deadline, only look."""

    need: str
    epoch: int
    proposal: bytes
    lamport: int
    k: int
    decider: str
    at_ns: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class Arm:
    """Send a Ticked at or after this time."""

    at_ns: int


@dataclass(frozen=True, slots=True)
class Report:
    """A peer's author did something it must not; score it down."""

    did: str
    code: str


@dataclass(frozen=True, slots=True)
class MakeSnapshot:
    """Choose a cut, make the snapshot that opens `epoch`, answer with SnapshotMade for `round`."""

    epoch: int
    round: int


@dataclass(frozen=True, slots=True)
class CheckSnapshot:
    """Get the cut of snapshot `state` from `holder` (did:key) and what of it we lack, make it too, compare."""

    epoch: int
    proposal: bytes
    root: bytes
    state: bytes
    holder: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """A quorum certified snapshot `state`: get it, ours or from `holders`, and answer with Adopted.

    `certificate`: ids of the CHECKPOINT and of the votes for it.
    """

    epoch: int
    state: bytes
    certificate: tuple[bytes, ...]
    holders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckQuote:
    """Verify that `quote`, of the format `form`, is genuine and over `data` (32 bytes); answer with QuoteChecked."""

    subject: str
    form: str
    quote: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class CheckClaim:
    """Look up on the chain whether a deposit came from `to` (did:key), or a withdrawal of `amount` minor units to `to`
    (0x...) was paid; answer with ClaimChecked. `claim`: the payload of what was claimed."""

    subject: bytes
    what: str
    to: str
    amount: int
    claim: Mapping[str, Any]


Effect = (
    Publish
    | Store
    | Fetch
    | RunAgent
    | Judge
    | Submit
    | Arbitrate
    | Arm
    | Report
    | MakeSnapshot
    | CheckSnapshot
    | Adopt
    | CheckQuote
    | CheckClaim
)
