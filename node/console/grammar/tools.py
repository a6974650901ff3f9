"""About a node, beside its running: config, topics, doctor, completion, replay, incident, version."""

from swarmd.node.console.grammar.values import positive, seconds, timeout_flag
from swarmd.node.console.parser import Commands

# As node/console/ids.py has them, which is not loaded to parse a command line.
ID_KINDS = (
    *("needs", "escrows", "peers", "dids", "agents", "capabilities", "channels", "tokens", "pins"),
    *("capsules", "epochs"),
)


def add(commands: Commands) -> None:
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

    doctor = commands.group(
        "doctor",
        "find out what is wrong, and how to mend it",
        "swarmd doctor --json | jq '.findings[] | select(.status==\"bad\")'",
        run="doctor:run_all",
    )
    doctor.add(
        "net",
        "doctor:run_net",
        "say how this node is reached, and why it has the peers it has",
        "swarmd doctor net --json | jq .checks",
        "It dials every address it knows. With the daemon down it tries what that would do. Exit code 1 if "
        "something is wrong.",
    )
    doctor.add(
        "content",
        "doctor:run_content",
        "say where content is kept and who it is exchanged with, and what is wrong there",
        "swarmd doctor content --json | jq .checks",
        "With the daemon down it tries kubo, if content is kept there. Exit code 1 if something is wrong.",
    )
    report = commands.add(
        "bugreport",
        "bugreport:run_bugreport",
        "pack what is needed to find a fault into one file, without keys, addresses or payloads",
        "swarmd bugreport report.tar.gz",
        "Names are replaced by ones that mean nothing outside of the file. Look into it before you pass it on.",
    )
    report.add_argument(
        "file", nargs="?", help="the file to write (default: swarmd-bugreport-TIME.tar.gz here)"
    )
    report.add_argument(
        "--log-lines", type=positive, default=2_000, metavar="N", help="of the log's end (2000)"
    )
    doctor.add(
        "chain",
        "doctor:run_chain",
        "say what is wrong with the chain and with settling on it, and what helps",
        "swarmd doctor chain --json | jq .checks",
        "Out of gas, stuck, endpoints that are down or behind, payments that were left out and why. Exit code 1 if "
        "something is wrong.",
    )
    topics = commands.group("topic", "what is said in the mesh, as it is said", "swarmd topic watch")
    watch = topics.add(
        "watch",
        "topics:run_watch",
        "print each statement on a topic",
        "swarmd topic watch '/swarm/thread/+/finalize' --json",
        "A topic is /swarm/thread/NEED/VERB; + stands for any part, a last # for the rest. With --json one document\n"
        "a line. What came before is not shown: see swarmd need watch.",
    )
    watch.add_argument("topic", nargs="?", default="/swarm/thread/#", help="which (default: all)")
    watch.add_argument("--count", type=positive, default=0, metavar="N", help="stop after so many")
    timeout_flag(watch)
    completion = commands.add(
        "completion",
        "completion:run_completion",
        "print a completion script",
        "source <(swarmd completion bash)",
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    ids = commands.add(
        "ids",
        "ids:run_ids",
        "list the ids that may stand in a command line, as completion in a shell asks for them",
        "swarmd ids needs -q",
        "Each with a hint beside it. Nothing if no daemon answers within a second.",
    )
    ids.add_argument("kind", choices=ID_KINDS)
    schema = commands.add(
        "schema",
        "schemas:run_schema",
        "say what the documents are that a command writes with --json",
        "swarmd schema need list --json",
        "With --json the JSON Schema (2020-12): of one command, or of all and of errors. A later version may add\n"
        "properties; those that there are keep their meaning and type.",
    )
    schema.add_argument(
        "command_words", nargs="*", metavar="COMMAND", help="such as: need list (default: all)"
    )
    man = commands.add(
        "man",
        "manual:run_man",
        "write manual pages, one for each command",
        "swarmd man --output ~/.local/share/man/man1",
    )
    man.add_argument("--output", metavar="DIR", required=True, help="the folder to write them to")
    replay = commands.add(
        "replay",
        "replaying:run_replay",
        "run a node's journal again, in its order or another",
        "swarmd replay case.tar.zst --reorder 7 --skew-s 30",
        "Exit code 1 if another order gives another mesh digest, or a bundle another state than it held.",
    )
    replay.add_argument("source", nargs="?", help="a home or a bundle (default: this node's home)")
    replay.add_argument("--reorder", type=int, metavar="SEED", help="hear every envelope in another order")
    replay.add_argument("--skew-s", type=seconds, metavar="S", help="by a clock off by up to so much")
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

    commands.add(
        "version", "node:run_version", "say the versions of swarmd and Python", "swarmd version --json"
    )
