"""What an operator says of escrows. Each command is tried on a copy first, by the very rules that others will judge it by."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from swarmd.protocol import funds, kinds
from swarmd.protocol.amounts import format_usdc
from swarmd.protocol.cbor import Link
from swarmd.protocol.effects import Effect
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.escrow.deal import Deal
from swarmd.protocol.escrow.ids import escrow_thread, purse_name
from swarmd.protocol.escrow.machine import apply, fold
from swarmd.protocol.escrow.money import money_of
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.ledger.accounts import fund_entry
from swarmd.protocol.limits import S_NS
from swarmd.protocol.state import State

Command = Callable[[State, Mapping[str, Any], list[Effect]], None]


def _deal(state: State, args: Mapping[str, Any]) -> Deal:
    record = state.escrows.records.get(args["escrow"])
    if record is not None:
        return record.deal
    ended = state.escrows.ended.get(args["escrow"])
    if ended is not None:
        raise LocalFault("escrow-ended", f"it was {ended.outcome}, and a checkpoint has closed it")
    raise LocalFault("unknown-escrow", f"no escrow {args['escrow']} here", fix="see swarmd escrow list")


def _say(
    state: State, out: list[Effect], thread: str, deal: Deal, payload: dict[str, Any], refs: tuple[bytes, ...]
) -> None:
    """Draft it, if it would count; LocalFault `refused` with the reason if it would be void."""
    try:
        kinds.check_payload(kinds.ESCROW, payload)
    except RemoteFault as fault:
        raise LocalFault("bad-args", fault.message) from None
    said = Envelope(
        kind=kinds.ESCROW,
        thread=thread,
        sender=state.me,
        lamport=state.lamport + 1,
        ts_ns=state.now_ns,
        epoch=state.epoch,
        payload=payload,
        refs=tuple(Link(ref) for ref in refs),
        policy=bytes(32),
        eval=bytes(32),
        trace="",
        raw=b"",
        id=b"draft",
    )
    reason = apply(fold(thread, deal.steps, ()), said)
    if reason:
        raise LocalFault("escrow-refused", reason, fix=f"swarmd escrow show {thread} says what it waits for")
    state.draft(out, thread, kinds.ESCROW, payload, refs)


def nonce_of(state: State, key: str) -> bytes:
    """16 bytes for an escrow of ours: of the caller's key, so that a call that is repeated makes no second one; or of what
    this node never says twice."""
    if key:
        body = b"key\0" + key.encode()
    else:
        body = b"lamport\0" + state.lamport.to_bytes(8, "big") + state.now_ns.to_bytes(8, "big")
    return sha256(b"swarmd/escrow-nonce/1\0" + state.me.encode() + b"\0" + body).digest()[:16]


def _create(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: terms (payload form, `deadline_s` from now instead of deadline_ns), expires_s, key."""
    nonce = nonce_of(state, args["key"])
    thread = escrow_thread(state.me, nonce)
    if thread in state.escrows.records or thread in state.escrows.ended:
        raise LocalFault("escrow-exists", f"{thread} was made with this key", fix="use another --key")
    payload = {"op": "create", "nonce": nonce, **_offered(state, args)}
    _say(state, out, thread, Deal(thread), payload, ())


def _offered(state: State, args: Mapping[str, Any]) -> dict[str, Any]:
    terms = {name: value for name, value in args["terms"].items() if name != "deadline_s"}
    if "deadline_s" in args["terms"]:
        terms["deadline_ns"] = state.now_ns + args["terms"]["deadline_s"] * S_NS
    expires_ns = min(state.now_ns + args["expires_s"] * S_NS, terms["deadline_ns"])
    return {"terms": terms, "expires_ns": expires_ns}


def _offer(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: escrow, terms, expires_s, note; `counter`: answer the other side's latest offer, not our own."""
    deal = _deal(state, args)
    mine = [offer for offer in deal.offers.values() if offer.by == state.me]
    others = [offer for offer in deal.offers.values() if offer.by != state.me and offer.to in ("", state.me)]
    known = others if args["counter"] else mine
    if not known:
        what = "made you an offer" if args["counter"] else "of yours is there"
        raise LocalFault(
            "no-offer", f"nobody {what}" if args["counter"] else f"no offer {what}", fix="swarmd escrow show"
        )
    payload = {"op": "offer", "note": args["note"], **_offered(state, args)}
    _say(state, out, deal.id, deal, payload, (known[-1].id,))


def _accept(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: escrow, offer (binary CID; b"": the latest that we may accept)."""
    deal = _deal(state, args)
    known = [o for o in deal.offers.values() if o.by != state.me and o.to in ("", state.me)]
    if args["offer"]:
        known = [offer for offer in deal.offers.values() if offer.id == args["offer"]]
    if not known:
        raise LocalFault("no-offer", "there is no offer for this node to accept", fix="swarmd escrow show")
    _say(state, out, deal.id, deal, {"op": "accept"}, (known[-1].id,))


def _fund(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: escrow, seller (of several who accepted; "" if one did). Locks the amount of the accepted terms."""
    deal = _deal(state, args)
    known = [a for a in deal.acceptances.values() if args["seller"] in ("", a.seller)]
    if not known:
        raise LocalFault("no-acceptance", "nobody has accepted an offer yet", fix="swarmd escrow show")
    if len({each.seller for each in known}) > 1:
        raise LocalFault("several-sellers", "several sellers accepted", fix="choose one with --seller DID")
    chosen = known[-1]
    amount = deal.offers[chosen.offer].terms.amount
    funds.check(state, amount, f"the escrow needs {format_usdc(amount)} USDC")
    fund = {"seq": state.own_seq, "prev": state.own_head}
    payload = {"op": "fund", "amount": amount, "fund": fund}
    name = purse_name(state.me, [state.own_seq, state.own_head, amount], deal.id, (chosen.id,))
    _say(state, out, deal.id, deal, payload, (chosen.id,))
    entry = fund_entry(state.me, state.own_seq, state.own_head, name, amount)
    state.own_seq += 1
    state.own_head = entry.hash
    state.own_pending += amount


def _covered(state: State, deal: Deal) -> None:
    if deal.purse and money_of(state, deal) is None:
        raise LocalFault(
            "not-covered",
            "the buyer's money is not locked: its account does not cover it yet",
            fix="wait until swarmd escrow show says that it holds the money",
        )


def _submit(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: escrow, milestone ("": the only open one), deliverable (binary CID), note."""
    deal = _deal(state, args)
    _covered(state, deal)
    payload = {
        "op": "submit",
        "milestone": _milestone(deal, args["milestone"]),
        "deliverable": Link(args["deliverable"]),
        "note": args["note"],
    }
    _say(state, out, deal.id, deal, payload, _about(deal))


def _milestone(deal: Deal, name: str) -> str:
    if name:
        return name
    left = [each for each in deal.open if each not in deal.approved]
    if len(left) > 1:
        raise LocalFault("several-milestones", f"open are {', '.join(left)}", fix="name one with --milestone")
    return left[0] if left else next(iter(deal.shown_terms().milestones))


def _about(deal: Deal) -> tuple[bytes, ...]:
    return (deal.fund,) if deal.fund else ()


def _score(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: escrow, milestone, score, reason: of the delivery that stands."""
    deal = _deal(state, args)
    name = args["milestone"]
    if not name and len(deal.submissions) == 1:
        name = next(iter(deal.submissions))
    submission = deal.submissions.get(_milestone(deal, name))
    if submission is None:
        raise LocalFault("nothing-delivered", "there is no delivery to score", fix="swarmd escrow show")
    payload = {"op": "score", "score": args["score"], "reason": args["reason"]}
    _say(state, out, deal.id, deal, payload, (submission.id,))


def _ready(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: escrow, name: something that the terms wait for, and that this node says is there."""
    deal = _deal(state, args)
    _say(state, out, deal.id, deal, {"op": "ready", "name": args["name"]}, _about(deal))


def _release(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: escrow, milestones (none: all that are open)."""
    deal = _deal(state, args)
    _say(state, out, deal.id, deal, {"op": "release", "milestones": args["milestones"]}, _about(deal))


def _dispute(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: escrow, reason, evidence (binary CIDs). In a dispute it adds to what was said."""
    deal = _deal(state, args)
    evidence = [Link(cid) for cid in args["evidence"]]
    payload = {"op": "dispute", "reason": args["reason"], "evidence": evidence}
    _say(state, out, deal.id, deal, payload, _about(deal))


def _resolve(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: escrow, seller_bp, reason: this member of the panel's vote."""
    deal = _deal(state, args)
    refs = (deal.dispute.id,) if deal.dispute is not None else ()
    payload = {"op": "resolve", "seller_bp": args["seller_bp"], "reason": args["reason"]}
    _say(state, out, deal.id, deal, payload, refs)


def _refund(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: escrow, reason. The seller gives back what is open; before funding, the buyer withdraws."""
    deal = _deal(state, args)
    refs = _about(deal) or (deal.first.id,)
    _say(state, out, deal.id, deal, {"op": "refund", "reason": args["reason"]}, refs)


COMMANDS: Mapping[str, Command] = {
    "escrow.create": _create,
    "escrow.offer": _offer,
    "escrow.accept": _accept,
    "escrow.fund": _fund,
    "escrow.ready": _ready,
    "escrow.submit": _submit,
    "escrow.score": _score,
    "escrow.release": _release,
    "escrow.dispute": _dispute,
    "escrow.resolve": _resolve,
    "escrow.refund": _refund,
}
