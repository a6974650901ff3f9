"""Frames between nodes."""

import os
import sys
from functools import partial

import pytest
import trio
from nacl.signing import SigningKey
from swarmd.protocol.didkey import did_of
from swarmd.protocol.faults import LocalFault, RemoteFault


@pytest.mark.parametrize("count", [2, 3, 5])
async def test_a_burst_reaches_everybody_once(start, exchange, count):
    nodes = []
    for _ in range(count):
        nodes.append(await start(nodes))
    for node in nodes:
        await node.until_up(*(other for other in nodes if other is not node))
    await exchange(nodes, 500 if count < 5 else 200, 500)
    assert all(not node.transport.drops for node in nodes)


async def test_frames_cross_a_node_in_the_middle(start, exchange):
    middle = await start()
    left, right = await start([middle]), await start([middle])
    await middle.until_up(left, right)
    await exchange([left, middle, right], 100, 2_000)


async def test_frames_published_before_anybody_is_there_are_replayed(start):
    first = await start()
    await first.transport.publish(b"early")
    second = await start([first])
    await second.handler.until(lambda: second.handler.bodies() == [b"early"])


async def test_large_frames_pass_and_oversize_ones_are_ours_to_avoid(pair):
    first, second = await pair()
    large = os.urandom(1_572_864)
    largest = os.urandom(first.transport.limits.max_frame_bytes)
    await first.transport.publish(large)
    await second.transport.publish(largest)
    await second.handler.until(lambda: second.handler.bodies() == [large])
    await first.handler.until(lambda: first.handler.bodies() == [largest])
    with pytest.raises(LocalFault, match="frame-too-big"):
        await first.transport.publish(largest + b"!")


async def test_another_mesh_hears_nothing_and_is_not_kept(start):
    ours, theirs = await start(mesh="ours"), await start(mesh="theirs")
    witness = await start([ours], mesh="ours")
    await witness.until_up(ours)
    with pytest.raises(Exception, match="another mesh"), trio.fail_after(12):
        await theirs.transport.connect(ours.addr)
    await ours.transport.publish(b"secret")
    await witness.handler.until(lambda: witness.handler.bodies() == [b"secret"])
    assert theirs.handler.frames == [] and theirs.handler.ups == {} and ours.id not in theirs.handler.ups
    assert [peer.peer_id for peer in ours.transport.peers()] == [witness.id]


async def test_a_refused_frame_goes_no_further_and_is_charged(start):
    middle = await start()
    left, right = await start([middle]), await start([middle])
    await middle.until_up(left, right)

    def judge(peer_id: str, frame: bytes) -> None:
        if frame == b"bad":
            raise RemoteFault("bad-frame", "for the test")
        if frame == b"bug":
            raise ValueError("a bug of ours")

    middle.handler.judge = judge
    for frame in (b"bad", b"bug", b"good"):
        await left.transport.publish(frame)
    await right.handler.until(lambda: b"good" in right.handler.bodies())
    assert right.handler.bodies() == [b"good"]
    (charged,) = [peer for peer in middle.transport.peers() if peer.peer_id == left.id]
    assert charged.faults == {"bad-frame": 1} and charged.score < 1.0
    assert middle.transport.counters() == {"frame-refused": 2, "handler-error": 1, "restarts": 0}


async def test_peers_are_described(pair):
    first, second = await pair()
    await first.transport.publish(b"x" * 100)
    await second.handler.until(lambda: len(second.handler.frames) == 1)
    (peer,) = second.transport.peers()
    assert peer.peer_id == first.id == second.handler.frames[0][0]
    assert peer.did == did_of(bytes(SigningKey(first.seed).verify_key)) == second.handler.ups[first.id]
    assert peer.direction == "outbound" and peer.addrs == (first.addr,)
    assert (peer.frames_in, peer.frames_out, peer.bytes_in, peer.score) == (1, 0, 100, 1.0)
    assert peer.rtt_ms is not None and 0 < peer.rtt_ms < 1_000
    (other,) = first.transport.peers()
    assert other.direction == "inbound" and other.frames_out == 1


async def test_both_may_dial_at_once(start, exchange):
    first, second = await start(), await start()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.transport.connect, second.addr)
        nursery.start_soon(second.transport.connect, first.addr)
    await first.until_up(second)
    await second.until_up(first)
    await exchange([first, second], 200, 500)
    assert await first.transport.request(second.id, b"1") == b"echo:1"
    assert await second.transport.request(first.id, b"2") == b"echo:2"
    assert len(first.transport.peers()) == len(second.transport.peers()) == 1


async def test_frames_are_not_forwarded_where_their_author_reaches(start, exchange):
    nodes = []
    for _ in range(3):
        nodes.append(await start(nodes))
    for node in nodes:
        await node.until_up(*(other for other in nodes if other is not node))

    def known() -> bool:
        return all(len(link.reach) == 2 for node in nodes for link in node.transport._session._links.values())

    with trio.fail_after(5):
        while not known():  # noqa: ASYNC110 (comes with the pings)
            await trio.sleep(0.02)
    before = sum(peer.frames_out for node in nodes for peer in node.transport.peers())
    await exchange(nodes, 50, 500)
    sent = sum(peer.frames_out for node in nodes for peer in node.transport.peers()) - before
    assert sent == 3 * 50 * 2, "each frame once to each other node"


# libp2p as it ships: its own muxer, pubsub and router, in a process that has none of our patches.
_STOCK = """
import sys, trio, warnings
warnings.simplefilter("ignore")
import libp2p
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

async def main():
    host = libp2p.new_host()
    router = GossipSub([PROTOCOL_ID_V11], 6, 4, 12, heartbeat_interval=1)
    pubsub = Pubsub(host, router)
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        async with background_trio_service(pubsub), background_trio_service(router):
            await pubsub.wait_until_ready()
            subscription = await pubsub.subscribe("/swarm/test/flush/1")
            target = info_from_p2p_addr(Multiaddr(sys.argv[1]))
            await host.connect(target)
            await pubsub.wait_for_mesh(target.peer_id, "/swarm/test/flush/1", timeout=10)
            while True:
                message = await subscription.get()
                if message.from_id == host.get_id().to_bytes():
                    continue
                await pubsub.publish("/swarm/test/flush/1", b"stock heard " + message.data)

trio.run(main)
"""


async def test_stock_libp2p_takes_part_in_the_gossip(pair):
    first, second = await pair()
    async with trio.open_nursery() as nursery:
        command = [sys.executable, "-c", _STOCK, first.addr]
        process = await nursery.start(partial(trio.run_process, command, check=False))
        pubsub = first.transport._session._pubsub
        with trio.fail_after(20):
            while len(pubsub.peer_topics["/swarm/test/flush/1"]) < 2:  # noqa: ASYNC110 (libp2p has no event)
                await trio.sleep(0.05)
        for frame in (b"one", os.urandom(100_000), b"three"):
            await first.transport.publish(frame)
            for node in (first, second):  # to the second over the first, in whatever time the heartbeat takes
                await node.handler.until(
                    lambda node=node, frame=frame: b"stock heard " + frame in node.handler.bodies()
                )
        await trio.sleep(2.5)  # longer than a peer of no use is kept
        await second.transport.publish(b"still there?")
        await first.handler.until(lambda: b"stock heard still there?" in first.handler.bodies())
        process.kill()
