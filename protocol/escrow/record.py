"""What a node keeps of escrows, and what a checkpoint says of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from swarmd.protocol.cbor import encode
from swarmd.protocol.envelope import Envelope, parse
from swarmd.protocol.escrow.deal import ENDS, Deal, Step, Tick
from swarmd.protocol.escrow.machine import apply, fold
from swarmd.protocol.ledger.accounts import Entry, Escrow, fund_entry

KEPT_EPOCHS = 1_008  # how long ended escrows are remembered: a week of epochs of ten minutes
MAX_KEPT = 4_096


@dataclass(frozen=True, slots=True)
class Fixed:
    """What checkpoints fixed of an escrow: `steps` moved it, in this order; `spent` are words that were in a cut and void.

    A node may hear a word of a cut only after it has adopted the checkpoint: a spent one must not get a second chance.
    """

    steps: tuple[Step, ...] = ()
    spent: frozenset[bytes] = frozenset()


@dataclass(slots=True)
class Record:
    """One escrow: `fixed` by the last checkpoint, and `said` since. `deal` follows from both."""

    id: str
    fixed: Fixed = Fixed()
    said: dict[bytes, Envelope] = field(default_factory=dict)
    deal: Deal = field(init=False)

    def __post_init__(self) -> None:
        self.deal = fold(self.id, self.fixed.steps, self.said.values())

    def knows(self, ref: bytes) -> bool:
        return ref in self.said or ref in self.deal.seen or ref in self.fixed.spent

    def take(self, envelope: Envelope) -> None:
        """Fold one more in: at the end if it comes last, else all anew."""
        last = max(((e.lamport, e.id) for e in self.said.values()), default=(0, b""))
        self.said[envelope.id] = envelope
        if (envelope.lamport, envelope.id) > last:
            apply(self.deal, envelope)
        else:
            self.deal = fold(self.id, self.fixed.steps, self.said.values())


@dataclass(frozen=True, slots=True)
class Purse:
    """What a FUND said in `thread` locks: an escrow of the ledger under the buyer's account entry."""

    thread: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class Ended:
    """How an escrow ended: what the seller got, fee and discount apart, and what went back; minor units.

    `epoch`: that of the checkpoint which closed it.
    """

    id: str
    title: str
    buyer: str
    seller: str
    outcome: str
    reason: str
    amount: int
    paid: int
    returned: int
    fee: int
    discount: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Book:
    """Escrows in a snapshot. `open`: by thread. `purses`: name -> (purse, what the ledger has of it, or None if the
    money is not there). `ended`: by id. `standings`: did -> (settled well, settled badly)."""

    open: Mapping[str, Fixed] = field(default_factory=dict)
    purses: Mapping[str, tuple[Purse, Escrow | None]] = field(default_factory=dict)
    ended: Mapping[str, Ended] = field(default_factory=dict)
    standings: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(slots=True)
class Escrows:
    """All that a state has of escrows. `ended` and `standings` change at checkpoints only."""

    records: dict[str, Record] = field(default_factory=dict)
    purses: dict[str, Purse] = field(default_factory=dict)
    ended: dict[str, Ended] = field(default_factory=dict)
    standings: dict[str, tuple[int, int]] = field(default_factory=dict)


def digest(escrows: Escrows) -> bytes:
    """Of what follows from the mesh's envelopes; nothing for a mesh without escrows."""
    if not escrows.records and not escrows.ended:
        return b""
    body: list[Any] = [
        [
            [
                name,
                [[s.at_ns, s.covered] if isinstance(s, Tick) else s.id for s in record.fixed.steps],
                [sorted(record.fixed.spent), sorted(record.said)],
                record.deal.state,
            ]
            for name, record in sorted(escrows.records.items())
        ],
        sorted(escrows.ended),
        [[did, *counts] for did, counts in sorted(escrows.standings.items())],
    ]
    return sha256(encode(body)).digest()


# Rows of a snapshot --------------------------------------------------------------------------------------------


def rows(book: Book) -> list[Any]:
    return [
        [
            [name, [_step_row(step) for step in fixed.steps], sorted(fixed.spent)]
            for name, fixed in sorted(book.open.items())
        ],
        [_purse_row(name, purse, money) for name, (purse, money) in sorted(book.purses.items())],
        [_ended_row(ended) for _, ended in sorted(book.ended.items())],
        [[did, *counts] for did, counts in sorted(book.standings.items())],
    ]


def _step_row(step: Step) -> Any:
    return [step.at_ns, step.covered] if isinstance(step, Tick) else step.raw


def _purse_row(name: str, purse: Purse, money: Escrow | None) -> list[Any]:
    entry = purse.entry
    held = None if money is None else [money.held, [[task, *to] for task, to in sorted(money.paid.items())]]
    return [name, purse.thread, entry.owner, entry.seq, entry.prev, entry.amount, held]


def _ended_row(ended: Ended) -> list[Any]:
    return [getattr(ended, name) for name in Ended.__slots__]


def parse_rows(found: Any) -> Book:
    """The book of such rows; ValueError, TypeError or RemoteFault if they are none."""
    opened, purses, ended, standings = found
    book = Book(
        {name: _fixed(steps, spent) for name, steps, spent in opened},
        dict(_purse(*row) for row in purses),
        {row[0]: _ended(row) for row in ended},
        {did: (_count(good), _count(bad)) for did, good, bad in standings},
    )
    for name, fixed in book.open.items():
        deal = fold(name, fixed.steps, ())
        if deal.void or len(deal.steps) != len(fixed.steps) or deal.state in ENDS:
            raise ValueError("an open escrow is none")
    return book


def _fixed(steps: Any, spent: Any) -> Fixed:
    if any(type(ref) is not bytes for ref in spent):
        raise ValueError("a word is named by its id")
    return Fixed(tuple(_step(step) for step in steps), frozenset(spent))


def _step(row: Any) -> Step:
    if type(row) is bytes:
        return parse(row)
    at_ns, covered = row
    if type(covered) is not bool:
        raise ValueError("a tick is none")
    return Tick(_count(at_ns), covered)


def _purse(
    name: str, thread: str, owner: str, seq: int, prev: bytes, amount: int, held: Any
) -> tuple[str, tuple[Purse, Escrow | None]]:
    purse = Purse(thread, fund_entry(owner, _count(seq), prev, name, _count(amount)))
    if held is None:
        return name, (purse, None)
    left, paid = held
    return name, (
        purse,
        Escrow(name, owner, amount, "funded", _count(left), {task: (who, much) for task, who, much in paid}),
    )


def _ended(row: Any) -> Ended:
    found = Ended(*row)
    for number in (found.amount, found.paid, found.returned, found.fee, found.discount, found.epoch):
        _count(number)
    return found


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a number is none")
    return value
