"""The rounds of `swarmd bench peers`: each contender in turn, fresh each time; medians, and ratios within each round.

A ratio is of two contenders of one round, minutes apart: what the machine did to both is mostly the same then.
"""

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmd.node.bench.machine import machine
from swarmd.node.bench.peers import contenders as table
from swarmd.node.bench.peers.contenders import Contender, Load, Running
from swarmd.node.bench.peers.driver import RUN, STORED
from swarmd.node.bench.peers.tree import cpu_s, memory_mb, tree
from swarmd.node.bench.peers.work import payload, work
from swarmd.node.bench.percentiles import percentiles
from swarmd.node.bench.processes import MachineLoad
from swarmd.protocol.faults import LocalFault

_TIMEOUT_S = 120.0
_TASK_TIMEOUT_S = 1.0
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """One contender in one round. `parts`: CPU ms a task of what it consists of; `unrecorded` None: it keeps no record."""

    tasks_per_s: float
    latencies: Mapping[str, float | None]
    parts: Mapping[str, float]
    memory_mb: float
    wrong: int
    unrecorded: int | None
    others_cpu_percent: float | None

    @property
    def cpu_ms_per_task(self) -> float:
        return sum(self.parts.values())


def measure(contender: Contender, load: Load, folder: Path) -> Measured:
    """Start it, warm it up, take the needs through it, compare each result and each record. LocalFault if it fails."""
    with contender.running(load, folder) as running:
        driver, warm_up = running.driver, min(2 * load.window, load.tasks)
        timeout_s = _TIMEOUT_S + _TASK_TIMEOUT_S * load.tasks
        driver.ask({"op": RUN, "first": 0, "count": warm_up}, timeout_s)
        others, cpu_before = MachineLoad(), _cpu_s(running)
        needs = {"first": warm_up, "count": load.tasks}
        answer = driver.ask({"op": RUN, **needs}, timeout_s)
        cpu = {part: used - cpu_before[part] for part, used in _cpu_s(running).items()}
        others_percent = others.others_percent(sum(cpu.values()))
        memory = sum(memory_mb(tree(roots)) for roots in running.parts.values())
        stored = driver.ask({"op": STORED, **needs}, timeout_s)["stored"]
    wanted = {str(n): work(payload(n, load.payload_bytes)) for n in range(warm_up, warm_up + load.tasks)}
    return Measured(
        load.tasks / answer["wall_s"],
        percentiles(answer["latencies_ms"]),
        {part: 1000 * used / load.tasks for part, used in cpu.items()},
        memory,
        _differ(wanted, answer["results"]),
        None if stored is None else _differ(wanted, stored),
        others_percent,
    )


def _cpu_s(running: Running) -> dict[str, float]:
    return {part: cpu_s(tree(roots)) for part, roots in running.parts.items()}


def _differ(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> int:
    return sum(found.get(number) != result for number, result in wanted.items())


def run(chosen: Sequence[Contender], load: Load, rounds: int, progress: Progress) -> dict[str, Any]:
    """The document of `swarmd bench peers --json`. Who cannot run here is in `absent`, who failed in `failed`."""
    absent: dict[str, tuple[str, str]] = {}
    for name in dict.fromkeys(each.system for each in chosen):
        progress(f"looking for what {name} needs")
        if (found := table.why_absent(table.SYSTEMS[name])) is not None:
            absent[name] = found
    measured: dict[str, list[Measured]] = {each.name: [] for each in chosen if each.system not in absent}
    failed: dict[str, str] = {}
    for number in range(rounds):
        for each in chosen:
            if each.name not in measured or each.name in failed:
                continue
            progress(f"round {number + 1} of {rounds}: {each.name}")
            with tempfile.TemporaryDirectory(prefix="swarmd-bench-", ignore_cleanup_errors=True) as folder:
                try:
                    measured[each.name].append(measure(each, load, Path(folder)))
                except LocalFault as fault:  # the others' figures are none the worse
                    failed[each.name] = fault.message
    # Half of the rounds of one who failed says nothing.
    good = {name: found for name, found in measured.items() if name not in failed}
    ran = [each for each in chosen if each.name in good]
    return {
        "tasks": load.tasks,
        "window": load.window,
        "workers": load.workers,
        "payload_bytes": load.payload_bytes,
        "rounds": rounds,
        "contenders": [described(each, good[each.name]) for each in ran],
        "ratios": ratios(ran, good),
        "absent": [{"system": name, "why": why, "fix": fix} for name, (why, fix) in absent.items()],
        "failed": [{"contender": name, "why": why} for name, why in failed.items()],
        "versions": table.versions([table.SYSTEMS[name] for name in dict.fromkeys(e.system for e in ran)]),
        **machine(),
    }


def described(contender: Contender, found: Sequence[Measured]) -> dict[str, Any]:
    """Medians of the rounds; of what must not be, the sum."""
    unrecorded = [each.unrecorded for each in found if each.unrecorded is not None]
    return {
        "name": contender.name,
        "system": contender.system,
        "summary": contender.summary,
        "verified": contender.verified,
        "lacks": [*contender.lacks, *table.SYSTEMS[contender.system].lacks],
        "tasks_per_s": _median([each.tasks_per_s for each in found], 1),
        "runs_tasks_per_s": [round(each.tasks_per_s, 1) for each in found],
        **{name: _median([each.latencies[name] for each in found], 1) for name in found[0].latencies},
        "cpu_ms_per_task": _median([each.cpu_ms_per_task for each in found], 3),
        "cpu_ms_per_task_by_part": {
            part: _median([each.parts[part] for each in found], 3) for part in found[0].parts
        },
        "memory_mb": _median([each.memory_mb for each in found], 0),
        "wrong": sum(each.wrong for each in found),
        "unrecorded": sum(unrecorded) if unrecorded else None,
        "others_cpu_percent": _median([each.others_cpu_percent for each in found], 1),
    }


def _median(values: Sequence[float | None], digits: int) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), digits) if known else None


def ratios(ran: Sequence[Contender], found: Mapping[str, Sequence[Measured]]) -> dict[str, Any]:
    """other -> figure -> swarmd's contender -> swarmd's over the other's, the median of the rounds' ratios."""
    figures: Mapping[str, Callable[[Measured], float]] = {
        "tasks_per_s": lambda each: each.tasks_per_s,
        "cpu_ms_per_task": lambda each: each.cpu_ms_per_task,
    }
    ours = [each.name for each in ran if each.system == "swarmd"]
    return {
        other.name: {
            figure: {
                name: round(statistics.median(map(_over(of), found[name], found[other.name])), 3)
                for name in ours
            }
            for figure, of in figures.items()
        }
        for other in ran
        if other.system != "swarmd"
    }


def _over(of: Callable[[Measured], float]) -> Callable[[Measured, Measured], float]:
    # Ticks of CPU time are 10 ms: a handful of tasks may cost none that counts.
    return lambda one, other: of(one) / max(of(other), 1e-9)
