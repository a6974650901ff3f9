"""The index of the embedded content store: its tables, and how they are opened.

Small blocks are rows; large ones lie in packs and have a row that says where. `totals` is kept by the transactions
that change it, so that a quota costs nothing to check.
"""

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final

from swarmd.protocol.faults import CorruptState, LocalFault

SCHEMA_VERSION: Final = 1
# Up to this a block is a row: nodes and records. A file's leaves are larger.
MAX_ROW_BYTES: Final = 16 * 1_024

_SCHEMA = """
create table if not exists blocks (cid blob not null primary key, block blob not null, at_s integer not null);
create table if not exists large (
  cid blob not null primary key, pack integer not null, at integer not null, size integer not null,
  at_s integer not null) without rowid;
create index if not exists large_by_pack on large (pack, at);
create table if not exists packs (
  id integer primary key, bytes integer not null, live integer not null, synced integer not null);
create table if not exists pins (
  cid blob not null primary key, recursive integer not null, name text not null, at_s integer not null);
create table if not exists totals (one integer primary key check (one = 1), blocks integer not null,
  bytes integer not null, turn integer not null);
insert or ignore into totals values (1, 0, 0, 0);
"""


def own(folder: Path) -> int:
    """The lock of the folder, made if need be."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LocalFault(
            "no-block-store", f"cannot open {folder}: {error.strerror}", fix="check the folder and its rights"
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise LocalFault(
            "content-in-use",
            f"another process has {folder} open",
            fix="wait for its end; while a daemon runs, commands go through it",
        ) from None
    return fd


def open_writer(path: Path) -> sqlite3.Connection:
    """The connection that writes. LocalFault `newer-content-store`, CorruptState `corrupt-block-store`."""
    db = _connect(path)
    try:
        db.execute("pragma page_size = 16384")  # ignored by a file that exists
        db.execute("pragma journal_mode = wal")
        # A commit survives kill -9; `sync` makes it survive a power cut. An import asks for that once.
        db.execute("pragma synchronous = normal")
        db.execute("pragma wal_autocheckpoint = 2000")
        db.execute("pragma cache_size = -16384")  # KiB
        found = int(db.execute("pragma user_version").fetchone()[0])
        if found > SCHEMA_VERSION:
            raise LocalFault(
                "newer-content-store",
                f"{path} has schema {found}, this swarmd knows {SCHEMA_VERSION}",
                fix="use the swarmd that wrote it, or a newer one",
            )
        db.executescript(f"begin immediate;{_SCHEMA}pragma user_version = {SCHEMA_VERSION};commit")
    except sqlite3.DatabaseError as error:
        db.close()
        raise index_fault(error, path) from error
    except LocalFault:
        db.close()
        raise
    return db


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads, and never waits for the one that writes."""
    db = _connect(path)
    db.execute("pragma query_only = 1")
    return db


def _connect(path: Path) -> sqlite3.Connection:
    try:
        # The store's own locks order the threads.
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
    except sqlite3.OperationalError as error:
        raise LocalFault(
            "no-block-store", f"cannot open {path}: {error}", fix="check the folder and its rights"
        ) from error


def index_fault(error: sqlite3.DatabaseError, path: Path) -> LocalFault | CorruptState:
    code = getattr(error, "sqlite_errorcode", None)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return CorruptState(
            "corrupt-block-store",
            f"{path}: {error}",
            fix="delete its folder and fetch or add the content again; nothing else of the node is in there",
        )
    if code == sqlite3.SQLITE_FULL:
        return LocalFault(
            "disk-full",
            f"no room at {path}; what was stored before is whole",
            fix="free space on its disk, or swarmd content gc",
        )
    return LocalFault("block-store", f"{path}: {error}", fix="check the disk and its rights")
