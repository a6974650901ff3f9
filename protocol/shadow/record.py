"""What is known of transfers, withdrawals and deposits that no checkpoint has done with yet."""

from base64 import b32encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from swarmd.protocol.cbor import encode
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.ledger.accounts import Entry, Escrow, fund_entry

TRANSFER, WITHDRAW = "transfer", "withdraw"
DEPOSIT, PAYOUT = "deposit", "payout"
PAID_OUT = "mesh:withdrawn"  # the account of what has left the mesh: nobody can spend from it
MAX_KEYS = 65_536  # idempotency keys of its own that a node remembers
KEPT_EPOCHS = 2  # a vote counts in its epoch and the one after
MINUTE_NS = 60_000_000_000
MINUTES_PER_DAY = 1_440
DOUBLE_SPEND_FAILURES = 10  # what a double spend costs in reputation, in failed tasks


@dataclass(frozen=True, slots=True)
class Spend:
    """An entry of `owner`'s account chain that pays `amount` minor units to `to`: a did:key, or an account 0x... on the
    chain. `name` is of the escrow that holds the money, `hash` that of the entry; both commit to all of it."""

    op: str
    owner: str
    seq: int
    prev: bytes
    to: str
    amount: int
    name: str
    hash: bytes
    envelope: Envelope

    def entry(self) -> Entry:
        return Entry(self.owner, self.seq, self.prev, self.name, self.amount, self.hash)


@dataclass(slots=True)
class Shadow:
    """`spends`: by name, of what is not applied in the last checkpoint, and withdrawals that are not paid out.

    `votes`: (owner, seq) -> hash of an entry -> epoch -> members who signed it; `attests`: subject -> (what, to, amount)
    -> epoch -> members who saw it on the chain. `said` has their envelopes. `liars`: members who signed two entries of
    one number -> both. `credited`: deposits that a checkpoint has; `paid_out`: withdrawals (hashes) that were attested.
    """

    spends: dict[str, Spend] = field(default_factory=dict)
    votes: dict[tuple[str, int], dict[bytes, dict[int, set[str]]]] = field(default_factory=dict)
    attests: dict[bytes, dict[tuple[str, str, int], dict[int, set[str]]]] = field(default_factory=dict)
    said: dict[bytes, Envelope] = field(default_factory=dict)
    liars: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    credited: dict[bytes, None] = field(default_factory=dict)
    paid_out: dict[bytes, None] = field(default_factory=dict)
    blamed: dict[tuple[str, int], None] = field(
        default_factory=dict
    )  # double spends that have cost reputation
    # NEEDs beside the one that opened a need: owner -> number -> hash of the entry -> the NEED (shadow/rivals.py).
    rivals: dict[str, dict[int, dict[bytes, bytes]]] = field(default_factory=dict)

    # This node's own.
    promised: dict[tuple[str, int], tuple[bytes, int]] = field(
        default_factory=dict
    )  # its votes: (hash, epoch)
    unvoted: dict[str, int] = field(
        default_factory=dict
    )  # owner -> its last entry that it may have to vote on
    dirty: dict[str, None] = field(default_factory=dict)  # those of them for whom something has changed
    armed: bool = False
    attested: dict[bytes, int] = field(default_factory=dict)  # subject -> the epoch in which it did
    keys: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # idempotency key -> (name, content)
    spent: dict[int, int] = field(default_factory=dict)  # minute since 1970 -> minor units, of a day


@dataclass(frozen=True, slots=True)
class ShadowPart:
    """In a snapshot: envelopes that are not done with, escrows of withdrawals, deposits credited so far (sorted), what they
    add up to, and the entries that are certified and wait for their turn or their money."""

    envelopes: tuple[bytes, ...] = ()
    payouts: Mapping[str, Escrow] = field(default_factory=dict)
    credited: tuple[bytes, ...] = ()
    deposited: int = 0
    certified: tuple[bytes, ...] = ()


def spend_of(envelope: Envelope) -> Spend:
    """Of an envelope `transfer` or `withdraw`."""
    payload = envelope.payload
    op, owner, amount = payload["op"], envelope.sender, payload["amount"]
    to = payload["to"] if op == TRANSFER else "0x" + payload["to"].hex()
    name = spend_name(op, owner, payload["seq"], to, amount, payload["key"], payload["memo"])
    entry = fund_entry(owner, payload["seq"], payload["prev"], name, amount)
    return Spend(op, owner, entry.seq, entry.prev, to, amount, name, entry.hash, envelope)


def spend_name(op: str, owner: str, seq: int, to: str, amount: int, key: str, memo: str) -> str:
    """The name of the escrow of a spend: it commits to whom it pays and why."""
    body = encode([op, owner, seq, to, amount, key, memo])
    digest = sha256(b"swarmd/spend/1\0" + body).digest()
    return ("pay-" if op == TRANSFER else "out-") + b32encode(digest[:20]).decode("ascii").lower()


def content_of(op: str, to: str, amount: int, memo: str) -> bytes:
    """What an idempotency key stands for."""
    return sha256(encode([op, to, amount, memo])).digest()


def deposit_key(chain_id: int, contract: bytes, tx_hash: bytes, log_index: int) -> bytes:
    """32 bytes: one event of one chain."""
    body = encode([chain_id, contract, tx_hash, log_index])
    return sha256(b"swarmd/deposit/1\0" + body).digest()


def subject_of(payload: Mapping[str, Any]) -> bytes:
    """What a claim is about: a deposit's event, or the entry of a withdrawal."""
    if payload["op"] == "claim":
        return deposit_key(payload["chain_id"], payload["contract"], payload["tx"], payload["log"])
    return bytes(payload["entry"])
