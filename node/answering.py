"""What other nodes may ask of this one, on a stream of their own: a table by the request's type."""

from collections.abc import Callable
from typing import Any

from swarmd.node.acquaintance import Acquaintances
from swarmd.node.content.layered import LayeredBlocks
from swarmd.node.content.wire import serve as serve_blocks
from swarmd.node.doctor import time_answer
from swarmd.node.joining import genesis_answer
from swarmd.node.policy.capsules import REQUEST_TYPE as CAPSULES
from swarmd.node.policy.capsules import Capsules
from swarmd.node.settling.service import MeshSettlement
from swarmd.node.settling.wire import REQUESTS as SETTLE_REQUESTS
from swarmd.node.state.sync import Sync
from swarmd.protocol.cbor import decode
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.genesis import Genesis


class Answers:
    """`serve` answers one request; RemoteFault for what cannot be answered, which its sender is told and scored by."""

    def __init__(
        self,
        genesis: Genesis,
        blocks: LayeredBlocks,
        capsules: Capsules,
        settling: MeshSettlement,
        sync: Sync,
        known: Acquaintances,
    ) -> None:
        self._settling = settling
        self._sync = sync
        self._known = known
        self._table: dict[str, Callable[[bytes], bytes]] = {
            "blocks": lambda body: serve_blocks(blocks, body),
            "time": lambda _: time_answer(),
            "genesis": lambda _: genesis_answer(genesis),
            CAPSULES: lambda _: capsules.answer(),
        }

    async def serve(self, peer_id: str, body: bytes) -> bytes:
        message: Any = decode(body)
        if type(message) is not dict:
            raise RemoteFault("bad-request", "not a map")
        named = message.get("t")
        kind = named if isinstance(named, str) else ""  # a list, for one, cannot be looked up
        if kind in self._table:
            return self._table[kind](body)
        if kind in SETTLE_REQUESTS:
            return await self._settling.serve(self._known.did_of(peer_id), message)
        return self._sync.serve(peer_id, message)
