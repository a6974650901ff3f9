"""Operations of the local socket about the network: inviting others, and how this node is reached."""

import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from swarmd.bootstrap.addresses import ip_of, names, parse, peer_of
from swarmd.bootstrap.swarmkey import load_psk
from swarmd.bootstrap.tickets import issue
from swarmd.node.discovery import Discovery
from swarmd.node.doctor import examine
from swarmd.node.keys import Identity
from swarmd.node.ports import Transport
from swarmd.node.transport.local import LocalCall
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.genesis import Genesis

MAX_TICKET_S = 10 * 366 * 86_400

Op = Callable[[LocalCall], Awaitable[Any]]


class NetworkOps:
    def __init__(
        self,
        identity: Identity,
        genesis: Genesis,
        transport: Transport,
        discovery: Discovery,
        home: Path,
        static_peers: Sequence[str],
    ) -> None:
        self._identity = identity
        self._genesis = genesis
        self._transport = transport
        self._discovery = discovery
        self._home = home
        self._static_peers = static_peers

    def ops(self) -> dict[str, Op]:
        return {"invite": self._invite, "net": self._net, "doctor.net": self._doctor}

    async def _invite(self, call: LocalCall) -> Any:
        """{ttl_s, addrs}: a signed ticket. Without `addrs` those this node believes to be reached at."""
        ttl_s, given = call.args.get("ttl_s", 7 * 86_400), call.args.get("addrs") or []
        if type(ttl_s) is not int or not 0 < ttl_s <= MAX_TICKET_S:
            raise LocalFault("bad-args", f"ttl_s is a whole number from 1 to {MAX_TICKET_S}")
        if type(given) is not list or not all(type(addr) is str for addr in given):
            raise LocalFault("bad-args", "addrs is a list of multiaddrs")
        addrs = [self._own(addr) for addr in given] or best_first(self._transport.addrs)
        expires_s = int(time.time()) + ttl_s
        genesis = self._genesis
        psk = load_psk(self._home)
        ticket = issue(
            self._identity.did,
            genesis.mesh_name,
            genesis.name,
            addrs,
            expires_s,
            self._identity.sign,
            psk,
        )
        only_here = all((ip := ip_of(addr)) is not None and ip.is_loopback for addr in addrs)
        return {
            "ticket": ticket,
            "mesh": {"id": genesis.mesh_name, "name": genesis.name},
            "addrs": addrs,
            "expires_s": expires_s,
            "private": psk is not None,
            "loopback_only": only_here,
        }

    async def _net(self, call: LocalCall) -> Any:
        """How finding peers goes: sources, the book of peers, what each dial came to."""
        return {**self._discovery.report(), "reach": await self._discovery.reach()}

    async def _doctor(self, call: LocalCall) -> Any:
        """Why this node has the peers it has. It dials what it knows and asks its peers: that takes some seconds."""
        found = await examine(
            "up",
            self._transport,
            [*((addr, "peers") for addr in self._static_peers), *self._discovery.known_addrs()],
            self._discovery.report(),
            lambda: self._discovery.reach(ask=True),
        )
        return found.document()

    def _own(self, addr: str) -> str:
        """An address of ours as the operator types it: with or without our peer id at the end."""
        shape = names(parse(addr))
        if shape and shape[-1] in ("tcp", "p2p-circuit"):
            addr = f"{addr}/p2p/{self._transport.peer_id}"
        if peer_of(addr) != self._transport.peer_id:
            raise LocalFault(
                "bad-address",
                f"{addr} is of another node",
                fix=f"end it in /p2p/{self._transport.peer_id}, or leave that out",
            )
        return addr


def best_first(addrs: tuple[str, ...]) -> list[str]:
    """Public addresses, then those of the local network; this host's own only if there are no others."""

    def rank(addr: str) -> int:
        ip = ip_of(addr)
        if ip is None or ip.is_global:
            return 0
        return 2 if ip.is_loopback or ip.is_link_local else 1

    ranked = sorted(addrs, key=rank)
    return [addr for addr in ranked if rank(addr) < 2] or ranked
