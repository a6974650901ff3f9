"""Checkpoints: list, show, export, verify, advance, retrieve."""

from swarmd.node.console.grammar.values import positive
from swarmd.node.console.parser import Commands, Parser


def add(commands: Commands) -> None:
    group = commands.group("checkpoint", "how epochs ended, and proofs of it", "swarmd checkpoint list")
    listed = group.add(
        "list", "checkpoints:run_list", "list the checkpoints on record", "swarmd checkpoint list --limit 10"
    )
    listed.add_argument("--limit", type=positive, default=20, metavar="N", help="the last N (default: 20)")
    show = group.add(
        "show", "checkpoints:run_show", "show one checkpoint and who signed it", "swarmd checkpoint show 3"
    )
    _epoch(show)
    export = group.add(
        "export",
        "checkpoints:run_export",
        "write a checkpoint with all certificates before it to a file",
        "swarmd checkpoint export --epoch 3 epoch3.ckpt",
    )
    export.add_argument("file", metavar="FILE", help="the file to make")
    export.add_argument("--epoch", type=positive, metavar="N", help="the epoch it opens (default: this one)")
    verify = group.add(
        "verify",
        "checkpoints:run_verify",
        "verify an exported checkpoint, offline",
        "swarmd checkpoint verify epoch3.ckpt --genesis genesis.json",
        "Needs the mesh's genesis and nothing else. Exit code 1 if it does not hold.",
    )
    verify.add_argument("file", metavar="FILE", help="what checkpoint export made")
    verify.add_argument("--genesis", metavar="FILE", help="of the mesh (default: that of --home)")
    group.add(
        "advance",
        "checkpoints:run_advance",
        "end this epoch before its time",
        "swarmd checkpoint advance",
        "Only the node whose turn it is to propose can; the error names it.",
    )
    retrieve = group.add(
        "retrieve",
        "checkpoints:run_retrieve",
        "bring a closed need back from where its envelopes are, and derive it again",
        "swarmd checkpoint retrieve need-abcd",
        "`need show` and `why` do so by themselves.",
    )
    retrieve.add_argument("need", metavar="NEED", help="a need that a checkpoint closed")


def _epoch(parser: Parser) -> None:
    parser.add_argument(
        "epoch", type=positive, nargs="?", metavar="EPOCH", help="the epoch it opens (default: this one)"
    )
