"""`swarmd invoice`: what needs were charged, and what may be spent."""

from typing import Any

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import OK
from swarmd.node.console.output import RIGHT, WHOLE, clean, facts, table

TIMEOUT_S = 60.0


def _ask(ctx: Context, op: str, **args: Any) -> Any:
    with ctx.client(TIMEOUT_S) as client:
        return client.call(op, args)


def run_list(ctx: Context) -> int:
    found = _ask(ctx, "invoice.list", limit=ctx.args.limit, all=ctx.args.all)
    if ctx.out.as_json:
        ctx.out.document(found)
        return OK
    rows = [
        (row["need"], clean(row["title"]), row["state"], row["budget"], row["charged"])
        for row in found["invoices"]
    ]
    ctx.out.print(table([("need", WHOLE), "title", "state", ("budget", RIGHT), ("charged", RIGHT)], rows))
    return OK


def run_show(ctx: Context) -> int:
    found = _ask(ctx, "invoice.show", need=ctx.args.need)
    out = ctx.out
    if out.as_json:
        out.document(found)
        return OK
    rows = [
        (name, clean(found[name])) for name in ("need", "title", "owner", "agent", "state") if found[name]
    ]
    rows += [(name, f"{found[name]} USDC") for name in ("budget", "charged", "held", "returned")]
    out.print(facts([*rows, *([("anchored in", found["anchor"])] if found["anchor"] else [])]))
    if found["lines"]:
        lines = [
            (
                clean(line["task"]),
                clean(line["capability"]),
                clean(line["charged_by"]),
                line["amount"],
                line["receipt"],
                line["settlement"] or "-",
            )
            for line in found["lines"]
        ]
        out.print(
            table(
                ["task", "capability", "charged by", ("amount", RIGHT), ("receipt", WHOLE), "settled"], lines
            )
        )
    return OK


def run_limits(ctx: Context) -> int:
    found = _ask(ctx, "spending")
    if ctx.out.as_json:
        ctx.out.document(found)
        return OK
    rows = [("a need", "-", found["per_need"] or "no limit")]
    day = [("a day", found["day"])]
    day += [(f"agent {clean(name) or '(none)'}", pair) for name, pair in found["agents"].items()]
    day += [(clean(name), pair) for name, pair in found["capabilities"].items()]
    rows += [(name, pair["spent"], pair["limit"] or "no limit") for name, pair in day]
    ctx.out.print(table(["of", ("spent in 24 h", RIGHT), ("limit", RIGHT)], rows))
    return OK
