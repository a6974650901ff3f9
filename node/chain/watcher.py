"""Events of contracts, each recorded once, and only those that are deep enough to stay.

The cursor is a block's number and hash. Each step reads a bounded range behind it and saves the events and the new
cursor in one SQLite transaction, so a crash loses and doubles nothing. If the hash at the cursor changes, the chain
was reorganised deeper than we wait for: what was recorded may have been acted on, so the watcher stops and says so
rather than record a second history. Blocking; one worker thread at a time.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmd.node.chain.client import ChainClient, Unavailable
from swarmd.node.chain.codec import ContractCodec
from swarmd.node.chain.database import Database
from swarmd.protocol.faults import CorruptState

MAX_RANGE_BLOCKS = 500
MAX_RANGES_PER_STEP = 20

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cursor(
    address BLOB PRIMARY KEY, number INTEGER NOT NULL, hash BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event(
    seq INTEGER PRIMARY KEY, address BLOB NOT NULL, name TEXT NOT NULL, fields TEXT NOT NULL,
    block_number INTEGER NOT NULL, block_hash BLOB NOT NULL, tx_hash BLOB NOT NULL, log_index INTEGER NOT NULL,
    UNIQUE(block_hash, log_index)
);
CREATE INDEX IF NOT EXISTS event_name ON event(address, name, seq);
"""


@dataclass(frozen=True, slots=True)
class Event:
    """One confirmed event. `fields`: by name, bytes as 0x text, addresses as they come."""

    seq: int
    name: str
    fields: dict[str, Any]
    block_number: int
    tx_hash: bytes


class Watcher(Database):
    """The events of one contract at `address` (20 bytes), from block `start` on, at `confirmations` deep."""

    def __init__(
        self, path: Path, address: bytes, codec: ContractCodec, *, confirmations: int, start: int = 0
    ) -> None:
        super().__init__(path, _SCHEMA)
        self._address = address
        self._codec = codec
        self._confirmations = confirmations
        self._start = start

    @property
    def cursor(self) -> tuple[int, bytes] | None:
        """The last block that was read, None before the first."""
        row = self._db.execute("SELECT number, hash FROM cursor WHERE address=?", (self._address,)).fetchone()
        return (row[0], row[1]) if row else None

    def step(self, client: ChainClient) -> int:
        """Read what is confirmed by now, at most MAX_RANGES_PER_STEP ranges; returns how many events were new.

        Raises Unavailable; CorruptState `deep-reorg`.
        """
        last = client.head() - self._confirmations
        found = 0
        for _ in range(MAX_RANGES_PER_STEP):
            cursor = self.cursor
            if cursor is not None:
                self._check(client, *cursor)
            first = self._start if cursor is None else cursor[0] + 1
            if first > last:
                break
            found += self._read(client, first, min(last, first + MAX_RANGE_BLOCKS - 1))
        return found

    def _check(self, client: ChainClient, number: int, block_hash: bytes) -> None:
        now = client.block_hash(number)
        if now is None:
            raise Unavailable("behind", f"the endpoint does not know block {number}, which was read already")
        if now != block_hash:
            text = (
                f"block {number} was replaced, deeper than the {self._confirmations} confirmations waited for"
            )
            fix = "compare the deposits with the chain, then raise chain_confirmations"
            raise CorruptState("deep-reorg", text, fix=fix)

    def _read(self, client: ChainClient, first: int, last: int) -> int:
        block_hash = client.block_hash(last)
        logs = client.logs(self._address, None, first_block=first, last_block=last)
        if block_hash is None or client.block_hash(last) != block_hash:
            raise Unavailable("behind", "the chain changed while its events were read")
        rows = []
        for log in logs:
            name = self._codec.event_of(log.topics)
            if not name:
                continue
            fields = self._codec.decode_event(name, log.topics, log.data)
            text = json.dumps(fields, default=lambda value: "0x" + value.hex())
            place = (log.block_number, log.block_hash, log.tx_hash, log.index)
            rows.append((self._address, name, text, *place))
        with self._transaction() as db:
            before = db.total_changes
            db.executemany(
                "INSERT INTO event(address, name, fields, block_number, block_hash, tx_hash, log_index) "
                "VALUES(?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
                rows,
            )
            added = db.total_changes - before
            db.execute("INSERT OR REPLACE INTO cursor VALUES(?,?,?)", (self._address, last, block_hash))
        return added

    def events(self, name: str, *, after: int = 0, limit: int = 1_000) -> list[Event]:
        """Recorded events of one kind, in order, those after the seq `after`."""
        rows = self._db.execute(
            "SELECT seq, name, fields, block_number, tx_hash FROM event "
            "WHERE address=? AND name=? AND seq>? ORDER BY seq LIMIT ?",
            (self._address, name, after, limit),
        ).fetchall()
        return [Event(seq, kind, json.loads(text), number, tx) for seq, kind, text, number, tx in rows]
