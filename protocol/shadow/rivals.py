"""Two NEEDs that an owner says under one entry of its account, in two epochs, and what is final of what comes after them.

A node funds the one that it hears first, so what a member signs further down the account rests on that one. Three rules
keep final what a quorum signed (adr/0042): who knows of both signs nothing after them; the snapshot of a cut has the one
that a certified entry comes after, and else the one that the cut has first; and who signed an entry agrees to no snapshot
with another entry before it. Once a checkpoint has one of them, it is settled for good.
"""

from collections.abc import Mapping

from swarmd.protocol.envelope import Envelope, need_id, parse
from swarmd.protocol.ledger.accounts import Account, Entry, fund_entry
from swarmd.protocol.state import State
from swarmd.protocol.work import opening
from swarmd.protocol.work.need import Need
from swarmd.protocol.work.void import Void


def entry_of(envelope: Envelope) -> Entry:
    """What a NEED locks."""
    payload = envelope.payload
    fund = payload["fund"]
    return fund_entry(envelope.sender, fund["seq"], fund["prev"], envelope.thread, payload["budget"])


def note(state: State, need: Need, envelope: Envelope) -> None:
    """Another NEED than the one that opened `need` was heard."""
    entry = entry_of(envelope)
    if _is_settled(need) or entry.hash in state.ledger.entries.get((need.owner, need.fund_seq), ()):
        return
    try:
        opening.open_need(envelope)
    except Void:
        return  # nobody could have funded it
    places = state.shadow.rivals.setdefault(need.owner, {})
    places.setdefault(need.fund_seq, {})[entry.hash] = envelope.id


def contested(state: State, owner: str) -> int | None:
    """The first number under which two NEEDs of `owner` are known and no checkpoint has one yet; None if there is none."""
    places = state.shadow.rivals.get(owner)
    return min(places) if places else None


def let_go(state: State) -> None:
    """After a checkpoint: what it has settled is no question any more, and promises that rest on what it left out bind nobody,
    for with a quorum of them it would not have been certified."""
    shadow = state.shadow
    unsettled = {(need.owner, need.fund_seq) for need in state.needs.values() if not _is_settled(need)}
    shadow.rivals = {
        owner: left
        for owner, places in shadow.rivals.items()
        if (left := {seq: names for seq, names in places.items() if (owner, seq) in unsettled})
    }
    sound: dict[tuple[str, int], bytes] = {}
    for (owner, seq), (entry, _) in sorted(shadow.promised.items()):
        if _can_apply(state, owner, seq, entry, sound):
            sound[(owner, seq)] = entry
    shadow.promised = {place: promise for place, promise in shadow.promised.items() if place in sound}


def to_swap(state: State, raws: Mapping[str, Mapping[bytes, bytes]]) -> dict[str, bytes]:
    """Needs that another NEED must open than the first one, since a certified entry comes after it: need -> that NEED.

    `raws`: thread -> id -> bytes, of every envelope that was heard.
    """
    rivals: dict[bytes, tuple[Entry, bytes]] = {}
    for owner, places in state.shadow.rivals.items():
        for seq, names in places.items():
            heard = raws[need_id(owner, seq)]
            rivals |= {name: (entry_of(parse(heard[ref])), ref) for name, ref in names.items()}
    if not rivals:
        return {}
    entries = {name: entry for name, (entry, _) in rivals.items()}
    for (owner, _), found in state.ledger.entries.items():
        if owner in state.shadow.rivals:
            entries |= found
    sure: set[bytes] = set()
    for name in state.ledger.certified:
        while name in entries and name not in sure:
            sure.add(name)
            name = entries[name].prev
    stand = {entries[name].need for name in sure if name not in rivals}
    return {
        entry.need: ref
        for name, (entry, ref) in sorted(rivals.items())
        if name in sure and entry.need not in stand
    }


def _is_settled(need: Need) -> bool:
    """Has a checkpoint found it?"""
    return need.undecided >= 0 or need.fixed_decision != b""


def _can_apply(
    state: State, owner: str, seq: int, entry: bytes, sound: Mapping[tuple[str, int], bytes]
) -> bool:
    """Does it go on from what the checkpoint has of its account, as far as we know? `sound`: what was found to before it."""
    base = state.ledger.base.get(owner, Account())
    at, name = seq, entry
    while at >= base.next_seq:
        known = state.ledger.entries.get((owner, at), {})
        if name not in known:
            return not known or at == seq  # we have not heard of it yet, or the checkpoint has another
        at, name = at - 1, known[name].prev
        if sound.get((owner, at)) == name:
            return True
    return name == base.head
