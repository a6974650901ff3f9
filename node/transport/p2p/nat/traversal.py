"""The parts of NAT traversal of one node, put together: AutoNAT says what is needed, relays and DCUtR provide it."""

from collections.abc import Callable
from typing import Any

from swarmd.node.transport.p2p.nat.autonat import AutoNat
from swarmd.node.transport.p2p.nat.dcutr import HolePuncher
from swarmd.node.transport.p2p.nat.relay import RelayServer
from swarmd.node.transport.p2p.nat.relayed import Relayed
from swarmd.node.transport.p2p.transport import P2PTransport


class NatTraversal:
    """`on_change` is called when the addresses at which others reach this node have changed."""

    def __init__(self, transport: P2PTransport, autonat: AutoNat) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self.autonat = autonat
        self.server = RelayServer(transport)
        self.relayed = Relayed(transport, lambda: autonat.kind == "private")
        self.puncher = HolePuncher(transport, self._seen_at, self._ports)
        self._transport = transport
        self.relayed.on_circuit = self.puncher.begin
        self.relayed.on_change = self._changed
        autonat.on_change = self._judged
        transport.more_addrs = self._more_addrs
        transport.plugins += [self.server, self.relayed, self.puncher]

    def on_peer_up(self, peer_id: str) -> None:
        self.relayed.wake()

    def on_peer_down(self, peer_id: str) -> None:
        self.relayed.lost(peer_id)

    def _judged(self) -> None:
        # Who cannot be dialed is no relay for others.
        self.server.enabled = self.autonat.kind != "private"
        self.relayed.wake()
        self._changed()

    def _changed(self) -> None:
        self.on_change()

    def _more_addrs(self) -> list[str]:
        confirmed = [self.autonat.confirmed] if self.autonat.confirmed else []
        return [*confirmed, *self.relayed.addrs]

    def _ports(self) -> list[int]:
        return list(dict.fromkeys(int(addr.split("/")[4]) for addr in self._transport.bound_addrs))

    def _seen_at(self) -> list[str]:
        """Our listening ports at the IPs that others see: right behind NATs that keep ports, and without a NAT."""
        ips = dict.fromkeys(self.autonat.observed.values())
        own = self._transport.peer_id
        return [
            f"/{'ip6' if ':' in ip else 'ip4'}/{ip}/tcp/{port}/p2p/{own}"
            for ip in ips
            for port in self._ports()
        ]

    def report(self) -> dict[str, Any]:
        """For operators."""
        return {
            "relays": sorted(self.relayed.relays),
            "relayed_addrs": list(self.relayed.addrs),
            "serving": {
                "enabled": self.server.enabled,
                "reservations": self.server.reservations,
                "circuits": self.server.circuits,
                **dict(self.server.counters),
            },
            "hole_punching": dict(self.puncher.counters),
        }
