"""Claims: "this event on the chain is a deposit of mine", "this withdrawal was paid".

Whether it is so depends on a chain that the core does not read: each member's node looks for itself (node/chain), its
finding is an input, and what counts is a quorum of members who found it (`attest`).
"""

from swarmd.protocol import kinds
from swarmd.protocol.effects import CheckClaim, Effect
from swarmd.protocol.envelope import Envelope, account_thread
from swarmd.protocol.inputs import ClaimChecked
from swarmd.protocol.shadow.committee import sits
from swarmd.protocol.shadow.record import DEPOSIT, PAYOUT, WITHDRAW, subject_of
from swarmd.protocol.state import State


def look(state: State, envelope: Envelope, out: list[Effect]) -> str:
    """If we are of the committee and have not attested it in this epoch, have it looked up."""
    payload = envelope.payload
    subject = subject_of(payload)
    if envelope.epoch != state.epoch or not sits(state) or state.shadow.attested.get(subject) == state.epoch:
        return ""
    to, amount = envelope.sender, 0  # of a deposit the chain says how much
    if payload["op"] == PAYOUT:
        spend = next((s for s in state.shadow.spends.values() if s.hash == subject), None)
        if spend is None or spend.op != WITHDRAW or subject in state.shadow.paid_out:
            return ""
        to, amount = spend.to, spend.amount
    elif subject in state.shadow.credited or subject in state.ledger.credits:
        return ""
    out.append(
        CheckClaim(
            subject=subject,
            what=DEPOSIT if payload["op"] == "claim" else PAYOUT,
            to=to,
            amount=amount,
            claim={name: value for name, value in payload.items() if name != "op"},
        )
    )
    return ""


def checked(state: State, given: ClaimChecked, out: list[Effect]) -> None:
    """What our node found: said once in an epoch, if it found it."""
    if not given.seen or not sits(state) or state.shadow.attested.get(given.subject) == state.epoch:
        return
    payload = {
        "op": "attest",
        "subject": given.subject,
        "what": given.what,
        "to": given.to,
        "amount": given.amount,
    }
    state.draft(out, account_thread(state.me), kinds.MONEY, payload, ())
