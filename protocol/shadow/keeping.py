"""What a checkpoint keeps of transfers, withdrawals and deposits, and what a node lets go when it adopts one."""

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING

from swarmd.protocol.envelope import Envelope, parse
from swarmd.protocol.ledger.accounts import Account
from swarmd.protocol.shadow import rivals
from swarmd.protocol.shadow.committee import committee_of
from swarmd.protocol.shadow.record import KEPT_EPOCHS, PAYOUT, Shadow, ShadowPart, Spend
from swarmd.protocol.state import NOBODY, State

if TYPE_CHECKING:  # which knows of this module
    from swarmd.protocol.checkpoint.snapshot import Snapshot

Accounts = Mapping[str, Account]
GIVE_WAY_ROUND = 3  # of the ballot about a checkpoint; with rounds of 30 s, 60 s, 120 s it opens after three and a half minutes


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


def broken_promise(state: State, snapshot: "Snapshot", round_: int = 0) -> str:
    """Whose number `snapshot` has another entry for than the one that this node signed, or that comes before that one; "" if
    none.

    Who signed an entry accepts no checkpoint with another in its place. A quorum that certified an entry shares a member
    with every quorum that certifies the checkpoint, so what was final stays final (adr/0028). What nobody has shown to be
    certified binds in the first rounds only: by then its votes have come, and an owner that writes two entries must not
    keep the mesh from checkpoints for good (adr/0042).
    """
    certain = state.ledger.certified if round_ >= GIVE_WAY_ROUND else None
    for owner, promises in sorted(_promises(state, certain).items()):
        account = snapshot.accounts.get(owner, Account())
        at, applied = account.next_seq - 1, account.head
        while at >= min(promises):
            if promises.get(at, applied) != applied:
                return f"it has another entry {at} of {owner} than the one that we signed"
            known = state.ledger.entries.get((owner, at), {}).get(applied)
            if known is None:
                break  # we have not heard of it yet, and then not of a contradiction either
            at, applied = at - 1, known.prev
        for seq, entry in sorted(promises.items()):
            known = state.ledger.entries.get((owner, seq), {}).get(entry)
            record = None if known is None else snapshot.open.get(known.need)
            if record is None or record.escrow is not None:
                continue
            if rivals.entry_of(parse(record.envelopes[0])).hash != entry:
                return f"it has another need {seq} of {owner} than the one before what we signed"
    return ""


def _promises(state: State, certain: Container[bytes] | None) -> dict[str, dict[int, bytes]]:
    """Owner -> number -> the entry that we signed (of `certain` ones, if given), or that comes before one that we signed,
    back to the last checkpoint."""
    found: dict[str, dict[int, bytes]] = {}
    for (owner, seq), (entry, _) in state.shadow.promised.items():
        if certain is None or entry in certain:
            found.setdefault(owner, {})[seq] = entry
    for owner, promises in found.items():
        for seq in sorted(promises):
            at, name = seq, promises[seq]
            while (known := state.ledger.entries.get((owner, at), {}).get(name)) is not None:
                at, name = at - 1, known.prev
                if at in promises or at < 0:
                    break
                promises[at] = name
    return found
