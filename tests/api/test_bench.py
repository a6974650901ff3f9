"""`swarmd bench api` asks as it says: all that is due, each client on a connection of its own, one request at a time."""

from argparse import ArgumentParser
from typing import Any

import pytest
import trio
from swarmd.node.bench.api import MAX_CLIENTS, _Load, add_arguments, main
from swarmd.protocol.faults import LocalFault


class Server:
    """Answers each request after a while; fails if one comes on a connection that is still waiting for an answer."""

    def __init__(self) -> None:
        self.asked: list[int] = []  # requests of each connection

    async def serve(self, stream: trio.SocketStream) -> None:
        place = len(self.asked)
        self.asked.append(0)
        while data := await stream.receive_some(65_536):
            head, _, body = bytes(data).partition(b"\r\n\r\n")
            assert head.count(b"HTTP/1.1") == 1 and body.count(b"HTTP/1.1") == 0
            self.asked[place] += 1
            await trio.sleep(0.01)
            status = b"201 Created" if head.startswith(b"POST") else b"200 OK"
            await stream.send_all(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n{}")


@pytest.mark.parametrize("clients", [0, 10])
async def test_all_that_is_due_is_asked(nursery: trio.Nursery, clients: int) -> None:
    server = Server()
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, server.serve, [listener])
    port = listener.socket.getsockname()[1]
    load = _Load(f"http://127.0.0.1:{port}", "swt_x", "need-1", 200.0, 0.5, 0.2, clients)
    with trio.fail_after(30):
        await load.run([], 0)
    found = load.figures()
    assert sum(server.asked) == found["reads"] + found["writes"] == 100
    assert found["writes"] > 0 and found["failed"] == {}
    if clients:
        assert server.asked == [10] * clients


@pytest.mark.parametrize("wrong", [["--clients", "-1"], ["--clients", str(MAX_CLIENTS + 1)], ["--rate", "0"]])
def test_what_it_cannot_do_is_said_before_anything_begins(wrong: list[str]) -> None:
    parser = ArgumentParser()
    add_arguments(parser)
    out: Any = None
    with pytest.raises(LocalFault, match="clients"):
        main(parser.parse_args(wrong), out)
