"""What an operator can tell the engine to do. Each command checks everything before it changes anything."""

from collections.abc import Callable, Mapping
from typing import Any

from swarmd.protocol import funds, kinds, limits
from swarmd.protocol.amounts import format_usdc
from swarmd.protocol.cbor import Link
from swarmd.protocol.checkpoint import ballots
from swarmd.protocol.effects import Effect
from swarmd.protocol.envelope import need_id
from swarmd.protocol.escrow import acting as escrow_acting
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.ledger.accounts import Entry, fund_entry
from swarmd.protocol.limits import S_NS
from swarmd.protocol.pool import acting
from swarmd.protocol.shadow import acting as money
from swarmd.protocol.state import State
from swarmd.protocol.work import challenging, opening
from swarmd.protocol.work.facts import task_spec
from swarmd.protocol.work.void import Void

__all__ = ["LocalFault", "own_entry_applied", "run"]


def run(state: State, op: str, args: Mapping[str, Any], out: list[Effect]) -> None:
    """Carry out `op`; LocalFault if it can't be, and then nothing has changed."""
    command = _COMMANDS.get(op)
    if command is None:
        raise LocalFault("unknown-command", op)
    command(state, args, out)


def next_need_id(state: State) -> str:
    """The id that the next need of this node will have."""
    return need_id(state.me, state.own_seq)


def _post_need(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: title, budget (minor units), deadline_s, tasks (payload form), inline (small blocks), pay ("at_once") if
    results shall not be held for the challenge window, agent (a name) it is posted for."""
    budget, deadline_s = args["budget"], args["deadline_s"]
    if not 0 < deadline_s <= limits.MAX_DEADLINE_S:
        raise LocalFault(
            "bad-deadline", f"a deadline is 1 to {limits.MAX_DEADLINE_S} seconds, not {deadline_s}"
        )
    payload: dict[str, Any] = {
        "title": args["title"],
        "budget": budget,
        "deadline_ns": state.now_ns + deadline_s * S_NS,
        "fund": {"seq": state.own_seq, "prev": state.own_head},
        "tasks": args["tasks"],
    }
    if args["inline"]:
        payload["inline"] = args["inline"]
    for name in ("pay", "agent"):
        if args.get(name):
            payload[name] = args[name]
    try:
        kinds.check_payload(kinds.NEED, payload)
        specs = [task_spec(task) for task in args["tasks"]]
        opening.check_graph(specs)
    except RemoteFault as fault:
        raise LocalFault("bad-need", fault.message) from None
    except Void as void:
        raise LocalFault("bad-need", str(void)) from None
    wanted = sum(spec.max_price for spec in specs)
    if wanted > budget:
        raise LocalFault(
            "budget-too-small",
            f"the tasks' top prices add up to {format_usdc(wanted)} USDC, the budget is {format_usdc(budget)}",
            fix="raise --budget or lower the tasks' max_price",
        )
    funds.check(state, budget, f"the budget is {format_usdc(budget)} USDC", "lower --budget")
    thread = need_id(state.me, state.own_seq)
    entry = fund_entry(state.me, state.own_seq, state.own_head, thread, budget)
    state.own_seq += 1
    state.own_head = entry.hash
    state.own_pending += budget
    state.draft(out, thread, kinds.NEED, payload, ())


def own_entry_applied(state: State, entry: Entry) -> None:
    """An entry of ours came back as an envelope: its amount is no longer pending."""
    if entry.owner != state.me:
        return
    state.own_pending = max(0, state.own_pending - entry.amount)
    # It may have moved without us, in a restored home.
    state.go_on_after(entry)


def _configure(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: lease_s, anchor_interval_ns. The node tells them at its start when they changed."""
    lease_s, interval_ns = args["lease_s"], args["anchor_interval_ns"]
    if not 0 < lease_s <= limits.MAX_LEASE_S or not 0 <= interval_ns <= 86_400 * S_NS:
        raise LocalFault("bad-config", f"lease_s {lease_s}, anchor_interval_ns {interval_ns}")
    state.lease_s = lease_s
    state.anchor_interval_ns = interval_ns


def _challenge(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: need, task, reason, evidence (binary CIDs). Stakes the bond that genesis asks for."""
    need = state.needs.get(args["need"])
    if need is None:
        raise LocalFault(
            "no-such-need", f"{args['need']} is not open here: unknown, or its challenge window has ended"
        )
    run = need.runs.get(args["task"])
    if run is None or run.final is None:
        raise LocalFault(
            "no-result",
            f"{args['task']} has no accepted result to challenge",
            fix=f"swarmd need show {need.id}",
        )
    final = run.final
    amount = challenging.bond_amount(state.genesis, final.price)
    try:
        challenging.check(state.terms, need, final, state.me, amount)
    except Void as void:
        fix = f"swarmd need show {need.id}: who made the result, and how it is paid"
        raise LocalFault("no-challenge", str(void), fix=fix) from None
    if any(
        c.commit == final.commit and c.challenger == state.me and challenging.outcome(need, c) == "pending"
        for c in need.challenges.values()
    ):
        fix = f"swarmd need show {need.id} shows the verdict when there is one"
        raise LocalFault("no-challenge", "your challenge of this result is being judged", fix=fix)
    funds.check(state, amount, f"the bond is {format_usdc(amount)} USDC")
    bond = {"seq": state.own_seq, "prev": state.own_head, "amount": amount}
    payload = {
        "task": final.task,
        "reason": args["reason"],
        "evidence": [Link(cid) for cid in args["evidence"]],
        "bond": bond,
    }
    try:
        kinds.check_payload(kinds.CHALLENGE, payload)
    except RemoteFault as fault:
        raise LocalFault("bad-challenge", fault.message) from None
    name = challenging.bond_id(state.me, bond, need.id, final.task, (final.id,))
    entry = fund_entry(state.me, state.own_seq, state.own_head, name, amount)
    state.own_seq += 1
    state.own_head = entry.hash
    state.own_pending += amount
    state.draft(out, need.id, kinds.CHALLENGE, payload, (final.id,))


def _advance(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """End this epoch before its time: ours to do only while it is our turn to propose."""
    drawn = ballots.epoch_committee(state.terms.roster(state.epoch), state.epoch)
    turn = drawn.proposer(state.ballot.promised if state.ballot is not None else 0)
    if turn != state.me:
        raise LocalFault(
            "not-our-turn",
            f"it is the turn of {turn} to propose the end of epoch {state.epoch}",
            fix="ask its operator, or wait for the epoch's time",
        )
    state.advance = True
    ballots.attend(state, out)


_COMMANDS: dict[str, Callable[[State, Mapping[str, Any], list[Effect]], None]] = {
    "need.post": _post_need,
    "challenge": _challenge,
    "configure": _configure,
    "epoch.advance": _advance,
    "verifier.join": acting.join,
    "verifier.leave": acting.leave,
    "verifier.quote": acting.show_quote,
    "money.transfer": money.transfer,
    "money.withdraw": money.withdraw,
    "money.claim": money.claim,
    **escrow_acting.COMMANDS,
}
