"""`swarmd api`, `swarmd token`, `swarmd dashboard`."""

import time
from argparse import ArgumentParser
from typing import Any

from swarmd.node.console.context import Context
from swarmd.node.console.node import duration
from swarmd.node.console.outcome import FAILED, OK
from swarmd.node.console.output import WHOLE, clean, facts, table


def run_status(ctx: Context) -> int:
    """Exit code 1 if it is enabled and does not serve."""
    found = ctx.ask("api.status")
    out = ctx.out
    if out.as_json:
        out.document(found)
    elif out.quiet:
        out.line(found["url"])
    else:
        rows: list[tuple[str, object]] = [("state", found["state"]), ("url", found["url"] or "-")]
        if found["state"] == "up":
            refused = ", ".join(f"{n} {why}" for why, n in sorted(found["refused"].items())) or "none"
            rows += [
                ("connections", found["connections"]),
                ("sessions", found["sessions"]),
                ("refused", refused),
            ]
        out.print(facts(rows))
        if found["error"]:
            out.note(clean(found["error"]), "red")
        elif found["state"] == "off":
            out.note("set api_enabled = true in swarmd.toml to serve it")
    return FAILED if found["state"] == "down" else OK


def run_dashboard(ctx: Context) -> int:
    scopes = ["read"] if ctx.args.read_only else ["read", "operate", "spend"]
    found = ctx.ask("api.login", scopes=scopes)
    out = ctx.out
    if out.as_json:
        out.document(found)
        return OK
    import webbrowser

    # A browser of the terminal would take the terminal over; without a display the link is all there is.
    if ctx.args.print or out.quiet or not _has_display(ctx) or not webbrowser.open(found["url"]):
        out.line(found["url"])
        out.note("open it within a minute; it works once")
    else:
        out.note("the dashboard is open in your browser")
    return OK


def _has_display(ctx: Context) -> bool:
    import sys

    return sys.platform == "darwin" or bool(ctx.env.get("DISPLAY") or ctx.env.get("WAYLAND_DISPLAY"))


def run_create(ctx: Context) -> int:
    found = ctx.ask(
        "token.create", name=ctx.args.name, scopes=ctx.args.scopes or ["read"], ttl_s=int(ctx.args.ttl)
    )
    out = ctx.out
    if out.as_json:
        out.document(found)
        return OK
    out.line(found["token"])
    out.note(f"it may {', '.join(found['scopes'])} for {duration(found['expires_s'] - found['created_s'])}.")
    out.note("Keep it now: it is not shown again. Send it as: Authorization: Bearer TOKEN")
    return OK


def run_list(ctx: Context) -> int:
    found = ctx.ask("token.list")
    out = ctx.out
    if out.as_json:
        out.document(found)
    elif out.quiet:
        for token in found["tokens"]:
            out.line(token["id"])
    elif not found["tokens"]:
        out.note("no tokens. swarmd token create NAME makes one")
    else:
        now = time.time()
        rows = [
            (
                token["id"],
                clean(token["name"]),
                " ".join(token["scopes"]),
                token["state"],
                _left(token, now),
                "-" if token["used_s"] is None else f"{duration(max(0, now - token['used_s']))} ago",
            )
            for token in found["tokens"]
        ]
        out.print(table([("id", WHOLE), "name", "may", "state", "for", "used"], rows))
    return OK


def _left(token: dict[str, Any], now: float) -> str:
    return duration(token["expires_s"] - now) if token["state"] == "valid" else "-"


def run_revoke(ctx: Context) -> int:
    found = ctx.ask("token.revoke", token=ctx.args.token)
    out = ctx.out
    if out.as_json:
        out.document(found)
    elif out.quiet:
        out.line(found["id"])
    else:
        out.note(f"the token {clean(found['name'])} is revoked")
    return OK


def bench_arguments(parser: ArgumentParser) -> None:
    from swarmd.node.bench.api import add_arguments

    add_arguments(parser)


def run_bench(ctx: Context) -> int:
    from swarmd.node.bench.api import main

    return main(ctx.args, ctx.out)
