"""What is kept of peers over restarts: faults, bans, the operator's lists. One small SQLite file in the home.

Losing the last seconds of it in a crash is harmless, so it is not part of the journal's transactions; a list
the operator changes is on disk before the command is answered.
"""

import json
import logging
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from swarmd.node.transport.p2p.access import Verdict
from swarmd.node.transport.p2p.scores import Record
from swarmd.protocol.faults import CorruptState, LocalFault

log = logging.getLogger(__name__)

PEERS_FILE = "peers.db"
_SCHEMA = """
create table if not exists standing (
  peer_id text primary key, lost real not null, at_s real not null, faults text not null,
  denials integer not null, denied_until_s real not null, reason text not null) without rowid;
create table if not exists access (entry text primary key, verdict text not null, at_s real not null) without rowid;
"""
_KEEP_S = 30 * 86_400.0  # by then half-lives have made every fault nothing


class PeerStore:
    """CorruptState `bad-peers-db` if the file is none; LocalFault `disk-full` or `disk-error` from `set_access`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            path.chmod(0o600)
            self._db.execute("pragma journal_mode = wal")
            self._db.executescript(_SCHEMA)
            self.load()
        except sqlite3.OperationalError as error:
            raise LocalFault(
                "disk-error", f"{path}: {error}", fix="free some space, check its owner"
            ) from error
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            # Going on without it would let in whom the operator has denied.
            raise CorruptState(
                "bad-peers-db", f"{path}: {error}; without it all bans are forgotten: move it away to go on"
            ) from error

    def load(self) -> tuple[list[Record], dict[str, Verdict]]:
        """Standings, oldest first, and the operator's lists."""
        rows = self._db.execute(
            "select peer_id, lost, at_s, faults, denials, denied_until_s, reason from standing"
            " where max(at_s, denied_until_s) > ? order by at_s",
            (time.time() - _KEEP_S,),
        )
        records = [
            Record(peer_id, lost, at_s, dict(json.loads(faults)), denials, until_s, reason)
            for peer_id, lost, at_s, faults, denials, until_s, reason in rows
        ]
        return records, dict(self._db.execute("select entry, verdict from access"))

    def save(self, records: Sequence[Record], dropped: Sequence[str]) -> bool:
        """False if the disk takes no writes: try again later."""
        try:
            with self._transaction():
                self._db.executemany(
                    "insert or replace into standing values (?, ?, ?, ?, ?, ?, ?)",
                    [
                        (
                            r.peer_id,
                            r.lost,
                            r.at_s,
                            json.dumps(dict(r.faults)),
                            r.denials,
                            r.denied_until_s,
                            r.reason,
                        )
                        for r in records
                    ],
                )
                self._db.executemany("delete from standing where peer_id = ?", [(each,) for each in dropped])
                self._db.execute(
                    "delete from standing where max(at_s, denied_until_s) <= ?", (time.time() - _KEEP_S,)
                )
        except sqlite3.OperationalError as error:
            log.warning("scores of peers are not saved: %s; trying again", error)
            return False
        return True

    def set_access(self, entry: str, verdict: Verdict | None) -> None:
        try:
            with self._transaction():
                if verdict is None:
                    self._db.execute("delete from access where entry = ?", (entry,))
                else:
                    self._db.execute(
                        "insert or replace into access values (?, ?, ?)", (entry, verdict, time.time())
                    )
        except sqlite3.OperationalError as error:
            full = getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"
            raise LocalFault(
                "disk-full" if full else "disk-error",
                f"nothing was changed: {self._path}: {error}",
                fix="free some space on its disk",
            ) from error

    def _transaction(self) -> sqlite3.Connection:
        """As a context: commits, or rolls back on an exception."""
        self._db.execute("begin immediate")
        return self._db

    def close(self) -> None:
        self._db.close()
