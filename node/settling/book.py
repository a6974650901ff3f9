"""The epochs of mesh payments that this node publishes: as `Settlements`, with payers that are asked over the network.

Who pays signs: net debtors for the contract, other payers to say that their receipt is in no other epoch (a consent). An
epoch keeps its id when payers are left out and the rest is netted again. The contract takes one settlement for each
(publisher, epoch), so whatever was signed under that id, one of them counts (adr/0030). Blocking.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from swarmd.node.chain.desk import SETTLEMENT, Desk
from swarmd.node.chain.evm_signatures import recover
from swarmd.node.chain.requests import CALL
from swarmd.node.chain.settlement import Epoch, Settlements, deposits_of
from swarmd.node.settling.wire import MAX_EPOCH_RECEIPTS, Proposal
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.ledger.eip712 import require_signer
from swarmd.protocol.ledger.netting import Netting, PaymentReceipt, net, receipt_of

SIGNATURE_TTL_S = 3_600
ASIDE_S = 600  # a payer that was silent or refused is asked again after so long

_SCHEMA = """
CREATE TABLE IF NOT EXISTS aside(id BLOB PRIMARY KEY, until_s INTEGER NOT NULL, why TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS consent(
    epoch BLOB NOT NULL, payer BLOB NOT NULL, signature BLOB NOT NULL, PRIMARY KEY(epoch, payer)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose signatures an epoch lacks: `consents` are asked for first, for debtors want to see them."""

    consents: tuple[bytes, ...]
    debtors: tuple[bytes, ...]


class MeshBook(Settlements):
    def __init__(self, path: Path, *, min_receipts: int, deadline_s: int) -> None:
        super().__init__(
            path,
            min_receipts=min_receipts,
            deadline_s=deadline_s,
            signature_ttl_s=SIGNATURE_TTL_S,
            schema=_SCHEMA,
        )

    def enter(self, receipts: Iterable[tuple[PaymentReceipt, int]]) -> None:
        """Receipts and since when each waits. One that is in no epoch follows its parties to other accounts."""
        known = dict(self._db.execute("SELECT id, leaf FROM receipt").fetchall())
        news = [(each, since) for each, since in receipts if known.get(each.id) != each.leaf()]
        if not news:
            return
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO receipt(id, leaf, added_s) VALUES(?,?,?) "
                "ON CONFLICT(id) DO UPDATE SET leaf=excluded.leaf WHERE epoch IS NULL",
                [(receipt.id, receipt.leaf(), added_s) for receipt, added_s in news],
            )

    def drop(self, names: Iterable[bytes]) -> None:
        """Forget receipts that others settled."""
        gone = [(name,) for name in names]
        if gone:
            with self._transaction() as db:
                db.executemany("DELETE FROM receipt WHERE id=? AND epoch IS NULL", gone)

    def _candidates(self, now_s: int) -> list[tuple[bytes, int]]:
        return self._db.execute(
            "SELECT leaf, added_s FROM receipt WHERE epoch IS NULL AND NOT EXISTS "
            "(SELECT 1 FROM aside WHERE aside.id = receipt.id AND until_s > ?) ORDER BY seq LIMIT ?",
            (now_s, MAX_EPOCH_RECEIPTS),
        ).fetchall()

    def _own_signature(
        self, desk: Desk, debtor: bytes, digest: bytes, keys: Mapping[bytes, bytes]
    ) -> bytes | None:
        return None  # ours is given by the guard, as everybody's

    def proposed(self) -> Epoch | None:
        """The epoch whose signatures are being gathered."""
        found = self._epochs("state='proposed'")
        return found[0] if found else None

    def settled_ids(self) -> list[bytes]:
        """The receipts of epochs that are settled."""
        rows = self._db.execute(
            "SELECT receipt.id FROM receipt JOIN epoch ON receipt.epoch = epoch.id WHERE epoch.state='settled'"
        )
        return [name for (name,) in rows]

    def proposal(self, desk: Desk, epoch: Epoch) -> Proposal:
        rows = self._db.execute("SELECT leaf FROM receipt WHERE epoch=? ORDER BY seq", (epoch.id,))
        return Proposal(
            desk.machine.client.chain_id,
            desk.contract(SETTLEMENT),
            desk.account,
            epoch.id,
            epoch.deadline_s,
            tuple(leaf for (leaf,) in rows),
        )

    def wanted(self, desk: Desk, epoch: Epoch) -> Wanted:
        made = self._netting(epoch.id)
        _, debtors = self.to_sign(desk, epoch)
        have = self.consents(epoch)
        return Wanted(
            tuple(payer for payer in consenting(made) if payer not in have),
            tuple(debtors),
        )

    def consents(self, epoch: Epoch) -> dict[bytes, bytes]:
        return dict(
            self._db.execute("SELECT payer, signature FROM consent WHERE epoch=?", (epoch.id,)).fetchall()
        )

    def took(self, desk: Desk, epoch: Epoch, payer: bytes, signature: bytes) -> None:
        """Keep a debtor's signature or a consent. RemoteFault `bad-signature`."""
        digest, debtors = self.to_sign(desk, epoch)
        require_signer(recover, digest, signature, payer)
        table = "signature" if payer in debtors else "consent"
        with self._transaction() as db:
            db.execute(
                f"INSERT INTO {table} VALUES(?,?,?) ON CONFLICT DO NOTHING", (epoch.id, payer, signature)
            )

    def leave_out(
        self,
        desk: Desk,
        epoch: Epoch,
        payers: Collection[bytes],
        names: Collection[bytes],
        why: str,
        now_s: int,
    ) -> Epoch | None:
        """Net the epoch again without what `payers` owe and without the receipts `names`; they wait a while.

        The same epoch, to be signed anew; None if nothing was left of it.
        """
        if desk.machine.outbox.get(CALL, epoch.id) is not None:
            return epoch  # it is on its way: a crash came between that and our note of it
        rows = self._db.execute("SELECT leaf FROM receipt WHERE epoch=? ORDER BY seq", (epoch.id,)).fetchall()
        before = [receipt_of(leaf) for (leaf,) in rows]
        kept = [each for each in before if each.payer not in payers and each.id not in names]
        out = {each.id for each in before} - {each.id for each in kept}
        try:
            deposits = deposits_of(desk, {each.payer for each in kept}, epoch.deadline_s)
            made = net(kept, deposits) if kept else None
        except LocalFault:  # nothing-to-settle: what is left is not covered
            made = None
        left = {each.id for each in made.receipts} if made is not None else set()
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO aside VALUES(?,?,?)", [(name, now_s + ASIDE_S, why) for name in out]
            )
            db.execute("DELETE FROM signature WHERE epoch=?", (epoch.id,))
            db.execute("DELETE FROM consent WHERE epoch=?", (epoch.id,))
            db.executemany(
                "UPDATE receipt SET epoch=NULL WHERE id=?",
                [(each.id,) for each in before if each.id not in left],
            )
            if made is None:
                db.execute("UPDATE epoch SET state='failed', reason='unsigned' WHERE id=?", (epoch.id,))
            else:
                db.execute(
                    "UPDATE epoch SET root=?, count=?, moved=? WHERE id=?",
                    (made.root, made.count, made.moved, epoch.id),
                )
        return self._epochs("id=?", epoch.id)[0] if made is not None else None

    def state_of(self, name: bytes) -> str:
        """Of the receipt's epoch; "waiting" if it is in none, "" if it is not here."""
        row = self._db.execute(
            "SELECT epoch.state FROM receipt LEFT JOIN epoch ON receipt.epoch = epoch.id WHERE receipt.id=?",
            (name,),
        ).fetchone()
        return "" if row is None else row[0] or "waiting"

    def said_settled(self) -> list[bytes]:
        """Receipts whose payer says that they are settled: there must be a proof of that somewhere."""
        rows = self._db.execute(
            "SELECT aside.id FROM aside JOIN receipt ON receipt.id = aside.id "
            "WHERE receipt.epoch IS NULL AND why='already-settled' LIMIT 64"
        )
        return [name for (name,) in rows]

    def set_aside(self) -> dict[str, int]:
        """Why receipts wait that were left out -> how many."""
        rows = self._db.execute(
            "SELECT why, count(*) FROM aside JOIN receipt ON receipt.id = aside.id WHERE receipt.epoch IS NULL "
            "GROUP BY why"
        )
        return dict(rows.fetchall())


def consenting(made: Netting) -> list[bytes]:
    """Who pays in an epoch without being debited by it, in order of address."""
    debtors = {debit.account for debit in made.debits}
    return sorted({receipt.payer for receipt in made.receipts} - debtors)
