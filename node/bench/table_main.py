"""The commands `swarmd bench all` and `swarmd bench compare`."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarmd.node.bench import compare, table
from swarmd.node.bench.machine import machine
from swarmd.node.bench.table import Suite
from swarmd.node.console.output import Output
from swarmd.protocol.faults import LocalFault


def add_arguments(parser: ArgumentParser) -> None:
    names = ",".join(suite.name for suite in table.SUITES)
    parser.add_argument("--suites", default=names, metavar="LIST", help=f"of {names} (default: all)")
    parser.add_argument(
        "--to", type=Path, default=Path("bench.json"), metavar="FILE", help="all figures (default bench.json)"
    )
    parser.add_argument(
        "--table", type=Path, default=Path("bench.md"), metavar="FILE", help="the table (default bench.md)"
    )


def main(args: Namespace, out: Output) -> int:
    """0 if every benchmark ran; goals that are missed stand in the table."""
    suites = _chosen(args.suites, table.SUITES)
    for path in (args.to, args.table):
        if not path.resolve().parent.is_dir():
            raise LocalFault("usage", f"no folder {path.resolve().parent}", fix=f"mkdir -p {path.parent}")
    document: dict[str, Any] = {}
    for document in table.measure(suites, lambda command: out.progress(f"measuring: {command}")):
        table.write(document, args.to, args.table)
    if out.as_json:
        out.document(document)
    else:
        out.line(table.markdown(document))
    return 1 if any(run["error"] for run in document["runs"]) else 0


def add_compare_arguments(parser: ArgumentParser) -> None:
    names = ",".join(suite.name for suite in compare.SUITES)
    parser.add_argument("base", metavar="COMMIT", help="of the checkout that swarmd runs from")
    parser.add_argument("--suites", default=names, metavar="LIST", help=f"of {names} (default: all)")
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="of both, in turn; the best counts (default 3)"
    )


def main_compare(args: Namespace, out: Output) -> int:
    """0 if all was measured, whichever is faster."""
    if not 1 <= args.rounds <= 100:
        raise LocalFault("usage", "1 to 100 rounds")
    suites = _chosen(args.suites, compare.SUITES)
    found = compare.compare(args.base, suites, args.rounds, out.progress) | machine()
    if out.as_json:
        out.document(found)
        return 0
    out.line(f"{'':<44}{found['base']:>14}{found['here'] or 'here':>15}   times better")
    for row in found["rows"]:
        cells = [
            f"{'-' if value is None else value:>14}" for value in (row["base"], row["here"], row["ratio"])
        ]
        out.line(f"{row['suite'] + ': ' + row['figure']:<44}{cells[0]} {cells[1]} {cells[2]}")
    return 0


def _chosen(text: str, suites: Sequence[Suite]) -> list[Suite]:
    by_name = {suite.name: suite for suite in suites}
    names = text.split(",")
    if unknown := [name for name in names if name not in by_name]:
        raise LocalFault("usage", f"no suite {', '.join(unknown)}; there are {', '.join(by_name)}")
    return [by_name[name] for name in names]
