"""Who decides: K, and committees drawn by rendezvous hashing over the epoch's roster.

K alone gives no single decision (two disjoint sets of K verifiers could each decide), so each need has a
committee of 2K-1 members of whom K are a majority (ARCHITECTURE, "Work"). With f = K-1, a mesh of mode `bft` draws 3f+1,
of whom 2f+1 decide (adr/0023).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from math import gcd

from swarmd.protocol.genesis import BFT, MAJORITY, Genesis


def k_plan(active: int, genesis: Genesis) -> int:
    """min(k_target, floor(active x alpha)), at least 1 (seed 004, command 34)."""
    return max(1, min(genesis.k_target, active * genesis.alpha_permille // 1000))


def too_few(active: int, genesis: Genesis) -> bool:
    """Fewer active verifiers than the threshold (seed 004, command 36: 10)."""
    return active < genesis.bootstrap_threshold


def k_result(active: int, genesis: Genesis, bootstrap: bool | None = None) -> int:
    """1 in bootstrap mode (None: as it is at the founding, by the number alone), else min(k_target,
    max(2, floor(active x alpha))) (seed 004, command 36)."""
    if bootstrap if bootstrap is not None else too_few(active, genesis):
        return 1
    return min(genesis.k_target, max(2, active * genesis.alpha_permille // 1000))


@lru_cache(maxsize=8192)
def ranked(
    roster: tuple[str, ...],
    purpose: str,
    thread: str,
    task: str,
    epoch: int,
    weights: tuple[tuple[str, int], ...] = (),
    beacon: bytes = b"",
) -> tuple[str, ...]:
    """The roster in rendezvous order: by SHA-256(purpose, thread, task, epoch, beacon, member), highest first.

    A member of weight w (`weights`: of those that have not 1) has w tickets and its best one counts, so it is first
    with w out of the sum of all weights, second with w of what is left, and so on, in integers alone: the largest of w
    uniform numbers is what Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006), sort by.
    """
    seed = f"swarmd/{purpose}/1\0{thread}\0{task}\0{epoch}\0".encode() + beacon
    tickets = _lightest(roster, dict(weights))

    def best(did: str) -> bytes:
        own = seed + did.encode()
        first = sha256(own).digest()
        count = tickets.get(did, 1)
        return (
            max(first, *(sha256(b"%b\0%d" % (own, n)).digest() for n in range(1, count)))
            if count > 1
            else first
        )

    return tuple(sorted(roster, key=best, reverse=True))


def _lightest(roster: tuple[str, ...], weights: dict[str, int]) -> dict[str, int]:
    """The same shares by the fewest tickets: where all have one weight, one ticket each."""
    if not weights:
        return weights
    shared = gcd(*(weights.get(did, 1) for did in roster))
    return {did: weights.get(did, 1) // shared for did in roster}


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


def draw(order: Sequence[str], k: int, exclude: Collection[str], mode: str = MAJORITY) -> Committee:
    """The first `committee_size` of `order` that are not excluded; all of a roster that has nobody else.

    Where fewer are left, those decide by their own quorum. A mesh of one daemon judges itself.
    """
    eligible = [did for did in order if did not in exclude] or list(order)
    members = tuple(eligible[: committee_size(k, mode)])
    return Committee(members, quorum_of(len(members), mode))


def committee_size(k: int, mode: str) -> int:
    """2K-1; in mode bft 3f+1 with f = K-1."""
    return 3 * k - 2 if mode == BFT else 2 * k - 1


def liars_borne(size: int, mode: str) -> int:
    """How many of `size` members may lie without two quorums that share only liars: f of 3f+1; 0 by majority."""
    return (size - 1) // 3 if mode == BFT else 0


def quorum_of(size: int, mode: str) -> int:
    """The fewest of `size` members of whom any two sets share one member more than may lie.

    A majority; in mode bft 2f+1 of 3f+1 (Castro, Liskov, "Practical Byzantine Fault Tolerance", 1999).
    """
    return (size + liars_borne(size, mode)) // 2 + 1
