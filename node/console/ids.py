"""`swarmd ids`: the ids that may stand in a command line, for completion in a shell.

A shell asks at each Tab, so it answers soon or with nothing, and a daemon that is down is no error.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import OK
from swarmd.node.console.output import clean, short_did
from swarmd.protocol.faults import LocalFault

PATIENCE_S = 1.0
LIMIT = 200
# What is offered: (id, a hint beside it).
Offers = Iterator[tuple[str, str]]
Ask = Callable[..., Any]


def _needs(ask: Ask) -> Offers:
    for row in ask("need.list", limit=LIMIT)["needs"]:
        yield row["need"], f"{row['state']} {row['title']}"


def _escrows(ask: Ask) -> Offers:
    for row in ask("escrow.list", limit=LIMIT)["escrows"]:
        yield row["escrow"], f"{row['state']} {row['title']}"


def _peers(ask: Ask) -> Offers:
    for row in ask("peers")["peers"]:
        yield row["peer_id"], short_did(row["did"])
    for row in ask("peers.score")["standings"]:  # such as those who are banned
        yield row["peer_id"], row["state"]


def _dids(ask: Ask) -> Offers:
    for row in ask("consensus.roster")["verifiers"]:
        yield row["did"], "this node" if row["me"] else "verifier"
    for row in ask("peers")["peers"]:
        yield row["did"], "peer"


def _agents(ask: Ask) -> Offers:
    for row in ask("agent.list"):
        yield row["name"], " ".join(each["name"] for each in row["capabilities"])


def _capabilities(ask: Ask) -> Offers:
    for row in ask("agent.list"):
        yield from ((each["name"], "this node") for each in row["capabilities"])
    for row in ask("peers")["peers"]:
        yield from ((name, short_did(row["did"])) for name in row["offers"])


def _channels(ask: Ask) -> Offers:
    for row in ask("channel.list")["channels"]:
        yield row["channel"], f"{row['role']} {row['state']}"


def _tokens(ask: Ask) -> Offers:
    for row in ask("token.list")["tokens"]:
        yield row["id"], f"{row['name']} {row['state']}"


def _pins(ask: Ask) -> Offers:
    from swarmd.protocol.cids import cid_text

    for row in ask("content.pins")["pins"]:
        yield cid_text(row["cid"]), row["name"]


def _capsules(ask: Ask) -> Offers:
    for row in ask("policy.list")["stored"]:
        yield row["cid"], f"{row['name']} {row['state']}"


def _epochs(ask: Ask) -> Offers:
    for row in ask("checkpoint.list", limit=LIMIT)["checkpoints"]:
        yield str(row["epoch"]), f"{row['ops']} envelopes"


KINDS: Mapping[str, Callable[[Ask], Offers]] = {
    "needs": _needs,
    "escrows": _escrows,
    "peers": _peers,
    "dids": _dids,
    "agents": _agents,
    "capabilities": _capabilities,
    "channels": _channels,
    "tokens": _tokens,
    "pins": _pins,
    "capsules": _capsules,
    "epochs": _epochs,
}


def run_ids(ctx: Context) -> int:
    offers: dict[str, str] = {}
    try:
        with ctx.client(PATIENCE_S) as client:
            for name, hint in KINDS[ctx.args.kind](lambda op, **args: client.call(op, args)):
                offers.setdefault(name, hint)
    except LocalFault:
        pass  # no daemon, or one that is busy: what came in time is offered
    if ctx.out.as_json:
        ctx.out.document({"ids": [{"id": name, "hint": hint} for name, hint in offers.items()]})
        return OK
    for name, hint in offers.items():
        ctx.out.line(clean(name) if ctx.out.quiet else f"{clean(name)}\t{clean(hint)}")
    return OK
