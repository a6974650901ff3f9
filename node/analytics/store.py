"""The file of analytics: sums of what is closed for good, and tallies of needs that ended and may still change.

A file of its own, `analytics.db`, so that nothing of it is in the way of the journal. It holds nothing that could not
be counted again, so it is not synced to disk at each commit, and a damaged one is put aside.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from swarmd.node.analytics.tally import Tally, Totals, tally_from_json, totals_from_json
from swarmd.node.chain.database import transaction

log = logging.getLogger("swarmd.analytics")

FILE: Final = "analytics.db"
SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
create table if not exists totals (id integer primary key check (id = 1), node text not null,
  cursor integer not null, body text not null);
create table if not exists ended (need text primary key, body text not null) without rowid;
"""


class Store:
    """`node` names whose journal is counted: of another, everything is counted anew. Any one thread at a time."""

    def __init__(self, path: Path, node: str) -> None:
        self._path = path
        self._node = node
        try:
            self._open()
        except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as error:
            log.error("%s is unreadable and put aside; counting anew: %s", path, error)
            self.close()
            for suffix in ("-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                path.replace(path.with_suffix(".damaged"))
            self._open()

    def _open(self) -> None:
        self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        (version,) = self._db.execute("pragma user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise ValueError(f"schema {version}; this swarmd knows {SCHEMA_VERSION}")
        self._db.executescript(_SCHEMA + f"pragma user_version = {SCHEMA_VERSION};")
        row = self._db.execute("select node, cursor, body from totals").fetchone()
        known = row is not None and row[0] == self._node
        self.cursor: int = row[1] if known else 0
        self.totals = totals_from_json(row[2]) if known else Totals()
        if not known:
            self._db.execute("delete from ended")
        ended = self._db.execute("select need, body from ended")
        self.ended: dict[str, Tally] = {need: tally_from_json(body) for need, body in ended}

    def save(self, totals: str, cursor: int, ended: Mapping[str, str], gone: Iterable[str]) -> None:
        """All of it or nothing: the sums as they are now, tallies that moved, needs that are in the sums now."""
        with transaction(self._db) as db:
            db.execute("insert or replace into totals values (1, ?, ?, ?)", (self._node, cursor, totals))
            db.executemany("delete from ended where need = ?", [(need,) for need in gone])
            db.executemany("insert or replace into ended values (?, ?)", ended.items())

    def close(self) -> None:
        with contextlib.suppress(AttributeError):
            self._db.close()
