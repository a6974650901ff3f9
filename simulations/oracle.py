"""What envelopes mean: the rules of decisions, leases and results, written a second time, simply.

This is the auditor's own reading of the protocol. It shares the wire's formats with the core (envelopes, CBOR)
and no rule: it judges each envelope once for each list of epochs that its need was drawn in, from the envelope and what
it refers to. What a node that holds a given set of them must believe is in books.py, what checkpoints settle in
rulings.py. Where this and the core differ, one is wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from swarmd.protocol.envelope import Envelope, need_id
from swarmd.simulations.reading import Reading, parents_of

S_NS = 1_000_000_000
MAX_DEADLINE_NS = 30 * 86_400 * S_NS


@dataclass(frozen=True, slots=True)
class Terms:
    """What genesis fixes."""

    roster: tuple[str, ...]
    balances: Mapping[str, int]
    k_target: int
    alpha_permille: int
    bootstrap_threshold: int
    claim_timeout_s: int
    expiry_grace_s: int
    bft: bool = False
    window_s: int = 0  # how long results can be challenged and their price is held; 0: they are paid at once
    stake: int = 0  # what a verifier locks to join the pool
    chain_epochs: int = 0  # of how many epochs in which it spoke an author's chains stay open; 0: of all
    reward_permille: int = 0  # of the price, for who has a result reversed
    epoch_s: int = 0  # how long an epoch lasts at least


class Oracle:
    """`see` every envelope that anybody published; then ask for the `reading` of a need.

    `beacons`: epoch -> what its draws are mixed with, of all epochs that began anywhere.
    """

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.seen: dict[bytes, Envelope] = {}
        self.threads: dict[str, list[Envelope]] = {}
        self.beacons: dict[int, bytes] = {0: b""}
        # Epoch -> (its verifiers, is one judge enough). Who joins and who is jailed is the pool's business, which tests of
        # the core judge: from epoch 2 on these are as checkpoints have them.
        founders = (terms.roster, len(terms.roster) < terms.bootstrap_threshold)
        self.rosters: dict[int, tuple[tuple[str, ...], bool]] = {0: founders, 1: founders}
        self._readings: dict[tuple[bytes, tuple[int, ...]], Reading] = {}
        self._by_thread: dict[str, list[Reading]] = {}
        self._wrong_needs: dict[bytes, str] = {}
        self._committees: dict[tuple[object, ...], tuple[tuple[str, ...], int]] = {}

    def see(self, envelope: Envelope) -> bool:
        """Take an envelope; True if it is new."""
        if envelope.id in self.seen:
            return False
        self.seen[envelope.id] = envelope
        self.threads.setdefault(envelope.thread, []).append(envelope)
        if envelope.kind == "NEED":
            self._wrong_needs[envelope.id] = wrong_need(envelope)
        for reading in self._by_thread.get(envelope.thread, ()):
            reading.take(envelope)
        return True

    def epoch_began(self, epoch: int, beacon: bytes) -> None:
        """What was said in it counts from now on."""
        self.beacons[epoch] = beacon
        for readings in self._by_thread.values():
            for reading in readings:
                reading.again()

    def wrong_need(self, envelope: bytes) -> str:
        """Why a NEED opens nothing, or ""."""
        return self._wrong_needs[envelope]

    def needs_of(self, thread: str) -> list[Envelope]:
        """The NEEDs of a thread that could open it, in the order in which they were seen."""
        return [e for e in self.threads.get(thread, ()) if e.kind == "NEED" and not self.wrong_need(e.id)]

    def reading(self, need: bytes, draws: tuple[int, ...]) -> "Reading":
        """What is said in the thread of `need` (a NEED) comes to, where committees of these epochs were drawn for it."""
        found = self._readings.get((need, draws))
        if found is None:
            found = self._readings[(need, draws)] = Reading(self, self.seen[need], draws)
            self._by_thread.setdefault(found.need.thread, []).append(found)
            for envelope in self.threads[found.need.thread]:
                found.take(envelope)
        return found

    def draw(
        self,
        purpose: str,
        thread: str,
        task: str,
        epoch: int,
        out: frozenset[str],
        gone: frozenset[str] = frozenset(),
    ) -> tuple[tuple[str, ...], int]:
        """(members in rank order, quorum) of a committee of `epoch`, from the roster without those who are `gone`.

        Those in `out` (owner, worker) sit in it only if nobody else is left.
        """
        key = (purpose, thread, task, epoch, out, gone)
        known = self._committees.get(key)
        if known is None:
            terms = self.terms
            roster, bootstrap = self.rosters[epoch]
            count = len(roster)
            share = count * terms.alpha_permille // 1000
            if purpose == "plan":
                k = max(1, min(terms.k_target, share))
            else:
                k = 1 if bootstrap else min(terms.k_target, max(2, share))
            salt = f"swarmd/{purpose}/1\0{thread}\0{task}\0{epoch}\0".encode() + self.beacons[epoch]
            left = [did for did in roster if did not in gone]
            order = sorted(((sha256(salt + did.encode()).digest(), did) for did in left), reverse=True)
            members = [did for _, did in order if did not in out] or [did for _, did in order]
            members = members[: 1 + (3 if terms.bft else 2) * (k - 1)]
            known = self._committees[key] = (tuple(members), self._quorum(len(members)))
        return known

    def epoch_enders(self, epoch: int) -> tuple[frozenset[str], int]:
        """(who ends `epoch`, how many of them it takes)."""
        salt = f"swarmd/epoch/1\0\0\0{epoch}\0".encode()
        roster, _ = self.rosters[epoch]
        order = sorted(roster, key=lambda did: sha256(salt + did.encode()).digest(), reverse=True)
        members = frozenset(order[:31])
        return members, len(members) // 2 + 1

    def liars_borne(self, size: int) -> int:
        """How many of a committee may lie."""
        return (size + 2) // 3 - 1 if self.terms.bft else 0

    def _quorum(self, size: int) -> int:
        """The smallest number of which any two sets have more in common than there may be liars."""
        return next(
            number for number in range(1, max(size, 1) + 1) if 2 * number - size > self.liars_borne(size)
        )


def wrong_need(envelope: Envelope) -> str:
    """Why a NEED opens nothing, or ""."""
    payload = envelope.payload
    if envelope.thread != need_id(envelope.sender, payload["fund"]["seq"]):
        return "misplaced"
    tasks = payload["tasks"]
    names = [task["id"] for task in tasks]
    if len(set(names)) != len(names) or not _ordered(tasks):
        return "not a graph of its tasks"
    if sum(task["max_price"] for task in tasks) > payload["budget"]:
        return "the budget does not cover the tasks"
    if payload["deadline_ns"] - envelope.ts_ns > MAX_DEADLINE_NS:
        return "the deadline is too far away"
    return ""


def _ordered(tasks: list[dict[str, Any]]) -> bool:
    """Can the tasks be done one after the other?"""
    done: set[str] = set()
    left = list(tasks)
    while left:
        rest = [task for task in left if not parents_of(task) <= done]
        if len(rest) == len(left):
            return False
        done |= {task["id"] for task in left} - {task["id"] for task in rest}
        left = rest
    return True
