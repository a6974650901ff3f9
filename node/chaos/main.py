"""The command `swarmd chaos run`."""

import secrets
from argparse import ArgumentParser, Namespace
from typing import Any

from swarmd.node.chaos import run
from swarmd.node.chaos.machine import preflight, refusals
from swarmd.node.chaos.nemeses import NEMESES
from swarmd.node.chaos.netns import MAX_NODES
from swarmd.node.console.output import Output, facts
from swarmd.protocol.faults import LocalFault


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--minutes", type=float, default=1.0, metavar="M", help="how long things go wrong (default 1)"
    )
    parser.add_argument("--nodes", type=int, default=3, metavar="N", help="daemon processes (default 3)")
    parser.add_argument(
        "--seed", type=int, metavar="S", help="picks what goes wrong and when (default: a new one)"
    )
    parser.add_argument(
        "--nemesis",
        default=",".join(NEMESES),
        metavar="KINDS",
        help=f"what may go wrong, with commas between (default: {','.join(NEMESES)})",
    )
    parser.add_argument(
        "--rate", type=float, default=1.0, metavar="R", help="needs posted a second at each node (default 1)"
    )
    parser.add_argument(
        "--heal",
        type=float,
        default=90.0,
        metavar="S",
        help="the time the nodes have to agree again (default 90)",
    )
    parser.add_argument("--keep", action="store_true", help="keep the homes also if all held")
    parser.add_argument(
        "--check", action="store_true", help="only try each nemesis, and say what this machine refuses"
    )
    parser.add_argument(
        "--clean", action="store_true", help="only remove what killed runs left: namespaces and homes"
    )


def main(args: Namespace, out: Output) -> int:
    """0 if every property held, 1 if one was violated; with --check, 1 if a nemesis is refused."""
    if args.check:
        return _check(_kinds(args), out)
    if args.clean:
        preflight(())
        removed = run.clean()
        if out.as_json:
            out.document(removed)
        else:
            for what, names in removed.items():
                out.note(f"{len(names)} {what} removed")
        return 0
    settings = _settings(args)

    def say(text: str) -> None:
        if not out.as_json:
            out.note(text)

    report = run.run(settings, say)
    if out.as_json:
        out.document(report)
    else:
        _show(out, report)
    return 1 if report["violations"] else 0


def _check(kinds: list[str], out: Output) -> int:
    refused = refusals(kinds)
    if out.as_json:
        faults = {kind: refused.get(kind) for kind in kinds}
        out.document(
            {
                kind: {"code": fault.code, "message": fault.message, "fix": fault.fix} if fault else None
                for kind, fault in faults.items()
            }
        )
        return 1 if refused else 0
    said = {kind: f"no: {refused[kind].message}" if kind in refused else "yes" for kind in kinds}
    out.print(facts(list(said.items())))
    for fix in dict.fromkeys(fault.fix for fault in refused.values()):
        out.line(f"fix: {fix}")
    return 1 if refused else 0


def _kinds(args: Namespace) -> list[str]:
    kinds = list(dict.fromkeys(word for word in args.nemesis.split(",") if word))
    unknown = [kind for kind in kinds if kind not in NEMESES]
    if unknown:
        raise LocalFault("usage", f"no nemesis {unknown[0]!r}", fix=f"there are: {', '.join(NEMESES)}")
    return kinds


def _settings(args: Namespace) -> run.Settings:
    if not 2 <= args.nodes <= MAX_NODES:
        raise LocalFault("usage", f"2 to {MAX_NODES} nodes, not {args.nodes}")
    for name, most in (("minutes", 7 * 24 * 60), ("rate", 1_000), ("heal", 3_600)):
        if not 0 < getattr(args, name) <= most:
            raise LocalFault("usage", f"--{name} is more than 0 and at most {most}")
    return run.Settings(
        minutes=args.minutes,
        nodes=args.nodes,
        seed=secrets.randbelow(1 << 32) if args.seed is None else args.seed,
        kinds=_kinds(args),
        rate_per_s=args.rate,
        heal_limit_s=args.heal,
        keep=args.keep,
    )


def _show(out: Output, report: dict[str, Any]) -> None:
    pairs: list[tuple[str, object]] = [
        ("seed", report["seed"]),
        ("faults", ", ".join(f"{count} {kind}" for kind, count in report["faults"].items())),
        (
            "needs",
            f"{report['needs']}: {report['finalized']} finalized, {report['refunded']} refunded,"
            f" {report['expired']} expired",
        ),
        ("acknowledged", f"{report['acknowledged']}, {report['unanswered']} posts without an answer"),
        ("agreed after", "never" if report["heal_s"] is None else f"{report['heal_s']:g} s"),
        *((name, state) for name, state in report["properties"].items()),
    ]
    out.print(facts(pairs))
    for found in report["violations"]:
        where = f" at {found['node']}" if found["node"] else ""
        out.line(f"VIOLATION of {found['property']}{where}: {found['text']}", "red")
    if "homes" in report:
        out.line(f"The homes are kept: {report['homes']}")
        for command in report["again"]:
            out.line(f"  {command}")
