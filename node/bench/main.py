"""The command `swarmd bench mesh`."""

from argparse import ArgumentParser, Namespace
from typing import Any

from swarmd.node.bench import mesh
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


def main(args: Namespace, out: Output) -> int:
    """0 if no task was lost and all nodes agree."""
    if not 1 <= args.nodes <= 32 or args.tasks < args.nodes or args.window < 1 or args.runs < 1:
        raise LocalFault("usage", "1 to 32 nodes, at least one task a node, a window and runs of at least 1")
    if args.verifiers is not None and not 1 <= args.verifiers <= args.nodes:
        raise LocalFault("usage", "1 to --nodes verifiers")
    last = [0]

    def progress(done: int, tasks: int) -> None:
        if done * 10 // tasks > last[0] or done == tasks:
            last[0] = 0 if done == tasks else done * 10 // tasks
            out.progress(f"{done}/{tasks} tasks")

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
