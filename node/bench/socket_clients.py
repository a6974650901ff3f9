"""Some clients of the local socket's benchmark, in one process: each publishes, and watches the topic of the next."""

import time
from collections import deque
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import trio
from nacl.signing import SigningKey
from swarmd.node.bench.envelopes import EnvelopeMaker, arrivals
from swarmd.node.bench.processes import Ready, serve
from swarmd.node.garbage import Garbage
from swarmd.node.transport.local_async import AsyncLocalClient, connect_local
from swarmd.protocol.cbor import decode
from swarmd.protocol.didkey import did_of
from swarmd.protocol.envelope import need_id

_TICK_S = 0.001


def thread_of(number: int) -> str:
    return need_id("did:bench", number)


class Client:
    """Its envelopes are made beforehand, their time counted from the start: making them is no work of the socket."""

    def __init__(self, number: int, settings: Any) -> None:
        did = did_of(bytes(SigningKey(number.to_bytes(32, "big")).verify_key))
        maker = EnvelopeMaker(did, settings["size_bytes"], needs=[thread_of(number)])
        ends_ns = int(settings["seconds"] * 1e9)
        times = arrivals(settings["rate"], 0, ends_ns, number)
        self._planned = deque((at_ns, maker.make(at_ns).raw) for at_ns in times)
        self.sent = len(self._planned)
        self._watched = thread_of((number + 1) % settings["total"])
        self._got: list[tuple[int, list[bytes]]] = []
        self.start_ns = 0

    async def watch(self, client: AsyncLocalClient, task_status: trio.TaskStatus[None]) -> None:
        stream = client.stream("watch", {"topic": f"/swarm/thread/{self._watched}/#"})
        task_status.started()
        async for raws in stream:
            self._got.append((time.time_ns() - self.start_ns, raws))

    def latencies_ms(self) -> list[float]:
        """Of all that came. Not counted while it comes: that would be the benchmark's work among the clients'."""
        return [round((at_ns - decode(raw)["ts_ns"]) / 1e6, 3) for at_ns, raws in self._got for raw in raws]

    async def publish(self, client: AsyncLocalClient) -> None:
        planned = self._planned
        while planned:
            now_ns = time.time_ns() - self.start_ns
            due = []
            while planned and planned[0][0] <= now_ns:
                due.append(planned.popleft()[1])
            if due:
                client.tell("publish", {"envelopes": due})
            if planned:
                await trio.sleep(max(_TICK_S, (planned[0][0] - now_ns) / 1e9))


async def main(settings: Any, ready: Ready) -> dict[str, Any]:
    clients = [Client(number, settings) for number in settings["numbers"]]
    async with AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(connect_local(Path(settings["path"]))) for _ in clients
        ]
        nursery = await stack.enter_async_context(trio.open_nursery())
        for client, connection in zip(clients, connections, strict=True):
            await nursery.start(client.watch, connection)
        Garbage().start()  # as the daemon: what was planned is no work of the clients' either
        start_ns = await ready("connected")
        for client in clients:
            client.start_ns = start_ns
        began_cpu_s = time.process_time()
        async with trio.open_nursery() as publishers:
            for client, connection in zip(clients, connections, strict=True):
                publishers.start_soon(client.publish, connection)
        await trio.sleep(settings["drain_s"] / 2)
        report = {
            "sent": sum(client.sent for client in clients),
            "cpu_s": time.process_time() - began_cpu_s,
            "latencies_ms": [ms for client in clients for ms in client.latencies_ms()],
        }
        nursery.cancel_scope.cancel()
    return report


if __name__ == "__main__":
    serve(main)
