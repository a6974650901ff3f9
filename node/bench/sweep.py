"""The open-loop sweep of `swarmd bench mesh --rates`: the load at which each latency goal still holds.

Needs come when they are due, whether or not earlier ones are done, and every latency is from then: a mesh that cannot
keep up shows it in its latencies, where a closed loop would only send less. Rates rise, and the first one that leaves
needs unfinished is the last.
"""

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import trio
from swarmd.node.bench.mesh import Bench, bus_between, by_room, echo_need, spread
from swarmd.node.bench.processes import MachineLoad
from swarmd.node.home import socket_path
from swarmd.node.transport.local_async import AsyncLocalClient, connect_local

# Those of the whole life of a need at 500 tasks a second.
GOALS_MS = {"decide_p95_ms": 300.0, "finalize_p95_ms": 800.0, "bus_p99_ms": 25.0}
PATIENCE_S = 60.0


@dataclass(slots=True)
class _Posted:
    """A need of the load. `decide_ms` and `finalize_ms` are from when it was due; None if that has not come."""

    due_ns: int
    name: str
    decide_ms: float | None = None
    finalize_ms: float | None = None


def sweep(bench: Bench, rates: Sequence[float], seconds: float) -> dict[str, Any]:
    """`sweep`: the figures at each of the `rates` (tasks a second, rising); `holds_up_to`: the highest for each goal."""
    rows: list[dict[str, Any]] = []
    for rate in rates:
        rows.append(at_rate(bench, rate, seconds))
        if rows[-1]["unfinished"]:
            break
    return {"sweep": rows, "holds_up_to": holds_up_to(rows)}


def holds_up_to(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """For each goal the highest rate up to which it was met at every rate, with nothing unfinished; 0 if at none."""
    found = dict.fromkeys(GOALS_MS, 0.0)
    for name, goal_ms in GOALS_MS.items():
        for row in rows:
            if row["unfinished"] or row[name] >= goal_ms:
                break
            found[name] = row["rate"]
    return found


def at_rate(bench: Bench, rate: float, seconds: float) -> dict[str, Any]:
    """The figures of `rate` tasks a second for so long, spread over the members."""
    members = bench.cluster.members
    machine = MachineLoad()
    before = [member.call("status") for member in members]
    cpu_s = sum(member.cpu_s() for member in members)
    posted: list[_Posted] = []
    trio.run(_drive, bench, rate, max(1, round(rate * seconds)), posted)
    cpu_s = sum(member.cpu_s() for member in members) - cpu_s
    after = [member.call("status") for member in members]
    done = [(each.decide_ms, each.finalize_ms) for each in posted if each.finalize_ms is not None]
    finished = max(1, len(done))
    ends_ns = [each.due_ns + int(each.finalize_ms * 1e6) for each in posted if each.finalize_ms is not None]
    span_s = (max(ends_ns) - posted[0].due_ns) / 1e9 if ends_ns else seconds

    def grown(key: str) -> int:
        return sum(b["counters"][key] - a["counters"][key] for a, b in zip(before, after, strict=True))

    bus = bus_between(before, after)
    return {
        "rate": rate,
        "tasks": len(posted),
        "unfinished": len(posted) - len(done),
        "tasks_per_s": round(len(done) / span_s, 1),
        **spread([decide_ms for decide_ms, _ in done if decide_ms is not None], "decide"),
        **spread([finalize_ms for _, finalize_ms in done if finalize_ms is not None], "finalize"),
        **{f"bus_p{p}_ms": round(bus.percentile(p / 100), 2) for p in (50, 95, 99)},
        "cpu_ms_per_task": round(1000 * cpu_s / finished, 3),
        "cpu_ms_per_task_by_room": by_room(grown, 1000 * cpu_s, finished),
        "others_cpu_percent": machine.others_percent(cpu_s),
    }


async def _drive(bench: Bench, rate: float, count: int, posted: list[_Posted]) -> None:
    """Post `count` needs when they are due and wait for their ends; `posted` gets one of each, in the order of due."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(connect_local(socket_path(member.home)))
            for member in bench.cluster.members
        ]
        begin_ns = time.time_ns()
        async with trio.open_nursery() as nursery:
            for number in range(count):
                due_ns = begin_ns + int(number * 1e9 / rate)
                await trio.sleep(max(0.0, (due_ns - time.time_ns()) / 1e9))
                posted.append(_Posted(due_ns, ""))
                nursery.start_soon(_post, clients[number % len(clients)], number, posted[number])
        with trio.move_on_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                for index, client in enumerate(clients):
                    nursery.start_soon(_wait, client, posted[index :: len(clients)])
    bench.progress(sum(each.finalize_ms is not None for each in posted), count)


async def _post(client: AsyncLocalClient, number: int, need: _Posted) -> None:
    need.name = (await client.call("need.post", {"spec": echo_need(number)}))["need"]


async def _wait(client: AsyncLocalClient, needs: Sequence[_Posted]) -> None:
    for need in needs:
        end = await client.call("need.wait", {"need": need.name})
        late_ms = (end["created_ns"] - need.due_ns) / 1e6
        if end["finalize_ms"] is not None:
            need.decide_ms = late_ms + end["decide_ms"]
            need.finalize_ms = late_ms + end["finalize_ms"]
