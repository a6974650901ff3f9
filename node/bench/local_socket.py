"""The local socket under many clients, all of which publish, for `swarmd bench gossip`."""

import tempfile
from pathlib import Path
from typing import Any

from swarmd.node.bench.percentiles import percentiles
from swarmd.node.bench.processes import crew

_CLIENTS_PER_PROCESS = 10
_DRAIN_S = 2.0


async def local_socket(*, clients: int, rate: float, size_bytes: int, seconds: float) -> dict[str, Any]:
    """`clients` connections publish `rate` envelopes/s together to one daemon; each watches another's topic.
    Latency is from when an envelope was due to when its watcher had it."""
    with tempfile.TemporaryDirectory(prefix="swarmd-bench-") as folder:
        common = {"path": str(Path(folder) / "bench.sock"), "seconds": seconds, "drain_s": _DRAIN_S}
        async with crew() as processes:
            await processes.add("swarmd.node.bench.socket_server", common)
            for first in range(0, clients, _CLIENTS_PER_PROCESS):
                settings = {
                    **common,
                    "numbers": list(range(first, min(clients, first + _CLIENTS_PER_PROCESS))),
                    "total": clients,
                    "rate": rate / clients,
                    "size_bytes": size_bytes,
                }
                await processes.add("swarmd.node.bench.socket_clients", settings)
            measured = await processes.measure(timeout_s=seconds + 60)
    server, *others = measured.reports
    latencies = [ms for report in others for ms in report["latencies_ms"]]
    sent = sum(report["sent"] for report in others)
    return {
        "clients": clients,
        "rate": rate,
        **percentiles(latencies),
        "delivered_ratio": round(len(latencies) / max(1, sent), 5),
        "env_per_s": round(len(latencies) / seconds, 1),
        "daemon_cpu_us_per_env": round(server["cpu_s"] / max(1, server["taken"]) * 1e6, 1),
        "daemon_cpu_percent": round(100 * server["cpu_s"] / seconds, 1),
        "others_cpu_percent": measured.others_cpu_percent,
    }
