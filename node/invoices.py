"""Invoices: what a need was charged, by whom, and which receipts say so."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from swarmd.node import views
from swarmd.node.checkpoint.archive import Archive
from swarmd.node.paging import list_needs
from swarmd.node.runner import Runner
from swarmd.node.transport.local import LocalCall
from swarmd.protocol import kinds
from swarmd.protocol.amounts import format_usdc
from swarmd.protocol.cids import cid_text
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.faults import CorruptState, LocalFault
from swarmd.protocol.ledger.netting import due_id
from swarmd.protocol.state import State
from swarmd.protocol.work.need import Need

_ENDED = {"released": "closed", "refunded": "closed", "expired": "closed"}


def invoice_of(
    state: State, need: Need, first: Envelope | None, settled: Mapping[bytes, str]
) -> dict[str, Any]:
    """Of a need that is here, or was brought back. `first`: its NEED; `settled`: receipt -> where its payment is.

    `state` is waiting (nothing is locked yet), open (more may be charged) or closed. CorruptState `P9` if it does not add up.
    """
    escrow = state.ledger.escrows.get(need.id)
    lines = []
    for task, (worker, amount) in sorted((escrow.paid if escrow is not None else {}).items()):
        run = need.runs.get(task)
        spec = need.spec(task)
        receipt = due_id(state.genesis.mesh_id, need.id, task)
        final = run.final if run is not None else None
        lines.append(
            {
                "task": task,
                "capability": spec.capability if spec else "",
                "charged_by": worker,
                "amount": format_usdc(amount),
                "result": cid_text(final.result) if final is not None else "",
                "receipt": f"0x{receipt.hex()}",
                "settlement": settled.get(receipt, ""),
            }
        )
    charged = sum(amount for _, amount in (escrow.paid.values() if escrow is not None else ()))
    held = escrow.held if escrow is not None else 0
    returned = escrow.returned if escrow is not None else 0
    if escrow is not None and escrow.state != "waiting" and charged + held + returned != escrow.amount:
        raise CorruptState("P9", f"{need.id}: {charged} + {held} + {returned} is not {escrow.amount}")
    anchor = state.anchors.get(state.anchor_of.get(need.id, b""))
    return {
        "need": need.id,
        "title": need.title,
        "owner": need.owner,
        "agent": first.payload.get("agent", "") if first is not None else "",
        "state": "waiting"
        if escrow is None or escrow.state == "waiting"
        else _ENDED.get(escrow.state, "open"),
        "budget": format_usdc(need.budget),
        "charged": format_usdc(charged),
        "held": format_usdc(held),
        "returned": format_usdc(returned),
        "lines": lines,
        "anchor": f"0x{anchor.tx_hash.hex()}" if anchor is not None and anchor.tx_hash else "",
    }


class InvoiceOps:
    """- `invoice.list` {limit?, cursor?, all?}: of this node's needs, the newest first. `invoice.show` {need}.
    - `spending` {}: what was spent in 24 hours beside its limits.
    """

    def __init__(
        self,
        runner: Runner,
        archive: Callable[[], Archive | None],
        settlement_of: Callable[[str], Awaitable[Mapping[bytes, str]]],
    ) -> None:
        self._runner = runner
        self._archive = archive
        self._settlement_of = settlement_of

    def ops(self) -> Mapping[str, Callable[[LocalCall], Awaitable[Any]]]:
        return {"invoice.list": self._list, "invoice.show": self._show, "spending": self._spending}

    async def _list(self, call: LocalCall) -> Any:
        limit = call.args.get("limit", 50)
        if type(limit) is not int or not 0 < limit <= 1_000:
            raise LocalFault("bad-args", "limit is a whole number from 1 to 1,000")
        page = list_needs(self._runner.state, self._archive(), None, limit, call.args.get("cursor"))
        rows = [
            {
                "need": row["need"],
                "title": row["title"],
                "owner": row["owner"],
                "state": row["state"],
                "budget": row["budget"],
                "charged": row["paid"],
            }
            for row in page["needs"]
            if call.args.get("all") is True or row["owner"] == self._runner.me
        ]
        return {"invoices": rows, "next": page["next"]}

    async def _show(self, call: LocalCall) -> Any:
        text = call.args.get("need")
        if not isinstance(text, str):
            raise LocalFault("bad-args", "name a need")
        state = self._runner.state
        try:
            need = views.find_need(state, text)
        except LocalFault:
            archive = self._archive()
            name = archive.find(text) if archive is not None else None
            if archive is None or name is None:
                raise
            state = archive.bring_back(name)
            need = state.needs[name]
        first = next((each for each in self._runner.thread(need.id) if each.kind == kinds.NEED), None)
        return invoice_of(state, need, first, await self._settlement_of(need.id))

    async def _spending(self, call: LocalCall) -> Any:
        found = self._runner.voice.spending(self._runner.now_ns())

        def shown(pair: tuple[int | None, int | None]) -> dict[str, str | None]:
            spent, limit = (None if each is None else format_usdc(each) for each in pair)
            return {"spent": spent, "limit": limit}

        return {
            "per_need": shown(found["per_need"])["limit"],
            "day": shown(found["day"]),
            "agents": {name: shown(pair) for name, pair in found["agents"].items()},
            "capabilities": {name: shown(pair) for name, pair in found["capabilities"].items()},
        }
