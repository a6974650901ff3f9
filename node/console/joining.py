"""`swarmd invite`, `swarmd join`, `swarmd seeds`."""

import json
import sys
import time
from pathlib import Path

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import OK
from swarmd.node.console.output import clean
from swarmd.protocol.faults import LocalFault


def run_invite(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    found = ctx.ask("invite", ttl_s=args.ttl * 3_600, addrs=args.addrs)
    if out.as_json:
        out.document(found)
        return OK
    out.line(found["ticket"])
    for addr in found["addrs"]:
        out.progress(f"  at      {addr}")
    out.progress(f"  until   {time.strftime('%Y-%m-%d %H:%M', time.localtime(found['expires_s']))}")
    out.progress("  there   swarmd join TICKET && swarmd up")
    if found["private"]:
        out.progress("This mesh is private and the ticket has its key: pass it on as you would a password.")
    if found["loopback_only"]:
        out.progress(
            "Only this host can use it: the node listens on loopback. Listen on /ip4/0.0.0.0/tcp/4001, "
            "or name an address with --addr."
        )
    return OK


def run_join(ctx: Context) -> int:
    from swarmd.bootstrap.tickets import parse_ticket
    from swarmd.node.console.node import write_config
    from swarmd.node.joining import join

    args, out = ctx.args, ctx.out
    ticket = parse_ticket(_ticket_text(args.ticket), time.time())
    out.progress(f"joining {ticket.name} by invitation of {ticket.inviter}")
    file = Path(args.genesis) if args.genesis else None
    identity, genesis = join(ctx.home, ticket, file)
    write_config(ctx.home, {"listen": args.listen} if args.listen else {})
    mesh = {"id": genesis.mesh_name, "name": genesis.name}
    found = {
        "home": str(ctx.home),
        "did": identity.did,
        "mesh": mesh,
        "inviter": ticket.inviter,
        "private": ticket.psk is not None,
    }
    if out.as_json:
        out.document(found)
    elif out.quiet:
        out.line(identity.did)
    else:
        out.note(f"made a node of the mesh {clean(genesis.name)} in {clean(ctx.home)}")
        out.note(f"  DID   {identity.did}")
        out.note(f"  mesh  {clean(genesis.name)} ({genesis.mesh_name})")
        home = f" --home {args.home}" if args.home else ""
        out.note(f"start it with: swarmd{home} up")
    return OK


def _ticket_text(word: str) -> str:
    """The ticket itself, or where it is: a secret on the command line is seen by everybody on the host."""
    if word == "-":
        return sys.stdin.read(65_536)
    if word.startswith("@"):
        try:
            with open(word[1:], encoding="utf-8", errors="replace") as file:
                return file.read(65_536)
        except OSError as error:
            raise LocalFault("bad-ticket", f"{word[1:]}: {error.strerror}", fix="name a file") from None
    return word


def run_seeds_sign(ctx: Context) -> int:
    from swarmd.bootstrap.lists import sign_seeds
    from swarmd.node.keys import load_key
    from swarmd.node.setup import GENESIS_FILE, load_genesis

    identity, genesis = load_key(ctx.home), load_genesis(ctx.home / GENESIS_FILE)
    if identity.did not in genesis.roster:
        raise LocalFault(
            "not-a-verifier",
            "this node is no verifier of its mesh, so nobody would take its list",
            fix="let a verifier sign it, or pass on a plain list",
        )
    now_s = int(time.time())
    expires_s = now_s + ctx.args.ttl * 86_400
    text = sign_seeds(genesis.mesh_name, identity.did, ctx.args.addrs, now_s, expires_s, identity.sign)
    if ctx.out.as_json:
        ctx.out.document(json.loads(text))
    else:
        ctx.out.line(text.rstrip())
    return OK


def run_seeds_check(ctx: Context) -> int:
    from swarmd.bootstrap.lists import read_file
    from swarmd.node.setup import GENESIS_FILE, load_genesis

    genesis = load_genesis(ctx.home / GENESIS_FILE)
    addrs = read_file(Path(ctx.args.file), genesis.mesh_name, genesis.roster, time.time())
    if ctx.out.as_json:
        ctx.out.document({"addrs": addrs})
    else:
        for addr in addrs:
            ctx.out.line(clean(addr))
    return OK
