"""One of two daemons of a mesh: one holds a file, the other fetches it."""

import gc
import os
import time
from pathlib import Path
from typing import Any

import trio
from swarmd.node.bench.processes import Ready, serve
from swarmd.node.content.unixfs import import_file
from swarmd.node.daemon import Daemon, Settings


class _Noise:
    """So many random bytes, as a stream."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int, /) -> bytes:
        size = min(size, self._left)
        self._left -= size
        return os.urandom(size)


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
    def put() -> bytes:
        with daemon.repo.batch() as batch:
            return import_file(_Noise(settings["size_bytes"]), batch).cid

    cid = await trio.to_thread.run_sync(put)
    gc.freeze()
    await ready(f"{daemon.p2p.addrs[0]} {cid.hex()}")
    began_cpu_s = time.process_time()
    while not any(each.sent_bytes >= settings["size_bytes"] for each in _ledgers(daemon)):  # noqa: ASYNC110
        await trio.sleep(0.05)
    await trio.sleep(1.0)  # what is under way arrives
    return {"cpu_s": time.process_time() - began_cpu_s}


def _ledgers(daemon: Daemon) -> list[Any]:
    bitswap = daemon.content_host.bitswap
    return [] if bitswap is None else [ledger for _, ledger in bitswap.ledgers]


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
