"""Digests of the state: equal digests, equal states.

`mesh_digest` covers what follows from the mesh's envelopes, so nodes that have heard the same agree on it.
`state_digest` covers everything, so a replay of the same journal in another process must give it again (P2).
"""

from hashlib import sha256
from typing import Any

from swarmd.protocol.cbor import encode
from swarmd.protocol.checkpoint.record import EpochBallot
from swarmd.protocol.checkpoint.snapshot import member_row
from swarmd.protocol.ledger.accounts import Account
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


def mesh_digest(state: State) -> bytes:
    """32 bytes over the epoch, needs, accounts and escrows. What a checkpoint closed is in the accounts."""
    digest = sha256(b"swarmd/mesh/1\0" + state.epoch.to_bytes(8, "big"))
    if state.epoch:  # before that it is genesis'
        digest.update(encode([member_row(member) for _, member in sorted(state.pool.members.items())]))
    for name in sorted(state.needs):
        digest.update(need_digest(state.needs[name]))
    ledger = state.ledger
    for did in sorted(ledger.accounts):
        account = ledger.accounts[did]
        if account == Account():
            continue  # only ever looked at, never used: others may not have it
        digest.update(encode([did, account.available, account.locked, account.next_seq, account.head]))
    for name in sorted(ledger.escrows):
        escrow = ledger.escrows[name]
        digest.update(
            encode(
                [
                    name,
                    escrow.state,
                    escrow.held,
                    escrow.returned,
                    [[task, *paid] for task, paid in sorted(escrow.paid.items())],
                ]
            )
        )
    return digest.digest()


def state_digest(state: State) -> bytes:
    """32 bytes over the whole state, this node's own part included."""
    digest = sha256(b"swarmd/state/1\0" + mesh_digest(state))
    own: list[Any] = [
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
        sorted([did, manifest.raw] for did, manifest in state.manifests.items()),
        sorted([did, *counts] for did, counts in state.reputation.items()),
        sorted([job, ref.need, ref.task, ref.subject] for job, ref in state.jobs.items()),
        [list(timer) for timer in sorted(state.timers)],
        list(state.waiting),
        [list(receipt) for receipt in state.receipts],
        sorted([anchor.id, anchor.tx_hash, anchor.block_number] for anchor in state.anchors.values()),
        sorted([name, missing, [e.id for e in held]] for (name, missing), held in state.parked.items()),
        [
            [
                name,
                sorted(map(repr, state.needs[name].done_here)),
                [state.needs[name].since_ns, state.needs[name].promised, *state.needs[name].draws],
                sorted(state.needs[name].voted.items()),
                state.needs[name].arbitrated,
            ]
            for name in sorted(state.needs)
        ],
    ]
    digest.update(encode(own))
    return digest.digest()
