"""`swarmd bench curves`: what a task costs as meshes, histories, payloads and hosts grow, each as a table and a plot.

Every point is a mesh of daemon processes over loopback. Nodes, agents and stored needs are measured under one constant load,
an open loop; payloads one need at a time, as no rate suits both 100 bytes and 10 MB. On few cores many daemons share them:
CPU a task is then the figure to look at, and latency says how full the cores are.
"""

import signal
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmd.node.bench import mesh, plot, sweep
from swarmd.node.bench.idle import restart
from swarmd.node.bench.machine import machine
from swarmd.node.bench.processes import MachineLoad
from swarmd.node.bench.slopes import least_squares
from swarmd.node.console.output import Output, facts
from swarmd.protocol.faults import LocalFault

WINDOW = 64
PAYLOAD_NEEDS = 10
Row = dict[str, Any]
# Of the figures of a mesh, those that go into a row.
_ONE_BY_ONE = (
    *("tasks", "tasks_per_s", "decide_p50_ms", "decide_p95_ms", "finalize_p50_ms", "finalize_p95_ms"),
    *("cpu_ms_per_task", "rss_mb"),
)
_LOADED = (*_ONE_BY_ONE[:-1], "unfinished", "bus_p95_ms", "others_cpu_percent")


@dataclass(frozen=True, slots=True)
class Load:
    """`rate` needs a second for `seconds` at each point; `epoch_s` of the meshes that get a history."""

    rate: float
    seconds: float
    epoch_s: int


@dataclass(frozen=True, slots=True)
class Curve:
    """`unit`: so many of `axis` are what a slope is given for; `most`: the largest size there is."""

    axis: str
    sizes: tuple[int, ...]
    most: int
    unit: int
    measure: Callable[[Sequence[int], Load], Iterator[Row]]
    panels: tuple[plot.Panel, ...]


def add_arguments(parser: ArgumentParser) -> None:
    names = ", ".join(CURVES)
    parser.add_argument("--curves", metavar="LIST", help=f"of {names} (default: all)")
    parser.add_argument(
        "--sizes", metavar="LIST", help="of one curve, such as 1000,10000,100000 with --curves needs"
    )
    parser.add_argument("--rate", type=float, default=20.0, metavar="R", help="needs a second (default 20)")
    parser.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="of load at each point (default 10)"
    )
    parser.add_argument(
        "--epoch", type=int, default=10, metavar="S", help="with needs: epochs last so long (default 10)"
    )
    parser.add_argument("--plot", type=Path, metavar="DIR", help="write DIR/curve-NAME.svg of each curve")


def main(args: Namespace, out: Output) -> int:
    """0 if every need was done."""
    wanted = _wanted(args)
    if not (0 < args.rate <= 10_000 and 0 < args.seconds <= 3_600 and 1 <= args.epoch <= 86_400):
        raise LocalFault(
            "usage", "--rate up to 10000, --seconds up to 3600, --epoch up to a day, all above 0"
        )
    if args.plot is not None and not args.plot.is_dir():
        raise LocalFault("usage", f"{args.plot} is no folder", fix=f"mkdir -p {args.plot}")
    load = Load(args.rate, args.seconds, args.epoch)
    figures: Row = {"rate": load.rate, "seconds": load.seconds, "epoch_s": load.epoch_s, "curves": {}}
    unfinished = 0
    for name, sizes in wanted.items():
        curve, rows = CURVES[name], []
        for row in curve.measure(sizes, load):
            out.progress(f"{row['size']:,} {curve.axis}: CPU {row['cpu_ms_per_task']} ms a task")
            rows.append(row)
        unfinished += sum(row["unfinished"] for row in rows)
        found: Row = {"axis": curve.axis, "rows": rows, "slopes": slopes(rows, curve)}
        if args.plot is not None:
            path = args.plot / f"curve-{name}.svg"
            path.write_text(plot.svg(curve.axis, sizes, rows, curve.panels), "utf-8")
            found["plot"] = str(path)
        figures["curves"][name] = found
    figures |= machine()
    if out.as_json:
        out.document(figures)
    else:
        _show(figures, out)
    return 1 if unfinished else 0


def _wanted(args: Namespace) -> dict[str, tuple[int, ...]]:
    names = args.curves.split(",") if args.curves is not None else list(CURVES)
    if unknown := [name for name in names if name not in CURVES]:
        raise LocalFault("usage", f"no curve {unknown[0]!r}", fix=f"--curves {','.join(CURVES)}")
    if args.sizes is None:
        return {name: CURVES[name].sizes for name in names}
    if len(names) != 1:
        raise LocalFault("usage", "--sizes goes with one curve", fix="--curves needs --sizes 1000,10000")
    most = CURVES[names[0]].most
    try:
        sizes = tuple(int(part) for part in args.sizes.split(","))
    except ValueError:
        sizes = ()
    if not sizes or list(sizes) != sorted(set(sizes)) or not 1 <= sizes[0] <= sizes[-1] <= most:
        raise LocalFault("usage", f"--sizes is a rising list of numbers from 1 to {most}, not {args.sizes!r}")
    if names[0] == "nodes" and sizes[0] < 2:
        raise LocalFault("usage", "a mesh has two nodes at least", fix="--sizes 2,4,8")
    return {names[0]: sizes}


def slopes(rows: Sequence[Row], curve: Curve) -> dict[str, float]:
    """For each plotted figure how much more it is by `unit` more of the axis: least squares over all sizes."""
    xs = [row["size"] / curve.unit for row in rows]
    found = {}
    for key in (line.key for panel in curve.panels for line in panel.lines):
        found[f"{key}_per_{curve.unit}"] = round(least_squares(xs, [row[key] for row in rows]) or 0.0, 6)
    return found


def _show(figures: Row, out: Output) -> None:
    for name, curve in figures["curves"].items():
        out.line(f"{name}: {curve['axis']}")
        for row in curve["rows"]:
            out.line("  " + "  ".join(f"{key} {value}" for key, value in row.items()))
        out.print(facts(list(curve["slopes"].items())))
        out.line("")


# Measuring -------------------------------------------------------------------------------------------------


def _under_load(bench: mesh.Bench, size: int, load: Load) -> Row:
    found = sweep.at_rate(bench, load.rate, load.seconds)
    rss_mb = max(member.rss_mb() for member in bench.cluster.members)
    return {"size": size, **{key: found[key] for key in _LOADED}, "rss_mb": round(rss_mb, 1)}


def nodes(sizes: Sequence[int], load: Load) -> Iterator[Row]:
    """All of them verifiers, all with an agent, the load spread over them."""
    for size in sizes:
        with mesh.formed(size, WINDOW, None) as bench:
            row = _under_load(bench, size, load)
            yield {**row, "cpu_ms_per_task_and_node": round(row["cpu_ms_per_task"] / size, 3)}


def agents(sizes: Sequence[int], load: Load) -> Iterator[Row]:
    """Two nodes, each with so many agents of the same offer, connected from one process."""
    for size in sizes:
        with mesh.formed(2, WINDOW, None, agent_args=("--agents", str(size))) as bench:
            yield _under_load(bench, size, load)


def needs(sizes: Sequence[int], load: Load) -> Iterator[Row]:
    """One mesh of two: needs until there are so many, as fast as it goes, then the load, then a restart of one.

    What is due for needs of the filling falls into the load (checkpoints, and from the eleventh epoch on older batches
    that are put away), so what a task costs in the long run is what it costs while filling."""
    with mesh.formed(2, WINDOW, None, epoch_s=load.epoch_s) as bench:
        member, done = bench.cluster.members[0], mesh.WARM_UP
        for size in sizes:
            found = bench.run(max(1, size - done))
            lost, done = found["loss"], max(done + 1, size)
            row = _under_load(bench, size, load)
            row["filling_cpu_ms_per_task"] = found["cpu_ms_per_task"]
            done += row["tasks"]
            status = member.call("status")
            row["unfinished"] += lost
            row["epoch"], row["needs_in_memory"] = (
                status["checkpoint"]["epoch"],
                sum(status["needs"].values()),
            )
            files = [path for path in member.home.rglob("*") if path.is_file()]
            row["home_mb"] = round(sum(path.stat().st_size for path in files) / 1_048_576, 1)
            others = MachineLoad()
            row |= restart(bench, member, signal.SIGTERM)
            row["busy_percent_at_start"] = others.others_percent(0.0)
            row["rss_after_start_mb"] = round(member.rss_mb(), 1)
            bench.wait_formed()
            yield row


def payload(sizes: Sequence[int], load: Load) -> Iterator[Row]:
    """Two nodes; a need has an input of so many bytes, and its task says how many they were."""
    with mesh.formed(2, 1, None) as bench:
        for size in sizes:

            def make(number: int, size: int = size) -> Row:
                text = (
                    f"{number:012d}".ljust(size, "x")[-size:] if size > 12 else str(number).rjust(size)[:size]
                )
                need = mesh.echo_need(number)
                need["tasks"] = [{"capability": "bench.size", "input": {"value": {"text": text}}}]
                return need

            others, cpu_s = MachineLoad(), sum(member.cpu_s() for member in bench.cluster.members)
            found = bench.run(PAYLOAD_NEEDS, make)
            cpu_s = sum(member.cpu_s() for member in bench.cluster.members) - cpu_s
            row = {"size": size, "unfinished": found["loss"], **{key: found[key] for key in _ONE_BY_ONE}}
            yield {**row, "others_cpu_percent": others.others_percent(cpu_s)}


Line, Panel = plot.Line, plot.Panel
_CPU = Panel("CPU a task, all daemons, ms", (Line("cpu_ms_per_task", "CPU"),))
_LATENCY = Panel(
    "latency, ms", (Line("decide_p95_ms", "DECIDE p95"), Line("finalize_p95_ms", "FINALIZE p95"))
)
_MEMORY = Panel("memory of the largest daemon, MB", (Line("rss_mb", "RSS"),))
CURVES: dict[str, Curve] = {
    "nodes": Curve(
        "nodes",
        (2, 4, 8, 16),
        32,
        1,
        nodes,
        (
            _CPU,
            Panel("CPU a task of each daemon, ms", (Line("cpu_ms_per_task_and_node", "CPU"),)),
            _LATENCY,
            _MEMORY,
        ),
    ),
    "needs": Curve(
        "needs stored",
        (1_000, 3_000, 10_000),
        10_000_000,
        1_000,
        needs,
        (
            Panel("start to ready, s", (Line("start_s", "by the clock"), Line("start_cpu_s", "CPU"))),
            Panel("memory, MB", (Line("rss_mb", "under load"), Line("rss_after_start_mb", "after a start"))),
            Panel(
                "CPU a task, both daemons, ms",
                (Line("filling_cpu_ms_per_task", "filling"), Line("cpu_ms_per_task", "under load")),
            ),
            Panel("needs in memory", (Line("needs_in_memory", "needs"),)),
        ),
    ),
    "payload": Curve(
        "bytes of input",
        (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000),
        15_000_000,
        1_000_000,
        payload,
        (_CPU, _LATENCY, _MEMORY),
    ),
    "agents": Curve("agents a host", (1, 4, 16, 64), 128, 1, agents, (_CPU, _LATENCY, _MEMORY)),
}
