"""`swarmd sim run`: one run from the command line, as one JSON object that follows from seed and commit alone."""

import argparse
import gc
import json
import sys
import time
from typing import Any, Protocol

from swarmd.protocol.faults import LocalFault
from swarmd.protocol.genesis import BFT, COMMITTEE, ETCD, MAJORITY
from swarmd.simulations.nemesis import ALL, NEMESES
from swarmd.simulations.run import CHAIN_EPOCHS, EPOCH_S, Config, Report, Simulation
from swarmd.simulations.shrink import shrink


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `swarmd sim run`."""
    parser.add_argument("--seed", type=int, default=1, help="everything follows from it")
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=100, help="in needs of one to five tasks")
    parser.add_argument(
        "--nemesis",
        default=",".join(ALL),
        help=f"a comma-separated choice of {', '.join(NEMESES)}; 'none' for no faults (default: %(default)s)",
    )
    parser.add_argument("--active-s", type=int, default=30, help="simulated seconds of faults and new needs")
    parser.add_argument("--liars", type=int, default=20, metavar="PERCENT", help="share of nodes that lie")
    parser.add_argument("--quorum-mode", choices=(MAJORITY, BFT), default=MAJORITY, help="as genesis has it")
    parser.add_argument("--arbiter", choices=(COMMITTEE, ETCD), default=COMMITTEE, help="as genesis has it")
    parser.add_argument(
        "--epoch-s", type=int, default=EPOCH_S, help="as genesis has it; 0: one epoch for ever (%(default)s)"
    )
    parser.add_argument(
        "--challenge-window",
        type=int,
        metavar="S",
        default=0,
        help="as genesis has it: committees look at the form alone, and lies are challenged (0: none)",
    )
    parser.add_argument(
        "--escrows", type=int, default=0, metavar="N", help="escrows between owners, beside the needs"
    )
    parser.add_argument(
        "--joins",
        type=int,
        default=0,
        metavar="N",
        help="of the nodes are no founders: they join, and some leave",
    )
    parser.add_argument(
        "--transfers",
        type=int,
        metavar="N",
        default=0,
        help="transfers of money beside the needs; liars spend theirs twice (%(default)s)",
    )
    parser.add_argument("--keep-faults", type=_numbers, metavar="N,N", help="leave out all other faults")
    parser.add_argument("--keep-needs", type=_numbers, metavar="N,N", help="leave out all other needs")
    parser.add_argument(
        "--chain-epochs",
        type=int,
        default=CHAIN_EPOCHS,
        metavar="N",
        help="of how many epochs an author's chains stay open; 0: of all (%(default)s)",
    )
    parser.add_argument(
        "--everything", action="store_true", help="the core's own full checks after every step"
    )
    parser.add_argument(
        "--no-share", action="store_true", help="each node parses, verifies and makes everything by itself"
    )
    parser.add_argument("--no-replay", action="store_true", help="skip the replay of journals at the end")
    parser.add_argument("--no-shrink", action="store_true", help="do not look for a smaller failing run")
    parser.add_argument("--timing", action="store_true", help="print the speed on stderr")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


class Out(Protocol):
    """What a command writes to: swarmd.node.console.output.Output is one."""

    @property
    def as_json(self) -> bool: ...

    def document(self, value: Any) -> None: ...

    def line(self, text: str) -> None: ...


def main(args: argparse.Namespace, out: Out) -> int:
    """0 if every property held, 1 if one did not. LocalFault `usage` for arguments that make no run."""
    names = () if args.nemesis == "none" else tuple(name for name in args.nemesis.split(",") if name)
    try:
        config = Config(
            args.seed,
            args.nodes,
            args.tasks,
            names,
            active_s=args.active_s,
            liar_permille=args.liars * 10,
            keep_faults=args.keep_faults,
            keep_needs=args.keep_needs,
            everything=args.everything,
            share=not args.no_share,
            replay=not args.no_replay,
            quorum_mode=args.quorum_mode,
            arbiter=args.arbiter,
            epoch_s=args.epoch_s,
            chain_epochs=args.chain_epochs,
            challenge_window_s=args.challenge_window,
            escrows=args.escrows,
            joins=args.joins,
            transfers=args.transfers,
        )
    except LocalFault as fault:
        raise LocalFault("usage", fault.message, fix=fault.fix) from None
    report, took_s = timed(config)
    if args.timing:
        rate = report.admissions / took_s
        print(
            f"{report.admissions} envelopes admitted in {took_s:.2f} s of one core: {rate:.0f}/s",
            file=sys.stderr,
        )
    body = report.to_map()
    if report.violations:
        body["reproduce"] = command(config)
        if not args.no_shrink:
            body["shrunk"] = _shrunk(report)
    if out.as_json:
        out.document(body)
    else:
        out.line(_text(body))
    return 1 if report.violations else 0


def timed(config: Config) -> tuple[Report, float]:
    """A run and how long it took, in seconds of one core."""
    # A run makes many objects that live to its end: looking through them for cycles is a quarter of its time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        start_s = time.process_time()
        report = Simulation(config).run()
        return report, time.process_time() - start_s
    finally:
        if collecting:
            gc.enable()


def command(config: Config) -> str:
    """The one command that repeats a run."""
    parts = ["swarmd sim run", f"--seed {config.seed}", f"--nodes {config.nodes}", f"--tasks {config.tasks}"]
    parts.append(f"--nemesis {','.join(config.nemeses) or 'none'}")
    parts.append(f"--active-s {config.active_s} --liars {config.liar_permille // 10}")
    for option, kept in (("--keep-faults", config.keep_faults), ("--keep-needs", config.keep_needs)):
        if kept is not None:
            parts.append(f"{option} {','.join(map(str, kept)) or ','}")
    if config.quorum_mode != MAJORITY:
        parts.append(f"--quorum-mode {config.quorum_mode}")
    if config.arbiter != COMMITTEE:
        parts.append(f"--arbiter {config.arbiter}")
    if config.challenge_window_s:
        parts.append(f"--challenge-window {config.challenge_window_s}")
    if config.escrows:
        parts.append(f"--escrows {config.escrows}")
    if config.joins:
        parts.append(f"--joins {config.joins}")
    if config.transfers:
        parts.append(f"--transfers {config.transfers}")
    if config.epoch_s != EPOCH_S:
        parts.append(f"--epoch-s {config.epoch_s}")
    if config.chain_epochs != CHAIN_EPOCHS:
        parts.append(f"--chain-epochs {config.chain_epochs}")
    if config.everything:
        parts.append("--everything")
    return " ".join([*parts, "--json"])


def _shrunk(report: Report) -> dict[str, Any]:
    small = shrink(report)
    return {
        "command": command(small.config),
        "violations": small.report.violations[:3],
        "schedule": [fault.to_map() for fault in small.report.schedule],
        "needs": len(small.report.plans),
        "runs": small.runs,
    }


def _text(body: dict[str, Any]) -> str:
    lines = [
        f"seed {body['seed']}: {body['nodes']} nodes, {body['tasks']} tasks, {body['simulated_s']} s simulated, "
        f"{body['envelopes']} envelopes, {body['admissions']} admitted",
        "needs: " + ", ".join(f"{count} {state}" for state, count in body["needs"].items()),
        "faults: " + (", ".join(f"{count} {name}" for name, count in body["faults"].items()) or "none"),
    ]
    for name, counts in body["properties"].items():
        verdict = "held" if not counts["violations"] else f"BROKEN {counts['violations']} times"
        lines.append(f"  {name:<12} {verdict}, {counts['checks']} checks")
    for violation in body["violations"][:10]:
        lines.append(f"VIOLATION {violation['property']} at {violation['at_ms']} ms: {violation['what']}")
    if "reproduce" in body:
        lines.append("again: " + body["reproduce"])
    if "shrunk" in body:
        lines.append("smaller: " + body["shrunk"]["command"])
        lines.append("schedule: " + json.dumps(body["shrunk"]["schedule"]))
    lines.append("state digest: " + body["state_digest"])
    return "\n".join(lines)
