"""How a snapshot is read: the whole of it, or what its head and some of its parts say. RemoteFault `bad-snapshot` for nonsense."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Any, TypeVar

from swarmd.protocol import limits
from swarmd.protocol.cbor import decode
from swarmd.protocol.chains import Chain, Head
from swarmd.protocol.checkpoint.packing import VERSION
from swarmd.protocol.checkpoint.snapshot import ClosedNeed, OpenBond, OpenNeed, Packed, Snapshot
from swarmd.protocol.consensus.roster import Roster
from swarmd.protocol.didkey import public_key_of
from swarmd.protocol.escrow import record as escrow_record
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.ledger.accounts import Account, Escrow
from swarmd.protocol.pool.record import STATES, Member, Stake
from swarmd.protocol.shadow.record import ShadowPart

T = TypeVar("T")


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


def _shadow(row: Any) -> ShadowPart:
    envelopes, payouts, credited, deposited, certified = row
    if any(type(key) is not bytes or len(key) != 32 for key in (*credited, *certified)):
        raise ValueError("a deposit and an entry are named by 32 bytes")
    purses = {name: _escrow(name, purse) for name, purse in payouts}
    return ShadowPart(tuple(envelopes), purses, tuple(credited), _count(deposited), tuple(certified))


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
