"""Transfers, written a second time: which entries a set of envelopes makes final, for the auditor's books.

It shares the wire's formats with the core and no rule.
"""

from base64 import b32encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from swarmd.protocol.cbor import encode
from swarmd.protocol.envelope import Envelope
from swarmd.simulations.oracle import Oracle


@dataclass(frozen=True, slots=True)
class Sent:
    """An entry that pays somebody."""

    owner: str
    seq: int
    prev: bytes
    to: str
    amount: int


@dataclass(frozen=True, slots=True)
class Money:
    """`transfers` by name, applied or not; hashes of entries that are `certified`; `votes`: envelopes with signatures that
    count still; `done`: transfers that a checkpoint has applied."""

    transfers: Mapping[str, Sent] = field(default_factory=dict)
    certified: frozenset[bytes] = frozenset()
    votes: frozenset[bytes] = frozenset()
    done: frozenset[str] = frozenset()

    def kept(self, oracle: Oracle, epoch: int, applied: frozenset[str]) -> "Money":
        """What the checkpoint that opens `epoch` leaves."""
        votes = frozenset(ref for ref in self.votes if oracle.seen[ref].epoch > epoch - 2)
        done = frozenset(name for name in self.transfers if name in applied)
        return Money(self.transfers, self.certified, votes, done)


def heard(oracle: Oracle, before: Money, epoch: int, held: Iterable[bytes]) -> Money:
    """What who is in `epoch`, begins with `before` and holds these envelopes must take for sent and for final."""
    sent = dict(before.transfers)
    signed: dict[tuple[bytes, int], set[str]] = {}
    votes: set[bytes] = set()
    for ref in {*held, *before.votes}:
        said = oracle.seen[ref]
        if said.kind != "MONEY" or said.epoch > epoch or said.thread != _thread(said.sender):
            continue
        payload = said.payload
        if payload["op"] == "transfer" and payload["amount"] > 0 and payload["to"] != said.sender:
            name, row = _sent(said)
            sent.setdefault(name, row)
        elif payload["op"] == "confirm" and said.epoch > epoch - 2:
            votes.add(ref)
            if said.sender in oracle.epoch_enders(said.epoch)[0]:
                for _, _, entry in payload["entries"]:
                    signed.setdefault((bytes(entry), said.epoch), set()).add(said.sender)
    final = {entry for (entry, at), who in signed.items() if len(who) >= oracle.epoch_enders(at)[1]}
    return Money(sent, before.certified | final, frozenset(votes), before.done)


def _sent(said: Envelope) -> tuple[str, Sent]:
    body = said.payload
    row = ["transfer", said.sender, body["seq"], body["to"], body["amount"], body["key"], body["memo"]]
    digest = sha256(b"swarmd/spend/1\0" + encode(row)).digest()
    name = "pay-" + b32encode(digest[:20]).decode().lower()
    return name, Sent(said.sender, body["seq"], body["prev"], body["to"], body["amount"])


def _thread(did: str) -> str:
    return "acct-" + b32encode(sha256(b"swarmd/account/1\0" + did.encode()).digest()[:20]).decode().lower()
