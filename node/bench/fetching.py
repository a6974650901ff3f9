"""Content between two daemons, and kubo's figures on the same machine: the network half of `swarmd bench content`."""

import tempfile
import time
from pathlib import Path
from typing import Any

import trio
from swarmd.node.bench.kubo import Kubo, find_kubo
from swarmd.node.bench.processes import crew
from swarmd.node.setup import GENESIS_FILE, create_home, found_mesh, write_genesis

_NODE = "swarmd.node.bench.fetch_node"
_TIMEOUT_S = 600.0


async def fetch(*, size_bytes: int) -> dict[str, Any]:
    """A file of random bytes from one daemon to another, each a process, over loopback: from asking for its CID to
    having all of it on disk. `fetch_mb_s` in 10^6 bytes."""
    with tempfile.TemporaryDirectory(prefix="swarmd-bench-") as folder:
        homes = [Path(folder) / name for name in ("holder", "asker")]
        dids = [create_home(home).did for home in homes]
        genesis = found_mesh("bench", dids[:1], dict.fromkeys(dids, 10**9))
        for home in homes:
            write_genesis(home / GENESIS_FILE, genesis)
        async with crew() as processes:
            holder = {"home": str(homes[0]), "peers": [], "size_bytes": size_bytes}
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


async def kubo_add_and_get(file: Path) -> dict[str, Any] | None:
    """kubo's own import and export of `file`, with the CIDs that ours has; None if there is no kubo here. The daemon
    runs, so its start is not measured; the `ipfs` command's own is (a tenth of a second)."""
    binary = find_kubo()
    if binary is None:
        return None
    size = (await trio.Path(file).stat()).st_size
    with tempfile.TemporaryDirectory(prefix="swarmd-bench-") as folder:
        kubo = Kubo(binary, Path(folder))
        try:
            await kubo.start()
            began_s = time.perf_counter()
            argv = ("add", "-Q", "--cid-version=1", "--raw-leaves", str(file))
            cid = (await kubo.call(*argv, timeout_s=_TIMEOUT_S)).decode().strip()
            add_s = time.perf_counter() - began_s
            began_s = time.perf_counter()
            await kubo.call("get", "-o", str(Path(folder) / "out"), cid, timeout_s=_TIMEOUT_S)
            get_s = time.perf_counter() - began_s
        finally:
            kubo.stop()
    return {
        "kubo_cid": cid,
        "kubo_add_mb_s": round(size / add_s / 1e6, 1),
        "kubo_get_mb_s": round(size / get_s / 1e6, 1),
    }
