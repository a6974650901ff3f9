"""The replica: Automerge documents of every batch on record, made from the journal and never of a peer's bytes.

A document holds the envelopes of an epoch and of 16 of the 256 buckets: `ROOT[CID of the envelope] = its bytes`. Each
chain of batches is an actor, each batch a change, so all nodes that have the same batches have documents with the same
heads. Nothing is decided by them, and all of it can be thrown away and made again. docs/state.md.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from swarmd.node.state.changes import ACTOR_BYTES, Change, make_change
from swarmd.node.state.documents import Document
from swarmd.protocol.batch import sealed_envelopes
from swarmd.protocol.cbor import decode_known
from swarmd.protocol.chains import Chain
from swarmd.protocol.cids import cid_text
from swarmd.protocol.faults import CorruptState, RemoteFault
from swarmd.protocol.limits import BUCKETS

GROUPS = 16
GROUP_BUCKETS = BUCKETS // GROUPS
APPLY_BATCHES = 256
SAVE_AFTER_CHANGES = 4_096
IDLE_S = 60.0
STORE_VERSION = 1
_LINK = "rowid, author, epoch, bucket, seq, hash, body"

Place = tuple[int, int]  # (epoch, group): which document
_STORE = f"""
begin immediate;
create table docs (epoch integer, grp integer, position integer not null, batches integer not null,
  changes integer not null, digest blob not null, saved blob not null, primary key (epoch, grp)) without rowid;
create table ends (epoch integer, grp integer, author text, bucket integer, changes integer not null,
  next_op integer not null, change blob not null, seq integer not null, batch blob not null,
  primary key (epoch, grp, author, bucket)) without rowid;
pragma user_version = {STORE_VERSION};
commit
"""


@dataclass(frozen=True, slots=True)
class Link:
    """A batch of the journal, its envelopes as (id, bytes)."""

    chain: Chain
    seq: int
    hash: bytes
    envelopes: tuple[tuple[bytes, bytes], ...]


def place_of(batch: Link) -> Place:
    return batch.chain[1], batch.chain[2] // GROUP_BUCKETS


@lru_cache(maxsize=8192)  # asked for each batch
def actor_of(chain: Chain) -> bytes:
    """The Automerge actor of a chain of batches: 16 bytes."""
    author, epoch, bucket = chain
    return sha256(f"swarmd/replica/1\0{author}\0{epoch}\0{bucket}".encode()).digest()[:ACTOR_BYTES]


@dataclass(frozen=True, slots=True)
class End:
    """Where a chain's actor stands in its document, and the batch that brought it there."""

    changes: int
    next_op: int
    change: bytes
    seq: int
    batch: bytes


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a saved document stands in the journal."""

    position: int
    batches: int
    ends: dict[Chain, End]


@dataclass(slots=True)
class Copy:
    """One document and where it stands in the journal. `batches` counts those in it."""

    document: Document
    position: int = 0
    batches: int = 0
    ends: dict[Chain, End] = field(default_factory=dict)
    unsaved: int = 0
    used_s: float = 0.0
    _changes: list[Change] = field(default_factory=list)
    _prevs: list[bytes | None] = field(default_factory=list)
    _keys: set[str] = field(default_factory=set)

    def add(self, row: int, batch: Link) -> None:
        """Take the batch of the journal's row `row`; in the document with the next `flush`."""
        chain = batch.chain
        end = self.ends.get(chain)
        # An author may put one envelope into several batches. Automerge would keep both under one key; the second is
        # left out, which all nodes do alike, since all take a chain in its order.
        puts = []
        for cid, raw in batch.envelopes:
            key = cid_text(cid)
            if key not in self._keys and not self.document.has(key):
                self._keys.add(key)
                puts.append((key, raw))
        changes, next_op, prev = (end.changes, end.next_op, end.change) if end else (0, 1, b"")
        if puts:
            change = make_change(actor_of(chain), changes + 1, next_op, prev or None, puts)
            self._changes.append(change)
            self._prevs.append(prev or None)
            changes, next_op, prev = changes + 1, change.next_op, change.hash
        self.ends[chain] = End(changes, next_op, prev, batch.seq, batch.hash)
        self.position = row
        self.batches += 1
        if len(self._changes) >= APPLY_BATCHES:
            self.flush()

    def flush(self) -> None:
        """Apply what was added. CorruptState `replica-diverged` if the document's heads are not what they must be."""
        self.unsaved += len(self._changes)
        self.document.apply(self._changes, self._prevs)
        self._changes, self._prevs = [], []
        self._keys.clear()


def document_name(place: Place) -> str:
    return f"{place[0]:06d}-{place[1]:02d}"


def new_copy(place: Place) -> Copy:
    return Copy(Document(document_name(place)))


class Batches:
    """The batches of a journal, which a daemon may be writing, read in the order in which they came."""

    def __init__(self, journal: Path) -> None:
        self._path = journal
        self.db = sqlite3.connect(f"{journal.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        self._names: dict[int, str] = {}

    def close(self) -> None:
        self.db.close()

    def newest(self) -> int:
        (row,) = self.db.execute("select coalesce(max(rowid), 0) from batches").fetchone()
        return int(row)

    def places(self, up_to: int) -> dict[Place, int]:
        """Which documents there are, and the newest row of each."""
        rows = self.db.execute(
            f"select epoch, bucket / {GROUP_BUCKETS}, max(rowid) from batches where rowid <= ? group by 1, 2 order by 1, 2",
            (up_to,),
        )
        return {(epoch, group): row for epoch, group, row in rows}

    def after(self, row: int, up_to: int) -> Iterator[tuple[int, Link]]:
        rows = self.db.execute(
            f"select {_LINK} from batches where rowid > ? and rowid <= ? order by rowid", (row, up_to)
        )
        for number, *columns in rows:
            yield number, self._link(*columns)

    def of(self, place: Place, row: int, up_to: int) -> Iterator[tuple[int, Link]]:
        """Those of one document after `row`."""
        first = place[1] * GROUP_BUCKETS
        rows = self.db.execute(
            f"select {_LINK} from batches where epoch = ? and bucket between ? and ? and rowid > ? and rowid <= ?"
            " order by rowid",
            (place[0], first, first + GROUP_BUCKETS - 1, row, up_to),
        )
        for number, *columns in rows:
            yield number, self._link(*columns)

    def fits(self, place: Place, standing: "Standing") -> bool:
        """Is it what this journal's batches up to there give? Not if the journal was replaced."""
        first = place[1] * GROUP_BUCKETS
        (count,) = self.db.execute(
            "select count(*) from batches where epoch = ? and bucket between ? and ? and rowid <= ?",
            (place[0], first, first + GROUP_BUCKETS - 1, standing.position),
        ).fetchone()
        # What was put away (node/checkpoint/pruning.py) was there once.
        (away,) = self.db.execute(
            "select coalesce(sum(batches), 0) from cold where bucket between ? and ?",
            (first, first + GROUP_BUCKETS - 1),
        ).fetchone()
        if not count <= standing.batches <= count + away:
            return False
        for (author, epoch, bucket), end in standing.ends.items():
            known = self.db.execute(
                "select hash from batches where author = (select id from authors where did = ?)"
                " and epoch = ? and bucket = ? and seq = ?",
                (author, epoch, bucket, end.seq),
            ).fetchone()
            if (known is None and not away) or (known is not None and bytes(known[0]) != end.batch):
                return False
        return True

    def _link(self, author: int, epoch: int, bucket: int, seq: int, digest: bytes, body: bytes) -> Link:
        did = self._names.get(author)
        if did is None:
            self._names = dict(self.db.execute("select id, did from authors"))
            did = self._names.get(author, "")
        try:
            return Link((did, epoch, bucket), seq, digest, sealed_envelopes(decode_known(body), digest))
        except (RemoteFault, TypeError, LookupError, ValueError) as error:
            raise CorruptState("bad-journal", f"{self._path}: a batch is damaged: {error}") from None


class Store:
    """Saved documents, so that a start does not make them all again. Losing the file loses nothing."""

    def __init__(self, path: Path) -> None:
        self._db = self._open(path)

    def _open(self, path: Path) -> sqlite3.Connection:
        for _ in range(2):
            db = sqlite3.connect(path, isolation_level=None)
            try:
                db.execute("pragma journal_mode = wal")
                db.execute("pragma synchronous = normal")
                (version,) = db.execute("pragma user_version").fetchone()
                if version == 0:
                    db.executescript(_STORE)
                if version in (0, STORE_VERSION):
                    return db
            except sqlite3.OperationalError:
                db.close()
                raise
            except sqlite3.DatabaseError:
                pass
            # Another swarmd's, or damaged: all of it can be made again.
            db.close()
            for suffix in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    path.with_name(path.name + suffix).unlink()
        raise CorruptState("replica-store", f"{path} cannot be made anew")

    def close(self) -> None:
        self._db.close()

    def places(self) -> list[Place]:
        return [(epoch, group) for epoch, group in self._db.execute("select epoch, grp from docs")]

    def batches(self) -> dict[Place, int]:
        """How many are in each document."""
        rows = self._db.execute("select epoch, grp, batches from docs")
        return {(epoch, group): batches for epoch, group, batches in rows}

    def standing(self, place: Place) -> Standing | None:
        row = self._db.execute(
            "select position, batches from docs where epoch = ? and grp = ?", place
        ).fetchone()
        if row is None:
            return None
        ends = {
            (author, place[0], bucket): End(changes, next_op, bytes(change), seq, bytes(batch))
            for author, bucket, changes, next_op, change, seq, batch in self._db.execute(
                "select author, bucket, changes, next_op, change, seq, batch from ends"
                " where epoch = ? and grp = ?",
                place,
            )
        }
        return Standing(row[0], row[1], ends)

    def load(self, place: Place, standing: Standing) -> Copy | None:
        """None if the document is not what was saved with this standing."""
        changes, digest, saved = self._db.execute(
            "select changes, digest, saved from docs where epoch = ? and grp = ?", place
        ).fetchone()
        if sha256(saved).digest() != bytes(digest):
            return None
        heads = {end.change for end in standing.ends.values() if end.change}
        try:
            document = Document.load(document_name(place), bytes(saved), heads, changes)
        except CorruptState:
            return None
        return Copy(document, standing.position, standing.batches, standing.ends)

    def forget(self, place: Place) -> None:
        self._db.execute("delete from docs where epoch = ? and grp = ?", place)
        self._db.execute("delete from ends where epoch = ? and grp = ?", place)

    def save(self, place: Place, copy: Copy) -> None:
        saved = copy.document.save()
        self._db.execute("begin immediate")
        try:
            self._db.execute(
                "insert or replace into docs values (?, ?, ?, ?, ?, ?, ?)",
                (*place, copy.position, copy.batches, copy.document.changes, sha256(saved).digest(), saved),
            )
            self._db.execute("delete from ends where epoch = ? and grp = ?", place)
            self._db.executemany(
                "insert into ends values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (*place, author, bucket, end.changes, end.next_op, end.change, end.seq, end.batch)
                    for (author, _, bucket), end in copy.ends.items()
                ],
            )
            self._db.execute("commit")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("rollback")
            raise


class Replica:
    """The documents of a journal, kept up by `follow`. They are loaded when a batch is theirs, and closed when idle."""

    def __init__(self, journal: Path, store: Path, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.batches = Batches(journal)
        self.store = Store(store)
        self.open: dict[Place, Copy] = {}
        self.rebuilt = 0
        self.applied = 0
        self._clock_s = clock_s
        self._seen: int | None = None

    def follow(self, told: Callable[[], None] = lambda: None) -> None:
        """Take in all that is new; `told` is called now and then. CorruptState `replica-diverged`, `bad-journal`."""
        newest = self.batches.newest()
        if self._seen is None:
            self._catch_up(newest, told)
        else:
            for row, batch in self.batches.after(self._seen, newest):
                copy = self._copy(place_of(batch), row - 1, told)
                if copy.position < row:
                    copy.add(row, batch)
                    self._count(told)
        self._seen = newest
        for place in list(self.open):
            self._flush(place, newest, told)

    def _count(self, told: Callable[[], None]) -> None:
        self.applied += 1
        if self.applied % APPLY_BATCHES == 0:
            told()

    def _catch_up(self, newest: int, told: Callable[[], None]) -> None:
        """After a start: only documents that have missed something, or are of another journal, are loaded."""
        known = self.batches.places(newest)
        for place in self.store.places():
            if place not in known:
                self.store.forget(place)
        for place, row in known.items():
            standing = self._standing(place)
            if standing is None or standing.position < row:
                self._copy(place, newest, told)
                self._flush(place, newest, told)

    def _standing(self, place: Place) -> Standing | None:
        """Of the saved document, if it is of this journal."""
        standing = self.store.standing(place)
        return standing if standing is not None and self.batches.fits(place, standing) else None

    def _copy(self, place: Place, up_to: int, told: Callable[[], None]) -> Copy:
        copy = self.open.get(place)
        if copy is None:
            standing = self._standing(place)
            copy = self.store.load(place, standing) if standing else None
            self.open[place] = copy = copy or new_copy(place)
            self._fill(place, copy, up_to, told)
        copy.used_s = self._clock_s()
        return copy

    def _fill(self, place: Place, copy: Copy, up_to: int, told: Callable[[], None]) -> None:
        for row, batch in self.batches.of(place, copy.position, up_to):
            copy.add(row, batch)
            self._count(told)

    def _flush(self, place: Place, newest: int, told: Callable[[], None]) -> None:
        copy = self.open[place]
        try:
            copy.flush()
        except CorruptState:
            # Once more, from the journal alone: what is wrong with it then is wrong with us.
            self.rebuilt += 1
            copy = self.open[place] = new_copy(place)
            self._fill(place, copy, newest, told)
            copy.flush()
        if copy.unsaved >= SAVE_AFTER_CHANGES:
            self._save(place)

    def _save(self, place: Place) -> None:
        copy = self.open[place]
        if copy.unsaved:
            self.store.save(place, copy)
            copy.unsaved = 0

    def close_idle(self) -> None:
        """Save and let go of documents that nothing came for."""
        for place, copy in list(self.open.items()):
            if self._clock_s() - copy.used_s >= IDLE_S:
                self._save(place)
                del self.open[place]

    def held(self) -> int:
        """How many batches of the journal are in the documents."""
        if self._seen is None:
            return 0
        # Asked for after each look: counting the journal's rows would cost more the longer it is.
        return sum({**self.store.batches(), **{at: copy.batches for at, copy in self.open.items()}}.values())

    def close(self) -> None:
        """Save and close all."""
        for place in list(self.open):
            self._save(place)
        self.open.clear()
        self.store.close()
        self.batches.close()
