"""MONEY envelopes: what an account's owner, and the committee of the epoch, say about its money.

A transfer or withdrawal is an entry of its owner's chain and applies once K members of the committee that ends the epoch
have signed it (consistent broadcast, as in Baudet, Danezis, Sonnino, "FastPay", 2020). The same committee certifies the
checkpoint, so a quorum for the one shares a member with any quorum for the other (adr/0028). A deposit counts once K of
them have seen its event on the chain, each by its own watcher.
"""

from collections.abc import Callable, Mapping

from swarmd.protocol import commands, kinds
from swarmd.protocol.checkpoint import adopting
from swarmd.protocol.effects import Effect, Report
from swarmd.protocol.envelope import Envelope, account_thread
from swarmd.protocol.shadow import claiming
from swarmd.protocol.shadow.committee import committee_of, too_late
from swarmd.protocol.shadow.record import (
    DEPOSIT,
    DOUBLE_SPEND_FAILURES,
    MAX_KEYS,
    MINUTE_NS,
    MINUTES_PER_DAY,
    PAID_OUT,
    PAYOUT,
    TRANSFER,
    Spend,
    content_of,
    spend_of,
)
from swarmd.protocol.state import State


def take(state: State, envelope: Envelope, out: list[Effect]) -> None:
    """An envelope of an account's thread, of an epoch that has begun here. What moves nothing leaves no trace."""
    code = _misplaced(envelope) or _OPS[envelope.payload["op"]](state, envelope, out)
    if code and envelope.sender != state.me:
        out.append(Report(envelope.sender, code))


def _misplaced(envelope: Envelope) -> str:
    if envelope.kind != kinds.MONEY:
        return "void-" + envelope.kind.lower()
    return "" if envelope.thread == account_thread(envelope.sender) else "misplaced-money"


# Spends ----------------------------------------------------------------------------------------------------------


def _spend(state: State, envelope: Envelope, out: list[Effect]) -> str:
    """The owner's entry. Returns the code of what is wrong with it, or ""."""
    spend = spend_of(envelope)
    if not spend.amount:
        return "void-transfer"
    if spend.to == spend.owner:
        return "void-transfer"
    if spend.name in state.shadow.spends:
        return ""
    ledger = state.ledger
    if adopting.is_closed(state, spend.owner, spend.seq) and spend.name not in ledger.base_escrows:
        state.fenced += 1  # a checkpoint has what became of this entry
        return ""
    state.shadow.spends[spend.name] = spend
    if spend.owner == state.me:
        _own(state, spend)
    if spend.name in ledger.base_escrows:  # a withdrawal that a checkpoint has, and that is not paid out
        _pay_out(state, spend)
        return ""
    if spend.op == TRANSFER:
        ledger.settle(spend.name, {"pay": (spend.to, spend.amount)}, "released")
    else:
        _pay_out(state, spend)
    unvoted = state.shadow.unvoted
    unvoted[spend.owner] = max(spend.seq, unvoted.get(spend.owner, 0))
    ledger.add_entry(spend.entry(), gated=True)
    _blame(state, spend)
    return "double-spend" if (spend.owner, spend.seq) in ledger.double_spends else ""


def _own(state: State, spend: Spend) -> None:
    """Our own came back: its money is pending until it applies."""
    payload, shadow = spend.envelope.payload, state.shadow
    shadow.keys[payload["key"]] = (
        spend.name,
        content_of(spend.op, spend.to, spend.amount, payload["memo"]),
    )
    while len(shadow.keys) > MAX_KEYS:
        del shadow.keys[next(iter(shadow.keys))]
    if spend.name in state.ledger.base_escrows:
        return
    minute = spend.envelope.ts_ns // MINUTE_NS
    shadow.spent[minute] = shadow.spent.get(minute, 0) + spend.amount
    while shadow.spent and (first := next(iter(shadow.spent))) < minute - MINUTES_PER_DAY:
        del shadow.spent[first]
    pending = state.own_pending
    commands.own_entry_applied(state, spend.entry())
    state.own_pending = pending + spend.amount


def _blame(state: State, spend: Spend) -> None:
    """A double spend costs its owner reputation, once; a verifier's stake and seat go at the checkpoint (pool/folding)."""
    place = (spend.owner, spend.seq)
    if place in state.ledger.double_spends and place not in state.shadow.blamed:
        state.shadow.blamed[place] = None
        state.reputation.setdefault(spend.owner, [0, 0])[1] += DOUBLE_SPEND_FAILURES


def applied(state: State, name: str) -> None:
    """The entry of this escrow was applied."""
    spend = state.shadow.spends.get(name)
    if spend is not None and spend.owner == state.me:
        state.own_pending = max(0, state.own_pending - spend.amount)


# Votes of the committee --------------------------------------------------------------------------------------------


def _confirm(state: State, envelope: Envelope, out: list[Effect]) -> str:
    """A member signs entries: [owner, seq, hash]..."""
    if too_late(state, envelope.epoch) or envelope.id in state.shadow.said:
        return ""
    drawn = committee_of(state, envelope.epoch)
    if envelope.sender not in drawn.members:
        return "void-confirm"
    state.shadow.said[envelope.id] = envelope
    lied = ""
    for owner, seq, entry in envelope.payload["entries"]:
        base = state.ledger.base.get(owner)
        if base is not None and seq < base.next_seq:
            continue
        if envelope.sender == state.me:
            state.shadow.promised[(owner, seq)] = (bytes(entry), envelope.epoch)
        votes = state.shadow.votes.setdefault((owner, seq), {})
        voters = votes.setdefault(bytes(entry), {}).setdefault(envelope.epoch, set())
        voters.add(envelope.sender)
        if len(votes) > 1 and _signed_both(state, votes, envelope.sender):
            lied = "contradiction"
        if len(voters) == drawn.quorum:
            state.ledger.certify(owner, seq, bytes(entry))
    return lied


def _signed_both(state: State, votes: Mapping[bytes, Mapping[int, set[str]]], voter: str) -> bool:
    signed = sorted(entry for entry, epochs in votes.items() if any(voter in who for who in epochs.values()))
    if len(signed) < 2:
        return False
    state.shadow.liars[voter] = (signed[0], signed[1])
    return True


def _attest(state: State, envelope: Envelope, out: list[Effect]) -> str:
    """A member has seen a deposit or a payout on the chain, deep enough."""
    if too_late(state, envelope.epoch) or envelope.id in state.shadow.said:
        return ""
    drawn = committee_of(state, envelope.epoch)
    if envelope.sender not in drawn.members:
        return "void-attest"
    payload = envelope.payload
    subject, content = bytes(payload["subject"]), (payload["what"], payload["to"], payload["amount"])
    if subject in state.shadow.credited:
        return ""
    state.shadow.said[envelope.id] = envelope
    if envelope.sender == state.me:
        state.shadow.attested[subject] = envelope.epoch
    known = state.shadow.attests.setdefault(subject, {})
    if any(
        envelope.sender in epochs.get(envelope.epoch, ())
        for other, epochs in known.items()
        if other != content
    ):
        return "contradiction"  # its first word stands
    voters = known.setdefault(content, {}).setdefault(envelope.epoch, set())
    voters.add(envelope.sender)
    if len(voters) == drawn.quorum:
        _seen_on_chain(state, subject, content)
    return ""


def _seen_on_chain(state: State, subject: bytes, content: tuple[str, str, int]) -> None:
    what, to, amount = content
    if what == DEPOSIT:
        state.ledger.credit(subject, to, amount)
    elif what == PAYOUT:
        state.shadow.paid_out[subject] = None
        for spend in state.shadow.spends.values():
            if spend.hash == subject:
                _pay_out(state, spend)


def _pay_out(state: State, spend: Spend) -> None:
    """Its money leaves the mesh, if it is on record that it was paid on the chain."""
    if spend.hash in state.shadow.paid_out:
        state.ledger.settle(spend.name, {"out": (PAID_OUT, spend.amount)}, "released")


_OPS: Mapping[str, Callable[[State, Envelope, list[Effect]], str]] = {
    "transfer": _spend,
    "withdraw": _spend,
    "confirm": _confirm,
    "claim": claiming.look,
    "payout": claiming.look,
    "attest": _attest,
}
