"""Bytes over a stream between two hosts, and what a daemon costs that has nothing to do."""

import tempfile
from pathlib import Path
from typing import Any

import trio
from swarmd.node.bench.processes import crew
from swarmd.node.cluster import Cluster
from swarmd.protocol.faults import LocalFault

_NODE = "swarmd.node.bench.stream_node"
_SETTLE_S = 10.0


async def stream(*, seconds: float) -> dict[str, Any]:
    """Answers of 4 MiB, four in flight, over one request stream (TCP, noise, yamux) between two processes."""
    async with crew() as processes:
        addr = await processes.add(_NODE, {"peers": [], "seconds": seconds})
        await processes.add(_NODE, {"peers": [addr], "seconds": seconds})
        measured = await processes.measure(timeout_s=seconds + 60)
    asker = measured.reports[1]
    return {
        "mb_per_s": round(asker["moved"] / asker["took_s"] / 1e6, 1),
        "cpu_s_per_gb": round(sum(report["cpu_s"] for report in measured.reports) / asker["moved"] * 1e9, 2),
        "others_cpu_percent": measured.others_cpu_percent,
    }


async def idle(*, nodes: int, seconds: float) -> dict[str, Any]:
    """`nodes` real daemons, joined to one mesh, with nothing to do: CPU of the busiest, in percent of one."""
    names = [f"node-{number}" for number in range(nodes)]
    with tempfile.TemporaryDirectory(prefix="swarmd-bench-") as folder:
        cluster = Cluster(
            Path(folder), names, verifiers=names[:1], balance=10**9, mesh="bench", fan_out=nodes
        )
        try:
            await trio.to_thread.run_sync(cluster.start_all)
            await trio.sleep(_SETTLE_S)
            if any(member.call("status")["peers"] < nodes - 1 for member in cluster.members):
                raise LocalFault("bench-stuck", "the daemons did not find each other in time")
            before = [member.cpu_s() for member in cluster.members]
            await trio.sleep(seconds)
            used = [member.cpu_s() - cpu_s for member, cpu_s in zip(cluster.members, before, strict=True)]
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(cluster.stop_all)
    return {"daemons": nodes, "cpu_percent": round(100 * max(used) / seconds, 2)}
