"""The HTTP API: its state, its tokens, and the dashboard's login."""

from swarmd.node.console.grammar.values import duration_s
from swarmd.node.console.parser import Commands, Parser

SCOPES = ("read", "operate", "spend")


def add(commands: Commands) -> None:
    api = commands.group("api", "the HTTP API of the node", "swarmd api status")
    api.add(
        "status", "api:run_status", "say where the HTTP API is, and how it is", "swarmd api status --json"
    )

    dashboard = commands.add(
        "dashboard",
        "api:run_dashboard",
        "open the dashboard in a browser, logged in",
        "swarmd dashboard --print",
        "The link works once, within a minute; the session that it opens lasts 12 hours, or until the node stops.",
    )
    dashboard.add_argument("--print", action="store_true", help="only print the link")
    dashboard.add_argument(
        "--read-only", action="store_true", help="a session that can look and change nothing"
    )

    token = commands.group("token", "tokens with which programs use the HTTP API", "swarmd token list")
    create = token.add(
        "create",
        "api:run_create",
        "make a token and print it, this once",
        "swarmd token create grafana --scope read --ttl 90d",
        "read sees everything; operate changes this node; spend posts needs and moves money. "
        "The last two can read as well.",
    )
    create.add_argument("name", help="for you, to tell it from others")
    _scopes(create)
    create.add_argument(
        "--ttl",
        type=duration_s,
        metavar="TIME",
        default=30 * 86_400,
        help="how long it holds, as 12h or 90d (30d)",
    )
    token.add("list", "api:run_list", "list tokens, without their secrets", "swarmd token list --json")
    revoke = token.add("revoke", "api:run_revoke", "end a token at once", "swarmd token revoke grafana")
    revoke.add_argument("token", help="its id or name")


def _scopes(parser: Parser) -> None:
    parser.add_argument(
        "--scope",
        dest="scopes",
        action="append",
        choices=SCOPES,
        default=[],
        help="what it may do; repeatable (read)",
    )
