"""The pool for operators: who is in it, what a member has at stake, what is missing to leave bootstrap mode."""

from typing import Any

from swarmd.protocol.amounts import format_usdc
from swarmd.protocol.limits import S_NS
from swarmd.protocol.pool.record import ACTIVE, TREASURY, Member, counts, stake_id
from swarmd.protocol.state import State
from swarmd.protocol.terms import in_bootstrap


def bootstrap(state: State) -> dict[str, Any]:
    """Is it bootstrap mode, and what is missing to leave it: `missing` verifiers, then `left_s` seconds of as many."""
    genesis = state.genesis
    active = counts(state.pool.members)[ACTIVE]
    since_ns, cut_ns = state.pool.enough_since_ns, state.pool.cut_ns
    stable_s = (cut_ns - since_ns) // S_NS if since_ns else 0
    on = in_bootstrap(state.terms, state.epoch)
    return {
        "on": on,
        "next": in_bootstrap(state.terms, state.epoch + 1),
        "active": active,
        "threshold": genesis.bootstrap_threshold,
        "missing": max(0, genesis.bootstrap_threshold - active),
        "stable_s": stable_s,
        "left_s": max(0, genesis.bootstrap_stable_s - stable_s) if on else 0,
    }


def mine(state: State) -> str:
    """This node's own place in it; "none" for one that is not in the pool."""
    member = state.pool.members.get(state.me)
    if member is None:
        return "joining" if state.pool.knows(state.me) else "none"
    return member.state


def summary(state: State) -> dict[str, Any]:
    """What `swarmd status` says of the pool."""
    return {"bootstrap": bootstrap(state), "counts": counts(state.pool.members), "mine": mine(state)}


def pool(state: State) -> dict[str, Any]:
    """Everybody who is in the pool, and what was said that no checkpoint has taken in yet."""
    known = state.pool
    rows = [_row(state, did) for did in sorted({*known.members, *known.said})]
    return {
        "epoch": state.epoch,
        "stake": format_usdc(state.genesis.verifier_stake),
        "counts": counts(known.members),
        "slashed": format_usdc(state.ledger.account(TREASURY).available)
        if TREASURY in state.ledger.accounts
        else format_usdc(0),
        "bootstrap": bootstrap(state),
        "verifiers": rows,
    }


def _row(state: State, did: str) -> dict[str, Any]:
    member = state.pool.members.get(did)
    rosters = state.terms.rosters
    said = sorted(state.pool.said.get(did, {}).values(), key=lambda each: each.lamport)
    now, then = rosters[state.epoch], rosters[state.epoch + 1]
    return {
        "did": did,
        "me": did == state.me,
        "state": member.state if member is not None else "joining",
        "since": member.since if member is not None else None,
        "seen": member.seen if member is not None else None,
        "until": member.until if member is not None and member.until else None,
        "founder": member is not None and member.founder,
        "stake": format_usdc(_held(state, member)),
        "in_roster": did in now.members,
        "in_next_roster": did in then.members,
        "weight": now.weight(did) if did in now.members else 0,
        "attested_until": member.attested if member is not None and member.attested >= state.epoch else None,
        "misses": member.misses if member is not None else 0,
        "reason": member.reason if member is not None else "",
        "pending": [each.payload["op"] for each in said if each.payload["op"] in ("join", "leave", "quote")],
    }


def _held(state: State, member: Member | None) -> int:
    stakes = member.stakes if member is not None else ()
    found = [state.ledger.escrows.get(stake_id(member.did, each.seq)) for each in stakes] if member else []
    return sum(escrow.held for escrow in found if escrow is not None)
