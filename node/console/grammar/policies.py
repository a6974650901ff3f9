"""Policies: policy list|show|build|test|eval|diff and policy capsule create|sign|verify|publish|fetch|activate|rollback."""

import argparse
import re

from swarmd.node.console.parser import Commands

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_POLICY = "a policy that ships, a capsule's CID, a wasm file, a folder or a capsule file"


def add(commands: Commands) -> None:
    policy = commands.group("policy", "what this node lets through, and why", "swarmd policy list")
    policy.add(
        "list", "policies:run_list", "list the policies that ship and the capsules here", "swarmd policy list"
    )
    show = policy.add(
        "show", "policies:run_show", "say all about a policy", "swarmd policy show standard --json"
    )
    show.add_argument("policy", nargs="?", help=f"{_POLICY} (default: the one in force)")
    _add_making(policy)
    _add_trying(policy)
    _add_capsules(
        policy.group("capsule", "policies that are signed for others", "swarmd policy capsule verify x")
    )


def _add_making(policy: Commands) -> None:
    build = policy.add(
        "build",
        "policies:run_build",
        "check, test and compile FOLDER/NAME.rego to FOLDER/NAME.wasm",
        "swarmd policy build ./house --with roles --with spending",
        "Needs opa. The rules go into `package swarm.policy`; a line `# uses: base` names policies they add to.",
    )
    build.add_argument("folder", help="the folder of the policy; its name is the policy's")
    build.add_argument(
        "--with",
        dest="also",
        metavar="NAME",
        action="append",
        default=[],
        help="a policy that ships to add to; repeatable (default: base, unless the rego says)",
    )
    build.add_argument("--out", metavar="FILE", help="where the wasm goes (default: beside the rego)")
    build.add_argument("--opa", metavar="PATH", help="the opa to use (default: the one on the PATH)")


def _add_trying(policy: Commands) -> None:
    test = policy.add(
        "test",
        "policies:run_test",
        "try a policy on its samples, or on what this node has recorded",
        "swarmd policy test ./house --against-history --since 24h",
        "Exit code 1 if a sample gives another verdict, or one of the history would flip.",
    )
    test.add_argument("policy", nargs="?", default="base", help=f"{_POLICY} (default: base)")
    _add_data(test)
    test.add_argument("--samples", metavar="DIR", help="allowed.json and denied.json (default: beside it)")
    test.add_argument(
        "--against-history", action="store_true", help="list every recorded verdict that would be another"
    )
    test.add_argument("--since", type=age, metavar="AGE", help="only of the last 30m, 24h, 7d")
    test.add_argument(
        "--source", metavar="PATH", help="a home or an incident bundle (default: this node's home)"
    )

    evaluate = policy.add(
        "eval",
        "policies:run_eval",
        "ask a policy about one input",
        "swarmd policy eval standard --gate ingress --input facts.json",
        "Exit code 0 if it allows, 1 if it denies. docs/policy.md says what the facts are.",
    )
    evaluate.add_argument("policy", nargs="?", default="base", help=f"{_POLICY} (default: base)")
    evaluate.add_argument("--gate", choices=("preflight", "ingress", "commit"), default="ingress")
    evaluate.add_argument("--input", metavar="FILE", required=True, help="the facts as JSON; - reads stdin")
    _add_data(evaluate)

    diff = policy.add(
        "diff",
        "policies:run_diff",
        "say what two policies answer differently",
        "swarmd policy diff base ./house --against-history",
        "Compared on built-in inputs and both policies' samples; with --against-history also on what is recorded.",
    )
    diff.add_argument("old", help=_POLICY)
    diff.add_argument("new", help=_POLICY)
    diff.add_argument("--against-history", action="store_true", help="also on what this node has recorded")
    diff.add_argument("--since", type=age, metavar="AGE", help="only of the last 30m, 24h, 7d")
    diff.add_argument(
        "--source", metavar="PATH", help="a home or an incident bundle (default: this node's home)"
    )


def _add_capsules(capsule: Commands) -> None:
    create = capsule.add(
        "create",
        "capsules:run_create",
        "pack a policy with the answers it must give",
        "swarmd policy capsule create ./house --out house.capsule",
        "Its conformance vector are the samples beside it, or built-in inputs; every node that loads it repeats them.",
    )
    create.add_argument("policy", help=_POLICY)
    create.add_argument("--out", metavar="FILE", required=True, help="the capsule file to write")
    create.add_argument("--name", help="what people call it (default: the policy's name)")
    create.add_argument("--samples", metavar="DIR", help="allowed.json and denied.json (default: beside it)")
    create.add_argument("--replaces", metavar="CID", help="the capsule before it")
    _add_data(create)
    for name, run, text, more in (
        ("sign", "capsules:run_sign", "sign a capsule file with this node's key", "It becomes its author."),
        (
            "verify",
            "capsules:run_verify",
            "check a capsule file as a node that loads it does",
            "Hashes, signature, trust, engine and every case of its conformance vector.",
        ),
        (
            "publish",
            "capsules:run_publish",
            "give a signed capsule to this node and to the mesh",
            "Nodes whose policy_signers has its author fetch it; nobody activates it by itself.",
        ),
    ):
        parser = capsule.add(name, run, text, f"swarmd policy capsule {name} house.capsule", more)
        parser.add_argument("file", help="the capsule file")
    fetch = capsule.add(
        "fetch",
        "capsules:run_fetch",
        "get a capsule from peers by its CID",
        "swarmd policy capsule fetch bafk...",
    )
    fetch.add_argument("cid", help="its whole CID")
    activate = capsule.add(
        "activate",
        "capsules:run_activate",
        "put a capsule into force on this node",
        "swarmd policy capsule activate bafk... --at-lamport 5000",
        "At the next turn, or at the first that begins at a lamport time, so that nodes switch together.",
    )
    activate.add_argument("cid", help="its CID, or the beginning of it")
    activate.add_argument(
        "--at-lamport", type=int, default=0, metavar="N", help="not before this lamport time"
    )
    capsule.add(
        "rollback",
        "capsules:run_rollback",
        "go back to the policy before, or call a pending switch off",
        "swarmd policy capsule rollback",
        "Works on a stopped node too.",
    )


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="FILE", help="a data document instead of the policy's own")


def age(text: str) -> float:
    """Seconds: 90s, 30m, 24h, 7d."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text} is no age such as 30m, 24h or 7d")
    return float(int(match[1]) * _UNITS[match[2]])
