"""The books of mesh settlement over one chain, and what is done with them in the chain's thread. Blocking."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from swarmd.node.chain.codec import checksum
from swarmd.node.chain.desk import SETTLEMENT, Desk
from swarmd.node.chain.settlement import Epoch, verify_proof
from swarmd.node.keys import Identity
from swarmd.node.settling.bindings import BindingBook
from swarmd.node.settling.book import MeshBook
from swarmd.node.settling.dues import DUES, Due, Dues
from swarmd.node.settling.guard import Guard
from swarmd.node.settling.own import load_own, save_own
from swarmd.node.settling.slashing import Verdict, charge_of, judge, slash, verifiers
from swarmd.node.settling.terms import Terms
from swarmd.node.settling.wire import MAX_EPOCH_RECEIPTS, Charge, Proposal, Refused
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.ledger.binding import Binding
from swarmd.protocol.ledger.netting import ReceiptProof, receipt_of

BINDINGS, GUARD, BOOK = "bindings.sqlite", "signed.sqlite", "mesh-settlement.sqlite"


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the nodes `dids` of the account `payer` to sign `proposal`, whose debtors want to see `consents`."""

    payer: bytes
    dids: tuple[str, ...]
    proposal: Proposal
    root: bytes
    consents: Mapping[bytes, bytes]


class MeshDesk:
    def __init__(
        self, folder: Path, desk: Desk, identity: Identity, mesh_id: bytes, terms: Terms | None = None
    ) -> None:
        self.desk = desk
        self.me = identity.did
        self.terms = terms or Terms()
        self._folder = folder
        self._identity = identity
        self._mesh_id = mesh_id
        self.dues = Dues(folder / DUES, mesh_id)
        self.bindings = BindingBook(folder / BINDINGS, desk.machine.client.chain_id)
        self.guard = Guard(folder / GUARD)
        self.book = MeshBook(
            folder / BOOK, min_receipts=self.terms.min_receipts, deadline_s=self.terms.deadline_s
        )
        self.dues.settled(self.book.settled_ids())

    def close(self) -> None:
        for book in (self.dues, self.bindings, self.guard, self.book):
            book.close()

    # Bindings

    def bind(self, *, now_s: int) -> dict[str, Any]:
        """Say with both keys that this node and the chain's account are one owner's; from here on it is published."""
        known = self.bindings.of(self.me)
        made_at_s = now_s if known is None else max(now_s, known.made_at_s + 1)
        bare = Binding(self.me, self.desk.account, self.desk.machine.client.chain_id, made_at_s)
        binding = Binding(
            bare.did,
            bare.account,
            bare.chain_id,
            bare.made_at_s,
            self._identity.sign(bare.for_did()),
            self.desk.machine.signer.sign_digest(bare.digest()),
        )
        self.bindings.learn(self.me, binding, now_s=made_at_s)
        save_own(self._folder, binding)
        return {
            "did": self.me,
            "address": checksum(binding.account),
            "chain_id": binding.chain_id,
            "made_at_s": made_at_s,
        }

    def learn(self, shown: Iterable[tuple[str, Binding]], *, now_s: int) -> list[tuple[str, str]]:
        """What nodes published; returns who published something wrong: [(did, code)]."""
        refused = []
        for did, binding in shown:
            try:
                self.bindings.learn(did, binding, now_s=now_s)
            except RemoteFault as fault:
                refused.append((did, fault.code))
        return refused

    def bound(self) -> list[dict[str, Any]]:
        return [
            {
                "did": each.did,
                "address": checksum(each.account),
                "made_at_s": each.made_at_s,
                "me": each.did == self.me,
            }
            for each in self.bindings.all()
        ]

    # Publishing

    def publisher(self, now_s: int) -> str:
        """Whose turn it is to publish: drawn anew among the bound nodes every deadline, by all alike; "" if there is none."""
        window = (now_s // max(1, self.terms.deadline_s)).to_bytes(8, "big")
        dids = [each.did for each in self.bindings.all()]
        return min(
            dids,
            key=lambda did: sha256(b"swarmd/publisher/1\0" + self._mesh_id + window + did.encode()).digest(),
            default="",
        )

    def advance(self, *, now_s: int, at_once: bool = False) -> tuple[str, list[Ask]]:
        """Go on with our epochs; begin one if it is our turn, or `at_once`. What it waits for, and whom to ask."""
        if load_own(self._folder) is None:
            return "binding: swarmd wallet bind says whose account this node's is", []
        if at_once or self.publisher(now_s) == self.me:
            self.book.enter(self._receipts(now_s))
        waits = self.book.tick(self.desk, now_s=now_s, at_once=at_once)
        epoch = self.book.proposed()
        asks: list[Ask] = []
        if epoch is not None:
            epoch, asks = self._gather(epoch, now_s)
            if epoch is not None and not asks:  # ours was the last that lacked
                waits = self.book.tick(self.desk, now_s=now_s)
        self.dues.settled(self.book.settled_ids())
        return waits, asks

    def _receipts(self, now_s: int) -> list[Any]:
        found = []
        for due in self.dues.open(MAX_EPOCH_RECEIPTS):
            payer, payee = self.bindings.of(due.payer), self.bindings.of(due.payee)
            if payer is not None and payee is not None and payer.account != payee.account:
                found.append((due.receipt(payer.account, payee.account), due.added_s))
        return found

    def _gather(self, epoch: Epoch, now_s: int) -> tuple[Epoch | None, list[Ask]]:
        """Sign what is ours to sign, and say whom to ask for the rest: consents first."""
        while True:
            proposal = self.book.proposal(self.desk, epoch)
            wanted = self.book.wanted(self.desk, epoch)
            stage = wanted.consents or wanted.debtors
            if self.desk.account not in stage:
                consents = self.book.consents(epoch)
                asks = [
                    Ask(payer, tuple(self.bindings.owners(payer)), proposal, epoch.root, consents)
                    for payer in stage
                ]
                return epoch, asks
            try:
                signature = self.sign(proposal, self.book.consents(epoch), author=self.me, now_s=now_s)
                self.book.took(self.desk, epoch, self.desk.account, signature)
            except Refused as refusal:
                again = self.leave_out(
                    self.desk.account, epoch.root, refusal.code, refusal.receipts, now_s=now_s
                )
                if again is None:
                    return None, []
                epoch = again

    def took(self, payer: bytes, root: bytes, signature: bytes) -> None:
        """A payer's answer. RemoteFault `bad-signature`; what came too late for its epoch is dropped."""
        epoch = self.book.proposed()
        if epoch is not None and epoch.root == root:
            self.book.took(self.desk, epoch, payer, signature)

    def leave_out(
        self, payer: bytes, root: bytes, why: str, names: Sequence[bytes] = (), *, now_s: int
    ) -> Epoch | None:
        """Go on without receipts that their payer refuses, or without all it owes if it named none of the epoch's."""
        epoch = self.book.proposed()
        if epoch is None or epoch.root != root:
            return epoch
        in_it = {receipt_of(leaf).id for leaf in self.book.proposal(self.desk, epoch).leaves}
        named: Collection[bytes] = in_it.intersection(names)
        return self.book.leave_out(self.desk, epoch, () if named else (payer,), named, why, now_s)

    # Signing

    def sign(self, proposal: Proposal, consents: Mapping[bytes, bytes], *, author: str, now_s: int) -> bytes:
        """As `Guard.sign`, over our books."""
        return self.guard.sign(
            self.desk,
            proposal,
            consents,
            author=author,
            dues=self.dues,
            bindings=self.bindings,
            now_s=now_s,
        )

    # Slashing

    def charge(self, evidence: bytes) -> Charge:
        return charge_of(self.desk, evidence)

    def judge(self, genesis: Genesis, charge: Charge) -> Verdict:
        """As `slashing.judge`, over our bindings."""
        return judge(self.desk, genesis, charge, self.bindings)

    def vote(self, genesis: Genesis, charge: Charge) -> bytes:
        """Our signature under a charge that we have checked: 65 bytes."""
        return self.desk.machine.signer.sign_digest(self.judge(genesis, charge).digest)

    def jury(self) -> list[tuple[bytes, tuple[str, ...]]]:
        """The registry's verifiers and the nodes that are bound to them."""
        return [(account, tuple(self.bindings.owners(account))) for account in verifiers(self.desk)[0]]

    def slash(self, verdict: Verdict, votes: dict[bytes, bytes]) -> dict[str, Any]:
        sent = slash(self.desk, verdict, votes)
        return {
            **sent.document(),
            "who": verdict.who,
            "account": checksum(verdict.offender),
            "amount": verdict.amount,
            "offence": verdict.offence.hex(),
            "signatures": len(votes),
        }

    # Proofs

    def proof(self, name: bytes) -> ReceiptProof:
        """LocalFault `no-receipt`, `not-settled`."""
        kept = self.dues.proof(name)
        if kept is not None:
            return kept
        try:
            return self.book.proof(self.desk, name)
        except LocalFault as fault:
            if fault.code != "no-receipt" or self.dues.get(name) is None:
                raise
        raise LocalFault(
            "not-settled", "it is certified, and in no epoch of this node's", fix="ask again later"
        )

    def proofs(self, names: Iterable[bytes]) -> list[ReceiptProof]:
        """Those that there are."""
        found = []
        for name in names:
            try:
                found.append(self.proof(name))
            except LocalFault:
                continue
        return found

    def keep_proofs(self, given: Iterable[ReceiptProof]) -> int:
        """Check proofs of what needs owe against the chain; how many held. RemoteFault `bad-proof`."""
        held = []
        for proof in given:
            receipt = receipt_of(proof.leaf)
            due = self.dues.get(receipt.id)
            if due is None or (due.amount, f"{due.need} {due.task}") != (receipt.amount, receipt.memo):
                raise RemoteFault("bad-proof", "not of what a need owes")
            if proof.contract != self.desk.contract(SETTLEMENT):
                raise RemoteFault("bad-proof", "of another contract")
            try:
                verify_proof(self.desk, proof)
            except LocalFault as fault:
                if fault.code == "not-on-chain":
                    continue  # not deep enough yet, perhaps
                raise RemoteFault("bad-proof", fault.message) from None
            self.dues.keep_proof(proof)
            held.append(receipt.id)
        self.book.drop(held)
        return len(held)

    def lacking(self, limit: int, *, before_s: int) -> list[bytes]:
        """What we pay or get, certified before then, and what its payer says is settled; and have no proof of."""
        ours = [due.id for due in self.dues.open_of(self.me, limit) if due.added_s <= before_s]
        return list(dict.fromkeys([*self.book.said_settled(), *ours]))[:limit]

    # For operators

    def status(self, now_s: int) -> dict[str, Any]:
        found = self.book.status()
        return {
            **{name: found[name] for name in ("waiting", "settled", "states", "epochs")},
            "dues": self.dues.counts(),
            "set_aside": self.book.set_aside(),
            "publisher": self.publisher(now_s),
            "bound": self.bound(),
        }

    def state_of(self, due: Due) -> str:
        """Where a payment is on its way: certified, in the epoch's state, settled."""
        if due.is_settled:
            return "settled"
        return self.book.state_of(due.id) or "certified"
