"""A durable outbox: every request becomes one transaction on chain, whatever moment the process dies at.

    queued --sign--> signed --broadcast--> sent --receipt--> mined --depth--> final
      ^                                     |                  |
      +--- nonce taken by a stranger -------+                  +--> failed (reverted: see `reason`)

The rules that make it exactly once:
  * a request has a key of its own; asking again changes nothing;
  * one outbox owns one account on one chain and hands out its nonces, so two requests never share one;
  * a transaction is on disk before anybody sees it: after a crash the same bytes go out again, and the chain
    takes a nonce once;
  * "already known" and "nonce too low" are answers, not errors: the receipt decides.

Blocking and thread-safe: `submit` may run beside one thread that calls `pull` and `push`. SQLite, WAL, FULL sync.
"""

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from swarmd.node.chain.bidding import bid_up, sign_queued
from swarmd.node.chain.client import (
    NOT_ERRORS,
    UNLIMITED,
    ChainClient,
    FeePolicy,
    Fees,
    Receipt,
    Rejected,
    Signer,
)
from swarmd.node.chain.database import connect, transaction
from swarmd.node.chain.requests import (
    SETTLED,
    STATES,
    Attempt,
    Builder,
    Change,
    Explainer,
    Request,
)
from swarmd.protocol.faults import CorruptState, LocalFault

SCHEMA_VERSION = 2

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS request(
    seq INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,              -- what the caller wants: names the builder of the call
    key BLOB NOT NULL,               -- the caller's idempotency key
    payload BLOB NOT NULL,           -- what the builder makes the call of
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '', -- why it failed, or why the chain refused it last
    nonce INTEGER UNIQUE,            -- NULL while queued
    target BLOB,                     -- the contract it goes to; NULL creates one
    tx_hash BLOB,                    -- the attempt that counts: the newest, then the mined one
    block_number INTEGER,
    block_hash BLOB,
    notified INTEGER NOT NULL DEFAULT 0,
    queued_ns INTEGER NOT NULL,
    UNIQUE(kind, key)
);
CREATE INDEX IF NOT EXISTS request_live ON request(state, seq) WHERE state NOT IN ('final', 'failed');
CREATE INDEX IF NOT EXISTS request_unnotified ON request(seq) WHERE notified = 0 AND state = 'final';
-- Every transaction ever signed for a request that is not settled. A fee bump adds a row, any may be mined.
CREATE TABLE IF NOT EXISTS attempt(
    tx_hash BLOB PRIMARY KEY, seq INTEGER NOT NULL REFERENCES request(seq), raw BLOB NOT NULL,
    max_fee_wei INTEGER NOT NULL DEFAULT 0, priority_fee_wei INTEGER NOT NULL DEFAULT 0,
    head INTEGER NOT NULL DEFAULT 0  -- the newest block when it was signed
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS attempt_seq ON attempt(seq);
"""

# What version 2 added to a file of version 1.
_UPGRADE = """
ALTER TABLE attempt ADD COLUMN max_fee_wei INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempt ADD COLUMN priority_fee_wei INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempt ADD COLUMN head INTEGER NOT NULL DEFAULT 0;
"""

_COLUMNS = "seq, kind, key, payload, state, reason, nonce, target, tx_hash, block_number, block_hash"


def pack_anchor(root: bytes, count: int) -> bytes:
    """The payload of an anchor request: the root, and the count in 4 bytes, big-endian."""
    return root + count.to_bytes(4, "big")


def unpack_anchor(payload: bytes) -> tuple[bytes, int]:
    return payload[:32], int.from_bytes(payload[32:], "big")


class Outbox:
    """The requests of one account on one chain, in the SQLite file `path`."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self.reorged = 0  # requests whose block was taken from them, since the start
        try:
            self._db = connect(path)
            try:
                self._open_schema(path)
            except BaseException:
                self._db.close()
                raise
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise CorruptState("bad-outbox-file", f"{path}: {error}") from None
        self._counts: Counter[str] = Counter(
            dict(self._db.execute("SELECT state, count(*) FROM request GROUP BY state").fetchall())
        )

    def _open_schema(self, path: Path) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version not in range(SCHEMA_VERSION + 1):
            raise LocalFault("outbox-version", f"{path} has version {version}", fix="use a newer swarmd")
        upgrade = _UPGRADE if version == 1 else ""
        self._db.executescript(
            f"BEGIN IMMEDIATE; {_SCHEMA} {upgrade} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
        )

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, transaction(self._db):
            yield self._db

    def _rows(self, where: str, *arguments: object) -> list[Request]:
        with self._lock:
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM request WHERE {where}", arguments).fetchall()
        return [Request(*row) for row in rows]

    # What callers ask for

    def submit(self, kind: str, key: bytes, payload: bytes) -> bool:
        """Queue a request; on disk when it returns. False if it is already there.

        Raises LocalFault `outbox-conflict` if `key` was used for another payload.
        """
        with self._transaction() as db:
            added = db.execute(
                "INSERT INTO request(kind, key, payload, state, queued_ns) VALUES(?,?,?,'queued',?) "
                "ON CONFLICT(kind, key) DO NOTHING",
                (kind, key, payload, time.time_ns()),
            ).rowcount
            if not added:
                known = db.execute(
                    "SELECT payload FROM request WHERE kind=? AND key=?", (kind, key)
                ).fetchone()
                if known[0] != payload:
                    fix = "use a new id: what was queued first stands"
                    raise LocalFault("outbox-conflict", f"{kind} 0x{key.hex()} has another content", fix=fix)
        if added:
            self._count([("", "queued")])
        return bool(added)

    def get(self, kind: str, key: bytes) -> Request | None:
        found = self._rows("kind=? AND key=?", kind, key)
        return found[0] if found else None

    def unnotified(self, kind: str, limit: int) -> list[Request]:
        """Final requests whose owner was not told yet, in the order of their blocks."""
        where = "notified=0 AND state='final' AND kind=? ORDER BY block_number, nonce LIMIT ?"
        return self._rows(where, kind, limit)

    def mark_notified(self, seqs: Iterable[int]) -> None:
        with self._transaction() as db:
            db.executemany("UPDATE request SET notified=1 WHERE seq=?", [(seq,) for seq in seqs])

    def counts(self) -> Mapping[str, int]:
        """How many requests are in each state. From memory: safe to call on any thread at any time."""
        return {state: self._counts[state] for state in STATES}

    def pending(self) -> int:
        """How many requests are not settled yet."""
        return sum(self._counts[state] for state in STATES if state not in SETTLED)

    def _count(self, moves: Iterable[tuple[str, str]]) -> None:
        with self._lock:
            counts = self._counts.copy()
            for old, new in moves:
                counts[old] -= 1
                counts[new] += 1
            self._counts = counts  # replaced, not changed: readers take no lock

    # What the one thread that drives it calls

    def bind(self, client: ChainClient, account: bytes) -> None:
        """Tie this outbox to a chain and an account for good. CorruptState `outbox-of-another-chain`."""
        identity = client.chain_id.to_bytes(32, "big") + client.genesis_hash + account
        with self._transaction() as db:
            db.execute("INSERT INTO meta VALUES('identity', ?) ON CONFLICT DO NOTHING", (identity,))
            stored = db.execute("SELECT value FROM meta WHERE name='identity'").fetchone()[0]
        if stored != identity:
            text = "the outbox belongs to another chain or account than the ones beside it"
            raise CorruptState(
                "outbox-of-another-chain", text, fix="restore the folder as a whole from a backup"
            )

    def push(
        self,
        client: ChainClient,
        signer: Signer,
        build: Builder,
        *,
        kind: str | None = None,
        limit: int,
        policy: FeePolicy = UNLIMITED,
    ) -> list[Rejected]:
        """Sign up to `limit` queued requests, of one kind if given, then broadcast all that has no receipt, in
        nonce order; what waits too long is bid up first.

        Returns what stands in the way: what the chain refused, or `out-of-gas`, `fee-above-cap`, `stuck` of our own.
        A request that met it stays as it is, with the reason, for the next push.
        """
        trouble = self._sign(client, signer, build, kind, limit, policy)
        live = self._rows("state IN ('signed', 'sent') ORDER BY nonce")
        if not live:
            return trouble
        trouble += self._bump(client, signer, build, live, policy)
        with self._lock:
            raws: dict[bytes, bytes] = dict(self._db.execute("SELECT tx_hash, raw FROM attempt"))
        changes: list[Change] = []
        for request in self._rows("state IN ('signed', 'sent') ORDER BY nonce"):
            raw = raws.get(request.tx_hash or b"")
            if raw is None:
                raise CorruptState(
                    "outbox-attempt-missing", f"request {request.seq} is {request.state}, unsigned"
                )
            try:
                client.send_raw(raw)
            except Rejected as error:
                if error.code not in NOT_ERRORS:
                    trouble.append(_named(error))
                    changes.append((request, replace(request, reason=str(error))))
                    break  # those after it could only wait for its nonce
            if request.state == "signed":
                changes.append((request, replace(request, state="sent", reason="")))
        self._save(changes)
        return trouble

    def _sign(
        self,
        client: ChainClient,
        signer: Signer,
        build: Builder,
        kind: str | None,
        limit: int,
        policy: FeePolicy,
    ) -> list[Rejected]:
        """Give queued requests their nonces and signatures; on disk, all at once, before any is broadcast."""
        queued = self._rows("state='queued' AND (?1 IS NULL OR kind=?1) ORDER BY seq LIMIT ?2", kind, limit)
        if not queued:
            return []
        with self._lock:
            highest = self._db.execute("SELECT max(nonce) FROM request").fetchone()[0]
        # The chain knows better than we do if the account was used elsewhere, or our file is an old backup.
        first = max(client.nonce(signer.account), 0 if highest is None else highest + 1)
        signed = sign_queued(
            queued, first, client, signer, build, policy, committed_wei=self._committed_wei(build)
        )
        self._save(signed.changes, signed.attempts)
        return signed.trouble

    def _committed_wei(self, build: Builder) -> int:
        """What the transactions under way may cost, by the highest bid of each."""
        live = self._rows("state IN ('signed', 'sent')")
        if not live:
            return 0
        with self._lock:
            bids = dict(self._db.execute("SELECT seq, max(max_fee_wei) FROM attempt GROUP BY seq").fetchall())
        return sum(build(request).gas * bids.get(request.seq, 0) for request in live)

    def _bump(
        self, client: ChainClient, signer: Signer, build: Builder, live: Sequence[Request], policy: FeePolicy
    ) -> list[Rejected]:
        """Sign higher bids for what waits too long; on disk before any is broadcast."""
        with self._lock:
            rows = self._db.execute(
                "SELECT seq, max_fee_wei, priority_fee_wei, head FROM attempt ORDER BY head, max_fee_wei"
            ).fetchall()
        newest = {seq: (Fees(max_fee, priority), head) for seq, max_fee, priority, head in rows}
        signed = bid_up(live, newest, client, signer, build, policy)
        self._save(signed.changes, signed.attempts)
        return signed.trouble

    def pull(self, client: ChainClient, account: bytes, explain: Explainer, *, confirmations: int) -> int:
        """Learn from the chain what became of what was signed; returns how many requests moved.

        `confirmations` is how many blocks must lie on top of a transaction's own before it is final.
        """
        live = self._rows("state IN ('signed', 'sent', 'mined') ORDER BY nonce")
        if not live:
            return 0
        # Before the receipts, and only as deep as is final: if our own transaction used a nonce up down there, its
        # receipt is there to be found, also on a node that indexes its newest blocks late.
        used_nonces = client.nonce(account, depth=confirmations)
        head = client.head()
        with self._lock:  # the table holds nothing of settled requests
            attempts = self._db.execute("SELECT tx_hash, seq FROM attempt").fetchall()
        found = client.receipts([tx_hash for tx_hash, _ in attempts])
        receipts = {seq: receipt for (_, seq), receipt in zip(attempts, found, strict=True) if receipt}
        changes: list[Change] = []
        for request in live:
            receipt = receipts.get(request.seq)
            if receipt is not None:
                deep = head - receipt.block_number >= confirmations
                after = _with_receipt(request, receipt, deep, explain)
            elif request.state == "mined":  # a reorg took its block
                self.reorged += 1
                after = replace(request, state="sent", block_number=None, block_hash=None)
            elif request.nonce is not None and request.nonce < used_nonces:
                # Another transaction of this account took the nonce: ours can never be mined. Sign it afresh.
                reason = f"nonce {request.nonce} was used by another transaction"
                after = replace(request, state="queued", reason=reason, nonce=None, target=None, tx_hash=None)
            else:
                continue
            if after != request:
                changes.append((request, after))
        self._save(changes)
        return len(changes)

    def _save(self, changes: Sequence[Change], attempts: Sequence["Attempt"] = ()) -> None:
        """Write the changed requests and new attempts in one transaction; forget attempts without a future."""
        if not changes:
            return
        over = [(after.seq,) for _, after in changes if after.state in SETTLED or after.state == "queued"]
        with self._transaction() as db:
            db.executemany(
                "UPDATE request SET state=?, reason=?, nonce=?, target=?, tx_hash=?, block_number=?, block_hash=? "
                "WHERE seq=?",
                [
                    (r.state, r.reason, r.nonce, r.target, r.tx_hash, r.block_number, r.block_hash, r.seq)
                    for _, r in changes
                ],
            )
            db.executemany("DELETE FROM attempt WHERE seq=?", over)
            db.executemany(
                "INSERT INTO attempt VALUES(?,?,?,?,?,?)",
                [
                    (a.tx_hash, a.seq, a.raw, a.fees.max_fee_wei, a.fees.priority_fee_wei, a.head)
                    for a in attempts
                ],
            )
        self._count((before.state, after.state) for before, after in changes)


def _with_receipt(request: Request, receipt: Receipt, deep: bool, explain: Explainer) -> Request:
    state = "mined" if not deep else "final" if receipt.succeeded else "failed"
    return replace(
        request,
        state=state,
        reason=explain(request, receipt) if state == "failed" else "",
        tx_hash=receipt.tx_hash,
        block_number=receipt.block_number,
        block_hash=receipt.block_hash,
    )


def _named(error: Rejected) -> Rejected:
    """Under the name that an operator acts on."""
    return Rejected("out-of-gas", error.message) if error.code == "insufficient-funds" else error
