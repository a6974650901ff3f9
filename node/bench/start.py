"""The command `swarmd bench start`: how long a person waits for a command, and a newcomer for a finished need.

Each command is a process of its own, as from a shell. `cpu_ms` is what it computes itself, user and system: on a busy
machine the wall clock says more about the others.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarmd.node.console.outcome import FAILED, OK
from swarmd.node.console.output import Output, facts
from swarmd.protocol.faults import LocalFault

TIMEOUT_S = 120.0
GOALS_MS = {"version": 150.0, "status": 400.0}
# An agent of the newcomer's own: any program that reads JSON and writes JSON.
AGENT = "import json, sys; print(json.dumps(json.load(sys.stdin)['input']['text'].upper()))"
# The README's way, after `make setup` and the activation.
PATH: Sequence[tuple[str, tuple[str, ...]]] = (
    ("up", ("up", "--init", "--detach")),
    ("agent", ("agent", "add", "shout", "--capability", "text.shout", "--price", "0.01", "--", sys.executable, "-c", AGENT)),
    ("need", ("need", "post", "text.shout", "--text", "text=hello", "--budget", "1.00", "--wait", "-q")),
)  # fmt: skip


class Shell:
    """Runs swarmd in a home of its own."""

    def __init__(self, home: Path) -> None:
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SWARMD_")},
            "SWARMD_HOME": str(home),
            "SWARMD_LISTEN": "/ip4/127.0.0.1/tcp/0",
            "SWARMD_MDNS": "false",
        }

    def run(self, words: Sequence[str]) -> tuple[str, float, float]:
        """(stdout, wall ms, CPU ms of it and its finished children). LocalFault `failed` if it ends with another code than 0."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "swarmd.cli", *words],
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        wall_ms = (time.perf_counter() - began) * 1e3
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != 0:
            raise LocalFault("failed", f"swarmd {' '.join(words)}: {done.stderr or done.stdout}")
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return done.stdout, wall_ms, cpu_s * 1e3


def main(runs: int, out: Output) -> int:
    figures = measure(runs, out)
    if out.as_json:
        out.document(figures)
    else:
        rows = [
            (name, f"{each['p50_ms']} ms, p95 {each['p95_ms']} ms, CPU {each['cpu_ms']} ms")
            for name, each in figures["commands"].items()
        ]
        path = ", ".join(f"{name} {seconds} s" for name, seconds in figures["path_s"].items())
        out.print(
            facts(
                [*rows, ("newcomer", f"{path}: {figures['path_total_s']} s"), ("result", figures["result"])]
            )
        )
    return OK if figures["result"] == "HELLO" else FAILED


def measure(runs: int, out: Output) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="swarmd-start-") as folder:
        shell = Shell(Path(folder) / "home")
        path_s, said = {}, ""
        try:
            for name, words in PATH:
                said, wall_ms, _ = shell.run(words)
                path_s[name] = round(wall_ms / 1e3, 2)
                out.progress(f"{name}: {wall_ms / 1e3:.2f} s")
            commands = {
                name: _figures([shell.run(words) for _ in range(runs)], GOALS_MS[name])
                for name, words in (("version", ("--version",)), ("status", ("status",)))
            }
        finally:
            shell.run(("down",))
    return {
        "runs": runs,
        "load_average": round(os.getloadavg()[0], 2),
        "commands": commands,
        "path_s": path_s,
        "path_total_s": round(sum(path_s.values()), 2),
        "result": json.loads(said),
    }


def _figures(measured: Sequence[tuple[str, float, float]], goal_ms: float) -> dict[str, float]:
    walls = sorted(wall for _, wall, _ in measured)
    return {
        "p50_ms": round(statistics.median(walls), 1),
        "p95_ms": round(walls[min(len(walls) - 1, int(0.95 * len(walls)))], 1),
        "cpu_ms": round(statistics.median(cpu for _, _, cpu in measured), 1),
        "goal_ms": goal_ms,
    }
