"""Attested verifiers: members of the committee verify a quote, each by its own means, and vouch for it.

Whether a quote is genuine depends on what its vendor says today, so no two nodes need come to one verdict, and the core
does not judge it: the node does (node/attestation), its verdict is an input, and what counts is a quorum of vouchers in
the cut of a checkpoint.
"""

from hashlib import sha256

from swarmd.protocol import kinds
from swarmd.protocol.checkpoint import ballots
from swarmd.protocol.effects import CheckQuote, Effect
from swarmd.protocol.envelope import Envelope, pool_thread
from swarmd.protocol.inputs import QuoteChecked
from swarmd.protocol.pool.record import quote_data
from swarmd.protocol.state import NOBODY, State


def look(state: State, envelope: Envelope, out: list[Effect]) -> None:
    """Somebody shows a quote: if we are of the committee that vouches, have it verified."""
    if state.me in (NOBODY, envelope.sender) or envelope.epoch != state.epoch:
        return
    if state.me not in ballots.epoch_committee(state.terms.roster(state.epoch), state.epoch).members:
        return
    payload = envelope.payload
    out.append(
        CheckQuote(
            subject=envelope.sender,
            form=payload["form"],
            quote=payload["quote"],
            data=quote_data(state.genesis.mesh_id, envelope.sender, envelope.epoch),
        )
    )


def checked(state: State, given: QuoteChecked, out: list[Effect]) -> None:
    """Our verdict: said once for each quote."""
    if any(
        said.payload["op"] == "vouch" and said.payload["quote"] == given.quote
        for said in state.pool.said.get(state.me, {}).values()
    ):
        return
    payload = {
        "op": "vouch",
        "subject": given.subject,
        "quote": given.quote,
        "verdict": "accept" if given.genuine else "reject",
        "reason": given.reason[:500],
    }
    state.draft(out, pool_thread(state.me), kinds.POOL, payload, ())


def hash_of(quote: bytes) -> bytes:
    """What a vouch names a quote by: 32 bytes."""
    return sha256(quote).digest()
