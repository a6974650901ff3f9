"""Two processes that move bytes over one libp2p request stream: one asks, one answers."""

import os
import time
from typing import Any

import trio
from swarmd.node.bench.processes import Ready, serve
from swarmd.node.garbage import Garbage, give_back_large
from swarmd.node.transport.p2p import P2PTransport

_ANSWER_BYTES = 4 << 20
_IN_FLIGHT = 4


class Handler:
    def __init__(self) -> None:
        self.up = trio.Event()
        self._answer = os.urandom(_ANSWER_BYTES)

    def on_frame(self, peer_id: str, frame: bytes) -> None: ...

    async def on_request(self, peer_id: str, body: bytes) -> bytes:
        return self._answer

    async def on_peer_up(self, peer_id: str, did: str) -> None:
        self.up.set()

    async def on_peer_down(self, peer_id: str) -> None: ...


async def main(settings: Any, ready: Ready) -> dict[str, Any]:
    give_back_large()
    Garbage().start()  # both as the daemon
    handler = Handler()
    transport = P2PTransport(os.urandom(32), "bench", static_peers=settings["peers"])
    moved = 0
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run, handler)
        if settings["peers"]:
            await handler.up.wait()
        await ready(transport.addrs[0])
        began_cpu_s = time.process_time()
        began_s = trio.current_time()

        async def ask(peer_id: str) -> None:
            nonlocal moved
            while trio.current_time() - began_s < settings["seconds"]:
                moved += len(await transport.request(peer_id, b""))

        if settings["peers"]:
            async with trio.open_nursery() as askers:
                for _ in range(_IN_FLIGHT):
                    askers.start_soon(ask, transport.peers()[0].peer_id)
        else:
            await trio.sleep(settings["seconds"] + 1)
        report = {
            "moved": moved,
            "took_s": trio.current_time() - began_s,
            "cpu_s": time.process_time() - began_cpu_s,
        }
        nursery.cancel_scope.cancel()
    return report


if __name__ == "__main__":
    serve(main)
