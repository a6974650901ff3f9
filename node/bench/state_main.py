"""The command `swarmd bench state`."""

from argparse import ArgumentParser, Namespace
from typing import Any

import trio
from swarmd.node.bench.machine import machine
from swarmd.node.bench.state import DEFAULT_PARTS, PARTS, Sizes
from swarmd.node.console.output import Output, facts
from swarmd.protocol.faults import LocalFault

_DEFAULT = Sizes()


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--tasks",
        type=int,
        default=_DEFAULT.tasks,
        metavar="N",
        help=f"tasks on record for sync, appends and views (default {_DEFAULT.tasks})",
    )
    parser.add_argument(
        "--received",
        type=int,
        default=_DEFAULT.received,
        metavar="N",
        help=f"tasks through the receive path (default {_DEFAULT.received})",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=_DEFAULT.rounds,
        metavar="N",
        help=f"rounds of sync (default {_DEFAULT.rounds})",
    )
    parser.add_argument(
        "--appends",
        type=int,
        default=_DEFAULT.appends,
        metavar="N",
        help=f"needs posted (default {_DEFAULT.appends})",
    )
    parser.add_argument(
        "--synced",
        type=int,
        default=_DEFAULT.synced,
        metavar="N",
        help=f"envelopes before the checkpoint that a newcomer begins at (default {_DEFAULT.synced})",
    )
    parser.add_argument(
        "--parts",
        default=",".join(DEFAULT_PARTS),
        metavar="LIST",
        help=f"what to measure, of {','.join(PARTS)} (default: {','.join(DEFAULT_PARTS)})",
    )


def main(args: Namespace, out: Output) -> int:
    """0 unless something got lost, which is a LocalFault."""
    sizes = Sizes(args.tasks, args.received, args.rounds, args.appends, synced=args.synced)
    if min(sizes.tasks, sizes.received) < 2 or sizes.tasks % 2 or sizes.received % 2:
        raise LocalFault("usage", "an even number of tasks, at least 2: a need has two")
    if min(sizes.rounds, sizes.appends) < 1:
        raise LocalFault("usage", "at least one round of sync and one append")
    parts = args.parts.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        raise LocalFault("usage", f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    figures: dict[str, Any] = {}
    for part in parts:
        out.progress(f"measuring: {part} (the first time a history is made, 1 ms for each task)")
        figures.update(trio.run(PARTS[part], sizes))
    figures.update(machine())
    if out.as_json:
        out.document(figures)
        return 0
    views = figures.pop("view_queries", {})
    out.print(facts(list(figures.items())))
    for name, found in views.items():
        out.line(f"{name:<16}" + ", ".join(f"{share} {value}" for share, value in found.items()))
    return 0
