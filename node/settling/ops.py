"""The `stake.slash` operation of the local socket."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from swarmd.node.settling.service import MeshSettlement
from swarmd.node.transport.local import LocalCall
from swarmd.protocol.amounts import format_usdc
from swarmd.protocol.faults import LocalFault


def slash_ops(
    settling: MeshSettlement, against: Callable[[str, str | None], dict[str, Any]]
) -> Mapping[str, Callable[[LocalCall], Awaitable[Any]]]:
    """`stake.slash` {who: did, need?} by what this node has on record, or {evidence: a certificate as JSON has it}."""

    async def slash(call: LocalCall) -> Any:
        document, who, need = (call.args.get(name) for name in ("evidence", "who", "need"))
        if document is None:
            if not isinstance(who, str) or not (need is None or isinstance(need, str)):
                raise LocalFault("bad-args", "name a node by its did:key, and a need if it is about one")
            document = against(who, need)
        found = await settling.slash(json.dumps(document).encode())
        return {**found, "amount": format_usdc(found["amount"])}

    return {"stake.slash": slash}
