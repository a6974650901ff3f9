"""What operators and programs see of the state: plain maps, ids as text, amounts as decimal USDC and minor units."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from swarmd.node.waiting import waiting_for
from swarmd.protocol.amounts import format_usdc
from swarmd.protocol.cids import cid_text
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.ledger.accounts import Escrow
from swarmd.protocol.state import State
from swarmd.protocol.work import challenging
from swarmd.protocol.work.facts import Challenge
from swarmd.protocol.work.need import Need, Run
from swarmd.protocol.work.plan import STATES


def money(minor: int) -> dict[str, Any]:
    return {"usdc": format_usdc(minor), "minor": minor}


def find_need(state: State, text: str) -> Need:
    """By id or an unambiguous beginning of it; LocalFault `unknown-need`."""
    exact = state.needs.get(text)
    if exact is not None:
        return exact
    if text in state.refused:
        raise LocalFault("refused-need", f"{text} moves nothing: {state.refused[text]}")
    found = [name for name in state.needs if name.startswith(text) or name.startswith("need-" + text)]
    if len(found) == 1 and len(text) >= 4:
        return state.needs[found[0]]
    why = "several needs begin with it" if len(found) > 1 else "no such need here"
    raise LocalFault("unknown-need", f"{text!r}: {why}", fix="see swarmd need list")


def need_row(state: State, need: Need) -> dict[str, Any]:
    """One line of `need list`."""
    escrow = state.ledger.escrows.get(need.id)
    paid = sum(amount for _, amount in escrow.paid.values()) if escrow else 0
    return {
        "need": need.id,
        "title": need.title,
        "state": need.state(),
        "owner": need.owner,
        "budget": format_usdc(need.budget),
        "paid": format_usdc(paid),
        "tasks": len(need.runs),
        "done": sum(run.final is not None for run in need.runs.values()),
        "created_ns": need.ts_ns,
        "waiting_for": "" if need.closed is not None else need.waiting_for,
    }


def need_detail(state: State, need: Need) -> dict[str, Any]:
    """All of `need show` but the result's content."""
    anchor_id = state.anchor_of.get(need.id)
    anchor = state.anchors.get(anchor_id) if anchor_id else None
    noted = need.plan.annotations.get(("", "anchor"))
    closed = need.closed
    return {
        **need_row(state, need),
        "waiting_for": waiting_for(state, need),
        "deadline_ns": need.deadline_ns,
        "reason": closed.reason if closed and not need.complete() else "",
        "tasks": [task_row(need, name, run) for name, run in need.runs.items()],
        "escrow": escrow_row(state.ledger.escrows.get(need.id)),
        "held": format_usdc(held(state, need)),
        "challenges": [
            challenge_row(state, need, made)
            for made in sorted(need.challenges.values(), key=lambda c: (c.ts_ns, c.id))
        ],
        **times(need),
        "result": {
            name: cid_text(run.final.result)
            for name, run in need.runs.items()
            if run.final is not None and not need.graph.children(name)
        },
        "anchor": {
            "tx_hash": "0x" + anchor.tx_hash.hex(),
            "block": anchor.block_number,
            "root": anchor.root.hex(),
            "chain_id": anchor.chain_id,
            "contract": anchor.contract,
            "receipts": len(anchor.leaves),
        }
        if anchor and anchor.tx_hash
        else None,
        "anchor_note": noted[2] if noted else None,
    }


def held(state: State, need: Need) -> int:
    """Minor units that accepted results will be paid when the challenge window ends."""
    escrow = state.ledger.escrows.get(need.id)
    if escrow is None or escrow.state != "funded" or not need.held():
        return 0
    return sum(price for _, price in need.earned().values())


def challenge_row(state: State, need: Need, made: Challenge) -> dict[str, Any]:
    """A challenge and what came of it. `bond_state`: settled once a checkpoint is done with it."""
    bond, escrow = state.bonds.get(made.bond), state.ledger.escrows.get(made.bond)
    return {
        "challenge": cid_text(made.id),
        "task": made.task,
        "challenger": made.challenger,
        "reason": made.reason,
        "evidence": [cid_text(cid) for cid in made.evidence],
        "at_ns": made.ts_ns,
        "outcome": challenging.outcome(need, made),
        "bond": format_usdc(bond.entry.amount) if bond is not None else "",
        "bond_state": escrow.state if bond is not None and escrow is not None else "settled",
        "worker": need.commits[made.commit].worker,
        "result": cid_text(need.commits[made.commit].result),
        "reviews": [
            {"judge": r.judge, "verdict": r.verdict, "score": r.score, "reason": r.reason}
            for r in need.reviews.values()
            if r.challenge == made.id
        ],
    }


def times(need: Need) -> dict[str, Any]:
    """Milliseconds from NEED to DECIDE and to the last FINALIZE, by the signed times; None while there is none."""
    done = need.complete() and need.finals
    return {
        "decide_ms": (need.decided.ts_ns - need.ts_ns) / 1e6 if need.decided else None,
        "plans_decided": len({decide.proposal for decide in need.decides.values()}),
        "finalize_ms": (max(f.ts_ns for f in need.finals.values()) - need.ts_ns) / 1e6 if done else None,
    }


def task_row(need: Need, name: str, run: Run) -> dict[str, Any]:
    proposal = need.proposal()
    spec = need.spec(name)
    worker, price = "", 0
    if run.final is not None:
        worker, price = run.final.worker, run.final.price
    elif proposal is not None and run.attempt < len(proposal.plan[name]):
        worker, price = proposal.plan[name][run.attempt]
    return {
        "task": name,
        "capability": spec.capability if spec else "",
        "state": run.state,
        "worker": worker,
        "price": format_usdc(price),
        "attempt": run.attempt,
        "result": cid_text(run.final.result) if run.final else "",
        "after": list(spec.parents) if spec else [],
        "telemetry": dict(run.commit.telemetry) if run.commit else {},
        "judges": [
            {"judge": a.judge, "verdict": a.verdict, "score": a.score, "reason": a.reason}
            for a in need.by_task.get("attests/" + name, ())
        ],
        "ended": [
            {"attempt": e.attempt, "cause": e.cause, "reason": e.reason}
            for e in sorted(need.endings.values(), key=lambda e: (e.attempt, e.ts_ns))
            if e.task == name
        ],
    }


def task_page(state: State, need: str | None, wanted: str | None, ready: bool, limit: int) -> dict[str, Any]:
    """What `task list` shows: of one need or all, in one state or ready to begin; what moved last comes first."""
    name = str(wanted).upper() if wanted is not None else None
    if name is not None and name not in STATES:
        raise LocalFault("bad-args", f"no state {wanted!r}", fix="one of " + ", ".join(STATES).lower())
    asked = state.views
    found: Iterable[tuple[str, str]]
    if need is not None:
        found = [(need, task) for task in asked.tasks_of(need)]
    elif ready:
        found = asked.ready()
    elif name is not None:
        found = asked.tasks_in(name)
    else:
        found = (task for each in STATES for task in asked.tasks_in(each))
    kept = (
        (need_id, task)
        for need_id, task in found
        if (name is None or asked.state_of(need_id, task) == name)
        and (not ready or asked.is_ready(need_id, task))
    )
    rows = [
        {"need": need_id, **task_row(state.needs[need_id], task, state.needs[need_id].runs[task])}
        for need_id, task in islice(kept, limit)
    ]
    return {"tasks": rows, "counts": asked.task_counts()}


def graph(need: Need, task: str | None) -> dict[str, Any]:
    """What `need graph` shows: tasks in an order that respects what they come after; with `task`, its relatives."""
    plan = need.graph
    if task is None:
        return {
            "need": need.id,
            "tasks": [
                {
                    "task": name,
                    "state": need.runs[name].state,
                    "parents": list(plan.parents(name)),
                    "children": list(plan.children(name)),
                }
                for name in plan.order()
            ],
        }
    if task not in plan:
        raise LocalFault("unknown-task", f"{task!r}: {need.id} has {', '.join(plan.order()[:20])}")
    return {
        "need": need.id,
        "task": task,
        "parents": list(plan.parents(task)),
        "children": list(plan.children(task)),
        "ancestors": sorted(plan.ancestors(task)),
        "descendants": sorted(plan.descendants(task)),
    }


def escrow_row(escrow: Escrow | None) -> dict[str, Any]:
    if escrow is None:
        return {"state": "none"}
    return {
        "state": escrow.state,
        "amount": format_usdc(escrow.amount),
        "held": format_usdc(escrow.held),
        "returned": format_usdc(escrow.returned),
        "paid": [
            {"task": task, "worker": worker, "amount": format_usdc(amount)}
            for task, (worker, amount) in sorted(escrow.paid.items())
        ],
    }


def balance(state: State, did: str) -> dict[str, Any]:
    account = state.ledger.account(did)
    pending = state.own_pending if did == state.me else 0
    return {
        "did": did,
        "available": format_usdc(account.available - pending),
        "pending": format_usdc(pending),
        "locked": format_usdc(account.locked),
        "earned": format_usdc(account.earned),
        "spent": format_usdc(account.spent),
        "minor": {
            "available": account.available - pending,
            "pending": pending,
            "locked": account.locked,
            "earned": account.earned,
            "spent": account.spent,
        },
        "entries": account.next_seq,
        "reputation": state.rates(did),
        "double_spends": sum(owner == did for owner, _ in state.ledger.double_spends),
    }
