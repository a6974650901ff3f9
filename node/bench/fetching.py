"""Content between two daemons: the network half of `swarmd bench content`."""

import tempfile
from pathlib import Path
from typing import Any

import trio
from swarmd.node.bench.processes import crew
from swarmd.node.setup import GENESIS_FILE, create_home, found_mesh, write_genesis

_NODE = "swarmd.node.bench.fetch_node"
_TIMEOUT_S = 600.0


async def fetch(source: Path) -> dict[str, Any]:
    """A file from one daemon to another, each a process, over loopback: from asking for its CID to having all of it
    on disk. `fetch_mb_s` in 10^6 bytes."""
    size_bytes = (await trio.Path(source).stat()).st_size
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=source.parent) as folder:
        homes = [Path(folder) / name for name in ("holder", "asker")]
        dids = [create_home(home).did for home in homes]
        genesis = found_mesh("bench", dids[:1], dict.fromkeys(dids, 10**9))
        for home in homes:
            write_genesis(home / GENESIS_FILE, genesis)
        async with crew() as processes:
            holder = {"home": str(homes[0]), "peers": [], "source": str(source)}
            addr, cid = (await processes.add(_NODE, holder)).split()
            await processes.add(_NODE, {"home": str(homes[1]), "peers": [addr], "cid": cid})
            measured = await processes.measure(timeout_s=_TIMEOUT_S)
    asker = measured.reports[1]
    return {
        "fetch_mb_s": round(size_bytes / asker["took_s"] / 1e6, 1),
        "fetch_cpu_s_per_gb": round(sum(each["cpu_s"] for each in measured.reports) / size_bytes * 1e9, 2),
        "fetch_rss_mb": round(asker["peak_rss_mb"], 1),
        "fetch_others_cpu_percent": measured.others_cpu_percent,
    }
