"""step(state, input) -> effects: the only way in.

Pure and deterministic: equal inputs give equal states on any machine (P2). An input of unknown type raises; a
command that cannot be carried out raises LocalFault and changes nothing; envelopes never raise, they are taken,
parked until what they refer to is here, or void.
"""

import heapq
from collections.abc import Callable
from typing import Any

from swarmd.protocol import anchoring, bonds, commands, duties, invariants, kinds, limits
from swarmd.protocol.cbor import Link
from swarmd.protocol.checkpoint import adopting, ballots
from swarmd.protocol.cids import raw_cid, verify_block
from swarmd.protocol.consensus import arbitration
from swarmd.protocol.effects import Effect, Fetch, Report, Store
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.escrow import money as escrow_money
from swarmd.protocol.escrow import taking as escrow_taking
from swarmd.protocol.inputs import (
    Admitted,
    Adopted,
    AgentDone,
    Arbitrated,
    Authored,
    ChainSeen,
    ClaimChecked,
    Commanded,
    ContentReady,
    Input,
    Judged,
    ManifestSeen,
    QuoteChecked,
    SnapshotChecked,
    SnapshotMade,
    Ticked,
)
from swarmd.protocol.pool import acting, attesting, taking
from swarmd.protocol.shadow import acting as money
from swarmd.protocol.shadow import claiming, rivals
from swarmd.protocol.shadow import taking as shadow_taking
from swarmd.protocol.state import NOBODY, State
from swarmd.protocol.work import opening, returns, rules
from swarmd.protocol.work.need import Need
from swarmd.protocol.work.void import Void


def step(state: State, given: Input) -> list[Effect]:
    """Take one input, return what the node is to do. Changes `state` in place, nothing else."""
    handler = _HANDLERS.get(type(given))
    if handler is None:
        raise TypeError(f"no such input: {type(given).__name__}")
    out: list[Effect] = []
    before_ns = state.now_ns
    state.now_ns = state.ledger.moves.now_ns = max(state.now_ns, given.at_ns)
    try:
        handler(state, given, out)
    except commands.LocalFault:
        state.now_ns = before_ns
        raise
    if not state.epoch_since_ns:
        state.epoch_since_ns = state.now_ns
        ballots.attend(state, out)
    if state.ledger.newly_funded:
        _attend_funded(state, out)
    if state.ledger.stirred:
        money.stir(state, out)
    if state.receipts:
        anchoring.attend(state, out)
    invariants.check(state)
    return out


# Envelopes -----------------------------------------------------------------------------------------------


def _admitted(state: State, given: Admitted, out: list[Effect]) -> None:
    for position, envelope in enumerate(given.envelopes):
        state.lamport = max(state.lamport, envelope.lamport)
        if envelope.kind == kinds.NEED and opening.misplaced(envelope):
            out.append(Report(envelope.sender, "misplaced-need"))
            continue
        reason = given.denied.get(position)
        if reason is not None:
            _deny(state, envelope, reason, out)
        else:
            _take(state, envelope, out)


def _authored(state: State, given: Authored, out: list[Effect]) -> None:
    _take(state, given.envelope, out)


def _deny(state: State, envelope: Envelope, reason: str, out: list[Effect]) -> None:
    """Our gate refused it: on record with the reason, and without effect here; but for money, which moves by signatures."""
    if envelope.kind in (kinds.MONEY, kinds.ESCROW):
        _take(state, envelope, out)
        return
    bonds.lock(state, envelope)
    need = state.needs.get(envelope.thread)
    if need is None:
        if envelope.kind == kinds.NEED:
            state.refused.setdefault(envelope.thread, f"denied by policy: {reason}")
            state.denied[envelope.thread] = None
            _unpark(state, envelope.thread, b"")
        return
    need.record(envelope)
    need.void[envelope.id] = f"denied by policy: {reason}"


# What a word of these kinds stakes is entered into its sender's account, wherever it is heard and whatever else it says.
_LOCKS = {kinds.CHALLENGE: bonds.lock, kinds.ESCROW: escrow_taking.lock}


def _take(state: State, first: Envelope, out: list[Effect]) -> None:
    """Take an envelope and then those that waited for it."""
    todo = [first]
    while todo:
        envelope = todo.pop()
        thread = envelope.thread
        if envelope.epoch > state.epoch:
            _park_ahead(state, envelope, out)
            continue
        lock = _LOCKS.get(envelope.kind)
        if lock is not None:
            lock(state, envelope)
        need = state.needs.get(thread)
        if need is None:
            if thread.startswith("escrow-"):
                todo.extend(_take_escrow(state, envelope, out))
                continue
            if thread.startswith("pool-"):
                taking.take(state, envelope, out)
                continue
            if thread.startswith("acct-"):
                shadow_taking.take(state, envelope, out)
                continue
            if thread.startswith("epoch-"):
                todo.extend(_take_ballot(state, envelope, out))
                continue
            if thread in state.denied:
                continue
            if thread in state.closed or adopting.is_fenced(state, envelope):
                state.fenced += 1
                continue
            if envelope.kind != kinds.NEED:
                _park(state, envelope, b"", out)
                continue
            if not _open(state, envelope, out):
                continue
            todo.extend(_unpark(state, thread, b""))
            todo.extend(_unpark(state, thread, envelope.id))
            continue
        seen = need.seen
        if envelope.id in seen:
            continue
        missing = None
        for ref in envelope.refs:
            if ref not in seen:
                missing = ref
                break
        if missing is not None:
            _park(state, envelope, bytes(missing), out)
            continue
        _apply(state, need, envelope, out)
        todo.extend(_unpark(state, thread, envelope.id))


def _take_ballot(state: State, envelope: Envelope, out: list[Effect]) -> list[Envelope]:
    """One about the end of this epoch; returns those that waited for it."""
    if state.me == NOBODY:
        state.witnessed.append(envelope)  # a snapshot is of the work; ballots say which one
        return []
    missing = ballots.waits_for(state, envelope)
    if missing is not None:
        _park(state, envelope, missing, out)
        return []
    ballots.take(state, envelope, out)
    return _unpark(state, envelope.thread, envelope.id)


def _take_escrow(state: State, envelope: Envelope, out: list[Effect]) -> list[Envelope]:
    """One about an escrow; returns those that waited for it."""
    missing = escrow_taking.waits_for(state, envelope)
    if missing is not None:
        _park(state, envelope, missing, out)
        return []
    escrow_taking.take(state, envelope, out)
    if envelope.thread not in state.escrows.records:
        return []
    return [*_unpark(state, envelope.thread, envelope.id), *_unpark(state, envelope.thread, b"")]


def _park_ahead(state: State, envelope: Envelope, out: list[Effect]) -> None:
    """Its author is in an epoch that has not begun here: it waits for the checkpoint."""
    waiting = state.ahead.setdefault(envelope.epoch, [])
    count = state.parked_by.get(envelope.sender, 0)
    if count >= 8 * limits.MAX_PARKED_PER_AUTHOR:
        out.append(Report(envelope.sender, "too-many-parked"))
        return
    state.parked_by[envelope.sender] = count + 1
    waiting.append(envelope)


def _park(state: State, envelope: Envelope, missing: bytes, out: list[Effect]) -> None:
    """Keep it until `missing` is here; within bounds, for who refers to nothing could fill our memory."""
    if envelope.id in state.parked_ids:
        return
    count = state.parked_by.get(envelope.sender, 0)
    # The node stops taking an author's batches at the bound itself; a turn may bring some more than that.
    if count >= 8 * limits.MAX_PARKED_PER_AUTHOR:
        out.append(Report(envelope.sender, "too-many-parked"))
        return
    state.parked_by[envelope.sender] = count + 1
    state.parked_ids.add(envelope.id)
    state.parked.setdefault((envelope.thread, missing), []).append(envelope)


def _unpark(state: State, thread: str, arrived: bytes) -> list[Envelope]:
    waiting = state.parked.pop((thread, arrived), None) if state.parked else None
    if waiting is None:
        return []
    for envelope in waiting:
        state.unparked(envelope)
    return waiting[::-1]


def _open(state: State, envelope: Envelope, out: list[Effect]) -> bool:
    payload = envelope.payload
    try:
        need = opening.open_need(envelope, state.genesis.challenge_window_s)
    except Void as void:
        # It leaves no trace but for people: another NEED of the thread, should its owner say one, is as good.
        state.refused[envelope.thread] = str(void)
        out.append(Report(envelope.sender, "void-need"))
        return False
    need.draws = (state.terms.known(need.epoch),)
    state.needs[need.id] = need
    state.refused.pop(need.id, None)
    state.views.moved(need, None)
    for block in payload.get("inline", ()):
        out.append(Store(raw_cid(block), block))
    entry = rivals.entry_of(envelope)
    state.ledger.add_entry(entry)
    commands.own_entry_applied(state, entry)
    if need.id not in state.ledger.newly_funded:
        duties.attend(state, need, None, out)
    return True


def _apply(state: State, need: Need, envelope: Envelope, out: list[Effect]) -> None:
    if envelope.kind == kinds.NEED:
        if opening.opens_nothing(envelope):
            # Heard before the one that stands it would have left no trace; chains of two epochs come in either order.
            out.append(Report(envelope.sender, "void-need"))
            return
        need.record(envelope)
        need.void[envelope.id] = "a second need under one account entry"
        rivals.note(state, need, envelope)
        out.append(Report(envelope.sender, "double-need"))
        return
    inline = envelope.payload.get("inline") if envelope.kind == kinds.COMMIT else None
    known = envelope.sender in need.equivocators
    reason, moved = rules.apply(state.terms, need, envelope)
    if envelope.sender in need.equivocators and not known and envelope.sender != state.me:
        out.append(Report(envelope.sender, "contradiction"))
    if reason:
        if envelope.sender != state.me:
            out.append(Report(envelope.sender, "void-" + envelope.kind.lower()))
        return
    if inline is not None and verify_block(envelope.payload["result"], inline):
        out.append(Store(bytes(envelope.payload["result"]), inline))
    if moved is None:
        need.derive_all()
        state.views.moved(need, None)
    elif envelope.kind != kinds.ATTEST:  # what judges say moves a task only once a FINALIZE refers to it
        for task in moved:
            need.derive_task(task)
        state.views.moved(need, moved)
    if envelope.kind in _MOVES_MONEY:
        state.ledger.settle(need.id, need.payments(), need.closing_state())
        bonds.settle(state, need)
    if envelope.kind == kinds.DECIDE:
        arbitration.settle_dispute(state, need, out)
    _remember(state, need, envelope)
    _follow_up(state, need, envelope, out)
    duties.attend(state, need, moved, out)


_MOVES_MONEY = frozenset((kinds.FINALIZE, kinds.DECIDE, kinds.CHALLENGE, kinds.INVALIDATE))


def _remember(state: State, need: Need, envelope: Envelope) -> None:
    """Reputation from settled outcomes."""
    final = need.finals.get(envelope.id)
    if final is not None:
        state.reputation.setdefault(final.worker, [0, 0])[0] += 1
    ending = need.endings.get(envelope.id)
    if ending is not None and ending.cause in ("rejected", "expired", "unclaimed", "invalidated"):
        worker = need.proposals[ending.proposal].plan[ending.task][ending.attempt][0]
        state.reputation.setdefault(worker, [0, 0])[1] += 1


def _follow_up(state: State, need: Need, envelope: Envelope, out: list[Effect]) -> None:
    """What only this node does: start its own work, fetch what it owns, write receipts."""
    claim = need.claims.get(envelope.id)
    if claim is not None and claim.worker == state.me:
        run = need.runs.get(claim.task)
        # Between our saying so and its coming back to us the need may have been closed, and then results of parents
        # that came after the closing no longer stand.
        if run is not None and run.claim is claim and need.closed is None and need.parents_final(claim.task):
            duties.start_work(state, need, claim, out)
    if state.me != need.owner:
        return
    ruling = need.rulings.get(envelope.id)
    if (
        ruling is not None
        and ruling.upheld
        and (need.id in state.anchor_of or ("receipt",) in need.done_here)
    ):
        anchoring.write_receipt(state, need, out)  # the one before says what no longer holds
    final = need.finals.get(envelope.id)
    if final is None:
        return
    out.append(Fetch(final.result, tuple(dict.fromkeys((final.worker, final.sender)))))
    if need.complete() and (need.invalid or need.id not in state.anchor_of):
        anchoring.write_receipt(state, need, out)


def _attend_funded(state: State, out: list[Effect]) -> None:
    while state.ledger.newly_funded:
        name = state.ledger.newly_funded.pop()
        if name in state.shadow.spends:
            shadow_taking.applied(state, name)
            continue
        bond = state.bonds.get(name)
        need = state.needs.get(bond.thread if bond is not None else name)
        if need is None:
            escrow_money.funded(state, name)
            continue
        if bond is not None:
            bonds.settle(state, need)
            duties.attend(state, need, [], out)
            continue
        state.ledger.settle(need.id, need.payments(), need.closing_state())
        need.waiting_for = ""
        duties.attend(state, need, None, out)


# Time, agents, chain -------------------------------------------------------------------------------------


def _ticked(state: State, given: Ticked, out: list[Effect]) -> None:
    due: dict[str, None] = {}
    while state.timers and state.timers[0][0] <= state.now_ns:
        due[heapq.heappop(state.timers)[1]] = None
    for thread in due:
        need = state.needs.get(thread)
        if need is not None:
            duties.attend(state, need, None, out)
    if state.shadow.armed:
        money.attend(state, out)
    ballots.attend(state, out)


def _content_ready(state: State, given: ContentReady, out: list[Effect]) -> None:
    """Kept in the journal so that the outbox empties; nothing else follows from it yet."""


def _manifest_seen(state: State, given: ManifestSeen, out: list[Effect]) -> None:
    manifest = given.manifest
    known = state.manifests.get(manifest.did)
    if known is not None and known.issued_ns >= manifest.issued_ns:
        return
    if known is None and len(state.manifests) >= limits.MAX_MANIFESTS:
        return
    state.manifests[manifest.did] = manifest
    for thread in list(state.waiting):
        duties.attend(state, state.needs[thread], None, out)


def _arbitrated(state: State, given: Arbitrated, out: list[Effect]) -> None:
    """The arbiter said who wins. It says so once: whatever came later could only be its being wiped."""
    need = state.needs.get(given.need)
    if need is None or need.arbitrated or given.epoch != need.draw:
        return
    need.arbitrated = given.proposal
    if need.derive_decided():
        need.derive_all()
        state.views.moved(need, None)
        state.ledger.settle(need.id, need.payments(), need.closing_state())
    duties.attend(state, need, None, out)


def _commanded(state: State, given: Commanded, out: list[Effect]) -> None:
    commands.run(state, given.op, given.args, out)


def _snapshot_made(state: State, given: SnapshotMade, out: list[Effect]) -> None:
    ballots.made(state, given, out)


def _snapshot_checked(state: State, given: SnapshotChecked, out: list[Effect]) -> None:
    ballots.checked(state, given, out)


def _reconcile(state: State, need: Need, withdrawn: list[bytes], out: list[Effect]) -> None:
    """Say of our own decisions that lost to the epoch that they did: for `why`, and for who still counts on them."""
    withdrawn = sorted(withdrawn)[: limits.MAX_REFS - 1]
    if withdrawn:
        payload = {"epoch": need.draw, "orphaned": [Link(ref) for ref in withdrawn]}
        state.draft(out, need.id, kinds.RECONCILE, payload, (need.envelope, *withdrawn))


def _adopted(state: State, given: Adopted, out: list[Effect]) -> None:
    if given.snapshot.epoch <= state.epoch:
        return
    done = adopting.adopt(state, given.snapshot, given.threads, given.stale)
    state.ballot = None
    state.advance = False
    state.epoch_since_ns = state.now_ns
    for name, decisions in done.orphaned.items():
        state.orphaned[name] = sorted(decisions)
    state.witnessed.clear()
    for envelope in done.todo:
        _take(state, envelope, out)
    if state.me == NOBODY:
        return
    for name, decisions in sorted(done.orphaned.items()):
        _reconcile(state, state.needs[name], [ref for ref, did in decisions.items() if did == state.me], out)
    for need in list(state.needs.values()):
        state.ledger.settle(need.id, need.payments(), need.closing_state())
        bonds.settle(state, need)
        duties.attend(state, need, None, out)
    acting.attend(state, out)
    money.anew(state, out)
    ballots.attend(state, out)


def _quote_checked(state: State, given: QuoteChecked, out: list[Effect]) -> None:
    attesting.checked(state, given, out)


def _claim_checked(state: State, given: ClaimChecked, out: list[Effect]) -> None:
    claiming.checked(state, given, out)


_HANDLERS: dict[type, Callable[[State, Any, list[Effect]], None]] = {
    Admitted: _admitted,
    Authored: _authored,
    Ticked: _ticked,
    AgentDone: returns.agent_done,
    Judged: returns.judged,
    ContentReady: _content_ready,
    ManifestSeen: _manifest_seen,
    ChainSeen: anchoring.chain_seen,
    Arbitrated: _arbitrated,
    Commanded: _commanded,
    SnapshotMade: _snapshot_made,
    SnapshotChecked: _snapshot_checked,
    Adopted: _adopted,
    QuoteChecked: _quote_checked,
    ClaimChecked: _claim_checked,
}
