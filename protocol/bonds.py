"""The bonds of challenges: an escrow each, which an entry of the challenger's account locks (adr/0026).

The entry counts wherever its CHALLENGE is heard, be that void, early or about a need that is closed: else the account's
chain would have a gap and its owner could never spend again. What no challenge is judged for, a checkpoint returns.
"""

from swarmd.protocol import commands, kinds
from swarmd.protocol.checkpoint.snapshot import OpenBond, Snapshot
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.ledger.accounts import Escrow, fund_entry
from swarmd.protocol.state import Bond, State
from swarmd.protocol.work import challenging
from swarmd.protocol.work.need import Need

RETURNED, FORFEITED = "returned", "forfeited"


def lock(state: State, envelope: Envelope) -> None:
    """Enter what a CHALLENGE stakes into its sender's account; anything else, and what is entered, is left alone."""
    if envelope.kind != kinds.CHALLENGE:
        return
    stake = envelope.payload["bond"]
    base = state.ledger.base.get(envelope.sender)
    if base is not None and stake["seq"] < base.next_seq:
        return  # a checkpoint has it, or another in its place
    name = challenging.bond_of(envelope)
    entry = fund_entry(envelope.sender, stake["seq"], stake["prev"], name, stake["amount"])
    if entry.hash in state.ledger.entries.get((entry.owner, entry.seq), ()):
        return
    state.bonds[name] = Bond(envelope.thread, entry)
    state.ledger.add_entry(entry)
    commands.own_entry_applied(state, entry)


def settle(state: State, need: Need) -> None:
    """Move the bonds of challenges that have ended: home if the result was reversed, to its worker if it was right.

    The worker's pay was held back for nothing. Judges get nothing of it, for that would pay them to find results right.
    """
    for challenge in need.challenges.values():
        bond = state.bonds.get(challenge.bond)
        if bond is None:
            continue
        if challenge.commit in need.invalid:
            state.ledger.settle(challenge.bond, {}, RETURNED)
        elif challenging.outcome(need, challenge) == challenging.DISMISSED:
            worker = need.commits[challenge.commit].worker
            state.ledger.settle(challenge.bond, {"bond": (worker, bond.entry.amount)}, FORFEITED)


def adopt(state: State, snapshot: Snapshot) -> dict[str, Escrow]:
    """Go on from the bonds of a checkpoint; returns the escrows of those that are funded in it."""
    applied = {did: account.next_seq for did, account in snapshot.accounts.items()}
    state.bonds = {
        name: bond for name, bond in state.bonds.items() if bond.entry.seq >= applied.get(bond.entry.owner, 0)
    }
    escrows: dict[str, Escrow] = {}
    for name, found in snapshot.bonds.items():
        entry = fund_entry(found.owner, found.seq, found.prev, name, found.amount)
        state.bonds[name] = Bond(found.thread, entry)
        if found.funded:
            escrows[name] = Escrow(name, found.owner, found.amount, "funded", found.amount)
        else:
            state.ledger.entries.setdefault((entry.owner, entry.seq), {})[entry.hash] = entry
        state.go_on_after(entry)
    return escrows


def row(bond: Bond, funded: bool) -> OpenBond:
    entry = bond.entry
    return OpenBond(bond.thread, entry.owner, entry.seq, entry.prev, entry.amount, funded)
