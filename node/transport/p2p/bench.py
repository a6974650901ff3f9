"""A benchmark of the transport: processes that gossip on loopback, latencies and CPU as a dict.

`python -m swarmd.node.transport.p2p.bench 2 400 8192 5` prints one JSON object.
"""

import json
import os
import struct
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import trio
from swarmd.node.bench.percentiles import percentiles
from swarmd.node.transport.p2p.transport import P2PTransport

_STAMP = struct.Struct("!Q")
_SETTLE_S = 3.0  # two pings, so that everybody knows whom the others reach
_DRAIN_S = 1.0


class _Receiver:
    def __init__(self) -> None:
        self.latencies_ms: list[float] = []

    def on_frame(self, peer_id: str, frame: bytes) -> None:
        self.latencies_ms.append((time.monotonic_ns() - _STAMP.unpack_from(frame)[0]) / 1e6)

    async def on_request(self, peer_id: str, body: bytes) -> bytes:
        return body

    async def on_peer_up(self, peer_id: str, did: str) -> None: ...

    async def on_peer_down(self, peer_id: str) -> None: ...


async def run(
    nodes: int, rate: float, size_bytes: int, seconds: float, *, publishers: int | None = None
) -> dict[str, Any]:
    """`publishers` (default: all) of `nodes` processes publish `rate` frames/s together for `seconds`.

    Keys: sent, delivered, delivered_ratio, p50_ms, p95_ms, p99_ms (publish to delivery),
    cpu_us_per_delivery (all processes), cpu_percent (of one core, per process).
    """
    count = nodes if publishers is None else publishers
    reports: list[dict[str, Any]] = []
    addrs: list[str] = []
    start = trio.Event()
    with trio.fail_after(seconds + 60):
        async with trio.open_nursery() as nursery:
            for index in range(nodes):
                settings = {
                    "peers": list(addrs),
                    "rate": rate / count if index < count else 0,
                    "size_bytes": size_bytes,
                    "seconds": seconds,
                    "others": nodes - 1,
                }
                addr = await nursery.start(partial(_drive, settings, start, reports.append))
                addrs.append(addr)
            await trio.sleep(_SETTLE_S)
            start.set()
    return _summary(reports, nodes, seconds)


def _summary(reports: Sequence[dict[str, Any]], nodes: int, seconds: float) -> dict[str, Any]:
    latencies = [ms for report in reports for ms in report["latencies_ms"]]
    sent = sum(report["sent"] for report in reports)
    cpu_s = sum(report["cpu_s"] for report in reports)

    return {
        "nodes": nodes,
        "sent": sent,
        "delivered": len(latencies),
        "delivered_ratio": round(len(latencies) / max(1, sent * (nodes - 1)), 5),
        **percentiles(latencies),
        "cpu_us_per_delivery": round(cpu_s / max(1, len(latencies)) * 1e6, 1),
        "cpu_percent": round(cpu_s / seconds / nodes * 100, 1),
        "drops": sum(report["drops"] for report in reports),
    }


async def _drive(
    settings: dict[str, Any],
    start: trio.Event,
    report: Callable[[dict[str, Any]], None],
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run one node process: it prints its address, gets a line to start, prints its report."""
    command = [sys.executable, "-m", "swarmd.node.transport.p2p.bench", "--node", json.dumps(settings)]
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(trio.run_process, command, stdin=-1, stdout=-1, check=True)
        )
        assert process.stdout is not None and process.stdin is not None
        output = b""
        async for chunk in process.stdout:
            output += chunk
            if b"\n" in output:
                break
        line, _, output = output.partition(b"\n")
        task_status.started(line.decode())
        await start.wait()
        await process.stdin.send_all(b"\n")
        async for chunk in process.stdout:
            output += chunk
        report(json.loads(output))


async def _node(settings: dict[str, Any]) -> None:
    receiver = _Receiver()
    transport = P2PTransport(os.urandom(32), "bench", static_peers=settings["peers"])
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run, receiver)
        print(transport.addrs[0], flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        began_cpu_s = time.process_time()
        sent = await _publish(transport, settings)
        await trio.sleep(_DRAIN_S)
        print(
            json.dumps(
                {
                    "sent": sent,
                    "latencies_ms": receiver.latencies_ms,
                    "cpu_s": time.process_time() - began_cpu_s,
                    "drops": sum(transport.drops.values()),
                }
            ),
            flush=True,
        )
        nursery.cancel_scope.cancel()


async def _publish(transport: P2PTransport, settings: dict[str, Any]) -> int:
    padding = os.urandom(max(0, settings["size_bytes"] - _STAMP.size))
    began_s = trio.current_time()
    sent = 0
    while (elapsed_s := trio.current_time() - began_s) < settings["seconds"]:
        while sent < elapsed_s * settings["rate"]:
            await transport.publish(_STAMP.pack(time.monotonic_ns()) + padding)
            sent += 1
        await trio.sleep(max(0.001, 0.5 / max(1.0, settings["rate"])))
    return sent


def main() -> None:
    if sys.argv[1] == "--node":
        trio.run(_node, json.loads(sys.argv[2]))
        return
    nodes, rate, size_bytes, seconds = (float(text) for text in sys.argv[1:5])
    print(json.dumps(trio.run(run, int(nodes), rate, int(size_bytes), seconds)))


if __name__ == "__main__":
    main()
