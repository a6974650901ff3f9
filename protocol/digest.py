"""Digests of the state: equal digests, equal states.

`mesh_digest` covers what follows from the mesh's envelopes, so nodes that have heard the same agree on it.
`state_digest` covers everything, so a replay of the same journal in another process must give it again (P2).
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from swarmd.protocol.cbor import LIST, encode, head_of
from swarmd.protocol.checkpoint.packing import member_row, over_rows
from swarmd.protocol.checkpoint.record import EpochBallot
from swarmd.protocol.escrow import record as escrow_record
from swarmd.protocol.ledger.accounts import Account, Escrow
from swarmd.protocol.state import State
from swarmd.protocol.work.need import Need


def need_digest(need: Need) -> bytes:
    """32 bytes over what is agreed of one need: ids on record, decision, results, closing, plan."""
    runs: list[Any] = [
        [task, run.state, run.attempt, run.final.id if run.final else b""]
        for task, run in sorted(need.runs.items())
    ]
    plan = need.plan
    body: list[Any] = [
        need.id,
        need.envelope,
        sorted(need.seen),
        sorted(need.void),
        need.decided.id if need.decided else b"",
        need.closed.id if need.closed else b"",
        runs,
        sorted([task, *map(_plain, entry)] for task, entry in plan.states.items()),
        sorted(list(edge) for edge in plan.edges),
        [sorted(need.challenges), sorted(need.rulings), sorted(need.invalid.items()), sorted(need.fallen)],
        sorted(
            ([task, key, lamport, op_id, str(value)])
            for (task, key), (lamport, op_id, value) in plan.annotations.items()
        ),
    ]
    return sha256(encode(body)).digest()


def _ballot(ballot: EpochBallot | None) -> list[Any]:
    if ballot is None:
        return []
    return [
        ballot.epoch,
        sorted(ballot.seen),
        sorted(ballot.void),
        ballot.decided,
        [ballot.since_ns, ballot.promised],
        sorted(ballot.voted.items()),
        sorted(map(repr, ballot.done_here)),
    ]


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, bytes) else value


class Digests:
    """The digests of one node's state, asked for again and again: only what moved in between is hashed anew.

    What is known of a need holds while it is the same object with the same marks: facts about it only grow, each comes
    with an envelope that `seen` or `void` counts, and the rest follows from them and from the other marks.
    """

    def __init__(self) -> None:
        self._epoch = -1
        self._agreed: dict[str, tuple[Need, Any, bytes]] = {}
        self._own: dict[str, tuple[Need, Any, bytes]] = {}
        self._escrows: dict[str, tuple[Escrow, Any, bytes]] = {}

    def mesh(self, state: State) -> bytes:
        """32 bytes over the epoch, needs, accounts and escrows. What a checkpoint closed is in the accounts."""
        digest = sha256(b"swarmd/mesh/1\0" + state.epoch.to_bytes(8, "big"))
        if state.epoch:  # before that it is genesis'
            digest.update(encode([member_row(member) for _, member in sorted(state.pool.members.items())]))
        if state.over:
            digest.update(encode(over_rows(state.over, {})))
        if state.epoch != self._epoch:  # a checkpoint changes needs without a word of theirs
            self._epoch = state.epoch
            self._agreed.clear()
        needs, ledger = state.needs, state.ledger
        for name in sorted(needs):
            need = needs[name]
            ends = need.decided and need.decided.id, need.closed and need.closed.id
            judged = len(need.challenges), len(need.rulings), len(need.invalid), len(need.fallen)
            marks = (len(need.seen), len(need.void), ends, judged, need.arbitrated, need.draws)
            known = self._agreed.get(name)
            if known is None or known[0] is not need or known[1] != marks:
                known = self._agreed[name] = (need, marks, need_digest(need))
            digest.update(known[2])
        for did in sorted(ledger.accounts):
            account = ledger.accounts[did]
            if account == Account():
                continue  # only ever looked at, never used: others may not have it
            digest.update(encode([did, account.available, account.locked, account.next_seq, account.head]))
        for name in sorted(ledger.escrows):
            escrow = ledger.escrows[name]
            sums = (escrow.state, escrow.held, escrow.returned, tuple(escrow.paid.items()))
            row = self._escrows.get(name)
            if row is None or row[0] is not escrow or row[1] != sums:
                row = self._escrows[name] = (escrow, sums, encode(_escrow(name, escrow)))
            digest.update(row[2])
        if (agreed := _shadow(state)) != _NO_SHADOW:
            digest.update(encode(agreed))
        digest.update(escrow_record.digest(state.escrows))
        _forget(self._agreed, needs)
        _forget(self._escrows, ledger.escrows)
        return digest.digest()

    def state(self, state: State) -> bytes:
        """32 bytes over the whole state, this node's own part included."""
        digest = sha256(b"swarmd/state/1\0" + self.mesh(state))
        own, needs = _own(state), state.needs
        # A list of these and, last, of what we have of each need.
        digest.update(head_of(LIST, len(own) + 1))
        for part in own:
            digest.update(encode(part))
        digest.update(head_of(LIST, len(needs)))
        for name in sorted(needs):
            need = needs[name]
            times = (need.since_ns, need.promised, *need.draws)
            marks = (len(need.done_here), times, len(need.voted), need.arbitrated)
            known = self._own.get(name)
            if known is None or known[0] is not need or known[1] != marks:
                known = self._own[name] = (need, marks, encode(_own_of(name, need)))
            digest.update(known[2])
        _forget(self._own, needs)
        return digest.digest()


def _forget(known: dict[str, Any], there: Mapping[str, Any]) -> None:
    """What is gone; looked for only when there is too much."""
    if len(known) > len(there):
        for name in known.keys() - there.keys():
            del known[name]


def mesh_digest(state: State) -> bytes:
    """`Digests.mesh` of a state that is looked at once."""
    return Digests().mesh(state)


def state_digest(state: State) -> bytes:
    """`Digests.state` of a state that is looked at once."""
    return Digests().state(state)


_NO_SHADOW: list[Any] = [[], [], [], [], [], 0]


def _shadow(state: State) -> list[Any]:
    """What is agreed of transfers, withdrawals and deposits that are not done with."""
    shadow, ledger = state.shadow, state.ledger
    votes = [
        [owner, seq, entry, [[at, sorted(who)] for at, who in sorted(epochs.items()) if who]]
        for (owner, seq), known in sorted(shadow.votes.items())
        for entry, epochs in sorted(known.items())
    ]
    attests = [
        [key, list(content), [[at, sorted(who)] for at, who in sorted(epochs.items()) if who]]
        for key, known in sorted(shadow.attests.items())
        for content, epochs in sorted(known.items())
    ]
    return [
        sorted(shadow.spends),
        votes,
        attests,
        sorted({*shadow.credited, *ledger.credits}),
        sorted(shadow.paid_out),
        ledger.deposited,
    ]


def _own_shadow(state: State) -> list[Any]:
    shadow = state.shadow
    rivals = sorted(
        [owner, sorted([n, *sorted(of)] for n, of in at.items())] for owner, at in shadow.rivals.items()
    )
    return [
        sorted([owner, seq, *promise] for (owner, seq), promise in shadow.promised.items()),
        [sorted(shadow.unvoted.items()), sorted(shadow.dirty), shadow.armed],
        sorted(shadow.attested.items()),
        [[key, *value] for key, value in shadow.keys.items()],
        sorted(shadow.spent.items()),
        sorted(shadow.said),
        *([rivals] if rivals else []),
    ]


def _escrow(name: str, escrow: Escrow) -> list[Any]:
    paid = [[task, *to] for task, to in sorted(escrow.paid.items())]
    return [name, escrow.state, escrow.held, escrow.returned, paid]


def _own(state: State) -> list[Any]:
    return [
        state.me,
        state.lease_s,
        state.anchor_interval_ns,
        state.now_ns,
        state.lamport,
        [state.own_seq, state.own_head, state.own_pending],
        [state.epoch, state.epoch_since_ns, state.advance, state.fenced],
        sorted([name, epoch] for name, epoch in state.closed.items()),
        sorted([epoch, [e.id for e in held]] for epoch, held in state.ahead.items()),
        _ballot(state.ballot),
        [state.shown, sorted([did, *sorted(said)] for did, said in state.pool.said.items())],
        _own_shadow(state),
        sorted([did, manifest.raw] for did, manifest in state.manifests.items()),
        sorted([did, *counts] for did, counts in state.reputation.items()),
        sorted([job, ref.need, ref.task, ref.subject] for job, ref in state.jobs.items()),
        [list(timer) for timer in sorted(state.timers)],
        list(state.waiting),
        [list(receipt) for receipt in state.receipts],
        sorted([anchor.id, anchor.tx_hash, anchor.block_number] for anchor in state.anchors.values()),
        sorted([name, missing, [e.id for e in held]] for (name, missing), held in state.parked.items()),
    ]


def _own_of(name: str, need: Need) -> list[Any]:
    return [
        name,
        sorted(map(repr, need.done_here)),
        [need.since_ns, need.promised, *need.draws],
        sorted(need.voted.items()),
        need.arbitrated,
    ]
