"""What this node says about money: its owner's transfers and withdrawals, and its votes as a member of the committee."""

from collections.abc import Mapping
from typing import Any

from swarmd.protocol import funds, kinds
from swarmd.protocol.amounts import format_usdc
from swarmd.protocol.effects import Effect
from swarmd.protocol.envelope import account_thread
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.ledger.accounts import Entry, fund_entry
from swarmd.protocol.limits import MAX_AMOUNT, MAX_CONFIRMED
from swarmd.protocol.shadow import rivals
from swarmd.protocol.shadow.committee import sits
from swarmd.protocol.shadow.record import (
    MINUTE_NS,
    MINUTES_PER_DAY,
    TRANSFER,
    WITHDRAW,
    content_of,
    spend_name,
)
from swarmd.protocol.state import State

# The owner's commands ------------------------------------------------------------------------------------------------


def transfer(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: to (did:key), amount (minor units), key, memo, max_amount, max_per_day (0: no limit).

    The same key again does nothing; with another content it is a LocalFault `key-conflict`.
    """
    _spend(state, TRANSFER, args["to"], args["to"], args, out)


def withdraw(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: as of `transfer`; `to` is an account on the chain, 20 bytes."""
    to = args["to"]
    if type(to) is not bytes or len(to) != 20:
        raise LocalFault(
            "bad-address", "an account on the chain has 20 bytes", fix="give it as 0x and 40 hex digits"
        )
    _spend(state, WITHDRAW, "0x" + to.hex(), to, args, out)


def _spend(
    state: State, op: str, to: str, wire_to: object, args: Mapping[str, Any], out: list[Effect]
) -> None:
    amount, key, memo = args["amount"], args["key"], args["memo"]
    if type(amount) is not int or not 0 < amount <= MAX_AMOUNT:
        raise LocalFault(
            "bad-amount",
            f"{amount!r} is no amount to pay",
            fix="more than 0, with at most 6 decimals",
        )
    if to == state.me:
        raise LocalFault("to-itself", "the money is on this account already", fix="name another account")
    payload = {
        "op": op,
        "seq": state.own_seq,
        "prev": state.own_head,
        "to": wire_to,
        "amount": amount,
        "key": key,
        "memo": memo,
    }
    try:
        kinds.check_payload(kinds.MONEY, payload)
    except RemoteFault as fault:
        fix = "name a DID (did:key:z6Mk..., swarmd status there shows it), and a short memo"
        raise LocalFault("bad-transfer", fault.message, fix=fix) from None
    known = state.shadow.keys.get(key)
    if known is not None:
        if known[1] != content_of(op, to, amount, memo):
            raise LocalFault(
                "key-conflict",
                f"the key {key!r} was used for another payment ({known[0]})",
                fix="give each payment a key of its own",
            )
        return
    _check_limits(state, amount, args["max_amount"], args["max_per_day"])
    funds.check(state, amount, f"{format_usdc(amount)} are asked for", "pay less")
    entry = fund_entry(
        state.me,
        state.own_seq,
        state.own_head,
        spend_name(op, state.me, state.own_seq, to, amount, key, memo),
        amount,
    )
    state.own_seq += 1
    state.own_head = entry.hash
    state.draft(out, account_thread(state.me), kinds.MONEY, payload, ())


def _check_limits(state: State, amount: int, most: int, most_per_day: int) -> None:
    if most and amount > most:
        raise LocalFault(
            "over-limit",
            f"{format_usdc(amount)} in one payment; this node's limit is {format_usdc(most)}",
            fix="pay in parts, or raise transfer_max in swarmd.toml",
        )
    if not most_per_day:
        return
    since = (
        state.now_ns // MINUTE_NS - MINUTES_PER_DAY
    )  # by the minute: a day has few of them, and may have many payments
    spent = sum(paid for minute, paid in state.shadow.spent.items() if minute > since)
    if spent + amount > most_per_day:
        raise LocalFault(
            "over-daily-limit",
            f"{format_usdc(spent)} were paid in the last day, {format_usdc(most_per_day)} are allowed",
            fix="wait, or raise transfer_max_per_day in swarmd.toml",
        )


def claim(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: the payload of a `claim` or `payout`, with its op."""
    payload = dict(args)
    try:
        kinds.check_payload(kinds.MONEY, payload)
    except RemoteFault as fault:
        raise LocalFault("bad-claim", fault.message) from None
    if payload["op"] not in ("claim", "payout"):
        raise LocalFault("bad-claim", f"{payload['op']} is no claim")
    state.draft(out, account_thread(state.me), kinds.MONEY, payload, ())


# The committee's votes -------------------------------------------------------------------------------------------------


def stir(state: State, out: list[Effect]) -> None:
    """After a step: remember whose entries may be votable now, and be woken for it once this turn is over."""
    shadow, ledger = state.shadow, state.ledger
    if not ledger.stirred:
        return
    if shadow.unvoted:
        for did in ledger.stirred:
            if did in shadow.unvoted:
                shadow.dirty[did] = None
    ledger.stirred.clear()
    if shadow.dirty and not shadow.armed:
        if not sits(state):
            shadow.dirty.clear()
            return
        shadow.armed = True
        state.arm(out, state.now_ns, "")


def anew(state: State, out: list[Effect]) -> None:
    """An epoch has begun: its committee votes on what is not certified yet."""
    unvoted: dict[str, int] = {}
    for spend in state.shadow.spends.values():
        unvoted[spend.owner] = max(spend.seq, unvoted.get(spend.owner, 0))
    state.shadow.unvoted = unvoted
    state.ledger.stirred |= dict.fromkeys(unvoted)
    stir(state, out)


def attend(state: State, out: list[Effect]) -> None:
    """Vote on what can be: all of it in as few envelopes as it fits."""
    shadow = state.shadow
    shadow.armed = False
    owners, shadow.dirty = list(shadow.dirty), {}
    if not owners or not sits(state):
        return
    votes: list[list[Any]] = []
    for owner in owners:
        votes += [[owner, entry.seq, entry.hash] for entry in _votable(state, owner)]
    for first in range(0, len(votes), MAX_CONFIRMED):
        payload = {"op": "confirm", "entries": votes[first : first + MAX_CONFIRMED]}
        state.draft(out, account_thread(state.me), kinds.MONEY, payload, ())


def _votable(state: State, owner: str) -> list[Entry]:
    """Along the owner's chain, from what is applied: the entries that its money covers, each the only one of its number,
    none beside one that we signed before, none after a number that has two NEEDs. In every epoch we sign those that are not certified once."""
    ledger, shadow = state.ledger, state.shadow
    account = ledger.account(owner)
    seq, head, left = account.next_seq, account.head, account.available
    found: list[Entry] = []
    doubtful = rivals.contested(state, owner)
    while (known := ledger.entries.get((owner, seq))) is not None:
        if doubtful is not None and seq > doubtful:
            break  # which of two NEEDs it comes after, a checkpoint says
        sure = [entry for entry in known.values() if entry.hash in ledger.certified]
        if len(known) != 1 and len(sure) != 1:
            break
        entry = sure[0] if sure else next(iter(known.values()))
        if entry.prev != head or entry.amount > left:
            break
        if entry.hash in ledger.gated and not sure:
            promised = shadow.promised.get((owner, seq))
            if promised is not None and promised[0] != entry.hash:
                break
            if promised is None or promised[1] != state.epoch:
                found.append(entry)
        left -= entry.amount
        head = entry.hash
        seq += 1
    if shadow.unvoted.get(owner, seq) < seq:
        del shadow.unvoted[owner]
    return found
