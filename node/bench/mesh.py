"""`swarmd bench mesh`: whole tasks through a mesh of daemon processes, NEED to FINALIZE, and what they cost.

Every daemon is its own process with its own key, disk and libp2p host; beside each runs one process of the SDK
that serves `bench.echo`. Needs of one task are posted over the local sockets, closed loop: `window` are under way
at a time. Latencies are the signed times in the envelopes, all from this host's clock.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import trio
from swarmd.node.bench.machine import machine
from swarmd.node.bench.percentiles import percentile
from swarmd.node.cluster import Cluster
from swarmd.node.home import socket_path
from swarmd.node.process_usage import cpu_seconds
from swarmd.node.telemetry.histogram import Histogram
from swarmd.node.transport.local_async import AsyncLocalClient, connect_local
from swarmd.protocol.faults import LocalFault

DEADLINE_S = 600
WARM_UP = 50
Progress = Callable[[int, int], None]
Make = Callable[[int], dict[str, Any]]


def echo_need(number: int) -> dict[str, Any]:
    """What benchmarks post: a need of one task that any `bench.echo` agent does."""
    return {
        "title": f"bench {number}",
        "budget": "0.01",
        "deadline_s": DEADLINE_S,
        "tasks": [{"capability": "bench.echo", "input": {"value": {"json": number}}}],
    }


def spread(values: Sequence[float], name: str, digits: int = 2) -> dict[str, float]:
    return {f"{name}_p{p}_ms": round(percentile(values, p / 100), digits) for p in (50, 95, 99)}


def by_room(grown: Callable[[str], int], cpu_ms: float, tasks: int) -> dict[str, float]:
    """`cpu_ms` of all daemons, a task: `rest` is libp2p, trio, local clients, agents' jobs, content and the chain."""
    rooms = {room: grown(f"{room}_cpu_us") / 1000 for room in ("frames", "turns", "commits")}
    rooms["rest"] = max(0.0, cpu_ms - sum(rooms.values()))
    return {room: round(took_ms / tasks, 3) for room, took_ms in rooms.items()}


def bus_between(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> Histogram:
    """What all daemons took in between two of their statuses, from signed to taken."""
    bus = Histogram()
    for a, b in zip(before, after, strict=True):
        grown = {int(at): count - a["bus_buckets"].get(at, 0) for at, count in b["bus_buckets"].items()}
        bus.buckets.update(grown)
    return bus


class Bench:
    def __init__(
        self,
        cluster: Cluster,
        window: int,
        progress: Progress,
        agent_args: Sequence[str] = (),
        *,
        agent: str = "swarmd.node.bench.echo_agent",
        capability: str = "bench.echo",
    ) -> None:
        """`agent`: the module of the agents, which serves `capability` and takes --home and `agent_args`."""
        self.cluster = cluster
        self.window = window
        self.progress = progress
        self._agent_args = tuple(agent_args)
        self._agent = agent
        self._capability = capability
        self._agents: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self.cluster.start_all()
        for member in self.cluster.members:
            self._agents.append(
                subprocess.Popen(
                    [
                        *(sys.executable, "-m", self._agent),
                        *("--home", str(member.home), *self._agent_args),
                    ],
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        self.wait_formed()

    def wait_formed(self) -> None:
        """Until all are connected and know what all offer; LocalFault `bench-stuck` after a minute."""
        self._wait(self._all_know_all, "the mesh to form")

    def _all_know_all(self) -> bool:
        count = len(self.cluster.members)
        for member in self.cluster.members:
            status = member.call("status")
            offers = member.call("peers")["peers"]
            known = sum(self._capability in peer["offers"] for peer in offers)
            if status["peers"] < min(count - 1, self.cluster.fan_out) or known < len(offers):
                return False
            if self._capability not in status["capabilities"] or status["manifests"] < count:
                return False
        return True

    def _wait(self, ready: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
        end = time.monotonic() + timeout_s
        while not ready():
            if time.monotonic() > end:
                raise LocalFault("bench-stuck", f"waited {timeout_s:g} s for {what}")
            time.sleep(0.05)

    @property
    def agent_pids(self) -> list[int]:
        return [agent.pid for agent in self._agents]

    def stop(self) -> None:
        for agent in self._agents:
            agent.terminate()
        self.cluster.stop_all()
        for agent in self._agents:
            agent.wait()

    def run(self, tasks: int, make: Make = echo_need) -> dict[str, Any]:
        """Post `tasks` needs that `make` makes, spread over the members, wait for their ends, measure."""
        members = self.cluster.members
        before = [member.call("status") for member in members]
        cpu_before = [member.cpu_s() for member in members]
        agents_before = sum(cpu_seconds(agent.pid) for agent in self._agents)
        ends: list[dict[str, Any]] = []
        started = time.monotonic()
        trio.run(self._load, tasks, make, ends)
        wall_s = time.monotonic() - started
        cpu_s = sum(m.cpu_s() - cpu for m, cpu in zip(members, cpu_before, strict=True))
        agents_s = sum(cpu_seconds(agent.pid) for agent in self._agents) - agents_before
        after = [member.call("status") for member in members]
        self._wait(self._agree, "the nodes to agree")

        def grown(key: str) -> int:
            return sum(b["counters"][key] - a["counters"][key] for a, b in zip(before, after, strict=True))

        bus = bus_between(before, after)
        done = [end for end in ends if end["state"] == "FINALIZED"]
        finished = max(1, len(done))
        return {
            "tasks": tasks,
            "nodes": len(members),
            "window": self.window,
            "wall_s": round(wall_s, 3),
            "tasks_per_s": round(len(done) / wall_s, 1),
            **spread([end["decide_ms"] for end in done], "decide"),
            **spread([end["finalize_ms"] for end in done], "finalize"),
            **{f"bus_p{p}_ms": round(bus.percentile(p / 100), 2) for p in (50, 95, 99)},
            "envelopes_per_task": round(grown("authored") / finished, 2),
            "signatures_per_task": round(grown("flushes") / finished, 3),
            "bytes_per_task": round(grown("bytes_out") / finished),
            "cpu_ms_per_task": round(1000 * cpu_s / finished, 3),
            "agent_cpu_ms_per_task": round(1000 * agents_s / finished, 3),
            "cpu_ms_per_task_by_room": by_room(grown, 1000 * cpu_s, finished),
            "rss_mb": round(max(member.rss_mb() for member in members), 1),
            "loss": tasks - len(done),
            "nodes_agree": True,
        }

    async def _load(self, tasks: int, make: Make, ends: list[dict[str, Any]]) -> None:
        """Closed loop: `window` needs under way, spread over the members."""
        left = iter(range(tasks))

        async def worker(client: AsyncLocalClient) -> None:
            for number in left:
                posted = await client.call("need.post", {"spec": make(number)})
                ends.append(await client.call("need.wait", {"need": posted["need"]}))
                self.progress(len(ends), tasks)

        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(connect_local(socket_path(member.home)))
                for member in self.cluster.members
            ]
            async with trio.open_nursery() as nursery:
                for index in range(self.window):
                    nursery.start_soon(worker, clients[index % len(clients)])

    def _agree(self) -> bool:
        return len({member.call("digest")["mesh_digest"] for member in self.cluster.members}) == 1


@contextmanager
def formed(
    nodes: int,
    window: int,
    verifiers: int | None,
    progress: Progress = lambda _done, _all: None,
    *,
    agent_args: Sequence[str] = (),
    **params: Any,
) -> Iterator[Bench]:
    """A mesh that has formed and is warm: imports, caches, the mesh of gossip."""
    names = [f"node-{i}" for i in range(nodes)]
    with tempfile.TemporaryDirectory(prefix="swarmd-bench-") as folder:
        cluster = Cluster(
            Path(folder),
            names,
            verifiers=names[: verifiers or nodes],
            balance=10**15,
            mesh="bench",
            fan_out=nodes,
            **params,
        )
        bench = Bench(cluster, window, progress, agent_args)
        try:
            bench.start()
            bench.run(max(nodes, min(WARM_UP, 4 * window)))
            yield bench
        finally:
            bench.stop()


def run(
    *,
    nodes: int = 4,
    tasks: int = 500,
    window: int = 64,
    verifiers: int | None = None,
    runs: int = 1,
    progress: Progress = lambda _done, _all: None,
) -> dict[str, Any]:
    """The figures of one mesh; with several runs, the run of median throughput and all throughputs."""
    with formed(nodes, window, verifiers, progress) as bench:
        results = [bench.run(tasks) for _ in range(runs)]
    results.sort(key=lambda result: result["tasks_per_s"])
    return {
        **results[len(results) // 2],
        "runs_tasks_per_s": [result["tasks_per_s"] for result in results],
        **machine(),
    }
