"""Nodes and attackers over real libp2p on loopback."""

import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from swarmd.node.transport.p2p import P2PLimits, P2PTransport

LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)
QUICK = P2PLimits(
    ping_interval_s=0.2,
    ping_timeout_s=0.5,
    redial_min_s=0.05,
    redial_max_s=0.4,
    restart_min_s=0.05,
)


class Recorder:
    """A transport handler that remembers, and wakes who waits for something to be remembered."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, bytes]] = []
        self.ups: dict[str, str] = {}
        self.downs: list[str] = []
        self.judge: Callable[[str, bytes], None] | None = None
        self.answer: Callable[[str, bytes], Awaitable[bytes]] | None = None
        self._changed = trio.Event()

    async def until(self, true: Callable[[], bool], timeout_s: float = 10) -> None:
        with trio.fail_after(timeout_s):
            while not true():
                await self._changed.wait()

    def bodies(self) -> list[bytes]:
        return [frame for _, frame in self.frames]

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def on_frame(self, peer_id: str, frame: bytes) -> None:
        if self.judge is not None:
            self.judge(peer_id, frame)
        self.frames.append((peer_id, frame))
        self._wake()

    async def on_request(self, peer_id: str, body: bytes) -> bytes:
        if self.answer is not None:
            return await self.answer(peer_id, body)
        return b"echo:" + body

    async def on_peer_up(self, peer_id: str, did: str) -> None:
        self.ups[peer_id] = did
        self._wake()

    async def on_peer_down(self, peer_id: str) -> None:
        self.ups.pop(peer_id)
        self.downs.append(peer_id)
        self._wake()


@dataclass
class Node:
    transport: P2PTransport
    handler: Recorder
    seed: bytes
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    stopped: trio.Event = field(default_factory=trio.Event)
    error: BaseException | None = None

    @property
    def id(self) -> str:
        return self.transport.peer_id

    @property
    def addr(self) -> str:
        return self.transport.addrs[0]

    async def until_up(self, *others: "Node") -> None:
        await self.handler.until(lambda: all(other.id in self.handler.ups for other in others))

    async def stop(self) -> None:
        self.scope.cancel()
        with trio.fail_after(3):
            await self.stopped.wait()


Start = Callable[..., Awaitable[Node]]


@pytest.fixture
def quick_limits() -> P2PLimits:
    return QUICK


@pytest.fixture
def start(nursery: trio.Nursery) -> Start:
    """start(peers=(), mesh="test", seed=None, listen=..., limits=...) -> Node, listening."""

    async def start_node(
        peers: Sequence[Node | str] = (),
        *,
        mesh: str = "test",
        seed: bytes | None = None,
        listen: Sequence[str] = LOOPBACK,
        limits: P2PLimits = QUICK,
        handler: Recorder | None = None,
        frames_are_signed: bool = False,
    ) -> Node:
        seed = seed or os.urandom(32)
        addrs = [peer if isinstance(peer, str) else peer.addr for peer in peers]
        transport = P2PTransport(seed, mesh, listen, addrs, limits, frames_are_signed=frames_are_signed)
        node = Node(transport, handler or Recorder(), seed)

        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            try:
                with node.scope:
                    await node.transport.run(node.handler, task_status=task_status)
            except Exception as error:
                node.error = error
            finally:
                node.stopped.set()

        with trio.fail_after(5):
            await nursery.start(run)
        return node

    return start_node


@pytest.fixture
def pair(start: Start) -> Callable[..., Awaitable[tuple[Node, Node]]]:
    """Two connected nodes; the second dialed the first."""

    async def make(**options: object) -> tuple[Node, Node]:
        first = await start(**options)
        second = await start([first], **options)
        await first.until_up(second)
        await second.until_up(first)
        return first, second

    return make


@pytest.fixture
def exchange() -> Callable[[Sequence[Node], int, int], Awaitable[None]]:
    """Each node publishes `count` frames of `size` bytes; all arrive at all others, each once."""

    async def run(nodes: Sequence[Node], count: int, size: int) -> None:
        tag = os.urandom(8)
        sent: dict[str, list[bytes]] = {}
        for number, node in enumerate(nodes):
            sent[node.id] = [
                (tag + bytes((number,)) + i.to_bytes(4, "big")).ljust(size, b".") for i in range(count)
            ]
            for frame in sent[node.id]:
                await node.transport.publish(frame)
        for node in nodes:
            expected = sorted(
                frame for author, frames in sent.items() if author != node.id for frame in frames
            )

            def got(node: Node = node) -> list[bytes]:
                return sorted(frame for frame in node.handler.bodies() if frame.startswith(tag))

            def enough(expected: list[bytes] = expected, node: Node = node) -> bool:
                count = sum(frame.startswith(tag) for frame in node.handler.bodies())
                return count >= len(expected)

            await node.handler.until(enough, timeout_s=15)
            assert got() == expected

    return run


class _Open:
    """A gatekeeper that lets everybody in."""

    def knocks(self, ip):
        return None

    def admits(self, peer_id, ip, *, inbound):
        return None


class Attacker:
    """A libp2p host with a fresh key that does as told."""

    def __init__(self) -> None:
        from libp2p.peer.id import ID
        from swarmd.node.transport.p2p.budget import Budget
        from swarmd.node.transport.p2p.host import build_host

        limits = P2PLimits(max_held_bytes=1 << 40, stream_opens_burst=100_000)
        budget = Budget(limits.max_held_bytes, lambda peer: None)
        self.host = build_host(os.urandom(32), limits, _Open(), lambda peer, code: None, budget, Counter())
        self.id = str(self.host.get_id())
        self._id_type = ID

    async def connect(self, node: Node) -> None:
        from multiaddr import Multiaddr

        self.target = self._id_type.from_base58(node.id)
        self.conn = await self.host.swarm.dial_addr(Multiaddr(node.addr), self.target)
        self.muxed = self.conn.muxed_conn

    async def raw_stream(self):
        """A stream before protocol negotiation."""
        return await self.host.swarm.new_stream(self.target)

    async def open(self, protocol: str):
        return await self.host.new_stream(self.target, [protocol])

    async def closed(self) -> None:
        with trio.fail_after(5):
            await self.muxed.event_closed.wait()


@pytest.fixture
async def attacker() -> AsyncIterator[Attacker]:
    async with attacking() as one:
        yield one


@pytest.fixture
def new_attacker():
    return attacking


@asynccontextmanager
async def attacking() -> AsyncIterator[Attacker]:
    from swarmd.node.transport.p2p.host import close_host, running

    one = Attacker()
    async with running(one.host.swarm):
        try:
            yield one
        finally:
            with trio.CancelScope(shield=True):
                await close_host(one.host, 0.5)
