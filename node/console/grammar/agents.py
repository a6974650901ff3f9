"""Agents: agent add|list|rm|on|off|stderr."""

from swarmd.node.console.grammar.values import positive, seconds, watch_flag
from swarmd.node.console.parser import Commands


def add(commands: Commands) -> None:
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
    add.add_argument("--timeout", type=seconds, metavar="S", help="it is killed after so long (default: 60)")
    add.add_argument(
        "--memory", type=int, metavar="MB", help="it may use so much (default: 512; 0: no limit)"
    )
    add.add_argument("--concurrency", type=positive, metavar="N", help="jobs at a time (default: 2)")
    add.add_argument("--replace", action="store_true", help="in place of the agent of that name")
    watch_flag(
        agents.add("list", "agents:run_list", "list the agents of this host", "swarmd agent list --json")
    )
    for name, run, text in (
        ("rm", "agents:run_rm", "forget an agent"),
        ("on", "agents:run_enable", "let an agent take work again"),
        ("off", "agents:run_enable", "let an agent take no more work"),
        ("stderr", "agents:run_stderr", "show what an agent's last run wrote to stderr"),
    ):
        parser = agents.add(name, run, text, f"swarmd agent {name} wc")
        parser.add_argument("name", help="its name")
        parser.set_defaults(on=name == "on")
