"""py-evm's database over SQLite: a block is written in one transaction, so a killed process loses none by halves."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eth.db.backends.base import BaseDB
from swarmd.protocol.faults import CorruptState, LocalFault

_SCHEMA = "CREATE TABLE IF NOT EXISTS kv(k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID"
_OPEN_TIMEOUT_S = 2.0


class SqliteKv(BaseDB):
    """A key-value table that one process holds at a time. Call it from one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create. Raises LocalFault `chain-in-use`, or CorruptState `bad-chain-file`."""
        self._connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=_OPEN_TIMEOUT_S
        )
        try:
            # Exclusive: a second daemon on this home must fail here, not fork the chain. It has to come
            # before the first access in WAL mode (https://www.sqlite.org/pragma.html#pragma_locking_mode).
            self._connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            with self.transaction():
                self._connection.execute(_SCHEMA)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                fix = "stop the other daemon of this home, or start this one with another --home"
                raise LocalFault("chain-in-use", f"{path} is open in another process", fix=fix) from None
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise CorruptState("bad-chain-file", f"{path}: {error}") from None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside are on disk when it ends, or none are when it raises."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # A full disk makes SQLite roll back by itself; only then is there nothing left to roll back.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def copy_to(self, path: Path) -> None:
        """A copy of the whole database in a new file `path`. Nobody else can: the file is locked."""
        target = sqlite3.connect(path, isolation_level=None)
        try:
            self._connection.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
        finally:
            target.close()

    def close(self) -> None:
        self._connection.close()

    def __getitem__(self, key: bytes) -> bytes:
        row = self._connection.execute("SELECT v FROM kv WHERE k=?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        value: bytes = row[0]
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._connection.execute("INSERT OR REPLACE INTO kv VALUES(?,?)", (key, value))

    def __delitem__(self, key: bytes) -> None:
        if self._connection.execute("DELETE FROM kv WHERE k=?", (key,)).rowcount == 0:
            raise KeyError(key)

    def _exists(self, key: bytes) -> bool:
        return self._connection.execute("SELECT 1 FROM kv WHERE k=?", (key,)).fetchone() is not None
