"""The ledger's side of escrows: what is locked for them, and who has how much at stake."""

from swarmd.protocol import kinds
from swarmd.protocol.escrow.deal import Deal
from swarmd.protocol.escrow.ids import purse_of
from swarmd.protocol.escrow.record import Record
from swarmd.protocol.ledger.accounts import Escrow
from swarmd.protocol.state import State


def money_of(state: State, deal: Deal) -> Escrow | None:
    """What the ledger holds or held for it; None if nothing was locked yet, or another entry took its place."""
    return state.ledger.paid_for(deal.purse) if deal.purse else None


def settle(state: State, record: Record) -> None:
    """Bring the ledger in line with what an escrow has come to. A change of what was paid before derives it anew."""
    deal = record.deal
    funds = (e for e in record.said.values() if e.kind == kinds.ESCROW and e.payload["op"] == "fund")
    for name in sorted({deal.purse, *map(purse_of, funds)} & state.escrows.purses.keys()):
        state.ledger.settle(name, deal.payments() if name == deal.purse else {}, None)


def funded(state: State, name: str) -> None:
    """The money of a purse has come, if it is one: pay what is due from it."""
    purse = state.escrows.purses.get(name)
    record = state.escrows.records.get(purse.thread) if purse is not None else None
    if record is not None:
        settle(state, record)


def stake_of(state: State, did: str) -> int:
    """What a verifier has at stake in the pool, in minor units."""
    return sum(
        escrow.held
        for name, escrow in state.ledger.escrows.items()
        if name.startswith("stake-") and escrow.owner == did and escrow.state == "funded"
    )
