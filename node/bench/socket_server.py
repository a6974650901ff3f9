"""The daemon's side of the local socket's benchmark: takes envelopes, hands them to who watches their topic.

`LocalServer` and `TopicHub` are the daemon's own; what publishes is an operation of this benchmark, for agents of a
daemon do not write envelopes themselves.
"""

import time
from pathlib import Path
from typing import Any

import trio
from swarmd.node.bench.processes import Ready, serve
from swarmd.node.garbage import Garbage
from swarmd.node.topics import TopicFilter, TopicHub
from swarmd.node.transport.local import LocalCall, LocalServer
from swarmd.protocol.envelope import parse


class Broker:
    def __init__(self) -> None:
        self.taken = 0
        self._hub = TopicHub(capacity=65_536)

    async def handle(self, call: LocalCall) -> Any:
        if call.op == "publish":
            for raw in call.args["envelopes"]:
                self._hub.publish(parse(raw))
                self.taken += 1
            return None
        subscription = self._hub.subscribe(TopicFilter.parse(call.args["topic"]))
        while True:
            taken = await subscription.take()
            await call.emit([envelope.raw for envelope in taken])


async def main(settings: Any, ready: Ready) -> dict[str, Any]:
    Garbage().start()  # as the daemon
    broker = Broker()
    async with trio.open_nursery() as nursery:
        server = LocalServer(Path(settings["path"]), broker.handle, inline=frozenset(["publish"]))
        await nursery.start(server.run)
        await ready(settings["path"])
        began_cpu_s = time.process_time()
        await trio.sleep(settings["seconds"] + settings["drain_s"])
        report = {"taken": broker.taken, "cpu_s": time.process_time() - began_cpu_s}
        nursery.cancel_scope.cancel()
    return report


if __name__ == "__main__":
    serve(main)
