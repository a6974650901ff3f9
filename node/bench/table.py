"""`swarmd bench all`: every benchmark, each in a process of its own, and one table of goals and what was measured.

`bench.json` is for programs and `bench.md` for people; both name machine, date and commit, and what others used of the
machine meanwhile where a benchmark tells. A benchmark that fails stands in both with its error.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmd.node.bench.machine import machine
from swarmd.node.version import version

AT_LEAST, AT_MOST = ">=", "<="
TIMEOUT_S = 3_600.0
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Figure:
    """`key` is its place in the benchmark's JSON, with dots for what is inside; `goal` None where there is none."""

    name: str
    key: str
    unit: str
    better: str = AT_MOST
    goal: float | None = None


@dataclass(frozen=True, slots=True)
class Suite:
    """One command, the words after `swarmd bench`, and what of its JSON goes into the table."""

    name: str
    words: tuple[str, ...]
    figures: tuple[Figure, ...]

    @property
    def command(self) -> str:
        return " ".join(("swarmd bench", *self.words))


SUITES: tuple[Suite, ...] = (
    Suite(
        "mesh",
        ("mesh", "--nodes", "4", "--tasks", "1500", "--window", "256", "--runs", "3"),
        (
            Figure("whole tasks through four daemons", "tasks_per_s", "1/s", AT_LEAST, 1_000),
            Figure("CPU a task, all four daemons", "cpu_ms_per_task", "ms", AT_MOST, 2),
            Figure("... of it parsing and verifying frames", "cpu_ms_per_task_by_room.frames", "ms"),
            Figure("... of it turns: gates, core", "cpu_ms_per_task_by_room.turns", "ms"),
            Figure("... of it commits", "cpu_ms_per_task_by_room.commits", "ms"),
            Figure("... of it the rest: network, local clients, jobs", "cpu_ms_per_task_by_room.rest", "ms"),
            Figure("tasks lost", "loss", "", AT_MOST, 0),
            Figure("memory of a daemon", "rss_mb", "MB"),
        ),
    ),
    Suite(
        "sweep",
        ("mesh", "--nodes", "4", "--rates", "25,50,100,150,200,300,500", "--seconds", "10"),
        (
            Figure("load at which DECIDE p95 < 300 ms", "holds_up_to.decide_p95_ms", "1/s", AT_LEAST, 500),
            Figure(
                "load at which FINALIZE p95 < 800 ms", "holds_up_to.finalize_p95_ms", "1/s", AT_LEAST, 500
            ),
            Figure("load at which bus p99 < 25 ms", "holds_up_to.bus_p99_ms", "1/s", AT_LEAST, 500),
        ),
    ),
    Suite(
        "decide",
        ("decide", "--rate", "200", "--seconds", "15"),
        (
            Figure("DECIDE p95, five daemons, 200 needs/s", "decide_p95_ms", "ms", AT_MOST, 150),
            Figure("DECIDE p99", "decide_p99_ms", "ms", AT_MOST, 300),
            Figure("CPU a need, all five daemons", "cpu_ms_per_need", "ms"),
            Figure("DECIDE p95 with etcd", "etcd_decide_p95_ms", "ms"),
        ),
    ),
    Suite(
        "gossip",
        ("gossip", "--nodes", "5", "--rate", "4000"),
        (
            Figure("gossip p99, five nodes, 4,000 envelopes/s", "p99_ms", "ms", AT_MOST, 25),
            Figure("CPU a delivery", "cpu_us_per_delivery", "us"),
            Figure("local socket p99", "local_socket.p99_ms", "ms", AT_MOST, 10),
            Figure("one stream", "stream.mb_per_s", "MB/s", AT_LEAST, 80),
            Figure("CPU of an idle daemon", "idle.cpu_percent", "%", AT_MOST, 1),
        ),
    ),
    Suite(
        "policy",
        ("policy",),
        (
            Figure("an evaluation p50", "p50_us", "us", AT_MOST, 30),
            Figure("an evaluation p99", "p99_us", "us", AT_MOST, 100),
            Figure("evaluations of one core", "evals_per_s", "1/s", AT_LEAST, 25_000),
        ),
    ),
    Suite(
        "state",
        ("state", "--synced", "300000"),
        (
            Figure("tasks received by one core", "receive_tasks_per_s", "1/s", AT_LEAST, 5_000),
            Figure(
                "... without the replica, which is off by default",
                "receive_without_replica_tasks_per_s",
                "1/s",
            ),
            Figure("a need on disk p99, 100,000 tasks on record", "append_p99_ms", "ms", AT_MOST, 5),
            Figure("a round of sync into 600,000 envelopes p50", "incremental_sync_ms", "ms", AT_MOST, 50),
            Figure("the slowest view p99", "view_query_ms", "ms", AT_MOST, 1),
            Figure("fast sync of 300,000 envelopes", "fast_sync_s", "s"),
            Figure("memory of fast sync", "fast_sync_rss_mb", "MB", AT_MOST, 1_024),
        ),
    ),
    Suite(
        "content",
        ("content",),
        (
            Figure("SHA-256 alone", "sha256_mb_s", "MB/s"),
            Figure("the disk alone: one file written and synced", "disk_write_mb_s", "MB/s"),
            Figure("import", "import_mb_s", "MB/s", AT_LEAST, 300),
            Figure("export", "export_mb_s", "MB/s", AT_LEAST, 400),
            Figure("fetch from another daemon", "fetch_mb_s", "MB/s", AT_LEAST, 50),
            Figure("300-byte blocks put", "small_puts_per_s", "1/s", AT_LEAST, 100_000),
            Figure("memory of import and export", "rss_mb", "MB", AT_MOST, 150),
            Figure("import, of kubo's", "kubo_add_ratio", "x"),
        ),
    ),
    Suite(
        "money",
        ("money",),
        (
            Figure("vouchers checked", "vouchers_per_s", "1/s", AT_LEAST, 2_000),
            Figure("gas that netting saves", "gas_saved_ratio", "", AT_LEAST, 0.99),
        ),
    ),
    Suite(
        "heal",
        ("heal",),
        (
            Figure("five daemons parted 2 and 3: until all are connected", "reconnected_s", "s"),
            Figure("... until they have one digest", "one_digest_s", "s", AT_MOST, 5),
        ),
    ),
    Suite(
        "growth",
        ("growth", "--seconds", "240"),
        (
            Figure("memory, at the end of continuous load", "last_rss_mb", "MB"),
            Figure("... more after each 1,000 tasks", "rss_mb_per_1000_tasks", "MB"),
            Figure("disk, at the end", "last_home_mb", "MB"),
            Figure("... more after each 1,000 tasks", "home_mb_per_1000_tasks", "MB"),
        ),
    ),
    Suite(
        "start",
        ("start",),
        (
            Figure("swarmd --version p50", "commands.version.p50_ms", "ms", AT_MOST, 150),
            Figure("swarmd status p50, cold", "commands.status.p50_ms", "ms", AT_MOST, 400),
            Figure("from `up` to a finished need", "path_total_s", "s"),
        ),
    ),
    Suite(
        "idle",
        ("idle",),
        (
            Figure("CPU of a joined daemon with 10 agents, idle", "cpu_percent", "%", AT_MOST, 1),
            Figure("... its memory", "rss_mb", "MB", AT_MOST, 150),
            Figure("... start to ready, 1,000 needs of history", "start_s", "s", AT_MOST, 2),
            Figure("... after kill -9", "killed_start_s", "s", AT_MOST, 2),
        ),
    ),
    Suite(
        "peers",
        ("peers", "--only", "nats,swarmd"),
        (
            Figure(
                "tasks/s with verification off, of NATS with etcd",
                "ratios.nats.tasks_per_s.swarmd-lean",
                "x",
                AT_LEAST,
                1,
            ),
            Figure("... one daemon that verifies", "ratios.nats-verified.tasks_per_s.swarmd-one", "x"),
            Figure("... four daemons of four owners", "ratios.nats-verified.tasks_per_s.swarmd", "x"),
            Figure(
                "CPU a task with verification off, of NATS with etcd",
                "ratios.nats.cpu_ms_per_task.swarmd-lean",
                "x",
            ),
        ),
    ),
    Suite(
        "curves",
        ("curves", "--curves", "needs"),
        tuple(
            Figure(f"{what}, more by 1,000 needs stored", f"curves.needs.slopes.{key}_per_1000", unit)
            for what, key, unit in (
                ("CPU a task", "cpu_ms_per_task", "ms"),
                ("CPU of a start", "start_cpu_s", "s"),
                ("memory of a daemon", "rss_mb", "MB"),
            )
        ),
    ),
    Suite(
        "api",
        ("api", "--rate", "200", "--seconds", "20"),
        (
            Figure("API reads p95, 200 requests/s while the mesh works", "read_p95_ms", "ms", AT_MOST, 20),
            Figure("API writes p95", "write_p95_ms", "ms", AT_MOST, 50),
        ),
    ),
    Suite(
        "dashboard",
        ("dashboard",),
        (Figure("first view of a node with 10,000 needs p50", "first_view.p50_ms", "ms", AT_MOST, 300),),
    ),
)


def look_up(document: Any, key: str) -> Any:
    """The value at a dotted key; None if it is not there."""
    for part in key.split("."):
        document = document.get(part) if isinstance(document, dict) else None
    return document


def met(figure: Figure, measured: Any) -> bool | None:
    """Is the goal reached? None where there is no goal, or nothing was measured."""
    if figure.goal is None or not isinstance(measured, int | float):
        return None
    return measured >= figure.goal if figure.better == AT_LEAST else measured <= figure.goal


def run_json(command: Sequence[str], env: Mapping[str, str] | None = None) -> tuple[Any, str]:
    """(the JSON that a command of swarmd printed, what went wrong): one of both, or both if it says that its figures are
    bad by its exit code."""
    try:
        done = subprocess.run(
            [*command], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S
        )
        document = json.loads(done.stdout)
    except ValueError:
        return None, (done.stderr.strip() or f"exit code {done.returncode}, no output").splitlines()[-1][:300]
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)[:300]
    if "error" in document:
        return None, str(document["error"]["message"])[:300]
    return document, f"exit code {done.returncode}" if done.returncode else ""


def measure(suites: Sequence[Suite], progress: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """The document of `bench.json`, as it is after each suite: who is interrupted keeps what there is."""
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    document = {"date": began, "commit": commit(), "version": version(), **machine()}
    runs: list[dict[str, Any]] = []
    for suite in suites:
        progress(suite.command)
        found, error = run_json([sys.executable, "-m", "swarmd.cli", "--json", "bench", *suite.words])
        rows = []
        for figure in suite.figures:
            measured = look_up(found, figure.key)
            rows.append(
                {
                    "figure": figure.name,
                    "key": figure.key,
                    "unit": figure.unit,
                    "better": figure.better,
                    "goal": figure.goal,
                    "measured": measured,
                    "met": met(figure, measured),
                }
            )
        runs.append(
            {
                "suite": suite.name,
                "command": suite.command,
                "error": error,
                "skipped": _skipped(found),
                "figures": rows,
                "all": found,
            }
        )
        yield {**document, "runs": list(runs)}


def _skipped(document: Any) -> str:
    """What a benchmark left out because this machine has not got it, and what helps."""
    absent = look_up(document, "absent") or []
    return "; ".join(f"{each['system']} left out: {each['why']} ({each['fix']})" for each in absent)


def commit() -> str | None:
    """The commit that runs, with `+` if files differ from it; None outside of a checkout."""
    head = git("rev-parse", "--short=12", "HEAD")
    if head is None:
        return None
    return head + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def git(*words: str) -> str | None:
    """What git says about the checkout that this program is run from; None if there is none."""
    if not (ROOT / "pyproject.toml").is_file():
        return None  # installed; a repository around that folder would be another's
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def markdown(document: Mapping[str, Any]) -> str:
    """The table, for people."""
    where = f"{document['cpus']} cores of {document['machine']}, {document['system']}, Python {document['python']}"
    lines = [
        "# Benchmarks",
        "",
        f"Made by `make bench` on {document['date']}, commit {document['commit'] or 'unknown'}, {where}.",
        "What the figures mean and what bounds them: [performance.md](performance.md).",
        "",
        "| | measured | goal | |",
        "| --- | --- | --- | --- |",
    ]
    for run in document["runs"]:
        said = "; ".join(text.replace("|", "/") for text in (run["error"], run["skipped"]) if text)
        lines.append(f"| **`{run['command']}`** | {said} | | |")
        for row in run["figures"]:
            goal = "" if row["goal"] is None else f"{row['better']} {_shown(row['goal'])}"
            verdict = {True: "met", False: "missed", None: ""}[row["met"]]
            unit = f" {row['unit']}" if row["unit"] and row["measured"] is not None else ""
            lines.append(f"| {row['figure']} | {_shown(row['measured'])}{unit} | {goal} | {verdict} |")
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    if value is None:
        return "not measured"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def write(document: Mapping[str, Any], json_path: Path, table_path: Path) -> None:
    json_path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    table_path.write_text(markdown(document), "utf-8")
