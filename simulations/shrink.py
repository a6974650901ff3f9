"""Shrinking: from a failing run to a small one that fails in the same property.

Faults and needs are left out, halves first (Zeller's ddmin), and the run repeated, until nothing more can go or
the number of runs is used up. Each fault has dice of its own, so the others stay as they were.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from swarmd.simulations.run import Config, Report, Simulation

MAX_RUNS = 60
Fails = Callable[[tuple[int, ...]], bool]


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The smallest failing run found, and in how many runs."""

    config: Config
    report: Report
    runs: int


class _Spent(Exception):
    """No more runs."""


def shrink(report: Report, max_runs: int = MAX_RUNS) -> Shrunk:
    """Shrink the run of a report with violations."""
    target = report.violations[0]["property"]
    best = replace(
        report.config,
        keep_faults=tuple(fault.number for fault in report.schedule),
        keep_needs=report.config.keep_needs or tuple(range(len(report.plans))),
    )
    found = report
    runs = 0

    def fails(config: Config) -> bool:
        nonlocal runs, best, found
        if runs >= max_runs:
            raise _Spent
        runs += 1
        tried = Simulation(config).run()
        if all(violation["property"] != target for violation in tried.violations):
            return False
        best, found = config, tried
        return True

    try:
        _ddmin(best.keep_needs or (), lambda kept: fails(replace(best, keep_needs=kept)))
        _ddmin(best.keep_faults or (), lambda kept: fails(replace(best, keep_faults=kept)))
        _ddmin(best.keep_needs or (), lambda kept: fails(replace(best, keep_needs=kept)))
    except _Spent:
        pass
    return Shrunk(best, found, runs)


def _ddmin(items: Sequence[int], fails: Fails) -> None:
    """Leave out as much of `items` as can go while it `fails`; the caller keeps what failed last."""
    kept = tuple(items)
    parts = 2
    while kept:
        size = max(1, len(kept) // parts)
        for first in range(0, len(kept), size):
            rest = kept[:first] + kept[first + size :]
            if fails(rest):
                kept = rest
                parts = max(2, parts - 1)
                break
        else:
            if size == 1:
                return
            parts = min(len(kept), parts * 2)
