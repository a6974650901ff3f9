"""Measurements of the real daemon's parts, each through a command that anybody can run: its text is kept in costs.json.

The room above (`swarmd.node`) is never imported here: these are other processes, as `swarmd bench mesh` is.
"""

import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarmd.protocol.faults import LocalFault

GATE = [
    *("-m", "timeit", "-p", "-s"),
    "from swarmd import policies; from swarmd.node.policy.host import WasmGate; base = policies.load('base'); "
    "gate = WasmGate(base.wasm, base.data); facts = {'gate': 'ingress', 'kind': 'COMMIT', "
    "'sender': 'did:key:z6Mk' + 'x' * 44, 'thread': 'need-' + 'a' * 32, 'payload_size': 700, 'epoch': 0}",
    "gate.evaluate('ingress', facts)",
]
# CPU of a transaction of 1 and of 65 rows, and how long its commit waits for the disk.
JOURNAL = [
    "-c",
    "import json, pathlib, sys, time; from swarmd.node.journal import Journal; "
    "journal = Journal(pathlib.Path(sys.argv[1]) / 'journal.db'); row = bytes(700); cpu = {}; waits = []\n"
    "for rows in (1, 65):\n"
    "  began = time.process_time()\n"
    "  for _ in range(100):\n"
    "    journal.begin()\n"
    "    for _ in range(rows): journal.add_input(row)\n"
    "    wall, busy = time.perf_counter(), time.process_time(); journal.commit()\n"
    "    waits.append((time.perf_counter() - wall - time.process_time() + busy) * 1e3)\n"
    "  cpu[rows] = (time.process_time() - began) / 100 * 1e6\n"
    "waits.sort(); print(json.dumps({'row_us': (cpu[65] - cpu[1]) / 64, 'p50_ms': waits[100], 'p99_ms': waits[197]}))",
]
FRAMES = ["-m", "swarmd.node.transport.p2p.bench"]
MESH = ["-m", "swarmd.cli", "bench", "mesh", "--json"]


def command(arguments: Sequence[str]) -> str:
    """As a stranger would type it."""
    return shlex.join(["python", *arguments])


def run(arguments: Sequence[str], timeout_s: float = 300.0) -> str:
    """What the command prints; LocalFault `probe-failed` with its last words if it fails."""
    try:
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise LocalFault(
            "probe-failed", f"{command(arguments)[:200]}: no end within {timeout_s:g} s"
        ) from None
    # The bench ends with 1 if tasks were lost: its figures say so.
    if done.returncode not in (0, 1) or not done.stdout.strip():
        raise LocalFault("probe-failed", f"{command(arguments)[:200]}: {done.stderr.strip()[-500:]}")
    return done.stdout


def gate_us() -> float:
    """CPU of one evaluation of the base policy."""
    found = re.search(r"best of \d+: ([\d.]+) (nsec|usec|msec) per loop", run(GATE))
    if found is None:
        raise LocalFault("probe-failed", "timeit printed something else than a time")
    return float(found[1]) * {"nsec": 1e-3, "usec": 1.0, "msec": 1e3}[found[2]]


def journal() -> dict[str, float]:
    """`row_us` of CPU, `p50_ms` and `p99_ms` that a commit waits for the disk, of the temporary folder's disk."""
    with tempfile.TemporaryDirectory(prefix="swarmd-probe-") as folder:
        return dict(json.loads(run([*JOURNAL, folder])))


def frame_us(nodes: int, frames_per_s: int, size_bytes: int, seconds: int) -> float:
    """CPU of all processes for one delivered frame."""
    figures = json.loads(run([*FRAMES, str(nodes), str(frames_per_s), str(size_bytes), str(seconds)]))
    return float(figures["cpu_us_per_delivery"])


def bench_mesh(nodes: int, tasks: int, window: int) -> dict[str, Any]:
    """The figures of a real mesh, with the share of the machine's CPU time that others used meanwhile."""
    arguments = [*MESH, "--nodes", str(nodes), "--tasks", str(tasks), "--window", str(window)]
    before, children = _cpu_s(), os.times()
    figures: dict[str, Any] = json.loads(run(arguments, timeout_s=900.0))
    (busy_s, all_s), after = _cpu_s(), os.times()
    if "error" in figures:
        raise LocalFault("probe-failed", f"{command(arguments)}: {figures['error']}")
    ours_s = after.children_user + after.children_system - children.children_user - children.children_system
    others_s = max(0.0, busy_s - before[0] - ours_s)
    figures["others_cpu_share"] = round(others_s / max(0.01, all_s - before[1]), 2)
    return figures


def _cpu_s() -> tuple[float, float]:
    """(busy, all) CPU seconds of the machine since it started (Linux); zeros elsewhere."""
    try:
        fields = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return 0.0, 0.0
    ticks = os.sysconf("SC_CLK_TCK")
    return (sum(fields) - fields[3] - fields[4]) / ticks, sum(fields) / ticks


def wait_for_calm(share: float = 0.3, patience_s: float = 20.0) -> float:
    """Until others use less than `share` of the machine, or the patience is at its end; the share at last."""
    end = time.monotonic() + patience_s
    while True:
        before = _cpu_s()
        time.sleep(1.0)
        after = _cpu_s()
        used = (after[0] - before[0]) / max(0.01, after[1] - before[1])
        if used < share or time.monotonic() > end:
            return round(used, 2)


def machine() -> dict[str, Any]:
    """What it was measured on."""
    return {
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
    }
