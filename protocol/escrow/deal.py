"""Where an escrow stands: what `machine.py` folds envelopes and checkpoints' ticks into."""

from dataclasses import dataclass, field

from swarmd.protocol.envelope import Envelope
from swarmd.protocol.escrow.fees import RELEASE_SCORE, fee_of
from swarmd.protocol.escrow.terms import Terms
from swarmd.protocol.ledger.accounts import RETURN

OFFERED, NEGOTIATING, ACCEPTED = "offered", "negotiating", "accepted"
FUNDED, SUBMITTED, VERIFIED, DISPUTED = "funded", "submitted", "verified", "disputed"
RELEASED, RESOLVED, REFUNDED, EXPIRED = "released", "resolved", "refunded", "expired"
NEW = "new"  # nothing is said yet
ENDS = frozenset((RELEASED, RESOLVED, REFUNDED, EXPIRED))
HOLDS = frozenset((FUNDED, SUBMITTED, VERIFIED, DISPUTED))


@dataclass(frozen=True, slots=True)
class Tick:
    """A checkpoint looked at the escrow: its cut's time, and whether the money was there."""

    at_ns: int
    covered: bool


Step = Envelope | Tick


@dataclass(frozen=True, slots=True)
class Offer:
    """`by` offers these terms until `expires_ns`; `to` is who can accept, "" for whoever comes."""

    id: bytes
    by: str
    to: str
    terms: Terms
    expires_ns: int
    answers: bytes
    note: str
    ts_ns: int


@dataclass(frozen=True, slots=True)
class Acceptance:
    """An offer that has both parties' word, and who the seller is by it."""

    id: bytes
    offer: bytes
    seller: str


@dataclass(slots=True)
class Submission:
    """The latest delivery of a milestone. `score`: -1 until a quorum has scored it; `found_ns`: the first tick with it."""

    id: bytes
    deliverable: bytes
    note: str
    ts_ns: int
    scores: dict[str, tuple[int, str]] = field(default_factory=dict)
    score: int = -1
    found_ns: int = 0

    @property
    def failed(self) -> bool:
        """Is it scored, and too low to be paid by itself?"""
        return 0 <= self.score < RELEASE_SCORE


@dataclass(slots=True)
class Dispute:
    """`claims`: who said what with which evidence. `votes`: member of the panel -> (basis points for the seller, why)."""

    id: bytes
    claims: list[tuple[str, str, tuple[bytes, ...]]] = field(default_factory=list)
    votes: dict[str, tuple[int, str]] = field(default_factory=dict)
    found_ns: int = 0


@dataclass(slots=True)
class Deal:
    """One escrow. `open`: milestones whose money is neither paid nor given back; `approved`: those of them that are to be
    paid once all of `terms.after` is `ready`; `paid`: name -> (minor units, what released it).

    `split`: what the panel gave the seller of the rest, or -1. `home`: what went back to the buyer, by milestone or split. `fault`: whose fault
    the end is, "" for nobody's. `steps`: what moved it, in the order in which it did; `void`: envelope -> why it did not.
    """

    id: str
    state: str = NEW
    buyer: str = ""
    offers: dict[bytes, Offer] = field(default_factory=dict)
    acceptances: dict[bytes, Acceptance] = field(default_factory=dict)
    terms: Terms | None = None
    seller: str = ""
    fund: bytes = b""
    purse: str = ""
    fund_seq: int = -1
    open: dict[str, int] = field(default_factory=dict)
    approved: dict[str, str] = field(default_factory=dict)
    paid: dict[str, tuple[int, str]] = field(default_factory=dict)
    submissions: dict[str, Submission] = field(default_factory=dict)
    ready: set[str] = field(default_factory=set)
    dispute: Dispute | None = None
    split: int = -1
    home: dict[str, int] = field(default_factory=dict)
    uncovered: bool = False  # the money never came
    fault: str = ""
    reason: str = ""
    steps: list[Step] = field(default_factory=list)
    void: dict[bytes, str] = field(default_factory=dict)
    seen: dict[bytes, Envelope] = field(default_factory=dict)

    @property
    def first(self) -> Offer:
        return next(iter(self.offers.values()))

    def shown_terms(self) -> Terms:
        """Those that hold, or the latest that were offered."""
        return self.terms or list(self.offers.values())[-1].terms

    def awaited(self) -> list[str]:
        """What must be ready before anything is paid, and is not."""
        return [name for name in (self.terms.after if self.terms else ()) if name not in self.ready]

    def gross(self) -> int:
        """What the seller gets, the fee on it included."""
        return sum(amount for amount, _ in self.paid.values()) + max(self.split, 0)

    def fee(self) -> int:
        """Fees on all payments to the seller: each rounded down."""
        return sum(fee_of(amount) for amount, _ in self.paid.values()) + fee_of(max(self.split, 0))

    @property
    def returned(self) -> int:
        """What went back to the buyer."""
        return sum(self.home.values())

    def payments(self) -> dict[str, tuple[str, int]]:
        """What its purse pays: name -> (account, minor units). The fees stay in it until a checkpoint ends it."""
        if self.uncovered:
            return {}
        found = {
            f"milestone/{name}": (self.seller, amount - fee_of(amount))
            for name, (amount, _) in self.paid.items()
        }
        if self.split >= 0:
            found["split"] = (self.seller, self.split - fee_of(self.split))
        # Each under a name of its own: a payment that was made never changes.
        found |= {f"{RETURN}/{name}": (self.buyer, amount) for name, amount in self.home.items()}
        return {name: payment for name, payment in found.items() if payment[1]}

    def parties(self) -> frozenset[str]:
        """Everybody whom the terms on the table name."""
        found = {self.buyer, self.seller}
        for offer in self.offers.values():
            terms: Terms = offer.terms
            found |= {offer.by, offer.to, *terms.scorers, *terms.panel, *terms.after.values()}
        found |= {acceptance.seller for acceptance in self.acceptances.values()}
        return frozenset(found - {""})
