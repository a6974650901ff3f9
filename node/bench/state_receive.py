"""The receive path: frames as gossip brings them, verified, parsed, ordered, gated, reduced, journalled, replicated.

A process on one thread, and beside it the replica's. Both are reported in CPU time, which is what one core does of it
whoever else is busy, and the whole by the clock too.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio
from swarmd.node.bench import history
from swarmd.node.bench.percentiles import percentiles
from swarmd.node.bench.processes import Ready, serve
from swarmd.node.bench.state_node import FRAMES_A_TURN, OpenGate, StateNode, base_gate
from swarmd.node.bench.state_views import rss_mb
from swarmd.node.garbage import Garbage
from swarmd.node.process_usage import cpu_seconds
from swarmd.node.state.replica_host import ReplicaHost

_NUMBER = history.MEMBERS
_PATIENCE_S = 120.0


async def main(settings: Any, ready: Ready) -> dict[str, Any]:
    Garbage().start()  # as the daemon
    frames = list(history.read_frames(Path(settings["frames"])))
    node = StateNode(Path(settings["folder"]), _NUMBER, base_gate() if settings["gated"] else OpenGate())
    exporter = _traced(node, settings["telemetry"]) if settings.get("telemetry") else None
    async with trio.open_nursery() as nursery:
        replica = Replica(Path(settings["folder"]), node, nursery) if settings["replica"] else None
        if replica is not None:
            await replica.up()
        await ready("ready")
        began_s = time.process_time()
        report = await _receive(node, frames, replica)
        if exporter is not None:
            exporter.stop(_PATIENCE_S)
        report["process_cpu_s"] = time.process_time() - began_s
        report["spans"] = dict(exporter.counts) if exporter is not None else {}
        nursery.cancel_scope.cancel()
    return report | {"cpu_s": time.process_time(), "rss_mb": rss_mb()}


def _traced(node: StateNode, telemetry: dict[str, Any]) -> Any:
    """The exporter of a node that traces so many needs of others a second."""
    from swarmd.node.telemetry.export import Exporter
    from swarmd.node.telemetry.tracing import Tracer

    exporter = Exporter(telemetry["url"], {"service.name": "bench"}, "0")
    node.runner.trace(
        Tracer(node.did, 0.0, exporter, time.time_ns, max_foreign_per_s=telemetry["max_foreign_per_s"])
    )
    exporter.start()
    return exporter


class Replica:
    def __init__(self, folder: Path, node: StateNode, nursery: trio.Nursery) -> None:
        heads = node.runner.chains.heads
        self.host = ReplicaHost(folder, lambda: sum(head.seq + 1 for head in heads.values()))
        nursery.start_soon(self.host.run)

    async def up(self) -> None:
        """Until it has said something: what its start costs is not measured."""
        await self._until(lambda: self.host.status()["state"] == "following")
        self._began_s = self.cpu_s()

    def cpu_s(self) -> float:
        assert self.host.pid is not None
        return cpu_seconds(self.host.pid)

    async def done(self) -> float:
        """CPU seconds that it took, once it has everything."""
        self.host.poke()
        await self._until(lambda: self.host.status()["behind"] == 0)
        return self.cpu_s() - self._began_s

    async def _until(self, so: Callable[[], bool]) -> None:
        with trio.fail_after(_PATIENCE_S):
            while not so():  # noqa: ASYNC110 - the host tells its state to who asks, and nobody else waits for it
                await trio.sleep(0.05)


async def _receive(node: StateNode, frames: list[bytes], replica: Replica | None) -> dict[str, Any]:
    turns_ms: list[float] = []
    checking_s = cpu_s = 0.0
    began_s = time.perf_counter()
    for first in range(0, len(frames), FRAMES_A_TURN):
        turn_began_s, cpu_began_s = time.perf_counter(), time.thread_time()
        for frame in frames[first : first + FRAMES_A_TURN]:
            node.runner.offer_frame("bench", frame)
        checking_s += time.thread_time() - cpu_began_s
        out = node.runner.turn()
        cpu_s += time.thread_time() - cpu_began_s
        turns_ms.append(1e3 * (time.perf_counter() - turn_began_s))
        if replica is not None and out.stored:
            replica.host.poke()
        await trio.lowlevel.checkpoint()
    wall_s = time.perf_counter() - began_s
    return {
        "ops": node.runner.counters["admitted"],
        "finalized": node.runner.state.views.task_counts().get("FINALIZED", 0),
        "receive_cpu_s": cpu_s,
        "check_cpu_s": checking_s,
        "wall_s": wall_s,
        "replica_cpu_s": await replica.done() if replica is not None else 0.0,
        "turn": percentiles(turns_ms),
    }


if __name__ == "__main__":
    serve(main)
