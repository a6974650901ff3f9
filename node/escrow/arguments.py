"""What calls say of terms, checked and in the form of a payload. Whatever is wrong is the caller's: LocalFault."""

from collections.abc import Mapping
from typing import Any

from swarmd.protocol.amounts import parse_usdc
from swarmd.protocol.didkey import public_key_of
from swarmd.protocol.escrow.terms import Terms
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.limits import MAX_DEADLINE_S

DAY_S = 86_400
DEFAULT_DEADLINE_S = 7 * DAY_S
DEFAULT_EXPIRES_S = DAY_S
WHOLE = "all"  # the milestone of terms that name none
TERMS = (
    "title", "spec", "amount", "seller", "milestones", "deadline_s", "review_s", "scorers", "score_quorum", "panel",
    "quorum", "panel_s", "undecided_bp", "after",
)  # fmt: skip


def text(args: Mapping[str, Any], name: str, default: str | None = None) -> str:
    found = args.get(name)
    if found is None and default is not None:
        return default
    if type(found) is not str or (default is None and not found):
        raise LocalFault("bad-args", f"{name} is a text")
    return found


def number(args: Mapping[str, Any], name: str, default: int, most: int) -> int:
    found = args.get(name)
    if found is None:
        return default
    if type(found) is not int or not 0 <= found <= most:
        raise LocalFault("bad-args", f"{name} is a whole number from 0 to {most}")
    return found


def did(value: Any, name: str) -> str:
    try:
        if type(value) is not str:
            raise RemoteFault("bad-did")
        public_key_of(value)
    except RemoteFault:
        fix = "a node's DID is did:key:z6Mk...: swarmd status there shows it"
        raise LocalFault("bad-args", f"{name}: {str(value)[:80]!r} is no did:key", fix=fix) from None
    return value


def _dids(args: Mapping[str, Any], name: str, default: tuple[str, ...]) -> list[str]:
    found = args.get(name)
    if found is None:
        return list(default)
    if type(found) is not list:
        raise LocalFault("bad-args", f"{name} is a list of dids")
    return [did(each, name) for each in found]


def _named(args: Mapping[str, Any], name: str, field: str) -> list[Mapping[str, str]] | None:
    found = args.get(name)
    if found is None:
        return None
    if type(found) is not list or not all(_is_pair(each, field) for each in found):
        raise LocalFault("bad-args", f"{name} is a list of {{name, {field}}}")
    return found


def _is_pair(value: Any, field: str) -> bool:
    return (
        type(value) is dict and value.keys() == {"name", field} and {type(v) for v in value.values()} == {str}
    )


def terms(args: Mapping[str, Any], before: Terms | None = None) -> dict[str, Any]:
    """Terms as a payload has them, but for `deadline_s`, which counts from when they are said. What `args` leaves out is as
    `before`, or the default: one milestone, a week, a review as long as a day, nobody who scores or judges."""
    made: dict[str, Any] = {
        "title": text(args, "title", before.title if before else None),
        "spec": text(args, "spec", before.spec if before else ""),
        **_money(args, before),
        "review_s": number(args, "review_s", before.review_s if before else DAY_S, MAX_DEADLINE_S),
        "panel_s": number(args, "panel_s", before.panel_s if before else 3 * DAY_S, MAX_DEADLINE_S),
        "undecided_bp": number(args, "undecided_bp", before.undecided_bp if before else 5_000, 10_000),
    }
    scorers = _dids(args, "scorers", before.scorers if before else ())
    panel = _dids(args, "panel", before.panel if before else ())
    same = before is not None and (list(before.scorers), list(before.panel)) == (scorers, panel)
    votes = (before.score_quorum, before.quorum) if before is not None and same else None
    made["scorers"], made["panel"] = scorers, panel
    made["score_quorum"] = number(
        args, "score_quorum", votes[0] if votes else len(scorers) // 2 + 1 if scorers else 0, 255
    )
    made["quorum"] = number(args, "quorum", votes[1] if votes else len(panel) // 2 + 1 if panel else 0, 255)
    if args.get("deadline_s") is not None or before is None:
        made["deadline_s"] = number(args, "deadline_s", DEFAULT_DEADLINE_S, MAX_DEADLINE_S)
    else:
        made["deadline_ns"] = before.deadline_ns
    waits = _named(args, "after", "by")
    if waits is not None:
        made["after"] = [{"name": each["name"], "by": did(each["by"], "after")} for each in waits]
    else:
        made["after"] = [{"name": n, "by": by} for n, by in before.after.items()] if before else []
    seller = args.get("seller")
    if seller is not None:
        made["seller"] = did(seller, "seller")
    elif before is not None and before.seller:
        made["seller"] = before.seller
    return made


def _money(args: Mapping[str, Any], before: Terms | None) -> dict[str, Any]:
    """Amount and milestones: either follows from the other."""
    parts = _named(args, "milestones", "amount")
    given = args.get("amount")
    if parts:
        amounts = [parse_usdc(each["amount"]) for each in parts]
        milestones = [{"name": p["name"], "amount": a} for p, a in zip(parts, amounts, strict=True)]
        amount = sum(amounts)
        if given is not None and parse_usdc(given) != amount:
            raise LocalFault(
                "bad-args", f"the milestones add up to {amount} minor units, not to {given} USDC"
            )
    elif given is not None:
        amount = parse_usdc(given)
        if before is not None and len(before.milestones) > 1 and amount != before.amount:
            raise LocalFault("bad-args", "another amount needs other milestones", fix="name them all")
        names = list(before.milestones) if before is not None else [WHOLE]
        milestones = [{"name": names[0], "amount": amount}]
        if before is not None and len(before.milestones) > 1:
            milestones = [{"name": name, "amount": each} for name, each in before.milestones.items()]
    elif before is not None:
        amount = before.amount
        milestones = [{"name": name, "amount": each} for name, each in before.milestones.items()]
    else:
        raise LocalFault("bad-args", "terms name an amount or milestones")
    if not amount:
        raise LocalFault("bad-amount", "an escrow of nothing")
    return {"amount": amount, "milestones": milestones}
