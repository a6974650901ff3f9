"""`swarmd bench gossip`: envelopes through real transports in processes of their own, beside libp2p as it ships."""

from collections.abc import Sequence
from typing import Any

import trio
from swarmd.node.bench.percentiles import percentiles
from swarmd.node.bench.processes import crew
from swarmd.protocol.faults import LocalFault

OURS = "swarmd.node.bench.gossip_node"
STOCK = "swarmd.node.bench.stock_node"
# Two pings, so that everybody knows whom the others reach; stock: two heartbeats.
_SETTLE_S = 4.5


async def gossip(
    module: str,
    *,
    nodes: int,
    rate: float,
    size_bytes: int,
    seconds: float,
    publishers: int,
    settle_s: float = _SETTLE_S,
) -> dict[str, Any]:
    """`publishers` of `nodes` processes, a full mesh on loopback, publish `rate` envelopes/s together.

    Latency is from the time an envelope was due to that at which another node had verified and decoded it;
    `env_per_s` is what arrived everywhere; CPU is that of all processes.
    """
    addrs: list[str] = []
    async with crew() as processes:
        for index in range(nodes):
            settings = {
                "index": index,
                "peers": list(addrs),
                "rate": rate / publishers if index < publishers else 0,
                "size_bytes": size_bytes,
                "seconds": seconds,
            }
            addrs.append(await processes.add(module, settings))
        await trio.sleep(settle_s + nodes / 10)
        measured = await processes.measure(timeout_s=seconds + 60)
    reports = measured.reports
    if any(report["peers"] < nodes - 1 for report in reports):
        raise LocalFault("bench-stuck", "not all nodes were connected in time", fix="try with fewer --nodes")
    return {
        **summary(reports, nodes, seconds),
        "others_cpu_percent": measured.others_cpu_percent,
    }


def summary(reports: Sequence[dict[str, Any]], nodes: int, seconds: float) -> dict[str, Any]:
    latencies = [ms for report in reports for ms in report["latencies_ms"]]
    sent = sum(report["sent"] for report in reports)
    cpu_s = sum(report["cpu_s"] for report in reports)
    delivered = len(latencies)
    return {
        **percentiles(latencies),
        "delivered_ratio": round(delivered / max(1, sent * (nodes - 1)), 5),
        "env_per_s": round(delivered / (nodes - 1) / seconds, 1),
        "cpu_us_per_delivery": round(cpu_s / delivered * 1e6, 1) if delivered else None,
        "envelopes_per_flush": round(sent / max(1, sum(report["flushes"] for report in reports)), 2),
        "cpu_us_per_frame": round(cpu_s / max(1, sum(report["frames"] for report in reports)) * 1e6, 1),
        "cpu_percent_per_node": round(100 * cpu_s / seconds / nodes, 1),
        "drops": sum(report["drops"] for report in reports),
    }
