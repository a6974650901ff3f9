"""Needs and their tasks: need post|list|show|graph|watch, task list, challenge, why, proof."""

from swarmd.node.console.grammar import proofs
from swarmd.node.console.grammar.values import positive, timeout_flag, watch_flag
from swarmd.node.console.parser import Commands


def add(commands: Commands) -> None:
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
        "--agent", metavar="NAME", help="for which agent of this host it is, whose limit then counts"
    )
    post.add_argument(
        "--pay-at-once",
        action="store_true",
        help="pay results as they are accepted; they cannot be challenged then",
    )
    post.add_argument(
        "--wait", action="store_true", help="follow it to its end; exit 1 unless it is FINALIZED"
    )
    timeout_flag(post)

    listing = needs.add(
        "list", "needs:run_list", "list needs, newest first", "swarmd need list --state running"
    )
    watch_flag(listing)
    listing.add_argument(
        "--state", help="only those in this state, such as open, running, finalized, refunded"
    )
    listing.add_argument("--limit", type=positive, default=50, help="at most so many (default: 50)")
    show = needs.add("show", "needs:run_show", "say all about a need", "swarmd need show need-k3v7")
    show.add_argument("need", help="its id, or the beginning of it")
    graph = needs.add(
        "graph",
        "tasks:run_graph",
        "show which task comes after which",
        "swarmd need graph need-k3v7 --dot | dot -Tsvg > plan.svg",
    )
    graph.add_argument("need", help="its id, or the beginning of it")
    graph.add_argument("--task", help="only this task's parents, children, ancestors and descendants")
    graph.add_argument("--dot", action="store_true", help="as Graphviz reads it")
    watch = needs.add(
        "watch",
        "needs:run_watch",
        "follow a need to its end",
        "swarmd need watch need-k3v7 --json",
        'With --json one document a line: {"event": ...} for each step, {"result": ...} at the end.',
    )
    watch.add_argument("need", help="its id, or the beginning of it")
    timeout_flag(watch)
    tasks = commands.group("task", "the tasks of needs", "swarmd task list --ready")
    several = tasks.add(
        "list",
        "tasks:run_list",
        "list tasks, those that moved last first",
        "swarmd task list --state claimed",
    )
    watch_flag(several)
    several.add_argument("--need", help="only of this need: its id, or the beginning of it")
    several.add_argument(
        "--state",
        help="only in this state: open, proposed, decided, claimed, committed, finalized or failed",
    )
    several.add_argument(
        "--ready", action="store_true", help="only those not begun whose parents all have results"
    )
    several.add_argument("--limit", type=positive, default=50, help="at most so many (default: 50)")
    proofs.add(commands)
    challenge = commands.add(
        "challenge",
        "challenges:run_challenge",
        "have an accepted result judged again, for a bond",
        'swarmd challenge need-k3v7 count --reason "it counts empty lines" --evidence bafkrei...',
        "Half of the price is at stake. If others who run the work again find the result wrong it is reversed, the\n"
        "bond comes back with a reward, and the next candidate takes over; if not, the bond is the worker's.",
    )
    challenge.add_argument("need", help="its id, or the beginning of it")
    challenge.add_argument("task", nargs="?", help="whose result; may be left out if there is one task")
    challenge.add_argument("--reason", required=True, help="what is wrong with it")
    challenge.add_argument(
        "--evidence", metavar="CID", action="append", default=[], help="content that shows it; repeatable"
    )
    why = commands.add("why", "why:run_why", "say why a need went as it did", "swarmd why need-k3v7")
    why.add_argument("need", help="its id, or the beginning of it")
