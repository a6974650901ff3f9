"""The multiaddrs by which a peer can be dialed, as text and as bytes.

/ip4/192.0.2.7/tcp/4001/p2p/PEER                                  direct
/ip4/192.0.2.7/tcp/4001/p2p/RELAY/p2p-circuit/p2p/PEER            through a relay
/dnsaddr/mesh.example.org                                         more addresses in its TXT records
"""

import ipaddress
from functools import lru_cache

import base58
from multiaddr import Multiaddr  # type: ignore[import-untyped]
from swarmd.protocol.didkey import did_of
from swarmd.protocol.faults import LocalFault, RemoteFault

EXAMPLE = "/ip4/192.0.2.7/tcp/4001/p2p/12D3Koo..."
MAX_ADDR_CHARS = 512

_HOSTS = ("ip4", "ip6", "dns", "dns4", "dns6")
_DIRECT = ("tcp", "p2p")
_RELAYED = ("tcp", "p2p", "p2p-circuit", "p2p")
# How an Ed25519 key looks as a peer id: identity multihash of the protobuf public key, then its 32 bytes.
_ED25519_PREFIX = bytes.fromhex("002408011220")


def parse(text: str) -> Multiaddr:
    """Any multiaddr; LocalFault `bad-address`."""
    if len(text) > MAX_ADDR_CHARS:
        raise LocalFault("bad-address", f"an address of {len(text)} characters", fix=f"use {EXAMPLE}")
    try:
        return Multiaddr(text)
    except Exception as error:
        # multiaddr raises many unrelated types on bad text.
        raise LocalFault(
            "bad-address", f"not a multiaddr: {text!r} ({_why(error)})", fix=f"use {EXAMPLE}"
        ) from None


def _why(error: Exception) -> str:
    """What multiaddr says, without what it repeats of the text."""
    text = str(error).partition(": ")[2] if str(error).startswith("Invalid MultiAddr") else str(error)
    return text.partition(" (string: ")[0] or type(error).__name__


def names(addr: Multiaddr) -> tuple[str, ...]:
    return tuple(protocol.name for protocol in addr.protocols())


def is_dnsaddr(text: str) -> bool:
    return text.startswith("/dnsaddr/")


def is_relayed(text: str) -> bool:
    return "/p2p-circuit" in text


def peer_of(text: str) -> str:
    """The peer id (base58) that a dialable address ends in; LocalFault `bad-address` if it is none."""
    shape = names(parse(text))
    if not shape or shape[0] not in _HOSTS or shape[1:] not in (_DIRECT, _RELAYED):
        raise LocalFault("bad-address", f"not a peer's TCP address: {text!r}", fix=f"use {EXAMPLE}")
    peer = text.rstrip("/").rpartition("/")[2]
    key_of(peer)
    return peer


@lru_cache(maxsize=4096)
def key_of(peer: str) -> bytes:
    """The 32-byte Ed25519 key in a peer id; LocalFault `bad-address` for other text and other kinds of keys."""
    try:
        raw = base58.b58decode(peer) if len(peer) <= 64 else b""
    except ValueError:
        raw = b""
    if len(raw) == 38 and raw.startswith(_ED25519_PREFIX):
        return raw[len(_ED25519_PREFIX) :]
    raise LocalFault("bad-address", f"not an Ed25519 peer id: {peer[:80]!r}", fix=f"use {EXAMPLE}")


def peer_id_of(key: bytes) -> str:
    """The peer id (base58) of a 32-byte Ed25519 key."""
    return base58.b58encode(_ED25519_PREFIX + key).decode()


def did_of_peer(peer: str) -> str:
    return did_of(key_of(peer))


def ip_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that dialing this would reach first; None for a name."""
    parts = text.split("/")
    if len(parts) < 3 or parts[1] not in ("ip4", "ip6"):
        return None
    try:
        return ipaddress.ip_address(parts[2])
    except ValueError:
        return None


def worth_dialing(text: str) -> bool:
    """Not an address that can belong to nobody: unspecified, multicast, or port 0."""
    ip = ip_of(text)
    if ip is not None and (ip.is_unspecified or ip.is_multicast):
        return False
    return "/tcp/0/" not in text


def pack(text: str, key: bytes) -> bytes:
    """An address as bytes, without the peer id if that is of `key`."""
    body = text.removesuffix(f"/p2p/{peer_id_of(key)}")
    raw: bytes = parse(body).to_bytes()
    return raw


def unpack(raw: bytes, key: bytes) -> str:
    """What `pack` packed; RemoteFault `bad-address`."""
    try:
        text = str(Multiaddr(raw))
        own = f"/p2p/{peer_id_of(key)}"
        if text.endswith("/p2p-circuit") or "/p2p/" not in text:
            text += own
        peer_of(text)
        return text
    except LocalFault as fault:
        raise RemoteFault("bad-address", fault.message) from None
    except Exception as error:
        # multiaddr raises many unrelated types on bad bytes.
        raise RemoteFault("bad-address", repr(error)) from None
