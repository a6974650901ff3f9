"""Finding peers, in the daemon: what is heard goes into the book, the connector dials, the book is kept on disk."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import trio
from swarmd.bootstrap.addresses import is_dnsaddr
from swarmd.bootstrap.book import SOURCES, PeerBook
from swarmd.bootstrap.connector import Connector, DialFailed
from swarmd.bootstrap.lists import check_entry, is_file, read_file
from swarmd.bootstrap.mdns import Announcement, LocalNetwork
from swarmd.node.ports import PeerGone
from swarmd.node.transport.p2p.kad import Kademlia
from swarmd.node.transport.p2p.nat.autonat import AutoNat
from swarmd.node.transport.p2p.nat.traversal import NatTraversal
from swarmd.node.transport.p2p.transport import P2PTransport
from swarmd.protocol.faults import LocalFault

log = logging.getLogger(__name__)

SAVE_INTERVAL_S = 30.0
LIST_INTERVAL_S = 1_800.0
LIST_RETRY_S = 15.0
SETTLE_S = 10.0


@dataclass(frozen=True, slots=True)
class DiscoverySettings:
    """What of finding peers an operator can set."""

    bootstrap: Sequence[str] = ()
    mdns: bool = False
    dht: bool = False
    nat: bool = False
    relay: bool = False
    target_peers: int = 0  # 0: dial nobody


@dataclass(frozen=True, slots=True)
class Membership:
    """Who we are to others: our mesh's CID, and whose signature on a bootstrap list counts."""

    mesh: str
    trusted: Sequence[str]


class Discovery:
    """Feeds and runs the connector for one daemon."""

    def __init__(
        self,
        home: Path,
        transport: P2PTransport,
        settings: DiscoverySettings,
        membership: Membership,
        addrs_of_peers: Callable[[], Sequence[str]],
    ) -> None:
        self.settings = settings
        self.book = PeerBook(transport.peer_id)
        self.lists: dict[str, str] = {}  # entry -> what is wrong with it, "" if nothing
        self.mdns: LocalNetwork | None = None
        if settings.mdns:
            self.mdns = LocalNetwork(self._announcement, lambda addr: self._heard(addr, "mdns"))
        self.dht: Kademlia | None = None
        if settings.dht:
            self.dht = Kademlia(transport, membership.mesh, lambda addr: self._heard(addr, "dht"))
            transport.plugins.append(self.dht)
        self.autonat: AutoNat | None = None
        if settings.nat:
            self.autonat = AutoNat(transport, lambda: transport.bound_addrs)
            transport.plugins.append(self.autonat)
        self.nat: NatTraversal | None = None
        if settings.relay and self.autonat is not None:
            self.nat = NatTraversal(transport, self.autonat)
        self._home = home
        self._membership = membership
        self._transport = transport
        self._addrs_of_peers = addrs_of_peers
        for entry in settings.bootstrap:
            check_entry(entry)
        self.connector = Connector(self.book, self._dial, self._connected, target_peers=settings.target_peers)

    async def run(self) -> None:
        """Until cancelled; then the book is saved."""
        self.book.load(self._home)
        try:
            async with trio.open_nursery() as nursery:
                for entry in self.settings.bootstrap:
                    nursery.start_soon(self._follow_list, entry)
                if self.mdns is not None:
                    nursery.start_soon(self.mdns.run)
                nursery.start_soon(self.connector.run)
                nursery.start_soon(self._keep)
        finally:
            self._save()

    def on_addrs_changed(self) -> None:
        """We are reached elsewhere now: let our neighbours in the DHT see it."""
        if self.dht is not None:
            self.dht.wake()

    # What the daemon tells -----------------------------------------------------------------------------

    def on_peer_up(self, peer_id: str) -> None:
        for peer in self._transport.peers():
            if peer.peer_id == peer_id and peer.direction == "outbound":
                for addr in peer.addrs:
                    self.book.learn(addr, "peer")
        self.book.worked(peer_id)
        if self.dht is not None:
            self.dht.on_peer_up(peer_id)
        if self.autonat is not None:
            self.autonat.on_peer_up(peer_id)
        if self.nat is not None:
            self.nat.on_peer_up(peer_id)

    def on_peer_down(self, peer_id: str) -> None:
        self.connector.wake()
        if self.nat is not None:
            self.nat.on_peer_down(peer_id)

    def has_spare(self) -> bool:
        """Is there a peer that could be dialed in place of one we have?"""
        return bool(self.book.candidates(self._connected(), 1))

    def report(self) -> dict[str, Any]:
        """Everything an operator may want to know, as JSON has it."""
        mdns, dht = self.mdns, self.dht
        off = {"state": "off", "error": ""}
        return {
            "target_peers": self.settings.target_peers,
            "lists": dict(self.lists),
            "mdns": off
            if mdns is None
            else {
                "state": mdns.state,
                "error": mdns.error,
                "interfaces": mdns.interfaces,
                "seen": len(mdns.seen),
                "other_meshes": mdns.others,
            },
            "dht": off
            if dht is None
            else {"state": "on", "error": "", "table": len(dht.table), **dict(dht.counters)},
            "book": [
                {
                    "peer_id": known.peer_id,
                    "source": known.source,
                    "heard_from": sorted(known.heard_from),
                    "addrs": known.addrs,
                    "failures": known.failures,
                    "error": known.error,
                    "connected_at_s": known.connected_at_s,
                }
                for known in self.book.all()
            ],
        }

    async def reach(self, *, ask: bool = False) -> dict[str, Any]:
        """How others reach us; with `ask` they are asked anew."""
        autonat = self.autonat
        if autonat is None:
            return {"nat": "unknown", "confirmed": "", "observed": [], "relays": []}
        if ask:
            await autonat.check()
        return {
            "nat": autonat.kind,
            "confirmed": autonat.confirmed,
            "observed": sorted(set(autonat.observed.values())),
            **({"relays": []} if self.nat is None else self.nat.report()),
        }

    async def settle(self) -> None:
        """Wait until each list was read once and mDNS had a moment."""
        with trio.move_on_after(SETTLE_S):
            while len(self.lists) < len(self.settings.bootstrap):  # noqa: ASYNC110 (for a command, once)
                await trio.sleep(0.05)
            if self.mdns is not None:
                while self.mdns.state == "starting":  # noqa: ASYNC110
                    await trio.sleep(0.05)
                await trio.sleep(1.0)

    def known_addrs(self) -> list[tuple[str, str]]:
        """(address, source) of what the operator named, then of what was heard; one or two of each peer."""
        ranked = sorted(self.book.all(), key=lambda known: SOURCES.index(known.source))
        return [(addr, known.source) for known in ranked for addr in known.addrs[:2]]

    # Sources -------------------------------------------------------------------------------------------

    async def _follow_list(self, entry: str) -> None:
        """Take in a bootstrap entry, and again at times: what is behind a name or file may change."""
        while True:
            try:
                for addr in await self._read_list(entry):
                    self.book.learn(addr, "list")
                self.lists[entry] = ""
            except LocalFault as fault:
                if self.lists.get(entry) != fault.message:
                    log.warning("bootstrap list %s: %s", entry, fault.message)
                self.lists[entry] = fault.message
            await trio.sleep(LIST_INTERVAL_S if self._connected() else LIST_RETRY_S)

    async def _read_list(self, entry: str) -> Sequence[str]:
        if is_dnsaddr(entry):
            return await _resolve(entry)
        if not is_file(entry):
            return [entry]
        found = await trio.to_thread.run_sync(
            read_file, self._path(entry), self._membership.mesh, self._membership.trusted, time.time()
        )
        addrs = [addr for addr in found if not is_dnsaddr(addr)]
        for name in (addr for addr in found if is_dnsaddr(addr)):
            addrs += await _resolve(name)
        return addrs

    def _path(self, entry: str) -> Path:
        return (self._home / Path(entry).expanduser()).absolute()

    def _announcement(self) -> Announcement:
        return Announcement(self._transport.peer_id, self._membership.mesh, self._transport.bound_addrs)

    def _heard(self, addr: str, source: str) -> None:
        self.book.learn(addr, source)

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


async def _resolve(entry: str) -> list[str]:
    # Loaded when a name is met, and beside the loop: dnspython takes its time.
    dnsaddr = await trio.to_thread.run_sync(import_module, "swarmd.bootstrap.dnsaddr")
    found: list[str] = await dnsaddr.resolve_dnsaddr(entry)
    return found
