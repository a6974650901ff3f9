"""Journals with signed batches of several authors, made without a daemon."""

import random
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import nacl.signing
import pytest
from swarmd.node.journal import Journal
from swarmd.protocol.batch import GENESIS_PREV, Batch, sign_flush
from swarmd.protocol.didkey import did_of
from swarmd.protocol.envelope import Envelope, bucket_of, build, need_id


@dataclass
class Writer:
    """An author with a chain in each bucket."""

    name: str
    lamport: int = 0
    heads: dict[tuple[int, int], tuple[int, bytes]] = field(default_factory=dict)

    @property
    def key(self) -> nacl.signing.SigningKey:
        return nacl.signing.SigningKey(sha256(self.name.encode()).digest())

    @property
    def did(self) -> str:
        return did_of(bytes(self.key.verify_key))

    def envelope(self, number: int, epoch: int = 0) -> Envelope:
        self.lamport += 1
        thread = need_id(self.did, number)
        return build(
            kind="NEED",
            thread=thread,
            sender=self.did,
            lamport=self.lamport,
            ts_ns=time.time_ns(),
            epoch=epoch,
            payload={
                "title": f"{self.name} {number}",
                "budget": 5,
                "deadline_ns": time.time_ns() + 10**12,
                "fund": {"seq": number, "prev": bytes(32)},
                "tasks": [
                    {
                        "id": "t",
                        "capability": "echo",
                        "max_price": 5,
                        "input": {},
                        "verify": {"type": "reexec"},
                    }
                ],
            },
            refs=(),
            policy=bytes(32),
            eval_digest=bytes(32),
        )

    def batch(self, *envelopes: Envelope) -> Batch:
        place = (envelopes[0].epoch, bucket_of(envelopes[0].thread))
        seq, prev = self.heads.get(place, (0, GENESIS_PREV))
        _, [batch] = sign_flush(
            bytes(32),
            self.did,
            [(*place, seq, prev, list(envelopes))],
            lambda data: self.key.sign(data).signature,
        )
        self.heads[place] = (seq + 1, batch.hash)
        return batch


def make_batches(count: int, authors: int = 3, epoch: int = 0, seed: int = 1) -> list[Batch]:
    """Chains of several batches: numbers repeat, so buckets do."""
    dice = random.Random(seed)
    writers = [Writer(f"author {n}") for n in range(authors)]
    made = []
    for _ in range(count):
        writer, number = dice.choice(writers), dice.randrange(40)
        made.append(writer.batch(*(writer.envelope(number, epoch) for _ in range(dice.randrange(1, 4)))))
    return made


def shuffle_chains(batches: list[Batch], seed: int) -> list[Batch]:
    """In another order in which each chain keeps its own."""
    dice = random.Random(seed)
    chains: dict[tuple, list[Batch]] = {}
    for batch in batches:
        chains.setdefault((batch.author, batch.epoch, batch.bucket), []).append(batch)
    left = list(chains.values())
    shuffled = []
    while left:
        chain = dice.choice(left)
        shuffled.append(chain.pop(0))
        left = [chain for chain in left if chain]
    return shuffled


@pytest.fixture
def batches():
    """batches(count, authors, epoch, seed) -> signed batches in an order that chains allow."""
    return make_batches


@pytest.fixture
def reorder():
    """reorder(batches, seed) -> another such order."""
    return shuffle_chains


@pytest.fixture
def new_writer():
    return Writer


@pytest.fixture
def record():
    """record(path, batches): a journal at `path` gets them."""

    def add(path: Path, batches: list[Batch]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        journal = Journal(path)
        journal.begin()
        for batch in batches:
            journal.add_batch(batch)
        journal.commit()
        journal.close()
        return path

    return add
