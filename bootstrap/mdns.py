"""Finding the nodes of our mesh on the local network: DNS-SD service `_swarm._tcp.local` (RFC 6762, 6763).

zeroconf runs in threads of its own; what it hears is handed to trio without waiting. An instance is named after
its peer id; its TXT record has `mesh` (the CID of the genesis) and `id`. Everybody on the network can say
anything here, so it is taken for a hint: few per minute, for our mesh only, and only of that host's own network.
"""

import ipaddress
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import ifaddr
import trio
import zeroconf
from swarmd.bootstrap.addresses import ip_of, key_of
from swarmd.protocol.faults import LocalFault

log = logging.getLogger(__name__)

SERVICE = "_swarm._tcp.local."
LOOK_AGAIN_S = 10.0
RESOLVE_TIMEOUT_MS = 3_000
MAX_INSTANCES = 512
CLOSE_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Announcement:
    """What we say of ourselves: `addrs` are the addresses listened on, wildcards already expanded."""

    peer_id: str
    mesh: str
    addrs: tuple[str, ...]

    def port(self) -> int:
        return int(self.addrs[0].split("/")[4])

    def ips(self) -> list[str]:
        """The IPs listened on at the announced port; this host's own only if there are no others."""
        mine = [addr for addr in self.addrs if addr.split("/")[4] == str(self.port())]
        found = [str(ip) for addr in mine if (ip := ip_of(addr)) is not None and not ip.is_loopback]
        return found or ["127.0.0.1"]


def interfaces() -> list[str]:
    """The IPv4 addresses of this host's interfaces, loopback left out if there is another."""
    found = [
        str(ip.ip)
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
        if ip.is_IPv4 and not ipaddress.ip_address(str(ip.ip)).is_unspecified
    ]
    outside = [ip for ip in found if not ipaddress.ip_address(ip).is_loopback]
    return sorted(outside or found)


def networks() -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The IPv4 networks that this host is part of."""
    return [
        ipaddress.ip_network(f"{ip.ip}/{ip.network_prefix}", strict=False)
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
        if ip.is_IPv4
    ]


class LocalNetwork:
    """Announces us and tells `found(addr)` of others, until cancelled; begins anew when interfaces change."""

    def __init__(self, announcement: Callable[[], Announcement], found: Callable[[str], None]) -> None:
        self._announcement = announcement
        self._found = found
        self.state = "starting"
        self.error = ""
        self.interfaces: list[str] = []
        self.seen: dict[str, str] = {}  # instance -> peer id, of our mesh
        self.others = 0  # instances of other meshes

    async def run(self) -> None:
        while True:
            mine = self._announcement()
            self.interfaces = self._usable(mine)
            await self._serve(mine, list(self.interfaces))

    def _usable(self, mine: Announcement) -> list[str]:
        ips = mine.ips()
        if ips == ["127.0.0.1"]:
            return ips  # a node that listens on loopback only is of no use to other hosts
        return interfaces()

    async def _serve(self, mine: Announcement, on: list[str]) -> None:
        """One life of zeroconf: until the interfaces or our addresses are others."""
        if not on:
            self.state, self.error = "failed", "this host has no network interface"
            await trio.sleep(LOOK_AGAIN_S)
            return
        life = _Life(mine, on, trio.lowlevel.current_trio_token(), self)
        try:
            await trio.to_thread.run_sync(life.open)
            self.state, self.error = "on", ""
            # Interfaces come and go without telling anybody.
            while self._announcement() == mine and self._usable(mine) == on:  # noqa: ASYNC110
                await trio.sleep(LOOK_AGAIN_S)
        except (OSError, zeroconf.Error) as error:
            text = f"{type(error).__name__}: {error}"
            if text != self.error:
                log.warning("no mDNS: %s; trying again", text)
            self.state, self.error = "failed", text
        finally:
            with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
                await trio.to_thread.run_sync(life.close, abandon_on_cancel=True)
        if self.state == "failed":
            await trio.sleep(LOOK_AGAIN_S)
        else:
            self.state = "starting"

    # From zeroconf's threads, by way of trio's ---------------------------------------------------------

    def heard(self, instance: str, mesh: str, peer_id: str, addrs: Sequence[str]) -> None:
        mine = self._announcement()
        if mesh != mine.mesh:
            self.others += 1
            return
        if peer_id == mine.peer_id or len(self.seen) >= MAX_INSTANCES:
            return
        self.seen[instance] = peer_id
        for addr in addrs:
            self._found(addr)

    def left(self, instance: str) -> None:
        self.seen.pop(instance, None)


class _Life(zeroconf.ServiceListener):
    def __init__(
        self, mine: Announcement, on: list[str], token: trio.lowlevel.TrioToken, owner: LocalNetwork
    ) -> None:
        self._mine = mine
        self._on = on
        self._token = token
        self._owner = owner
        self._zeroconf: zeroconf.Zeroconf | None = None
        self._closing = threading.Event()

    def open(self) -> None:
        """Blocks for about a second: the name is probed for before it is announced."""
        self._zeroconf = zeroconf.Zeroconf(interfaces=self._on, ip_version=zeroconf.IPVersion.V4Only)
        # Look first: others may be found while our own name is still being probed for.
        zeroconf.ServiceBrowser(self._zeroconf, SERVICE, listener=self)
        packed = []
        for ip in self._mine.ips():
            family = socket.AF_INET6 if ":" in ip else socket.AF_INET
            packed.append(socket.inet_pton(family, ip))
        self._zeroconf.register_service(
            zeroconf.ServiceInfo(
                SERVICE,
                f"{self._mine.peer_id}.{SERVICE}",
                port=self._mine.port(),
                addresses=packed,
                properties={"v": "1", "mesh": self._mine.mesh, "id": self._mine.peer_id},
                server=f"{self._mine.peer_id}.local.",
            ),
            allow_name_change=True,
        )

    def close(self) -> None:
        self._closing.set()
        if self._zeroconf is not None:
            self._zeroconf.close()

    # ServiceListener: called on a thread of the browser.

    def add_service(self, zc: zeroconf.Zeroconf, type_: str, name: str) -> None:
        if self._closing.is_set():
            return
        try:
            info = zc.get_service_info(type_, name, RESOLVE_TIMEOUT_MS)
            told = None if info is None else _read(info)
        except Exception:
            # Anybody on the network chooses these bytes; an error would end the browser's thread.
            log.debug("an mDNS announcement could not be read", exc_info=True)
            return
        if told is not None:
            self._hand_over(lambda: self._owner.heard(name, *told))

    def update_service(self, zc: zeroconf.Zeroconf, type_: str, name: str) -> None:
        self.add_service(zc, type_, name)

    def remove_service(self, zc: zeroconf.Zeroconf, type_: str, name: str) -> None:
        self._hand_over(lambda: self._owner.left(name))

    def _hand_over(self, tell: Callable[[], None]) -> None:
        try:
            self._token.run_sync_soon(tell)
        except trio.RunFinishedError:
            pass  # the daemon ended meanwhile


def _read(info: zeroconf.ServiceInfo) -> tuple[str, str, list[str]] | None:
    """(mesh, peer id, addresses) of an announcement; None if it is none of ours."""
    properties = info.properties
    mesh, peer_id = properties.get(b"mesh"), properties.get(b"id")
    if not mesh or not peer_id or not info.port or len(mesh) > 128:
        return None
    try:
        key_of(peer_id.decode("ascii"))
    except (LocalFault, UnicodeDecodeError):
        return None
    addrs = []
    for text in info.parsed_addresses()[:8]:
        ip = ipaddress.ip_address(text)
        # A hint from the local network leads to the local network, not across the Internet.
        if ip.is_global and not any(ip in network for network in networks()):
            continue
        addrs.append(f"/{'ip6' if ip.version == 6 else 'ip4'}/{ip}/tcp/{info.port}/p2p/{peer_id.decode()}")
    return mesh.decode("utf-8", "replace"), peer_id.decode(), addrs
