"""What a checkpoint ends by its cut: challenge windows, and with them needs whose money was held (P3, adr/0026).

A window begins with the first checkpoint that finds a result and ends with the first one a window later. Both times are
of the cut, which a quorum has signed, so nobody shortens a window by a clock that is behind.
"""

from collections.abc import Iterable

from swarmd.protocol import bonds, kinds
from swarmd.protocol.checkpoint.snapshot import Cut, OpenBond
from swarmd.protocol.limits import S_NS
from swarmd.protocol.state import Bond, State
from swarmd.protocol.work import challenging
from swarmd.protocol.work.facts import Challenge
from swarmd.protocol.work.need import Need

LAPSE_EPOCHS = 2  # money that came before the deadline is in a cut by then


def time_of(cut: Cut) -> int:
    """When the latest envelope of a cut was said, ns since 1970; 0 for an empty one."""
    return max((head.ts_ns for head in cut.values()), default=0)


def settle(state: State, at_ns: int) -> set[str]:
    """The needs that end here. Pays what was held for them, and returns bonds that nothing will be judged for."""
    ends = {name for name, need in state.needs.items() if _may_end(state, need, at_ns)}
    for name in sorted(ends):
        close(state, state.needs[name])
    parked = {
        challenging.bond_of(envelope)
        for waiting in (*state.parked.values(), *state.ahead.values())
        for envelope in waiting
        if envelope.kind == kinds.CHALLENGE
    }
    for name, bond in sorted(state.bonds.items()):
        need = None if bond.thread in ends else state.needs.get(bond.thread)
        judged = need is not None and any(
            challenge.bond == name
            and challenging.outcome(need, challenge) == challenging.PENDING
            and not _lapsed(need, challenge, at_ns)
            for challenge in need.challenges.values()
        )
        if not judged and name not in parked and name not in state.ledger.closings:
            state.ledger.settle(name, {}, bonds.RETURNED)
    return ends


def lapse(state: State, known: Iterable[str], at_ns: int) -> set[str]:
    """The needs that nobody has paid for and nobody will do any more (adr/0047); returns them, and comes after `settle`.

    Of the needs `known` to the checkpoint before, those whose deadline is two epochs behind the cut's time `at_ns`. Where an
    account lacks the money for what it has come to, and that is for one of these or for a bond that would be returned, it
    goes on past that; what comes behind may be funded then, and is news in the ledger. An entry that it has not come to waits
    on, as a bond does that will be returned.
    """
    ledger, genesis = state.ledger, state.genesis
    after_ns = (genesis.expiry_grace_s + LAPSE_EPOCHS * genesis.epoch_s) * S_NS
    overdue = {
        name
        for name in known
        if (need := state.needs.get(name)) is not None
        and ledger.paid_for(name) is None
        and at_ns >= need.deadline_ns + after_ns
    }
    idle = {name for name in state.bonds if ledger.closings.get(name) == bonds.RETURNED}
    over = overdue | idle
    owners = {state.needs[name].owner for name in overdue} | {state.bonds[name].entry.owner for name in idle}
    for owner in sorted(owners):
        while (entry := ledger.following(owner)) is not None and entry.need in over:
            ledger.lapse(entry)
    for name in overdue:
        need = state.needs[name]
        if need.fund_seq >= ledger.account(need.owner).next_seq:
            known_as = ledger.entries[(need.owner, need.fund_seq)].values()
            state.bonds[name] = Bond(name, next(entry for entry in known_as if entry.need == name))
    return {name for name in overdue if ledger.paid_for(name) is None}


def close(state: State, need: Need) -> None:
    """Pay what an ended need owes; once more has no effect."""
    if need.ended() is not None and need.id in state.ledger.escrows:
        state.ledger.settle(need.id, _dues(state, need), need.ended())


def found(state: State, need: Need, at_ns: int) -> dict[bytes, int]:
    """When checkpoints first found the results that stand, and the challenges that are being judged."""
    refs = [run.final.commit for run in need.runs.values() if run.final is not None and need.window_s]
    refs += [challenge.id for challenge in need.challenges.values() if _judged_still(state, need, challenge)]
    return {ref: need.found.get(ref, at_ns) for ref in refs}


def bonds_of(state: State) -> dict[str, OpenBond]:
    """The bonds that go on: locked, or waiting for their challenger's money."""
    states = {name: state.ledger.escrows[name].state for name in state.bonds if name in state.ledger.escrows}
    return {
        name: bonds.row(bond, states[name] == "funded")
        for name, bond in state.bonds.items()
        if states.get(name) in ("funded", "waiting") and bond.entry.hash not in state.ledger.lapsed
    }


def marks_of(need: Need) -> dict[str, tuple[bytes, ...]]:
    return {did: tuple(sorted(refs)) for did, refs in challenging.marks(need).items()}


def _may_end(state: State, need: Need, at_ns: int) -> bool:
    if need.ended() is None or state.ledger.paid_for(need.id) is None:
        return False
    window_ns = need.window_s * S_NS
    for run in need.runs.values():
        if run.final is not None and window_ns:
            since_ns = need.found.get(run.final.commit)
            if since_ns is None or at_ns < since_ns + window_ns:
                return False
    return not any(
        _judged_still(state, need, challenge) and not _lapsed(need, challenge, at_ns)
        for challenge in need.challenges.values()
    )


def _judged_still(state: State, need: Need, challenge: Challenge) -> bool:
    """Is it undecided, with the bond paid?"""
    escrow = state.ledger.escrows.get(challenge.bond)
    paid = escrow is not None and escrow.state == "funded"
    return paid and challenging.outcome(need, challenge) == challenging.PENDING


def _lapsed(need: Need, challenge: Challenge, at_ns: int) -> bool:
    """Has its committee had a whole window and come to nothing? Then the result stands and the bond goes home."""
    since_ns = need.found.get(challenge.id)
    return since_ns is not None and at_ns >= since_ns + need.window_s * S_NS


def _dues(state: State, need: Need) -> dict[str, tuple[str, int]]:
    """What an ended need pays: its results, and of what is left then, who had wrong ones reversed."""
    due = need.earned()
    left = state.ledger.escrows[need.id].amount - sum(amount for _, amount in due.values())
    for commit, ruled in sorted(need.invalid.items()):
        challenge = need.challenges[need.rulings[ruled].challenge]
        amount = min(left, challenging.reward(state.terms, need.finals[challenge.final]))
        if amount > 0:
            left -= amount
            due[f"reward/{challenge.task}/{commit.hex()[-16:]}"] = (challenge.challenger, amount)
    return due
