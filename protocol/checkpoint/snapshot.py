"""A snapshot: what a mesh agreed on at a cut, as canonical bytes that every node makes alike.

It is a head and parts: the cut, accounts in chunks, and 256 buckets with the needs that are open in them and those that
this epoch closed. The head names each part by its SHA-256, and a checkpoint names the head (adr/0014). Hashes are of the
bytes before compression: what zstandard makes of them may differ from version to version.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import Any, TypeVar

import zstandard
from swarmd.protocol import limits
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.chains import Chain, Head
from swarmd.protocol.consensus.roster import Roster
from swarmd.protocol.didkey import public_key_of
from swarmd.protocol.envelope import bucket_of
from swarmd.protocol.escrow import record as escrow_record
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.ledger.accounts import Account, Escrow
from swarmd.protocol.pool.record import STATES, Member, Stake
from swarmd.protocol.shadow.record import ShadowPart

VERSION = 1
NO_SNAPSHOT = bytes(32)  # before the first
ACCOUNTS_PER_PART = 4_096
MAX_PART_BYTES = 64 * 1_048_576
# One level and no options: with one version of zstandard everybody gets the same bytes.
LEVEL = 3

Cut = Mapping[Chain, Head]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OpenNeed:
    """A need that has not ended. `envelopes`: all of it in the cut, causes first.

    `draws` are the epochs whose committees were asked to decide; `undecided` the first epoch whose checkpoint found it
    undecided, or -1; `decision` and `finals` (task -> FINALIZE) stand whatever else comes, but for a challenge. `escrow`:
    None if its owner had not the money yet. `found`: result (COMMIT) or pending challenge -> time of the first cut with it.
    """

    id: str
    envelopes: tuple[bytes, ...]
    draws: tuple[int, ...]
    undecided: int
    decision: bytes
    finals: Mapping[str, bytes]
    escrow: Escrow | None
    found: Mapping[bytes, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClosedNeed:
    """How a need ended: released, refunded or expired; `paid`: task -> (worker, minor units), and what challengers earned.

    `marks`: who is to be slashed for results that were reversed -> the INVALIDATEs.
    """

    id: str
    owner: str
    outcome: str
    paid: Mapping[str, tuple[str, int]]
    returned: int
    draws: tuple[int, ...]
    marks: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OpenBond:
    """The bond of a challenge about need `thread`; not `funded`: its entry waits for money, or for one before it."""

    thread: str
    owner: str
    seq: int
    prev: bytes
    amount: int
    funded: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`epoch` is the one that it opens. `root`: merkle root over the sorted ids of the envelopes of the cut since the
    snapshot before (`prev`), `ops` their number. `rosters`: epoch -> verifiers, of those still needed and the next two.
    `parked` wait for what they refer to. `reputation`: did -> (accepted, failed).
    """

    epoch: int
    prev: bytes
    root: bytes
    ops: int
    rosters: Mapping[int, Roster]
    cut: Cut
    accounts: Mapping[str, Account]
    reputation: Mapping[str, tuple[int, int]]
    open: Mapping[str, OpenNeed]
    closed: Mapping[str, ClosedNeed]
    parked: Mapping[bytes, int] = field(default_factory=dict)  # envelope -> the epoch that found it so first
    bonds: Mapping[str, OpenBond] = field(default_factory=dict)  # by the name of its escrow
    pool: Mapping[str, Member] = field(default_factory=dict)  # did -> its place in the pool of verifiers
    stakes: Mapping[str, Escrow] = field(
        default_factory=dict
    )  # what verifiers have locked, by the id of the stake
    enough_since_ns: int = (
        0  # since when there are enough verifiers to leave bootstrap mode; 0: there are not
    )
    cut_ns: int = 0  # the latest time that the cut, or one before it, says
    shadow: ShadowPart = field(default_factory=ShadowPart)  # transfers, withdrawals and deposits
    escrows: escrow_record.Book = field(default_factory=escrow_record.Book)
    over: Mapping[str, int] = field(
        default_factory=dict
    )  # author -> the last epoch whose chains are closed (closing.py); the next cut has none of these
    present: Mapping[str, tuple[int, ...]] = field(
        default_factory=dict
    )  # author -> the last epochs at whose end there was a word of it in the cut


@dataclass(frozen=True, slots=True)
class Packed:
    """`head` and, by their hash, the `parts` it names. `state` is what a CHECKPOINT says."""

    head: bytes
    parts: Mapping[bytes, bytes] = field(repr=False)

    @property
    def state(self) -> bytes:
        return state_of(self.head)


def state_of(head: bytes) -> bytes:
    """32 bytes: what a checkpoint certifies of a snapshot."""
    return sha256(b"swarmd/snapshot/1\0" + head).digest()


# Packing -------------------------------------------------------------------------------------------------


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


def _shadow(row: Any) -> ShadowPart:
    envelopes, payouts, credited, deposited, certified = row
    if any(type(key) is not bytes or len(key) != 32 for key in (*credited, *certified)):
        raise ValueError("a deposit and an entry are named by 32 bytes")
    purses = {name: _escrow(name, purse) for name, purse in payouts}
    return ShadowPart(tuple(envelopes), purses, tuple(credited), _count(deposited), tuple(certified))


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


# Unpacking -----------------------------------------------------------------------------------------------


def part_names(head: bytes) -> list[bytes]:
    """The hashes of all parts that a head names. RemoteFault `bad-snapshot`."""
    fields = _head_of(head)
    try:
        names = [fields["cut"], *fields["accounts"], fields["reputation"], *fields["buckets"]]
        names += [fields["parked"], fields["bonds"], fields["pool"]]
        names += [fields[name] for name in ("shadow", "escrows", "over") if name in fields]
        names += [roster for _, roster in fields["rosters"]]
        if any(type(name) is not bytes or len(name) != 32 for name in names):
            raise RemoteFault("bad-snapshot", "a part is named by 32 bytes")
    except (KeyError, TypeError, ValueError) as error:
        raise RemoteFault("bad-snapshot", f"its head is none: {error!r}") from None
    return list(dict.fromkeys(names))


def cut_name(head: bytes) -> bytes:
    """The hash of the part that is the cut."""
    name = _head_of(head).get("cut")
    if type(name) is not bytes or len(name) != 32:
        raise RemoteFault("bad-snapshot", "its head names no cut")
    return name


def over_name(head: bytes) -> bytes | None:
    """The hash of the part that says which chains are closed; None as long as none are."""
    name = _head_of(head).get("over")
    if name is not None and (type(name) is not bytes or len(name) != 32):
        raise RemoteFault("bad-snapshot", "its head names no closed chains")
    return name


def roster_names(head: bytes) -> dict[int, bytes]:
    """epoch -> the hash of the part that is its roster."""
    try:
        return {epoch: name for epoch, name in _head_of(head)["rosters"]}
    except (KeyError, TypeError, ValueError) as error:
        raise RemoteFault("bad-snapshot", f"its head is none: {error!r}") from None


def links(head: bytes) -> tuple[bytes, bytes]:
    """(hash of the snapshot before, merkle root of its envelopes)."""
    fields = _head_of(head)
    prev, root = fields.get("prev"), fields.get("root")
    if type(prev) is not bytes or type(root) is not bytes:
        raise RemoteFault("bad-snapshot", "its head is none")
    return prev, root


def ops_of(head: bytes) -> int:
    """How many envelopes its merkle root is over."""
    return int(_head_of(head)["ops"])


def _head_of(head: bytes) -> dict[str, Any]:
    fields = decode(head)
    if type(fields) is not dict or fields.get("v") != VERSION:
        raise RemoteFault("bad-snapshot", f"its head is none of version {VERSION}")
    return fields


def check_part(name: bytes, body: bytes) -> bytes:
    """`body`, if it is the part of that name; else RemoteFault `bad-snapshot`."""
    if sha256(body).digest() != name:
        raise RemoteFault("bad-snapshot", "a part is not what the head names")
    return body


def parse_cut(body: bytes) -> dict[Chain, Head]:
    """A cut from its part; RemoteFault `bad-snapshot`."""

    def make() -> dict[Chain, Head]:
        found: dict[Chain, Head] = {}
        for author, epoch, bucket, seq, digest, lamport, ts_ns in decode(body):
            numbers = (epoch, bucket, seq, lamport, ts_ns)
            if type(author) is not str or type(digest) is not bytes or len(digest) != 32:
                raise ValueError("a chain is no chain")
            if any(type(number) is not int or number < 0 for number in numbers) or bucket >= limits.BUCKETS:
                raise ValueError("a chain is no chain")
            found[(author, epoch, bucket)] = Head(seq, digest, lamport, ts_ns)
        return found

    return _tried(make)


def parse_over(body: bytes) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """(closed chains, who was present when) from their part; RemoteFault `bad-snapshot`."""

    def make() -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
        over: dict[str, int] = {}
        present: dict[str, tuple[int, ...]] = {}
        for author, first, epochs in decode(body):
            if type(author) is not str or any(one >= other for one, other in pairwise(epochs)):
                raise ValueError("an author is none, or its epochs are in no order")
            if _count(first):
                over[author] = first - 1
            if epochs:
                present[author] = tuple(map(_count, epochs))
        return over, present

    return _tried(make)


def unpack(packed: Packed) -> Snapshot:
    """The snapshot of a head and all its parts, which were checked. RemoteFault `bad-snapshot` if it makes no sense."""

    def make() -> Snapshot:
        fields = _head_of(packed.head)

        def part(name: bytes) -> Any:
            return decode(packed.parts[name])

        accounts: dict[str, Account] = {}
        for name in fields["accounts"]:
            for did, available, locked, earned, spent, next_seq, entry in part(name):
                accounts[did] = Account(available, next_seq, entry, earned, locked, spent)
        opened: dict[str, OpenNeed] = {}
        closed: dict[str, ClosedNeed] = {}
        for name in fields["buckets"]:
            rows, ends = part(name)
            for row in rows:
                need = _open_need(row)
                opened[need.id] = need
            for need_id, owner, outcome, paid, returned, draws, marks in ends:
                marked = {did: tuple(refs) for did, refs in marks}
                closed[need_id] = ClosedNeed(
                    need_id, owner, outcome, _paid(paid), returned, tuple(draws), marked
                )
        members, stakes, enough_since_ns, cut_ns = part(fields["pool"])
        over, present = parse_over(packed.parts[fields["over"]]) if "over" in fields else ({}, {})
        return Snapshot(
            epoch=fields["epoch"],
            prev=fields["prev"],
            root=fields["root"],
            ops=fields["ops"],
            rosters={epoch: _roster(part(name)) for epoch, name in fields["rosters"]},
            cut=parse_cut(packed.parts[fields["cut"]]),
            accounts=accounts,
            reputation={did: (good, bad) for did, good, bad in part(fields["reputation"])},
            open=opened,
            closed=closed,
            parked={raw: since for raw, since in part(fields["parked"])},
            bonds={name: OpenBond(*bond) for name, *bond in part(fields["bonds"])},
            pool={member.did: member for member in map(_member, members)},
            stakes={name: _escrow(name, purse) for name, purse in stakes},
            enough_since_ns=_count(enough_since_ns),
            cut_ns=_count(cut_ns),
            shadow=_shadow(part(fields["shadow"])) if "shadow" in fields else ShadowPart(),
            escrows=escrow_record.parse_rows(part(fields["escrows"]))
            if "escrows" in fields
            else escrow_record.Book(),
            over=over,
            present=present,
        )

    return _tried(make)


def parse_roster(body: bytes) -> Roster:
    """A roster from its part; RemoteFault `bad-snapshot`."""
    return _tried(lambda: _roster(decode(body)))


def _roster(row: Any) -> Roster:
    members, weights, bootstrap, beacon = row
    if not members or any(one >= other for one, other in pairwise(members)) or len(beacon) not in (0, 32):
        raise ValueError("a roster is no sorted list of verifiers with a beacon")
    known = {did: weight for did, weight in weights}
    if type(bootstrap) is not bool or not known.keys() <= set(members) or any(w < 2 for w in known.values()):
        raise ValueError("a roster is no sorted list of verifiers with weights")
    return Roster(tuple(members), known, bootstrap, beacon)


def _paid(rows: Sequence[Any]) -> dict[str, tuple[str, int]]:
    return {task: (worker, amount) for task, worker, amount in rows}


def _open_need(row: Any) -> OpenNeed:
    name, envelopes, draws, undecided, decision, finals, purse, found = row
    escrow = None if purse is None else _escrow(name, purse)
    return OpenNeed(
        name, tuple(envelopes), tuple(draws), undecided - 1, decision, dict(finals), escrow, dict(found)
    )


def _escrow(name: str, purse: Any) -> Escrow:
    owner, amount, state, held, paid, returned = purse
    return Escrow(name, owner, amount, state, held, _paid(paid), returned)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a number is none")
    return value


def _member(row: Any) -> Member:
    did, state, since, seen, until, founder, misses, stakes, attested, quote, quoted, vouchers, reason = row
    public_key_of(did)
    if state not in STATES or type(founder) is not bool or type(reason) is not str:
        raise ValueError("a member of the pool is none")
    if len(quote) not in (0, 32) or any(len(prev) != 32 for _, prev, _ in stakes):
        raise ValueError("a member of the pool names hashes of 32 bytes")
    return Member(
        did=did,
        state=state,
        since=_count(since),
        seen=_count(seen),
        until=_count(until),
        founder=founder,
        misses=_count(misses),
        stakes=tuple(Stake(_count(seq), prev, _count(amount)) for seq, prev, amount in stakes),
        attested=_count(attested) - 1,
        quote=quote,
        quoted=_count(quoted),
        vouchers=tuple(vouchers),
        reason=reason,
    )


def _tried(make: Callable[[], T]) -> T:
    try:
        return make()
    except RemoteFault:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise RemoteFault("bad-snapshot", f"it makes no sense: {error!r}"[:300]) from None


# Compression ---------------------------------------------------------------------------------------------


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
