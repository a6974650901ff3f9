"""The simulated disk: a journal of transactions that are there whole or not at all, and can be lost.

It keeps what `node/journal.py` keeps (inputs in order, batches by chain, the outbox, proofs) with the same
meaning: a commit that returned is durable, one that was cut short by a crash may have made it or is torn, and
then it is discarded as SQLite discards a frame of its log whose checksum is wrong.
"""

from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

from swarmd.protocol.batch import Batch
from swarmd.protocol.chains import Chain, Head, chain_of
from swarmd.protocol.effects import (
    Adopt,
    Arbitrate,
    CheckSnapshot,
    Fetch,
    Judge,
    MakeSnapshot,
    RunAgent,
    Submit,
)
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.inputs import Input
from swarmd.simulations.clock import MS_NS

if TYPE_CHECKING:
    from swarmd.simulations import checkpoints

Kept = RunAgent | Judge | Fetch | Submit | Arbitrate | MakeSnapshot | CheckSnapshot | Adopt


class DiskFull(Exception):
    """The transaction did not fit; nothing of it is there."""


def effect_id(effect: Kept) -> str:
    """The id under which the outbox keeps an effect until its result is an input."""
    match effect:
        case RunAgent() | Judge():
            return effect.job_id
        case Fetch():
            return "fetch-" + effect.cid.hex()
        case Submit():
            return "anchor-" + effect.anchor_id.hex()
        case Arbitrate():
            return f"arbitrate-{effect.epoch}-{effect.need}"
        case MakeSnapshot():
            return f"make-{effect.epoch}-{effect.round}"
        case CheckSnapshot():
            return "check-" + effect.proposal.hex()
        case Adopt():
            return f"adopt-{effect.epoch}"


class Transaction:
    """What one turn writes. `heard` and `said` are the envelopes in it, for the auditor."""

    # By hand: one is made for nearly every frame, and a dataclass takes three times as long over its nine fields.
    __slots__ = (
        "adopted",
        "batches",
        "certified",
        "heard",
        "inputs",
        "kept",
        "proofs",
        "said",
        "snapshots",
    )

    def __init__(self) -> None:
        self.inputs: list[Input] = []
        self.batches: list[Batch] = []
        self.kept: dict[str, Kept | None] = {}
        self.proofs: list[tuple[Batch, Batch]] = []
        self.heard: list[Envelope] = []
        self.said: list[Envelope] = []
        self.snapshots: dict[bytes, checkpoints.Kept] = {}
        self.certified: dict[int, checkpoints.Certified] = {}
        self.adopted: list[bytes] = []


class Disk:
    """A node's durable memory. `full`, `slowness` and `forgets` are what a nemesis turns."""

    def __init__(self, random: Random) -> None:
        self.inputs: list[Input] = []
        self.batches: dict[Chain, list[Batch]] = {}
        self.outbox: dict[str, Kept] = {}
        self.proofs: list[tuple[Batch, Batch]] = []
        self.snapshots: dict[bytes, checkpoints.Kept] = {}
        self.certified: dict[int, checkpoints.Certified] = {}
        self.adopted: list[bytes] = []
        self.full = False
        self.slowness = 1
        self._random = random
        self.forgets = 0
        self._log: list[Transaction] = []

    def fsync_ns(self) -> int:
        """How long the next commit takes."""
        return (MS_NS // 2 + self._random.randrange(MS_NS)) * self.slowness

    def commit(self, transaction: Transaction) -> None:
        """Make it durable. DiskFull if there is no room."""
        if self.full:
            raise DiskFull
        self._write(transaction)

    def crash(self, unfinished: Transaction | None) -> bool:
        """Power is cut. True if the transaction that was being written made it nevertheless.

        A disk that lied about fsync (`forgets`) loses as many of its last transactions, acknowledged ones.
        """
        if self.forgets:
            kept = self._log[: max(0, len(self._log) - self.forgets)]
            self._log = []
            self.inputs, self.batches, self.outbox, self.proofs = [], {}, {}, []
            self.snapshots, self.certified, self.adopted = {}, {}, []
            for transaction in kept:
                self._write(transaction)
            return False
        if unfinished is None or self.full or self._random.random() < 0.5:
            return False
        self._write(unfinished)
        return True

    def _write(self, transaction: Transaction) -> None:
        self._log.append(transaction)
        self.inputs.extend(transaction.inputs)
        for batch in transaction.batches:
            chain = chain_of(batch)
            known = self.batches.get(chain)
            if known is None:
                self.batches[chain] = [batch]
            else:
                known.append(batch)
        for name, effect in transaction.kept.items():
            if effect is None:
                self.outbox.pop(name, None)
            else:
                self.outbox[name] = effect
        self.proofs.extend(transaction.proofs)
        if transaction.snapshots:
            self.snapshots.update(transaction.snapshots)
        if transaction.adopted:
            self.certified.update(transaction.certified)
            self.adopted.extend(transaction.adopted)

    def heads(self) -> Iterator[tuple[Chain, Head]]:
        for chain, batches in self.batches.items():
            last = batches[-1]
            yield chain, Head(last.seq, last.hash, last.envelopes[-1].lamport, last.envelopes[-1].ts_ns)

    def batch(self, chain: Chain, seq: int) -> Batch | None:
        batches = self.batches.get(chain, ())
        return batches[seq] if seq < len(batches) else None

    def sealed_ids(self, did: str) -> set[bytes]:
        """Ids of `did`'s envelopes that are in a batch."""
        return {
            envelope.id
            for chain, batches in self.batches.items()
            if chain[0] == did
            for batch in batches
            for envelope in batch.envelopes
        }
