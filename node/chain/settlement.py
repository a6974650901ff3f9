"""Settling receipts on a chain: gather, net, collect signatures, publish once, confirm, prove.

    receipts ──>= 250 or the deadline──> proposed ──all debtors signed──> submitted ──> delivered-unconfirmed ──> settled
       ^                                    | deadline passed                | reverted at its depth
       +------------------------------------+--------------------------------+   (the epoch ends, its receipts wait again)

A receipt is in one living epoch at most, and an epoch that ended can't come back: before it was sent nobody but we has
it, and after that its nonce is used. The book is SQLite; each step is one transaction, and `tick` goes on from any.
Blocking; the chain's worker thread only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from swarmd.node.chain.anchoring import pack_call
from swarmd.node.chain.database import Database
from swarmd.node.chain.desk import SETTLEMENT, Desk
from swarmd.node.chain.evm_signatures import recover, sign_digest
from swarmd.node.chain.requests import CALL
from swarmd.protocol.faults import CorruptState, LocalFault
from swarmd.protocol.ledger.eip712 import require_signer
from swarmd.protocol.ledger.netting import (
    Netting,
    PaymentReceipt,
    ReceiptProof,
    net,
    proofs,
    receipt_of,
    settlement_digest,
    settlement_domain,
)

MIN_RECEIPTS = 250
DEADLINE_S = 3_600
SIGNATURE_TTL_S = 86_400
MAX_EPOCH_RECEIPTS = 10_000
LIVING = ("proposed", "submitted", "delivered-unconfirmed")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS receipt(
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, leaf BLOB NOT NULL, epoch BLOB, added_s INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS receipt_epoch ON receipt(epoch, seq);
CREATE TABLE IF NOT EXISTS epoch(
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, root BLOB NOT NULL, count INTEGER NOT NULL,
    moved INTEGER NOT NULL, deadline_s INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
    block_number INTEGER
);
CREATE TABLE IF NOT EXISTS signature(
    epoch BLOB NOT NULL, debtor BLOB NOT NULL, signature BLOB NOT NULL, PRIMARY KEY(epoch, debtor)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Epoch:
    id: bytes
    root: bytes
    count: int
    moved: int
    deadline_s: int
    state: str
    reason: str
    block_number: int | None

    def document(self) -> dict[str, Any]:
        return {
            "epoch": self.id.hex(),
            "root": self.root.hex(),
            "receipts": self.count,
            "moved": self.moved,
            "deadline_s": self.deadline_s,
            "state": f"failed:{self.reason}" if self.state == "failed" else self.state,
            "block": self.block_number,
        }


class Settlements(Database):
    """The receipts of one publisher and their epochs, in the SQLite file `path`."""

    def __init__(
        self,
        path: Path,
        *,
        min_receipts: int = MIN_RECEIPTS,
        deadline_s: int = DEADLINE_S,
        signature_ttl_s: int = SIGNATURE_TTL_S,
        schema: str = "",
    ) -> None:
        super().__init__(path, _SCHEMA + schema)
        self.min_receipts = min_receipts
        self.deadline_s = deadline_s
        self.signature_ttl_s = signature_ttl_s

    # Receipts

    def add(self, receipts: Iterable[PaymentReceipt], *, now_s: int) -> int:
        """Take receipts to settle; returns how many are new. LocalFault `receipt-conflict`: an id with two contents."""
        added = 0
        with self._transaction():
            for receipt in receipts:
                leaf = receipt.leaf()
                cursor = self._db.execute(
                    "INSERT INTO receipt(id, leaf, added_s) VALUES(?,?,?) ON CONFLICT DO NOTHING",
                    (receipt.id, leaf, now_s),
                )
                added += cursor.rowcount
                if not cursor.rowcount:
                    row = self._db.execute("SELECT leaf FROM receipt WHERE id=?", (receipt.id,)).fetchone()
                    if row[0] != leaf:
                        text = f"payment 0x{receipt.id.hex()} has another content"
                        raise LocalFault("receipt-conflict", text, fix="the first stands; give it another id")
        return added

    def waiting(self) -> tuple[int, int | None]:
        """How many receipts are in no epoch, and since when the oldest is (seconds since 1970)."""
        count, oldest = self._db.execute(
            "SELECT count(*), min(added_s) FROM receipt WHERE epoch IS NULL"
        ).fetchone()
        return count, oldest

    # Epochs

    def epochs(self, *, limit: int = 20) -> list[Epoch]:
        """The newest first."""
        return self._epochs("1 ORDER BY seq DESC LIMIT ?", limit)

    def _epochs(self, where: str, *arguments: object) -> list[Epoch]:
        columns = "id, root, count, moved, deadline_s, state, reason, block_number"
        rows = self._db.execute(f"SELECT {columns} FROM epoch WHERE {where}", arguments).fetchall()
        return [Epoch(*row) for row in rows]

    def _netting(self, epoch: bytes) -> Netting:
        rows = self._db.execute("SELECT leaf FROM receipt WHERE epoch=? ORDER BY seq", (epoch,)).fetchall()
        return net([receipt_of(leaf) for (leaf,) in rows])

    def propose(self, desk: Desk, *, now_s: int, at_once: bool = False) -> Epoch | None:
        """Net what waits if it is enough or old enough; None if not. One epoch lives at a time.

        What a debtor's deposit does not cover waits on. LocalFault `nothing-to-settle` if that is all.
        """
        rows = self._candidates(now_s)
        due = len(rows) >= self.min_receipts or any(now_s - added_s >= self.deadline_s for _, added_s in rows)
        if not rows or not (due or at_once) or self._epochs("state IN (?,?,?)", *LIVING):
            return None
        receipts = [receipt_of(leaf) for leaf, _ in rows]
        deadline_s = max(now_s, desk.machine.client.block_time_s()) + self.signature_ttl_s
        made = net(receipts, deposits_of(desk, {receipt.payer for receipt in receipts}, deadline_s))
        number = self._db.execute("SELECT count(*) FROM epoch").fetchone()[0]
        name = sha256(b"swarmd/epoch/1\0" + made.root + number.to_bytes(8, "big")).digest()
        with self._transaction():
            self._db.execute(
                "INSERT INTO epoch(id, root, count, moved, deadline_s, state) VALUES(?,?,?,?,?,'proposed')",
                (name, made.root, made.count, made.moved, deadline_s),
            )
            self._db.executemany(
                "UPDATE receipt SET epoch=? WHERE id=?", [(name, receipt.id) for receipt in made.receipts]
            )
        return self._epochs("id=?", name)[0]

    def _candidates(self, now_s: int) -> list[tuple[bytes, int]]:
        """(leaf, since when it waits) of receipts that an epoch could take, in their order."""
        return self._db.execute(
            "SELECT leaf, added_s FROM receipt WHERE epoch IS NULL ORDER BY seq LIMIT ?",
            (MAX_EPOCH_RECEIPTS,),
        ).fetchall()

    def to_sign(self, desk: Desk, epoch: Epoch) -> tuple[bytes, list[bytes]]:
        """The digest that each net debtor signs, and those whose signature is still missing."""
        made = self._netting(epoch.id)
        have = {row[0] for row in self._db.execute("SELECT debtor FROM signature WHERE epoch=?", (epoch.id,))}
        return self._digest(desk, epoch, made), [m.account for m in made.debits if m.account not in have]

    def _digest(self, desk: Desk, epoch: Epoch, made: Netting) -> bytes:
        domain = settlement_domain(desk.machine.client.chain_id, desk.contract(SETTLEMENT))
        return settlement_digest(domain, desk.account, epoch.id, made, epoch.deadline_s)

    def sign(self, desk: Desk, epoch: Epoch, debtor: bytes, signature: bytes) -> None:
        """Keep a debtor's signature. RemoteFault `bad-signature`."""
        digest, _ = self.to_sign(desk, epoch)
        require_signer(recover, digest, signature, debtor)
        with self._transaction():
            self._db.execute(
                "INSERT INTO signature VALUES(?,?,?) ON CONFLICT DO NOTHING", (epoch.id, debtor, signature)
            )

    # Rounds

    def tick(
        self, desk: Desk, *, now_s: int, at_once: bool = False, keys: Mapping[bytes, bytes] | None = None
    ) -> str:
        """Go on from wherever it stands; returns what it waits for, "" if for nothing.

        `keys`: address -> key of debtors that this host signs for, besides the account itself.
        """
        waits = ""
        for epoch in self._epochs("state IN (?,?,?)", *LIVING):
            waits = self._advance(desk, epoch, now_s, keys or {}) or waits
        try:
            epoch_made = self.propose(desk, now_s=now_s, at_once=at_once)
        except LocalFault as fault:
            if fault.code != "nothing-to-settle":
                raise
            return f"deposits: {fault.message}"
        if epoch_made is not None:
            waits = self._advance(desk, epoch_made, now_s, keys or {})
        return waits

    def _advance(self, desk: Desk, epoch: Epoch, now_s: int, keys: Mapping[bytes, bytes]) -> str:
        if epoch.state == "proposed":
            digest, missing = self.to_sign(desk, epoch)
            for debtor in missing:
                signature = self._own_signature(desk, debtor, digest, keys)
                if signature is not None:
                    self.sign(desk, epoch, debtor, signature)
            _, missing = self.to_sign(desk, epoch)
            if missing and max(now_s, desk.machine.client.block_time_s()) > epoch.deadline_s:
                self._end(epoch, "failed", "unsigned")
                return ""
            if missing:
                return f"signatures: {len(missing)} of the debtors have not signed"
            self._submit(desk, epoch)
        return self._confirm(desk, epoch)

    def _own_signature(
        self, desk: Desk, debtor: bytes, digest: bytes, keys: Mapping[bytes, bytes]
    ) -> bytes | None:
        """Of a debtor that this host signs for."""
        if debtor == desk.account:
            return desk.machine.signer.sign_digest(digest)
        return sign_digest(keys[debtor], digest) if debtor in keys else None

    def _submit(self, desk: Desk, epoch: Epoch) -> None:
        """Into the outbox, which is idempotent: the book follows it, whichever of the two a crash spares."""
        made = self._netting(epoch.id)
        signatures: dict[bytes, bytes] = dict(
            self._db.execute("SELECT debtor, signature FROM signature WHERE epoch=?", (epoch.id,)).fetchall()
        )
        data = desk.machine.codec(SETTLEMENT).encode_call(
            "settle",
            epoch.id,
            epoch.root,
            epoch.count,
            [(m.account, m.amount) for m in made.debits],
            [(m.account, m.amount) for m in made.credits],
            epoch.deadline_s,
            [signatures[m.account] for m in made.debits],
        )
        gas = 150_000 + 30_000 * len(made.debits) + 35_000 * len(made.credits)
        desk.machine.outbox.submit(CALL, epoch.id, pack_call(desk.contract(SETTLEMENT), data, gas))
        self._set(epoch, "submitted")

    def _confirm(self, desk: Desk, epoch: Epoch) -> str:
        """Follow the outbox, and the chain where the outbox does not know."""
        request = desk.machine.outbox.get(CALL, epoch.id)
        if request is None:
            if self._on_chain(desk, epoch) is None:
                self._submit(desk, epoch)
                return "submitted"
            self._settle(desk, epoch)
            return ""
        if request.state == "final":
            self._settle(desk, epoch)
            return ""
        if request.state == "failed":
            # The same epoch again reverts too, but then the first did the work.
            if self._on_chain(desk, epoch) is not None:
                self._settle(desk, epoch)
            else:
                self._end(epoch, "failed", request.reason)
            return ""
        state = "delivered-unconfirmed" if request.state in ("sent", "mined") else "submitted"
        self._set(epoch, state)
        return state

    def _on_chain(self, desk: Desk, epoch: Epoch) -> int | None:
        root, block_number, count = desk.view(SETTLEMENT, "epochOf", desk.account, epoch.id)
        if not any(root):
            return None
        if bytes(root) != epoch.root or count != epoch.count:
            raise CorruptState(
                "settlement-mismatch", f"the chain has another root for epoch {epoch.id.hex()}"
            )
        return int(block_number)

    def _settle(self, desk: Desk, epoch: Epoch) -> None:
        block_number = self._on_chain(desk, epoch)
        if block_number is None:
            raise CorruptState("settlement-lost", f"epoch {epoch.id.hex()} is final and not on chain")
        with self._transaction():
            self._db.execute(
                "UPDATE epoch SET state='settled', block_number=? WHERE id=?", (block_number, epoch.id)
            )

    def _set(self, epoch: Epoch, state: str) -> None:
        if epoch.state != state:
            with self._transaction():
                self._db.execute("UPDATE epoch SET state=? WHERE id=?", (state, epoch.id))

    def _end(self, epoch: Epoch, state: str, reason: str) -> None:
        """The epoch is over without being settled: its receipts wait for another."""
        with self._transaction():
            self._db.execute("UPDATE epoch SET state=?, reason=? WHERE id=?", (state, reason, epoch.id))
            self._db.execute("UPDATE receipt SET epoch=NULL WHERE epoch=?", (epoch.id,))

    # For operators and payees

    def status(self) -> dict[str, Any]:
        count, oldest = self.waiting()
        states = dict(self._db.execute("SELECT state, count(*) FROM epoch GROUP BY state").fetchall())
        settled = self._db.execute(
            "SELECT coalesce(sum(count), 0) FROM epoch WHERE state='settled'"
        ).fetchone()[0]
        return {
            "waiting": count,
            "waiting_since_s": oldest,
            "settled": settled,
            "min_receipts": self.min_receipts,
            "deadline_s": self.deadline_s,
            "states": states,
            "epochs": [epoch.document() for epoch in self.epochs()],
        }

    def proof(self, desk: Desk, receipt_id: bytes) -> ReceiptProof:
        """What a payee verifies. LocalFault `no-receipt`, `not-settled` (the state says how far it is)."""
        row = self._db.execute("SELECT epoch FROM receipt WHERE id=?", (receipt_id,)).fetchone()
        if row is None:
            raise LocalFault("no-receipt", f"0x{receipt_id.hex()}", fix="swarmd settle status")
        if row[0] is None:
            raise LocalFault("not-settled", "it waits for an epoch", fix="swarmd settle now")
        epoch = self._epochs("id=?", row[0])[0]
        if epoch.state != "settled":
            raise LocalFault("not-settled", f"its epoch is {epoch.state}", fix="wait: it goes on by itself")
        made = self._netting(epoch.id)
        index = next(n for n, receipt in enumerate(made.receipts) if receipt.id == receipt_id)
        return ReceiptProof(
            desk.machine.client.chain_id,
            desk.contract(SETTLEMENT),
            desk.account,
            epoch.id,
            made.receipts[index].leaf(),
            index,
            made.count,
            proofs(made)[index],
        )


def deposits_of(desk: Desk, accounts: Iterable[bytes], deadline_s: int) -> dict[bytes, int]:
    """What each can be debited until `deadline_s`: its deposit, without what it may have withdrawn by then."""
    found: dict[bytes, int] = {}
    for account in accounts:
        balance = desk.view(SETTLEMENT, "balanceOf", account)[0]
        leaving, ready_at_s = desk.view(SETTLEMENT, "withdrawalOf", account)
        found[account] = max(0, balance - leaving) if 0 < ready_at_s <= deadline_s else balance
    return found


def verify_proof(desk: Desk, proof: ReceiptProof) -> PaymentReceipt:
    """The receipt that `proof` shows to be settled on this chain, by asking the chain alone.

    Raises LocalFault `wrong-chain`, `not-on-chain`, `proof-wrong`; RemoteFault `bad-receipt`.
    """
    if proof.chain_id != desk.machine.client.chain_id:
        fix = f"ask a node of chain {proof.chain_id}"
        raise LocalFault("wrong-chain", f"this is chain {desk.machine.client.chain_id}", fix=fix)
    receipt = receipt_of(proof.leaf)
    machine = desk.machine
    root, _, count = machine.view(
        SETTLEMENT, proof.contract, "epochOf", proof.publisher, proof.epoch, depth=machine.terms.confirmations
    )
    if not any(root):
        fix = "it may not be confirmed yet; ask again, or ask its publisher"
        raise LocalFault("not-on-chain", "the publisher has not settled this epoch", fix=fix)
    if proof.root() != bytes(root) or proof.count != count:
        raise LocalFault(
            "proof-wrong", "it does not lead to the root that is on chain", fix="ask for another"
        )
    return receipt
