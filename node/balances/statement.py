"""The statement: what moved this node's balance, page by page, for longer than the core remembers.

The core tells the moves since the last checkpoint (`Ledger.moves`); here they are kept in HOME/statement.db. It is derived:
without the file it begins anew with what the last checkpoint says. Rows add up to the balance, always: where a checkpoint
took something back, a row says so.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swarmd.node.chain.database import transaction
from swarmd.protocol.amounts import format_usdc
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.state import State

MAX_PAGE = 500

_SCHEMA = """
CREATE TABLE IF NOT EXISTS move(
    seq INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, at_ns INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    other TEXT NOT NULL, memo TEXT NOT NULL, delta INTEGER NOT NULL, UNIQUE(kind, name)
);
"""
_OPENING, _ADJUSTED = "opening", "adjusted"
# What a row is, by the beginning of its name and whether money came or went.
_WHAT = {
    ("pay", False): "transfer to",
    ("pay", True): "transfer from",
    ("out", False): "withdrawal",
    ("need", False): "locked for a need",
    ("need", True): "paid for work",
    ("stake", False): "stake",
    ("stake", True): "stake back",
    ("bond", False): "bond",
    ("bond", True): "bond back",
}


class Statement:
    """Follows the state that `state_of` gives. One per home; the runner's thread only."""

    def __init__(self, path: Path, state_of: Callable[[], State]) -> None:
        self._state_of = state_of
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            fix = f"move {path.name} away: it begins anew with the last checkpoint"
            raise LocalFault("bad-statement", f"{path}: {error}", fix=fix) from error
        self._version = -1
        self._count = 0

    def close(self) -> None:
        self._db.close()

    def follow(self) -> None:
        """Take down what moved since the last time: before a checkpoint is adopted, and when somebody asks."""
        state = self._state_of()
        moves = state.ledger.moves
        if moves.version == self._version and len(moves.rows) == self._count:
            return
        anew = moves.version != self._version
        fresh = moves.rows if anew else moves.rows[self._count :]
        shadow = state.shadow.spends
        rows = []
        for move in fresh:
            spend = shadow.get(move.name.partition("/")[0])
            memo = spend.envelope.payload["memo"] if spend is not None else ""
            other = move.other or (spend.to if spend is not None else "")
            rows.append((state.epoch, move.at_ns, move.kind, move.name, other, memo, move.delta))
        with transaction(self._db):
            if anew:
                self._begin(state)
                self._take_back(state)
            self._db.executemany(
                "INSERT INTO move(epoch, at_ns, kind, name, other, memo, delta) VALUES(?,?,?,?,?,?,?) "
                "ON CONFLICT DO NOTHING",
                rows,
            )
            self._adjust(state)
        self._version, self._count = moves.version, len(moves.rows)

    def _begin(self, state: State) -> None:
        if self._db.execute("SELECT 1 FROM move LIMIT 1").fetchone() is None:
            row = (state.epoch, state.now_ns, _OPENING, "", "", "", state.ledger.moves.opening)
            self._db.execute(
                "INSERT INTO move(epoch, at_ns, kind, name, other, memo, delta) VALUES(?,?,?,?,?,?,?)", row
            )

    def _take_back(self, state: State) -> None:
        """The ledger was derived anew: of this epoch, what is no longer so goes."""
        known = {(move.kind, move.name) for move in state.ledger.moves.rows}
        old = self._db.execute(
            "SELECT seq, kind, name FROM move WHERE epoch=? AND kind NOT IN (?,?)",
            (state.epoch, _OPENING, _ADJUSTED),
        ).fetchall()
        gone = [(seq,) for seq, kind, name in old if (kind, name) not in known]
        self._db.executemany("DELETE FROM move WHERE seq=?", gone)

    def _adjust(self, state: State) -> None:
        total = self._db.execute("SELECT coalesce(sum(delta), 0) FROM move").fetchone()[0]
        missing = state.ledger.account(state.me).available - total
        if missing:
            name = f"{state.epoch}/{state.now_ns}"
            self._db.execute(
                "INSERT INTO move(epoch, at_ns, kind, name, other, memo, delta) VALUES(?,?,?,?,?,?,?)",
                (state.epoch, state.now_ns, _ADJUSTED, name, "", "", missing),
            )

    def page(self, *, before: int | None, limit: int) -> dict[str, Any]:
        """The newest first; `before`: the `next` of the page before. LocalFault `bad-args`."""
        if type(limit) is not int or not 1 <= limit <= MAX_PAGE:
            raise LocalFault("bad-args", f"1 to {MAX_PAGE} rows, not {limit!r}", fix="lower --limit")
        if before is not None and (type(before) is not int or before < 1):
            raise LocalFault(
                "bad-args", f"{before!r} is no place in the statement", fix="take it from `next`"
            )
        self.follow()
        found = self._db.execute(
            "SELECT seq, at_ns, kind, name, other, memo, delta, total FROM "
            "(SELECT *, sum(delta) OVER (ORDER BY seq) AS total FROM move) WHERE seq < ? ORDER BY seq DESC LIMIT ?",
            (before or 1 << 62, limit + 1),
        ).fetchall()
        rows, more = found[:limit], len(found) > limit
        return {
            "did": self._state_of().me,
            "balance": format_usdc(self._state_of().ledger.account(self._state_of().me).available),
            "moves": [
                {
                    "n": seq,
                    "at_ns": at_ns,
                    "what": _what(kind, name, delta),
                    "name": name.partition("/")[0] if kind != _ADJUSTED else "",
                    "other": other,
                    "memo": memo,
                    "amount": format_usdc(delta),
                    "balance": format_usdc(total),
                }
                for seq, at_ns, kind, name, other, memo, delta, total in rows
            ],
            "next": rows[-1][0] if more else None,
        }


def _what(kind: str, name: str, delta: int) -> str:
    if kind in (_OPENING, _ADJUSTED, "deposit"):
        return kind
    if kind in ("spend", "paid"):
        return _WHAT.get((name.partition("-")[0], delta > 0), kind)
    return kind  # how an escrow closed: refunded, released, expired, returned
