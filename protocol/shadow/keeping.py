"""What a checkpoint keeps of transfers, withdrawals and deposits, and what a node lets go when it adopts one."""

from collections.abc import Container, Mapping

from swarmd.protocol.envelope import Envelope
from swarmd.protocol.ledger.accounts import Account
from swarmd.protocol.shadow.committee import committee_of
from swarmd.protocol.shadow.record import KEPT_EPOCHS, PAYOUT, Shadow, ShadowPart, Spend
from swarmd.protocol.state import NOBODY, State

Accounts = Mapping[str, Account]


def part_of(state: State, epoch: int) -> ShadowPart:
    """For the snapshot that opens `epoch`; `state`: an observer's that has taken the whole cut."""
    shadow, ledger = state.shadow, state.ledger
    payouts = {
        name: escrow
        for name, escrow in ledger.escrows.items()
        if name.startswith("out-") and escrow.state == "funded"
    }
    credited = {*shadow.credited, *ledger.credits}
    spends = [
        spend.envelope
        for spend in shadow.spends.values()
        if spend.name in payouts or not _passed(ledger.accounts, spend.owner, spend.seq)
    ]
    said = [
        envelope
        for envelope in shadow.said.values()
        if _counts(envelope, epoch) and _needed(shadow, envelope, ledger.accounts, credited, payouts)
    ]
    certified = tuple(
        sorted(
            entry
            for (owner, seq), known in ledger.entries.items()
            if not _passed(ledger.accounts, owner, seq)
            for entry in known
            if entry in ledger.certified
        )
    )
    kept = sorted((*spends, *said), key=lambda envelope: (envelope.lamport, envelope.id))
    return ShadowPart(
        tuple(envelope.raw for envelope in kept),
        payouts,
        tuple(sorted(credited)),
        ledger.deposited,
        certified,
    )


def let_go(state: State, part: ShadowPart, accounts: Accounts, epoch: int) -> None:
    """Before the ledger begins at the snapshot that opens `epoch`: forget what it has done with."""
    shadow = state.shadow
    shadow.credited = dict.fromkeys(part.credited)
    shadow.spends = {
        name: spend
        for name, spend in shadow.spends.items()
        if name in part.payouts or not _passed(accounts, spend.owner, spend.seq)
    }
    hashes = {spend.hash for spend in shadow.spends.values()}
    shadow.paid_out = {key: None for key in shadow.paid_out if key in hashes}
    shadow.said = {
        ref: envelope
        for ref, envelope in shadow.said.items()
        if _counts(envelope, epoch) and _needed(shadow, envelope, accounts, shadow.credited, part.payouts)
    }
    shadow.votes = {
        place: {
            entry: {at: who for at, who in epochs.items() if at > epoch - KEPT_EPOCHS}
            for entry, epochs in votes.items()
        }
        for place, votes in shadow.votes.items()
        if not _passed(accounts, *place)
    }
    shadow.votes = {
        place: votes
        for place, known in shadow.votes.items()
        if (votes := {e: at for e, at in known.items() if at})
    }
    kept = {key for key in shadow.attests if key not in shadow.credited}
    shadow.attests = {
        key: {
            content: {at: who for at, who in epochs.items() if at > epoch - KEPT_EPOCHS}
            for content, epochs in known.items()
        }
        for key, known in shadow.attests.items()
        if key in kept
    }
    shadow.attests = {key: known for key, known in shadow.attests.items() if any(map(any, known.values()))}
    shadow.promised = {
        place: promise for place, promise in shadow.promised.items() if not _passed(accounts, *place)
    }
    shadow.blamed = {place: None for place in shadow.blamed if not _passed(accounts, *place)}
    shadow.attested = {key: at for key, at in shadow.attested.items() if at > epoch - KEPT_EPOCHS}
    shadow.liars = {}  # the pool of the snapshot has judged those of its cut
    state.ledger.certified = {
        entry
        for (owner, seq), votes in shadow.votes.items()
        for entry, epochs in votes.items()
        if any(len(who) >= committee_of(state, at).quorum for at, who in epochs.items())
    } | set(part.certified)


def recount(state: State) -> None:
    """What of our own is on its way still."""
    if state.me == NOBODY:
        return
    applied = state.ledger.account(state.me).next_seq
    state.own_pending = sum(
        spend.amount
        for spend in state.shadow.spends.values()
        if spend.owner == state.me and spend.seq >= applied
    )


def _passed(accounts: Accounts, owner: str, seq: int) -> bool:
    account = accounts.get(owner)
    return account is not None and seq < account.next_seq


def _counts(envelope: Envelope, epoch: int) -> bool:
    return envelope.epoch > epoch - KEPT_EPOCHS


def _needed(
    shadow: Shadow,
    envelope: Envelope,
    accounts: Accounts,
    credited: Container[bytes],
    payouts: Container[str],
) -> bool:
    """Is a vote about something that is not done with?"""
    payload = envelope.payload
    if payload["op"] == "confirm":
        return any(not _passed(accounts, owner, seq) for owner, seq, _ in payload["entries"])
    if payload["what"] == PAYOUT:
        spend = _by_hash(shadow, bytes(payload["subject"]))
        return spend is not None and (spend.name in payouts or not _passed(accounts, spend.owner, spend.seq))
    return bytes(payload["subject"]) not in credited


def _by_hash(shadow: Shadow, entry: bytes) -> Spend | None:
    return next((spend for spend in shadow.spends.values() if spend.hash == entry), None)


def broken_promise(state: State, accounts: Accounts) -> str:
    """Whose number a snapshot with these `accounts` has another entry for than the one that this node signed; "" if none.

    Who signed an entry accepts no checkpoint with another in its place. A quorum that certified an entry shares a member
    with every quorum that certifies the checkpoint, so what was final stays final (adr/0028).
    """
    wanted: dict[str, dict[int, bytes]] = {}
    for (owner, seq), (entry, _) in state.shadow.promised.items():
        if _passed(accounts, owner, seq):
            wanted.setdefault(owner, {})[seq] = entry
    for owner, promises in sorted(wanted.items()):
        at, applied = accounts[owner].next_seq - 1, accounts[owner].head
        while at >= min(promises):
            if promises.get(at, applied) != applied:
                return f"it has another entry {at} of {owner} than the one that we signed"
            known = state.ledger.entries.get((owner, at), {}).get(applied)
            if known is None:
                break  # we have not heard of it yet, and then not of a contradiction either
            at, applied = at - 1, known.prev
    return ""
