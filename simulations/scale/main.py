"""The command `swarmd sim scale`."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from swarmd.protocol.faults import LocalFault
from swarmd.simulations.scale import compare as real
from swarmd.simulations.scale import costs as constants
from swarmd.simulations.scale import plot, probes, report
from swarmd.simulations.scale.events import Spread
from swarmd.simulations.scale.model import NETWORKS, Scenario

MAX_AGENTS = 1_000_000


class Out(Protocol):
    """What a command writes to: swarmd.node.console.output.Output is one."""

    @property
    def as_json(self) -> bool: ...

    def document(self, value: Any) -> None: ...

    def print(self, *what: Any) -> None: ...

    def progress(self, text: str) -> None: ...


def add_arguments(parser: ArgumentParser) -> None:
    default = Scenario(1)
    parser.add_argument(
        "--agents", type=int, default=10_000, metavar="N", help="agents of the swarm (default 10000)"
    )
    parser.add_argument(
        "--only",
        action="store_true",
        help="only this size, not also 100, 1000, ... below it (no growth then)",
    )
    parser.add_argument(
        "--sizes", metavar="N,N,...", help="these sizes instead, each larger than the one before"
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="the same seed, the same figures (default 1)"
    )
    parser.add_argument(
        "--goals",
        type=int,
        default=default.goals,
        metavar="N",
        help=f"goals to measure (default {default.goals})",
    )
    parser.add_argument(
        "--load",
        type=float,
        default=default.load,
        metavar="RATE",
        help=f"tasks per agent and second (default {default.load:g})",
    )
    parser.add_argument(
        "--network",
        choices=sorted(NETWORKS),
        default=default.network,
        help="one-way delays: lan 0.25 ms, regions 1 ms within and 40 ms between, wan 40 and 80 ms (default regions)",
    )
    parser.add_argument(
        "--service-ms",
        type=float,
        metavar="MS",
        help="median time of planners and workers; judges half of it, p99 four times it; 0: agents answer at once",
    )
    parser.add_argument(
        "--mesh-hosts",
        type=int,
        default=default.mesh_hosts,
        metavar="N",
        help="most hosts of a mesh (default 16)",
    )
    parser.add_argument(
        "--agents-per-host", type=int, default=default.agents_per_host, metavar="N", help="default 64"
    )
    parser.add_argument(
        "--costs", type=Path, metavar="FILE", help="another costs.json, of python -m ...scale.calibrate"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the plot there, as SVG")
    parser.add_argument(
        "--compare",
        nargs="?",
        const="5",
        metavar="N,N,...",
        help="run real daemons too, that many (default 5; try 5,10,20), and compare: takes a minute each",
    )


def main(args: Namespace, out: Out) -> int:
    """0 if what is asked of the swarm holds, 1 if not. With --compare, 1 if a real mesh lost a task."""
    costs = constants.load(args.costs) if args.costs else constants.load()
    if args.compare is not None:
        return _compare(_numbers(args.compare, 1, 32), costs, out)
    scenarios = [_scenario(size, args) for size in _sizes(args)]
    document = report.simulate(scenarios, costs, lambda text: out.progress(f"simulating {text}"))
    if args.plot is not None:
        if len(scenarios) < 2:
            raise LocalFault("usage", "a plot needs two sizes or more", fix="leave out --only")
        _write(args.plot, plot.svg(document))
    if out.as_json:
        out.document(document)
    else:
        for line in text_of(document):
            out.print(line)
    return 0 if all(figure["held"] for figure in document["figures"]) else 1


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise LocalFault(
            "not-written", f"{path}: {error.strerror}", fix="name a file that can be written"
        ) from None


def _numbers(text: str, least: int, most: int) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise LocalFault("usage", f"not a list of numbers: {text}") from None
    if sorted(set(numbers)) != numbers or not least <= numbers[0] <= numbers[-1] <= most:
        raise LocalFault("usage", f"growing numbers from {least} to {most}: {text}")
    return numbers


def _sizes(args: Namespace) -> list[int]:
    if args.sizes:
        return _numbers(args.sizes, 2, MAX_AGENTS)
    if not 2 <= args.agents <= MAX_AGENTS:
        raise LocalFault("usage", f"2 to {MAX_AGENTS} agents")
    below = [] if args.only else [10**power for power in range(2, 6) if 10**power < args.agents]
    return [*below, args.agents]


def _scenario(agents: int, args: Namespace) -> Scenario:
    if (
        args.goals < 1
        or not 0 < args.load <= 100
        or not 2 <= args.mesh_hosts <= 256
        or args.agents_per_host < 1
    ):
        raise LocalFault(
            "usage", "a goal or more, a load in (0, 100], 2 to 256 hosts a mesh, an agent a host or more"
        )
    chosen: dict[str, Any] = {}
    if args.service_ms is not None:
        if not 0 <= args.service_ms <= 600_000:
            raise LocalFault("usage", "--service-ms is 0 to 600000")
        whole = Spread(args.service_ms, 4 * args.service_ms)
        chosen = dict.fromkeys(("planner", "worker"), whole) | {
            "judge": Spread(whole.p50_ms / 2, whole.p99_ms / 2)
        }
        if args.service_ms == 0:
            chosen["manager"] = whole
    return Scenario(
        agents,
        seed=args.seed,
        goals=args.goals,
        load=args.load,
        network=args.network,
        mesh_hosts=args.mesh_hosts,
        agents_per_host=args.agents_per_host,
        patience_s=30.0 + (args.service_ms or 0) / 50,
        **chosen,
    )


# Text ----------------------------------------------------------------------------------------------------

_COLUMNS: Sequence[tuple[str, str]] = (
    ("agents", "agents"),
    ("hosts", "hosts"),
    ("managers", "managers"),
    ("tiers", "tiers"),
    ("goal_p50_ms", "goal p50"),
    ("goal_p95_ms", "p95"),
    ("goal_p99_ms", "p99 ms"),
    ("request_p95_ms", "request p95"),
    ("frames_per_need", "msgs/need"),
    ("node_frames_per_s", "msgs/node/s"),
    ("hottest_frames_per_s", "busiest"),
    ("hottest_cpu_share", "its CPU"),
    ("state_mb", "state MB"),
)


def text_of(document: Mapping[str, Any]) -> Iterable[str]:
    """The document as tables of plain text."""
    names = [name for _, name in _COLUMNS]
    yield from _table([names, *([_cell(row[key]) for key, _ in _COLUMNS] for row in document["sizes"])])
    if document["growth"]:
        yield ""
        rows = [["growth of", "R2 log n", "R2 n", "fits better", "n^", "at most log n"]]
        titles = {
            **report.GROWING,
            "flat_frames_per_need": "one flat mesh (computed): messages per need",
            "flat_state_mb": "one flat mesh (computed): state per node, MB",
        }
        for key, title in titles.items():
            found = document["growth"][key]
            cells = (found["r2_log_n"], found["r2_n"], found["better"], found["exponent"])
            rows.append([title, *map(_cell, cells), "yes" if found["at_most_log"] else "no"])
        yield from _table(rows)
    yield ""
    for figure in document["figures"]:
        yield f"{'holds' if figure['held'] else 'FAILS'}  {figure['what']}: {figure['found']} (asked: {figure['asked']})"


def _cell(value: Any) -> str:
    return f"{value:,}" if type(value) is int else f"{value:g}" if type(value) is float else str(value)


def _table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *others = zip(row, widths, strict=True)
        yield "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip()


def _compare(nodes: Sequence[int], costs: constants.Costs, out: Out) -> int:
    rows = real.compare(nodes, costs, progress=out.progress)
    errors = {key: real.typical_error(rows, key) for key in real.COMPARED}
    document = {"machine": probes.machine(), "rows": rows, "median_error": errors}
    if out.as_json:
        out.document(document)
    else:
        for line in compared_text(document):
            out.print(line)
    return 0 if all(row["lost"] == 0 for row in rows) else 1


def compared_text(document: Mapping[str, Any]) -> Iterable[str]:
    """Each figure as real/model."""
    titles = ["nodes", "window", *(f"{key} real/model" for key in real.COMPARED), "others' CPU", "commit ms"]
    table = [titles]
    for row in document["rows"]:
        pairs = [f"{_cell(row['real'][key])}/{_cell(row['model'][key])}" for key in real.COMPARED]
        cells = (row["nodes"], row["window"], *pairs, row["others_cpu_share"], row["commit_p50_ms"])
        table.append([_cell(value) for value in cells])
    yield from _table(table)
    yield ""
    for key, error in document["median_error"].items():
        yield f"median error of {key}: {100 * error:.0f} %"
