"""What questions to the views of a loaded node cost, each as its caller gets it."""

import resource
import sys
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

from swarmd.node.views import graph, need_detail, task_page
from swarmd.protocol.state import State

_PAGE = 50
_SAMPLE = 997


def query_views(state: State, queries: int) -> dict[str, dict[str, float]]:
    """p50_ms, p95_ms, p99_ms and cpu_p99_ms of each kind of question; pages are of 50 tasks."""
    # Needs of the history, which have two tasks.
    known = [name for name, need in state.needs.items() if len(need.runs) > 1]
    ids = cycle(known[:: max(1, len(known) // _SAMPLE)])

    def of_need() -> Any:
        return task_page(state, next(ids), None, False, _PAGE)

    asked: dict[str, Callable[[], Any]] = {
        "tasks_by_state": lambda: task_page(state, None, "FINALIZED", False, _PAGE),
        "tasks_ready": lambda: task_page(state, None, None, True, _PAGE),
        "tasks_by_thread": of_need,
        "need_graph": lambda: graph(state.needs[next(ids)], None),
        "need_relatives": lambda: graph(state.needs[next(ids)], "t2"),
        "need_detail": lambda: need_detail(state, state.needs[next(ids)]),
    }
    return {name: _measure(ask, queries) for name, ask in asked.items()}


def _measure(ask: Callable[[], Any], times: int) -> dict[str, float]:
    took, cpu = [], []
    for _ in range(times):
        began_ns, cpu_began_ns = time.perf_counter_ns(), time.thread_time_ns()
        ask()
        cpu.append(time.thread_time_ns() - cpu_began_ns)
        took.append(time.perf_counter_ns() - began_ns)
    took.sort()
    cpu.sort()
    found = {f"p{share}_ms": took[len(took) * share // 100] for share in (50, 95, 99)}
    # Where others are busy, the clock's 99th percentile is their time slice.
    found["cpu_p99_ms"] = cpu[len(cpu) * 99 // 100]
    return {name: round(ns / 1e6, 4) for name, ns in found.items()}


def rss_mb() -> float:
    """The most that this process has had in memory."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(most / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)
