"""Where content is fetched from, as `fetch.Source`s: peers of the mesh, IPFS peers, and the kubo of this host."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import trio
from swarmd.node.content.bitswap.service import Bitswap
from swarmd.node.content.fetch import RequestSource
from swarmd.node.content.kubo import KuboStore
from swarmd.node.content.wire import Answer
from swarmd.node.ports import PeerGone, Transport
from swarmd.protocol.faults import LocalFault

REQUEST_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class PeerSource:
    """A peer of the mesh. One block is asked for by our own request, many by Bitswap if the peer speaks it
    (docs/adr/0020-bitswap-beside-requests.md has the measurement)."""

    transport: Transport
    bitswap: Bitswap
    peer_id: str

    async def ask(self, cids: Sequence[bytes]) -> Answer:
        if len(cids) > 1 and self.bitswap.may_speak(self.peer_id):
            try:
                return await self.bitswap.ask(self.peer_id, cids)
            except PeerGone:
                if self.bitswap.may_speak(self.peer_id):
                    raise
        return await RequestSource(self.transport, self.peer_id, REQUEST_TIMEOUT_S).ask(cids)


@dataclass(frozen=True, slots=True)
class KuboSource:
    """The kubo daemon of this host: what it has, it has here."""

    kubo: KuboStore
    peer_id: str = "kubo"

    async def ask(self, cids: Sequence[bytes]) -> Answer:
        try:
            return await trio.to_thread.run_sync(self._read, list(cids), abandon_on_cancel=True)
        except LocalFault as fault:
            raise PeerGone(str(fault)) from None

    def _read(self, cids: Sequence[bytes]) -> Answer:
        found = {cid: self.kubo.get(cid) for cid in cids}
        return Answer(
            {cid: block for cid, block in found.items() if block is not None},
            frozenset(cid for cid, block in found.items() if block is None),
            verified=True,
        )
