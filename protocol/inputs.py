"""What the engine is told. `at_ns` is the node's clock (ns since 1970) when the input was taken; the engine has none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swarmd.protocol.checkpoint.snapshot import Snapshot
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.identity.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Admitted:
    """Envelopes of a verified batch that continues its author's chain, each with the ingress gate's verdict.

    `denied` maps the position of a denied envelope to the reasons.
    """

    envelopes: tuple[Envelope, ...]
    denied: Mapping[int, str]
    at_ns: int


@dataclass(frozen=True, slots=True)
class Authored:
    """An envelope of our own, drafted by the engine and passed by the preflight gate; sealed in the same turn."""

    envelope: Envelope
    at_ns: int


@dataclass(frozen=True, slots=True)
class Ticked:
    at_ns: int


@dataclass(frozen=True, slots=True)
class AgentDone:
    """A local agent's answer is stored as `result` (binary CID), or `error` says why there is none."""

    job_id: str
    result: bytes | None
    size: int
    inline: bytes | None
    telemetry: Mapping[str, int]
    error: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Judged:
    """A local verifier's judgement: verdict accept | reject | abstain, score 0..100."""

    job_id: str
    verdict: str
    score: int
    reason: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class ContentReady:
    """Content we asked for is in the store."""

    cid: bytes
    at_ns: int


@dataclass(frozen=True, slots=True)
class ChainSeen:
    """An anchor of ours is on chain."""

    anchor_id: bytes
    tx_hash: bytes
    block_number: int
    chain_id: int
    contract: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Arbitrated:
    """What the arbiter has on record about `need`: the plan that `proposal` named; empty if nothing, and it is too late
    to record anything."""

    need: str
    epoch: int
    proposal: bytes
    at_ns: int


@dataclass(frozen=True, slots=True)
class ManifestSeen:
    """A verified manifest: what a node offers, ours included."""

    manifest: Manifest
    at_ns: int


@dataclass(frozen=True, slots=True)
class Commanded:
    """An operator's command. `op` is one of the engine's commands, `args` its checked arguments."""

    op: str
    args: Mapping[str, Any]
    at_ns: int


@dataclass(frozen=True, slots=True)
class SnapshotMade:
    """Our snapshot for the checkpoint that opens `epoch`, to propose in `round`: its root and hash, 32 bytes each."""

    epoch: int
    round: int
    root: bytes
    state: bytes
    at_ns: int


@dataclass(frozen=True, slots=True)
class SnapshotChecked:
    """Have we made, of the same cut, what the `proposal` (id of a CHECKPOINT) says? `reason` if not."""

    proposal: bytes
    same: bool
    reason: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Adopted:
    """A certified snapshot is here. `threads`: all envelopes we hold of each need that `to_rebuild` names, and of each thread
    of `closing.threads_of` the `stale` ones: envelopes of chains that it closes which are not in its cut."""

    snapshot: Snapshot
    threads: Mapping[str, tuple[Envelope, ...]]
    at_ns: int
    stale: tuple[Envelope, ...] = ()


@dataclass(frozen=True, slots=True)
class QuoteChecked:
    """What this node found of a quote of `subject`; `quote` is its SHA-256. `reason` says what with, or why not."""

    subject: str
    quote: bytes
    genuine: bool
    reason: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class ClaimChecked:
    """What this node found on the chain of a claim: `seen` as deep as is final, for `to` and of `amount` minor units; or
    `reason` why not."""

    subject: bytes
    what: str
    to: str
    amount: int
    seen: bool
    reason: str
    at_ns: int


Input = (
    Admitted
    | Authored
    | Ticked
    | AgentDone
    | Judged
    | ContentReady
    | ChainSeen
    | Arbitrated
    | ManifestSeen
    | Commanded
    | SnapshotMade
    | SnapshotChecked
    | Adopted
    | QuoteChecked
    | ClaimChecked
)
