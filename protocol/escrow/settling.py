"""What a checkpoint does about escrows: time passes for them, ended ones close, fees and reputations are settled.

Whoever makes a snapshot does all of it, of the cut alone, so everybody makes the same; the others adopt it.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass

from swarmd.protocol import kinds
from swarmd.protocol.checkpoint.snapshot import Cut, Snapshot
from swarmd.protocol.envelope import Envelope, bucket_of
from swarmd.protocol.escrow.deal import ENDS, RELEASED, Deal, Tick
from swarmd.protocol.escrow.fees import FEES, discount_of
from swarmd.protocol.escrow.ids import purse_of
from swarmd.protocol.escrow.machine import apply, without_money
from swarmd.protocol.escrow.money import money_of, stake_of
from swarmd.protocol.escrow.money import settle as settle_money
from swarmd.protocol.escrow.record import KEPT_EPOCHS, MAX_KEPT, Book, Ended, Escrows, Fixed, Purse, Record
from swarmd.protocol.ledger.accounts import Escrow
from swarmd.protocol.state import State


@dataclass(frozen=True, slots=True)
class Settled:
    """Escrows that go on, those that have ended lately, and who settled how often well and badly."""

    opened: Mapping[str, Deal]
    ended: Mapping[str, Ended]
    standings: Mapping[str, tuple[int, int]]


def settle(state: State, at_ns: int) -> Settled:
    """The escrows in the checkpoint that ends the epoch of `state`, an observer's that has taken the whole cut.

    `at_ns`: the latest time that the cut, or one before it, says.
    """
    escrows, epoch = state.escrows, state.epoch + 1
    ended = {name: each for name, each in escrows.ended.items() if each.epoch > epoch - KEPT_EPOCHS}
    standings = dict(escrows.standings)
    opened: dict[str, Deal] = {}
    for name, record in sorted(escrows.records.items()):
        deal = record.deal
        covered = money_of(state, deal) is not None
        if deal.state not in ENDS:
            apply(deal, Tick(at_ns, covered))
        elif deal.purse and not covered:
            without_money(deal)
        settle_money(state, record)
        if deal.state in ENDS:
            ended[name] = _close(state, deal, epoch)
            _remember(standings, deal)
        else:
            opened[name] = deal
    while len(ended) > MAX_KEPT:
        del ended[min(ended, key=lambda name: (ended[name].epoch, name))]
    _return_unclaimed(state, {deal.purse for deal in opened.values()}, ended)
    return Settled(opened, ended, standings)


def book(state: State, settled: Settled) -> Book:
    """What the snapshot says of escrows, after all its money has moved."""
    ledger = state.ledger
    purses: dict[str, tuple[Purse, Escrow | None]] = {}
    for name, purse in sorted(state.escrows.purses.items()):
        escrow = ledger.escrows.get(name)
        if escrow is None:
            continue
        if escrow.state == "funded":
            purses[name] = (purse, escrow)
        elif escrow.state == "waiting" and purse.entry.seq >= ledger.account(purse.entry.owner).next_seq:
            purses[name] = (purse, None)
    opened = {
        name: Fixed(tuple(deal.steps), state.escrows.records[name].fixed.spent | deal.void.keys())
        for name, deal in settled.opened.items()
    }
    return Book(opened, purses, settled.ended, settled.standings)


def _close(state: State, deal: Deal, epoch: int) -> Ended:
    fee = discount = 0
    if deal.purse and not deal.uncovered:
        fee = deal.fee()
        discount = discount_of(fee, stake_of(state, deal.seller))
        due = deal.payments()
        if discount:
            due["fee/discount"] = (deal.seller, discount)
        if fee > discount:
            due["fee"] = (FEES, fee - discount)
        state.ledger.settle(deal.purse, due, deal.state)
    terms = deal.shown_terms()
    return Ended(
        id=deal.id,
        title=terms.title,
        buyer=deal.buyer,
        seller=deal.seller,
        outcome=deal.state,
        reason=deal.reason,
        amount=terms.amount,
        paid=deal.gross() - fee + discount,
        returned=deal.returned,
        fee=fee - discount,
        discount=discount,
        epoch=epoch,
    )


def _remember(standings: dict[str, tuple[int, int]], deal: Deal) -> None:
    """Reputation from settled outcomes only: a release speaks for both, an end that is somebody's fault against that one.
    What was never funded says nothing."""
    for did in (deal.buyer, deal.seller) if deal.state == RELEASED else ():
        good, bad = standings.get(did, (0, 0))
        standings[did] = (good + 1, bad)
    if deal.fault:
        good, bad = standings.get(deal.fault, (0, 0))
        standings[deal.fault] = (good, bad + 1)


def _return_unclaimed(state: State, claimed: set[str], ended: Container[str]) -> None:
    """Money that no open escrow claims goes home, once its FUND can mean nothing any more."""
    waiting = (*state.parked.values(), *state.ahead.values())
    parked = {
        purse_of(envelope)
        for held in waiting
        for envelope in held
        if envelope.kind == kinds.ESCROW and envelope.payload["op"] == "fund" and envelope.thread not in ended
    }
    ledger = state.ledger
    for name in sorted(state.escrows.purses.keys() - claimed - parked):
        escrow = ledger.escrows.get(name)
        if escrow is not None and escrow.state == "funded":
            ledger.settle(name, {}, "returned")


def adopt(state: State, snapshot: Snapshot) -> dict[str, Escrow]:
    """Go on from a checkpoint; returns the escrows of the ledger that are funded in it."""
    found, escrows, ledger = snapshot.escrows, state.escrows, state.ledger
    applied = {did: account.next_seq for did, account in snapshot.accounts.items()}
    records: dict[str, Record] = {}
    for name in sorted({*escrows.records, *found.open} - found.ended.keys()):
        before = escrows.records.get(name)
        said = {} if before is None else before.said
        later = {ref: envelope for ref, envelope in said.items() if not _in_cut(envelope, snapshot.cut)}
        if name in found.open or later:
            records[name] = Record(name, found.open.get(name, Fixed()), later)
    purses = {
        name: purse
        for name, purse in escrows.purses.items()
        if purse.entry.seq >= applied.get(purse.entry.owner, 0)
    }
    funded: dict[str, Escrow] = {}
    for name, (purse, escrow) in found.purses.items():
        purses[name] = purse
        entry = purse.entry
        if escrow is not None:
            funded[name] = escrow
        else:
            ledger.entries.setdefault((entry.owner, entry.seq), {})[entry.hash] = entry
        state.go_on_after(entry)
    state.escrows = Escrows(records, purses, dict(found.ended), dict(found.standings))
    owed = {record.deal.purse: record.deal.payments() for record in records.values()}
    for name in purses:
        ledger.payments[name] = owed.get(name, {})
        ledger.closings.pop(name, None)
    return funded


def _in_cut(envelope: Envelope, cut: Cut) -> bool:
    head = cut.get((envelope.sender, envelope.epoch, bucket_of(envelope.thread)))
    return head is not None and envelope.lamport <= head.lamport
