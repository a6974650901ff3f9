"""A runner over a real journal and the real policy, and an author that says whatever a test wants."""

import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import nacl.signing
import pytest
from swarmd import policies
from swarmd.node.content.store import SqliteBlockStore
from swarmd.node.journal import Journal
from swarmd.node.journaled import JournaledEngine
from swarmd.node.policy.host import WasmGate
from swarmd.node.runner import Runner
from swarmd.node.turns import Out
from swarmd.protocol import cids, limits
from swarmd.protocol.batch import GENESIS_PREV, Batch, sign_flush
from swarmd.protocol.cbor import Link
from swarmd.protocol.didkey import did_of
from swarmd.protocol.envelope import Envelope, bucket_of, build, need_id
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.identity.manifest import Manifest, sign_manifest
from swarmd.protocol.state import State


def key_of(name: str) -> nacl.signing.SigningKey:
    return nacl.signing.SigningKey(sha256(name.encode()).digest())


def did_for(name: str) -> str:
    return did_of(bytes(key_of(name).verify_key))


@dataclass
class Author:
    """Somebody else in the mesh, with a chain per bucket of its own."""

    name: str
    mesh_id: bytes
    lamport: int = 0
    heads: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    entry: tuple[int, bytes] = (0, bytes(32))

    @property
    def did(self) -> str:
        return did_for(self.name)

    def sign(self, data: bytes) -> bytes:
        return key_of(self.name).sign(data).signature

    def envelope(
        self, kind: str, thread: str, payload: dict[str, Any], refs: tuple[bytes, ...] = (), **change: Any
    ) -> Envelope:
        self.lamport += 1
        body: dict[str, Any] = dict(
            kind=kind,
            thread=thread,
            sender=self.did,
            lamport=self.lamport,
            ts_ns=time.time_ns(),
            epoch=0,
            payload=payload,
            refs=refs,
            policy=bytes(32),
            eval_digest=bytes(32),
        )
        return build(**{**body, **change})

    def need(self, budget: int = 50_000, **change: Any) -> Envelope:
        seq, prev = self.entry
        thread = need_id(self.did, seq)
        payload = {
            "title": "theirs",
            "budget": budget,
            "deadline_ns": time.time_ns() + 60 * limits.S_NS,
            "fund": {"seq": seq, "prev": prev},
            "tasks": [task_payload("t1")],
        }
        return self.envelope("NEED", thread, payload, **change)

    def batch(
        self, *envelopes: Envelope, seq: int | None = None, prev: bytes | None = None, keep: bool = True
    ) -> tuple[bytes, Batch]:
        bucket = bucket_of(envelopes[0].thread)
        known = self.heads.get(bucket, (0, GENESIS_PREV))
        at = (known[0] if seq is None else seq, known[1] if prev is None else prev)
        frame, batches = sign_flush(
            self.mesh_id, self.did, [(0, bucket, at[0], at[1], list(envelopes))], self.sign
        )
        if keep:
            self.heads[bucket] = (batches[0].seq + 1, batches[0].hash)
        return frame, batches[0]

    def manifest(self, offers: dict[str, int], issued_ns: int | None = None) -> Manifest:
        return sign_manifest(self.mesh_id, self.did, issued_ns or time.time_ns(), offers, (), (), self.sign)


def task_payload(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "capability": "echo",
        "max_price": 30_000,
        "input": {"text": {"cid": Link(cids.raw_cid(b"hello")), "as": "text"}},
        "verify": {"type": "reexec"},
    }


class Bench:
    """One node without network: `turn` until quiet."""

    def __init__(self, home: Path, name: str = "me", clock_ns: Any = time.time_ns) -> None:
        self.home = home
        self.name = name
        self.genesis = Genesis(
            "t",
            tuple(sorted((did_for("me"), did_for("bob")))),
            {did_for(n): 10_000_000 for n in ("me", "bob", "eve")},
        )
        self.clock_ns = clock_ns
        self.open()

    def open(self) -> None:
        policy = policies.load("base")
        self.journal = Journal(self.home / "journal.db")
        self.blocks = SqliteBlockStore(self.journal.db)
        self.outs: list[Out] = []
        core = JournaledEngine(
            genesis=self.genesis,
            me=did_for(self.name),
            sign=lambda data: key_of(self.name).sign(data).signature,
            journal=self.journal,
            gate=WasmGate(policy.wasm, policy.data),
            blocks=self.blocks,
            clock_ns=self.clock_ns,
            new_state=lambda: State(self.genesis, did_for(self.name), check_everything=True),
        )
        self.runner = Runner(core, self.take_out)

    def take_out(self, out: Out) -> None:
        """What a running runner gives; whoever waits for a reply goes on, as in the daemon."""
        self.outs.append(out)
        for reply in out.replies:
            reply.done.set()

    def reopen(self) -> None:
        self.journal.close()
        self.open()

    def turn(self) -> Out:
        """Turns until nothing is queued or unsealed; everything that came out of them as one."""
        total = Out()
        while self.runner._queue or self.runner.voice.unsealed or not self.outs:
            out = self.runner.turn()
            self.outs.append(out)
            for name in ("frames", "effects", "gaps", "reports", "replies"):
                getattr(total, name).extend(getattr(out, name))
            total.stored += out.stored
            if self.runner.trouble:
                break
        self.outs.clear()
        return total

    def take(self, frame: bytes, peer: str = "peer") -> Out:
        self.runner.offer_frame(peer, frame)
        return self.turn()


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.journal.close()


@pytest.fixture
def bench_at():
    return Bench


@pytest.fixture
def author(bench):
    return Author("bob", bench.genesis.mesh_id)


@pytest.fixture
def author_of(bench):
    return lambda name: Author(name, bench.genesis.mesh_id)


@pytest.fixture
def new_task():
    return task_payload
