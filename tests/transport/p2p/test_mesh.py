"""Frames between nodes."""

import os

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

    async def judge(peer_id: str, frame: bytes) -> None:
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
