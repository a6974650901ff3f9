"""The content of a mesh, seen from one node: who to fetch from, and telling others what is here.

Peers that are connected come first, then those that the DHT names, then IPFS peers that the operator has named.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import trio
from swarmd.bootstrap.addresses import peer_of
from swarmd.node.content.bitswap.service import Bitswap, BitswapSource
from swarmd.node.content.fetch import BatchBlockStore, FetchLimits, RequestSource, Source, fetch_from
from swarmd.node.content.kubo import DEFAULT_ADDR
from swarmd.node.content.pinning import PinStrategy
from swarmd.node.content.sources import REQUEST_TIMEOUT_S, PeerSource
from swarmd.node.ports import PeerGone, Transport
from swarmd.protocol.faults import LocalFault

log = logging.getLogger(__name__)

_REDIAL_MIN_S: Final = 1.0
_REDIAL_MAX_S: Final = 60.0
_CHECK_S: Final = 10.0
_MAX_DIALS: Final = 3


@dataclass(frozen=True, slots=True)
class ContentSettings:
    """`[content]` of the configuration."""

    backend: str = "embedded"  # or "kubo"
    kubo_addr: str = DEFAULT_ADDR
    pin: PinStrategy = PinStrategy()
    bitswap: bool = True
    ipfs_peers: Sequence[str] = ()


class Finder(Protocol):
    """The DHT, as this needs it."""

    def provide(self, cid: bytes) -> None: ...

    async def find_providers(self, cid: bytes) -> list[tuple[str, tuple[str, ...]]]: ...


class ContentNetwork:
    """`dial` connects to whatever libp2p software is at an address; it returns the peer's id."""

    def __init__(
        self,
        transport: Transport,
        dial: Callable[[str], Awaitable[str]],
        bitswap: Bitswap | None,
        finder: Callable[[], Finder | None],
        ipfs_peers: Sequence[str] = (),
    ) -> None:
        self._transport = transport
        self._dial = dial
        self._bitswap = bitswap
        self._finder = finder
        self.ipfs_peers = {peer_of(addr): addr for addr in ipfs_peers}
        self.errors: dict[str, str] = {}  # of IPFS peers: why one is not connected
        self.local: Source | None = None  # asked before anybody: the kubo of this host

    def keeps(self, peer_id: str) -> bool:
        """Is a peer of other software to stay connected?"""
        return peer_id in self.ipfs_peers or (self._bitswap is not None and self._bitswap.useful(peer_id))

    def provide(self, cid: bytes) -> None:
        """The content under `cid` is here."""
        finder = self._finder()
        if finder is not None:
            finder.provide(cid)

    async def fetch(
        self,
        peers: Sequence[str],
        cid: bytes,
        store: BatchBlockStore,
        limits: FetchLimits = FetchLimits(),
    ) -> None:
        """As `fetch.fetch`, from `peers` (connected, best first), then from whoever else is found."""
        sources = [self._source(peer) for peer in peers]
        if self.local is not None:
            sources.insert(0, self.local)
        try:
            await fetch_from(sources, self._transport.report, cid, store, limits)
        except LocalFault as fault:
            if fault.code != "content-unavailable":
                raise
            more = await self._more(cid, frozenset(peers))
            if not more:
                raise
            await fetch_from(more, self._transport.report, cid, store, limits)

    def _source(self, peer_id: str) -> Source:
        if self._bitswap is None:
            return RequestSource(self._transport, peer_id, REQUEST_TIMEOUT_S)
        return PeerSource(self._transport, self._bitswap, peer_id)

    async def _more(self, cid: bytes, known: frozenset[str]) -> list[Source]:
        """Providers that the DHT knows, once connected, then the IPFS peers."""
        found: list[Source] = []
        finder = self._finder()
        providers = await finder.find_providers(cid) if finder is not None else []
        for peer_id, addrs in providers:
            if peer_id not in known and await self._reach(addrs):
                found.append(self._source(peer_id))
        if self._bitswap is not None:
            for peer_id in self.ipfs_peers:
                if self._bitswap.is_connected(peer_id):
                    found.append(BitswapSource(self._bitswap, peer_id))
        return found

    async def _reach(self, addrs: Sequence[str]) -> bool:
        for addr in addrs[:_MAX_DIALS]:
            try:
                await self._transport.connect(addr)
                return True
            except (PeerGone, LocalFault) as error:
                log.debug("a provider at %s was not reached: %s", addr, error)
        return False

    async def run(self) -> None:
        """Keep the IPFS peers connected, until cancelled."""
        async with trio.open_nursery() as nursery:
            for peer_id, addr in self.ipfs_peers.items():
                nursery.start_soon(self._keep_connected, peer_id, addr)
            await trio.sleep_forever()

    async def _keep_connected(self, peer_id: str, addr: str) -> None:
        pause_s = _REDIAL_MIN_S
        while True:
            if self._bitswap is not None and self._bitswap.is_connected(peer_id):
                await trio.sleep(_CHECK_S)
                continue
            try:
                await self._dial(addr)
                self.errors.pop(peer_id, None)
                pause_s = _REDIAL_MIN_S
            except (PeerGone, LocalFault) as error:
                self.errors[peer_id] = str(error)
                await trio.sleep(pause_s)
                pause_s = min(_REDIAL_MAX_S, pause_s * 2)

    def status(self) -> dict[str, Any]:
        """For operators."""
        bitswap = self._bitswap
        return {
            "bitswap": None if bitswap is None else bitswap.status(),
            "ipfs_peers": [
                {
                    "peer_id": peer_id,
                    "addr": addr,
                    "connected": bitswap is not None and bitswap.is_connected(peer_id),
                    "error": self.errors.get(peer_id, ""),
                }
                for peer_id, addr in self.ipfs_peers.items()
            ],
        }
