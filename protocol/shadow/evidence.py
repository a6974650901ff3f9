"""Proof of a double spend: two signed envelopes, which anybody can check offline.

Its owner signed two entries under one number of its account, or a member of a committee signed two that were.
"""

from collections.abc import Iterable
from typing import Any

from swarmd.protocol import kinds
from swarmd.protocol.batch import proof_from_list, verify_proof
from swarmd.protocol.cids import cid_text
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.ledger.accounts import fund_entry
from swarmd.protocol.pool.record import Stake
from swarmd.protocol.shadow.record import TRANSFER, WITHDRAW, spend_of

DOUBLE_SPEND = "double-spend"
Signed = tuple[str, str, int, bytes]  # (as owner | as member, whose account, its number, hash of the entry)


def signed_by(envelope: Envelope) -> list[Signed]:
    """The entries that an envelope signs."""
    payload, sender = envelope.payload, envelope.sender
    if envelope.kind == kinds.NEED:
        fund = payload["fund"]
        entry = fund_entry(sender, fund["seq"], fund["prev"], envelope.thread, payload["budget"])
        return [("owner", sender, entry.seq, entry.hash)]
    if envelope.kind == kinds.POOL and payload["op"] == "join":
        fund = payload["fund"]
        entry = Stake(fund["seq"], fund["prev"], payload["amount"]).entry(sender)
        return [("owner", sender, entry.seq, entry.hash)]
    if envelope.kind != kinds.MONEY:
        return []
    if payload["op"] in (TRANSFER, WITHDRAW):
        spend = spend_of(envelope)
        return [("owner", sender, spend.seq, spend.hash)]
    if payload["op"] == "confirm":
        return [("member", owner, seq, bytes(entry)) for owner, seq, entry in payload["entries"]]
    return []


def contradiction(envelopes: Iterable[Envelope]) -> tuple[Envelope, Envelope] | None:
    """The first two of one sender's envelopes that sign two entries for one place; None if there are none."""
    known: dict[tuple[str, str, int], tuple[bytes, Envelope]] = {}
    for envelope in envelopes:
        for role, owner, seq, entry in signed_by(envelope):
            first = known.setdefault((role, owner, seq), (entry, envelope))
            if first[0] != entry:
                return first[1], envelope
    return None


def verify_double_spend(mesh_id: bytes, one: Any, other: Any) -> dict[str, Any]:
    """What two envelope proofs (their list form) show. RemoteFault `no-contradiction`, or what is wrong with a proof."""
    said = [verify_proof(mesh_id, proof_from_list(each)) for each in (one, other)]
    if said[0].sender != said[1].sender:
        raise RemoteFault("no-contradiction", "two different authors signed these")
    for role, owner, seq, entry in signed_by(said[0]):
        for other_role, other_owner, other_seq, rival in signed_by(said[1]):
            if (role, owner, seq) == (other_role, other_owner, other_seq) and entry != rival:
                return {
                    "what": DOUBLE_SPEND,
                    "who": said[0].sender,
                    "as": role,
                    "account": owner,
                    "seq": seq,
                    "said": [cid_text(each.id) for each in said],
                }
    raise RemoteFault("no-contradiction", "an honest author may sign both")
