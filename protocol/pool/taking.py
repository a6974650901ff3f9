"""POOL envelopes: what a verifier says of itself, in a thread that is its own.

They are only collected here. What they come to is judged at the next checkpoint, of what is in its cut, in one order
and alike by all (folding.py); the one thing that counts at once is money that a join locks.
"""

from swarmd.protocol import commands, kinds
from swarmd.protocol.checkpoint import adopting
from swarmd.protocol.effects import Effect, Report
from swarmd.protocol.envelope import Envelope, pool_thread
from swarmd.protocol.pool import attesting
from swarmd.protocol.pool.record import MAX_SAID, Stake
from swarmd.protocol.state import State


def take(state: State, envelope: Envelope, out: list[Effect]) -> None:
    """An envelope of a pool's thread, of an epoch that has begun here. What moves nothing leaves no trace."""
    refusal = _refusal(state, envelope)
    if refusal:
        if envelope.sender != state.me:
            out.append(Report(envelope.sender, refusal))
        return
    did, payload = envelope.sender, envelope.payload
    said = state.pool.said.setdefault(did, {})
    if envelope.id in said:
        return
    if payload["op"] == "join":
        fund = payload["fund"]
        if adopting.is_closed(state, did, fund["seq"]):
            state.fenced += 1  # a checkpoint has what became of this entry
            return
        entry = Stake(fund["seq"], fund["prev"], payload["amount"]).entry(did)
        state.ledger.add_entry(entry)
        commands.own_entry_applied(state, entry)
    said[envelope.id] = envelope
    if payload["op"] == "quote":
        attesting.look(state, envelope, out)


def _refusal(state: State, envelope: Envelope) -> str:
    """The code of what is wrong with it, or ""."""
    did = envelope.sender
    if envelope.kind != kinds.POOL:
        return "void-" + envelope.kind.lower()
    if envelope.thread != pool_thread(did):
        return "misplaced-pool"  # nobody speaks, leaves or shows itself for another
    payload = envelope.payload
    if payload["op"] == "join" and payload["amount"] < state.genesis.verifier_stake:
        return "join-without-stake"
    if payload["op"] != "join" and not state.pool.knows(did):
        return "pool-stranger"
    if len(state.pool.said.get(did, ())) >= MAX_SAID and payload["op"] != "join":
        return "pool-flood"
    return ""
