"""Which chains a checkpoint closes, and how a node drops what it had taken of them beyond the cut (adr/0043).

An author was *present* in an epoch if the checkpoint that ended it has something in its cut that the author said in it. Of each
author the chains of the last `chain_epochs` epochs in which it was present, and of all since the first of these, stay open;
older ones are closed. What is said in a closed chain and is in no cut counts nowhere, whoever heard it when: certified cuts
decide that, and they are the same for all. Who was away is present in no later epoch, so its chains wait for it.
"""

from collections.abc import Iterable, Mapping, Sequence

from swarmd.protocol import kinds
from swarmd.protocol.chains import Chain
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.escrow.ids import purse_of
from swarmd.protocol.escrow.record import Record
from swarmd.protocol.pool.record import stake_id
from swarmd.protocol.shadow.record import TRANSFER, WITHDRAW, spend_of
from swarmd.protocol.state import State
from swarmd.protocol.work import challenging
from swarmd.protocol.work.need import Need

Over = Mapping[str, int]  # author -> the last epoch whose chains are closed
Present = Mapping[str, tuple[int, ...]]  # author -> the last epochs in which it was, ascending
# A liar that always speaks after the end of an epoch is never present: it has this many times as many epochs open at most.
SPARE = 4
WHY = "said in a chain that a checkpoint had closed"


def present_after(
    cut: Iterable[Chain], epoch: int, before: Present, chain_epochs: int
) -> dict[str, tuple[int, ...]]:
    """Who was present when, by the checkpoint that opens `epoch` and the one before it."""
    if not chain_epochs:
        return {}
    present = dict(before)
    for author in {author for author, said, _ in cut if said == epoch - 1}:
        present[author] = (*present.get(author, ()), epoch - 1)[-chain_epochs:]
    return present


def over_after(cut: Iterable[Chain], before: Over, present: Present, chain_epochs: int) -> dict[str, int]:
    """What is closed once the checkpoint with these chains in its cut is adopted. `before`: by the one before it;
    `chain_epochs` 0: nothing ever is."""
    over = dict(before)
    if not chain_epochs:
        return over
    for author, epochs in present.items():
        if len(epochs) >= chain_epochs and epochs[-chain_epochs] > 0:
            over[author] = max(over.get(author, -1), epochs[-chain_epochs] - 1)
    spoken: dict[str, set[int]] = {}
    for author, epoch, _ in cut:
        spoken.setdefault(author, set()).add(epoch)
    most = SPARE * chain_epochs
    for author, said in spoken.items():
        if len(said) > most:
            over[author] = max(over.get(author, -1), sorted(said)[-most - 1])
    return over


def threads_of(state: State, stale: Iterable[Envelope]) -> list[str]:
    """The threads of which `drop` takes more than `stale`: needs and escrows, which are derived anew of what is left. Whoever
    has the envelopes gives `adopt` all of these."""
    return sorted(
        {each.thread for each in stale if each.thread in state.needs or each.thread in state.escrows.records}
    )


def drop(state: State, stale: Sequence[Envelope]) -> dict[str, Need]:
    """Forget envelopes of closed chains that are in no cut, before the snapshot is taken in: whole needs and escrows that
    they are about, and what they lock. May name such as are in the cut too: the snapshot brings what counts of these.

    Returns the needs as they were: they are derived anew, and what this node promised about them binds it still."""
    before: dict[str, Need] = {}
    if not stale:
        return before
    gone = {each.id for each in stale}
    touched = threads_of(state, stale)
    locks = {name for each in stale if (name := _lock_of(each))}
    for name in touched:
        need = state.needs.pop(name, None)
        if need is not None:
            before[name] = need
            locks |= {name} | {challenge.bond for challenge in need.challenges.values()}
            state.views.forget(name)
            state.waiting.pop(name, None)
        else:
            record = state.escrows.records[name]
            locks |= {purse_of(each) for each in record.said.values() if _locks_purse(each)}
            state.ledger.payments.pop(record.deal.purse, None)
            state.ledger.closings.pop(record.deal.purse, None)
            state.escrows.records[name] = Record(name, record.fixed)
    for did, said in state.pool.said.items():
        state.pool.said[did] = {ref: each for ref, each in said.items() if ref not in gone}
    state.shadow.said = {ref: each for ref, each in state.shadow.said.items() if ref not in gone}
    for places in state.shadow.rivals.values():
        for seq, names in list(places.items()):
            places[seq] = {entry: ref for entry, ref in names.items() if ref not in gone}
            if not places[seq]:
                del places[seq]
    _unlock(state, locks)
    _unpark(state, gone)
    return before


def _lock_of(envelope: Envelope) -> str:
    """The escrow of the ledger under the entry that an envelope makes; "" if it makes none."""
    payload = envelope.payload
    match envelope.kind:
        case kinds.NEED:
            return envelope.thread
        case kinds.CHALLENGE:
            return challenging.bond_of(envelope)
        case kinds.ESCROW if _locks_purse(envelope):
            return purse_of(envelope)
        case kinds.POOL if payload["op"] == "join":
            return stake_id(envelope.sender, payload["fund"]["seq"])
        case kinds.MONEY if payload["op"] in (TRANSFER, WITHDRAW):
            return spend_of(envelope).name
    return ""


def _locks_purse(envelope: Envelope) -> bool:
    return envelope.kind == kinds.ESCROW and envelope.payload["op"] == "fund"


def _unlock(state: State, names: set[str]) -> None:
    """The entries of these escrows were never made."""
    ledger = state.ledger
    ours = False
    for place, known in list(ledger.entries.items()):
        left = {ref: entry for ref, entry in known.items() if entry.need not in names}
        if len(left) == len(known):
            continue
        ours = ours or place[0] == state.me
        if left:
            ledger.entries[place] = left
        else:
            del ledger.entries[place]
    ledger.double_spends = {
        place: tuple(sorted(ledger.entries[place]))
        for place in ledger.double_spends
        if len(ledger.entries.get(place, ())) > 1
    }
    for name in names:
        state.bonds.pop(name, None)
        state.escrows.purses.pop(name, None)
        state.shadow.spends.pop(name, None)
        ledger.payments.pop(name, None)
        ledger.closings.pop(name, None)
    if ours:
        _own_chain(state)


def _own_chain(state: State) -> None:
    """Our account goes on after what is left of it: its next entry takes the number of the one that fell away."""
    base = state.ledger.base.get(state.me)
    if base is None:
        return
    state.own_seq, state.own_head = base.next_seq, base.head
    while True:
        known = state.ledger.entries.get((state.me, state.own_seq), {})
        following = [entry for entry in known.values() if entry.prev == state.own_head]
        if not following:
            return
        state.own_seq, state.own_head = state.own_seq + 1, min(entry.hash for entry in following)


def _unpark(state: State, gone: set[bytes]) -> None:
    for key, held in list(state.parked.items()):
        left = [each for each in held if each.id not in gone]
        for each in held:
            if each.id in gone:
                state.unparked(each)
        if left:
            state.parked[key] = left
        else:
            del state.parked[key]
    for epoch, held in list(state.ahead.items()):
        for each in held:
            if each.id in gone:
                state.parked_by[each.sender] -= 1
        state.ahead[epoch] = [each for each in held if each.id not in gone]
