"""Two fabrics, each frame once: preference, fallback, divergence."""

import logging

import pytest
import trio
from swarmd.node.bridges.hybrid import WINDOW_FRAMES, HybridInbox
from swarmd.protocol.faults import RemoteFault


class World:
    def __init__(self) -> None:
        self.peers = 1
        self.delivered: list[bytes] = []
        self.inbox = HybridInbox(self.deliver, lambda: self.peers, prefer_p2p_s=0.1, settle_s=0.5)

    def deliver(self, frame: bytes) -> None:
        if frame == b"bad":
            raise RemoteFault("bad-flush", "no")
        self.delivered.append(frame)


@pytest.fixture
def world(nursery):
    made = World()
    nursery.start_soon(made.inbox.run)
    return made


async def test_p2p_is_preferred(world):
    world.inbox.offer(b"slow")
    await trio.sleep(0.05)
    world.inbox.heard(b"slow")
    await trio.sleep(0.3)
    world.inbox.heard(b"first")
    world.inbox.offer(b"first")
    await trio.sleep(0.3)
    assert world.delivered == [] and world.inbox.counters["fallback"] == 0


async def test_the_bridge_steps_in(world):
    world.inbox.offer(b"a")
    assert world.delivered == []
    await trio.sleep(0.2)
    assert world.delivered == [b"a"]
    world.inbox.offer(b"a")
    await trio.sleep(0.2)
    assert world.delivered == [b"a"], "once"


async def test_without_peers_at_once(world):
    world.peers = 0
    world.inbox.offer(b"a")
    assert world.delivered == [b"a"]


async def test_what_is_refused_is_counted_and_harms_nobody(world):
    world.peers = 0
    world.inbox.offer(b"bad")
    world.inbox.offer(b"good")
    assert world.delivered == [b"good"] and world.inbox.counters["refused"] == 1


async def test_divergence_is_counted_and_said_once(world, caplog):
    with caplog.at_level(logging.WARNING):
        for number in range(WINDOW_FRAMES):
            frame = number.to_bytes(4, "big")
            world.inbox.heard(frame)
            if number % 10:
                world.inbox.offer(frame)
        await trio.sleep(1)
        assert world.inbox.counters["both"] == 180 and world.inbox.counters["p2p_only"] == 20
        assert world.inbox.diverging and len(caplog.records) == 1
        for number in range(WINDOW_FRAMES):
            world.inbox.heard(b"x%d" % number)
            world.inbox.offer(b"x%d" % number)
        await trio.sleep(1)
    assert not world.inbox.diverging and len(caplog.records) == 1
