"""ESCROW envelopes as they come: the engine's rule. What they come to follows from which there are, not from their order."""

from swarmd.protocol import commands, kinds
from swarmd.protocol.effects import Effect, Report
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.escrow import money
from swarmd.protocol.escrow.deal import NEW
from swarmd.protocol.escrow.ids import escrow_thread, purse_of
from swarmd.protocol.escrow.record import Purse, Record
from swarmd.protocol.ledger.accounts import fund_entry
from swarmd.protocol.state import State

# By one author in one escrow between two checkpoints; a stranger may come to be a party, and has less to say before.
MAX_SAID = 512
MAX_SAID_BY_STRANGER = 8
MAX_OPEN = 1_024  # escrows of one buyer that it has not funded


def lock(state: State, envelope: Envelope) -> None:
    """Enter what a FUND locks into its sender's account, wherever it is heard and whatever else is true of it: else the
    chain of the account would have a gap. What no escrow claims, a checkpoint returns."""
    if envelope.kind != kinds.ESCROW or envelope.payload["op"] != "fund":
        return
    payload = envelope.payload
    fund = payload["fund"]
    base = state.ledger.base.get(envelope.sender)
    if base is not None and fund["seq"] < base.next_seq:
        return  # a checkpoint has it, or another in its place
    name = purse_of(envelope)
    entry = fund_entry(envelope.sender, fund["seq"], fund["prev"], name, payload["amount"])
    if entry.hash in state.ledger.entries.get((entry.owner, entry.seq), ()):
        return
    state.escrows.purses[name] = Purse(envelope.thread, entry)
    state.ledger.add_entry(entry)
    commands.own_entry_applied(state, entry)


def waits_for(state: State, envelope: Envelope) -> bytes | None:
    """What must come before it; None if nothing is missing. b"" is the escrow itself."""
    if envelope.kind != kinds.ESCROW or envelope.thread in state.escrows.ended:
        return None
    record = state.escrows.records.get(envelope.thread)
    if record is None:
        return None if envelope.payload["op"] == "create" else b""
    return next((bytes(ref) for ref in envelope.refs if not record.knows(ref)), None)


def take(state: State, envelope: Envelope, out: list[Effect]) -> None:
    """One whose causes are here, of an epoch that has begun. What is refused leaves no trace but its author's score."""
    thread, escrows = envelope.thread, state.escrows
    if thread in escrows.ended:
        state.fenced += 1
        return
    record = escrows.records.get(thread)
    if record is not None and record.knows(envelope.id):
        return
    refusal = _refusal(state, record, envelope)
    if not refusal and record is None:
        record = Record(thread)
        record.take(envelope)
        if record.deal.state == NEW:
            refusal = "void-escrow"  # no order of delivery could make it another
        else:
            escrows.records[thread] = record
    elif not refusal and record is not None:
        record.take(envelope)
    if refusal or record is None:
        if envelope.sender != state.me:
            out.append(Report(envelope.sender, refusal))
        return
    money.settle(state, record)


def _refusal(state: State, record: Record | None, envelope: Envelope) -> str:
    """The code of what is wrong with it whatever else comes, or ""."""
    if envelope.kind != kinds.ESCROW:
        return "void-" + envelope.kind.lower()
    if record is None:
        if envelope.thread != escrow_thread(envelope.sender, envelope.payload["nonce"]):
            return "misplaced-escrow"
        mine = (each.deal for each in state.escrows.records.values() if each.deal.buyer == envelope.sender)
        return "escrow-flood" if sum(not deal.purse for deal in mine) >= MAX_OPEN else ""
    said = sum(each.sender == envelope.sender for each in record.said.values())
    known = envelope.sender in record.deal.parties()
    return "escrow-flood" if said >= (MAX_SAID if known else MAX_SAID_BY_STRANGER) else ""
