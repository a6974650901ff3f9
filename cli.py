"""The swarmd command: argument parsing and composition, nothing else.

Commands are modules of `swarmd.node.console`, imported when they run, so that `swarmd --version` is quick.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from swarmd.node.console.outcome import INTERRUPTED, USAGE, UsageFault, exit_code
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
    _add_node(commands)
    _add_needs(commands)
    _add_agents(commands)
    _add_tools(commands)
    return parser


def _add_node(commands: Commands) -> None:
    init = commands.add(
        "init",
        "node:run_init",
        "make a node: its folder, key, swarmd.toml and mesh",
        "swarmd init --genesis genesis.json --peer /ip4/192.0.2.7/tcp/4001/p2p/12D3Koo...",
        "Without --genesis it founds a mesh of its own. To found one with others, each makes a key with "
        "--key-only and the founder names their DIDs with --verifier; all then use the founder's genesis.json.",
    )
    init.add_argument("--name", default="solo", help="the name of a new mesh (default: solo)")
    init.add_argument("--genesis", metavar="FILE", help="join the mesh of this genesis.json")
    init.add_argument("--key-only", action="store_true", help="only make the key, and say its DID")
    init.add_argument(
        "--verifier",
        metavar="DID",
        action="append",
        default=[],
        help="a verifier of a new mesh beside this node; repeatable",
    )
    init.add_argument(
        "--fund",
        metavar="DID=USDC",
        action="append",
        default=[],
        help="an opening balance of a new mesh; DID may be 'me'; repeatable",
    )
    init.add_argument(
        "--listen", metavar="MULTIADDR", action="append", help="written to swarmd.toml; repeatable"
    )
    init.add_argument(
        "--peer",
        dest="peers",
        metavar="MULTIADDR",
        action="append",
        help="written to swarmd.toml; repeatable",
    )

    up = commands.add(
        "up",
        "node:run_up",
        "run the node until it is stopped",
        "swarmd up --listen /ip4/0.0.0.0/tcp/4001 --log-format json",
        "Flags go before SWARMD_* variables, and these before swarmd.toml.",
    )
    up.add_argument("--listen", metavar="MULTIADDR", action="append", help="where to listen; repeatable")
    up.add_argument(
        "--peer",
        dest="peers",
        metavar="MULTIADDR",
        action="append",
        help="a node to keep connected to; repeatable",
    )
    up.add_argument(
        "--policy", dest="policy_path", metavar="WASM", help="a compiled policy instead of the one that ships"
    )
    up.add_argument("--lease-ttl-s", type=int, metavar="S", help="how long a claimed task is ours to deliver")
    up.add_argument("--checks", choices=("touched", "full"), help="invariants after each step")
    up.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="how much is logged")
    up.add_argument("--log-format", choices=("text", "json"), help="lines for people or for programs")

    commands.add("stop", "node:run_stop", "stop the running node", "swarmd stop")
    commands.add("status", "node:run_status", "say how the node is", "swarmd status --json | jq .balance")
    commands.add("peers", "node:run_peers", "list the connected nodes", "swarmd peers")
    balance = commands.add("balance", "node:run_balance", "say what an account has", "swarmd balance --json")
    balance.add_argument("did", nargs="?", help="whose (default: this node's)")


def _add_needs(commands: Commands) -> None:
    needs = commands.group("need", "post and follow needs", "swarmd need list")
    post = needs.add(
        "post",
        "needs:run_post",
        "ask the mesh for work, with money locked for it",
        "swarmd need post text.wordcount --text text=@book.txt --budget 1.00 --wait\n"
        '  echo \'{"budget": "1", "tasks": [{"id": "a", "capability": "text.wordcount",\n'
        '    "input": {"text": {"file": "book.txt"}}}]}\' | swarmd need post --graph - --wait',
        "Either one task (CAPABILITY and its arguments) or a graph of tasks from a file. In a graph an input is "
        '{"text": ...}, {"json": ...}, {"file": PATH}, {"cid": CID, "as": "json"} or {"task": ID, "pointer": "/x"}.',
    )
    post.add_argument("capability", nargs="?", help="what is needed, such as text.wordcount")
    post.add_argument(
        "--text",
        metavar="NAME=TEXT",
        action="append",
        default=[],
        help="a text argument; @FILE reads it, @- from stdin",
    )
    post.add_argument(
        "--json-arg", metavar="NAME=JSON", action="append", default=[], help="a JSON argument; @FILE reads it"
    )
    post.add_argument(
        "--file", metavar="NAME=PATH", action="append", default=[], help="a file's bytes as an argument"
    )
    post.add_argument(
        "--cid",
        metavar="NAME=CID[:AS]",
        action="append",
        default=[],
        help="content of the mesh as an argument; AS is json, text or bytes",
    )
    post.add_argument("--graph", metavar="FILE", help="a plan of several tasks, as JSON; - reads stdin")
    post.add_argument("--title", help="what people call it (default: the capability)")
    post.add_argument("--budget", metavar="USDC", help="the most it may cost, such as 1.50")
    post.add_argument("--max-price", metavar="USDC", help="the most the task may cost (default: the budget)")
    post.add_argument(
        "--deadline", type=int, metavar="S", help="when the money comes back, in seconds from now"
    )
    post.add_argument(
        "--verify", metavar="HOW", help="how results are judged: reexec, schema=@FILE, command=NAME"
    )
    post.add_argument(
        "--wait", action="store_true", help="follow it to its end; exit 1 unless it is FINALIZED"
    )
    _add_timeout(post)

    listing = needs.add(
        "list", "needs:run_list", "list needs, newest first", "swarmd need list --state running"
    )
    listing.add_argument(
        "--state", help="only those in this state, such as open, running, finalized, refunded"
    )
    listing.add_argument("--limit", type=_positive, default=50, help="at most so many (default: 50)")
    show = needs.add("show", "needs:run_show", "say all about a need", "swarmd need show need-k3v7")
    show.add_argument("need", help="its id, or the beginning of it")
    watch = needs.add(
        "watch",
        "needs:run_watch",
        "follow a need to its end",
        "swarmd need watch need-k3v7 --json",
        'With --json one document a line: {"event": ...} for each step, {"result": ...} at the end.',
    )
    watch.add_argument("need", help="its id, or the beginning of it")
    _add_timeout(watch)
    why = commands.add("why", "why:run_why", "say why a need went as it did", "swarmd why need-k3v7")
    why.add_argument("need", help="its id, or the beginning of it")


def _add_agents(commands: Commands) -> None:
    agents = commands.group("agent", "the programs of this host that work for the mesh", "swarmd agent list")
    add = agents.add(
        "add",
        "agents:run_add",
        "register a program as an agent",
        "swarmd agent add wc --capability text.wordcount --price 0.02 -- python wordcount.py",
        "It is run once for each job: JSON on its stdin, JSON from its stdout. The node must be up.",
    )
    add.set_defaults(takes_command=True, command=[])
    add.add_argument("name", help="what to call it on this host")
    add.add_argument("--capability", action="append", required=True, help="what it can do; repeatable")
    add.add_argument(
        "--price",
        metavar="USDC",
        action="append",
        required=True,
        help="for one task; one for all capabilities or one for each",
    )
    add.add_argument(
        "--cwd", metavar="DIR", help="the folder it runs in (default: an empty one for each run)"
    )
    add.add_argument(
        "--env",
        metavar="NAME[=VALUE]",
        action="append",
        default=[],
        help="a variable it gets; without a value, this shell's",
    )
    add.add_argument("--timeout", type=_seconds, metavar="S", help="it is killed after so long (default: 60)")
    add.add_argument(
        "--memory", type=int, metavar="MB", help="it may use so much (default: 512; 0: no limit)"
    )
    add.add_argument("--concurrency", type=_positive, metavar="N", help="jobs at a time (default: 2)")
    add.add_argument("--replace", action="store_true", help="in place of the agent of that name")
    agents.add("list", "agents:run_list", "list the agents of this host", "swarmd agent list --json")
    for name, run, text in (
        ("rm", "agents:run_rm", "forget an agent"),
        ("on", "agents:run_enable", "let an agent take work again"),
        ("off", "agents:run_enable", "let an agent take no more work"),
        ("stderr", "agents:run_stderr", "show what an agent's last run wrote to stderr"),
    ):
        parser = agents.add(name, run, text, f"swarmd agent {name} wc")
        parser.add_argument("name", help="its name")
        parser.set_defaults(on=name == "on")


def _add_tools(commands: Commands) -> None:
    config = commands.group("config", "the node's settings", "swarmd config show")
    config.add(
        "show",
        "settings:run_show",
        "show each setting, and where its value comes from",
        "swarmd config show --json",
    )
    config.add(
        "check",
        "settings:run_check",
        "check that a node could start, without starting it",
        "swarmd config check",
    )

    completion = commands.add(
        "completion",
        "completion:run_completion",
        "print a completion script",
        "source <(swarmd completion bash)",
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    replay = commands.add(
        "replay",
        "replaying:run_replay",
        "run a node's journal again, in its order or another",
        "swarmd replay case.tar.zst --reorder 7 --skew-s 30",
        "Exit code 1 if another order gives another mesh digest, or a bundle another state than it held.",
    )
    replay.add_argument("source", nargs="?", help="a home or a bundle (default: this node's home)")
    replay.add_argument("--reorder", type=int, metavar="SEED", help="hear every envelope in another order")
    replay.add_argument("--skew-s", type=_seconds, metavar="S", help="by a clock off by up to so much")
    incident = commands.group(
        "incident",
        "what happened on this node, for others to run again",
        "swarmd incident capture case.tar.zst",
    )
    capture = incident.add(
        "capture",
        "replaying:run_capture",
        "pack journal and genesis into one file",
        "swarmd incident capture case.tar.zst",
    )
    capture.add_argument("bundle", help="the file to write; its name ends in .tar.zst")

    demo = commands.add(
        "demo",
        "meshes:run_demo",
        "run a mesh of five daemons here and take a need through it",
        "swarmd demo --json",
        "Exit code 0 only if the result is right, no money is lost and all nodes agree.",
    )
    demo.fill = later("meshes:demo_arguments")
    bench = commands.group("bench", "measure a mesh on this machine", "swarmd bench mesh --tasks 500 --json")
    mesh = bench.add(
        "mesh",
        "meshes:run_bench",
        "start a mesh of daemon processes and put tasks through it",
        "swarmd bench mesh --nodes 4 --tasks 500 --json",
        "Exit code 1 if a task was lost or the nodes do not agree.",
    )
    mesh.fill = later("meshes:bench_arguments")
    chaos = commands.group(
        "chaos", "real daemons while things go wrong", "swarmd chaos run --minutes 1 --seed 7"
    )
    run = chaos.add(
        "run",
        "meshes:run_chaos",
        "run a mesh in network namespaces, break things, judge its journals",
        "swarmd chaos run --minutes 1 --nodes 3 --seed 7",
        "Needs root on Linux. Exit code 1 if a property was violated.",
    )
    run.fill = later("meshes:chaos_arguments")
    sim = commands.group("sim", "the core on a simulated network, disk and clock", "swarmd sim run --seed 7")
    run = sim.add(
        "run",
        "swarmd.cli:run_sim",
        "simulate a mesh with faults and liars, all following from a seed",
        "swarmd sim run --seed 7 --nodes 20 --tasks 100 --json",
        "Exit code 1 if a property was violated; it then looks for a smaller run that fails too.",
    )
    run.fill = later("swarmd.cli:sim_arguments")
    commands.add(
        "version", "node:run_version", "say the versions of swarmd and Python", "swarmd version --json"
    )


def sim_arguments(parser: Parser) -> None:
    # Here and not in the console: node and simulations do not know each other.
    from swarmd.simulations.main import add_arguments

    own = argparse.ArgumentParser(add_help=False)
    add_arguments(own)
    for action in own._actions:
        # It has its own --json, for when it is run alone; ours stands before the command too.
        if action.dest != "json":
            parser._add_action(action)


def run_sim(ctx: Any) -> int:
    from swarmd.simulations.main import main as simulate

    return simulate(ctx.args)


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", type=_seconds, metavar="S", help="give up waiting after so long, with exit code 5"
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is no time in seconds")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def parse(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    """The arguments; what follows the first `--` is an agent's command, untouched."""
    words = list(argv)
    rest: list[str] = []
    if "--" in words:
        at = words.index("--")
        words, rest = words[:at], words[at + 1 :]
    defaults = argparse.Namespace(home=None, json=False, quiet=False, no_color=False)
    args = parser.parse_args(words, defaults)
    if rest and not args.takes_command:
        raise UsageFault(f"nothing may follow -- here: {' '.join(rest)}", fix="see swarmd --help")
    if args.takes_command:
        args.command = rest
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (docs/cli.md)."""
    words = list(sys.argv[1:] if argv is None else argv)
    # Known before the arguments are parsed, since that may be what fails.
    own = words[: words.index("--")] if "--" in words else words
    if "--version" in own:
        from swarmd.node.version import version

        print(json.dumps({"version": version()}) if "--json" in own else f"swarmd {version()}")
        return 0
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
        # Whoever read us has enough. Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(words: list[str], out: Any) -> int:
    from swarmd.node.console.context import Context

    parser = build_parser()
    if not words:
        parser.print_help(sys.stderr)
        return USAGE
    args = parse(parser, words)
    code: int = load(args.run)(Context(args, out, os.environ, parser))
    return code


if __name__ == "__main__":
    sys.exit(main())
