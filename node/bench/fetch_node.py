"""One of two daemons of a mesh: one holds a file, the other fetches it."""

import gc
import time
from pathlib import Path
from typing import Any

import trio
from swarmd.node.bench.processes import Ready, serve
from swarmd.node.content.unixfs import FileRoot, import_file
from swarmd.node.daemon import Daemon
from swarmd.node.settings import Settings


async def main(settings: Any, ready: Ready) -> dict[str, Any]:
    gc.set_threshold(50_000, 20, 50)  # as `swarmd up`
    daemon = Daemon(Settings(Path(settings["home"]), peers=settings["peers"]))
    report: dict[str, Any] = {}
    try:
        async with trio.open_nursery() as nursery:
            up = trio.Event()
            nursery.start_soon(_run, daemon, up)
            await up.wait()
            if settings["peers"]:
                report = await _fetch(daemon, settings, ready)
            else:
                report = await _hold(daemon, settings, ready)
            nursery.cancel_scope.cancel()
    finally:
        daemon.close()
    return report


async def _run(daemon: Daemon, up: trio.Event) -> None:
    await daemon.run(lambda _: up.set(), handle_signals=False)


async def _hold(daemon: Daemon, settings: Any, ready: Ready) -> dict[str, Any]:
    def put() -> FileRoot:
        with open(settings["source"], "rb") as source, daemon.repo.batch() as batch:
            return import_file(source, batch)

    root = await trio.to_thread.run_sync(put)
    gc.freeze()
    await ready(f"{daemon.p2p.addrs[0]} {root.cid.hex()}")
    began_cpu_s = time.process_time()
    while daemon.transport.peers():  # noqa: ASYNC110 (until who fetched has gone)
        await trio.sleep(0.02)
    return {"cpu_s": time.process_time() - began_cpu_s}


async def _fetch(daemon: Daemon, settings: Any, ready: Ready) -> dict[str, Any]:
    while not daemon.transport.peers():  # noqa: ASYNC110
        await trio.sleep(0.02)
    await ready(daemon.p2p.addrs[0])
    began_s, began_cpu_s = trio.current_time(), time.process_time()
    await daemon.content.ensure(bytes.fromhex(settings["cid"]), ())
    return {
        "took_s": trio.current_time() - began_s,
        "cpu_s": time.process_time() - began_cpu_s,
        "peak_rss_mb": peak_rss_mb(),
    }


def peak_rss_mb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    serve(main)
