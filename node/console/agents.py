"""`swarmd agent`: the programs of this host that work for the mesh."""

import os
from collections.abc import Sequence
from typing import Any

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import OK, UsageFault
from swarmd.node.console.output import RIGHT, WHOLE, Column, clean, table
from swarmd.protocol.amounts import parse_usdc


def run_add(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    # The daemon resolves the command as this shell would: from this folder, on this PATH.
    added = ctx.ask(
        "agent.add",
        agent=_document(args),
        base=os.getcwd(),
        path=ctx.env.get("PATH"),
        replace=args.replace,
    )
    if out.as_json:
        out.document(added)
    else:
        offers = ", ".join(f"{each['name']} for {each['price']}" for each in added["capabilities"])
        out.note(
            f"agent {clean(added['name'])} offers {clean(offers)} USDC: {clean(' '.join(added['argv']))}"
        )
    return OK


def _document(args: Any) -> dict[str, Any]:
    if not args.command:
        raise UsageFault(
            "an agent needs the command that runs it",
            fix="put it after --: swarmd agent add wc --capability text.wordcount --price 0.02 -- python wc.py",
        )
    if len(args.price) not in (1, len(args.capability)):
        raise UsageFault(
            f"{len(args.capability)} capabilities and {len(args.price)} prices",
            fix="give one --price for all, or one for each --capability, in the same order",
        )
    for price in args.price:
        parse_usdc(price)
    prices = args.price * len(args.capability) if len(args.price) == 1 else args.price
    document: dict[str, Any] = {
        "name": args.name,
        "kind": "command",
        "capabilities": [
            {"name": name, "price": price} for name, price in zip(args.capability, prices, strict=True)
        ],
        "argv": args.command,
        "env": dict(_variable(text) for text in args.env),
    }
    optional = {
        "cwd": None if args.cwd is None else os.path.abspath(os.path.expanduser(args.cwd)),
        "timeout_s": args.timeout,
        "memory_mb": args.memory,
        "concurrency": args.concurrency,
    }
    return document | {name: value for name, value in optional.items() if value is not None}


def _variable(text: str) -> tuple[str, str]:
    """NAME=VALUE, or NAME for its value in this shell."""
    name, equals, value = text.partition("=")
    if equals:
        return name, value
    if name not in os.environ:
        raise UsageFault(f"--env {name}: not set in this shell", fix=f"--env {name}=VALUE")
    return name, os.environ[name]


_COLUMNS: Sequence[Column] = (
    *(("agent", WHOLE), "kind", "offers", "state", ("running", RIGHT), ("done", RIGHT)),
    *("failed", "command"),
)


def run_list(ctx: Context) -> int:
    agents, out = ctx.ask("agent.list"), ctx.out
    if out.as_json:
        out.document({"agents": agents})
        return OK
    if out.quiet:
        for agent in agents:
            out.line(clean(agent["name"]))
        return OK
    if not agents:
        out.note("no agents; add one: swarmd agent add --help")
        return OK
    rows = [
        (
            agent["name"],
            agent["kind"],
            ", ".join(f"{each['name']} {each['price']}" for each in agent["capabilities"]),
            _state(agent),
            f"{agent['running']}/{agent['concurrency']}",
            agent["done"],
            ", ".join(f"{n} {code}" for code, n in sorted(agent["failed"].items())),
            " ".join(agent.get("argv", ())),
        )
        for agent in agents
    ]
    out.print(table(_COLUMNS, rows))
    return OK


def _state(agent: dict[str, Any]) -> str:
    if not agent["enabled"]:
        return "off"
    if agent["available"]:
        return "ready"
    return "not connected" if agent["kind"] == "attached" else "unavailable"


def run_rm(ctx: Context) -> int:
    removed = ctx.ask("agent.remove", name=ctx.args.name)
    if ctx.out.as_json:
        ctx.out.document(removed)
    else:
        ctx.out.note(f"removed {clean(removed['name'])}; jobs it runs go on to their end")
    return OK


def run_enable(ctx: Context) -> int:
    changed = ctx.ask("agent.enable", name=ctx.args.name, enabled=ctx.args.on)
    if ctx.out.as_json:
        ctx.out.document(changed)
    else:
        ctx.out.note(f"{clean(changed['name'])} is {'on' if changed['enabled'] else 'off'}")
    return OK


def run_stderr(ctx: Context) -> int:
    found = ctx.ask("agent.stderr", name=ctx.args.name)
    if ctx.out.as_json:
        ctx.out.document(found)
    else:
        for line in found["stderr"].splitlines():
            ctx.out.line(clean(line.expandtabs()))
    return OK
