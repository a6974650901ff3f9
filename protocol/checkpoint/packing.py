"""How a snapshot is written: rows, in parts that its head names, and their compression."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import zstandard
from swarmd.protocol import limits
from swarmd.protocol.cbor import encode
from swarmd.protocol.checkpoint.snapshot import ClosedNeed, Cut, OpenBond, OpenNeed, Packed, Snapshot
from swarmd.protocol.consensus.roster import Roster
from swarmd.protocol.envelope import bucket_of
from swarmd.protocol.escrow import record as escrow_record
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.ledger.accounts import Account, Escrow
from swarmd.protocol.pool.record import Member
from swarmd.protocol.shadow.record import ShadowPart

VERSION = 1
ACCOUNTS_PER_PART = 4_096
MAX_PART_BYTES = 64 * 1_048_576
# One level and no options: with one version of zstandard everybody gets the same bytes.
LEVEL = 3


def pack(snapshot: Snapshot) -> Packed:
    parts: dict[bytes, bytes] = {}

    def part(value: Any) -> bytes:
        body = encode(value)
        digest = sha256(body).digest()
        parts[digest] = body
        return digest

    accounts = [_account_row(did, account) for did, account in sorted(snapshot.accounts.items())]
    buckets: list[tuple[list[Any], list[Any]]] = [([], []) for _ in range(limits.BUCKETS)]
    for name, need in sorted(snapshot.open.items()):
        buckets[bucket_of(name)][0].append(_open_row(need))
    for name, closed in sorted(snapshot.closed.items()):
        buckets[bucket_of(name)][1].append(_closed_row(closed))
    head = {
        "v": VERSION,
        "epoch": snapshot.epoch,
        "prev": snapshot.prev,
        "root": snapshot.root,
        "ops": snapshot.ops,
        "rosters": [[epoch, part(_roster_row(roster))] for epoch, roster in sorted(snapshot.rosters.items())],
        "cut": part(cut_rows(snapshot.cut)),
        "accounts": [
            part(accounts[first : first + ACCOUNTS_PER_PART])
            for first in range(0, len(accounts), ACCOUNTS_PER_PART)
        ],
        "reputation": part([[did, *counts] for did, counts in sorted(snapshot.reputation.items())]),
        "buckets": [part([opened, closed]) for opened, closed in buckets],
        "parked": part([[raw, since] for raw, since in sorted(snapshot.parked.items())]),
        "bonds": part([_bond_row(name, bond) for name, bond in sorted(snapshot.bonds.items())]),
        "pool": part(pool_rows(snapshot)),
    }
    if snapshot.shadow != ShadowPart():  # a mesh that moves no money has snapshots as it always had
        head["shadow"] = part(_shadow_rows(snapshot.shadow))
    if snapshot.escrows != escrow_record.Book():
        head["escrows"] = part(escrow_record.rows(snapshot.escrows))
    if snapshot.over or snapshot.present:
        head["over"] = part(over_rows(snapshot.over, snapshot.present))
    return Packed(encode(head), parts)


def _shadow_rows(shadow: ShadowPart) -> list[Any]:
    payouts = [[name, _purse(escrow)] for name, escrow in sorted(shadow.payouts.items())]
    return [list(shadow.envelopes), payouts, list(shadow.credited), shadow.deposited, list(shadow.certified)]


def _roster_row(roster: Roster) -> list[Any]:
    weights = [[did, weight] for did, weight in sorted(roster.weights.items())]
    return [list(roster.members), weights, roster.bootstrap, roster.beacon]


def cut_rows(cut: Cut) -> list[Any]:
    return [[*chain, head.seq, head.hash, head.lamport, head.ts_ns] for chain, head in sorted(cut.items())]


def over_rows(over: Mapping[str, int], present: Mapping[str, tuple[int, ...]]) -> list[Any]:
    """[author, the first epoch whose chains are open, [epochs in which it was present]]"""
    authors = sorted({*over, *present})
    return [[author, over.get(author, -1) + 1, list(present.get(author, ()))] for author in authors]


def _account_row(did: str, account: Account) -> list[Any]:
    return [
        did,
        account.available,
        account.locked,
        account.earned,
        account.spent,
        account.next_seq,
        account.head,
    ]


def _bond_row(name: str, bond: OpenBond) -> list[Any]:
    return [name, bond.thread, bond.owner, bond.seq, bond.prev, bond.amount, bond.funded]


def _paid_rows(paid: Mapping[str, tuple[str, int]]) -> list[Any]:
    return [[task, worker, amount] for task, (worker, amount) in sorted(paid.items())]


def _open_row(need: OpenNeed) -> list[Any]:
    purse = None if need.escrow is None else _purse(need.escrow)
    finals = [[task, final] for task, final in sorted(need.finals.items())]
    return [
        need.id,
        list(need.envelopes),
        list(need.draws),
        need.undecided + 1,
        need.decision,
        finals,
        purse,
        [[ref, at_ns] for ref, at_ns in sorted(need.found.items())],
    ]


def _purse(escrow: Escrow) -> list[Any]:
    return [
        escrow.owner,
        escrow.amount,
        escrow.state,
        escrow.held,
        _paid_rows(escrow.paid),
        escrow.returned,
    ]


def pool_rows(snapshot: Snapshot) -> list[Any]:
    return [
        [member_row(member) for _, member in sorted(snapshot.pool.items())],
        [[name, _purse(escrow)] for name, escrow in sorted(snapshot.stakes.items())],
        snapshot.enough_since_ns,
        snapshot.cut_ns,
    ]


def member_row(member: Member) -> list[Any]:
    return [
        member.did,
        member.state,
        member.since,
        member.seen,
        member.until,
        member.founder,
        member.misses,
        [[stake.seq, stake.prev, stake.amount] for stake in member.stakes],
        member.attested + 1,
        member.quote,
        member.quoted,
        list(member.vouchers),
        member.reason,
    ]


def _closed_row(need: ClosedNeed) -> list[Any]:
    marks = [[did, list(refs)] for did, refs in sorted(need.marks.items())]
    paid = _paid_rows(need.paid)
    return [need.id, need.owner, need.outcome, paid, need.returned, list(need.draws), marks]


def compress(body: bytes) -> bytes:
    """One zstandard frame that says its size, the same for the same bytes wherever this version of it runs."""
    return zstandard.ZstdCompressor(
        level=LEVEL, write_checksum=False, write_content_size=True, write_dict_id=False, threads=0
    ).compress(body)


def decompress(frame: bytes, limit_bytes: int = MAX_PART_BYTES) -> bytes:
    """RemoteFault `bad-snapshot` for anything but one whole frame of at most `limit_bytes`."""
    try:
        size = zstandard.frame_content_size(frame)
        if not 0 <= size <= limit_bytes:
            raise RemoteFault("bad-snapshot", f"a part of {size} bytes; at most {limit_bytes}")
        return zstandard.ZstdDecompressor(max_window_size=1 << 27).decompress(
            frame, max_output_size=limit_bytes, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise RemoteFault("bad-snapshot", f"no zstandard frame: {error}") from None
