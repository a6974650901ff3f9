"""With software that is not ours: js-libp2p and go-libp2p dial us, are dialed, identify, ping, and gossip with
StrictSign both ways; frames pass between our nodes through theirs."""

import os

import pytest
import trio
from swarmd.node.transport.p2p import P2PLimits, P2PTransport

MESH = "test"
COUNT = 100
AT_ONCE = 10  # go-libp2p queues 32 messages a peer and drops what is beyond


class Handler:
    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.changed = trio.Event()

    def on_frame(self, peer_id: str, frame: bytes) -> None:
        self.frames.append(frame)
        self.changed.set()
        self.changed = trio.Event()

    async def on_request(self, peer_id: str, body: bytes) -> bytes:
        return body

    async def on_peer_up(self, peer_id: str, did: str) -> None: ...

    async def on_peer_down(self, peer_id: str) -> None: ...

    async def until(self, count: int) -> None:
        with trio.fail_after(20):
            while len(self.frames) < count:
                await self.changed.wait()


@pytest.fixture
def ours(nursery):
    """ours(*addrs to keep connected to) -> (transport, handler), listening."""

    async def start(*peers: str, **options: bool) -> tuple[P2PTransport, Handler]:
        limits = P2PLimits(redial_min_s=0.05, redial_max_s=0.5)
        transport = P2PTransport(os.urandom(32), MESH, static_peers=peers, limits=limits, **options)
        handler = Handler()
        await nursery.start(transport.run, handler)
        return transport, handler

    return start


def frames_of(name: bytes) -> list[bytes]:
    return [name + b" %04d " % i + os.urandom(500) for i in range(COUNT)]


async def grafted(transport, foreign) -> None:
    """Until each has the other in its mesh; before, frames may pass by. Ours comes with a heartbeat, without an
    event; the answer to a ping comes behind what we told it."""
    with trio.fail_after(10):
        while not any(transport._session._router.mesh.values()):  # noqa: ASYNC110
            await trio.sleep(0.05)
    await foreign.call("ping", transport.peer_id)


async def both_ways(transport, handler, foreign) -> None:
    """Every frame arrives, each once, signed by its author."""
    await grafted(transport, foreign)
    mine, theirs = frames_of(b"ours"), frames_of(b"theirs")
    for number, frame in enumerate(mine, start=1):
        await transport.publish(frame)
        if number % AT_ONCE == 0:
            await foreign.until(lambda wanted=number: len(foreign.messages) >= wanted)
    assert sorted(foreign.messages) == sorted((transport.peer_id, frame, "signed") for frame in mine)
    for number, frame in enumerate(theirs, start=1):
        assert await foreign.publish(frame) >= 1
        if number % AT_ONCE == 0:
            await handler.until(number)
    assert sorted(handler.frames) == sorted(theirs)


async def test_it_dials_identifies_pings_and_gossips(foreign, ours):
    transport, handler = await ours()
    assert await foreign.call("dial", transport.addrs[0]) == transport.peer_id
    await foreign.heard(identified=transport.peer_id)
    identity = await foreign.call("identify", transport.peer_id)
    assert {"/meshsub/1.1.0", "/ipfs/ping/1.0.0", "/ipfs/id/1.0.0"} <= set(identity["protocols"])
    assert 0 <= await foreign.call("ping", transport.peer_id) < 10_000  # js-libp2p says whole milliseconds
    await foreign.heard(subscribed=transport.peer_id)
    await both_ways(transport, handler, foreign)
    assert transport.scores.faults(foreign.id) == {}


async def test_we_dial_it_and_gossip(foreign, ours):
    transport, handler = await ours(foreign.addr)
    await foreign.heard(subscribed=transport.peer_id)
    await both_ways(transport, handler, foreign)
    assert transport.scores.faults(foreign.id) == {}


async def test_frames_pass_between_our_nodes_through_it(foreign, ours):
    """It verifies and passes on what one of ours signed; the daemon's way of taking frames included."""
    one, _ = await ours(foreign.addr, frames_are_signed=True)
    other, handler = await ours(foreign.addr, frames_are_signed=True)
    for transport in (one, other):
        await foreign.heard(subscribed=transport.peer_id)
        await grafted(transport, foreign)
    frames = frames_of(b"through")
    for number, frame in enumerate(frames, start=1):
        await one.publish(frame)
        if number % AT_ONCE == 0:
            await handler.until(number)
    assert sorted(handler.frames) == sorted(frames)
    assert other.scores.faults(foreign.id) == one.scores.faults(foreign.id) == {}
