"""The schema of the journal, and how older files become the newest. Forward only.

A step runs in one transaction with its version number, so a process killed in it leaves the version before. A file of a
newer swarmd is refused before anything is written to it: what an older one does not know of, it would lose.
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from swarmd.protocol.faults import CorruptState, LocalFault

# Of a new file: what all steps come to.
_SCHEMA = """
create table if not exists meta (key text primary key, value blob) without rowid;
create table if not exists inputs (id integer primary key, record blob not null);
create table if not exists authors (id integer primary key, did text not null unique);
create table if not exists batches (
  author integer not null, epoch integer not null, bucket integer not null, seq integer not null,
  hash blob not null, lamport integer not null, ts_ns integer not null, body blob not null, verdicts blob,
  primary key (author, epoch, bucket, seq));
create index if not exists batches_by_bucket on batches (bucket);
create table if not exists checkpoints (
  epoch integer primary key, state blob not null, head blob not null, certificate blob not null) without rowid;
create table if not exists parts (hash blob primary key, body blob not null) without rowid;
create table if not exists dumps (id integer primary key check (id = 1), state blob not null, said blob not null);
create table if not exists closed (need text primary key, epoch integer not null, outcome text not null,
  draws blob not null, row blob);
create table if not exists cold (bucket integer not null, epoch integer not null, part integer not null,
  cid blob not null, batches integer not null, bytes integer not null, primary key (bucket, epoch, part)) without rowid;
create table if not exists outbox (id text primary key, record blob not null) without rowid;
create table if not exists proofs (
  id integer primary key, what text not null, author integer not null, record blob not null, unique (what, author));
"""

# version -> what makes a file of the version before one of this.
STEPS: Mapping[int, str] = {
    # What the ingress gate said of each envelope when it was taken in.
    2: "alter table batches add column verdicts blob;",
    # Checkpoints, the parts of their snapshots (compressed), the state at the last one, and what went into blocks.
    3: """
create table checkpoints (
  epoch integer primary key, state blob not null, head blob not null, certificate blob not null) without rowid;
create table parts (hash blob primary key, body blob not null) without rowid;
create table dumps (id integer primary key check (id = 1), state blob not null, said blob not null);
create table closed (need text primary key, epoch integer not null, outcome text not null, draws blob not null,
  row blob);
create table cold (bucket integer not null, epoch integer not null, part integer not null, cid blob not null,
  batches integer not null, bytes integer not null, primary key (bucket, epoch, part)) without rowid;
""",
}
OLDEST = min(STEPS) - 1
NEWEST = max(STEPS)


def version_of(db: sqlite3.Connection) -> int | None:
    """The schema of an open journal; None for a new file. CorruptState `bad-journal` if it makes no sense."""
    if db.execute("select 1 from sqlite_master where name = 'meta'").fetchone() is None:
        return None
    row = db.execute("select value from meta where key = 'schema_version'").fetchone()
    if row is None:
        return None
    try:
        return int(row[0])
    except (TypeError, ValueError):
        raise CorruptState("bad-journal", f"its schema version is {row[0]!r}") from None


def refuse_newer(db: sqlite3.Connection, path: Path) -> None:
    """LocalFault `newer-journal`."""
    found = version_of(db)
    if found is not None and found > NEWEST:
        raise LocalFault(
            "newer-journal",
            f"{path} has schema {found}, this swarmd knows {NEWEST}: there is no way back",
            fix="use the swarmd that wrote it, or a newer one; or restore a backup from before the upgrade",
        )


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new file, or take an older one forward, step by step."""
    found = version_of(db)
    if found is None:
        _script(db, f"{_SCHEMA}{_stamp(NEWEST)}")
        return
    if found < OLDEST:
        raise CorruptState("bad-journal", f"{path} has schema {found}; the oldest there was is {OLDEST}")
    for version in range(found + 1, NEWEST + 1):
        _script(db, f"{STEPS[version]}{_stamp(version)}")


def _script(db: sqlite3.Connection, text: str) -> None:
    """All of it, or nothing."""
    try:
        db.executescript(f"begin immediate;{text}commit")
    except BaseException:
        if db.in_transaction:
            db.execute("rollback")
        raise


def _stamp(version: int) -> str:
    return f"insert or replace into meta values ('schema_version', cast('{version}' as blob));"
