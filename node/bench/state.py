"""`swarmd bench state`: what it costs a node to take in, keep, repair and show what the mesh says.

Histories are real ones (history.py): signed, with everything that a need goes through. Each part runs in processes of
its own; PARTS is where another one is added.
"""

import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
from swarmd.node.bench import history, state_telemetry
from swarmd.node.bench.processes import Measured, crew
from swarmd.protocol.faults import LocalFault

_RECEIVE = "swarmd.node.bench.state_receive"
_NODE = "swarmd.node.bench.state_node"
_FAST = "swarmd.node.bench.state_fast"
_TIMEOUT_S = 1_800.0
# What comes after the cut.
_TAIL_TASKS = 500
# A round of sync brings whole flushes: at least 100 envelopes, and less than this.
_MOST_OPS_A_ROUND = 164


@dataclass(frozen=True, slots=True)
class Sizes:
    """`tasks` are loaded before sync, appends and views are measured; `received` are those of the receive path."""

    tasks: int = 100_000
    received: int = 20_000
    rounds: int = 100
    appends: int = 1_000
    queries: int = 2_000
    synced: int = 1_000_000  # envelopes before the checkpoint that a newcomer begins at


async def receive(sizes: Sizes) -> dict[str, Any]:
    """Tasks of 6 envelopes a second of one core, in flushes of up to 64: with the replica, and with a policy."""
    frames = str(await _kept(sizes.received))
    plain, others = await _received(frames, sizes.received, gated=False, replica=True)
    gated, _ = await _received(frames, sizes.received, gated=True, replica=False)
    each_us = 1e6 / plain["ops"]
    return {
        "receive_tasks": sizes.received,
        "receive_tasks_per_s": round(sizes.received / (plain["receive_cpu_s"] + plain["replica_cpu_s"])),
        "receive_without_replica_tasks_per_s": round(sizes.received / plain["receive_cpu_s"]),
        "receive_with_policy_tasks_per_s": round(sizes.received / gated["receive_cpu_s"]),
        "receive_wall_tasks_per_s": round(sizes.received / plain["wall_s"]),
        "receive_check_us_per_op": round(plain["check_cpu_s"] * each_us, 1),
        "receive_turn_us_per_op": round((plain["receive_cpu_s"] - plain["check_cpu_s"]) * each_us, 1),
        "receive_replica_us_per_op": round(plain["replica_cpu_s"] * each_us, 1),
        **_prefixed("receive_turn", plain["turn"]),
        "receive_rss_mb": plain["rss_mb"],
        "receive_others_cpu_percent": others,
    }


async def telemetry(sizes: Sizes) -> dict[str, Any]:
    """The receive path with the base policy: telemetry off, on and sampling nothing, on and sampling everything."""
    frames = str(await _kept(sizes.received))
    reports: dict[str, list[dict[str, Any]]] = {mode: [] for mode in state_telemetry.MODES}
    with state_telemetry.sink() as url:
        for _ in range(state_telemetry.ROUNDS):
            for mode, most in state_telemetry.MODES.items():
                given = None if most is None else {"url": url, "max_foreign_per_s": most}
                report, others = await _received(
                    frames, sizes.received, gated=True, replica=False, telemetry=given
                )
                reports[mode].append(report)
    return {**state_telemetry.compared(reports), "telemetry_others_cpu_percent": others}


async def _received(
    frames: str, tasks: int, *, gated: bool, replica: bool, telemetry: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], float | None]:
    with tempfile.TemporaryDirectory(prefix="swarmd-bench-") as folder:
        settings = {
            "frames": frames,
            "folder": folder,
            "gated": gated,
            "replica": replica,
            "telemetry": telemetry,
        }
        async with crew() as processes:
            await processes.add(_RECEIVE, settings)
            measured: Measured = await processes.measure(timeout_s=_TIMEOUT_S)
    report = measured.reports[0]
    if report["finalized"] != tasks:
        raise LocalFault("bench", f"{report['finalized']} of {tasks} tasks are finalized")
    return report, measured.others_cpu_percent


async def node(sizes: Sizes) -> dict[str, Any]:
    """Incremental sync into a node that has `tasks` tasks, its appends, its views."""
    more = -(-(sizes.rounds + 10) * _MOST_OPS_A_ROUND // history.OPS_PER_TASK) // 2 * 2
    settings: dict[str, Any] = {
        "frames": str(await _kept(sizes.tasks + more)),
        "ops": sizes.tasks * history.OPS_PER_TASK,
        "rounds": sizes.rounds,
        "appends": sizes.appends,
        "queries": sizes.queries,
    }
    with tempfile.TemporaryDirectory(prefix="swarmd-bench-") as folder:
        async with crew() as processes:
            peers: list[str] = []
            for number in (history.MEMBERS + 1, history.MEMBERS):
                own = Path(folder) / str(number)
                own.mkdir()
                peers = [
                    await processes.add(
                        _NODE, {**settings, "folder": str(own), "number": number, "peers": peers}
                    )
                ]
            measured = await processes.measure(timeout_s=_TIMEOUT_S)
    report = measured.reports[1]
    if not report["agree"]:
        raise LocalFault("bench", "after the last round of sync the two nodes differ")
    views = report["views"]
    return {
        "loaded_tasks": sizes.tasks,
        "loaded_ops": report["ops"],
        "loaded_rss_mb": report["rss_mb"],
        "incremental_sync_ms": report["sync"]["p50_ms"],
        **_prefixed("incremental_sync", report["sync"]),
        "incremental_sync_ops": report["sync_ops"],
        **_prefixed("append", report["append"]),
        # Of the slowest question.
        "view_query_ms": max(found["p99_ms"] for found in views.values()),
        "view_query_cpu_ms": max(found["cpu_p99_ms"] for found in views.values()),
        "view_queries": views,
        "loaded_others_cpu_percent": measured.others_cpu_percent,
    }


def _prefixed(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}_{share}": found[share] for share in ("p50_ms", "p95_ms", "p99_ms")}


async def _kept(tasks: int) -> Path:
    return await trio.to_thread.run_sync(history.kept_frames, tasks)


async def fast_sync(sizes: Sizes) -> dict[str, Any]:
    """A newcomer takes a mesh's history from one peer: the last checkpoint, then what came after it."""
    tasks = -(-sizes.synced // history.OPS_PER_TASK) // 2 * 2
    settings: dict[str, Any] = {
        "frames": str(await _kept(tasks + _TAIL_TASKS)),
        "ops": tasks * history.OPS_PER_TASK,
    }
    with tempfile.TemporaryDirectory(prefix="swarmd-bench-") as folder:
        async with crew(start_timeout_s=_TIMEOUT_S) as processes:
            peers: list[str] = []
            for number in (history.MEMBERS + 1, history.MEMBERS):
                own = Path(folder) / str(number)
                own.mkdir()
                peers = [
                    await processes.add(
                        _FAST, {**settings, "folder": str(own), "number": number, "peers": peers}
                    )
                ]
            measured = await processes.measure(timeout_s=_TIMEOUT_S)
    made, joined = measured.reports
    if not joined["agree"] or made["digest"] != joined["digest"]:
        raise LocalFault("bench", "after fast sync the two nodes differ")
    return {
        "fast_sync_ops": made["ops"],
        "fast_sync_1m_s" if made["ops"] >= 1_000_000 else "fast_sync_s": joined["took_s"],
        "fast_sync_rss_mb": joined["rss_mb"],
        "fast_sync_adopted_s": joined["adopted_s"],
        "fast_sync_after_ops": joined["after_ops"],
        "snapshot_closed": made["closed"],
        "snapshot_mb": round(made["bytes"] / 1e6, 1),
        "snapshot_made_s": made["made_s"],
        "snapshot_rss_mb": made["rss_mb"],
        "fast_sync_others_cpu_percent": measured.others_cpu_percent,
    }


PARTS: Mapping[str, Callable[[Sizes], Awaitable[dict[str, Any]]]] = {
    "receive": receive,
    "node": node,
    "fast": fast_sync,
    "telemetry": telemetry,
}
# Of the node as it is by default: telemetry is off.
DEFAULT_PARTS = tuple(part for part in PARTS if part != "telemetry")
