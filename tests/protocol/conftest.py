"""A mesh of engines without any IO: turns, a shuffled network, answers computed on the spot."""

import random
from collections import deque
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import nacl.signing
import pytest

from swarmd.protocol import cids
from swarmd.protocol.cbor import Link
from swarmd.protocol.didkey import did_of
from swarmd.protocol.digest import mesh_digest
from swarmd.protocol.effects import Effect, Judge, Publish, RunAgent, Submit
from swarmd.protocol.engine import step
from swarmd.protocol.envelope import Envelope, build
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.identity.manifest import sign_manifest
from swarmd.protocol.inputs import Admitted, AgentDone, Authored, ChainSeen, Commanded, Judged, ManifestSeen, Ticked
from swarmd.protocol.limits import S_NS
from swarmd.protocol.state import State

START_NS = 1_760_000_000 * S_NS


def signing_key(name: str) -> nacl.signing.SigningKey:
    return nacl.signing.SigningKey(sha256(name.encode()).digest())


def did_for(name: str) -> str:
    return did_of(bytes(signing_key(name).verify_key))


@dataclass
class Node:
    did: str
    state: State
    offers: dict[str, int]
    inbox: deque = field(default_factory=deque)
    journal: list = field(default_factory=list)
    said: list = field(default_factory=list)
    jobs: list = field(default_factory=list)
    submitted: list = field(default_factory=list)
    alive: bool = True


class Mesh:
    """`deliver` moves one envelope to one node, in an order the seed picks; `run` goes on until all is quiet."""

    def __init__(self, names: list[str], *, seed: int = 0, offers: dict[str, int] | None = None, verifiers: list[str] | None = None, balance: int = 10_000_000, **params: Any) -> None:
        self.random = random.Random(seed)
        roster = tuple(sorted(did_for(name) for name in (verifiers or names)))
        self.genesis = Genesis("test", roster, {did_for(name): balance for name in names}, **params)
        self.now_ns = START_NS
        self.nodes = {}
        self.answer = lambda node, job: {"n": 1}
        self.judge = lambda node, job: ("accept", 100, "the same result")
        for name in names:
            did = did_for(name)
            self.nodes[name] = Node(did, State(self.genesis, did, check_everything=True), dict(offers or {"echo": 20_000}))
        for name, node in self.nodes.items():
            self.publish_manifest(name, node.offers)

    def publish_manifest(self, name: str, offers: dict[str, int]) -> None:
        node = self.nodes[name]
        node.offers = offers
        manifest = sign_manifest(
            self.genesis.mesh_id, node.did, self.now_ns, offers, (), (), lambda data: signing_key(name).sign(data).signature
        )
        for other in self.nodes.values():
            self.feed(other, ManifestSeen(manifest, self.now_ns))

    def feed(self, node: Node, given: Any) -> None:
        node.journal.append(given)
        todo: deque[Effect] = deque(step(node.state, given))
        while todo:
            effect = todo.popleft()
            if isinstance(effect, Publish):
                envelope = build(
                    kind=effect.kind, thread=effect.thread, sender=node.did, lamport=effect.lamport, ts_ns=effect.ts_ns,
                    epoch=effect.epoch, payload=dict(effect.payload), refs=effect.refs, policy=bytes(32), eval_digest=bytes(32),
                    trace=effect.trace,
                )
                node.said.append(envelope)
                own = Authored(envelope, self.now_ns)
                node.journal.append(own)
                todo.extend(step(node.state, own))
                for other in self.nodes.values():
                    if other is not node:
                        other.inbox.append(envelope)
            elif isinstance(effect, RunAgent | Judge):
                node.jobs.append(effect)
            elif isinstance(effect, Submit):
                node.submitted.append(effect)

    def post(self, name: str, tasks: list[dict[str, Any]], budget: int, deadline_s: int = 120) -> str:
        node = self.nodes[name]
        args = {"title": "a need", "budget": budget, "deadline_s": deadline_s, "tasks": tasks, "inline": []}
        self.feed(node, Commanded("need.post", args, self.now_ns))
        return node.said[-1].thread if node.said[-1].kind == "NEED" else next(e.thread for e in reversed(node.said) if e.kind == "NEED")

    def tick(self, seconds: float) -> None:
        self.now_ns += int(seconds * S_NS)
        for node in self.nodes.values():
            if node.alive:
                self.feed(node, Ticked(self.now_ns))

    def deliver(self) -> bool:
        ready = [node for node in self.nodes.values() if node.alive and (node.inbox or node.jobs or node.submitted)]
        if not ready:
            return False
        self.now_ns += 1_000_000
        node = self.random.choice(ready)
        if node.jobs and (not node.inbox or self.random.random() < 0.5):
            self._work(node, node.jobs.pop(0))
        elif node.inbox:
            position = self.random.randrange(len(node.inbox))
            envelope = node.inbox[position]
            del node.inbox[position]
            self.feed(node, Admitted((envelope,), {}, self.now_ns))
        else:
            submitted = node.submitted.pop(0)
            self.feed(node, ChainSeen(submitted.anchor_id, sha256(submitted.root).digest(), 1, 1337, "0x" + "0" * 40, self.now_ns))
        return True

    def _work(self, node: Node, job: RunAgent | Judge) -> None:
        if isinstance(job, Judge):
            self.feed(node, Judged(job.job_id, *self.judge(node, job), self.now_ns))
            return
        answer = self.answer(node, job)
        if answer is None:
            self.feed(node, AgentDone(job.job_id, None, 0, None, {}, "crashed: exit 1", self.now_ns))
            return
        block = repr(answer).encode()
        self.feed(node, AgentDone(job.job_id, cids.raw_cid(block), len(block), block, {"wall_ms": 3}, "", self.now_ns))

    def run(self, steps: int = 100_000) -> None:
        for _ in range(steps):
            if not self.deliver():
                return
        raise AssertionError("the mesh does not come to rest")

    def need(self, name: str, need: str) -> Any:
        return self.nodes[name].state.needs[need]

    def digests(self) -> set[bytes]:
        return {mesh_digest(node.state) for node in self.nodes.values() if node.alive}


def task(name: str, *, price: int = 30_000, capability: str = "echo", after: tuple[str, ...] = (), verify: dict | None = None) -> dict[str, Any]:
    body = {
        "id": name, "capability": capability, "max_price": price,
        "input": {"text": {"cid": Link(cids.raw_cid(b"hello")), "as": "text"}},
        "verify": verify or {"type": "reexec"},
    }
    if after:
        body["after"] = list(after)
    return body


@pytest.fixture
def mesh_of():
    return Mesh


@pytest.fixture
def make_task():
    return task


@pytest.fixture
def keys():
    return signing_key


@pytest.fixture
def envelope_type():
    return Envelope
