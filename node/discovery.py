"""Finding peers, in the daemon: what is heard goes into the book, the connector dials, the book is kept on disk."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio
from swarmd.bootstrap.addresses import is_dnsaddr
from swarmd.bootstrap.book import PeerBook
from swarmd.bootstrap.connector import Connector, DialFailed
from swarmd.node.ports import PeerGone, Transport
from swarmd.protocol.faults import LocalFault

log = logging.getLogger(__name__)

SAVE_INTERVAL_S = 30.0


@dataclass(frozen=True, slots=True)
class DiscoverySettings:
    """What of finding peers an operator can set."""

    bootstrap: Sequence[str] = ()
    mdns: bool = False
    target_peers: int = 0  # 0: dial nobody


@dataclass(slots=True)
class SourceState:
    """How one way of finding peers is doing, for operators."""

    state: str = "off"  # "off" | "starting" | "on" | "failed"
    error: str = ""
    found: dict[str, int] = field(default_factory=dict)


class Discovery:
    """Feeds and runs the connector for one daemon."""

    def __init__(
        self,
        home: Path,
        transport: Transport,
        settings: DiscoverySettings,
        addrs_of_peers: Callable[[], Sequence[str]],
    ) -> None:
        self.settings = settings
        self.book = PeerBook(transport.peer_id)
        self._home = home
        self._transport = transport
        self._addrs_of_peers = addrs_of_peers
        self.connector = Connector(self.book, self._dial, self._connected, target_peers=settings.target_peers)

    async def run(self) -> None:
        """Until cancelled; then the book is saved."""
        self.book.load(self._home)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_lists)
                nursery.start_soon(self.connector.run)
                nursery.start_soon(self._keep)
        finally:
            self._save()

    # What the daemon tells -----------------------------------------------------------------------------

    def on_peer_up(self, peer_id: str) -> None:
        for peer in self._transport.peers():
            if peer.peer_id == peer_id and peer.direction == "outbound":
                for addr in peer.addrs:
                    self.book.learn(addr, "peer")
        self.book.worked(peer_id)

    def on_peer_down(self, peer_id: str) -> None:
        self.connector.wake()

    # Sources -------------------------------------------------------------------------------------------

    async def _read_lists(self) -> None:
        for entry in self.settings.bootstrap:
            if not is_dnsaddr(entry):
                self.book.learn(entry, "list")

    async def _keep(self) -> None:
        """Addresses that members announce in their manifests are hints too; the book goes to disk."""
        pause_s = 1.0
        while True:
            await trio.sleep(pause_s)
            pause_s = min(SAVE_INTERVAL_S, pause_s * 2)
            self._save()

    def _save(self) -> None:
        for addr in self._addrs_of_peers():
            self.book.learn(addr, "peer")
        if not self.book.changed:
            return
        try:
            self.book.save(self._home)
        except OSError as error:
            log.warning("the known peers could not be saved: %s", error)

    # The connector's view of the transport -------------------------------------------------------------

    def _connected(self) -> frozenset[str]:
        return frozenset(peer.peer_id for peer in self._transport.peers())

    async def _dial(self, addr: str) -> None:
        try:
            await self._transport.connect(addr)
        except PeerGone as error:
            raise DialFailed(str(error), other_mesh="another mesh" in str(error)) from None
        except LocalFault as fault:
            raise DialFailed(fault.message) from None
