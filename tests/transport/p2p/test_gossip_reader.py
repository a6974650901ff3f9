"""An inbound gossip stream: frames handled where the connection is read, all else in the stream's task, in order."""

import os
from dataclasses import replace

import pytest
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils.varint import encode_uvarint
from swarmd.node.transport.p2p.gossip_wire import Signer, rpc_of

MESHSUB = "/meshsub/1.1.0"
TOPIC = "/swarm/test/flush/1"


@pytest.fixture
def signer() -> Signer:
    return Signer(create_new_key_pair(os.urandom(32)).private_key, TOPIC)


def rpc(**fields: object) -> bytes:
    body = rpc_pb2.RPC(**fields).SerializeToString()
    return encode_uvarint(len(body)) + body


async def test_order_is_kept_however_the_bytes_are_cut(start, attacker, signer):
    """Whole frames, frames in parts, several an RPC, and between them what is no frame."""
    victim = await start()
    await attacker.connect(victim)
    stream = await attacker.open(MESHSUB)
    frames = [b"%04d" % i + os.urandom(200_000 if i % 40 == 7 else 300) for i in range(120)]
    wire = b""
    for number, frame in enumerate(frames):
        _, message = signer.sign(frame)
        if number % 10 == 3:
            wire += rpc(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=TOPIC)])
        if number % 10 == 5:
            wire += rpc(publish=[rpc_pb2.Message.FromString(message)], control=rpc_pb2.ControlMessage())
        else:
            wire += rpc_of(message)
    several = [b"several %d" % i for i in range(40)]
    wire += rpc(publish=[rpc_pb2.Message.FromString(signer.sign(frame)[1]) for frame in several])
    sizes = (1, 2_000, 7, 60_000, 300, 1_024)
    position = step = 0
    with trio.fail_after(20):
        while position < len(wire):
            size = sizes[step % len(sizes)]
            await stream.write(wire[position : position + size])
            position += size
            step += 1
            if step % 5 == 0:
                await trio.sleep(0.001)
    await victim.handler.until(lambda: len(victim.handler.frames) == 160, timeout_s=20)
    assert victim.handler.bodies() == frames + several
    assert victim.transport.scores.score(attacker.id) == 1.0
    assert victim.transport._session.budget.total_bytes == 0


async def test_who_sends_too_much_is_made_to_wait_and_loses_nothing(start, attacker, signer, quick_limits):
    victim = await start(limits=replace(quick_limits, gossip_frames_per_s=50, gossip_frames_burst=10))
    await attacker.connect(victim)
    stream = await attacker.open(MESHSUB)
    frames = [b"%d" % i for i in range(30)]
    began_s = trio.current_time()
    for frame in frames:
        await stream.write(rpc_of(signer.sign(frame)[1]))
        await trio.lowlevel.checkpoint()
    await victim.handler.until(lambda: len(victim.handler.frames) == 30)
    assert victim.handler.bodies() == frames
    assert trio.current_time() - began_s > 0.3, "19 of 30 over the burst, at 50 a second"
    assert victim.transport.counters()["throttled-gossip-frames"] >= 1


@pytest.mark.property_id("P10")
async def test_what_came_before_a_broken_rpc_counts_and_nothing_after_it(start, attacker, signer):
    victim = await start()
    await attacker.connect(victim)
    stream = await attacker.open(MESHSUB)
    good = [rpc_of(signer.sign(frame)[1]) for frame in (b"before", b"after")]
    await stream.write(good[0] + encode_uvarint(50) + b"\xff" * 50 + good[1])
    with trio.fail_after(5):
        while not victim.transport.scores.faults(attacker.id):  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert victim.handler.bodies() == [b"before"]
    assert victim.transport.scores.faults(attacker.id) == {"bad-protobuf": 1}
