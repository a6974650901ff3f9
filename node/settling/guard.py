"""What a daemon signs for its own account: an epoch that says what it knows itself, and never two that could both count.

A payer guards its receipts. It signs one under a single (publisher, epoch), of which the contract takes one; under another
only once the first can't come any more: the chain has that epoch with another root, or its deadline is over on the chain
as deep as is final. What is signed is on disk before it is given away, so a crash never signs twice (adr/0030). Blocking.
"""

from collections.abc import Mapping
from pathlib import Path

from swarmd.node.chain.database import Database
from swarmd.node.chain.desk import SETTLEMENT, Desk
from swarmd.node.chain.evm_signatures import recover
from swarmd.node.settling.bindings import BindingBook
from swarmd.node.settling.book import consenting
from swarmd.node.settling.dues import Due, Dues
from swarmd.node.settling.wire import Proposal, Refused
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.ledger.eip712 import require_signer
from swarmd.protocol.ledger.netting import Netting, PaymentReceipt, settlement_digest, settlement_domain

MAX_TTL_S = 86_400

_SCHEMA = """
CREATE TABLE IF NOT EXISTS signed(
    receipt BLOB NOT NULL, publisher BLOB NOT NULL, epoch BLOB NOT NULL, root BLOB NOT NULL,
    deadline_s INTEGER NOT NULL, PRIMARY KEY(receipt, publisher, epoch, root)
) WITHOUT ROWID;
"""


class Guard(Database):
    """What this node has signed, in the SQLite file `path`. Losing the file is losing what keeps us from signing twice."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _SCHEMA)

    def sign(
        self,
        desk: Desk,
        proposal: Proposal,
        consents: Mapping[bytes, bytes],
        *,
        author: str,
        dues: Dues,
        bindings: BindingBook,
        now_s: int,
    ) -> bytes:
        """Our signature under what `author` (did) proposes: 65 bytes.

        RemoteFault: `not-publisher`, `bad-receipt`, `bad-proposal`, `false-receipt`, `bad-signature` (a consent).
        Refused: `wrong-chain`, `other-contract`, `bad-deadline`, `unknown-receipts`, `not-concerned`,
        `consents-missing`, `not-covered`, `already-settled`, `in-another-epoch`.
        """
        bound = bindings.of(author)
        if bound is None or bound.account != proposal.publisher:
            raise RemoteFault("not-publisher", f"{author} is not bound to 0x{proposal.publisher.hex()}")
        self._check_place(desk, proposal, now_s)
        made = proposal.netting()
        self._check_receipts(made, dues, bindings)
        ours = [receipt for receipt in made.receipts if receipt.payer == desk.account]
        if not ours:
            raise Refused("not-concerned", "no receipt of it is ours to pay")
        domain = settlement_domain(proposal.chain_id, proposal.contract)
        digest = settlement_digest(domain, proposal.publisher, proposal.epoch, made, proposal.deadline_s)
        debit = next((each.amount for each in made.debits if each.account == desk.account), 0)
        if debit:
            self._check_consents(made, digest, consents, desk.account)
            balance = desk.machine.view(
                SETTLEMENT,
                proposal.contract,
                "balanceOf",
                desk.account,
                depth=desk.machine.terms.confirmations,
            )[0]
            if debit > balance:
                raise Refused("not-covered", f"{debit} minor units are asked for, {balance} are deposited")
        for receipt in ours:
            self._check_free(desk, receipt, proposal)
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO signed VALUES(?,?,?,?,?) ON CONFLICT DO UPDATE SET "
                "deadline_s=max(deadline_s, excluded.deadline_s)",
                [
                    (each.id, proposal.publisher, proposal.epoch, made.root, proposal.deadline_s)
                    for each in ours
                ],
            )
        return desk.machine.signer.sign_digest(digest)

    def _check_place(self, desk: Desk, proposal: Proposal, now_s: int) -> None:
        chain_id = desk.machine.client.chain_id
        if proposal.chain_id != chain_id:
            raise Refused("wrong-chain", f"this node settles on chain {chain_id}")
        if proposal.contract != desk.contract(SETTLEMENT):
            raise Refused(
                "other-contract", f"this node's Settlement lies at 0x{desk.contract(SETTLEMENT).hex()}"
            )
        latest_s = max(now_s, desk.machine.client.block_time_s())
        if not now_s < proposal.deadline_s <= latest_s + MAX_TTL_S:
            raise Refused("bad-deadline", f"{proposal.deadline_s} is over, or more than a day ahead")

    def _check_receipts(self, made: Netting, dues: Dues, bindings: BindingBook) -> None:
        """Each as we know it: certified by a checkpoint, between the accounts that its parties are bound to."""
        unknown: list[bytes] = []
        settled: list[bytes] = []
        for receipt in made.receipts:
            due = dues.get(receipt.id)
            if due is None:
                unknown.append(receipt.id)
            elif due.is_settled:
                settled.append(receipt.id)
            elif receipt.amount != due.amount or receipt.memo != f"{due.need} {due.task}":
                raise RemoteFault("false-receipt", f"{due.need} {due.task} owes another amount")
            elif not _fits(receipt, due, bindings):
                unknown.append(receipt.id)
        if settled:
            raise Refused("already-settled", f"{len(settled)} of its receipts are on chain", tuple(settled))
        if unknown:
            raise Refused(
                "unknown-receipts", f"{len(unknown)} of its receipts are not as we know them", tuple(unknown)
            )

    def _check_consents(
        self, made: Netting, digest: bytes, consents: Mapping[bytes, bytes], account: bytes
    ) -> None:
        """Of who pays in it without being debited: else a receipt of theirs might be settled twice at our payee's cost."""
        for payer in consenting(made):
            if payer not in consents:
                raise Refused("consents-missing", f"0x{payer.hex()} has not consented")
            require_signer(recover, digest, consents[payer], payer)

    def _check_free(self, desk: Desk, receipt: PaymentReceipt, proposal: Proposal) -> None:
        """Refused unless what we signed for the receipt elsewhere can't count any more."""
        rows = self._db.execute(
            "SELECT publisher, epoch, root, deadline_s FROM signed WHERE receipt=?", (receipt.id,)
        ).fetchall()
        depth = desk.machine.terms.confirmations
        for publisher, epoch in sorted({(row[0], row[1]) for row in rows}):
            mine = [row for row in rows if (row[0], row[1]) == (publisher, epoch)]
            root = bytes(
                desk.machine.view(SETTLEMENT, proposal.contract, "epochOf", publisher, epoch, depth=depth)[0]
            )
            if any(root):
                if any(root == row[2] for row in mine):
                    raise Refused("already-settled", f"in epoch {epoch.hex()[:16]}", (receipt.id,))
                continue  # it was settled without this one
            if (publisher, epoch) == (proposal.publisher, proposal.epoch):
                continue
            if desk.machine.client.block_time_s(depth=depth) <= max(row[3] for row in mine):
                text = f"signed for epoch {epoch.hex()[:16]} of another, which may still come"
                raise Refused("in-another-epoch", text, (receipt.id,))


def _fits(receipt: PaymentReceipt, due: Due, bindings: BindingBook) -> bool:
    payer, payee = bindings.of(due.payer), bindings.of(due.payee)
    return (
        payer is not None
        and payee is not None
        and (receipt.payer, receipt.payee) == (payer.account, payee.account)
    )
