"""What is said about a need, as the rules found it to be: proposals, votes, claims, results, challenges.

Each is what one envelope came to, whoever said it; `Need` has them by what they are about and derives what follows.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task as its owner asked for it. `input`: argument -> {"cid", "as"} or {"task", "pointer"}."""

    id: str
    capability: str
    max_price: int
    input: dict[str, Any]
    verify: dict[str, Any]
    parents: tuple[str, ...]


def task_spec(payload: dict[str, Any]) -> TaskSpec:
    """From its payload form; parents are the tasks its input binds to and those it comes `after`."""
    parents = {binding["task"] for binding in payload["input"].values() if "task" in binding}
    parents.update(payload.get("after", ()))
    return TaskSpec(
        id=payload["id"],
        capability=payload["capability"],
        max_price=payload["max_price"],
        input=payload["input"],
        verify=payload["verify"],
        parents=tuple(sorted(parents)),
    )


@dataclass(frozen=True, slots=True)
class Proposal:
    id: bytes
    sender: str
    round: int
    lease_s: int
    plan: dict[str, list[list[Any]]]  # task -> [[worker, price], ...] in order of preference
    specs: dict[str, TaskSpec]  # the tasks as the proposal's refs define them
    updates: tuple[bytes, ...]
    value: bytes  # the proposal that named this plan first: its own id, or that of the one it repeats
    lamport: int
    ts_ns: int
    draw: int = 0  # the epoch whose roster its committee was drawn from


@dataclass(frozen=True, slots=True)
class Skip:
    """A member accepts nothing below `round` any more. `accepted`: of the highest round it had voted in, if any."""

    id: bytes
    voter: str
    round: int
    accepted: bytes | None
    lamport: int
    draw: int = 0


@dataclass(frozen=True, slots=True)
class Decide:
    id: bytes
    proposal: bytes
    decider: str
    epoch: int
    lamport: int
    ts_ns: int
    votes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    id: bytes
    proposal: bytes
    task: str
    attempt: int
    worker: str
    ts_ns: int
    until_ns: int
    basis: tuple[bytes, ...] = ()  # the parents' results (COMMITs) that it works on


@dataclass(frozen=True, slots=True)
class Ending:
    """An attempt is over: cause is expired, unclaimed, rejected or yielded."""

    id: bytes
    proposal: bytes
    task: str
    attempt: int
    cause: str
    reason: str
    sender: str
    ts_ns: int


@dataclass(frozen=True, slots=True)
class Commit:
    id: bytes
    claim: bytes
    task: str
    worker: str
    result: bytes
    size: int
    telemetry: dict[str, int]
    ts_ns: int


@dataclass(frozen=True, slots=True)
class Attest:
    id: bytes
    commit: bytes
    judge: str
    verdict: str
    score: int
    reason: str
    ts_ns: int


@dataclass(frozen=True, slots=True)
class Final:
    """An accepted result with its certificate: the ids of the attests that carry it."""

    id: bytes
    task: str
    commit: bytes
    proposal: bytes
    worker: str
    price: int
    result: bytes
    epoch: int
    lamport: int
    ts_ns: int
    sender: str
    attests: tuple[bytes, ...]
    judges: tuple[str, ...] = ()  # the committee that it was judged by, and those who abstained from it


@dataclass(frozen=True, slots=True)
class Closing:
    """The need ended without all results: outcome is refunded or expired."""

    id: bytes
    outcome: str
    task: str
    reason: str
    lamport: int
    ts_ns: int
    sender: str


@dataclass(frozen=True, slots=True)
class Challenge:
    """Somebody stakes `bond`, an escrow of its own account, on `commit` being wrong."""

    id: bytes
    task: str
    final: bytes
    commit: bytes
    challenger: str
    bond: str
    reason: str
    evidence: tuple[bytes, ...]
    lamport: int
    ts_ns: int


@dataclass(frozen=True, slots=True)
class Review:
    """What a member of a challenge's committee says of the result."""

    id: bytes
    challenge: bytes
    judge: str
    verdict: str
    score: int
    reason: str
    ts_ns: int


@dataclass(frozen=True, slots=True)
class Ruling:
    """How a challenge ended: `upheld` (an INVALIDATE) or not, with the ids of the reviews that carry it."""

    id: bytes
    challenge: bytes
    task: str
    upheld: bool
    reason: str
    reviews: tuple[bytes, ...]
    lamport: int
    ts_ns: int
    sender: str
