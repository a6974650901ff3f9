"""What the pages of the dashboard show: plain maps, a page at a time, made from the state without changing it."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from swarmd.node import views
from swarmd.node.checkpoint.archive import Archive
from swarmd.protocol.amounts import format_usdc
from swarmd.protocol.limits import S_NS
from swarmd.protocol.state import State
from swarmd.protocol.terms import in_bootstrap
from swarmd.protocol.work.need import Need
from swarmd.protocol.work.need_states import ENDS, STAGES

GROUPS = {"ACTIVE": STAGES, "ENDED": ENDS, **{state: (state,) for state in (*STAGES, *ENDS)}}
HOUR_NS = 3_600 * S_NS
RECENT = 8
_HOURS = 24
# What the day's columns look at; a node with more in a day shows the latest of them.
_MAX_COUNTED = 50_000


def overview(state: State, archive: Archive | None) -> dict[str, Any]:
    """Counts, money, the last needs and the last day by the hour; nothing that costs more with a longer history."""
    counts = state.views.need_counts()
    archived = archive.count() if archive is not None else 0
    return {
        "did": state.me,
        "mesh": {"id": state.genesis.mesh_name, "name": state.genesis.name},
        "epoch": state.epoch,
        "bootstrap": in_bootstrap(state.terms, state.epoch),
        "needs": counts,
        "tasks": state.views.task_counts(),
        "active": sum(counts.get(each, 0) for each in STAGES),
        "archived": archived,
        "total": len(state.needs) + archived,
        "balance": views.balance(state, state.me),
        "recent": [
            views.need_row(state, state.needs[need]) for need in islice(reversed(state.needs), RECENT)
        ],
        "hours": _by_hour(state),
    }


def _by_hour(state: State) -> list[dict[str, int]]:
    """The last day: needs that came, and those of them that are finalized or failed by now, oldest hour first."""
    hours = [{"posted": 0, "finalized": 0, "failed": 0} for _ in range(_HOURS)]
    for name in islice(reversed(state.needs), _MAX_COUNTED):
        need = state.needs[name]
        ago = (state.now_ns - need.ts_ns) // HOUR_NS
        if not 0 <= ago < _HOURS:
            if ago >= 2 * _HOURS:
                break  # by arrival, so this is no exact order: leave some room
            continue
        hour = hours[_HOURS - 1 - ago]
        hour["posted"] += 1
        ended = need.state()
        if ended in ENDS:
            hour["finalized" if ended == "FINALIZED" else "failed"] += 1
    return hours


def need_page(
    state: State,
    archive: Archive | None,
    *,
    wanted: str | None,
    owner: str | None,
    text: str | None,
    offset: int,
    limit: int,
) -> dict[str, Any]:
    """Rows of needs, what moved last first where a state is asked for, else what came last. `total`: before paging.

    Needs that a checkpoint closed come after those in memory. They are not searched: `searched` says so.
    """
    kept = _found(state, wanted, owner, text)
    if owner is None and text is None:
        total = len(state.needs) if wanted is None else _count(state, wanted)
        rows = [views.need_row(state, need) for need in islice(kept, offset, offset + limit)]
        if archive is not None:
            ends = [None] if wanted is None else [each for each in GROUPS[wanted] if each in ENDS]
            for end in ends:
                size = archive.count(end)
                start = max(0, offset + len(rows) - total)
                if len(rows) < limit and start < size:
                    rows += [row for _, row in archive.rows(end, limit - len(rows), offset=start)]
                total += size
        return {"needs": rows, "total": total, "offset": offset, "limit": limit, "searched": "all"}
    found = list(kept)
    rows = [views.need_row(state, need) for need in found[offset : offset + limit]]
    return {"needs": rows, "total": len(found), "offset": offset, "limit": limit, "searched": "live"}


def _count(state: State, wanted: str) -> int:
    counts = state.views.need_counts()
    return sum(counts.get(each, 0) for each in GROUPS[wanted])


def _found(state: State, wanted: str | None, owner: str | None, text: str | None) -> Iterator[Need]:
    names: Iterable[str]
    if wanted is None:
        names = reversed(state.needs)
    else:
        names = (name for each in GROUPS[wanted] for name in state.views.needs_in(each))
    part = text.casefold() if text else ""
    for name in names:
        need = state.needs[name]
        if owner is not None and need.owner != owner:
            continue
        if part and part not in name and part not in need.title.casefold():
            continue
        yield need


def graph(need: Need) -> dict[str, Any]:
    """The plan as it is drawn: tasks in an order that respects what they come after, each with all that `need show`
    tells of it and the tasks it waits for."""
    order = need.graph.order()
    known = set(order)
    rest = [name for name in need.runs if name not in known]
    return {
        "need": need.id,
        "state": need.state(),
        "tasks": [
            {
                **views.task_row(need, name, need.runs[name]),
                "parents": list(need.graph.parents(name)) if name in known else [],
            }
            for name in (*order, *rest)
            if name in need.runs
        ],
    }


def accounts(state: State, limit: int) -> dict[str, Any]:
    """Everybody with money or an offer, by what they earned; `share_ppm` of the money there is, in millionths."""
    dids = {*state.ledger.accounts, *state.manifests}
    rows: list[tuple[int, str, dict[str, Any]]] = []
    for did in dids:
        account = state.ledger.account(did) if did in state.ledger.accounts else None
        accepted, failed = state.reputation.get(did, (0, 0))
        row = {
            "did": did,
            "me": did == state.me,
            "person": did.startswith("did:"),
            "available": format_usdc(account.available if account else 0),
            "locked": format_usdc(account.locked if account else 0),
            "earned": format_usdc(account.earned if account else 0),
            "spent": format_usdc(account.spent if account else 0),
            "reputation": state.rates(did),
            "accepted": accepted,
            "failed": failed,
        }
        rows.append((-account.earned if account else 0, did, row))
    rows.sort(key=lambda row: row[:2])
    shown = [row for _, _, row in rows[:limit]]
    return {"accounts": shown, "total": len(rows), "supply": format_usdc(state.ledger.supply)}


def statement(state: State, did: str, offset: int, limit: int) -> dict[str, Any]:
    """What moved on an account: money locked for its needs, returned, and earned for its work; the latest first."""
    lines: list[tuple[int, dict[str, Any]]] = []
    for name in reversed(state.needs):
        need = state.needs[name]
        escrow = state.ledger.escrows.get(name)
        if escrow is None:
            continue
        earned = [(task, amount) for task, (worker, amount) in escrow.paid.items() if worker == did]
        if need.owner != did and not earned:
            continue
        common = {"need": name, "title": need.title, "state": escrow.state, "task": ""}
        if need.owner == did:
            lines.append(
                (need.ts_ns, {**common, "what": "locked", "amount": "-" + format_usdc(escrow.amount)})
            )
            if escrow.returned:
                told = [each.ts_ns for each in need.closings.values()]
                told += [each.ts_ns for each in need.finals.values()]
                at_ns = max(told, default=need.ts_ns)
                lines.append((at_ns, {**common, "what": "returned", "amount": format_usdc(escrow.returned)}))
        for task, amount in earned:
            final = need.runs[task].final if task in need.runs else None
            line = {**common, "what": "earned", "amount": format_usdc(amount), "task": task}
            lines.append((final.ts_ns if final else need.ts_ns, line))
    lines.sort(key=lambda line: -line[0])
    rows = [{"at_ns": at_ns, **line} for at_ns, line in lines[offset : offset + limit]]
    return {"did": did, "lines": rows, "total": len(lines), "offset": offset, "limit": limit}


def anchors(state: State, limit: int) -> dict[str, Any]:
    """Receipts of this node that went to the chain together, the latest first, and those that wait."""
    rows = [
        {
            "anchor": anchor.id.hex(),
            "root": anchor.root.hex(),
            "needs": list(anchor.needs),
            "receipts": len(anchor.leaves),
            "tx_hash": "0x" + anchor.tx_hash.hex() if anchor.tx_hash else "",
            "block": anchor.block_number,
            "chain_id": anchor.chain_id,
            "contract": anchor.contract,
        }
        for anchor in islice(reversed(state.anchors.values()), limit)
    ]
    return {"anchors": rows, "total": len(state.anchors), "waiting": len(state.receipts)}
