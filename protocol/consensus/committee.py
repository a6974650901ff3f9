"""Who decides: K, and committees drawn by rendezvous hashing over the epoch's roster.

K alone gives no single decision (two disjoint sets of K verifiers could each decide), so each need has a
committee of 2K-1 members of whom K are a majority (ARCHITECTURE, "Work").
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from swarmd.protocol.genesis import Genesis


def k_plan(active: int, genesis: Genesis) -> int:
    """min(k_target, floor(active x alpha)), at least 1 (seed 004, command 34)."""
    return max(1, min(genesis.k_target, active * genesis.alpha_permille // 1000))


def in_bootstrap(active: int, genesis: Genesis) -> bool:
    """Fewer active verifiers than the threshold (seed 004, command 36: 10)."""
    return active < genesis.bootstrap_threshold


def k_result(active: int, genesis: Genesis) -> int:
    """1 in bootstrap mode, else min(k_target, max(2, floor(active x alpha))) (seed 004, command 36)."""
    if in_bootstrap(active, genesis):
        return 1
    return min(genesis.k_target, max(2, active * genesis.alpha_permille // 1000))


@lru_cache(maxsize=8192)
def ranked(roster: tuple[str, ...], purpose: str, thread: str, task: str, epoch: int) -> tuple[str, ...]:
    """The roster in rendezvous order: by SHA-256(purpose, thread, task, epoch, member), highest first."""
    seed = f"swarmd/{purpose}/1\0{thread}\0{task}\0{epoch}\0".encode()
    return tuple(sorted(roster, key=lambda did: sha256(seed + did.encode()).digest(), reverse=True))


@dataclass(frozen=True, slots=True)
class Committee:
    """`members` in rank order; `quorum` of them decide."""

    members: tuple[str, ...]
    quorum: int

    def proposer(self, round_: int) -> str:
        """Whose round it is; the members take turns."""
        return self.members[round_ % len(self.members)]

    def rank(self, did: str) -> int | None:
        return self.members.index(did) if did in self.members else None


def draw(order: Sequence[str], k: int, exclude: Collection[str]) -> Committee:
    """The first 2K-1 of `order` that are not excluded; all of a roster that has nobody else.

    With fewer than 2K-1 left, those that are left decide by majority. A mesh of one daemon judges itself.
    """
    return _drawn(tuple(order), k, frozenset(exclude))


@lru_cache(maxsize=8192)  # nearly every envelope of a need asks for its committees again
def _drawn(order: tuple[str, ...], k: int, exclude: frozenset[str]) -> Committee:
    eligible = [did for did in order if did not in exclude] or list(order)
    members = tuple(eligible[: 2 * k - 1])
    return Committee(members, len(members) // 2 + 1)
