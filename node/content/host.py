"""Content in the daemon: Bitswap, the DHT, IPFS peers and kubo, put together as the settings say."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import trio
from swarmd.node.content.bitswap.service import Bitswap
from swarmd.node.content.kubo import KuboStore
from swarmd.node.content.mirror import KuboMirror
from swarmd.node.content.network import ContentNetwork, ContentSettings, Finder
from swarmd.node.content.sources import KuboSource
from swarmd.node.ports import BlockStore
from swarmd.node.transport.local import LocalCall
from swarmd.node.transport.p2p.transport import P2PTransport
from swarmd.protocol.faults import LocalFault

log = logging.getLogger(__name__)

_LOW_SHARE: Final = 0.25
_FULL: Final = 0.9


class ContentHost:
    """`store` is read on the daemon's loop."""

    def __init__(
        self,
        settings: ContentSettings,
        transport: P2PTransport,
        store: BlockStore,
        finder: Callable[[], Finder | None],
    ) -> None:
        self.settings = settings
        self.bitswap: Bitswap | None = None
        if settings.bitswap:
            self.bitswap = Bitswap(
                transport,
                store,
                share_of=lambda peer: 1.0 if transport.scores.state(peer) == "good" else _LOW_SHARE,
            )
            transport.plugins.append(self.bitswap)
        self.network = ContentNetwork(
            transport, transport.dial, self.bitswap, finder, settings.ipfs_peers if settings.bitswap else ()
        )
        transport.keeps.append(self.network.keeps)
        self.mirror: KuboMirror | None = None
        if settings.backend == "kubo":
            self.kubo = KuboStore(settings.kubo_addr)
            self.mirror = KuboMirror(self.kubo, store.get, settings.pin)
            self.network.local = KuboSource(self.kubo)

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.network.run)
            if self.mirror is not None:
                nursery.start_soon(self.mirror.run)

    def on_here(self, cid: bytes) -> None:
        """Content has come, or was made here."""
        self.network.provide(cid)
        if self.mirror is not None:
            self.mirror.add(cid)

    def close(self) -> None:
        if self.mirror is not None:
            self.kubo.close()

    def status(self) -> dict[str, Any]:
        return {
            "backend": self.settings.backend,
            **self.network.status(),
            "kubo": None if self.mirror is None else self.mirror.status(),
        }

    def ops(self) -> Mapping[str, Callable[[LocalCall], Awaitable[Any]]]:
        """`content.network` {}: what is exchanged with whom. `doctor.content` {}: what is wrong with it."""

        async def network(call: LocalCall) -> Any:
            return self.status()

        async def doctor(call: LocalCall) -> Any:
            return await examine(self.settings, self)

        return {"content.network": network, "doctor.content": doctor}


async def examine(settings: ContentSettings, host: ContentHost | None) -> dict[str, Any]:
    """Findings as `swarmd doctor` prints them; `host` None: the daemon is down."""
    checks: list[dict[str, Any]] = []

    def add(name: str, ok: bool | None, message: str, fix: str = "") -> None:
        checks.append({"name": name, "ok": ok, "message": message, "fix": "" if ok else fix})

    add("backend", True, settings.backend)
    if settings.backend == "kubo":
        store = KuboStore(settings.kubo_addr, timeout_s=10.0) if host is None else host.kubo
        try:
            for finding in await trio.to_thread.run_sync(_kubo_health, store, abandon_on_cancel=True):
                add(*finding)
        finally:
            if host is None:
                store.close()
    if host is not None:
        _network_health(host, add)
    return {
        "ok": all(check["ok"] is not False for check in checks),
        "daemon": "down" if host is None else "up",
        "checks": checks,
        "dials": [],
    }


def _kubo_health(store: KuboStore) -> list[tuple[str, bool | None, str, str]]:
    """Blocking."""
    try:
        found: list[tuple[str, bool | None, str, str]] = [
            ("kubo", True, f"{store.version()} at {store.addr}, peer {store.peer_id()}", "")
        ]
        usage = store.usage()
    except LocalFault as fault:
        return [("kubo", False, fault.message, fault.fix)]
    full = usage.bytes > _FULL * usage.max_bytes
    found.append(
        (
            "kubo's disk",
            not full,
            f"{usage.bytes:,} of {usage.max_bytes:,} bytes, {usage.blocks:,} blocks, {usage.pins:,} pins of ours",
            "raise Datastore.StorageMax of kubo, pin less ([content] pin), or run ipfs repo gc",
        )
    )
    if usage.corrupt:
        found.append(
            ("kubo's blocks", False, f"{usage.corrupt} do not hash to their CIDs", "run ipfs repo verify")
        )
    return found


def _network_health(host: ContentHost, add: Callable[..., None]) -> None:
    status = host.status()
    if status["kubo"] is not None:
        waiting, error = status["kubo"]["waiting"], status["kubo"]["error"]
        add(
            "mirror",
            not error,
            f"{status['kubo']['mirrored']} contents in kubo, {waiting} waiting{': ' + error if error else ''}",
            "they go there once kubo takes them",
        )
    if status["bitswap"] is None:
        add("bitswap", None, "switched off", "set bitswap = true of [content]")
    else:
        counters = status["bitswap"]["counters"]
        add(
            "bitswap",
            True,
            f"{counters.get('blocks-sent', 0):,} blocks sent, {counters.get('blocks-received', 0):,} received,"
            f" {len(status['bitswap']['peers'])} peers",
        )
    for peer in status["ipfs_peers"]:
        add(
            f"IPFS peer {peer['peer_id']}",
            peer["connected"],
            "connected" if peer["connected"] else peer["error"] or "not connected yet",
            "is it up, does it listen on TCP there, and is no swarm key in the way?",
        )
