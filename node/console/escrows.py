"""`swarmd escrow`: agreements with other owners."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import OK, UsageFault
from swarmd.node.console.output import RIGHT, WHOLE, Column, clean, facts, short_did, table
from swarmd.protocol.cids import cid_text, parse_cid
from swarmd.protocol.faults import LocalFault, RemoteFault

_COLUMNS: tuple[Column, ...] = (
    ("escrow", WHOLE), "state", "role", ("amount", RIGHT), ("held", RIGHT), ("paid", RIGHT), ("priority", RIGHT), "title",
)  # fmt: skip
_MILESTONES: tuple[Column, ...] = (
    "milestone",
    ("amount", RIGHT),
    "state",
    ("score", RIGHT),
    "because",
    "delivery",
)
_HISTORY: tuple[Column, ...] = ("at", "by", "said", "")
_OFFERS: tuple[Column, ...] = ("by", ("amount", RIGHT), "stands", "accepted by", "note", ("offer", WHOLE))


def _pairs(texts: Sequence[str] | None, field: str, flag: str) -> list[dict[str, str]] | None:
    if texts is None:
        return None
    found = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UsageFault(f"{flag} {text!r}: write NAME={field.upper()}")
        found.append({"name": name, field: value})
    return found


def _basis_points(percent: float | None) -> int | None:
    return None if percent is None else round(percent * 100)


def _whole_s(seconds: float | None) -> int | None:
    return None if seconds is None else max(1, round(seconds))


def _terms(args: argparse.Namespace) -> dict[str, Any]:
    spec = args.spec
    if spec is not None and spec.startswith("@"):
        try:
            spec = Path(spec[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no UTF-8 text"
            raise LocalFault("bad-file", f"--spec: {args.spec[1:]}: {why}", fix="check the path") from None
    given = {
        "title": args.title,
        "spec": spec,
        "amount": args.amount,
        "seller": args.seller,
        "milestones": _pairs(args.milestone, "amount", "--milestone"),
        "deadline_s": _whole_s(args.deadline),
        "review_s": _whole_s(args.review),
        "scorers": args.scorer,
        "score_quorum": args.score_quorum,
        "panel": args.panel,
        "quorum": args.quorum,
        "panel_s": _whole_s(args.panel_time),
        "undecided_bp": _basis_points(args.undecided),
        "after": _pairs(args.after, "by", "--after"),
        "expires_s": _whole_s(args.expires),
    }
    return {name: value for name, value in given.items() if value is not None}


def _told(ctx: Context, op: str, **args: Any) -> int:
    """Ask, and show what the escrow is then."""
    found = ctx.ask(op, **{name: value for name, value in args.items() if value is not None})
    return _shown(ctx, found)


def run_create(ctx: Context) -> int:
    args = ctx.args
    terms = _terms(args)
    missing = [] if args.title is not None else ["--title"]
    if args.amount is None and not args.milestone:  # which add up to it
        missing.append("--amount")
    if missing:
        fix = "such as: swarmd escrow create --title 'Translate the manual' --amount 50"
        raise UsageFault(f"swarmd escrow create: it needs {', '.join(missing)}", fix=fix)
    return _told(ctx, "escrow.create", **terms, key=args.key)


def run_offer(ctx: Context) -> int:
    return _told(ctx, "escrow.offer", escrow=ctx.args.escrow, note=ctx.args.note, **_terms(ctx.args))


def run_counter(ctx: Context) -> int:
    return _told(ctx, "escrow.counter", escrow=ctx.args.escrow, note=ctx.args.note, **_terms(ctx.args))


def run_accept(ctx: Context) -> int:
    return _told(ctx, "escrow.accept", escrow=ctx.args.escrow, offer=ctx.args.offer)


def run_fund(ctx: Context) -> int:
    return _told(ctx, "escrow.fund", escrow=ctx.args.escrow, seller=ctx.args.seller)


def run_submit(ctx: Context) -> int:
    args = ctx.args
    cid = _deliverable(ctx, args.deliverable)
    return _told(ctx, "escrow.submit", escrow=args.escrow, cid=cid, milestone=args.milestone, note=args.note)


def _deliverable(ctx: Context, text: str) -> str:
    """A CID as it is; a file becomes content of this node, pinned, which others fetch by its CID."""
    try:
        parse_cid(text)
        return text
    except RemoteFault:
        pass
    if not Path(text).exists():
        raise LocalFault("bad-args", f"{text!r} is neither a CID nor a file or folder", fix="check the path")
    from swarmd.node.console.contents import node_content
    from swarmd.node.content.adding import Adder, Layout

    with node_content(ctx) as store:
        added = Adder(store.put_group, Layout()).add(Path(text))
        store.pin(added.cid, name=f"escrow {ctx.args.escrow}")
    return cid_text(added.cid)


def run_score(ctx: Context) -> int:
    args = ctx.args
    return _told(
        ctx,
        "escrow.score",
        escrow=args.escrow,
        score=args.score,
        milestone=args.milestone,
        reason=args.reason,
    )


def run_ready(ctx: Context) -> int:
    return _told(ctx, "escrow.ready", escrow=ctx.args.escrow, name=ctx.args.name)


def run_release(ctx: Context) -> int:
    return _told(ctx, "escrow.release", escrow=ctx.args.escrow)


def run_milestone(ctx: Context) -> int:
    return _told(ctx, "escrow.release", escrow=ctx.args.escrow, milestones=ctx.args.name)


def run_refund(ctx: Context) -> int:
    return _told(ctx, "escrow.refund", escrow=ctx.args.escrow, reason=ctx.args.reason)


def run_dispute(ctx: Context) -> int:
    args = ctx.args
    return _told(ctx, "escrow.dispute", escrow=args.escrow, reason=args.reason, evidence=args.evidence)


def run_resolve(ctx: Context) -> int:
    args = ctx.args
    share = _basis_points(args.seller_percent)
    return _told(ctx, "escrow.resolve", escrow=args.escrow, seller_bp=share, reason=args.reason)


def run_show(ctx: Context) -> int:
    return _told(ctx, "escrow.show", escrow=ctx.args.escrow)


def run_list(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    given = {"state": args.state, "role": args.role, "all": args.all or None, "limit": args.limit}
    found = ctx.ask("escrow.list", **{name: value for name, value in given.items() if value is not None})
    if out.as_json:
        out.document(found)
        return OK
    if out.quiet:
        for row in found["escrows"]:
            out.line(row["escrow"])
        return OK
    if not found["escrows"]:
        out.note("no agreements; open one: swarmd escrow create --help")
        return OK
    names = ("escrow", "state", "role", "amount", "held", "paid", "priority", "title")
    out.print(table(_COLUMNS, [tuple(row[name] for name in names) for row in found["escrows"]]))
    if found["total"] > len(found["escrows"]):
        out.note(f"{len(found['escrows'])} of {found['total']}: raise --limit", "dim")
    return OK


def run_reputation(ctx: Context) -> int:
    found = ctx.ask("escrow.reputation", **({"did": ctx.args.did} if ctx.args.did else {}))
    out = ctx.out
    if out.as_json:
        out.document(found)
    elif out.quiet:
        out.line(str(found["reputation"]))
    else:
        settled = f"{found['settled_well']} well, {found['settled_badly']} badly"
        rows = [
            ("owner", found["did"]),
            ("reputation", f"{found['reputation']} of 100"),
            ("settled", settled),
            (
                "stake",
                f"{found['stake']} USDC: {found['tier']}, {found['fee_discount_percent']} % off its fees",
            ),
            ("priority", found["priority"]),
        ]
        out.print(facts(rows))
    return OK


def _shown(ctx: Context, found: dict[str, Any]) -> int:
    out = ctx.out
    if out.as_json:
        out.document(found)
        return OK
    if out.quiet:
        out.line(found["escrow"])
        return OK
    out.print(facts(_facts(found)))
    if found.get("offers"):
        out.print(table(_OFFERS, [_offer(offer) for offer in found["offers"]]))
    if found.get("milestones"):
        out.print(table(_MILESTONES, [_milestone(each) for each in found["milestones"]]))
    dispute = found.get("dispute")
    if dispute:
        for claim in dispute["claims"]:
            evidence = f" ({', '.join(claim['evidence'])})" if claim["evidence"] else ""
            out.note(f"{short_did(claim['by'])} claims: {clean(claim['reason'])}{evidence}")
        for vote in dispute["votes"]:
            out.note(
                f"{short_did(vote['by'])} gives the seller {vote['seller_bp'] / 100:g} %: {clean(vote['reason'])}"
            )
    if found["history"]:
        out.print(table(_HISTORY, [_said(each) for each in found["history"]]))
    return OK


def _said(each: dict[str, Any]) -> tuple[object, ...]:
    text = f"without effect: {each['void']}" if each["void"] else each["text"]
    return (_when(each["at_ns"]), short_did(each["by"]), each["op"], text)


def _facts(found: dict[str, Any]) -> list[tuple[str, object]]:
    state = found["state"] + ("" if found["final"] else " (until the next checkpoint not final)")
    rated = found["reputation"]
    sides = {
        side: f"{short_did(found[side])}, reputation {rated[side]}" if found[side] else "whoever accepts"
        for side in ("buyer", "seller")
    }
    money = f"{found['amount']} USDC: {found['held']} held, {found['paid']} paid, {found['returned']} back, fee {found['fee']}"
    rows: list[tuple[str, object]] = [
        ("escrow", found["escrow"]),
        ("title", found["title"]),
        ("state", state),
        ("we are", found["role"]),
        ("buyer", sides["buyer"]),
        ("seller", sides["seller"]),
        ("money", money),
    ]
    if found["reason"]:
        rows.append(("because", found["reason"]))
    if found["state"] in ("funded", "submitted", "verified") and not found["covered"]:
        rows.append(("careful", "the buyer's account does not cover it yet"))
    if found["waits_for"]:
        rows.append(("waits for", ", ".join(found["waits_for"])))
    if found["deadline_ns"]:
        rows.append(("deadline", _when(found["deadline_ns"])))
    return rows


def _when(at_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_ns // 1_000_000_000))


def _offer(offer: dict[str, Any]) -> tuple[object, ...]:
    return (
        short_did(offer["by"]),
        offer["amount"],
        f"until {_when(offer['expires_ns'])}",
        ", ".join(short_did(did) for did in offer["accepted_by"]),
        offer["note"],
        offer["offer"],
    )


def _milestone(each: dict[str, Any]) -> tuple[object, ...]:
    delivery = each["delivery"] or {}
    return (
        each["name"],
        each["amount"],
        each["state"],
        "" if delivery.get("score") is None else delivery["score"],
        each["because"],
        delivery.get("cid", ""),
    )
