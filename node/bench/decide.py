"""`swarmd bench decide`: from when a need is due to the signed time of its DECIDE, at a steady rate, in daemon processes.

Needs of one task come in an open loop, spread over the members, through the local sockets. Agents take the work and hold
it, so that what is measured is deciding (NEED, PROPOSE, votes, DECIDE, and the CLAIM that follows); with `whole` they do
it, and all the rest of a need's life runs beside. Times are of this host's clock.
"""

import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
from swarmd.node.bench.etcd_servers import etcd_servers
from swarmd.node.bench.mesh import Bench, Progress, echo_need, spread
from swarmd.node.bench.processes import MachineLoad
from swarmd.node.cluster import Cluster
from swarmd.node.home import socket_path
from swarmd.node.transport.local_async import AsyncLocalClient, connect_local

WARM_UP = 100
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """`rate` needs a second for `seconds` s, over `nodes` members that are all verifiers."""

    nodes: int = 5
    rate: float = 200.0
    seconds: float = 15.0
    alpha_permille: int = 300
    quorum_mode: str = "majority"
    whole: bool = False


def measure(load: Load, *, etcd: bool, progress: Progress) -> dict[str, Any]:
    """The figures of one mesh."""
    names = [f"node-{i}" for i in range(load.nodes)]
    with tempfile.TemporaryDirectory(prefix="swarmd-bench-") as folder:
        params: dict[str, Any] = {"alpha_permille": load.alpha_permille, "quorum_mode": load.quorum_mode}
        if not etcd:
            return _mesh(load, Path(folder), names, params, [], progress)
        (Path(folder) / "etcd").mkdir()
        with etcd_servers(Path(folder) / "etcd") as urls:
            return _mesh(load, Path(folder), names, {**params, "arbiter": "etcd"}, urls, progress)


def _mesh(
    load: Load, folder: Path, names: list[str], params: dict[str, Any], etcd: list[str], progress: Progress
) -> dict[str, Any]:
    cluster = Cluster(
        folder, names, verifiers=names, balance=10**15, mesh="bench", fan_out=load.nodes, **params
    )
    if etcd:
        for member in cluster.members:
            endpoints = ", ".join(f'"{url}"' for url in etcd)
            (member.home / "swarmd.toml").write_text(f"etcd_endpoints = [{endpoints}]\n", "utf-8")
    bench = Bench(cluster, 0, progress, () if load.whole else ("--hold",))
    try:
        bench.start()
        trio.run(_drive, cluster, WARM_UP, load.rate / 2, [], lambda _done, _all: None)
        machine = MachineLoad()
        before = [member.call("status")["counters"] for member in cluster.members]
        cpu_s = sum(member.cpu_s() for member in cluster.members)
        posted: list[tuple[int, int, str]] = []
        trio.run(_drive, cluster, int(load.rate * load.seconds), load.rate, posted, progress)
        after = [member.call("status")["counters"] for member in cluster.members]
        cpu_s = sum(member.cpu_s() for member in cluster.members) - cpu_s
        others = machine.others_percent(cpu_s)
        k = cluster.members[0].call("consensus.status")["plan"]
        found = _read(cluster, posted)
    finally:
        bench.stop()
    decided = [each for each in found if each[1]]
    waits_ms = [(at_ns - due_ns) / 1e6 for due_ns, at_ns, _ in decided]
    span_s = (max(at for _, at, _ in decided) - min(due for due, _, _ in decided)) / 1e9 if decided else 1.0
    grown = {name: sum(b[name] - a[name] for a, b in zip(before, after, strict=True)) for name in after[0]}
    return {
        **spread(waits_ms, "decide"),
        "needs_per_s": round(len(decided) / span_s, 1),
        "undecided": len(found) - len(decided),
        "decided_twice": sum(plans > 1 for _, _, plans in found),
        "k": k["k"],
        "quorum": k["quorum"],
        "envelopes_per_need": round(grown["authored"] / len(found), 2),
        "bytes_per_need": round(grown["bytes_out"] / len(found)),
        "cpu_ms_per_need": round(1000 * cpu_s / len(found), 2),
        "others_cpu_percent": others,
    }


async def _drive(
    cluster: Cluster, count: int, rate: float, posted: list[tuple[int, int, str]], progress: Progress
) -> None:
    """Post `count` needs when they are due; `posted` gets (due, member, need) of each."""

    async def post(client: AsyncLocalClient, number: int, due_ns: int) -> None:
        answer = await client.call("need.post", {"spec": echo_need(number)})
        posted.append((due_ns, number % len(cluster.members), answer["need"]))
        if number % 100 == 99:
            progress(number + 1, count)

    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(connect_local(socket_path(member.home)))
            for member in cluster.members
        ]
        begin_ns = time.time_ns()
        async with trio.open_nursery() as nursery:
            for number in range(count):
                due_ns = begin_ns + int(number * 1e9 / rate)
                await trio.sleep(max(0.0, (due_ns - time.time_ns()) / 1e9))
                nursery.start_soon(post, clients[number % len(clients)], number, due_ns)
    await trio.sleep(0.5)


def _read(cluster: Cluster, posted: list[tuple[int, int, str]]) -> list[tuple[int, int, int]]:
    """(due, when it was decided or 0, how many plans were) of each need, from its owner; waits for those that lack one."""
    end_s = time.monotonic() + PATIENCE_S
    found = []
    for due_ns, member, need in posted:
        while True:
            shown = cluster.members[member].call("need.show", need=need)
            if shown["decide_ms"] is not None or time.monotonic() > end_s:
                break
            time.sleep(0.2)
        decided = shown["decide_ms"] is not None
        at_ns = shown["created_ns"] + int(shown["decide_ms"] * 1e6) if decided else 0
        found.append((due_ns, at_ns, shown["plans_decided"]))
    return found
