"""`swarmd peers`: who is connected, what the node thinks of them, whom it lets in."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from swarmd.node.console.context import Context
from swarmd.node.console.node import duration, size
from swarmd.node.console.outcome import OK
from swarmd.node.console.output import RIGHT, WHOLE, Column, clean, facts, short_did, table

if TYPE_CHECKING:
    from rich.console import RenderableType

_PEER_COLUMNS: Sequence[Column] = (
    *(("peer", WHOLE), "did", "dir", ("rtt", RIGHT), ("score", RIGHT), "faults"),
    *(("in", RIGHT), ("out", RIGHT), ("for", RIGHT)),
)
_STANDING_COLUMNS: Sequence[Column] = (
    *(("peer", WHOLE), "state", ("score", RIGHT), ("trust", RIGHT), ("answers", RIGHT)),
    *(("denied for", RIGHT), "because", "faults"),
)


def run_list(ctx: Context) -> int:
    if getattr(ctx.args, "watch", False):
        return _watch(ctx)
    found = ctx.ask("peers")
    out = ctx.out
    if out.as_json:
        out.document(found)
    elif out.quiet:
        for peer in found["peers"]:
            out.line(peer["peer_id"])
    elif not found["peers"]:
        out.note("no peers. A node dials those in `peers` of swarmd.toml (or swarmd up --peer MULTIADDR) and")
        out.note("is reached at the addresses of swarmd status; both must have the same genesis.json.")
        _say_dropped(ctx, found)
    else:
        out.print(_peer_table(found["peers"]))
        _say_dropped(ctx, found)
    return OK


def _watch(ctx: Context) -> int:
    """Ask again and again until Ctrl-C: the screen redrawn, or a document (a list of ids) each time."""
    pause_s = getattr(ctx.args, "interval", 1.0)
    out = ctx.out
    with ctx.client() as client:
        if out.live:
            from rich.live import Live

            with Live(console=out.console, auto_refresh=False) as live:
                while True:
                    live.update(_view(client.call("peers")), refresh=True)
                    time.sleep(pause_s)
        while True:
            found = client.call("peers")
            if out.as_json:
                out.document(found)
            elif out.quiet:
                out.line(" ".join(peer["peer_id"] for peer in found["peers"]))
            else:
                out.print(_view(found))
            time.sleep(pause_s)


def _view(found: dict[str, Any]) -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    pool = found.get("pool", {})
    head = (
        f"{len(found['peers'])} peers, {pool.get('connections', 0)} of {pool.get('max_connections', '-')} "
        f"connections, {size(pool.get('held_bytes', 0))} held for peers"
    )
    return Group(Text(head), _peer_table(found["peers"]), Text(_dropped(found)))


def _peer_table(peers: Sequence[dict[str, Any]]) -> "RenderableType":
    rows = [
        (
            peer["peer_id"],
            short_did(peer["did"]),
            peer["direction"][:3],
            "-" if peer["rtt_ms"] is None else f"{peer['rtt_ms']:.1f} ms",
            f"{peer['score']:.2f}",
            _counts(peer["faults"]),
            size(peer["bytes_in"]),
            size(peer["bytes_out"]),
            duration(peer["connected_s"]),
        )
        for peer in peers
    ]
    return table(_PEER_COLUMNS, rows)


def _say_dropped(ctx: Context, found: dict[str, Any]) -> None:
    text = _dropped(found)
    if text:
        ctx.out.note(text, "yellow")


def _dropped(found: dict[str, Any]) -> str:
    counts = found.get("dropped", {})
    return f"dropped, refused or made to wait: {clean(_counts(counts))}" if counts else ""


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))


def run_score(ctx: Context) -> int:
    args = {"peer": ctx.args.peer} if ctx.args.peer else {}
    found = ctx.ask("peers.score", **args)["standings"]
    out = ctx.out
    if out.as_json:
        out.document({"standings": found})
    elif out.quiet:
        for each in found:
            out.line(each["peer_id"])
    elif not found:
        out.note("nothing is held against any peer")
    elif ctx.args.peer:
        out.print(facts(_standing_facts(found[0])))
    else:
        out.print(table(_STANDING_COLUMNS, [_standing_row(each) for each in found]))
    return OK


def _standing_row(each: dict[str, Any]) -> tuple[object, ...]:
    return (
        each["peer_id"],
        each["state"],
        f"{each['score']:.2f}",
        f"{each['trust']:.2f}",
        f"{each['delivery'] * 100:.0f} %",
        duration(each["denied_for_s"]) if each["denied_for_s"] else "-",
        each["reason"],
        _counts(each["faults"]),
    )


def _standing_facts(each: dict[str, Any]) -> list[tuple[str, object]]:
    rtt = each["rtt_ms"]
    denied = f"for another {duration(each['denied_for_s'])}: {each['reason']}"
    return [
        ("peer", each["peer_id"]),
        ("state", each["state"]),
        ("score", f"{each['score']:.2f}"),
        ("trust", f"{each['trust']:.2f} (what its faults leave)"),
        ("answers", f"{each['delivery'] * 100:.0f} % of what we asked lately"),
        ("round trip", "-" if rtt is None else f"{rtt:.1f} ms"),
        ("denied", denied if each["denied_for_s"] else "no"),
        ("times denied", each["denials"]),
        ("faults", _counts(each["faults"]) or "none"),
    ]


def run_ban(ctx: Context) -> int:
    found = ctx.ask("peers.ban", peer=ctx.args.peer, for_s=ctx.args.for_s, reason=ctx.args.reason)
    _done(ctx, found, f"{found['peer_id']} is banned for {duration(found['for_s'])}")
    return OK


def run_unban(ctx: Context) -> int:
    found = ctx.ask("peers.unban", peer=ctx.args.peer)
    said = "may come back; its faults are forgotten" if found["forgiven"] else "had nothing against it"
    _done(ctx, found, f"{found['peer_id']} {said}")
    return OK


def run_access(ctx: Context) -> int:
    """`allow` and `deny`: `args.verdict` says which."""
    args = ctx.args
    if args.entry is None:
        found = ctx.ask("peers.access")
        rows = [each for each in found["entries"] if each["verdict"] == args.verdict]
        if ctx.out.as_json:
            ctx.out.document({"entries": rows})
        elif not rows and not ctx.out.quiet:
            ctx.out.note(f"the {args.verdict} list is empty")
        else:
            for row in rows:
                ctx.out.line(clean(row["entry"] if ctx.out.quiet else f"{row['entry']}  ({row['origin']})"))
        return OK
    verdict = "none" if args.remove else args.verdict
    found = ctx.ask("peers.access", entry=args.entry, verdict=verdict)
    said = "is on no list" if args.remove else f"is on the {args.verdict} list"
    _done(ctx, found, f"{found['entry']} {said}")
    return OK


def _done(ctx: Context, found: dict[str, Any], text: str) -> None:
    if ctx.out.as_json:
        ctx.out.document(found)
    else:
        ctx.out.note(clean(text))
