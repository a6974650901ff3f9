"""The state: show, import, export."""

from swarmd.node.console.parser import Commands


def add(commands: Commands) -> None:
    state = commands.group("state", "what this node knows, and archives of plans", "swarmd state show")
    show = state.add(
        "show",
        "states:run_show",
        "say what the journal and the replica hold, or what an archive holds",
        "swarmd state show --archive old-plans --thread thread-7",
        "The node must be up, but for archives.",
    )
    show.add_argument(
        "--archive", metavar="NAME", help="an imported plan log, in place of the node's own state"
    )
    show.add_argument("--thread", metavar="THREAD", help="of the archive: the tasks of one thread")
    export = state.add(
        "export",
        "states:run_export",
        "write everything on record as Automerge documents",
        "swarmd state export --automerge documents",
        "The node may be up or not. Any Automerge can open them; docs/state.md says what is in them.",
    )
    export.add_argument("--automerge", metavar="DIR", required=True, help="the folder to make")
    taken = state.add(
        "import",
        "states:run_import",
        "import a plan-op log as a read-only archive of Automerge documents",
        "swarmd state import --sqlite plan.db --verify",
        "Nobody signed such a log, so nothing of it reaches the mesh. Exit code 1 if --verify finds a difference;"
        " nothing is imported then.",
    )
    taken.add_argument("--sqlite", metavar="FILE", required=True, help="an SQLite file with the log")
    taken.add_argument("--table", metavar="NAME", default="ops", help="the table it is in (default: ops)")
    taken.add_argument("--name", metavar="NAME", help="of the archive (default: from the file's name)")
    taken.add_argument("--verify", action="store_true", help="read it back and compare it with the log")
