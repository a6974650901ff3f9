"""Multiaddrs of TCP hosts: parsing what operators type, and what others can dial."""

import socket
from collections.abc import Sequence

from libp2p.peer.id import ID
from libp2p.utils.address_validation import expand_wildcard_address
from multiaddr import Multiaddr  # type: ignore[import-untyped]
from swarmd.bootstrap.addresses import names, parse, peer_of
from swarmd.protocol.faults import LocalFault


def parse_listen(text: str) -> Multiaddr:
    """A TCP multiaddr to listen on, as /ip4/0.0.0.0/tcp/4001."""
    try:
        addr = parse(text)
    except LocalFault as fault:
        raise LocalFault("bad-address", fault.message, fix="such as /ip4/0.0.0.0/tcp/4001") from None
    if names(addr) not in (("ip4", "tcp"), ("ip6", "tcp")):
        raise LocalFault(
            "bad-address",
            f"cannot listen on {text!r}",
            fix="use /ip4/ADDRESS/tcp/PORT or /ip6/ADDRESS/tcp/PORT",
        )
    return addr


def parse_peer(text: str) -> tuple[Multiaddr, ID]:
    """(address, peer id) of a peer's multiaddr, which must end in /p2p/PEER_ID."""
    peer_id = ID.from_base58(peer_of(text))
    return parse(text), peer_id


def dialable(addrs: Sequence[Multiaddr], peer_id: ID) -> tuple[str, ...]:
    """Addresses with their peer id; a wildcard becomes the addresses of this host's interfaces."""
    found: list[str] = []
    for addr in addrs:
        for one in expand_wildcard_address(addr):
            text = f"{one}/p2p/{peer_id}"
            if text not in found:
                found.append(text)
    return tuple(found)


def require_free(addr: Multiaddr) -> None:
    """LocalFault `address-in-use` if somebody listens there. libp2p sets SO_REUSEPORT, with which a second
    daemon of the same user binds the same port and takes half of the connections."""
    port = int(addr.value_for_protocol("tcp") or 0)
    v6 = names(addr)[0] == "ip6"
    host = addr.value_for_protocol("ip6" if v6 else "ip4") or ""
    with socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise LocalFault(
                "address-in-use",
                f"cannot listen on {addr}: {error.strerror}",
                fix="stop the other process, or listen on another port",
            ) from None
