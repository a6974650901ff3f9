"""What five honest nodes said of some needs, in their own journals: runners without network, by a clock of their own."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import nacl.signing
import pytest
from swarmd import policies
from swarmd.node.chaos.machine import refusals
from swarmd.node.chaos.nemeses import NEMESES
from swarmd.node.chaos.verdict import Evidence, NodeEvidence
from swarmd.node.content.store import SqliteBlockStore
from swarmd.node.journal import Journal
from swarmd.node.journaled import JournaledEngine
from swarmd.node.policy.host import WasmGate
from swarmd.node.runner import Runner
from swarmd.node.setup import GENESIS_FILE, write_genesis
from swarmd.protocol import cids
from swarmd.protocol.batch import batch_to_list, reload_batch, sign_flush
from swarmd.protocol.cbor import Link, decode
from swarmd.protocol.chains import Chains
from swarmd.protocol.didkey import did_of
from swarmd.protocol.digest import mesh_digest, state_digest
from swarmd.protocol.effects import Judge, RunAgent
from swarmd.protocol.envelope import Envelope, bucket_of, build
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.identity.manifest import sign_manifest
from swarmd.protocol.inputs import AgentDone, Commanded, Judged, ManifestSeen
from swarmd.protocol.limits import S_NS
from swarmd.protocol.state import State

NAMES = ("node-0", "node-1", "node-2", "node-3", "node-4")
START_NS = 1_800_000_000 * S_NS


def key_of(name: str) -> nacl.signing.SigningKey:
    return nacl.signing.SigningKey(sha256(name.encode()).digest())


def did_for(name: str) -> str:
    return did_of(bytes(key_of(name).verify_key))


def genesis() -> Genesis:
    dids = [did_for(name) for name in NAMES]
    return Genesis(
        "chaos",
        tuple(sorted(dids)),
        dict.fromkeys(dids, 10**9),
        alpha_permille=1000,
        k_target=2,
        bootstrap_threshold=0,
        claim_timeout_s=3,
        expiry_grace_s=2,
    )


def sign_as(name: str) -> Callable[[bytes], bytes]:
    return lambda data: key_of(name).sign(data).signature


@dataclass
class Node:
    name: str
    home: Path
    runner: Runner


@dataclass
class Story:
    """A mesh of runners. `titles`: need -> title. `now_ns` is everybody's clock."""

    base: Path
    nodes: list[Node] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)
    now_ns: int = START_NS
    away: set[str] = field(default_factory=set)  # nodes that get no frames
    held_back: list[tuple[str, bytes]] = field(default_factory=list)

    def open(self) -> None:
        policy = policies.load("base")
        gate = WasmGate(policy.wasm, policy.data)
        mesh = genesis()
        for name in NAMES:
            home = self.base / name
            home.mkdir()
            write_genesis(home / GENESIS_FILE, mesh)
            journal = Journal(home / "journal.db")
            journal.set_meta("did", did_for(name).encode())
            core = JournaledEngine(
                genesis=mesh,
                me=did_for(name),
                sign=sign_as(name),
                journal=journal,
                gate=gate,
                blocks=SqliteBlockStore(journal.db),
                clock_ns=lambda: self.now_ns,
                new_state=lambda name=name: State(mesh, did_for(name), check_everything=True),
            )
            runner = Runner(core, lambda out: None)
            self.nodes.append(Node(name, home, runner))
        for name in NAMES:
            offers = {"chaos.echo": 1_000, "chaos.fail": 1_000}
            manifest = sign_manifest(mesh.mesh_id, did_for(name), self.now_ns, offers, (), (), sign_as(name))
            for node in self.nodes:
                node.runner.tell(lambda at_ns, manifest=manifest: ManifestSeen(manifest, at_ns))
        self.settle()

    def post(self, number: int, title: str, capability: str = "chaos.echo", deadline_s: int = 10) -> str:
        data = json.dumps(title).encode()
        task = {
            "id": "a",
            "capability": capability,
            "max_price": 5_000,
            "input": {"value": {"cid": Link(cids.raw_cid(data)), "as": "json"}},
            "verify": {"type": "reexec"},
        }
        args = {
            "title": title,
            "budget": 5_000,
            "deadline_s": deadline_s,
            "tasks": [task],
            "inline": [data],
        }
        reply = self.nodes[number].runner.tell(lambda at_ns: Commanded("need.post", args, at_ns), reply=True)
        self._turn(self.nodes[number])
        assert reply is not None and reply.fault is None
        self.titles[reply.value] = title
        return str(reply.value)

    def settle(self, seconds: float = 0.0) -> None:
        """Let time pass and everybody say what they have to say."""
        until_ns = self.now_ns + int(seconds * S_NS)
        while True:
            busy = True
            while busy:
                busy = False
                for node in self.nodes:
                    busy |= self._turn(node)
                self.now_ns += 5_000_000
            if self.now_ns >= until_ns:
                return
            self.now_ns += S_NS // 4

    def _turn(self, node: Node) -> bool:
        """One turn; True if something came of it."""
        out = node.runner.turn()
        for frame in out.frames:
            self._send(node.name, frame)
        for effect in out.effects:
            self._answer(node, effect)
        return bool(out) or bool(node.runner.voice.unsealed)

    def _send(self, sender: str, frame: bytes) -> None:
        for node in self.nodes:
            if node.name == sender:
                continue
            if node.name in self.away or sender in self.away:
                self.held_back.append((node.name, frame))
            else:
                node.runner.offer_frame(sender, frame)

    def back(self) -> None:
        """Who was away hears what it missed, and is heard."""
        self.away.clear()
        late, self.held_back = self.held_back, []
        for name, frame in late:
            next(node for node in self.nodes if node.name == name).runner.offer_frame("late", frame)
        self.settle()

    def _answer(self, node: Node, effect: Any) -> None:
        if isinstance(effect, RunAgent):
            data = json.dumps({"echo": self.titles[effect.need]}, separators=(",", ":")).encode()
            failed = effect.capability == "chaos.fail"
            node.runner.tell(
                lambda at_ns: (
                    AgentDone(effect.job_id, None, 0, None, {}, "crashed", at_ns)
                    if failed
                    else AgentDone(effect.job_id, cids.raw_cid(data), len(data), data, {}, "", at_ns)
                )
            )
        elif isinstance(effect, Judge):
            node.runner.tell(lambda at_ns: Judged(effect.job_id, "accept", 100, "the same", at_ns))

    def close(self) -> Evidence:
        """What the nodes report, and their journals, which are closed."""
        nodes = []
        for node in self.nodes:
            state = node.runner.state
            nodes.append(
                NodeEvidence(
                    name=node.name,
                    folder=node.home,
                    state_digest=state_digest(state).hex(),
                    mesh_digest=mesh_digest(state).hex(),
                    accounts={
                        did_for(name): (account.available, account.locked)
                        for name in NAMES
                        for account in [state.ledger.account(did_for(name))]
                    },
                    needs={need.id: need.state() for need in state.needs.values()},
                )
            )
            node.runner.journal.close()
        return Evidence(nodes=nodes, acknowledged=dict(self.titles))


@dataclass
class Forger:
    """Writes into all journals what an honest daemon would never say, properly signed by its key."""

    evidence: Evidence

    def envelopes(self, kind: str, thread: str | None = None) -> list[Envelope]:
        journal = Journal(self.evidence.nodes[0].folder / "journal.db")
        try:
            return sorted(
                (
                    said
                    for (body,) in journal.db.execute("select body from batches")
                    for said in reload_batch(decode(body)).envelopes
                    if said.kind == kind and thread in (None, said.thread)
                ),
                key=lambda said: (said.lamport, said.id),
            )
        finally:
            journal.close()

    def say(
        self,
        name: str,
        kind: str,
        thread: str,
        payload: dict[str, Any],
        refs: Sequence[bytes],
        *,
        after_s: float = 0.0,
        nodes: Sequence[int] = range(len(NAMES)),
    ) -> Envelope:
        journals = [Journal(self.evidence.nodes[node].folder / "journal.db") for node in nodes]
        try:
            chains = Chains()
            for chain, head in journals[0].heads():
                chains.restore(chain, head)
            seq, prev = chains.next_of((did_for(name), 0, bucket_of(thread)))
            said = build(
                kind=kind,
                thread=thread,
                sender=did_for(name),
                lamport=max(head.lamport for _, head in journals[0].heads()) + 1,
                ts_ns=max(head.ts_ns for _, head in journals[0].heads()) + int(after_s * S_NS),
                epoch=0,
                payload=payload,
                refs=tuple(refs),
                policy=bytes(32),
                eval_digest=bytes(32),
            )
            _, [batch] = sign_flush(
                genesis().mesh_id,
                did_for(name),
                [(0, bucket_of(thread), seq, prev, [said])],
                sign_as(name),
            )
            assert batch_to_list(batch)
            for journal in journals:
                journal.begin()
                journal.add_batch(batch)
                journal.commit()
            return said
        finally:
            for journal in journals:
                journal.close()


# nemesis -> why this machine cannot do it; for the summary at the end of the tests
_REFUSED = pytest.StashKey[dict[str, LocalFault]]()


@pytest.fixture(scope="session")
def refused(pytestconfig: pytest.Config) -> dict[str, LocalFault]:
    """nemesis -> why this machine cannot do it. CI installs the tools: that one lacks there is a failure.

    What the kernel or container refuses, nobody can install: those tests are skipped, and the summary says so
    in red, as .ci/run does at its end.
    """
    found = refusals(NEMESES)
    pytestconfig.stash[_REFUSED] = found
    for fault in found.values():
        if fault.code == "missing-tools" and os.environ.get("CI"):
            pytest.fail(f"{fault.message}; {fault.fix}")
    return found


@pytest.fixture
def doable(refused: dict[str, LocalFault]) -> Callable[..., list[str]]:
    """doable(kinds): those of them that this machine can do; the test is skipped if there is none."""

    def ask(*kinds: str) -> list[str]:
        left = [kind for kind in kinds if kind not in refused]
        if not left:
            pytest.skip(f"no {', '.join(kinds)} here: {refused[kinds[0]]}")
        return left

    return ask


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    found = config.stash.get(_REFUSED, {})
    if found:
        terminalreporter.section("NOT TESTED: chaos on real daemons", red=True, bold=True)
        for reason in dict.fromkeys(f"{fault.message}; {fault.fix}" for fault in found.values()):
            kinds = [kind for kind, fault in found.items() if f"{fault.message}; {fault.fix}" == reason]
            terminalreporter.line(f"{', '.join(kinds)}: {reason}", red=True)


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    """Five nodes that know each other; nothing is asked yet."""
    made = Story(tmp_path)
    made.open()
    yield made
    for node in made.nodes:
        node.runner.journal.close()


@pytest.fixture(scope="session")
def told_once(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """What `told` hands out copies of."""
    story = Story(tmp_path_factory.mktemp("told"))
    story.open()
    story.post(0, "0/1")
    story.settle()
    story.away = {"node-4"}
    story.post(1, "1/1", "chaos.fail")
    story.post(2, "2/1", "chaos.nobody", deadline_s=5)
    story.post(3, "3/1")
    story.settle(20.0)
    story.back()
    story.settle(1.0)
    return story.close()


@pytest.fixture
def told(told_once: Evidence, tmp_path: Path) -> Evidence:
    """Evidence of a mesh in which nothing went wrong: a result, a refund, an expiry, and one node away meanwhile."""
    nodes = []
    for node in told_once.nodes:
        folder = tmp_path / node.name
        shutil.copytree(node.folder, folder)
        nodes.append(replace(node, folder=folder))
    return replace(told_once, nodes=nodes, acknowledged=dict(told_once.acknowledged))


@pytest.fixture
def forger(told: Evidence) -> Forger:
    return Forger(told)


@pytest.fixture
def name_of() -> Callable[[str], str]:
    """The name of a node by its did."""
    names = {did_for(name): name for name in NAMES}
    return lambda did: names[did]
