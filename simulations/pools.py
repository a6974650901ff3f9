"""Verifiers that join and leave in a simulated mesh, and what the second model holds checkpoints to about them.

The money of stakes is reckoned here as all money is. Of seats the model has bounds: who has no stake gets none, who joined
with one does at once, who left has none, and keeps its stake locked for as long as it can be slashed. Who shows itself too
seldom, and who contradicted itself, is judged by tests of the core alone; that nobody honest is expelled, here.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from swarmd.protocol.checkpoint.snapshot import Snapshot
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.faults import LocalFault
from swarmd.simulations.books import Books, Outcome, Ruling, pool_name, stake_of
from swarmd.simulations.clock import S_NS, Loop
from swarmd.simulations.node import SimNode
from swarmd.simulations.oracle import Oracle

STAKE = 500_000
SLASHED = "mesh:slashed"
UNBOND_EPOCHS = 4


# What nodes do -----------------------------------------------------------------------------------------------


class Joiners:
    """Honest nodes of `late` ask to join, each at its time, and half of them leave again."""

    def __init__(
        self, loop: Loop, late: Sequence[SimNode], start_ns: int, span_ns: int, random: Random
    ) -> None:
        self._loop = loop
        self.joined = self.left = 0
        for number, node in enumerate(late):
            join_ns = start_ns + random.randrange(1, max(2, span_ns // 3))
            leave_ns = join_ns + random.randrange(span_ns // 3, max(2, span_ns))
            if node.conduct.honest:
                loop.at(join_ns, self._say, node, "verifier.join", {"amount": STAKE})
                if number % 2:
                    loop.at(leave_ns, self._say, node, "verifier.leave", {"reason": "it has had enough"})

    def _say(self, node: SimNode, op: str, args: dict[str, Any]) -> None:
        def answered(value: Any) -> None:
            if not isinstance(value, LocalFault):
                self.joined += op == "verifier.join"
                self.left += op == "verifier.leave"
            elif value.code == "disk-full":
                self._loop.after(S_NS, self._say, node, op, args)

        if node.up:
            node.command(op, args, answered)
        else:
            self._loop.after(S_NS, self._say, node, op, args)


# What a checkpoint must make of it ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """Of a cut: who said that it leaves, and who joins."""

    leaving: frozenset[str]
    joining: frozenset[str]


def told(said: Sequence[Envelope]) -> Told:
    """What verifiers said last of themselves, each in its own thread."""
    last: dict[str, str] = {}
    for envelope in sorted(said, key=lambda e: (e.lamport, e.id)):
        if envelope.kind == "POOL" and envelope.thread == pool_name(envelope.sender):
            op = envelope.payload["op"]
            if op == "leave" or (op == "join" and stake_of(envelope, STAKE)):
                last[envelope.sender] = op
    return Told(
        frozenset(did for did, op in last.items() if op == "leave"),
        frozenset(did for did, op in last.items() if op == "join"),
    )


def stakes(books: Books) -> Iterator[tuple[str, str, int]]:
    """(name, owner, held) of stakes that are locked."""
    for name, lock in books.locks.items():
        if name.startswith("stake-") and books.escrows.get(name, ("",))[0] == "funded":
            yield name, lock.owner, books.escrows[name][1]


def ends(
    before: Ruling, books: Books, snapshot: Snapshot, honest: Collection[str]
) -> tuple[dict[str, Outcome], list[str]]:
    """What became of stakes that a checkpoint has no more, and what is wrong with that."""
    found: dict[str, Outcome] = {}
    wrong = []
    for name, owner, held in stakes(books):
        if name in snapshot.stakes:
            continue
        member, left = snapshot.pool.get(owner), before.left.get(owner)
        if member is not None and member.state == "expelled":
            found[name] = Outcome("", {"slash": (SLASHED, held)}, "slashed")
            if owner in honest:
                wrong.append(f"the stake of {owner[-8:]}, who is honest, is slashed")
            continue
        found[name] = Outcome("", {}, "returned")
        if left is None or snapshot.epoch < left + UNBOND_EPOCHS:
            wrong.append(f"a stake of {owner[-8:]} went home in epoch {snapshot.epoch}; it left in {left}")
    late = [
        owner
        for name, owner, _ in stakes(books)
        if name in snapshot.stakes and _is_due(before, owner, snapshot)
    ]
    wrong += [f"{owner[-8:]} left in {before.left[owner]}, and its stake is kept" for owner in late]
    return found, wrong


def _is_due(before: Ruling, owner: str, snapshot: Snapshot) -> bool:
    return owner in before.left and snapshot.epoch >= before.left[owner] + UNBOND_EPOCHS


def seats(
    oracle: Oracle, before: Ruling, books: Books, told: Told, snapshot: Snapshot, honest: Collection[str]
) -> list[str]:
    """What is wrong with the roster that a checkpoint fixes."""
    following = set(snapshot.rosters[snapshot.epoch + 1].members)
    money: dict[str, int] = {}
    for _, owner, held in stakes(books):
        money[owner] = money.get(owner, 0) + held
    founders = set(oracle.terms.roster)
    wrong = [
        f"{did[-8:]} has a seat, and no stake"
        for did in sorted(following - founders)
        if 2 * money.get(did, 0) < STAKE
    ]
    gone = told.leaving | (before.left.keys() - told.joining)
    wrong += [f"{did[-8:]} left and has a seat" for did in sorted(following & gone)]
    known = before.seated | founders
    wrong += [
        f"{did[-8:]} joined with its stake and has no seat"
        for did in sorted(told.joining - known - following)
        if money.get(did, 0) >= STAKE and did in honest
    ]
    expelled = {did for did, member in snapshot.pool.items() if member.state == "expelled"}
    wrong += [f"{did[-8:]}, who is honest, is expelled" for did in sorted(expelled & set(honest))]
    return wrong
