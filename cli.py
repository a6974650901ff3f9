"""The swarmd command: argument parsing and composition, nothing else.

Commands are modules of `swarmd.node.console`, imported when they run, so that `swarmd --version` is quick.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from swarmd.node.console.grammar import (
    agents,
    api,
    backups,
    balances,
    checkpoints,
    consensus,
    contents,
    escrows,
    figures,
    lifecycle,
    meshes,
    money,
    needs,
    node,
    peers,
    policies,
    states,
    tools,
    verifiers,
)
from swarmd.node.console.outcome import INTERRUPTED, REFUSED, USAGE, UsageFault, exit_code, system_fault
from swarmd.node.console.parser import Commands, Parser, common_flags, later, load
from swarmd.protocol.faults import Fault

EXIT_CODES = """\
exit codes: 0 done, 1 done but failed (need refunded, check or demo not held), 2 wrong command line or
configuration, 3 no daemon answers, 4 refused, 5 timeout, 6 the node's state is damaged, 130 Ctrl-C"""


def build_parser() -> Parser:
    common = common_flags()
    parser = Parser(
        prog="swarmd",
        description="A peer-to-peer node for agents: find work, agree who does it, check the result, get paid.",
        epilog=f"example:\n  swarmd init && swarmd up\n\n{EXIT_CODES}",
        parents=[common],
    )
    parser.set_defaults(takes_command=False)
    parser.add_argument("--version", action="store_true", help="say the version and end")
    commands = Commands(parser, common)
    for family in (
        node,
        lifecycle,
        peers,
        needs,
        money,
        escrows,
        balances,
        consensus,
        verifiers,
        agents,
        contents,
        backups,
        states,
        figures,
        checkpoints,
        policies,
        meshes,
        api,
    ):
        family.add(commands)
    _add_sim(commands)
    tools.add(commands)
    return parser


def _add_sim(commands: Commands) -> None:
    sim = commands.group("sim", "the core on a simulated network, disk and clock", "swarmd sim run --seed 7")
    run = sim.add(
        "run",
        "swarmd.cli:run_sim",
        "simulate a mesh with faults and liars, all following from a seed",
        "swarmd sim run --seed 7 --nodes 20 --tasks 100 --json",
        "Exit code 1 if a property was violated; it then looks for a smaller run that fails too.",
    )
    run.fill = later("swarmd.cli:sim_arguments")
    scale = sim.add(
        "scale",
        "swarmd.cli:run_scale",
        "model a swarm of many agents on measured costs: latency, messages, state and how they grow",
        "swarmd sim scale --agents 10000 --plot scale.svg",
        "Exit code 1 if a bound is missed; with --compare, if real daemons lost a task.",
    )
    scale.fill = later("swarmd.cli:scale_arguments")


# Here and not in the console: node and simulations do not know each other.


def sim_arguments(parser: Parser) -> None:
    from swarmd.simulations.main import add_arguments

    _borrow(parser, add_arguments)


def scale_arguments(parser: Parser) -> None:
    from swarmd.simulations.scale.main import add_arguments

    _borrow(parser, add_arguments)


def _borrow(parser: Parser, add_arguments: Callable[[argparse.ArgumentParser], None]) -> None:
    """Give `parser` the options of a command of a room that knows no console."""
    own = argparse.ArgumentParser(add_help=False)
    add_arguments(own)
    for action in own._actions:
        parser._add_action(action)


def run_sim(ctx: Any) -> int:
    from swarmd.simulations.main import main as simulate

    return simulate(ctx.args, ctx.out)


def run_scale(ctx: Any) -> int:
    from swarmd.simulations.scale.main import main as scale

    return scale(ctx.args, ctx.out)


def parse(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    """The arguments; what follows the first `--` is an agent's command, untouched."""
    words = list(argv)
    rest: list[str] = []
    if "--" in words:
        at = words.index("--")
        words, rest = words[:at], words[at + 1 :]
    defaults = argparse.Namespace(home=None, json=False, quiet=False, no_color=False)
    parser.check_first_flags(words)
    args: argparse.Namespace = parser.parse_args(words, defaults)
    if rest and not args.takes_command:
        prog = args.chosen.prog
        raise UsageFault(f"{prog}: nothing may follow --: {' '.join(rest)}", fix=f"see {prog} --help")
    if args.takes_command:
        args.command = rest
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (docs/cli.md)."""
    words = list(sys.argv[1:] if argv is None else argv)
    _open_closed_streams()
    # Known before the arguments are parsed, since that may be what fails.
    own = words[: words.index("--")] if "--" in words else words
    try:
        if "--version" in own:
            return _say_version("--json" in own)
        return _answer(words, own)
    except BrokenPipeError:
        # Whoever read us has enough. Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # Not even the complaint could be written where it belongs, such as to a full disk.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"swarmd: cannot write: {error.strerror}", file=sys.stderr)
        return REFUSED


def _open_closed_streams() -> None:
    """A shell can close them (`<&-`): Python then has None, and the next file opened would take their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))


def _say_version(as_json: bool) -> int:
    from swarmd.node.version import version

    print(json.dumps({"version": version()}) if as_json else f"swarmd {version()}", flush=True)
    return 0


def _answer(words: list[str], own: list[str]) -> int:
    from swarmd.node.console.output import Output

    out = Output(
        as_json="--json" in own, quiet=bool({"-q", "--quiet"} & set(own)), color="--no-color" not in own
    )
    try:
        return _run(words, out)
    except Fault as fault:
        out.fail(fault)
        return exit_code(fault)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:
        # The system refused what no command had a better word for: a folder without rights, a full disk.
        refused = system_fault(error)
        out.fail(refused)
        return exit_code(refused)


def _run(words: list[str], out: Any) -> int:
    from swarmd.node.console.attended import attended
    from swarmd.node.console.context import Context

    parser = build_parser()
    if not words:
        parser.print_help(sys.stderr)
        return USAGE
    args = parse(parser, words)
    out.command = args.command_name
    return attended(load(args.run), Context(args, out, os.environ, parser, tuple(words)))


if __name__ == "__main__":
    sys.exit(main())
