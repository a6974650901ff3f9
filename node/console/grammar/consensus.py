"""Consensus: status, roster, epoch, explain, and certificates that leave the node: evidence, export, verify."""

from swarmd.node.console.parser import Commands


def add(commands: Commands) -> None:
    group = commands.group(
        "consensus", "who decides, and why it went so", "swarmd consensus explain need-k3v7"
    )
    group.add(
        "status",
        "consensus:run_status",
        "say how this mesh decides, how its arbiter is, what waits and what was refused",
        "swarmd consensus status --json | jq .arbiter",
    )
    group.add(
        "roster",
        "consensus:run_roster",
        "list the verifiers of the epoch",
        "swarmd consensus roster",
        "Two nodes that print the same digest have the same roster.",
    )
    group.add("epoch", "consensus:run_epoch", "say which epoch is on", "swarmd consensus epoch --json")
    explain = group.add(
        "explain",
        "consensus:run_explain",
        "say who voted for what about a need, round by round, and why it stands as it does",
        "swarmd consensus explain need-k3v7",
    )
    explain.add_argument("need", help="its id, or the beginning of it")
    group.add(
        "evidence",
        "consensus:run_evidence",
        "list who is on record for contradicting itself",
        "swarmd consensus evidence",
        "swarmd consensus export --against DID makes a proof of it that others can check.",
    )
    export = group.add(
        "export",
        "consensus:run_export",
        "write a certificate that anybody can verify without a node",
        "swarmd consensus export need-k3v7 --out decided.json\n"
        "  swarmd consensus export need-k3v7 --task t1 --out paid.json\n"
        "  swarmd consensus export --against did:key:z6Mk... --out forked.json",
        "Of the decision about a need; with --result or --task of an accepted result, or of the need's closing; "
        "with --against of a contradiction.",
    )
    export.add_argument("need", nargs="?", help="its id, or the beginning of it")
    export.add_argument(
        "--result", action="store_true", help="of the result of the only task, or the closing"
    )
    export.add_argument("--task", metavar="TASK", help="of this task's accepted result")
    export.add_argument(
        "--against",
        metavar="DID",
        help="that it contradicted itself about the need; without a need, in its chain",
    )
    export.add_argument("--out", metavar="FILE", help="write it there, not to stdout")
    verify = group.add(
        "verify",
        "consensus:run_verify",
        "check a certificate, without a node",
        "swarmd consensus verify decided.json --mesh bafyrei...",
        "It holds in one mesh: that of --genesis or --mesh, else that of the node's home. Exit code 1 if it does not show "
        "what it says; the code names what is wrong.",
    )
    verify.add_argument(
        "--roster",
        metavar="DIGEST",
        action="append",
        default=[],
        help="trust the roster of this digest (swarmd consensus roster says it) for an epoch after 0; repeatable",
    )
    verify.add_argument("file", help="what swarmd consensus export wrote; - reads stdin")
    which = verify.add_mutually_exclusive_group()
    which.add_argument("--genesis", metavar="FILE", help="the genesis.json of the mesh that it must be of")
    which.add_argument("--mesh", metavar="ID", help="the id of that mesh, as swarmd status says it")
