"""What an operator can tell the engine to do. Each command checks everything before it changes anything."""

from collections.abc import Callable, Mapping
from typing import Any

from swarmd.protocol import kinds, limits
from swarmd.protocol.effects import Effect
from swarmd.protocol.envelope import need_id
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.ledger.accounts import Entry, fund_entry
from swarmd.protocol.limits import S_NS
from swarmd.protocol.state import State
from swarmd.protocol.work import opening
from swarmd.protocol.work.need import task_spec
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
    """args: title, budget (minor units), deadline_s, tasks (payload form), inline (small blocks)."""
    budget, deadline_s = args["budget"], args["deadline_s"]
    if not 0 < deadline_s <= limits.MAX_DEADLINE_S:
        raise LocalFault("bad-deadline", f"1 to {limits.MAX_DEADLINE_S} seconds, not {deadline_s}")
    payload: dict[str, Any] = {
        "title": args["title"],
        "budget": budget,
        "deadline_ns": state.now_ns + deadline_s * S_NS,
        "fund": {"seq": state.own_seq, "prev": state.own_head},
        "tasks": args["tasks"],
    }
    if args["inline"]:
        payload["inline"] = args["inline"]
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
            f"the tasks' top prices add up to {wanted}, the budget is {budget} minor units",
            fix="raise --budget or lower the tasks' max_price",
        )
    available = state.ledger.account(state.me).available - state.own_pending
    if budget > available:
        raise LocalFault(
            "insufficient-funds",
            f"the budget is {budget}, {available} minor units are available",
            fix="lower --budget, or wait for payments and refunds (swarmd balance)",
        )
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
    if entry.seq >= state.own_seq:
        # Our own account moved without us: a restored home. Continue after what the mesh knows.
        state.own_seq = entry.seq + 1
        state.own_head = entry.hash


def _configure(state: State, args: Mapping[str, Any], out: list[Effect]) -> None:
    """args: lease_s, anchor_interval_ns. The node tells them at its start when they changed."""
    lease_s, interval_ns = args["lease_s"], args["anchor_interval_ns"]
    if not 0 < lease_s <= limits.MAX_LEASE_S or not 0 <= interval_ns <= 86_400 * S_NS:
        raise LocalFault("bad-config", f"lease_s {lease_s}, anchor_interval_ns {interval_ns}")
    state.lease_s = lease_s
    state.anchor_interval_ns = interval_ns


_COMMANDS: dict[str, Callable[[State, Mapping[str, Any], list[Effect]], None]] = {
    "need.post": _post_need,
    "configure": _configure,
}
