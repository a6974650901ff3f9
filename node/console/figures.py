"""`swarmd analytics` and `swarmd metrics`: what came of the needs, and what the daemon measures."""

from typing import TYPE_CHECKING, Any

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import OK
from swarmd.node.console.output import RIGHT, WHOLE, Column, facts, short_did, table

if TYPE_CHECKING:
    from rich.console import Group

_LATENCIES = {"decide_ms": "to decide", "execute_ms": "to execute", "finalize_ms": "in all"}


def run_analytics(ctx: Context) -> int:
    _show(ctx, ctx.ask("analytics", limit=ctx.args.limit, hours=ctx.args.hours))
    return OK


def run_metrics(ctx: Context) -> int:
    found = ctx.ask("metrics")
    if ctx.out.as_json:
        ctx.out.document(found)
    else:
        ctx.out.line(found["text"].rstrip("\n"))
    return OK


def _show(ctx: Context, found: dict[str, Any]) -> None:
    if ctx.out.as_json:
        ctx.out.document(found)
    elif ctx.out.quiet:
        ctx.out.line(_percent(found["escrow"]["success_rate"]))
    else:
        ctx.out.print(_view(found))


def _view(found: dict[str, Any]) -> "Group":
    from rich.console import Group

    parts: list[Any] = [facts(_overview(found))]
    if found["leaderboard"]:
        columns: list[Column] = [
            *(("#", RIGHT), ("agent", WHOLE), ("reputation", RIGHT)),
            *(("accepted", RIGHT), ("failed", RIGHT), ("earned, USDC", RIGHT)),
        ]
        rows = [
            (
                *(row["rank"], short_did(row["did"]), row["reputation"]),
                *(row["accepted"], row["failed"], row["earned"]["usdc"]),
            )
            for row in found["leaderboard"]
        ]
        parts += ["", table(columns, rows)]
    if found["capabilities"]:
        columns = [
            *("capability", ("accepted", RIGHT), ("failed", RIGHT)),
            *(("success", RIGHT), ("paid, USDC", RIGHT)),
        ]
        capabilities = [
            (
                *(row["capability"], row["accepted"], row["failed"]),
                *(_percent(row["success_rate"]), row["paid"]["usdc"]),
            )
            for row in found["capabilities"]
        ]
        parts += ["", table(columns, capabilities)]
    return Group(*parts)


def _overview(found: dict[str, Any]) -> list[tuple[str, object]]:
    needs, escrow, tasks, challenges = (found[name] for name in ("needs", "escrow", "tasks", "challenges"))
    ended = f"{needs['finalized']} finalized, {needs['refunded']} refunded, {needs['expired']} expired"
    pairs: list[tuple[str, object]] = [
        ("needs", f"{needs['needs']}: {needs['open']} open, {ended}"),
        ("success", _percent(escrow["success_rate"])),
        ("promised", f"{escrow['budget']['usdc']} USDC"),
        ("paid", f"{escrow['paid']['usdc']} USDC"),
        ("returned", f"{escrow['returned']['usdc']} USDC"),
        ("tasks", f"{tasks['accepted']} accepted, {tasks['failed']} attempts failed"),
        ("challenges", f"{challenges['made']} made, {challenges['upheld']} upheld"),
    ]
    for key, name in _LATENCIES.items():
        spans = found["latency"][key]
        if spans["count"]:
            pairs.append((name, f"p50 {spans['p50']:g}, p95 {spans['p95']:g}, p99 {spans['p99']:g} ms"))
    if found["behind_s"] > 1 or not found["level"]:
        pairs.append(("behind", f"{found['behind_s']:g} s"))
    return pairs


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
