"""`swarmd verifier`: the pool, and this node's place in it."""

from pathlib import Path
from typing import Any

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import OK
from swarmd.node.console.output import RIGHT, WHOLE, Column, clean, facts, short_did, table
from swarmd.protocol.faults import LocalFault

_COLUMNS: tuple[Column, ...] = (
    "verifier", "state", ("stake", RIGHT), "roster", ("weight", RIGHT), ("seen", RIGHT), ("because", WHOLE),
)  # fmt: skip


def run_list(ctx: Context) -> int:
    found = ctx.ask("verifier.list")
    out = ctx.out
    if out.as_json:
        out.document(found)
        return OK
    if out.quiet:
        for row in found["verifiers"]:
            out.line(row["did"])
        return OK
    out.print(table(_COLUMNS, [_row(row) for row in found["verifiers"]]))
    counted = ", ".join(f"{number} {state}" for state, number in found["counts"].items() if number)
    out.note(f"epoch {found['epoch']}: {counted or 'nobody'}; a stake is {found['stake']} USDC")
    out.note(bootstrap_text(found["bootstrap"]))
    return OK


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    place = {(True, True): "now", (False, True): "next", (True, False): "last time"}
    because = clean(row["reason"])
    if row["pending"]:
        because = f"{', '.join(row['pending'])} waits for the next checkpoint"
    elif row["until"] is not None:
        because = f"until epoch {row['until']}: {because}"
    return (
        short_did(row["did"]) + (" (this node)" if row["me"] else ""),
        row["state"],
        row["stake"],
        place.get((row["in_roster"], row["in_next_roster"]), "no"),
        row["weight"] or "",
        "" if row["seen"] is None else row["seen"],
        because,
    )


def bootstrap_text(found: dict[str, Any]) -> str:
    """One line: the mode, and what is missing to leave it."""
    if not found["on"]:
        return "bootstrap mode is off" + (" until the next epoch" if found["next"] else "")
    if found["missing"]:
        return (
            f"bootstrap mode: {found['active']} of {found['threshold']} verifiers, {found['missing']} more are missing, "
            f"then it ends after {found['left_s']} s"
        )
    return f"bootstrap mode: {found['active']} verifiers are enough; it ends after {found['left_s']} s more of it"


def run_join(ctx: Context) -> int:
    given = {} if ctx.args.stake is None else {"stake": ctx.args.stake}
    found = ctx.ask("verifier.join", **given)
    return _said(ctx, found, "joins: a checkpoint seats it once its stake is locked (swarmd verifier list)")


def run_leave(ctx: Context) -> int:
    found = ctx.ask("verifier.leave", reason=ctx.args.reason)
    return _said(
        ctx, found, "leaves: its seat ends with the roster that is promised, its stake returns after that"
    )


def _said(ctx: Context, found: dict[str, Any], what: str) -> int:
    if ctx.out.as_json:
        ctx.out.document(found)
    else:
        ctx.out.note(f"this node {what}")
    return OK


def run_attest(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    given: dict[str, Any] = {}
    if args.quote is not None:
        try:
            given = {"form": args.form, "quote": Path(args.quote).read_bytes()}
        except OSError as error:
            raise LocalFault("bad-file", f"{args.quote}: {error.strerror}") from None
    found = ctx.ask("verifier.attest", **given)
    if out.as_json:
        out.document(found)
    elif given:
        out.note("the quote is said; it counts once a quorum of the epoch's committee has verified it")
    else:
        forms = ", ".join(found["verifies"]) or "none: attestation_keys is empty"
        rows = [("a quote of epoch", found["epoch"]), ("is over", found["data"]), ("verified here", forms)]
        out.print(facts(rows))
    return OK
