"""What the journal's file keeps of checkpoints: heads with their certificates, and the parts of snapshots."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from swarmd.node.journal import Journal
from swarmd.protocol.batch import EnvelopeProof, proof_from_list
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.chains import Chain, Head
from swarmd.protocol.checkpoint import snapshot as snapshots
from swarmd.protocol.checkpoint import unpacking
from swarmd.protocol.checkpoint.packing import compress, decompress
from swarmd.protocol.checkpoint.snapshot import NO_SNAPSHOT, ClosedNeed, Packed, Snapshot
from swarmd.protocol.consensus.roster import Roster
from swarmd.protocol.faults import CorruptState, RemoteFault

# Meta: the snapshot whose cut our chains begin at, where batches before it are not here.
FLOOR_KEY = "floor"


@dataclass(frozen=True, slots=True)
class Kept:
    """An adopted checkpoint."""

    epoch: int
    state: bytes
    head: bytes
    certificate: tuple[EnvelopeProof, ...]


class Records:
    """In the journal's own file, so that a checkpoint is adopted in one transaction with what follows from it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._db = journal.db
        self._fresh: dict[bytes, None] = {}  # snapshots put here since the last that was adopted

    # Snapshots -----------------------------------------------------------------------------------------

    def put(self, packed: Packed) -> None:
        """Keep a snapshot's head and parts, ours or a checked one. LocalFault `disk-full`; all of it or nothing."""
        rows = [(name, compress(body)) for name, body in packed.parts.items()]
        rows.append((packed.state, compress(packed.head)))
        with self._journal.whole():
            self._db.executemany("insert or ignore into parts values (?, ?)", rows)
        self._fresh[packed.state] = None

    def fresh(self) -> list[bytes]:
        """States of the snapshots that were put here since the last that was adopted: a checkpoint may yet name one."""
        return list(self._fresh)

    def frame(self, name: bytes) -> bytes | None:
        """A head by the hash that checkpoints have of it, or a part by its own: compressed."""
        row = self._db.execute("select body from parts where hash = ?", (name,)).fetchone()
        return bytes(row[0]) if row else None

    def body(self, name: bytes) -> bytes | None:
        frame = self.frame(name)
        if frame is None:
            return None
        try:
            return decompress(frame)
        except RemoteFault as fault:
            raise CorruptState("bad-journal", f"a part of a snapshot is damaged: {fault}") from None

    def packed(self, state: bytes) -> Packed | None:
        """A whole snapshot; None if any of it is not here."""
        head = self.body(state)
        if head is None or snapshots.state_of(head) != state:
            return None
        parts: dict[bytes, bytes] = {}
        for name in unpacking.part_names(head):
            body = self.body(name)
            if body is None or sha256(body).digest() != name:
                return None
            parts[name] = body
        return Packed(head, parts)

    def cut(self, state: bytes) -> dict[Chain, Head] | None:
        head = self.body(state)
        body = self.body(unpacking.cut_name(head)) if head is not None else None
        return unpacking.parse_cut(body) if body is not None else None

    def over(self, head: bytes) -> dict[str, int]:
        """Which chains are closed with the snapshot of this head: author -> the last epoch of such."""
        name = unpacking.over_name(head)
        body = self.body(name) if name is not None else None
        return unpacking.parse_over(body)[0] if body is not None else {}

    # Checkpoints ---------------------------------------------------------------------------------------

    def add(self, kept: Kept, found: Snapshot, row_of: Callable[[ClosedNeed], bytes | None]) -> None:
        """Within the transaction that adopts it. `row_of` a need it closes: how `need list` shall show it."""
        self._db.execute("insert or replace into checkpoints values (?, ?, ?, ?)", _columns(kept))
        self._db.executemany(
            "insert or ignore into closed values (?, ?, ?, ?, ?)",
            [
                (need.id, kept.epoch, need.outcome, encode(list(need.draws)), row_of(need))
                for need in found.closed.values()
            ],
        )
        self._fresh.clear()

    def add_passed(self, chain: Iterable[Kept], rosters: Mapping[bytes, bytes]) -> None:
        """Within a transaction: checkpoints that we passed on the way to a later one, and rosters by their hashes. Who
        comes after us verifies all of them."""
        self._db.executemany(
            "insert or ignore into checkpoints values (?, ?, ?, ?)", [_columns(kept) for kept in chain]
        )
        self._db.executemany(
            "insert or ignore into parts values (?, ?)",
            [(name, compress(body)) for name, body in rosters.items()],
        )

    def latest(self) -> Kept | None:
        row = self._db.execute("select * from checkpoints order by epoch desc limit 1").fetchone()
        return _kept(row) if row else None

    def at(self, epoch: int) -> Kept | None:
        row = self._db.execute("select * from checkpoints where epoch = ?", (epoch,)).fetchone()
        return _kept(row) if row else None

    def since(self, epoch: int, count: int) -> Iterator[Kept]:
        """Those that open `epoch` and later ones, oldest first."""
        rows = self._db.execute(
            "select * from checkpoints where epoch >= ? order by epoch limit ?", (epoch, count)
        )
        for row in rows.fetchall():
            yield _kept(row)

    def _heads(self) -> Iterator[bytes]:
        """Of all checkpoints, oldest first, without what certifies them."""
        for (head,) in self._db.execute("select head from checkpoints order by epoch").fetchall():
            yield bytes(head)

    def rosters(self) -> dict[int, Roster]:
        """Of every epoch that any checkpoint on record names."""
        known: dict[bytes, Roster] = {}
        found: dict[int, Roster] = {}
        for head in self._heads():
            for epoch, name in unpacking.roster_names(head).items():
                body = self.body(name) if name not in known else None
                if body is not None:
                    known[name] = unpacking.parse_roster(body)
                if name in known:
                    found[epoch] = known[name]
        return found

    @property
    def base(self) -> bytes:
        """The snapshot that the next one is made on."""
        kept = self.latest()
        return kept.state if kept is not None else NO_SNAPSHOT

    def floor(self) -> dict[Chain, Head]:
        """Where our chains begin, if we began at a snapshot or have put batches away."""
        state = self._journal.meta(FLOOR_KEY)
        if state is None:
            return {}
        found = self.cut(state)
        if found is None:
            raise CorruptState("bad-journal", "the cut that our chains begin at is missing")
        return found

    def set_floor(self, state: bytes) -> None:
        """Within a transaction."""
        self._journal.set_meta(FLOOR_KEY, state)

    def forget_parts(self, keep: Sequence[bytes], cuts: Sequence[bytes]) -> int:
        """Within a transaction: delete what none of the snapshots `keep` (hashes of heads) needs, but the cuts of
        `cuts` and of the floor. Returns how many parts went."""
        wanted: set[bytes] = set(keep)
        for state in keep:
            head = self.body(state)
            if head is not None:
                wanted.update(unpacking.part_names(head))
        floor = self._journal.meta(FLOOR_KEY)
        for state in [*cuts, *([floor] if floor is not None else [])]:
            if (head := self.body(state)) is not None:
                wanted |= {state, unpacking.cut_name(head)}
                if (over := unpacking.over_name(head)) is not None:
                    wanted.add(over)
        for head in self._heads():
            wanted.update(unpacking.roster_names(head).values())  # newcomers verify all certificates
        here = [bytes(row[0]) for row in self._db.execute("select hash from parts")]
        gone = [(name,) for name in here if name not in wanted]
        self._db.executemany("delete from parts where hash = ?", gone)
        return len(gone)


def _columns(kept: Kept) -> tuple[int, bytes, bytes, bytes]:
    return kept.epoch, kept.state, kept.head, encode([proof.to_list() for proof in kept.certificate])


def _kept(row: tuple[Any, ...]) -> Kept:
    epoch, state, head, certificate = row
    proofs = tuple(proof_from_list(each) for each in decode(certificate))
    return Kept(epoch, bytes(state), bytes(head), proofs)
