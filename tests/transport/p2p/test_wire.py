"""The shortcut between muxer and socket: order, back-pressure, and connections it must leave alone."""

import os

import trio


async def test_it_is_used_on_plain_tcp(pair):
    first, second = await pair()
    (conn,) = first.transport._session.host.swarm.get_connections()
    assert conn.muxed_conn._wire is not None


async def test_frames_of_all_sizes_arrive_whole_and_in_order_through_a_full_socket(pair):
    """Small ones go past the writer, large ones through it, and the socket fills up in between."""
    first, second = await pair()
    frames = [
        i.to_bytes(4, "big") + os.urandom(size)
        for i, size in enumerate([300, 90_000, 5, 400_000, 1_000] * 20)
    ]
    for frame in frames:
        await first.transport.publish(frame)
    await second.handler.until(lambda: len(second.handler.frames) == len(frames), timeout_s=20)
    assert second.handler.bodies() == frames


async def test_requests_and_gossip_share_a_connection(pair):
    first, second = await pair()
    frames = [b"%06d" % i for i in range(500)]

    async def gossip() -> None:
        for frame in frames:
            await first.transport.publish(frame)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(gossip)
        for size in (10, 70_000, 1_000_000, 3):
            body = os.urandom(size)
            assert await first.transport.request(second.id, body) == b"echo:" + body
    await second.handler.until(lambda: second.handler.bodies() == frames)


async def test_connections_that_wait_with_full_sockets_keep_their_bytes_apart(start):
    """All of them seal and open in one buffer."""
    hub = await start()
    peers = [await start([hub]) for _ in range(3)]
    await hub.until_up(*peers)
    for peer in peers:
        await peer.until_up(hub)

    async def ask(asker, asked) -> None:
        for size in (1 << 20, 3 << 20, 100, 65_519, 65_520):
            body = os.urandom(size)
            assert await asker.transport.request(asked.id, body) == b"echo:" + body

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(ask, hub, peer)
                nursery.start_soon(ask, peer, hub)
