"""The journal: one SQLite file that is the node's memory.

`inputs` in order (what the engine was told), `batches` (every verified batch, ours and others'), `outbox` (effects
whose result is not an input yet), `proofs` (of equivocation) and the content blocks. A turn of the runner writes
all of it in one transaction; what is acknowledged is on disk before the acknowledgement leaves (P9). The runner commits
without waiting for the disk and has `sync` wait in a thread; all others' commits are on disk when they return.
docs/adr/0040-the-disk-is-waited-for-in-a-thread.md.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from swarmd.node import migrations
from swarmd.node.codec import BatchKey, Kept, decode_effect, effect_id, encode_effect
from swarmd.protocol.batch import Batch, encode_sealed, reload_batch
from swarmd.protocol.cbor import decode, decode_known, encode
from swarmd.protocol.chains import Chain, Head
from swarmd.protocol.envelope import Envelope, bucket_of
from swarmd.protocol.faults import CorruptState, LocalFault, RemoteFault

T = TypeVar("T")

SCHEMA_VERSION = migrations.NEWEST
# Meta of a home that was made of a backup, until the node has heard what it said after that (docs/backup.md).
RESTORED_KEY = "restored"
_FIX = "check the disk; restore a backup into a new home, or without one: swarmd backup recover"
# As SQLite does. Not on every system is there one that leaves out the times of the file.
SYNC: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)
# A disk that takes less than this is full: whatever a turn writes usually fits into it.
PROBE_BYTES = 65_536


# What is no damage: the file is whole, and opens when the disk or its rights let it.
_REFUSED = {
    sqlite3.SQLITE_FULL: ("disk-full", "free some space on its disk"),
    sqlite3.SQLITE_IOERR: ("disk-error", "is its disk full, or failing? swarmd config check looks"),
    sqlite3.SQLITE_READONLY: ("disk-error", "make it and its folder writable for who runs swarmd"),
    sqlite3.SQLITE_CANTOPEN: (
        "disk-error",
        "make it and its folder readable and writable for who runs swarmd",
    ),
    sqlite3.SQLITE_PERM: ("disk-error", "make it and its folder writable for who runs swarmd"),
}


def _not_opened(path: Path, error: sqlite3.Error) -> CorruptState | LocalFault:
    code, fix = _REFUSED.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, ("", ""))
    if code:
        return LocalFault(code, f"{path}: {error}", fix=fix)
    return CorruptState("bad-journal", f"{path}: {error}", fix=_FIX)


class Journal:
    """Not thread-safe: one writer, the runner. Raises sqlite3.OperationalError when the disk is full."""

    def __init__(self, path: Path, *, only_reads: bool = False) -> None:
        """`only_reads`: beside the process whose journal it is. Its schema is this one's then."""
        self.path = path
        self._log = -1
        try:
            where = f"{path.absolute().as_uri()}?mode=ro" if only_reads else path
            self.db = sqlite3.connect(where, uri=only_reads, isolation_level=None, cached_statements=256)
        except sqlite3.DatabaseError as error:
            raise _not_opened(path, error) from error
        try:
            if not only_reads:
                self._open_to_write(path)
            self._authors: dict[str, int] = {
                did: author for author, did in self.db.execute("select id, did from authors")
            }
        except LocalFault:
            self.db.close()
            raise
        except sqlite3.DatabaseError as error:
            self.db.close()
            raise _not_opened(path, error) from error
        except OSError as error:
            self.db.close()
            fix = _REFUSED[sqlite3.SQLITE_CANTOPEN][1]
            raise LocalFault("disk-error", f"{path}-wal: {error.strerror}", fix=fix) from error
        self._names = {author: did for did, author in self._authors.items()}
        # Rows of the open transaction, written in one go before the commit or the next look-up of a batch:
        # two statements a turn, not two an envelope.
        self._new_inputs: list[tuple[bytes]] = []
        # Stored batches of a bucket that were put away (node/checkpoint/pruning.py).
        self.cold: Callable[[int], Iterable[bytes]] = lambda bucket: ()
        self._new_batches: list[tuple[Any, ...]] = []
        self._sync_later = False

    def _open_to_write(self, path: Path) -> None:
        migrations.refuse_newer(self.db, path)
        self.db.execute("pragma journal_mode = wal")
        # FULL: a commit that returned survives a power cut; one fsync pays for it. Except in `begin(sync_later=True)`.
        self.db.execute("pragma synchronous = full")
        self.db.execute("pragma wal_autocheckpoint = 4000")
        migrations.migrate(self.db, path)
        # Made by the first read, and there for as long as a connection is open.
        self._log = os.open(f"{path}-wal", os.O_RDWR)

    def close(self) -> None:
        """May be called twice."""
        self.db.close()
        if self._log >= 0:
            os.close(self._log)
            self._log = -1

    # Transactions --------------------------------------------------------------------------------------

    def begin(self, *, sync_later: bool = False) -> None:
        """`sync_later`: its commit does not wait for the disk; what it says must, for `sync`."""
        if sync_later:
            # NORMAL: the log is not synced by a commit, but before it is copied into the file: nothing gets torn.
            self.db.execute("pragma synchronous = normal")
            self._sync_later = True
        self.db.execute("begin immediate")

    def commit(self) -> None:
        self._write()
        self.db.execute("commit")
        self._ended()

    def _ended(self) -> None:
        if self._sync_later:
            self.db.execute("pragma synchronous = full")
            self._sync_later = False

    def sync(self) -> None:
        """Wait until all that was committed before is on disk. May run in a thread while this one goes on.

        OSError if the disk failed: nobody knows what is on it then, and a second call would not tell either.
        """
        SYNC(self._log)

    @contextmanager
    def whole(self, *, sync_later: bool = False) -> Iterator[None]:
        """A transaction of its own, between turns: all of it, or LocalFault `disk-full` and nothing. With `sync_later` a power
        cut may undo it as long as no other commit has waited for the disk: for what is done again then."""
        try:
            self.begin(sync_later=sync_later)
            yield
            self.commit()
        except sqlite3.Error as error:
            self.rollback()
            raise LocalFault("disk-full", f"nothing was changed: {error}", fix="free some space") from error
        except BaseException:
            self.rollback()
            raise

    def _write(self) -> None:
        if self._new_inputs:
            self.db.executemany("insert into inputs (record) values (?)", self._new_inputs)
            self._new_inputs.clear()
        if self._new_batches:
            self.db.executemany("insert into batches values (?, ?, ?, ?, ?, ?, ?, ?, ?)", self._new_batches)
            self._new_batches.clear()

    def rollback(self) -> None:
        self._new_inputs.clear()
        self._new_batches.clear()
        if self.db.in_transaction:
            self.db.execute("rollback")
        self._ended()
        # Authors named in the lost transaction are not on disk: read what is.
        self._authors = {did: author for author, did in self.db.execute("select id, did from authors")}
        self._names = {author: did for did, author in self._authors.items()}

    # Meta ----------------------------------------------------------------------------------------------

    def meta(self, key: str) -> bytes | None:
        row = self.db.execute("select value from meta where key = ?", (key,)).fetchone()
        return bytes(row[0]) if row else None

    def set_meta(self, key: str, value: bytes) -> None:
        self.db.execute("insert or replace into meta values (?, ?)", (key, value))

    def drop_meta(self, key: str) -> None:
        self.db.execute("delete from meta where key = ?", (key,))

    def probe(self) -> None:
        """sqlite3.Error if the file cannot grow. Within a transaction; leaves nothing behind."""
        self.set_meta("probe", bytes(PROBE_BYTES))
        self.db.execute("delete from meta where key = 'probe'")

    # Inputs --------------------------------------------------------------------------------------------

    def add_input(self, record: bytes) -> None:
        """In the order of the calls, written with the commit."""
        self._new_inputs.append((record,))

    def inputs(self, after: int = 0) -> Iterator[bytes]:
        for (record,) in self.db.execute("select record from inputs where id > ? order by id", (after,)):
            yield record

    def last_input(self) -> tuple[int, bytes] | None:
        """(number, hash of the record) of the last input; None if there is none since `begin_anew`."""
        row = self.db.execute("select id, record from inputs order by id desc limit 1").fetchone()
        return (row[0], sha256(row[1]).digest()) if row else None

    def input_hash(self, number: int) -> bytes | None:
        """As `last_input` has it. Each record has its time, so no two are equal."""
        row = self.db.execute("select record from inputs where id = ?", (number,)).fetchone()
        return sha256(row[0]).digest() if row else None

    def begin_anew(self, dump: bytes, said: list[bytes]) -> None:
        """Within a transaction: the state that all inputs so far came to takes their place.

        `said`: of our own envelopes, those that a restart must still know of.
        """
        self._new_inputs.clear()
        self.db.execute("delete from inputs")
        self.db.execute("insert or replace into dumps values (1, ?, ?)", (dump, encode(said)))

    def dumped(self) -> tuple[bytes, list[bytes]] | None:
        """(state, own envelopes) of the last `begin_anew`; None if there was none."""
        row = self.db.execute("select state, said from dumps where id = 1").fetchone()
        return (bytes(row[0]), decode(row[1])) if row else None

    def size(self) -> tuple[int, int]:
        """(inputs, bytes of the file and its log)."""
        (count,) = self.db.execute("select coalesce(max(id), 0) from inputs").fetchone()
        files = (self.path, Path(f"{self.path}-wal"))
        return count, sum(file.stat().st_size for file in files if file.exists())

    # Batches -------------------------------------------------------------------------------------------

    def _author(self, did: str) -> int:
        author = self._authors.get(did)
        if author is None:
            cursor = self.db.execute("insert into authors (did) values (?)", (did,))
            author = cursor.lastrowid or 0
            self._authors[did] = author
            self._names[author] = did
        return author

    def add_batch(self, batch: Batch, verdicts: bytes | None = None) -> None:
        """`verdicts`: node.policy.gates.recorded, where they are known."""
        last = batch.envelopes[-1]
        self._new_batches.append(
            (
                self._author(batch.author),
                batch.epoch,
                batch.bucket,
                batch.seq,
                batch.hash,
                last.lamport,
                last.ts_ns,
                encode_sealed(batch),
                verdicts,
            )
        )

    def batch_hash(self, key: BatchKey) -> bytes | None:
        self._write()
        author = self._authors.get(key[0])
        row = self.db.execute(
            "select hash from batches where author = ? and epoch = ? and bucket = ? and seq = ?",
            (author, *key[1:]),
        ).fetchone()
        return bytes(row[0]) if row else None

    def batch(self, key: BatchKey) -> Batch:
        """CorruptState if the journal refers to a batch it does not hold."""
        self._write()
        author = self._authors.get(key[0])
        row = self.db.execute(
            "select body from batches where author = ? and epoch = ? and bucket = ? and seq = ?",
            (author, *key[1:]),
        ).fetchone()
        if row is None:
            raise CorruptState("bad-journal", f"{self.path}: batch {key} is missing", fix=_FIX)
        return self._reload(row[0])

    def verdicts(self, key: BatchKey) -> list[Any] | None:
        """What `add_batch` was given with the batch; None if nothing, or it is unreadable."""
        self._write()
        row = self.db.execute(
            "select verdicts from batches where author = ? and epoch = ? and bucket = ? and seq = ?",
            (self._authors.get(key[0]), *key[1:]),
        ).fetchone()
        if row is None or row[0] is None:
            return None
        try:
            found = decode(row[0])
        except RemoteFault:
            return None
        return found if type(found) is list and len(found) == 3 else None

    def judged(self, before: int | None, limit: int) -> Iterator[tuple[int, Batch, list[Any]]]:
        """(row, batch, verdicts) of the last batches with readable verdicts before a row, the latest first."""
        self._write()
        found = self.db.execute(
            "select rowid, body, verdicts from batches where rowid < ? and verdicts is not null"
            " order by rowid desc limit ?",
            (2**63 - 1 if before is None else before, limit),
        ).fetchall()
        for row, body, verdicts in found:
            try:
                kept = decode(verdicts)
                batch = self._reload(body)
            except (RemoteFault, CorruptState):
                continue
            if type(kept) is list and len(kept) == 3:
                yield row, batch, kept

    def judged_before(self, row: int) -> bool:
        """Is there more than `judged` showed down to `row`?"""
        query = "select 1 from batches where rowid < ? and verdicts is not null limit 1"
        return self.db.execute(query, (row,)).fetchone() is not None

    def _reload(self, body: bytes) -> Batch:
        return self._read(reload_batch, body)

    def _read(self, reader: Callable[[Any], T], body: bytes) -> T:
        """CorruptState if the row is not what was written: its hashes do not fit."""
        try:
            return reader(decode_known(body))
        except (RemoteFault, TypeError, LookupError, ValueError) as error:
            raise CorruptState("bad-journal", f"{self.path}: a batch is damaged: {error}", fix=_FIX) from None

    def batch_bodies(self, chain: Chain, first: int, last: int) -> Iterator[bytes]:
        """The stored bytes of a range of a chain, in order."""
        author = self._authors.get(chain[0])
        for (body,) in self.db.execute(
            "select body from batches where author = ? and epoch = ? and bucket = ? and seq between ? and ?"
            " order by seq",
            (author, chain[1], chain[2], first, last),
        ):
            yield body

    def bucket_batches(self, bucket: int) -> Iterator[tuple[str, int, Batch | CorruptState]]:
        """(author, seq, batch) of each batch of a bucket; what is wrong with it where the row is damaged."""
        for author, seq, body in self.db.execute(
            "select author, seq, body from batches where bucket = ?", (bucket,)
        ):
            try:
                yield self._names[author], seq, self._reload(body)
            except CorruptState as damage:
                yield self._names[author], seq, damage
        for body in self.cold(bucket):
            batch = self._reload(body)
            yield batch.author, batch.seq, batch

    def thread(self, need: str) -> list[Envelope]:
        """Every readable envelope of a need on record, in causal order (lamport, then id)."""
        self._write()
        found = [
            envelope
            for _, _, batch in self.bucket_batches(bucket_of(need))
            if isinstance(batch, Batch)
            for envelope in batch.envelopes
            if envelope.thread == need
        ]
        return sorted(found, key=lambda envelope: (envelope.lamport, envelope.id))

    def places(self, chain: Chain, after: int, upto: int) -> Iterator[tuple[int, str, int, int, int, int]]:
        """(lamport, author, epoch, bucket, seq, row) of the batches of a chain in (after, upto]."""
        author = self._authors.get(chain[0])
        for lamport, seq, row in self.db.execute(
            "select lamport, seq, rowid from batches"
            " where author = ? and epoch = ? and bucket = ? and seq > ? and seq <= ?",
            (author, chain[1], chain[2], after, upto),
        ):
            yield lamport, chain[0], chain[1], chain[2], seq, row

    def rows_upto(self, chain: Chain, seq: int) -> Iterator[tuple[int, bytes]]:
        """(row, stored bytes) of a chain's batches up to `seq`, in order."""
        author = self._authors.get(chain[0])
        yield from self.db.execute(
            "select rowid, body from batches where author = ? and epoch = ? and bucket = ? and seq <= ?"
            " order by seq",
            (author, chain[1], chain[2], seq),
        ).fetchall()

    def chains_upto(self, author: str, epoch: int) -> Iterator[tuple[Chain, int]]:
        """(chain, last seq) of what is here of an author's epochs up to one."""
        found = self.db.execute(
            "select epoch, bucket, max(seq) from batches where author = ? and epoch <= ? group by epoch, bucket",
            (self._authors.get(author), epoch),
        ).fetchall()
        for at, bucket, seq in found:
            yield (author, at, bucket), seq

    def drop_batches(self, chain: Chain, after: int) -> list[Batch]:
        """Within a transaction: take the batches of a chain behind a seq out of it. What was there."""
        self._write()
        key = (self._authors.get(chain[0]), chain[1], chain[2], after)
        where = "from batches where author = ? and epoch = ? and bucket = ? and seq > ?"
        found = [self._reload(body) for (body,) in self.db.execute(f"select body {where} order by seq", key)]
        self.db.execute(f"delete {where}", key)
        return found

    def batch_at(self, row: int) -> Batch:
        """The batch of a row that `places` named. CorruptState if it is not there."""
        found = self.db.execute("select body from batches where rowid = ?", (row,)).fetchone()
        if found is None:
            raise CorruptState("bad-journal", f"{self.path}: batch {row} is missing", fix=_FIX)
        return self._reload(found[0])

    def heads(self) -> Iterator[tuple[Chain, Head]]:
        """The last batch of each chain."""
        # In two steps: the first needs the index only, and no look at each batch.
        rows = self.db.execute(
            "select author, epoch, bucket, seq, hash, lamport, ts_ns from batches"
            " join (select author, epoch, bucket, max(seq) as seq from batches group by author, epoch, bucket)"
            " using (author, epoch, bucket, seq)"
        )
        for author, epoch, bucket, seq, digest, lamport, ts_ns in rows:
            yield (self._names[author], epoch, bucket), Head(seq, bytes(digest), lamport, ts_ns)

    # Outbox and proofs ---------------------------------------------------------------------------------

    def keep(self, effect: Kept) -> None:
        self.db.execute(
            "insert or replace into outbox values (?, ?)", (effect_id(effect), encode_effect(effect))
        )

    def settle(self, effect: str) -> None:
        self.db.execute("delete from outbox where id = ?", (effect,))

    def settle_epoch(self) -> None:
        """An epoch has ended: nobody waits any more for what was asked for its end."""
        self.db.execute("delete from outbox where id like 'epoch-%'")

    def outbox(self) -> list[Kept]:
        return [decode_effect(record) for (record,) in self.db.execute("select record from outbox")]

    def add_proof(self, what: str, author: str, record: Any) -> None:
        """Keep evidence against `author`, unless there is some of this kind."""
        self._author(author)
        row = (what, self._authors[author], encode(record))
        self.db.execute("insert or ignore into proofs (what, author, record) values (?, ?, ?)", row)

    def proofs(self) -> list[tuple[str, Any]]:
        rows = self.db.execute("select what, record from proofs order by id")
        return [(what, decode(record)) for what, record in rows]
