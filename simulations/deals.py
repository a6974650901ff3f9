"""Escrows between owners, a second time: what a set of words comes to, and what is paid by it.

Like oracle.py and books.py it shares the wire's formats with the core and no rule of escrows. It reads the words one after
another into plain facts, and works out the money from the facts at the end.
"""

from base64 import b32encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from swarmd.protocol.cbor import encode
from swarmd.protocol.envelope import Envelope

S_NS = 1_000_000_000
FEES = "mesh:fees"
HOME = "escrow/return"
Item = Envelope | tuple[int, bool]  # a word; or the time of a checkpoint's cut, and was the money there?


def thread_of(buyer: str, nonce: bytes) -> str:
    digest = sha256(b"swarmd/escrow/1\0" + buyer.encode() + b"\0" + nonce).digest()
    return "escrow-" + b32encode(digest[:20]).decode().lower()


def purse_name(said: Envelope) -> str:
    """The name of what a FUND locks."""
    entry = [said.payload["fund"]["seq"], said.payload["fund"]["prev"], said.payload["amount"]]
    body = encode([said.sender, entry, said.thread, [bytes(ref) for ref in said.refs]])
    return "purse-" + b32encode(sha256(b"swarmd/purse/1\0" + body).digest()[:20]).decode().lower()


@dataclass(slots=True)
class Part:
    """A milestone. `fate`: open, due (to be paid once nothing is awaited), paid, home (given back), split."""

    amount: int
    fate: str = "open"
    work: bytes = b""
    marks: dict[str, int] = field(default_factory=dict)
    mark: int = -1
    found_ns: int = 0


@dataclass(slots=True)
class Account:
    """One escrow. `phase`: none, talk, agreed, work, quarrel, over; `end` how it ended."""

    thread: str
    phase: str = "none"
    end: str = ""
    buyer: str = ""
    seller: str = ""
    offers: dict[bytes, tuple[str, str, Mapping[str, Any], int]] = field(default_factory=dict)
    yes: dict[bytes, tuple[bytes, str]] = field(default_factory=dict)
    terms: Mapping[str, Any] = field(default_factory=dict)
    fund: bytes = b""
    purse: str = ""
    parts: dict[str, Part] = field(default_factory=dict)
    there: set[str] = field(default_factory=set)
    quarrel: bytes = b""
    quarrel_ns: int = 0
    claims: list[str] = field(default_factory=list)
    votes: dict[str, int] = field(default_factory=dict)
    shares: tuple[int, int] | None = None  # the seller's and the buyer's of what was split
    broke: bool = False
    guilty: str = ""
    good: dict[bytes, Envelope] = field(default_factory=dict)
    void: set[bytes] = field(default_factory=set)
    kept: list[Item] = field(default_factory=list)

    # Reading ---------------------------------------------------------------------------------------------

    def read(self, items: Iterable[Item]) -> "Account":
        for item in items:
            if isinstance(item, Envelope):
                fits = self._in_order(item) and self._word(item)
                if fits:
                    self.good[item.id] = item
                    self.kept.append(item)
                else:
                    self.void.add(item.id)
            elif self.time(*item):
                self.kept.append(item)
        return self

    def _in_order(self, said: Envelope) -> bool:
        causes = [self.good.get(ref) for ref in said.refs]
        return said.kind == "ESCROW" and all(
            cause is not None
            and cause.lamport < said.lamport
            and cause.ts_ns <= said.ts_ns
            and cause.epoch <= said.epoch
            for cause in causes
        )

    def _word(self, said: Envelope) -> bool:
        op, who = said.payload["op"], said.sender
        if self.phase == "none":
            return op == "create" and self._opens(said)
        if self.phase in ("talk", "agreed"):
            if op == "refund":
                fits = who == self.buyer and any(ref in self.offers for ref in said.refs)
                if fits:
                    self.over("refunded")
                return fits
            if op == "offer" and self.phase == "talk":
                return self._offers(said)
            if op == "accept":
                return self._accepts(said)
            return op == "fund" and self.phase == "agreed" and self._funds(said)
        if self.phase == "over":
            return False
        if op in ("score", "submit"):
            return self.phase == "work" and (self._scores(said) if op == "score" else self._delivers(said))
        if op == "resolve":
            return self.phase == "quarrel" and self._votes(said)
        if self.fund not in said.refs:
            return False
        if op == "ready":
            awaited = {each["name"]: each["by"] for each in self.terms["after"]}
            if awaited.get(said.payload["name"]) != who or said.payload["name"] in self.there:
                return False
            self.there.add(said.payload["name"])
            self.pay()
            return True
        if op == "release":
            return who == self.buyer and self._releases(said.payload["milestones"])
        if op == "dispute":
            if (
                who not in (self.buyer, self.seller)
                or not self.terms["panel"]
                or self.claims.count(who) >= 32
            ):
                return False
            self.claims.append(who)
            self.quarrel = self.quarrel or said.id
            self.phase = "quarrel"
            return True
        if op == "refund" and who == self.seller:
            self.back(self.left())
            self.guilty = self.seller
            self.over("refunded")
            return True
        return False

    # Talk ------------------------------------------------------------------------------------------------

    def _sound(self, terms: Mapping[str, Any], said: Envelope) -> bool:
        names = [each["name"] for each in terms["milestones"]]
        amounts = [each["amount"] for each in terms["milestones"]]
        seller = terms.get("seller", "")
        sums = sum(amounts) == terms["amount"] and 0 not in amounts and len(set(names)) == len(names)
        awaited = [each["name"] for each in terms["after"]]
        people = True
        for who, quorum, least in (
            (terms["scorers"], terms["score_quorum"], 1),
            (terms["panel"], terms["quorum"], len(terms["panel"]) // 2 + 1),
        ):
            people = (
                people and len(set(who)) == len(who) and not {self.buyer or said.sender, seller} & set(who)
            )
            people = people and (least <= quorum <= len(who) if who else quorum == 0)
        deadline_ns = terms["deadline_ns"]
        timely = said.ts_ns < deadline_ns <= said.ts_ns + 30 * 86_400 * S_NS
        expires = said.ts_ns < said.payload["expires_ns"] <= deadline_ns
        others = seller != (self.buyer or said.sender) and len(set(awaited)) == len(awaited)
        return sums and people and timely and expires and others

    def _opens(self, said: Envelope) -> bool:
        terms = said.payload["terms"]
        own = said.thread == thread_of(said.sender, said.payload["nonce"]) and not said.refs
        if not own or not self._sound(terms, said):
            return False
        self.buyer = said.sender
        self.offers[said.id] = (said.sender, terms.get("seller", ""), terms, said.payload["expires_ns"])
        self.phase = "talk"
        return True

    def _offers(self, said: Envelope) -> bool:
        before = next((self.offers[ref] for ref in said.refs if ref in self.offers), None)
        terms, who = said.payload["terms"], said.sender
        if before is None or not self._sound(terms, said):
            return False
        by, to, _, _ = before
        if who == self.buyer:
            if by not in (self.buyer, terms.get("seller", "")):
                return False
            to = terms.get("seller", "")
        else:
            if (to not in ("", who) and by != who) or terms.get("seller", "") != who:
                return False
            to = self.buyer
        if sum(offer[0] == who for offer in self.offers.values()) >= 64 or len(self.offers) >= 128:
            return False
        self.offers[said.id] = (who, to, terms, said.payload["expires_ns"])
        return True

    def _accepts(self, said: Envelope) -> bool:
        ref = next((ref for ref in said.refs if ref in self.offers), None)
        if ref is None:
            return False
        by, to, terms, expires_ns = self.offers[ref]
        who = said.sender
        if who == by or to not in ("", who) or said.ts_ns > expires_ns:
            return False
        seller = by if who == self.buyer else who
        if seller in terms["scorers"] or seller in terms["panel"] or (ref, seller) in self.yes.values():
            return False
        if len(self.yes) >= 128:
            return False
        self.yes[said.id] = (bytes(ref), seller)
        self.phase = "agreed"
        return True

    def _funds(self, said: Envelope) -> bool:
        ref = next((ref for ref in said.refs if ref in self.yes), None)
        if ref is None or said.sender != self.buyer:
            return False
        offer, seller = self.yes[ref]
        terms = self.offers[offer][2]
        if said.payload["amount"] != terms["amount"] or said.ts_ns > terms["deadline_ns"]:
            return False
        self.terms, self.seller, self.fund, self.purse = terms, seller, said.id, purse_name(said)
        self.parts = {each["name"]: Part(each["amount"]) for each in terms["milestones"]}
        self.phase = "work"
        return True

    # Work ------------------------------------------------------------------------------------------------

    def left(self) -> list[Part]:
        return [part for part in self.parts.values() if part.fate in ("open", "due")]

    def back(self, parts: Sequence[Part]) -> None:
        for part in parts:
            part.fate = "home"

    def over(self, end: str) -> None:
        self.phase, self.end = "over", end

    def waits(self) -> bool:
        return any(each["name"] not in self.there for each in self.terms["after"])

    def pay(self) -> None:
        if not self.waits():
            for part in self.parts.values():
                if part.fate == "due":
                    part.fate = "paid"
        if not self.left():
            self.over("released")

    def _delivers(self, said: Envelope) -> bool:
        part = self.parts.get(said.payload["milestone"])
        if self.fund not in said.refs or said.sender != self.seller or part is None or part.fate != "open":
            return False
        if part.work and part.mark < 0 and self.terms["scorers"]:
            return False
        part.work, part.marks, part.mark, part.found_ns = said.id, {}, -1, 0
        self.pay()
        return True

    def _scores(self, said: Envelope) -> bool:
        found = [part for part in self.parts.values() if part.work and part.work in said.refs]
        if not found or said.sender not in self.terms["scorers"] or found[0].fate not in ("open", "due"):
            return False
        part = found[0]
        if part.mark >= 0 or said.sender in part.marks:
            return False
        part.marks[said.sender] = said.payload["score"]
        if len(part.marks) >= self.terms["score_quorum"]:
            marks = sorted(part.marks.values(), reverse=True)
            part.mark = marks[len(marks) // 2]
            if part.mark > 79:
                part.fate = "due"
        self.pay()
        return True

    def _releases(self, names: Sequence[str]) -> bool:
        chosen = list(names) or [name for name, part in self.parts.items() if part.fate == "open"]
        parts = [self.parts.get(name) for name in dict.fromkeys(chosen)]
        if not chosen or len(parts) < len(chosen) or any(p is None or p.fate != "open" for p in parts):
            return False
        for part in parts:
            assert part is not None
            part.fate = "due"
        self.pay()
        return True

    def _votes(self, said: Envelope) -> bool:
        if said.sender not in self.terms["panel"] or self.quarrel not in said.refs:
            return False
        share = said.payload["seller_bp"]
        self.votes[said.sender] = share
        if list(self.votes.values()).count(share) >= self.terms["quorum"]:
            self.split(share)
            self.guilty = {True: self.seller, False: self.buyer}[share < 5_000] if share != 5_000 else ""
        return True

    def split(self, share: int) -> None:
        pot = sum(part.amount for part in self.left())
        sellers = pot * share // 10_000
        self.shares = (sellers, pot - sellers)
        for part in self.left():
            part.fate = "split"
        self.over("resolved")

    # Time ------------------------------------------------------------------------------------------------

    def time(self, at_ns: int, covered: bool) -> bool:
        """A checkpoint looks at it. Did anything change?"""
        if self.phase in ("talk", "agreed"):
            offers = [self.offers[ref] for ref, _ in self.yes.values()] or list(self.offers.values())
            last = max(offer[2]["deadline_ns"] if self.yes else offer[3] for offer in offers)
            if at_ns > last:
                self.over("expired")
            return at_ns > last
        if self.phase not in ("work", "quarrel"):
            return False
        late: bool = at_ns > self.terms["deadline_ns"]
        if not covered:
            if late:
                self.no_money()
            return late
        if self.phase == "quarrel":
            fresh = self.quarrel_ns == 0
            self.quarrel_ns = self.quarrel_ns or at_ns
            ripe: bool = at_ns - self.quarrel_ns >= self.terms["panel_s"] * S_NS
            if ripe:
                self.split(self.terms["undecided_bp"])
            return fresh or ripe
        moved = False
        for part in self.parts.values():
            if part.fate == "open" and part.work and not 0 <= part.mark <= 79:
                moved = moved or not part.found_ns
                part.found_ns = part.found_ns or at_ns
                if at_ns - part.found_ns >= self.terms["review_s"] * S_NS:
                    part.fate, moved = "due", True
        self.pay()
        return (self.phase != "over" and late and self._late()) or moved

    def _late(self) -> bool:
        held_up = self.waits()
        gone = [
            part
            for part in self.left()
            if held_up or not part.work or (part.fate == "open" and 0 <= part.mark <= 79)
        ]
        self.back(gone)
        if gone and not self.left():
            self.guilty = "" if held_up else self.seller
            self.over("expired")
        return bool(gone)

    def no_money(self) -> None:
        self.broke, self.guilty = True, self.buyer
        self.over("expired")

    # Money -----------------------------------------------------------------------------------------------

    def gross(self) -> dict[str, int]:
        """What the seller is given, the fee on it included."""
        given = {f"milestone/{name}": p.amount for name, p in self.parts.items() if p.fate == "paid"}
        if self.shares is not None:
            given["split"] = self.shares[0]
        return {} if self.broke else given

    def fee(self) -> int:
        return sum(amount * 5 // 1_000 for amount in self.gross().values())

    def payments(self) -> dict[str, tuple[str, int]]:
        given = {name: (self.seller, amount - amount * 5 // 1_000) for name, amount in self.gross().items()}
        home = {f"milestone/{name}": p.amount for name, p in self.parts.items() if p.fate == "home"}
        if self.shares is not None:
            home["split"] = self.shares[1]
        if not self.broke:
            given |= {f"{HOME}/{name}": (self.buyer, amount) for name, amount in home.items()}
        return {name: payment for name, payment in given.items() if payment[1]}


def ordered(base: Sequence[Item], words: Iterable[Envelope]) -> tuple[list[Envelope], set[bytes]]:
    """(words whose causes are there, in the order in which they count; those that wait for a cause)."""
    known = {item.id for item in base if isinstance(item, Envelope)}
    waiting = {word.id: word for word in words if word.id not in known}
    taken: list[Envelope] = []
    begun = bool(known)
    moved = True
    while moved:
        moved = False
        for name, word in list(waiting.items()):
            first = word.kind == "ESCROW" and word.payload["op"] == "create"
            if (begun or first) and all(ref in known for ref in word.refs):
                begun = moved = True
                known.add(name)
                taken.append(waiting.pop(name))
    return sorted(taken, key=lambda e: (e.lamport, e.id)), set(waiting)
