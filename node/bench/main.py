"""The command `swarmd bench mesh`."""

from argparse import ArgumentParser, Namespace
from typing import Any

from swarmd.node.bench import mesh, sweep
from swarmd.node.bench.machine import machine
from swarmd.node.console.output import Output, facts
from swarmd.protocol.faults import LocalFault


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--nodes", type=int, default=4, metavar="N", help="daemon processes (default 4)")
    parser.add_argument("--tasks", type=int, default=500, metavar="N", help="needs of one task (default 500)")
    parser.add_argument(
        "--window", type=int, default=128, metavar="N", help="needs under way at a time (default 128)"
    )
    parser.add_argument("--verifiers", type=int, metavar="N", help="nodes in the roster (default: all)")
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="runs; the median one is reported")
    parser.add_argument(
        "--rates",
        metavar="LIST",
        help="an open loop instead, at each of these tasks a second, such as 25,50,100: what each latency goal bears",
    )
    parser.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="with --rates: at each (default 10)"
    )


def main(args: Namespace, out: Output) -> int:
    """0 if no task was lost and all nodes agree."""
    if not 1 <= args.nodes <= 32 or args.tasks < args.nodes or args.window < 1 or args.runs < 1:
        raise LocalFault("usage", "1 to 32 nodes, at least one task a node, a window and runs of at least 1")
    if args.verifiers is not None and not 1 <= args.verifiers <= args.nodes:
        raise LocalFault("usage", "1 to --nodes verifiers")
    rates = _rates(args.rates) if args.rates is not None else []
    if not 0 < args.seconds <= 600:
        raise LocalFault("usage", "--seconds is above 0 and at most 600")
    last = [0]

    def progress(done: int, tasks: int) -> None:
        if done * 10 // tasks > last[0] or done == tasks:
            last[0] = 0 if done == tasks else done * 10 // tasks
            out.progress(f"{done}/{tasks} tasks")

    if rates:
        with mesh.formed(args.nodes, args.window, args.verifiers, progress) as bench:
            return _show_sweep(sweep.sweep(bench, rates, args.seconds) | machine(), out)
    figures: dict[str, Any] = mesh.run(
        nodes=args.nodes,
        tasks=args.tasks,
        window=args.window,
        verifiers=args.verifiers,
        runs=args.runs,
        progress=progress,
    )
    if out.as_json:
        out.document(figures)
    else:
        out.print(facts(list(figures.items())))
    return 0 if figures["loss"] == 0 and figures["nodes_agree"] else 1


def _rates(text: str) -> list[float]:
    try:
        rates = [float(part) for part in text.split(",")]
    except ValueError:
        rates = []
    if not rates or rates != sorted(set(rates)) or not 0 < rates[0] <= rates[-1] <= 10_000:
        raise LocalFault(
            "usage", f"--rates is a rising list of tasks a second, not {text!r}", fix="--rates 25,50,100"
        )
    return rates


def _show_sweep(figures: dict[str, Any], out: Output) -> int:
    """0 if all of the lowest rate was done: that a higher one is too high is what a sweep is to find."""
    if out.as_json:
        out.document(figures)
    else:
        for row in figures["sweep"]:
            out.print(facts(list(row.items())))
            out.line("")
        out.print(facts([(f"{name} holds up to", rate) for name, rate in figures["holds_up_to"].items()]))
    return 1 if figures["sweep"][0]["unfinished"] else 0
