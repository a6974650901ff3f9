"""`swarmd bench growth`: what two daemons keep, in memory and on disk, while needs come without a pause and epochs pass.

Short epochs and small bounds, so that everything that is ever let go is let go within minutes: needs that ended leave
memory at each checkpoint, batches leave the journal after `keep_epochs`, blocks are dropped beyond `cold_max_bytes`. From
then on the curve has to be flat.
"""

import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import trio
from swarmd.node.bench.machine import machine
from swarmd.node.bench.mesh import Bench, echo_need
from swarmd.node.bench.processes import MachineLoad
from swarmd.node.bench.slopes import least_squares
from swarmd.node.cluster import Cluster
from swarmd.node.console.output import Output, facts
from swarmd.node.home import socket_path
from swarmd.node.transport.local_async import AsyncLocalClient, connect_local
from swarmd.protocol.faults import LocalFault

MB = 1_048_576
Row = dict[str, Any]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=300.0, metavar="S", help="for so long (default 300)")
    parser.add_argument(
        "--window", type=int, default=32, metavar="N", help="needs under way at a time (default 32)"
    )
    parser.add_argument(
        "--epoch", type=int, default=10, metavar="S", help="an epoch lasts so long at least (default 10)"
    )
    parser.add_argument(
        "--keep", type=int, default=2, metavar="N", help="epochs kept in the journal (default 2)"
    )
    parser.add_argument(
        "--cold-mb", type=int, default=4, metavar="N", help="bound on older batches (default 4)"
    )


def main(args: Namespace, out: Output) -> int:
    if not (20 <= args.seconds <= 86_400 and 1 <= args.window <= 1_000 and 1 <= args.epoch <= 3_600):
        raise LocalFault("usage", "20 s to a day, 1 to 1000 needs under way, epochs of 1 s to an hour")
    if not (1 <= args.keep <= 1_000 and 1 <= args.cold_mb <= 10_000):
        raise LocalFault("usage", "--keep and --cold-mb are at least 1")
    names = ["node-0", "node-1"]
    with tempfile.TemporaryDirectory(prefix="swarmd-bench-") as folder:
        cluster = Cluster(
            Path(folder), names, verifiers=names, balance=10**15, mesh="bench", epoch_s=args.epoch
        )
        for member in cluster.members:
            (member.home / "swarmd.toml").write_text(
                f"keep_epochs = {args.keep}\ncold_max_bytes = {args.cold_mb * MB}\n", "utf-8"
            )
        bench = Bench(cluster, args.window, lambda _done, _all: None)
        try:
            bench.start()
            load = MachineLoad()
            cpu_s = sum(member.cpu_s() for member in cluster.members)
            rows: list[Row] = []
            done = trio.run(_drive, cluster, args.window, args.seconds, rows, out)
            others = load.others_percent(sum(member.cpu_s() for member in cluster.members) - cpu_s)
        finally:
            bench.stop()
    figures = {
        "tasks": done,
        "tasks_per_s": round(done / args.seconds, 1),
        "epochs": rows[-1]["epoch"] if rows else 0,
        "epoch_s": args.epoch,
        "keep_epochs": args.keep,
        "cold_max_mb": args.cold_mb,
        **_slopes(rows),
        "others_cpu_percent": others,
        "curve": rows,
        **machine(),
    }
    if out.as_json:
        out.document(figures)
    else:
        out.print(facts([(name, value) for name, value in figures.items() if name != "curve"]))
        for row in rows:
            out.line("  ".join(f"{name} {value}" for name, value in row.items()))
    return 0


async def _drive(cluster: Cluster, window: int, seconds: float, rows: list[Row], out: Output) -> int:
    """Closed loop of `window` needs for so long; a row of the curve as each epoch begins. Returns how many ended."""
    done = number = 0
    began_s = time.monotonic()

    async def worker(client: AsyncLocalClient) -> None:
        nonlocal done, number
        while True:
            number += 1
            posted = await client.call("need.post", {"spec": echo_need(number)})
            await client.call("need.wait", {"need": posted["need"]})
            done += 1

    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(connect_local(socket_path(member.home)))
            for member in cluster.members
        ]
        async with trio.open_nursery() as nursery:
            for index in range(window):
                nursery.start_soon(worker, clients[index % len(clients)])
            epoch = 0
            with trio.move_on_after(seconds):
                while True:
                    await trio.sleep(0.5)
                    status = await clients[0].call("status", {})
                    if status["checkpoint"]["epoch"] > epoch:
                        epoch = status["checkpoint"]["epoch"]
                        at_s = round(time.monotonic() - began_s, 1)
                        rows.append({"epoch": epoch, "at_s": at_s, "tasks": done, **_sizes(cluster, status)})
                        out.progress(f"epoch {epoch}: {rows[-1]}")
            nursery.cancel_scope.cancel()
    return done


def _sizes(cluster: Cluster, status: dict[str, Any]) -> Row:
    member = cluster.members[0]
    tiers = status["checkpoint"]["tiers"]
    return {
        "needs_in_memory": sum(status["needs"].values()),
        "rss_mb": round(member.rss_mb(), 1),
        "warm_mb": round(tiers["warm"]["bytes"] / MB, 2),
        "cold_mb": round(tiers["cold"]["bytes"] / MB, 2),
        "journal_mb": round(sum(path.stat().st_size for path in member.home.glob("journal.db*")) / MB, 2),
        "home_mb": round(sum(path.stat().st_size for path in _files(member.home)) / MB, 2),
    }


def _files(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file() and not path.name.endswith("-shm")]


def _slopes(rows: Sequence[Row]) -> Row:
    """MB that are more after each thousand tasks, in the last third of the curve: least squares."""
    late = rows[2 * len(rows) // 3 :]
    found: Row = {}
    for name in ("rss_mb", "journal_mb", "home_mb"):
        found[f"last_{name}"] = late[-1][name] if late else None
        xs, ys = [row["tasks"] / 1_000 for row in late], [row[name] for row in late]
        slope = least_squares(xs, ys)
        found[f"{name}_per_1000_tasks"] = None if slope is None else round(slope, 3)
    return found
