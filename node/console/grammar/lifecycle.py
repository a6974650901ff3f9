"""The daemon as a process: down, logs, wait, service."""

from swarmd.node.console.grammar.values import count, seconds, timeout_flag
from swarmd.node.console.parser import Commands, Parser


def add(commands: Commands) -> None:
    down = commands.add(
        "down",
        "lifecycle:run_down",
        "stop the daemon and wait until it is gone",
        "swarmd down",
        "Also when none runs it ends with 0. `swarmd stop` does not wait.",
    )
    down.add_argument(
        "--timeout", type=seconds, default=30.0, metavar="S", help="wait so long (30), then exit code 5"
    )
    down.add_argument(
        "--kill", action="store_true", help="after that time, SIGKILL it: what it said is on disk"
    )
    logs = commands.add(
        "logs",
        "lifecycle:run_logs",
        "show the log of a daemon that runs in the background",
        "swarmd logs -f --lines 50",
        "With --json a document a line; those of --log-format json as they are.",
    )
    logs.add_argument("-f", "--follow", action="store_true", help="go on with what is written from now on")
    logs.add_argument(
        "--lines", type=count, default=100, metavar="N", help="the last N of what there is (100)"
    )
    logs.add_argument("--file", metavar="FILE", help="of --log-file (default: swarmd.log in the home)")
    top = commands.add(
        "top",
        "top:run_top",
        "watch peers, needs, agents, money and gates in the terminal",
        "swarmd top --interval 2",
        "Enter shows why a need stands as it does, p pauses, q quits. Without a terminal, or with --json, it says it once.",
    )
    top.add_argument("--interval", type=seconds, default=1.0, metavar="S", help="ask again so often (1)")
    _add_wait(commands)
    _add_service(commands)


def _add_wait(commands: Commands) -> None:
    wait = commands.group("wait", "wait for something, for scripts", "swarmd wait ready")
    ready = wait.add(
        "ready",
        "lifecycle:run_wait_ready",
        "wait until the daemon answers",
        "swarmd wait ready --peers 2 --timeout 60",
        "Exit code 5 if it does not in time.",
    )
    ready.add_argument("--peers", type=count, default=0, metavar="N", help="and has so many peers (0)")
    ready.add_argument(
        "--timeout", type=seconds, default=60.0, metavar="S", help="give up after so long (60)"
    )
    need = wait.add(
        "need",
        "lifecycle:run_wait_need",
        "wait until a need is in a state, or past it",
        "swarmd wait need need-k3v7 --state decided --timeout 30",
        "Exit code 1 if it ended in another state, 5 if it took too long.",
    )
    need.add_argument("need", help="its id, or the beginning of it")
    need.add_argument(
        "--state",
        metavar="STATE",
        help="open, proposed, decided, running, finalized (default), refunded, expired",
    )
    timeout_flag(need)


def _add_service(commands: Commands) -> None:
    service = commands.group(
        "service",
        "the daemon as a service of this host: systemd, or launchd on macOS",
        "swarmd service status",
    )
    install = service.add(
        "install",
        "services:run_install",
        "write the unit that starts the daemon with the host and keeps it running",
        "swarmd service install --now",
        "A hardened systemd unit of this user, or a launchd agent on macOS; with --system of the whole host, as root.",
    )
    _service_flags(install)
    install.add_argument("--user", metavar="NAME", help="with --system: the account that it runs as (swarmd)")
    install.add_argument("--now", action="store_true", help="enable and start it too")
    install.add_argument("--print", action="store_true", help="only print what would be written")
    install.add_argument("--replace", action="store_true", help="write over a unit that differs")
    uninstall = service.add(
        "uninstall",
        "services:run_uninstall",
        "stop the service and remove its unit; the node's home stays",
        "swarmd service uninstall",
    )
    _service_flags(uninstall)
    status = service.add(
        "status",
        "services:run_status",
        "say whether the unit is there, is as this version writes it, and whether the daemon runs",
        "swarmd service status --json",
        "Exit code 1 if it is not installed.",
    )
    _service_flags(status)


def _service_flags(parser: Parser) -> None:
    parser.add_argument("--system", action="store_true", help="of the whole host, not of this user (root)")
    parser.add_argument("--kind", choices=("systemd", "launchd"), help="(default: what this system has)")
