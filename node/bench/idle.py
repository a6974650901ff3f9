"""`swarmd bench idle`: what a daemon costs that has joined a mesh and has nothing to do, and how soon it is there again.

Two daemons with agents do some needs, so that there is a history; with short epochs a checkpoint closes them, and what
that daemon takes then, which did all that, is the first figure. Then it is started anew: after kill -9, and after an
orderly stop. What it uses while nobody asks anything of it is counted last, agents attached and peer connected. With an
`--epoch` of more than a minute the needs of the history are still in memory.
"""

import signal
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarmd.node.bench.machine import machine
from swarmd.node.bench.mesh import Bench
from swarmd.node.bench.processes import MachineLoad
from swarmd.node.cluster import Cluster, Member
from swarmd.node.console.output import Output, facts
from swarmd.protocol.faults import LocalFault

WINDOW = 64
# Longer epochs are not waited for: the needs stay open, so to speak.
CLOSES_WITHIN_S = 60
GOALS = {"cpu_percent": 1.0, "rss_mb": 150.0, "start_s": 2.0}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--agents", type=int, default=10, metavar="N", help="attached agents (default 10)")
    parser.add_argument(
        "--history", type=int, default=1_000, metavar="N", help="needs done before (default 1000)"
    )
    parser.add_argument(
        "--epoch", type=int, default=10, metavar="S", help="an epoch lasts so long at least (default 10)"
    )
    parser.add_argument(
        "--seconds", type=float, default=30.0, metavar="S", help="of idling that count (default 30)"
    )
    parser.add_argument(
        "--settle", type=float, default=15.0, metavar="S", help="after the start, not counted (default 15)"
    )


def main(args: Namespace, out: Output) -> int:
    """0 if nothing was lost and the daemon was ready each time; a goal that is missed is a figure."""
    if not (1 <= args.agents <= 128 and 0 <= args.history <= 10_000_000 and 0 <= args.epoch <= 86_400):
        raise LocalFault("usage", "1 to 128 agents, 0 to 10,000,000 needs, epochs of 0 s to a day")
    if not (1 <= args.seconds <= 86_400 and 0 <= args.settle <= 3_600):
        raise LocalFault("usage", "--seconds 1 to a day, --settle 0 to an hour")
    names = ["node-0", "node-1"]
    with tempfile.TemporaryDirectory(prefix="swarmd-bench-") as folder:
        cluster = Cluster(
            Path(folder), names, verifiers=names, balance=10**15, mesh="bench", epoch_s=args.epoch
        )
        bench = Bench(cluster, WINDOW, lambda _done, _all: None, ("--agents", str(args.agents)))
        try:
            bench.start()
            out.progress(f"a mesh of two; {args.history} needs")
            lost = bench.run(args.history)["loss"] if args.history else 0
            if 0 < args.epoch <= CLOSES_WITHIN_S:
                out.progress("until a checkpoint has closed them")
                wait_closed(bench.cluster.members, 6.0 * args.epoch + CLOSES_WITHIN_S)
            figures = _measure(bench, args, out)
        finally:
            bench.stop()
    figures |= {"loss": lost, **machine()}
    figures["goals_met"] = {name: figures[name] < goal for name, goal in GOALS.items()}
    if out.as_json:
        out.document(figures)
    else:
        out.print(facts([(name, value) for name, value in figures.items()]))
    return 0 if not lost else 1


def wait_closed(members: Sequence[Member], within_s: float) -> None:
    """Until none of them has a need in memory. LocalFault if that takes longer."""
    by_s = time.monotonic() + within_s
    while any(sum(member.call("status")["needs"].values()) for member in members):
        if time.monotonic() > by_s:
            raise LocalFault("bench-stuck", f"no checkpoint has closed the needs within {within_s:g} s")
        time.sleep(1.0)


def _measure(bench: Bench, args: Namespace, out: Output) -> dict[str, Any]:
    member = bench.cluster.members[0]
    worked_mb = member.rss_mb()
    load = MachineLoad()
    killed = restart(bench, member, signal.SIGKILL)
    orderly = restart(bench, member, signal.SIGTERM)
    others = load.others_percent(0.0)
    bench.wait_formed()
    out.progress(
        f"ready after {orderly['start_s']} s; {args.settle:g} s to settle, {args.seconds:g} s of idling"
    )
    time.sleep(args.settle)
    load, cpu_s, began = MachineLoad(), _cpu_s(bench), time.monotonic()
    own_s = member.cpu_s()
    time.sleep(args.seconds)
    took_s = time.monotonic() - began
    status = member.call("status")
    return {
        "agents": args.agents,
        "history": args.history,
        "epoch": status["checkpoint"]["epoch"],
        "needs_in_memory": sum(status["needs"].values()),
        "cpu_percent": round(100 * (member.cpu_s() - own_s) / took_s, 2),
        "rss_mb": round(member.rss_mb(), 1),
        "rss_after_work_mb": round(worked_mb, 1),
        **orderly,
        **{f"killed_{name}": value for name, value in killed.items()},
        "peers": status["peers"],
        "idle_s": round(took_s, 1),
        "busy_percent_at_starts": others,
        "others_cpu_percent": load.others_percent(_cpu_s(bench) - cpu_s),
    }


def _cpu_s(bench: Bench) -> float:
    return sum(member.cpu_s() for member in bench.cluster.members)


def restart(bench: Bench, member: Member, how: signal.Signals) -> dict[str, float]:
    """Stop a daemon and start it: seconds from the start of its process to its ready line, and its CPU of that."""
    assert member.process is not None
    member.disconnect()
    member.process.send_signal(how)
    began = time.monotonic()
    member.process.wait(60.0)
    stop_s = time.monotonic() - began
    began = time.monotonic()
    bench.cluster.start(member, *_peers_of(bench, member))
    bench.cluster.wait_ready(member)
    return {
        "start_s": round(time.monotonic() - began, 2),
        "start_cpu_s": round(member.cpu_s(), 2),
        "stop_s": round(stop_s, 2),
    }


def _peers_of(bench: Bench, member: Member) -> list[str]:
    """The daemons that came after it do not dial it at its new address: it dials them."""
    later = bench.cluster.members[bench.cluster.members.index(member) + 1 :]
    return [word for other in later if other.addr for word in ("--peer", other.addr)]
