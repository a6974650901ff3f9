"""The command `swarmd bench peers`."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from swarmd.node.bench.peers import rounds
from swarmd.node.bench.peers.contenders import CONTENDERS, SYSTEMS, Contender, Load
from swarmd.node.console.output import RIGHT, Column, Output, table
from swarmd.protocol.faults import LocalFault

_DEFAULT = Load()
_MAX_PAYLOAD_BYTES = 512 * 1024  # NATS takes messages of 1 MiB at most


def add_arguments(parser: ArgumentParser) -> None:
    names = ",".join(each.name for each in CONTENDERS)
    parser.add_argument(
        "--only",
        default=",".join(SYSTEMS),
        metavar="LIST",
        help=f"systems ({','.join(SYSTEMS)}) or contenders ({names}); default: all",
    )
    parser.add_argument(
        "--tasks", type=int, default=_DEFAULT.tasks, metavar="N", help=f"needs a round ({_DEFAULT.tasks})"
    )
    parser.add_argument(
        "--window",
        type=int,
        default=_DEFAULT.window,
        metavar="N",
        help=f"under way at a time ({_DEFAULT.window})",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=_DEFAULT.workers,
        metavar="N",
        help=f"worker processes of the others ({_DEFAULT.workers}); a daemon of swarmd has one agent",
    )
    parser.add_argument(
        "--payload",
        type=int,
        default=_DEFAULT.payload_bytes,
        metavar="BYTES",
        help=f"of each input ({_DEFAULT.payload_bytes})",
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of all, in turn; medians (3)")


def main(args: Namespace, out: Output) -> int:
    """0 if all that is installed ran, at least one of them, and gave the right results, however fast."""
    load = Load(args.tasks, args.window, args.workers, args.payload)
    if not 1 <= load.tasks <= 1_000_000 or not 1 <= load.window <= 1_000:
        raise LocalFault("usage", "1 to 1,000,000 tasks, a window of 1 to 1,000")
    if not 1 <= load.workers <= 64 or not 1 <= args.rounds <= 100:
        raise LocalFault("usage", "1 to 64 workers, 1 to 100 rounds")
    if not 32 <= load.payload_bytes <= _MAX_PAYLOAD_BYTES:
        raise LocalFault("usage", f"--payload is 32 to {_MAX_PAYLOAD_BYTES} bytes")
    contenders = chosen(args.only)
    found = rounds.run(contenders, load, args.rounds, out.progress)
    if out.as_json:
        out.document(found)
    else:
        _show(found, out)
    bad = any(each["wrong"] or each["unrecorded"] for each in found["contenders"])
    return 1 if bad or found["failed"] or not found["contenders"] else 0


def chosen(text: str) -> list[Contender]:
    """In the order of the table, which has what is alike beside each other."""
    names = text.split(",")
    known = {*SYSTEMS, *(each.name for each in CONTENDERS)}
    if unknown := [name for name in names if name not in known]:
        raise LocalFault(
            "usage", f"nobody is called {', '.join(unknown)}", fix=f"of {', '.join(sorted(known))}"
        )
    return [each for each in CONTENDERS if each.name in names or each.system in names]


def _show(found: Mapping[str, Any], out: Output) -> None:
    headings = ("tasks/s", "p50 ms", "p95 ms", "p99 ms", "CPU ms/task", "MB")
    keys = ("tasks_per_s", "p50_ms", "p95_ms", "p99_ms", "cpu_ms_per_task", "memory_mb")
    columns: list[Column] = ["", *((name, RIGHT) for name in headings), "what it is"]
    rows = [(each["name"], *(each[key] for key in keys), each["summary"]) for each in found["contenders"]]
    out.print(table(columns, rows))
    for figure, says in (
        ("tasks_per_s", "tasks a second, swarmd's over theirs (above 1: swarmd is ahead)"),
        ("cpu_ms_per_task", "CPU a task, swarmd's over theirs (below 1: swarmd needs less)"),
    ):
        _show_ratios(found["ratios"], figure, says, out)
    out.note("")
    by_lack: dict[str, list[str]] = {}
    for each in found["contenders"]:
        for what in each["lacks"]:
            by_lack.setdefault(what, []).append(each["name"])
    if by_lack:
        out.print(
            table(["what is not done", "by"], [(what, ", ".join(who)) for what, who in by_lack.items()])
        )
    for each in found["contenders"]:
        for key, what in (("wrong", "wrong results"), ("unrecorded", "results are not on record")):
            if each[key]:
                out.line(f"{each['name']}: {each[key]} {what}", "red")
    for each in found["absent"]:
        out.line(f"{each['system']} is left out: {each['why']}\n  fix: {each['fix']}")
    for each in found["failed"]:
        out.line(f"{each['contender']} failed: {each['why']}", "red")


def _show_ratios(ratios: Mapping[str, Any], figure: str, says: str, out: Output) -> None:
    if not ratios or not (ours := list(next(iter(ratios.values()))[figure])):
        return
    rows: Sequence[Sequence[object]] = [
        (name, *(found[figure][our] for our in ours)) for name, found in ratios.items()
    ]
    out.note("")
    out.note(says)
    out.print(table(["", *((our, RIGHT) for our in ours)], rows))
