"""What a certified checkpoint does to a node's state: it closes needs, fixes what it found, and opens an epoch.

Envelopes about a closed need that come later move nothing (P4). A decision that a checkpoint found stands; a need that
two checkpoints found undecided is drawn a new committee, and what an older one says after that is orphaned.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from swarmd.protocol import bonds, kinds, limits
from swarmd.protocol.checkpoint import closing
from swarmd.protocol.checkpoint.snapshot import OpenNeed, Snapshot
from swarmd.protocol.cids import dag_cbor_cid
from swarmd.protocol.envelope import Envelope, bucket_of, parse, pool_thread
from swarmd.protocol.escrow import settling as escrow_settling
from swarmd.protocol.faults import CorruptState
from swarmd.protocol.pool.record import Pool, stake_id
from swarmd.protocol.shadow import keeping, rivals
from swarmd.protocol.state import State
from swarmd.protocol.work import opening, rules
from swarmd.protocol.work.need import Need


@dataclass(slots=True)
class Done:
    """`todo`: envelopes to take now. `orphaned`: decisions that lost to the epoch, with what they carried."""

    todo: list[Envelope]
    orphaned: dict[str, dict[bytes, str]]  # need -> decision -> who had said it


def to_rebuild(state: State, snapshot: Snapshot) -> list[str]:
    """Needs to be derived anew: their committee is replaced, and we have what the old one decided; or their owner wrote
    two NEEDs under one account entry, in chains of two epochs, and the checkpoint has the other first; or they are so
    late that their own epoch's roster is gone, and the checkpoint found another for them.

    Whoever has the envelopes (the node's journal) gives all of these needs' to `adopt`.
    """
    return sorted(
        name
        for name, record in snapshot.open.items()
        if (need := state.needs.get(name)) is not None
        and (
            any(decide.epoch < max(record.draws) for decide in need.decides.values())
            or need.envelope != dag_cbor_cid(record.envelopes[0])
            or need.draws[0] != record.draws[0]
        )
    )


def adopt(
    state: State,
    snapshot: Snapshot,
    threads: Mapping[str, tuple[Envelope, ...]],
    stale: Sequence[Envelope] = (),
) -> Done:
    """Take a snapshot that a quorum certified. `threads`: every envelope we hold of each need `to_rebuild`. `stale`: of
    `closing.drop`, whose threads are in `threads` too, without these.

    CorruptState if it would make or lose money: then the quorum lies, or we are wrong.
    """
    done = Done([], {})
    again = closing.threads_of(state, stale)
    before = closing.drop(state, stale)
    # Of closed chains, what counts is in the snapshot; of epochs that have not begun, nothing does yet.
    over, epoch = snapshot.over, snapshot.epoch
    threads = {
        name: tuple(each for each in known if over.get(each.sender, -1) < each.epoch <= epoch)
        for name, known in threads.items()
    }
    state.over = dict(snapshot.over)
    state.epoch = snapshot.epoch
    state.terms.rosters = dict(snapshot.rosters)
    _let_go(state, snapshot)
    for name, record in sorted(snapshot.open.items()):
        need = state.needs.get(name)
        if need is None:
            reopen(state, record, threads.get(name, ()))
            _bind(state, before.get(name))
        elif name in threads:
            # A need that begins anew from another NEED, or another draw, lost nothing to an epoch.
            same = (need.envelope, need.draws[0]) == (dag_cbor_cid(record.envelopes[0]), record.draws[0])
            old = [d for d in need.decides.values() if same and d.epoch < max(record.draws)]
            orphans = {d.id: d.decider for d in old}
            reopen(state, record, threads[name])
            if orphans:
                done.orphaned[name] = orphans
        else:
            _fix(state, need, record)
            # Most of them are here: what they hash to says so before anything of them is decoded.
            done.todo += [parse(raw) for raw in record.envelopes if dag_cbor_cid(raw) not in need.seen]
    for name in sorted(before.keys() - snapshot.open.keys()):
        _anew(state, snapshot, before[name], threads.get(name, ()))
    _pool(state, snapshot)
    keeping.let_go(state, snapshot.shadow, snapshot.accounts, snapshot.epoch)
    _settle(state, snapshot)
    rivals.let_go(state)
    done.todo += [parse(raw) for raw in snapshot.shadow.envelopes]
    done.todo += [parse(raw) for raw in snapshot.parked]
    for each in stale:
        if each.kind == kinds.NEED and each.sender == state.me and each.thread not in state.needs:
            if not is_fenced(state, each):
                state.refused[each.thread] = closing.WHY  # its owner is told
    # What is left of what the stale ones were about: it locks and waits as if it came now.
    left = [each for name in again for each in threads.get(name, ())]
    done.todo += sorted(left, key=lambda each: (each.lamport, each.id))
    done.todo += _woken(state)
    done.todo += _due(state)
    if not state.reputation:
        state.reputation = {did: list(counts) for did, counts in snapshot.reputation.items()}
    own = snapshot.accounts.get(state.me)
    if own is not None and own.next_seq > state.own_seq:
        state.own_seq, state.own_head = own.next_seq, own.head
    keeping.recount(state)
    return done


def _pool(state: State, snapshot: Snapshot) -> None:
    """The pool as it is at the cut; what was said in it beyond the cut waits for the next one."""
    cut, pool = snapshot.cut, state.pool
    for did, said in pool.said.items():
        bucket = bucket_of(pool_thread(did))
        pool.said[did] = {
            ref: envelope
            for ref, envelope in said.items()
            if (head := cut.get((did, envelope.epoch, bucket))) is None or envelope.lamport > head.lamport
        }
    state.pool = Pool(
        dict(snapshot.pool),
        {did: said for did, said in pool.said.items() if said},
        snapshot.enough_since_ns,
        snapshot.cut_ns,
    )
    for member in snapshot.pool.values():
        for stake in member.stakes:
            if stake_id(member.did, stake.seq) not in snapshot.stakes:
                entry = stake.entry(member.did)
                state.ledger.entries.setdefault((entry.owner, entry.seq), {})[entry.hash] = entry
                state.go_on_after(entry)


def is_closed(state: State, owner: str, fund_seq: int) -> bool:
    """Has a checkpoint closed the need of this account entry? Its entry is applied, and it is not open."""
    base = state.ledger.base.get(owner)
    return base is not None and fund_seq < base.next_seq


def is_fenced(state: State, envelope: Envelope) -> bool:
    """Is it a NEED that a checkpoint closed long ago, or let go of while its entry waits on?"""
    if envelope.kind != kinds.NEED:
        return False
    return envelope.thread in state.bonds or is_closed(
        state, envelope.sender, envelope.payload["fund"]["seq"]
    )


def _let_go(state: State, snapshot: Snapshot) -> None:
    """Forget the needs that are no longer open, and what waits for them."""
    applied = {did: account.next_seq for did, account in snapshot.accounts.items()}
    gone = {
        name
        for name, need in state.needs.items()
        if name not in snapshot.open
        and (name in snapshot.bonds or need.fund_seq < applied.get(need.owner, 0))
    }
    for name in sorted(gone):
        del state.needs[name]
        state.views.forget(name)
        state.waiting.pop(name, None)
        state.ledger.payments.pop(name, None)
        state.ledger.closings.pop(name, None)
    state.closed = {name: epoch for name, epoch in state.closed.items() if epoch >= snapshot.epoch - 1}
    state.closed |= dict.fromkeys(sorted(gone | snapshot.closed.keys()), snapshot.epoch)
    state.jobs = {job: ref for job, ref in state.jobs.items() if ref.need in state.needs}
    state.timers = sorted(timer for timer in state.timers if timer[1] not in gone)
    for key in list(state.parked):
        # What waits for a need that nobody has heard of for two epochs is garbage.
        since = state.parked_since.setdefault(key, snapshot.epoch)
        known = key[0] in state.needs or key[0] in snapshot.escrows.open
        over = key[0] in state.closed or key[0] in snapshot.escrows.ended
        if over or (not known and since <= snapshot.epoch - 2):
            for envelope in state.parked.pop(key):
                state.unparked(envelope)
    state.parked_since = {key: since for key, since in state.parked_since.items() if key in state.parked}
    for anchor in [
        a for a in state.anchors.values() if a.tx_hash and not any(n in state.needs for n in a.needs)
    ]:
        del state.anchors[anchor.id]
        for name in anchor.needs:
            state.anchor_of.pop(name, None)
    state.denied = {name: None for name in state.denied if name not in state.closed}
    while len(state.refused) > limits.MAX_REFUSED:
        del state.refused[next(iter(state.refused))]


def reopen(state: State, record: OpenNeed, more: Iterable[Envelope]) -> None:
    """Derive a need from its envelopes, with what the checkpoint fixed; what we had done about it was for another plan."""
    known = [parse(raw) for raw in record.envelopes]
    every = {envelope.id: envelope for envelope in (*known, *more)}
    first = known[0]
    need = opening.open_need(first, state.genesis.challenge_window_s)
    _set(need, record)
    for envelope in sorted(every.values(), key=lambda e: (e.lamport, e.id)):
        if envelope.id not in need.seen and all(ref in need.seen for ref in envelope.refs):
            rules.apply(state.terms, need, envelope)
    need.derive_decided()
    need.derive_all()
    state.needs[need.id] = need
    state.views.forget(need.id)
    state.views.moved(need, None)
    _withdraw(state, need)
    if record.escrow is None:
        entry = rivals.entry_of(first)
        state.ledger.entries.setdefault((entry.owner, entry.seq), {})[entry.hash] = entry
        state.go_on_after(entry)


def _withdraw(state: State, need: Need) -> None:
    """Forget what locks money for this need, and what bonds about it came to. Where its owner said two NEEDs, only the one
    that the checkpoint has counts.

    Who kept the entry of the other would fund it, and what comes after it in the account, where a node that never heard of
    it does not.
    """
    entries, place = state.ledger.entries, (need.owner, need.fund_seq)
    others = {name: entry for name, entry in entries.pop(place, {}).items() if entry.need != need.id}
    if others:
        entries[place] = others
    for name, bond in state.bonds.items():
        if bond.thread == need.id:  # by a ruling that may be void now; if it is not, it is settled again
            state.ledger.payments.pop(name, None)
            state.ledger.closings.pop(name, None)


def _anew(state: State, snapshot: Snapshot, before: Need, left: Iterable[Envelope]) -> None:
    """A need that no checkpoint knows, of what is left of it; gone if its NEED is."""
    first = next((each for each in left if each.id == before.envelope), None)
    account = snapshot.accounts.get(before.owner)
    if first is None or (account is not None and before.fund_seq < account.next_seq):
        return
    reopen(state, OpenNeed(before.id, (first.raw,), before.draws, -1, b"", {}, None), left)
    _bind(state, before)


def _bind(state: State, before: Need | None) -> None:
    """What was dropped of a need frees nobody of a promise that others may have heard."""
    if before is not None and (need := state.needs[before.id]).draws == before.draws:
        need.promised, need.voted = before.promised, dict(before.voted)


def _set(need: Need, record: OpenNeed) -> None:
    need.draws = record.draws
    need.undecided = record.undecided
    need.fixed_decision = record.decision
    need.fixed_finals = dict(record.finals)
    need.found = dict(record.found)


def _fix(state: State, need: Need, record: OpenNeed) -> None:
    if need.draws != record.draws:
        _new_committee(need)
    _set(need, record)
    need.derive_decided()
    need.derive_all()
    state.views.moved(need, None)


def _new_committee(need: Need) -> None:
    """What we promised and voted was the old committee's."""
    need.since_ns = need.promised = 0
    need.voted = {}
    need.arbitrated = b""  # what the arbiter said, it said of the old one's plan


def _settle(state: State, snapshot: Snapshot) -> None:
    ledger = state.ledger
    for name, need in state.needs.items():
        ledger.payments[name] = need.payments()
        closing = need.closing_state()
        if closing is not None:
            ledger.closings[name] = closing
    escrows = {name: record.escrow for name, record in snapshot.open.items() if record.escrow is not None}
    escrows |= bonds.adopt(state, snapshot)
    escrows |= snapshot.stakes
    escrows |= snapshot.shadow.payouts
    escrows |= escrow_settling.adopt(state, snapshot)
    ours = state.bonds.keys() | state.shadow.spends.keys() | state.escrows.purses.keys()
    try:
        ledger.rebase(
            snapshot.accounts,
            escrows,
            state.needs.keys() | ours,
            snapshot.shadow.deposited,
            snapshot.shadow.credited,
        )
    except CorruptState as fault:
        raise CorruptState("P9", f"the checkpoint of epoch {snapshot.epoch}: {fault}") from fault


def _woken(state: State) -> list[Envelope]:
    """What waited for what the snapshot brought."""
    found: list[Envelope] = []
    for key in sorted(state.parked):
        need, record = state.needs.get(key[0]), state.escrows.records.get(key[0])
        here = need is not None and (not key[1] or key[1] in need.seen)
        if here or (record is not None and (not key[1] or record.knows(key[1]))):
            for envelope in state.parked.pop(key):
                state.unparked(envelope)
                found.append(envelope)
            state.parked_since.pop(key, None)
    return found


def _due(state: State) -> list[Envelope]:
    """Envelopes of epochs that have begun now."""
    found: list[Envelope] = []
    for epoch in sorted(epoch for epoch in state.ahead if epoch <= state.epoch):
        for envelope in state.ahead.pop(epoch):
            state.parked_by[envelope.sender] -= 1
            found.append(envelope)
    return found
