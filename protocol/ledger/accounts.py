"""Accounts, escrow and the conservation of money.

Facts only grow: signed entries of each account's chain, the payments that certified results earn, and closings
of needs. Balances are derived. An entry applies in its chain's order as soon as the money is there, so the
outcome does not depend on the order in which facts arrive; `rebuild` derives everything anew and is what the
incremental path must equal (tests/protocol/test_ledger.py). A spend has one writer, the account's owner: two
entries with one seq are proof of a double spend, and the smaller hash stands everywhere. A *gated* entry, a transfer or
a withdrawal, applies only once a committee has certified it, and then it stands before any that is not.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

from swarmd.protocol.cbor import encode
from swarmd.protocol.faults import CorruptState

GENESIS_HEAD = bytes(32)
# Payments whose names begin so are the owner's own money coming home: neither spent nor earned. No task can have the name.
RETURN = "escrow/return"


@dataclass(frozen=True, slots=True)
class Entry:
    """A spend: the owner locks `amount` minor units for `need`. `hash` covers all of it and `prev`."""

    owner: str
    seq: int
    prev: bytes
    need: str
    amount: int
    hash: bytes


def fund_entry(owner: str, seq: int, prev: bytes, need: str, amount: int) -> Entry:
    body = encode([owner, seq, prev, need, amount])
    return Entry(owner, seq, prev, need, amount, sha256(b"swarmd/entry/1\0" + body).digest())


@dataclass(slots=True)
class Account:
    """`available` can be spent; `next_seq` and `head` are the end of the applied chain."""

    available: int = 0
    next_seq: int = 0
    head: bytes = GENESIS_HEAD
    earned: int = 0
    locked: int = 0
    spent: int = 0


@dataclass(slots=True)
class Escrow:
    """The money of one need. state: waiting | funded | released | refunded | expired."""

    need: str
    owner: str
    amount: int
    state: str = "waiting"
    held: int = 0
    paid: dict[str, tuple[str, int]] = field(default_factory=dict)
    returned: int = 0


@dataclass(frozen=True, slots=True)
class Move:
    """A change of `available`: `delta` minor units, which left `after`, told at `at_ns`. `name` is of a need, a transfer, a deposit...;
    with `kind` and the account it is unique. `other`: whose money it was."""

    kind: str
    name: str
    other: str
    delta: int
    after: int
    at_ns: int


class Moves:
    """What moved the account `watch` (no other is kept, and none if it is "") since the base, in the order in which it
    came here. `version` tells that what was told before was derived anew."""

    def __init__(self, watch: str) -> None:
        self.watch = watch
        self.version = 0
        self.opening = 0
        self.now_ns = 0  # told by the engine
        self.rows: list[Move] = []

    def begin(self, accounts: Mapping[str, Account]) -> None:
        self.version += 1
        self.rows = []
        account = accounts.get(self.watch)
        self.opening = account.available if account is not None else 0

    def add(self, did: str, kind: str, name: str, other: str, delta: int, after: int) -> None:
        if did == self.watch and did:
            self.rows.append(Move(kind, name, other, delta, after, self.now_ns))


class Ledger:
    """Opening balances and facts in, balances and escrows out. Raises CorruptState if money is not conserved."""

    def __init__(self, opening: dict[str, int], watch: str = "") -> None:
        """`watch`: the account of which `moves` tells."""
        self.supply = sum(opening.values())
        # Where derivation begins: the opening balances, or what the last checkpoint says.
        self.base = {did: Account(available=amount) for did, amount in opening.items()}
        self.base_escrows: dict[str, Escrow] = {}
        self.entries: dict[tuple[str, int], dict[bytes, Entry]] = {}
        self.payments: dict[str, dict[str, tuple[str, int]]] = {}
        self.closings: dict[str, str] = {}
        self.double_spends: dict[tuple[str, int], tuple[bytes, ...]] = {}
        self.gated: set[bytes] = (
            set()
        )  # hashes of entries that wait for a certificate, and of those that have it
        self.certified: set[bytes] = set()
        self.lapsed: set[bytes] = set()  # of entries that the account goes on past: they lock nothing
        self.credits: dict[bytes, tuple[str, int]] = {}  # deposits since the base: key -> (account, amount)
        self.base_deposited = 0  # what deposits had added to the supply before it
        self.accounts: dict[str, Account] = {}
        self.escrows: dict[str, Escrow] = {}
        self.newly_funded: list[str] = []
        self.stirred: dict[
            str, None
        ] = {}  # accounts that were credited or have a new entry, for who votes on entries
        self.moves = Moves(watch)
        self.rebuild()

    def account(self, did: str) -> Account:
        found = self.accounts.get(did)
        if found is None:
            found = self.accounts[did] = Account()
        return found

    def paid_for(self, name: str) -> Escrow | None:
        """The escrow of a need, a bond or a purse, once its owner's account has come to its entry and had the money; else None."""
        escrow = self.escrows.get(name)
        return escrow if escrow is not None and escrow.state != "waiting" else None

    # Facts ---------------------------------------------------------------------------------------------

    def add_entry(self, entry: Entry, *, gated: bool = False) -> None:
        """A signed spend, in any order. Idempotent. `gated`: it applies only once it is certified."""
        if gated:
            self.gated.add(entry.hash)
        self.stirred[entry.owner] = None
        known = self.entries.setdefault((entry.owner, entry.seq), {})
        if entry.hash in known:
            return
        known[entry.hash] = entry
        self.escrows.setdefault(entry.need, Escrow(entry.need, entry.owner, entry.amount))
        if len(known) > 1:
            self.double_spends[(entry.owner, entry.seq)] = tuple(sorted(known))
            if self.account(entry.owner).next_seq > entry.seq:
                if not gated or entry.hash in self.certified:
                    self.rebuild()
                return
        self._advance(entry.owner)

    def certify(self, owner: str, seq: int, entry: bytes) -> None:
        """A committee signed that this entry, known or not yet, is the one of its number."""
        if entry in self.certified:
            return
        self.certified.add(entry)
        if self.account(owner).next_seq > seq and entry in self.entries.get((owner, seq), ()):
            self.rebuild()  # another of its number was applied: that one loses
        else:
            self._advance(owner)

    def following(self, owner: str) -> Entry | None:
        """What `owner`'s account goes on with as soon as it can pay for it."""
        return self._next_entry(owner, self.account(owner))

    def lapse(self, entry: Entry) -> None:
        """Nobody waits for its money any more: the account goes on past it."""
        self.lapsed.add(entry.hash)
        self._advance(entry.owner)

    def credit(self, key: bytes, did: str, amount: int) -> None:
        """A deposit, known by `key`: it counts once, whatever is said about it again."""
        if key in self.credits:
            return
        self.credits[key] = (did, amount)
        account = self.account(did)
        account.available += amount
        self.moves.add(did, "deposit", key.hex(), "", amount, account.available)
        self.stirred[did] = None
        self._advance(did)

    @property
    def deposited(self) -> int:
        """What deposits have added to the opening supply."""
        return self.base_deposited + sum(amount for _, amount in self.credits.values())

    def settle(self, need: str, payments: dict[str, tuple[str, int]], closing: str | None) -> None:
        """State what a need has come to: task -> (worker, amount), and how it closed, if it did.

        Additions are applied as they are; a change of what was stated before (a later, stronger decision)
        derives the whole ledger anew.
        """
        known = self.payments.get(need, {})
        was = self.closings.get(need)
        if known == payments and was == closing:
            return
        grows = all(payments.get(task) == value for task, value in known.items()) and was in (None, closing)
        self.payments[need] = dict(payments)
        if closing is not None:
            self.closings[need] = closing
        else:
            self.closings.pop(need, None)
        if not grows or (was is not None and known != payments):
            self.rebuild()
            return
        self._pay(need)

    def rebase(
        self,
        accounts: Mapping[str, Account],
        escrows: Mapping[str, Escrow],
        keep: Container[str],
        deposited: int = 0,
        credited: Container[bytes] = (),
    ) -> None:
        """Begin at a checkpoint: `accounts` and the `escrows` of needs that are open in it are what they are, and facts
        about needs other than those to `keep` are let go. `deposited` is in it by the deposits `credited`, those included
        that are facts here. Derives all anew; CorruptState if money would be made."""
        self.base = dict(accounts)
        self.base_deposited = deposited
        self.credits = {key: to for key, to in self.credits.items() if key not in credited}
        self.base_escrows = dict(escrows)
        self.entries = {
            (owner, seq): known
            for (owner, seq), known in self.entries.items()
            if owner not in accounts or seq >= accounts[owner].next_seq
        }
        left = {entry for known in self.entries.values() for entry in known}
        self.gated &= left
        self.lapsed &= left
        self.payments = {need: paid for need, paid in self.payments.items() if need in keep}
        self.closings = {need: closing for need, closing in self.closings.items() if need in keep}
        self.rebuild()
        self.check_all()

    # Derivation ----------------------------------------------------------------------------------------

    def rebuild(self) -> None:
        """Derive accounts and escrows from the facts alone."""
        pending = set(self.newly_funded)
        known = {need for need, escrow in self.escrows.items() if escrow.state != "waiting"} - pending
        self.accounts = {did: replace(account) for did, account in self.base.items()}
        self.moves.begin(self.accounts)
        for key, (did, amount) in self.credits.items():
            account = self.account(did)
            account.available += amount
            self.moves.add(did, "deposit", key.hex(), "", amount, account.available)
        self.escrows = {
            need: replace(escrow, paid=dict(escrow.paid)) for need, escrow in self.base_escrows.items()
        }
        self.newly_funded = []
        for entries in self.entries.values():
            for entry in entries.values():
                self.escrows.setdefault(entry.need, Escrow(entry.need, entry.owner, entry.amount))
        credited: list[str] = []
        for need in sorted(self.base_escrows):
            credited += self._move(need)
        for owner in sorted({owner for owner, _ in self.entries} | set(credited)):
            self._advance(owner)
        # Funded before this, and not yet attended to by the engine, is news still.
        self.newly_funded = [need for need in self.newly_funded if need not in known]

    def _advance(self, owner: str) -> None:
        """Apply the owner's next entries while the money is there, and pay what that makes due."""
        todo = [owner]
        while todo:
            did = todo.pop()
            account = self.account(did)
            while (entry := self._next_entry(did, account)) is not None:
                if entry.hash in self.lapsed:
                    account.next_seq += 1
                    account.head = entry.hash
                    continue
                if entry.amount > account.available:
                    break
                account.available -= entry.amount
                account.locked += entry.amount
                account.next_seq += 1
                account.head = entry.hash
                self.moves.add(did, "spend", entry.need, "", -entry.amount, account.available)
                escrow = self.escrows[entry.need]
                # A double spend names two amounts for one need: this one stands.
                escrow.amount = escrow.held = entry.amount
                escrow.state = "funded"
                self.newly_funded.append(entry.need)
                todo.extend(self._move(entry.need))

    def _next_entry(self, did: str, account: Account) -> Entry | None:
        """Of the entries that continue the chain a certified one; else the smallest by hash that needs no certificate."""
        known = self.entries.get((did, account.next_seq))
        if known is None:
            return None
        fitting = [entry for entry in known.values() if entry.prev == account.head]
        sure = [entry for entry in fitting if entry.hash in self.certified]
        free = sure or [entry for entry in fitting if entry.hash not in self.gated]
        return min(free, key=lambda entry: entry.hash) if free else None

    def _pay(self, need: str) -> None:
        for did in self._move(need):
            self._advance(did)

    def _move(self, need: str) -> list[str]:
        """Pay what is due from a funded escrow, return the rest if it closed. Returns who was credited."""
        escrow = self.paid_for(need)
        if escrow is None:
            return []
        credited = []
        owner = self.account(escrow.owner)
        for task, (worker, amount) in sorted(self.payments.get(need, {}).items()):
            if task in escrow.paid:
                continue
            if amount > escrow.held:
                raise CorruptState("escrow-overdrawn", f"{need}/{task}: {amount} of {escrow.held} held")
            escrow.held -= amount
            escrow.paid[task] = (worker, amount)
            owner.locked -= amount
            if task.startswith(RETURN):
                owner.available += amount
                credited.append(escrow.owner)
                self.stirred[escrow.owner] = None
                self.moves.add(escrow.owner, "returned", need, "", amount, owner.available)
                continue
            owner.spent += amount
            payee = self.account(worker)
            payee.available += amount
            payee.earned += amount
            credited.append(worker)
            self.stirred[worker] = None
            self.moves.add(worker, "paid", f"{need}/{task}", escrow.owner, amount, payee.available)
        closing = self.closings.get(need)
        if closing is not None and escrow.state == "funded":
            owner.available += escrow.held
            owner.locked -= escrow.held
            if escrow.held:
                self.stirred[escrow.owner] = None
                self.moves.add(escrow.owner, closing, need, "", escrow.held, owner.available)
            escrow.returned = escrow.held
            escrow.held = 0
            escrow.state = closing
            credited.append(escrow.owner)
        return credited

    # Checks --------------------------------------------------------------------------------------------

    def check(self, dids: list[str]) -> None:
        """P9 for these accounts: nothing negative, and what is locked covers what is held."""
        for did in dids:
            account = self.accounts.get(did)
            if account is not None and (account.available < 0 or account.locked < 0):
                raise CorruptState("negative-account", f"{did}: {account}")

    def check_all(self) -> None:
        """P9 in full: available and held add up to the supply, and no account is negative."""
        available = sum(account.available for account in self.accounts.values())
        held = sum(escrow.held for escrow in self.escrows.values())
        supply = self.supply + self.deposited
        if available + held != supply:
            raise CorruptState("money-not-conserved", f"{available} + {held} != {supply}")
        locked = sum(account.locked for account in self.accounts.values())
        if locked != held:
            raise CorruptState("escrow-mismatch", f"accounts lock {locked}, escrows hold {held}")
        self.check(list(self.accounts))
