"""`swarmd bench hour`: what a node keeps, in memory and on disk, while its mesh does 1,000 tasks a second for an hour.

The hour is a simulated one: clocks stand still between two envelopes and the node takes them as fast as it can. All else
is as in a daemon: signatures are verified, everything is journalled, epochs end with a certified checkpoint that is adopted,
ended needs leave memory, older batches leave the journal, the oldest blocks are dropped, and the collector of cycles is the
daemon's. The mesh is a process of its own. At the end another process opens what is on disk, as a start does.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from swarmd.node.bench.history import TASKS_PER_NEED
from swarmd.node.bench.machine import machine
from swarmd.node.bench.processes import MachineLoad
from swarmd.node.bench.slopes import least_squares
from swarmd.node.console.output import Output, facts
from swarmd.node.console.progress import meter
from swarmd.node.process_usage import cpu_seconds, rss_bytes
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.limits import CHAIN_EPOCHS

_LOAD = "swarmd.node.bench.hour_load"
_NODE = "swarmd.node.bench.hour_node"
_END_TIMEOUT_S = 60.0
# What a batch on record takes with its rows and indices, and the free pages that deleting leaves, at most.
_BYTES_PER_TASK = 8_000
MB = 1_048_576
# Of a process that opens what is on disk: CPU with its imports, and the envelopes of the open epoch that it replays.
REOPENED = ("reopen_s", "reopen_cpu_s", "reopen_rss_mb", "reopen_ops", "reopen_needs")
Row = dict[str, Any]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--tasks-per-s", type=int, default=1_000, metavar="N", help="simulated load (default 1000)"
    )
    parser.add_argument(
        "--seconds", type=int, default=3_600, metavar="S", help="simulated seconds (default 3600)"
    )
    parser.add_argument(
        "--epoch",
        type=int,
        default=30,
        metavar="S",
        help="simulated seconds that an epoch lasts (default 30); its ended needs are in memory until then",
    )
    parser.add_argument(
        "--keep", type=int, default=10, metavar="N", help="epochs kept in the journal (default 10)"
    )
    parser.add_argument(
        "--cold-mb", type=int, default=512, metavar="N", help="bound on older batches (default 512)"
    )
    parser.add_argument(
        "--every", type=int, default=10, metavar="S", help="a row each so many simulated seconds (default 10)"
    )
    parser.add_argument(
        "--chain-epochs",
        type=int,
        default=CHAIN_EPOCHS,
        metavar="N",
        help="of how many epochs an author's chains stay open, as genesis says; 0: of all (default %(default)s)",
    )
    parser.add_argument("--policy", action="store_true", help="judge every envelope by the base policy")
    parser.add_argument(
        "--rows", metavar="FILE", help="append each row to this file as a line of JSON, as it comes"
    )


def main(args: Namespace, out: Output) -> int:
    """0 if all tasks came through, 1 if some were lost; what there is so far after Ctrl-C, and then 130."""
    _check(args)
    tasks = args.tasks_per_s * args.seconds // TASKS_PER_NEED * TASKS_PER_NEED
    with tempfile.TemporaryDirectory(prefix="swarmd-bench-") as folder:
        kept_s = args.epoch * (args.keep + 2)
        wanted = min(args.seconds, kept_s) * args.tasks_per_s * _BYTES_PER_TASK + args.cold_mb * MB
        if shutil.disk_usage(folder).free < wanted:
            raise LocalFault(
                "disk-full",
                f"{folder} needs {wanted / 1e9:.0f} GB for --keep {args.keep} epochs of {args.epoch} s",
                fix="point TMPDIR to a larger disk, or lower --epoch or --keep",
            )
        load, rows, stopped = MachineLoad(), list[Row](), False
        try:
            for row in _run(args, tasks, folder, out):
                rows.append(row)
        except KeyboardInterrupt:
            stopped = True
            out.progress("stopped; this is what there is so far")
    if not rows:
        raise LocalFault("bench-stuck", "the node said nothing; what it wrote is above")
    figures = _figures(args, rows)
    figures["lost"] = tasks - figures["tasks"]
    figures["others_cpu_percent"] = load.others_percent(rows[-1]["cpu_s"] + rows[-1].get("load_cpu_s", 0.0))
    _show(figures | machine(), rows, out)
    if stopped:
        return 130
    return 0 if figures["lost"] == 0 and rows[-1]["what"] == "reopened" else 1


def _check(args: Namespace) -> None:
    if not (1 <= args.tasks_per_s <= 100_000 and 10 <= args.seconds <= 864_000 and args.every >= 1):
        raise LocalFault("usage", "1 to 100,000 tasks a second, 10 s to ten days, a row each second at most")
    if not (1 <= args.epoch <= 3_600 and 1 <= args.keep <= 1_000 and 1 <= args.cold_mb <= 1 << 20):
        raise LocalFault("usage", "epochs of 1 s to an hour; --keep and --cold-mb at least 1")
    if args.chain_epochs < 0 or args.chain_epochs == 1:
        raise LocalFault("usage", "--chain-epochs at least 2, or 0: chains are never closed")


def _run(args: Namespace, tasks: int, folder: str, out: Output) -> Iterator[Row]:
    """The node's rows as they come. Ends both processes when it is left."""
    given = {
        "tasks": tasks,
        "tasks_per_s": args.tasks_per_s,
        "epoch_s": args.epoch,
        "chain_epochs": args.chain_epochs,
    }
    settings = {
        "chain_epochs": args.chain_epochs,
        "folder": folder,
        "keep_epochs": args.keep,
        "cold_mb": args.cold_mb,
        "every_s": args.every,
        "gated": args.policy,
    }
    # Sessions of their own: Ctrl-C is this process's to handle.
    load = subprocess.Popen(
        [sys.executable, "-m", _LOAD, json.dumps(given)], stdout=subprocess.PIPE, start_new_session=True
    )
    assert load.stdout is not None
    node = subprocess.Popen(
        [sys.executable, "-m", _NODE, json.dumps(settings)],
        stdin=load.stdout,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    load.stdout.close()
    assert node.stdout is not None
    try:
        row: Row = {}
        with meter(out, "simulated seconds", args.seconds, unit="blocks") as bar:
            for line in node.stdout:
                row = json.loads(line)
                row |= _of_process("load", load.pid)
                if args.rows:
                    with Path(args.rows).open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
                bar.at(f"epoch {row['epoch']}, {row['rss_mb']:.0f} MB", int(row["simulated_s"]))
                yield row
        if row.get("what") == "end":
            out.progress("opening it again")
            yield _reopened(settings, last=row)
    finally:
        for process in (load, node):
            process.terminate()
        for process in (load, node):
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_TIMEOUT_S)
        node.stdout.close()


def _reopened(settings: Row, last: Row) -> Row:
    """The last row with what a new process said that opened the folder. Raises LocalFault if it could not."""
    done = subprocess.run(
        [sys.executable, "-m", _NODE, json.dumps(settings | {"reopen": True})],
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise LocalFault("bench-stuck", "what the node left on disk could not be opened; why is above")
    found: Row = json.loads(done.stdout)
    return last | {"what": "reopened"} | found


def _of_process(name: str, pid: int) -> Row:
    """Memory and CPU time of a process (Linux); nothing of one that is gone."""
    try:
        return {f"{name}_rss_mb": round(rss_bytes(pid) / MB, 1), f"{name}_cpu_s": cpu_seconds(pid)}
    except (OSError, IndexError):
        return {}


def _figures(args: Namespace, rows: Sequence[Row]) -> Row:
    last = rows[-1]
    tasks = last["tasks"]
    costs = costs_of(rows)
    late_costs = [cost for cost in costs if cost["epoch"] > args.keep + 2] or costs
    before = [row for row in rows if row["what"] == "before"]
    # Flat is what comes after every tier is full.
    late = [row for row in before if row["epoch"] > args.keep + 2] or before[len(before) // 2 :]
    return {
        "tasks": tasks,
        "tasks_per_s": args.tasks_per_s,
        "simulated_s": last["simulated_s"],
        "wall_s": last["wall_s"],
        "cpu_s": last["cpu_s"],
        "tasks_per_cpu_s": round(tasks / last["cpu_s"]) if last["cpu_s"] else None,
        "cpu_us_per_task": median(cost["us"] for cost in late_costs) if costs else None,
        "cpu_us_per_task_per_million": slope(late_costs, "us", over="millions"),
        "reopened": {name: last[name] for name in REOPENED} if last["what"] == "reopened" else None,
        "epochs": last["epoch"],
        "epoch_s": args.epoch,
        "keep_epochs": args.keep,
        "chain_epochs": args.chain_epochs,
        "most_chains": max(row["chains"] for row in rows),
        "cold_max_mb": args.cold_mb,
        "most_rss_mb": max(row["rss_mb"] for row in rows),
        "most_disk_mb": max(row["disk_mb"] for row in rows),
        "most_needs_in_memory": max(row["needs_in_memory"] for row in rows),
        "rss_after_first_epochs_mb": late[0]["rss_mb"] if late else None,
        "rss_at_end_mb": late[-1]["rss_mb"] if late else None,
        "rss_mb_per_simulated_hour": slope(late, "rss_mb"),
        "disk_mb_per_simulated_hour": slope(late, "disk_mb"),
        "slopes_from_epoch": late[0]["epoch"] if late else None,
    }


def costs_of(rows: Sequence[Row]) -> list[Row]:
    """What a task cost the node in each whole epoch, its checkpoint and all that follows from one included: `us` of CPU,
    by how many `millions` of tasks there were before."""
    after = [row for row in rows if row["what"] == "after"]
    found = []
    for one, other in pairwise(after):
        if (tasks := other["tasks"] - one["tasks"]) > 0:
            us = round(1e6 * (other["cpu_s"] - one["cpu_s"]) / tasks)
            found.append({"epoch": other["epoch"], "millions": one["tasks"] / 1e6, "us": us})
    return found


def slope(rows: Sequence[Row], name: str, over: str = "hours") -> float | None:
    """What `name` grows by in a simulated hour, or for one more of `over`, by least squares; None of fewer than three rows."""
    if len(rows) < 3:
        return None
    xs = [row["simulated_s"] / 3_600 if over == "hours" else row[over] for row in rows]
    ys = [row[name] for row in rows]
    found = least_squares(xs, ys)
    return None if found is None else round(found, 1)


_COLUMNS = (
    "epoch",
    "simulated_s",
    "needs_in_memory",
    "chains",
    "rss_mb",
    "warm_mb",
    "cold_mb",
    "journal_mb",
    "disk_mb",
)


def _show(figures: Row, rows: Sequence[Row], out: Output) -> None:
    if out.as_json:
        out.document(figures | {"curve": list(rows)})
        return
    out.print(facts(list(figures.items())))
    out.line("")
    out.line("as each epoch ended:")
    for row in rows:
        if row["what"] == "before":
            out.line("  ".join(f"{name} {row[name]}" for name in _COLUMNS))
