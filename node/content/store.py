"""The embedded block store: SQLite, keyed by binary CIDv1, verified on the way in and on the way out.

A block is content-addressed and never changes, so the only operations are put, get, has and delete. The
store opens its own database, or joins one that the daemon already holds, so that a block and the journal
entry that names it land in the same transaction.
"""

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from os import PathLike
from typing import Any, Final

from swarmd.protocol.cids import cid_text, is_cid, verify_block
from swarmd.protocol.faults import CorruptState, LocalFault, RemoteFault
from swarmd.protocol.limits import MAX_BLOCK_BYTES

DEFAULT_CACHE_BYTES: Final = 8 * 1_048_576
# Only small blocks are kept hot: DAG nodes and records. A file's leaves are read once, in order.
MAX_CACHED_BLOCK_BYTES: Final = 16 * 1_024
# One transaction of a batch: large enough to spread the fsync, small enough to bound the WAL and the time
# that a reader in another thread waits.
FLUSH_BYTES: Final = 4 * 1_048_576
FLUSH_BLOCKS: Final = 4_096

_SCHEMA = "CREATE TABLE IF NOT EXISTS blocks (cid BLOB NOT NULL PRIMARY KEY, block BLOB NOT NULL)"
_INSERT = "INSERT INTO blocks (cid, block) VALUES (?, ?) ON CONFLICT (cid) DO NOTHING"
_REPLACE = (
    "INSERT INTO blocks (cid, block) VALUES (?, ?) ON CONFLICT (cid) DO UPDATE SET block = excluded.block"
)


@dataclass(frozen=True, slots=True)
class StoreStat:
    """What the store holds: rows, their bytes, and rows found corrupt since it was opened."""

    blocks: int
    bytes: int
    corrupt: int


def check_block(cid: bytes, block: bytes) -> None:
    """RemoteFault `bad-cid`, `block-too-big` or `cid-mismatch` unless `block` may be stored as `cid`."""
    if not is_cid(cid):
        raise RemoteFault("bad-cid", "not a binary sha2-256 CIDv1 of raw, dag-pb or dag-cbor")
    if len(block) > MAX_BLOCK_BYTES:
        raise RemoteFault("block-too-big", f"{len(block)} bytes; a block has at most {MAX_BLOCK_BYTES}")
    if not verify_block(cid, block):
        raise RemoteFault("cid-mismatch", f"the bytes do not hash to {cid_text(cid)}")


@contextmanager
def grouped(
    flush: Callable[[dict[bytes, bytes]], object], most_bytes: int, most_blocks: int
) -> Iterator[Callable[[bytes, bytes], None]]:
    """A `put` for streams such as `import_file`: verified at once, flushed in groups, all by the end.

    When the body raises, what was flushed before stays: blocks are immutable, so that harms nobody.
    """
    pending: dict[bytes, bytes] = {}
    pending_bytes = 0

    def put(cid: bytes, block: bytes) -> None:
        nonlocal pending_bytes
        check_block(cid, block)
        pending[cid] = block
        pending_bytes += len(block)
        if pending_bytes >= most_bytes or len(pending) >= most_blocks:
            flush(pending)
            pending.clear()
            pending_bytes = 0

    yield put
    if pending:
        flush(pending)


def put_all(
    batch: AbstractContextManager[Callable[[bytes, bytes], None]], blocks: Iterable[tuple[bytes, bytes]]
) -> int:
    """Put pairs as they come; how many they were. A RemoteFault ends it: pairs before the bad one may be stored."""
    given = 0
    with batch as put:
        for cid, block in blocks:
            put(cid, block)
            given += 1
    return given


class SqliteBlockStore:
    """`BlockStore` over one SQLite table.

    `db` is a path (the store owns the file: WAL, each call its own transaction, usable from several threads)
    or an open `sqlite3.Connection` of the caller. On a caller's connection the store joins the transaction
    that is open and never commits or rolls it back; without one it makes a short transaction of its own
    around a call, unless the connection's `isolation_level` says that the sqlite3 module begins implicitly:
    then committing stays the caller's.

    With `durable` (the default) a commit is on disk before the call returns; without it a power cut may lose
    the last commits. Neither loses or tears anything on kill -9.
    """

    def __init__(
        self,
        db: str | PathLike[str] | sqlite3.Connection,
        *,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        durable: bool = True,
    ) -> None:
        self._owned = not isinstance(db, sqlite3.Connection)
        self._lock = threading.RLock()
        self._cache: OrderedDict[bytes, bytes] = OrderedDict()
        self._cache_room = self._cache_limit = cache_bytes
        self._corrupt: set[bytes] = set()
        self._db = db if isinstance(db, sqlite3.Connection) else _open(db, durable)
        if self._query("SELECT 1 FROM sqlite_master WHERE name = 'blocks'", ()) is None:
            with self._transaction():
                self._db.execute(_SCHEMA)

    def put(self, cid: bytes, block: bytes) -> None:
        """Store one block; storing it again does nothing. RemoteFault unless it hashes to `cid`."""
        check_block(cid, block)
        with self._transaction():
            self._insert([(cid, block)])

    def put_many(self, blocks: Iterable[tuple[bytes, bytes]]) -> int:
        """Store `(cid, block)` pairs in few transactions; returns how many were given.

        The iterable is consumed as it is written, at constant memory. A RemoteFault (a block that does not
        hash to its CID) ends it: pairs before the bad one may be stored, the bad one and later ones are not.
        """
        return put_all(self.batch(), blocks)

    def batch(self) -> AbstractContextManager[Callable[[bytes, bytes], None]]:
        """A `put` for streams; see `grouped`."""
        return grouped(self._write, FLUSH_BYTES, FLUSH_BLOCKS)

    def _write(self, blocks: Mapping[bytes, bytes]) -> None:
        with self._transaction():
            self._insert(list(blocks.items()))

    def get(self, cid: bytes) -> bytes | None:
        """The verified block, or None. A row whose bytes do not hash to its CID counts as missing."""
        with self._lock:
            hot = self._cache.get(cid)
            if hot is not None:
                self._cache.move_to_end(cid)
                return hot
            row = self._query("SELECT block FROM blocks WHERE cid = ?", (cid,))
            if row is None:
                return None
            block = row[0]
            if not isinstance(block, bytes) or not verify_block(cid, block):
                # Kept aside rather than deleted: a read must not write into the caller's transaction. The
                # next put of this CID replaces the row.
                self._corrupt.add(cid)
                return None
            self._remember(cid, block)
            return block

    def has(self, cid: bytes) -> bool:
        """Is there a row of `cid` not known to be corrupt? The bytes are verified by `get` only."""
        with self._lock:
            if cid in self._cache:
                return True
            return cid not in self._corrupt and (
                self._query("SELECT 1 FROM blocks WHERE cid = ?", (cid,)) is not None
            )

    def size_of(self, cid: bytes) -> int | None:
        """The length of a block that is here; None for one that is not, or is known to be corrupt."""
        with self._lock:
            if cid in self._corrupt:
                return None
            row = self._query("SELECT LENGTH(block) FROM blocks WHERE cid = ?", (cid,))
            return None if row is None else int(row[0])

    def delete(self, cid: bytes) -> bool:
        """Forget a block; False if there was none."""
        with self._transaction():
            self._forget(cid)
            self._corrupt.discard(cid)
            return self._db.execute("DELETE FROM blocks WHERE cid = ?", (cid,)).rowcount > 0

    def stat(self) -> StoreStat:
        """Counted by a scan of the rows' headers, for operators; not for every request."""
        with self._lock:
            row = self._query("SELECT COUNT(*), COALESCE(SUM(LENGTH(block)), 0) FROM blocks", ())
            blocks, size = row if row is not None else (0, 0)
            return StoreStat(blocks, size, len(self._corrupt))

    def close(self) -> None:
        """Close the database if the store opened it."""
        with self._lock:
            if self._owned:
                self._db.close()

    def __enter__(self) -> "SqliteBlockStore":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _insert(self, blocks: list[tuple[bytes, bytes]]) -> None:
        self._db.executemany(_INSERT, blocks)
        if self._corrupt:
            healed = [pair for pair in blocks if pair[0] in self._corrupt]
            self._db.executemany(_REPLACE, healed)
            self._corrupt.difference_update(cid for cid, _ in healed)

    def _query(self, sql: str, values: tuple[bytes, ...]) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self._db.execute(sql, values).fetchone()
        except sqlite3.DatabaseError as error:
            raise _fault(error) from error
        return row

    def _remember(self, cid: bytes, block: bytes) -> None:
        # A block read inside an open transaction may be rolled back: only what is committed gets hot.
        if len(block) > MAX_CACHED_BLOCK_BYTES or self._db.in_transaction:
            return
        self._cache[cid] = block
        self._cache_room -= _weight(block)
        while self._cache_room < 0:
            _, oldest = self._cache.popitem(last=False)
            self._cache_room += _weight(oldest)

    def _forget(self, cid: bytes) -> None:
        block = self._cache.pop(cid, None)
        if block is not None:
            self._cache_room += _weight(block)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            mine = not self._db.in_transaction and self._db.isolation_level is None
            try:
                if mine:
                    self._db.execute("BEGIN IMMEDIATE")
                yield
                if mine:
                    self._db.execute("COMMIT")
            except BaseException as error:
                # SQLite ends the transaction itself on some errors (disk full); then there is nothing left.
                if mine and self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.DatabaseError):
                    raise _fault(error) from error
                raise


def _weight(block: bytes) -> int:
    return len(block) + 128  # the key, the two objects and the dict's slot


def _open(path: str | PathLike[str], durable: bool) -> sqlite3.Connection:
    try:
        # The store's own lock orders the threads.
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
    except sqlite3.OperationalError as error:
        raise LocalFault(
            "no-block-store", f"cannot open {path}: {error}", fix="check the folder and its rights"
        ) from error
    try:
        # Large pages keep a 256 KiB block in 16 pages rather than 64. Ignored by a file that exists.
        db.execute("PRAGMA page_size = 16384")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    except sqlite3.DatabaseError as error:
        db.close()
        raise _fault(error) from error
    return db


def _fault(error: sqlite3.DatabaseError) -> LocalFault | CorruptState:
    code = getattr(error, "sqlite_errorcode", None)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return CorruptState(
            "corrupt-block-store",
            str(error),
            fix="restore the file, or delete it and fetch the content again",
        )
    if code == sqlite3.SQLITE_FULL:
        return LocalFault("disk-full", "the block store cannot grow", fix="free space on its disk")
    return LocalFault("block-store", str(error), fix="check the disk and the rights of the store's file")
