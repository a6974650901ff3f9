"""What a checkpoint makes of the pool: a pure function of the pool before it and of the envelopes in its cut.

Seats, jail, slashes and returned stakes change here and nowhere else, so everybody who adopts a checkpoint has the same
pool, and the roster of the epoch after the next follows from it.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from swarmd.protocol.checkpoint import ballots
from swarmd.protocol.consensus.roster import ATTESTED, Roster
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.limits import MAX_VERIFIERS
from swarmd.protocol.pool.record import (
    ACTIVE,
    ATTESTED_EPOCHS,
    EXPELLED,
    FINE_PERMILLE,
    JAIL_EPOCHS,
    JAILED,
    LEAVING,
    MISSED_DUTIES,
    MISSED_EPOCHS,
    SEAT_PERMILLE,
    TREASURY,
    UNBOND_EPOCHS,
    WAITING,
    Member,
    Pool,
    Stake,
    bootstrap,
    stake_id,
)
from swarmd.protocol.state import State


@dataclass(frozen=True, slots=True)
class Folded:
    """`roster` is that of the epoch after the one that the checkpoint opens."""

    pool: Pool
    roster: Roster


def fold(state: State, cut_ns: int, idle: Collection[str], wrong: Mapping[str, int]) -> Folded:
    """The pool in the checkpoint that ends the epoch of `state`, an observer's that has taken the whole cut.

    `cut_ns`: the latest time in the cut. `idle`: members who owed a need their vote and said nothing. `wrong`: did -> in
    how many needs that end it made or accepted a result that was reversed. Moves the money of stakes in the ledger.
    """
    pool, epoch = state.pool, state.epoch + 1
    guilty = convicted(state)
    members: dict[str, Member] = {}
    for did in sorted({*pool.members, *pool.said}):
        member = _say(state, pool.members.get(did), did, epoch)
        if member is None:
            continue
        member = _account(state, member, epoch)
        if did in guilty and member.state != EXPELLED:
            member = _expel(state, member, epoch, guilty[did])
        elif wrong.get(did):
            member = _fine(state, member, epoch, wrong[did])
        kept = _judge(state, member, epoch, did in idle)
        if kept is not None:
            members[did] = kept
    members = _vouched(state, members, epoch)
    now_ns = max(cut_ns, pool.cut_ns)
    was = state.terms.rosters[epoch]
    roster = _roster(members, epoch + 1) or was
    mode, since_ns = bootstrap(
        state.genesis, was.bootstrap, len(roster.members), pool.enough_since_ns, now_ns
    )
    return Folded(Pool(members, {}, since_ns, now_ns), replace(roster, bootstrap=mode, beacon=b""))


def convicted(state: State) -> dict[str, str]:
    """did -> what it signed that nobody honest signs: proven by the envelopes of the cut alone."""
    found: dict[str, str] = {}
    for did, thread in ballots.liars(state).items():
        found.setdefault(did, f"contradicted itself in the ballot {thread}")
    for name in sorted(state.needs):
        for did in sorted(state.needs[name].equivocators):
            found.setdefault(did, f"contradicted itself in its votes about {name}")
    for did in sorted(state.shadow.liars):
        found.setdefault(did, "signed two entries of one account under one number")
    for owner, seq in sorted(state.ledger.double_spends):
        found.setdefault(owner, f"spent entry {seq} of its account twice")
    return found


# What members said ---------------------------------------------------------------------------------------------


def _say(state: State, member: Member | None, did: str, epoch: int) -> Member | None:
    said = sorted(state.pool.said.get(did, {}).values(), key=lambda e: (e.lamport, e.id))
    for envelope in said:
        if member is None and envelope.payload["op"] != "join":
            continue  # a stranger
        member = _OPS[envelope.payload["op"]](member or Member(did, WAITING, since=epoch), envelope, epoch)
    return member


def _join(member: Member, envelope: Envelope, epoch: int) -> Member:
    fund, amount = envelope.payload["fund"], envelope.payload["amount"]
    stake = Stake(fund["seq"], fund["prev"], amount)
    # A second one adds to the stake, and takes back a leave.
    known = tuple(sorted({*member.stakes, stake}, key=lambda s: (s.seq, s.prev, s.amount)))
    state = WAITING if member.state == LEAVING else member.state
    since = epoch if state != member.state else member.since
    return replace(member, state=state, since=since, stakes=known, seen=max(member.seen, envelope.epoch))


def _heartbeat(member: Member, envelope: Envelope, epoch: int) -> Member:
    return replace(member, seen=max(member.seen, envelope.epoch))


def _leave(member: Member, envelope: Envelope, epoch: int) -> Member:
    if member.state in (EXPELLED, LEAVING):
        return member
    reason = envelope.payload["reason"]
    return replace(member, state=LEAVING, since=epoch, until=epoch + UNBOND_EPOCHS, reason=reason)


def _quote(member: Member, envelope: Envelope, epoch: int) -> Member:
    digest = sha256(envelope.payload["quote"]).digest()
    if digest == member.quote:
        return member
    return replace(member, quote=digest, quoted=envelope.epoch, vouchers=())


def _nothing(member: Member, envelope: Envelope, epoch: int) -> Member:
    return member  # it is about another: see `_vouched`


_OPS: Mapping[str, Callable[[Member, Envelope, int], Member]] = {
    "join": _join,
    "heartbeat": _heartbeat,
    "leave": _leave,
    "quote": _quote,
    "vouch": _nothing,
}


# Money ---------------------------------------------------------------------------------------------------------


def held(state: State, member: Member) -> int:
    """What its stakes hold, in minor units."""
    escrows = state.ledger.escrows
    found = [escrows.get(stake_id(member.did, stake.seq)) for stake in member.stakes]
    return sum(escrow.held for escrow in found if escrow is not None and escrow.state == "funded")


def _account(state: State, member: Member, epoch: int) -> Member:
    """Forget stakes that another entry took the place of, seat who has its stake, return what an expelled one adds."""
    next_seq = state.ledger.account(member.did).next_seq
    escrows = state.ledger.escrows
    kept = tuple(
        stake
        for stake in member.stakes
        if stake.seq >= next_seq
        or ((escrow := escrows.get(stake_id(member.did, stake.seq))) is not None and escrow.state == "funded")
    )
    member = replace(member, stakes=kept)
    if member.state == WAITING and (member.founder or held(state, member) >= state.genesis.verifier_stake):
        return replace(member, state=ACTIVE, since=epoch, until=0, reason="")
    if member.state == EXPELLED:
        return _returned(state, member)
    return member


def _returned(state: State, member: Member) -> Member:
    """Funded stakes go back to their owner."""
    left = []
    for stake in member.stakes:
        name = stake_id(member.did, stake.seq)
        escrow = state.ledger.escrows.get(name)
        if escrow is not None and escrow.state == "funded":
            state.ledger.settle(name, state.ledger.payments.get(name, {}), "returned")
        else:
            left.append(stake)
    return replace(member, stakes=tuple(left))


def _expel(state: State, member: Member, epoch: int, reason: str) -> Member:
    """Its stake goes to the mesh's account, of which nobody spends: a reward would pay for proofs of oneself."""
    left = []
    for stake in member.stakes:
        name = stake_id(member.did, stake.seq)
        escrow = state.ledger.escrows.get(name)
        if escrow is not None and escrow.state == "funded":
            slash = {"slash": (TREASURY, escrow.held)}
            state.ledger.settle(name, slash, "slashed")
        else:
            left.append(stake)
    return Member(member.did, EXPELLED, epoch, member.seen, stakes=tuple(left), reason=reason)


def _fine(state: State, member: Member, epoch: int, times: int) -> Member:
    """A part of its stake, and jail: it may have been a mistake, where contradicting oneself never is."""
    left = times * state.genesis.verifier_stake * FINE_PERMILLE // 1000
    for stake in member.stakes:
        name = stake_id(member.did, stake.seq)
        escrow = state.ledger.escrows.get(name)
        if escrow is not None and escrow.state == "funded" and (amount := min(left, escrow.held)):
            left -= amount
            state.ledger.settle(name, {f"fine/{epoch}": (TREASURY, amount)}, None)
    if member.state not in (ACTIVE, JAILED):
        return member
    reason = f"made or accepted results that were reversed, in {times} {'need' if times == 1 else 'needs'}"
    return replace(member, state=JAILED, since=epoch, until=epoch + JAIL_EPOCHS, reason=reason)


# Seats ---------------------------------------------------------------------------------------------------------


def _judge(state: State, member: Member, epoch: int, idle: bool) -> Member | None:
    """Jail, release, let go; None for a member that has left."""
    ended = epoch - 1
    least = state.genesis.verifier_stake * SEAT_PERMILLE // 1000
    if member.state in (ACTIVE, JAILED) and not member.founder and held(state, member) < least:
        return replace(member, state=WAITING, since=epoch, until=0, reason="too little is left of its stake")
    if member.state == ACTIVE:
        misses = member.misses + idle
        missed = ended - max(member.seen, member.since - 1)
        if missed >= MISSED_EPOCHS:
            reason = f"showed itself last in epoch {member.seen}"
        elif misses >= MISSED_DUTIES:
            reason = f"said nothing about needs it owed a vote, {misses} checkpoints long"
        else:
            return replace(member, misses=misses)
        return replace(member, state=JAILED, since=epoch, until=epoch + JAIL_EPOCHS, misses=0, reason=reason)
    if member.state == JAILED and epoch >= member.until and member.seen >= ended:
        return replace(member, state=ACTIVE, since=epoch, until=0, reason="")
    if member.state == LEAVING and epoch >= member.until:
        member = _returned(state, member)
        return member if member.stakes else None
    if member.state == WAITING and not member.stakes:
        return None  # another entry took the place of its stake
    return member


def _vouched(state: State, members: dict[str, Member], epoch: int) -> dict[str, Member]:
    """Who a quorum of the committee of the epoch that ended has vouched for."""
    drawn = ballots.epoch_committee(state.terms.roster(state.epoch), state.epoch)
    for did in drawn.members:
        for envelope in state.pool.said.get(did, {}).values():
            payload = envelope.payload
            subject = members.get(payload["subject"]) if payload["op"] == "vouch" else None
            if subject is None or payload["verdict"] != "accept" or payload["quote"] != subject.quote:
                continue
            vouchers = tuple(sorted({*subject.vouchers, did}))
            members[subject.did] = replace(subject, vouchers=vouchers)
    for did, member in members.items():
        if member.quote and len(set(member.vouchers) & set(drawn.members)) >= drawn.quorum:
            members[did] = replace(member, attested=max(member.attested, member.quoted + ATTESTED_EPOCHS))
    return members


def _roster(members: Mapping[str, Member], epoch: int) -> Roster | None:
    """None if nobody is active: the last roster goes on."""
    active = [member for member in members.values() if member.state == ACTIVE]
    if not active:
        return None
    seated = sorted(active, key=lambda m: (not m.founder, m.since, m.did))[:MAX_VERIFIERS]
    weights = {m.did: ATTESTED for m in sorted(seated, key=lambda m: m.did) if m.attested >= epoch}
    return Roster(tuple(sorted(m.did for m in seated)), weights)
