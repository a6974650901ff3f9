"""A mesh of engines without any IO: turns, a shuffled network, answers computed on the spot."""

import random
from collections import deque
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import nacl.signing
import pytest
from hypothesis import HealthCheck, settings
from swarmd.protocol import cids
from swarmd.protocol.batch import GENESIS_PREV, Batch, sign_flush
from swarmd.protocol.cbor import Link
from swarmd.protocol.chains import Chains, is_over
from swarmd.protocol.checkpoint import adopting, ballots
from swarmd.protocol.checkpoint.making import Maker, in_order
from swarmd.protocol.checkpoint.packing import pack
from swarmd.protocol.checkpoint.snapshot import NO_SNAPSHOT
from swarmd.protocol.didkey import did_of
from swarmd.protocol.digest import mesh_digest
from swarmd.protocol.effects import (
    Adopt,
    Arbitrate,
    CheckSnapshot,
    Effect,
    Judge,
    MakeSnapshot,
    Publish,
    RunAgent,
    Submit,
)
from swarmd.protocol.engine import step
from swarmd.protocol.envelope import Envelope, bucket_of, build, need_id
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.identity.manifest import sign_manifest
from swarmd.protocol.inputs import (
    Admitted,
    Adopted,
    AgentDone,
    Arbitrated,
    Authored,
    ChainSeen,
    Commanded,
    Judged,
    ManifestSeen,
    SnapshotChecked,
    SnapshotMade,
    Ticked,
)
from swarmd.protocol.limits import S_NS
from swarmd.protocol.shadow import keeping
from swarmd.protocol.state import State
from swarmd.protocol.terms import Terms
from swarmd.protocol.work import committees, opening

START_NS = 1_760_000_000 * S_NS

# A busy machine is no failure; each test bounds its own examples.
settings.register_profile(
    "swarmd", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("swarmd")


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
    wishes: list = field(default_factory=list)  # about checkpoints
    alive: bool = True


class Mesh:
    """`deliver` moves one envelope to one node, in an order the seed picks; `run` goes on until all is quiet."""

    def __init__(
        self,
        names: list[str],
        *,
        seed: int = 0,
        offers: dict[str, int] | None = None,
        verifiers: list[str] | None = None,
        balance: int = 10_000_000,
        **params: Any,
    ) -> None:
        self.random = random.Random(seed)
        roster = tuple(sorted(did_for(name) for name in (verifiers or names)))
        self.genesis = Genesis("test", roster, {did_for(name): balance for name in names}, **params)
        self.now_ns = START_NS
        self.nodes = {}
        self.answer = lambda node, job: {"n": 1}
        self.judge = lambda node, job: ("accept", 100, "the same result")
        for name in names:
            did = did_for(name)
            self.nodes[name] = Node(
                did, State(self.genesis, did, check_everything=True), dict(offers or {"echo": 20_000})
            )
        for name, node in self.nodes.items():
            self.publish_manifest(name, node.offers)

    def publish_manifest(self, name: str, offers: dict[str, int]) -> None:
        node = self.nodes[name]
        node.offers = offers
        manifest = sign_manifest(
            self.genesis.mesh_id,
            node.did,
            self.now_ns,
            offers,
            (),
            (),
            lambda data: signing_key(name).sign(data).signature,
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
                    kind=effect.kind,
                    thread=effect.thread,
                    sender=node.did,
                    lamport=effect.lamport,
                    ts_ns=effect.ts_ns,
                    epoch=effect.epoch,
                    payload=dict(effect.payload),
                    refs=effect.refs,
                    policy=bytes(32),
                    eval_digest=bytes(32),
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
            elif isinstance(effect, MakeSnapshot | CheckSnapshot | Adopt):
                node.wishes.append(effect)

    def post(self, name: str, tasks: list[dict[str, Any]], budget: int, deadline_s: int = 120) -> str:
        node = self.nodes[name]
        args = {"title": "a need", "budget": budget, "deadline_s": deadline_s, "tasks": tasks, "inline": []}
        self.feed(node, Commanded("need.post", args, self.now_ns))
        return (
            node.said[-1].thread
            if node.said[-1].kind == "NEED"
            else next(e.thread for e in reversed(node.said) if e.kind == "NEED")
        )

    def tick(self, seconds: float) -> None:
        self.now_ns += int(seconds * S_NS)
        for node in self.nodes.values():
            if node.alive:
                self.feed(node, Ticked(self.now_ns))

    def deliver(self) -> bool:
        ready = [
            node for node in self.nodes.values() if node.alive and (node.inbox or node.jobs or node.submitted)
        ]
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
            self.feed(
                node,
                ChainSeen(
                    submitted.anchor_id,
                    sha256(submitted.root).digest(),
                    1,
                    1337,
                    "0x" + "0" * 40,
                    self.now_ns,
                ),
            )
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
        self.feed(
            node,
            AgentDone(job.job_id, cids.raw_cid(block), len(block), block, {"wall_ms": 3}, "", self.now_ns),
        )

    def run(self, steps: int = 100_000) -> None:
        for _ in range(steps):
            if not self.deliver():
                return
        raise AssertionError("the mesh does not come to rest")

    def need(self, name: str, need: str) -> Any:
        return self.nodes[name].state.needs[need]

    def digests(self) -> set[bytes]:
        return {mesh_digest(node.state) for node in self.nodes.values() if node.alive}


def task(
    name: str,
    *,
    price: int = 30_000,
    capability: str = "echo",
    after: tuple[str, ...] = (),
    verify: dict | None = None,
) -> dict[str, Any]:
    body = {
        "id": name,
        "capability": capability,
        "max_price": price,
        "input": {"text": {"cid": Link(cids.raw_cid(b"hello")), "as": "text"}},
        "verify": verify or {"type": "reexec"},
    }
    if after:
        body["after"] = list(after)
    return body


def payloads(did: str) -> dict[str, list[dict[str, Any]]]:
    """Valid payloads of each kind, every optional field and every shape of each at least once."""
    block = Link(cids.raw_cid(b"block"))
    spec = {
        "id": "t2",
        "capability": "text.count",
        "max_price": 0,
        "input": {"a": {"task": "t1", "pointer": "/n"}},
        "verify": {"type": "schema", "schema": block},
        "after": ["t1"],
    }
    bond = {"seq": 1, "prev": bytes(32), "amount": 10_000}
    telemetry = {"wall_ms": 1, "cpu_ms": 0, "max_rss_kb": 1 << 40, "output_bytes": 7}
    spend = {"seq": 0, "prev": bytes(32), "amount": 5, "key": "k", "memo": ""}
    needs = {
        "title": "t",
        "budget": 30_000,
        "deadline_ns": START_NS,
        "fund": {"seq": 0, "prev": bytes(32)},
        "tasks": [task("t1"), spec],
    }
    ops = [
        {"op": "ADD_TASK", "task": spec},
        {"op": "LINK", "parent": "t1", "child": "t2"},
        {"op": "STATE", "task": "t1", "state": "OPEN"},
        {"op": "ANNOTATE", "task": "", "key": "anchor", "value": "eip155:1"},
        {"op": "ANNOTATE", "task": "t1", "key": "n", "value": -1},
        {"op": "ANNOTATE", "task": "t1", "key": "done", "value": True},
    ]
    return {
        "NEED": [
            needs,
            {
                **needs,
                "inline": [b"", b"x" * 2048],
                "pay": "at_once",
                "tasks": [{**spec, "verify": {"type": "command", "name": "mine"}}],
            },
        ],
        "PROPOSE": [{"round": 0, "lease_s": 60, "plan": {"t1": [[did, 20_000]], "t2": [[did, 0]]}}],
        "ATTEST_PLAN": [
            {"verdict": "accept", "reason": ""},
            {"verdict": "reject", "reason": "too dear"},
            {"verdict": "skip", "round": 1, "reason": ""},
        ],
        "DECIDE": [{"round": 0, "k": 1}],
        "CLAIM": [{"task": "t1", "attempt": 0, "lease_s": 60}],
        "COMMIT": [
            {"task": "t1", "result": block, "size": 5, "telemetry": telemetry},
            {"task": "t1", "result": block, "size": 5, "telemetry": telemetry, "inline": b"block"},
        ],
        "ATTEST": [
            {"task": "t1", "verdict": verdict, "score": 100, "reason": "same"}
            for verdict in ("accept", "reject", "abstain")
        ],
        "FINALIZE": [
            {"outcome": "accepted", "task": "t1", "result": block},
            {"outcome": "refunded", "task": "t1", "reason": "r"},
            {"outcome": "expired", "reason": "r"},
            {"outcome": "dismissed", "task": "t1", "reason": "r"},
        ],
        "YIELD": [{"task": "t1", "attempt": 0, "reason": "crashed"}],
        "RELEASE": [
            {"task": "t1", "attempt": 7, "cause": cause} for cause in ("expired", "unclaimed", "rejected")
        ],
        "UPDATE_PLAN": [{"ops": ops}],
        "CHALLENGE": [
            {"task": "t1", "reason": "wrong", "evidence": evidence, "bond": bond}
            for evidence in ([block], [])
        ],
        "INVALIDATE": [{"task": "t1", "reason": "wrong"}],
        "RECONCILE": [{"epoch": 1, "orphaned": [block]}],
        "CHECKPOINT": [{"epoch": 1, "round": 0, "root": bytes(32), "state": bytes(32)}],
        "POOL": [
            {"op": "join", "amount": 10_000_000, "fund": {"seq": 0, "prev": bytes(32)}},
            {"op": "heartbeat"},
            {"op": "leave", "reason": "moving house"},
            {"op": "quote", "form": "software", "quote": b"quote"},
            {"op": "vouch", "subject": did, "quote": bytes(32), "verdict": "accept", "reason": ""},
            {"op": "vouch", "subject": did, "quote": bytes(32), "verdict": "reject", "reason": "forged"},
        ],
        "MONEY": [
            {**spend, "op": "transfer", "to": did},
            {**spend, "op": "withdraw", "to": bytes(20)},
            {"op": "confirm", "entries": [[did, 0, bytes(32)], [did, 1, bytes(32)]]},
            {
                "op": "claim",
                "chain_id": 1337,
                "contract": bytes(20),
                "tx": bytes(32),
                "log": 0,
                "account": bytes(20),
                "made_at_s": 1,
                "signature": bytes(65),
            },
            {
                "op": "payout",
                "entry": bytes(32),
                "chain_id": 1337,
                "contract": bytes(20),
                "publisher": bytes(20),
                "epoch": bytes(32),
                "leaf": b"leaf",
                "index": 0,
                "count": 1,
                "path": [bytes(32)],
            },
            {"op": "attest", "subject": bytes(32), "what": "deposit", "to": did, "amount": 5},
        ],
        "ESCROW": escrow_payloads(did, block),
    }


def escrow_payloads(did: str, block: Link) -> list[dict[str, Any]]:
    terms = {
        "title": "a translation",
        "spec": "the manual, into French",
        "amount": 50_000_000,
        "milestones": [{"name": "draft", "amount": 20_000_000}, {"name": "print", "amount": 30_000_000}],
        "deadline_ns": START_NS + 3_600 * S_NS,
        "review_s": 60,
        "scorers": [did],
        "score_quorum": 1,
        "panel": [did],
        "quorum": 1,
        "panel_s": 60,
        "undecided_bp": 5_000,
        "after": [{"name": "dataset", "by": did}],
    }
    expires_ns = START_NS + 600 * S_NS
    return [
        {"op": "create", "nonce": bytes(16), "terms": terms, "expires_ns": expires_ns},
        {"op": "offer", "terms": {**terms, "seller": did}, "expires_ns": expires_ns, "note": "dearer"},
        {"op": "accept"},
        {"op": "fund", "amount": 50_000_000, "fund": {"seq": 0, "prev": bytes(32)}},
        {"op": "ready", "name": "dataset"},
        {"op": "submit", "milestone": "draft", "deliverable": block, "note": ""},
        {"op": "score", "score": 92, "reason": "two typos"},
        {"op": "release", "milestones": []},
        {"op": "release", "milestones": ["draft"]},
        {"op": "dispute", "reason": "half is missing", "evidence": [block]},
        {"op": "resolve", "seller_bp": 7_000, "reason": "most of it is good"},
        {"op": "refund", "reason": "no time"},
    ]


@dataclass
class Author:
    """Somebody who says and signs whatever a test wants, with a chain per bucket."""

    name: str
    mesh_id: bytes = b"m" * 32
    lamport: int = 0
    heads: dict[int, tuple[int, bytes]] = field(default_factory=dict)

    @property
    def did(self) -> str:
        return did_for(self.name)

    def sign(self, data: bytes) -> bytes:
        return signing_key(self.name).sign(data).signature

    def thread(self, fund_seq: int = 0) -> str:
        return need_id(self.did, fund_seq)

    def envelope(self, kind: str = "YIELD", payload: dict[str, Any] | None = None, **change: Any) -> Envelope:
        self.lamport += 1
        body: dict[str, Any] = dict(
            kind=kind,
            thread=self.thread(),
            sender=self.did,
            lamport=self.lamport,
            ts_ns=START_NS,
            epoch=0,
            payload=payloads(self.did)[kind][0] if payload is None else payload,
            refs=(),
            policy=bytes(32),
            eval_digest=bytes(32),
        )
        return build(**{**body, **change})

    def flush(self, *groups: list[Envelope]) -> tuple[bytes, list[Batch]]:
        """Each group of one thread's bucket becomes a batch; chains go on from flush to flush."""
        links = []
        for group in groups:
            bucket = bucket_of(group[0].thread)
            seq, prev = self.heads.get(bucket, (0, GENESIS_PREV))
            links.append((group[0].epoch, bucket, seq, prev, group))
        frame, batches = sign_flush(self.mesh_id, self.did, links, self.sign)
        for batch in batches:
            self.heads[batch.bucket] = (batch.seq + 1, batch.hash)
        return frame, batches


@dataclass
class Ballot:
    """A roster of 12 (K = 3), a need, its committee, and the engine of the committee's last member."""

    params: dict[str, Any] = field(default_factory=dict)
    said: list[Any] = field(default_factory=list)
    asked: list[Arbitrate] = field(default_factory=list)
    lamport: int = 0
    now_ns: int = START_NS

    def __post_init__(self) -> None:
        self.names = {Author(f"v{i}").did: f"v{i}" for i in range(12)}
        self.owner, self.worker = Author("own").did, Author("w").did
        self.genesis = Genesis(
            "ballot",
            tuple(sorted(self.names)),
            {self.owner: 1_000_000},
            **{"bootstrap_threshold": 0, **self.params},
        )
        payload = {
            "title": "t", "budget": 50_000, "deadline_ns": START_NS + 600 * S_NS, "fund": {"seq": 0, "prev": bytes(32)},
            "tasks": [task("t1")],
        }  # fmt: skip
        self.thread = need_id(self.owner, 0)
        self.need = self.envelope(self.owner, "NEED", payload, ())
        opened = opening.open_need(self.need)
        self.committee = committees.plan_committee(Terms(self.genesis), opened, 0)
        self.me = self.committee.members[-1]
        self.state = State(self.genesis, self.me, check_everything=True)
        self.proposer = self.committee.members[0]
        plan = {"t1": [[self.worker, 20_000]]}
        self.plan = self.envelope(
            self.proposer, "PROPOSE", {"round": 0, "lease_s": 60, "plan": plan}, [self.need.id]
        )
        other = {"t1": [[self.worker, 30_000]]}
        # Only a lying proposer says two in one round; it is how two plans can come to the vote at all.
        self.rival = self.envelope(
            self.proposer, "PROPOSE", {"round": 0, "lease_s": 60, "plan": other}, [self.need.id]
        )
        self.hear(self.need, self.plan, self.rival)

    def envelope(self, who: str, kind: str, payload: dict[str, Any], refs: Any) -> Any:
        self.lamport += 1
        self.now_ns += 1_000_000
        return build(
            kind=kind, thread=self.thread, sender=who, lamport=self.lamport, ts_ns=self.now_ns, epoch=0, payload=payload,
            refs=tuple(refs), policy=bytes(32), eval_digest=bytes(32),
        )  # fmt: skip

    def vote(self, who: str, proposal: Any, verdict: str = "accept") -> Any:
        return self.envelope(who, "ATTEST_PLAN", {"verdict": verdict, "reason": ""}, [proposal.id])

    def votes(self, proposal: Any, count: int, first: int = 0) -> list[Any]:
        return [self.vote(did, proposal) for did in self.committee.members[first : first + count]]

    def decide(self, who: str, proposal: Any, votes: list[Any], **change: Any) -> Any:
        body = {"round": 0, "k": self.committee.quorum, **change}
        return self.envelope(who, "DECIDE", body, [proposal.id, *(vote.id for vote in votes)])

    # What the engine is told.

    def feed(self, given: Any) -> None:
        for effect in step(self.state, given):
            if isinstance(effect, Publish):
                draft = {name: getattr(effect, name) for name in ("kind", "thread", "lamport", "ts_ns", "epoch", "refs", "trace")}  # fmt: skip
                said = build(
                    **draft,
                    sender=self.me,
                    payload=dict(effect.payload),
                    policy=bytes(32),
                    eval_digest=bytes(32),
                )
                self.lamport = max(self.lamport, said.lamport)
                self.said.append(said)
                self.feed(Authored(said, self.now_ns))
            elif isinstance(effect, Arbitrate):
                self.asked.append(effect)

    def hear(self, *envelopes: Any) -> None:
        for envelope in envelopes:
            self.feed(Admitted((envelope,), {}, self.now_ns))

    def pass_time(self, seconds: float = 1.0) -> None:
        self.now_ns += int(seconds * S_NS)
        self.feed(Ticked(self.now_ns))

    def ruled(self, proposal: Any) -> None:
        self.feed(Arbitrated(self.thread, 0, proposal.id if proposal else b"", self.now_ns))

    @property
    def record(self) -> Any:
        return self.state.needs[self.thread]

    @property
    def decisions(self) -> list[Any]:
        return [envelope for envelope in self.said if envelope.kind == "DECIDE"]


EPOCH_S = 60


class Room:
    """What a node does about checkpoints, over a mesh of engines: sealed batches of all that was said, snapshots."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.chains = {}
        self.batches = []
        self.sealed = {name: 0 for name in mesh.nodes}
        self.snapshots = {NO_SNAPSHOT: None}
        self.adopted = {name: NO_SNAPSHOT for name in mesh.nodes}
        self.handled = {name: 0 for name in mesh.nodes}
        self.lies = set()  # who does not see that two snapshots are the same

    def seal(self):
        """Everything that was said so far, as batches of its author's chains."""
        for name, node in self.mesh.nodes.items():
            fresh = node.said[self.sealed[name] :]
            self.sealed[name] = len(node.said)
            for envelope in fresh:
                chain = (node.did, envelope.epoch, bucket_of(envelope.thread))
                seq, prev = self.chains.setdefault(name, Chains()).next_of(chain)
                _, [batch] = sign_flush(
                    self.mesh.genesis.mesh_id,
                    node.did,
                    [(chain[1], chain[2], seq, prev, [envelope])],
                    lambda data, name=name: signing_key(name).sign(data).signature,
                )
                self.chains[name].accept(batch)
                self.batches.append(batch)

    def make(self, base, cut=None):
        """The snapshot on top of `base`, of all that is sealed or of `cut`."""
        self.seal()
        before = self.snapshots[base]
        if cut is None:
            ends = before.epoch if before is not None else 0
            every = (item for chains in self.chains.values() for item in chains.heads.items())
            over = before.over if before is not None else {}
            cut = {chain: head for chain, head in every if chain[1] <= ends and not is_over(over, chain)}
        known = before.cut if before is not None else {}

        def new(batch):
            chain = (batch.author, batch.epoch, batch.bucket)
            last = known[chain].seq if chain in known else -1
            return chain in cut and last < batch.seq <= cut[chain].seq

        maker = Maker(self.mesh.genesis, before, base)
        for batch in in_order(filter(new, self.batches)):
            maker.feed(batch)
        made = maker.finish(cut)
        packed = pack(made)
        self.snapshots[packed.state] = made
        return packed.state

    def settle(self):
        """Deliver until nothing moves, and answer what the engines ask about checkpoints."""
        moved = True
        while moved:
            self.mesh.run()
            moved = False
            for name, node in self.mesh.nodes.items():
                while self.handled[name] < len(node.wishes):
                    wish = node.wishes[self.handled[name]]
                    self.handled[name] += 1
                    if node.alive:
                        self.answer(name, node, wish)
                        moved = True

    def answer(self, name, node, wish):
        now_ns = self.mesh.now_ns
        match wish:
            case MakeSnapshot(epoch, round_):
                state = self.make(self.adopted[name])
                made = self.snapshots[state]
                self.mesh.feed(node, SnapshotMade(epoch, round_, made.root, state, now_ns))
            case CheckSnapshot(_, proposal, _, state, _):
                round_ = ballots.round_of(node.state, proposal)
                same = self.make(self.adopted[name], self.snapshots[state].cut) == state
                same = same and not keeping.broken_promise(node.state, self.snapshots[state], round_)
                self.mesh.feed(node, SnapshotChecked(proposal, same and name not in self.lies, "", now_ns))
            case Adopt(_, state, _, _):
                found = self.snapshots[state]
                threads = {need: self.thread(node, need) for need in adopting.to_rebuild(node.state, found)}
                self.adopted[name] = state
                self.mesh.feed(node, Adopted(found, threads, now_ns))

    def thread(self, node, need):
        every = [e for other in self.mesh.nodes.values() for e in other.said if e.thread == need]
        return tuple(e for e in every if e.id in node.state.needs[need].seen)

    def end_epoch(self):
        self.mesh.tick(EPOCH_S + 1)
        self.settle()
        self.mesh.tick(3)
        self.settle()


# Session scope: classes and functions only, so Hypothesis may call a test many times with them.


@pytest.fixture(scope="session")
def mesh_of():
    return Mesh


@pytest.fixture(scope="session")
def make_task():
    return task


@pytest.fixture(scope="session")
def keys():
    return signing_key


@pytest.fixture(scope="session")
def envelope_type():
    return Envelope


@pytest.fixture(scope="session")
def author_of():
    return Author


@pytest.fixture(scope="session")
def payloads_of():
    return payloads


@pytest.fixture(scope="session")
def ballot():
    """ballot(**genesis parameters) -> Ballot"""
    return lambda **params: Ballot(params)


@pytest.fixture(scope="session")
def rooms():
    def make(names=("ann", "bob", "cee"), **params):
        mesh = Mesh(list(names), **{"epoch_s": EPOCH_S, **params})
        return mesh, Room(mesh)

    return make
