"""What a verifier's own node says: a sign of life in each epoch, and what its operator commands."""

from collections.abc import Mapping
from typing import Any

from swarmd.protocol import funds, kinds
from swarmd.protocol.amounts import format_usdc
from swarmd.protocol.effects import Effect
from swarmd.protocol.envelope import pool_thread
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.limits import MAX_AMOUNT
from swarmd.protocol.pool.record import ACTIVE, EXPELLED, JAILED, LEAVING, WAITING, Stake
from swarmd.protocol.state import NOBODY, State


def attend(state: State, out: list[Effect]) -> None:
    """Show ourselves, once in an epoch and right after it began: it says that we hold its checkpoint.

    Not in epoch 0, where there is none to hold.
    """
    if state.me == NOBODY or state.epoch == 0 or state.shown == state.epoch:
        return
    member = state.pool.members.get(state.me)
    if member is None or member.state not in (WAITING, ACTIVE, JAILED):
        return
    state.shown = state.epoch
    state.draft(out, pool_thread(state.me), kinds.POOL, {"op": "heartbeat"}, ())


def join(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: amount (minor units), the stake."""
    genesis, amount = state.genesis, args["amount"]
    if type(amount) is not int or not genesis.verifier_stake <= amount <= MAX_AMOUNT:
        raise LocalFault(
            "stake-too-small",
            f"a verifier locks at least {format_usdc(genesis.verifier_stake)} USDC in this mesh, not {format_usdc(amount)}",
            fix="raise --stake",
        )
    if genesis.epoch_s == 0:
        raise LocalFault(
            "no-epochs", "this mesh was founded without epochs: its verifiers are those of its genesis"
        )
    member = state.pool.members.get(state.me)
    if member is not None and member.state == EXPELLED:
        raise LocalFault("expelled", f"this node {member.reason}; who was expelled never returns")
    if member is None and state.pool.knows(state.me):
        raise LocalFault(
            "joining", "it has asked to join", fix="wait for the next checkpoint (swarmd verifier list)"
        )
    funds.check(state, amount, f"the stake is {format_usdc(amount)} USDC", "lower --stake")
    stake = Stake(state.own_seq, state.own_head, amount)
    state.own_seq += 1
    state.own_head = stake.entry(state.me).hash
    state.own_pending += amount
    payload = {"op": "join", "amount": amount, "fund": {"seq": stake.seq, "prev": stake.prev}}
    state.draft(out, pool_thread(state.me), kinds.POOL, payload, ())


def leave(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: reason (for people)."""
    if len(args["reason"].encode()) > 512:
        raise LocalFault("bad-args", "a reason has at most 512 bytes")
    member = state.pool.members.get(state.me)
    if not state.pool.knows(state.me) or (member is not None and member.state in (LEAVING, EXPELLED)):
        raise LocalFault("no-verifier", "this node is not in the pool", fix="see swarmd verifier list")
    state.draft(out, pool_thread(state.me), kinds.POOL, {"op": "leave", "reason": args["reason"]}, ())


def show_quote(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: form, quote, epoch: what the node's attestation port gave for this epoch."""
    if args["epoch"] != state.epoch:
        raise LocalFault("late-quote", f"the quote is of epoch {args['epoch']}, it is epoch {state.epoch}")
    if not state.pool.knows(state.me):
        raise LocalFault("no-verifier", "this node is not in the pool", fix="run swarmd verifier join")
    payload = {"op": "quote", "form": args["form"], "quote": args["quote"]}
    try:
        kinds.check_payload(kinds.POOL, payload)
    except RemoteFault as fault:
        raise LocalFault("bad-quote", fault.message) from None
    state.draft(out, pool_thread(state.me), kinds.POOL, payload, ())
