"""What needs have come to owe: payments that a checkpoint certified, until they are settled on a chain.

A checkpoint closes needs and says who was paid what (adr/0014); a quorum has signed that, so it is never taken back. Each
such payment is a due. This book follows the checkpoints by a cursor, so a crash loses and doubles none, and keeps the proof
of each that was settled, whoever published it. Blocking; two connections may share the file.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from swarmd.node.chain.database import Database
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.checkpoint.snapshot import ClosedNeed
from swarmd.protocol.ledger.netting import PaymentReceipt, ReceiptProof, due_id, receipt_of

DUES = "dues.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS due(
    id BLOB PRIMARY KEY, need TEXT NOT NULL, task TEXT NOT NULL, payer TEXT NOT NULL, payee TEXT NOT NULL,
    amount INTEGER NOT NULL, epoch INTEGER NOT NULL, added_s INTEGER NOT NULL, is_settled INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS due_open ON due(added_s) WHERE is_settled = 0;
CREATE INDEX IF NOT EXISTS due_need ON due(need);
CREATE TABLE IF NOT EXISTS cursor(one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS proof(id BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
"""
_COLUMNS = "id, need, task, payer, payee, amount, epoch, added_s, is_settled"


@dataclass(frozen=True, slots=True)
class Due:
    """`payer` (did) owes `payee` (did) `amount` minor units for `task` of `need`; certified by the checkpoint `epoch`."""

    id: bytes
    need: str
    task: str
    payer: str
    payee: str
    amount: int
    epoch: int
    added_s: int
    is_settled: int

    def receipt(self, payer: bytes, payee: bytes) -> PaymentReceipt:
        """Between their accounts (20 bytes)."""
        return PaymentReceipt(self.id, payer, payee, self.amount, f"{self.need} {self.task}")


class Dues(Database):
    def __init__(self, path: Path, mesh_id: bytes) -> None:
        super().__init__(path, _SCHEMA)
        self._mesh_id = mesh_id

    def cursor(self) -> int:
        """The last checkpoint whose payments are here; 0 before the first."""
        row = self._db.execute("SELECT epoch FROM cursor").fetchone()
        return 0 if row is None else int(row[0])

    def add(self, epoch: int, closed: Mapping[str, ClosedNeed], *, now_s: int) -> int:
        """Take what the checkpoint `epoch` closed; returns how many payments that were."""
        rows = [
            (due_id(self._mesh_id, name, task), name, task, need.owner, worker, amount, epoch, now_s)
            for name, need in closed.items()
            for task, (worker, amount) in need.paid.items()
            if amount > 0 and worker != need.owner
        ]
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO due(id, need, task, payer, payee, amount, epoch, added_s) VALUES(?,?,?,?,?,?,?,?) "
                "ON CONFLICT DO NOTHING",
                rows,
            )
            db.execute("INSERT OR REPLACE INTO cursor VALUES(1, max(?, ?))", (epoch, self.cursor()))
        return len(rows)

    def _rows(self, where: str, *arguments: object) -> list[Due]:
        found = self._db.execute(f"SELECT {_COLUMNS} FROM due WHERE {where}", arguments).fetchall()
        return [Due(*row) for row in found]

    def get(self, name: bytes) -> Due | None:
        found = self._rows("id=?", name)
        return found[0] if found else None

    def of_need(self, need: str) -> list[Due]:
        return self._rows("need=? ORDER BY task", need)

    def open(self, limit: int) -> list[Due]:
        """What is not settled, the oldest first."""
        return self._rows("is_settled=0 ORDER BY added_s, id LIMIT ?", limit)

    def open_of(self, did: str, limit: int) -> list[Due]:
        """Of these, what a node pays or gets."""
        return self._rows("is_settled=0 AND (payer=?1 OR payee=?1) ORDER BY added_s, id LIMIT ?2", did, limit)

    def counts(self) -> dict[str, int]:
        """open, settled."""
        found = dict(self._db.execute("SELECT is_settled, count(*) FROM due GROUP BY is_settled").fetchall())
        return {"open": found.get(0, 0), "settled": found.get(1, 0)}

    def settled(self, names: Iterable[bytes]) -> None:
        news = [(name,) for name in names if (due := self.get(name)) is not None and not due.is_settled]
        if news:
            with self._transaction() as db:
                db.executemany("UPDATE due SET is_settled=1 WHERE id=?", news)

    # Proofs of what others published

    def keep_proof(self, proof: ReceiptProof) -> None:
        """A proof that was verified against the chain."""
        name = receipt_of(proof.leaf).id
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO proof VALUES(?,?)", (name, encode(proof_to_list(proof))))
            db.execute("UPDATE due SET is_settled=1 WHERE id=?", (name,))

    def proof(self, name: bytes) -> ReceiptProof | None:
        row = self._db.execute("SELECT record FROM proof WHERE id=?", (name,)).fetchone()
        return None if row is None else proof_from_list(decode(row[0]))


def proof_to_list(proof: ReceiptProof) -> list[object]:
    return [
        proof.chain_id,
        proof.contract,
        proof.publisher,
        proof.epoch,
        proof.leaf,
        proof.index,
        proof.count,
        list(proof.path),
    ]


def proof_from_list(fields: Sequence[object]) -> ReceiptProof:
    chain_id, contract, publisher, epoch, leaf, index, count, path = fields
    return ReceiptProof(chain_id, contract, publisher, epoch, leaf, index, count, tuple(path))  # type: ignore[arg-type]  # checked by who reads it from a peer
