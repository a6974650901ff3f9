"""The command `swarmd bench decide`."""

import statistics
from argparse import ArgumentParser, Namespace
from typing import Any

from swarmd.node.bench.decide import Load, measure
from swarmd.node.bench.etcd_servers import installed
from swarmd.node.bench.machine import machine
from swarmd.node.console.output import Output, facts
from swarmd.protocol.faults import LocalFault


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--nodes", type=int, default=5, metavar="N", help="daemons, all verifiers (default 5)"
    )
    parser.add_argument("--rate", type=float, default=200.0, metavar="N", help="needs a second (default 200)")
    parser.add_argument("--seconds", type=float, default=15.0, metavar="S", help="for so long (default 15)")
    parser.add_argument(
        "--alpha", type=float, default=0.3, metavar="A", help="K is this share of the verifiers (default 0.3)"
    )
    parser.add_argument(
        "--quorum-mode", choices=("majority", "bft"), default="majority", help="as genesis has it"
    )
    parser.add_argument("--whole", action="store_true", help="agents do the work, all of a need's life runs")
    parser.add_argument("--no-etcd", action="store_true", help="leave the run with etcd as the arbiter out")
    parser.add_argument(
        "--runs", type=int, default=1, metavar="N", help="of each; the one of median p95 counts"
    )


def main(args: Namespace, out: Output) -> int:
    """0 if every need was decided, once."""
    if (
        not 1 <= args.nodes <= 32
        or not 0 < args.rate <= 10_000
        or not 0 < args.seconds <= 600
        or args.runs < 1
    ):
        raise LocalFault("usage", "1 to 32 nodes, a rate, seconds and runs that make a run")
    if not 0 <= args.alpha <= 1:
        raise LocalFault("usage", "--alpha is from 0 to 1")
    load = Load(args.nodes, args.rate, args.seconds, round(args.alpha * 1000), args.quorum_mode, args.whole)
    with_etcd = installed() and not args.no_etcd
    if not with_etcd and not args.no_etcd:
        out.progress("etcd is not installed (apt-get install etcd-server): measuring without it")

    def progress(done: int, needs: int) -> None:
        if done % 1_000 == 0 or done == needs:
            out.progress(f"{done}/{needs} needs")

    def median(etcd: bool) -> dict[str, Any]:
        runs = [measure(load, etcd=etcd, progress=progress) for _ in range(args.runs)]
        middle = statistics.median_low(run["decide_p95_ms"] for run in runs)
        chosen = next(run for run in runs if run["decide_p95_ms"] == middle)
        return {**chosen, "runs_p95_ms": [run["decide_p95_ms"] for run in runs]}

    plain = median(etcd=False)
    arbitrated = median(etcd=True) if with_etcd else dict.fromkeys(plain)
    figures = {
        "nodes": load.nodes,
        "rate": load.rate,
        "seconds": load.seconds,
        "quorum_mode": load.quorum_mode,
        "whole": load.whole,
        **plain,
        **{f"etcd_{name}": value for name, value in arbitrated.items() if name not in ("k", "quorum")},
        **machine(),
    }
    if out.as_json:
        out.document(figures)
    else:
        out.print(facts(list(figures.items())))
    wrong = [run["undecided"] or run["decided_twice"] for run in (plain, arbitrated)]
    return 1 if any(wrong) else 0
