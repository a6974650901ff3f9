"""Whole daemons over real libp2p, real sockets and real SQLite: in this process, or each in one of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nacl.signing
import pytest
import trio
from swarmd.node.agents.sdk import Agent
from swarmd.node.daemon import Daemon
from swarmd.node.home import socket_path
from swarmd.node.home_lock import home_lock
from swarmd.node.settings import Settings
from swarmd.node.setup import GENESIS_FILE, create_home, found_mesh, write_genesis
from swarmd.node.transport.local_async import AsyncLocalClient, connect_local
from swarmd.node.transport.p2p import P2PLimits, P2PTransport
from swarmd.protocol import cids, limits
from swarmd.protocol.batch import GENESIS_PREV, sign_flush
from swarmd.protocol.cbor import Link, decode, encode
from swarmd.protocol.didkey import did_of
from swarmd.protocol.digest import mesh_digest
from swarmd.protocol.envelope import bucket_of, build, need_id
from swarmd.protocol.faults import CorruptState, LocalFault
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.identity.manifest import sign_manifest

ENDS = ("FINALIZED", "REFUNDED", "EXPIRED")
BALANCE = 1_000_000_000
ROOMY = P2PLimits(max_frame_bytes=16 * 1_048_576)


async def until(true: Callable[[], Any], what: str = "", timeout_s: float = 30.0) -> None:
    """Poll a state that has no event to wait for."""
    with trio.move_on_after(timeout_s):
        while not true():  # noqa: ASYNC110
            await trio.sleep(0.01)
        return
    pytest.fail(f"not within {timeout_s} s: {what or true}")


@dataclass
class Node:
    """One daemon and its home; `daemon` while it runs in this process."""

    name: str
    settings: Settings
    did: str
    nursery: trio.Nursery
    daemon: Daemon | None = None
    may_fall: bool = False  # what its daemon raises is kept in `fell`, not raised in the test
    fell: BaseException | None = None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)

    @property
    def home(self) -> Path:
        return self.settings.home

    @property
    def runner(self):
        assert self.daemon is not None
        return self.daemon.runner

    @property
    def state(self):
        return self.runner.state

    @property
    def addr(self) -> str:
        assert self.daemon is not None
        return self.daemon.transport.addrs[0]

    async def start(self, **changes: Any) -> None:
        self.settings = replace(self.settings, **changes)
        self.scope, self.ended = trio.CancelScope(), trio.Event()
        with trio.fail_after(15):
            await self.nursery.start(self._live)

    async def _live(self, *, task_status: trio.TaskStatus[None]) -> None:
        def ready(_: Daemon) -> None:
            task_status.started()

        try:
            with home_lock(self.home):
                self.daemon = Daemon(self.settings)
                try:
                    with self.scope:
                        await self.daemon.run(ready, handle_signals=False)
                finally:
                    self.daemon.close()
        except* CorruptState as group:
            self.fell = group
            if not self.may_fall:
                raise
        finally:
            self.daemon = None
            self.ended.set()

    async def stop(self) -> None:
        self.scope.cancel()
        with trio.fail_after(10):
            await self.ended.wait()

    # Its socket, as the CLI uses it ------------------------------------------------------------------

    def connect(self) -> contextlib.AbstractAsyncContextManager[AsyncLocalClient]:
        return connect_local(socket_path(self.home))

    async def call(self, op: str, timeout_s: float = 20.0, **args: Any) -> Any:
        with trio.fail_after(timeout_s):
            async with self.connect() as client:
                return await client.call(op, args)

    async def refused(self, op: str, **args: Any) -> LocalFault:
        """The fault that the daemon answers with."""
        with pytest.raises(LocalFault) as caught:
            await self.call(op, **args)
        return caught.value

    async def post(self, *tasks: dict[str, Any], budget: str = "1.00", **more: Any) -> str:
        spec = {"budget": budget, "tasks": list(tasks), **more}
        return str((await self.call("need.post", spec=spec))["need"])

    async def finish(self, need: str, timeout_s: float = 20.0) -> dict[str, Any]:
        """Wait for the end of a need, then `need.show`."""
        await self.call("need.wait", timeout_s=timeout_s, need=need)
        shown: dict[str, Any] = await self.call("need.show", need=need)
        return shown

    def trust(self, peer_id: str) -> float:
        """What faults alone leave of a peer's score; that also goes by how slow the machine is."""
        return self.daemon.transport.scores.trust(peer_id)

    async def until_anchored(self, need: str, timeout_s: float = 30.0) -> None:
        """Its anchor is noted, which is the last word of its thread."""
        await until(
            lambda: ("", "anchor") in self.state.needs[need].plan.annotations, "it is anchored", timeout_s
        )

    async def attach(self, agent: Agent) -> None:
        """Serve `agent` at this daemon until the daemon goes."""

        async def serve(*, task_status: trio.TaskStatus[None]) -> None:
            with contextlib.suppress(LocalFault):
                await agent.serve(socket_path(self.home), task_status=task_status)

        with trio.fail_after(5):
            await self.nursery.start(serve)

    async def add_command(
        self, name: str, capability: str, *argv: str, price: str = "0.01", **more: Any
    ) -> None:
        agent = {
            "name": name,
            "kind": "command",
            "capabilities": [{"name": capability, "price": price}],
            "argv": list(argv),
            **more,
        }
        await self.call("agent.add", agent=agent, base="/", replace=True)


class Mesh:
    """Daemons of one genesis; each dials those before it."""

    def __init__(self, nodes: list[Node], genesis: Genesis) -> None:
        self.nodes = nodes
        self.genesis = genesis

    def __getitem__(self, index: int) -> Node:
        return self.nodes[index]

    def __iter__(self):
        return iter(self.nodes)

    @property
    def running(self) -> list[Node]:
        return [node for node in self.nodes if node.daemon is not None]

    async def start(self) -> None:
        for index, node in enumerate(self.nodes):
            await node.start(peers=[other.addr for other in self.nodes[:index] if other.daemon])

    async def until_met(self) -> None:
        """Everybody is connected to everybody and knows what each offers now."""

        def met() -> bool:
            nodes = self.running
            return all(
                len(node.daemon.transport.peers()) >= len(nodes) - 1
                and all(
                    (seen := node.state.manifests.get(other.did)) is not None
                    and seen.offers == {c.name: c.price for c in other.daemon.agents.capabilities()}
                    for other in nodes
                )
                for node in nodes
            )

        await until(met, "all daemons know each other")

    async def until_agreed(self, timeout_s: float = 30.0) -> None:
        """All running daemons have one digest of the mesh's state."""
        await until(
            lambda: len({mesh_digest(node.state) for node in self.running}) == 1, "equal digests", timeout_s
        )

    def check_money(self) -> None:
        """P9 on every node: nothing made, nothing lost."""
        for node in self.running:
            node.state.ledger.check_all()
            accounts = node.state.ledger.accounts.values()
            total = sum(account.available + account.locked for account in accounts)
            untouched = [did for did in self.genesis.balances if did not in node.state.ledger.accounts]
            assert total + sum(self.genesis.balances[did] for did in untouched) == sum(
                self.genesis.balances.values()
            )


MakeMesh = Callable[..., Awaitable[Mesh]]


@pytest.fixture
async def mesh(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[MakeMesh]:
    """mesh(n, verifiers=n, genesis={...}, **settings) -> Mesh of n running daemons in this process."""
    made: list[Mesh] = []

    async def make(
        count: int,
        *,
        verifiers: int | None = None,
        genesis: dict[str, int] | None = None,
        start: bool = True,
        **settings: Any,
    ) -> Mesh:
        homes = [tmp_path / f"n{index}" for index in range(count)]
        dids = [create_home(home).did for home in homes]
        founded = found_mesh(
            "test", dids[: verifiers or count], dict.fromkeys(dids, BALANCE), **(genesis or {})
        )
        for home in homes:
            write_genesis(home / GENESIS_FILE, founded)
        options = {"check_everything": True, "anchor_interval_s": 0.1, **settings}
        found = Mesh(
            [
                Node(home.name, Settings(home, **options), did, nursery)
                for home, did in zip(homes, dids, strict=True)
            ],
            founded,
        )
        made.append(found)
        if start:
            await found.start()
        return found

    yield make
    for each in made:
        for node in each.running:
            await node.stop()


def make_task(task: str = "t", capability: str = "echo", **more: Any) -> dict[str, Any]:
    body = {"id": task, "capability": capability, "input": {"text": {"text": "hello"}}, "max_price": "0.10"}
    return {**body, **more}


@pytest.fixture
def task():
    """task(id="t", capability="echo", **fields) as `need post` takes it."""
    return make_task


@pytest.fixture
def wait_until():
    return until


@pytest.fixture
def echo():
    """echo(name, price, capability): an attached agent that gives its input back."""

    def make(name: str = "echo", price: str = "0.01", capability: str = "echo") -> Agent:
        agent = Agent(name)

        @agent.task(capability, price=price, inline=True)
        def repeat(job):
            return {"text": job.input["text"]}

        return agent

    return make


class Stranger:
    """A peer with a key of its own (or a member's) that says and answers what it likes."""

    def __init__(self, genesis, seed=None):
        self.genesis = genesis
        self.seed = seed or os.urandom(32)
        self.key = nacl.signing.SigningKey(self.seed)
        self.did = did_of(bytes(self.key.verify_key))
        self.frames = []
        self.ups = set()
        self.answer = None
        self.lamport = 1_000

    # What it says.

    def sign(self, data):
        return self.key.sign(data).signature

    def envelope(self, kind, thread, payload, refs=(), **change):
        self.lamport += 1
        body = {
            "kind": kind, "thread": thread, "sender": self.did, "lamport": self.lamport, "ts_ns": time.time_ns(),
            "epoch": 0, "payload": payload, "refs": refs, "policy": bytes(32), "eval_digest": bytes(32),
        }  # fmt: skip
        return build(**{**body, **change})

    def need(self, seq=0, budget=50_000, **change):
        task = {
            "id": "t", "capability": "echo", "max_price": 1, "verify": {"type": "reexec"},
            "input": {"text": {"cid": Link(cids.raw_cid(b"x")), "as": "text"}},
        }  # fmt: skip
        payload = {
            "title": "bait", "budget": budget, "deadline_ns": time.time_ns() + 60 * limits.S_NS,
            "fund": {"seq": seq, "prev": bytes(32) if seq == 0 else b"p" * 32}, "tasks": [task],
        }  # fmt: skip
        return self.envelope("NEED", need_id(self.did, seq), payload, **change)

    def flush(self, *envelopes, seq=0, prev=None):
        bucket = bucket_of(envelopes[0].thread)
        prev = prev if prev is not None else (GENESIS_PREV if seq == 0 else b"p" * 32)
        return sign_flush(
            self.genesis.mesh_id, self.did, [(0, bucket, seq, prev, list(envelopes))], self.sign
        )

    def frames_of(self, *groups):
        """A flush for each; one for those whose threads are in one bucket, or it would be equivocation."""
        by_bucket = {}
        for group in groups:
            by_bucket.setdefault(bucket_of(group[0].thread), []).extend(group)
        return [self.flush(*group)[0] for group in by_bucket.values()]

    def manifest(self):
        offers = {"bait": 1}
        return sign_manifest(
            self.genesis.mesh_id, self.did, time.time_ns(), offers, (), (), self.sign
        ).frame()

    # TransportHandler.

    def on_frame(self, peer_id, frame):
        self.frames.append(frame)

    async def on_request(self, peer_id, body):
        message = decode(body)
        if self.answer is not None:
            return await self.answer(message)
        return {
            "hello": lambda: encode({"manifest": self.manifest()}),
            "roots": lambda: encode({"vectors": []}),
            "batches": lambda: encode({"batches": [], "more": False}),
            "blocks": lambda: encode({"t": "blocks", "blocks": {}, "missing": message["cids"]}),
            "capsules": lambda: encode({"t": "capsules", "blocks": []}),
            "checkpoints": lambda: encode({"latest": 0, "checkpoints": []}),
            "parts": lambda: encode({"parts": []}),
        }[message["t"]]()

    async def on_peer_up(self, peer_id, did):
        self.ups.add(did)

    async def on_peer_down(self, peer_id):
        self.ups.discard(self.transport and peer_id)

    @contextlib.asynccontextmanager
    async def connected(self, *nodes):
        self.transport = P2PTransport(
            self.seed, self.genesis.mesh_name, ("/ip4/127.0.0.1/tcp/0",), [node.addr for node in nodes], ROOMY
        )
        async with trio.open_nursery() as nursery:
            with trio.fail_after(15):
                await nursery.start(self.transport.run, self)
                while len(self.ups) < len(nodes):  # noqa: ASYNC110
                    await trio.sleep(0.01)
            yield self
            nursery.cancel_scope.cancel()

    def faults(self, node):
        return node.daemon.transport.scores.faults(self.transport.peer_id)

    def score(self, node):
        return node.daemon.transport.scores.score(self.transport.peer_id)

    def is_cut_off(self, node):
        return self.transport.peer_id not in {peer.peer_id for peer in node.daemon.transport.peers()}


@pytest.fixture
def stranger():
    return Stranger


# Daemons in processes of their own ------------------------------------------------------------------------


class Life:
    """A daemon in a process of its own, from its start to its end."""

    def __init__(self, lives: "Lives", home: Path, pid: int) -> None:
        self._lives = lives
        self.home = home
        self.pid = pid

    def told(self) -> dict[str, Any]:
        """What it has said of itself so far: restored, ready, error, end, digest."""
        try:
            lines = (self.home / f"life.{self.pid}").read_text().splitlines()
        except FileNotFoundError:
            return {}
        return {key: value for line in lines for key, value in json.loads(line).items()}

    async def until_ready(self, timeout_s: float = 30.0) -> str:
        """Its address."""
        await until(lambda: {"ready", "end"} & self.told().keys(), f"daemon {self.pid} serves", timeout_s)
        assert "ready" in self.told(), self.told()
        return str(self.told()["ready"])

    async def end(self, number: signal.Signals, timeout_s: float = 10.0) -> int:
        """Send it a signal and wait for its end: its exit code, or minus the signal."""
        os.kill(self.pid, number)
        with trio.fail_after(timeout_s):
            return await self._lives.status()

    async def call(self, op: str, timeout_s: float = 20.0, **args: Any) -> Any:
        with trio.fail_after(timeout_s):
            async with connect_local(socket_path(self.home)) as client:
                return await client.call(op, args)


class Lives:
    """The process that forks daemons (`lives.py`), one at a time."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._stdin = trio.lowlevel.FdStream(os.dup(process.stdin.fileno()))
        self._stdout = trio.lowlevel.FdStream(os.dup(process.stdout.fileno()))
        self._buffer = b""
        self.current: Life | None = None

    async def start(self, home: Path, **options: Any) -> Life:
        words = [str(home), *(f"{name}={value}" for name, value in options.items())]
        await self._stdin.send_all(" ".join(words).encode() + b"\n")
        with trio.fail_after(10):
            self.current = Life(self, home, await self._number())
        return self.current

    async def status(self) -> int:
        status = await self._number()
        self.current = None
        return status

    async def _number(self) -> int:
        while b"\n" not in self._buffer:
            data = await self._stdout.receive_some(4096)
            assert data, "lives.py ended"
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return int(line)

    async def aclose(self) -> None:
        if self.current is not None:
            await self.current.end(signal.SIGKILL)
        await self._stdin.aclose()
        await self._stdout.aclose()


@pytest.fixture(scope="session")
def forker() -> Iterator[subprocess.Popen[bytes]]:
    script = Path(__file__).with_name("lives.py")
    process = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == b"0\n"  # it has loaded everything
    yield process
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


@pytest.fixture
async def lives(forker: subprocess.Popen[bytes]) -> AsyncIterator[Lives]:
    """lives.start(home, lease_ttl_s=..., peer=...) -> Life. One at a time."""
    made = Lives(forker)
    yield made
    with trio.CancelScope(shield=True):
        await made.aclose()
