"""What was dialed and never registered does not stay open when a host ends."""

import trio
from multiaddr import Multiaddr
from swarmd.node.transport.p2p.sockets import KnownTCP


async def test_what_is_left_is_closed(nursery):
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    gone = trio.Event()

    async def until_its_end(stream):
        async with stream:
            assert await stream.receive_some() == b""
        gone.set()

    nursery.start_soon(trio.serve_listeners, until_its_end, [listener])
    tcp = KnownTCP()
    with trio.fail_after(10):
        closed = await tcp.dial(Multiaddr(f"/ip4/127.0.0.1/tcp/{port}"))
        await closed.close()
        await gone.wait()
        gone = trio.Event()
        await tcp.dial(Multiaddr(f"/ip4/127.0.0.1/tcp/{port}"))
        assert tcp.close_left() == 1
        await gone.wait()
        assert tcp.close_left() == 0
    nursery.cancel_scope.cancel()
