"""The bridge against a real nats-server."""

import pytest
import trio
from swarmd.node.bridges.hybrid import HybridInbox
from swarmd.node.bridges.nats import NatsBridge, subject_of


class End:
    def __init__(self, server, mesh: str = "lab") -> None:
        self.frames: list[bytes] = []
        self.peers = 0
        self.bridge = NatsBridge(server.url, mesh, HybridInbox(self.frames.append, lambda: self.peers))

    async def until(self, true) -> None:
        with trio.fail_after(20):
            while not true():  # noqa: ASYNC110 (nothing tells of what is counted)
                await trio.sleep(0.01)


@pytest.fixture
def end(nats_server, nursery):
    async def start(mesh: str = "lab") -> End:
        made = End(nats_server, mesh)
        nursery.start_soon(made.bridge.run)
        await made.until(lambda: made.bridge.connected)
        return made

    return start


async def test_frames_pass_but_not_to_oneself_nor_to_other_meshes(end):
    one, two, other = await end(), await end(), await end("other.mesh")
    frames = [bytes([number]) * 600 for number in range(100)]
    for frame in frames:
        one.bridge.publish(frame)
    await two.until(lambda: len(two.frames) == 100)
    assert two.frames == frames and one.frames == other.frames == []
    assert one.bridge.status()["out"] == two.bridge.status()["in"] == two.bridge.status()["fallback"] == 100


async def test_what_p2p_brought_is_not_delivered_twice(end):
    one, two = await end(), await end()
    two.peers = 1
    two.bridge.heard(b"both")
    one.bridge.publish(b"both")
    await two.until(lambda: two.bridge.counters["in"] == 1)
    assert two.frames == []


async def test_a_frame_too_big_for_the_server_is_left_to_p2p(end):
    one, two = await end(), await end()
    one.bridge.publish(bytes(1_100_000))
    one.bridge.publish(b"after")
    await two.until(lambda: two.frames == [b"after"])
    assert one.bridge.counters["too_big"] == 1


async def test_it_comes_back_with_the_server(end, nats_server):
    one, two = await end(), await end()
    nats_server.stop()
    await one.until(lambda: not one.bridge.connected and not two.bridge.connected)
    one.bridge.publish(b"meanwhile")
    await nats_server.start()
    await one.until(lambda: one.bridge.connected and two.bridge.connected)
    one.bridge.publish(b"again")
    await two.until(lambda: b"again" in two.frames)
    assert one.bridge.counters["connects"] == 2


def test_subjects():
    assert subject_of("lab") == "swarm.lab.flush" and subject_of("a.b") == "swarm.a_b.flush"
