"""The model beside the real thing: whole meshes of daemons on this machine, and what the model says of each.

The model gets what is particular to the moment: the disk's commit times, from a probe just before each run, and
the share of the machine that others used during it, which makes our CPU times that much longer.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from swarmd.simulations.scale import probes
from swarmd.simulations.scale.bench import BenchModel, daemon_cpu_us
from swarmd.simulations.scale.costs import Costs

WINDOWS = (2, 16)
COMPARED = (
    "tasks_per_s",
    "finalize_p50_ms",
    "finalize_p95_ms",
    "envelopes_per_task",
    "signatures_per_task",
    "cpu_ms_per_task",
)


def tasks_for(nodes: int, window: int) -> int:
    """Enough for a median, few enough for a minute."""
    return max(nodes, 6 * window, 300 // nodes)


def slowed(costs: Costs, speed: float) -> Costs:
    """The costs in elapsed time where only `speed` (1.0: all) of each core is ours."""
    times = {
        name: getattr(costs, name) / speed for name in Costs.__dataclass_fields__ if name.endswith("_us")
    }
    return replace(costs, **times)


def compare(
    nodes: Sequence[int],
    costs: Costs,
    *,
    windows: Sequence[int] = WINDOWS,
    real: Callable[[int, int, int], dict[str, Any]] = probes.bench_mesh,
    probe: Callable[[], dict[str, float]] = probes.journal,
    progress: Callable[[str], None] = lambda _text: None,
) -> list[dict[str, Any]]:
    """One row a mesh and window: `real`, `model` and `ratio` (model / real) of each figure that both have."""
    cores = probes.machine()["cpus"] or 1
    rows = []
    for count in nodes:
        for window in windows:
            progress(f"{count} daemons, {window} needs under way")
            probed = probe()
            now = replace(
                costs,
                commit_p50_ms=max(0.01, probed["p50_ms"]),
                commit_p99_ms=max(0.02, probed["p50_ms"], probed["p99_ms"]),
            )
            tasks = tasks_for(count, window)
            found = real(count, tasks, window)
            share = min(0.9, float(found.get("others_cpu_share", 0.0)))
            said = BenchModel(count, tasks, window, slowed(now, 1 - share), cores=cores).run()
            said["cpu_ms_per_task"] = round(daemon_cpu_us(said["counts"], now) / 1_000, 3)
            rows.append(
                {
                    "nodes": count,
                    "window": window,
                    "tasks": tasks,
                    "lost": found["loss"],
                    "others_cpu_share": share,
                    "commit_p50_ms": round(now.commit_p50_ms, 2),
                    "real": {key: found[key] for key in COMPARED},
                    "model": {key: said[key] for key in COMPARED},
                    "ratio": {key: round(said[key] / found[key], 2) for key in COMPARED if found[key]},
                }
            )
    return rows


def typical_error(rows: Sequence[dict[str, Any]], key: str) -> float:
    """The median of |model / real - 1| over the rows; 0.0 of nothing."""
    errors = [abs(float(row["ratio"][key]) - 1) for row in rows if key in row["ratio"]]
    return round(median(errors or [0.0]), 3)
