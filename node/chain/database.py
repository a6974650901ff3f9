"""How the books of the chain room open SQLite: WAL, every commit on disk before it returns, transactions by hand.

A book's class extends `Database`. Blocking; by itself used by one thread at a time (the outbox takes a lock around it).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_TIMEOUT_S = 5.0


def connect(path: Path) -> sqlite3.Connection:
    """Open or make the file. sqlite3.DatabaseError; nothing stays open then."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=LOCK_TIMEOUT_S)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All of it on disk, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # not so when a full disk made SQLite roll back by itself
            db.execute("ROLLBACK")
        raise


class Database:
    """A book in the SQLite file `path`, made with `schema` (of CREATE ... IF NOT EXISTS) at the first use."""

    def __init__(self, path: Path, schema: str) -> None:
        self._db = connect(path)
        try:
            self._db.executescript(schema)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with transaction(self._db) as db:
            yield db
