"""Whom the operator lets in and whom not: peers and networks, from the configuration and from `swarmd peers`."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

from libp2p.crypto.ed25519 import Ed25519PublicKey
from libp2p.peer.id import ID
from swarmd.node.transport.p2p.host import public_key_of
from swarmd.protocol.didkey import public_key_of as key_of_did
from swarmd.protocol.faults import LocalFault, RemoteFault

Verdict = Literal["allow", "deny"]
_Network = IPv4Network | IPv6Network


def parse_peer_id(text: str) -> str:
    """A peer id from itself or from a did:key. LocalFault `bad-peer-id`."""
    try:
        if text.startswith("did:key:"):
            return str(ID.from_pubkey(Ed25519PublicKey.from_bytes(key_of_did(text))))
        peer_id = ID.from_base58(text)
        if public_key_of(peer_id) is not None:
            return str(peer_id)
    except (RemoteFault, ValueError):
        pass
    raise LocalFault(
        "bad-peer-id",
        f"{text!r} is no peer id of a node, nor a did:key",
        fix="see swarmd peers --json",
    )


def parse_entry(text: str) -> str:
    """A peer id, did:key, IP address or network in its one spelling. LocalFault `bad-peer-id`."""
    try:
        return str(ip_network(text.strip(), strict=False))
    except ValueError:
        pass
    if "/" in text or text.replace(".", "").isdigit():
        raise LocalFault(
            "bad-peer-id", f"{text!r} is no network", fix="such as 192.0.2.0/24 or 2001:db8::/32"
        )
    return parse_peer_id(text)


def _address(ip: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(ip.partition("%")[0])
    except ValueError:
        return None
    # A v4 peer of a v6 listener is still that v4 peer.
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


class AccessList:
    """The lists. A peer's own entry goes before its network's; of two networks the narrower holds."""

    def __init__(
        self, allow: Iterable[str] = (), deny: Iterable[str] = (), *, only_allowed: bool = False
    ) -> None:
        self.only_allowed = only_allowed
        self._fixed: dict[str, Verdict] = {}
        self._own: dict[str, Verdict] = {}
        self._networks: list[tuple[_Network, Verdict]] = []
        lists: tuple[tuple[Verdict, Iterable[str]], ...] = (("allow", allow), ("deny", deny))
        for verdict, entries in lists:
            for text in entries:
                entry = parse_entry(text)
                if self._fixed.setdefault(entry, verdict) != verdict:
                    raise LocalFault("bad-config", f"{text} is in allow_peers and in deny_peers")
        self._index()

    def restore(self, entries: Mapping[str, Verdict]) -> None:
        """What `swarmd peers allow` and `deny` said before."""
        self._own = dict(entries)
        self._index()

    def set(self, entry: str, verdict: Verdict | None) -> None:
        """Put a parsed entry on a list, or on none. LocalFault `in-config` for what swarmd.toml says."""
        if self._fixed.get(entry, verdict) != verdict:
            name = f"{self._fixed[entry]}_peers"
            raise LocalFault("in-config", f"{entry} is in {name} of swarmd.toml", fix="change it there")
        if verdict is None:
            self._own.pop(entry, None)
        else:
            self._own[entry] = verdict
        self._index()

    def of(self, entry: str) -> Verdict | None:
        """On which list a parsed entry itself stands."""
        return self._fixed.get(entry) or self._own.get(entry)

    def verdict(self, peer_id: str, ip: str | None = None) -> Verdict | None:
        """On which list a peer at `ip` is, if on any."""
        own = self.of(peer_id)
        if own is not None or ip is None or not self._networks:
            return own
        address = _address(ip)
        for network, verdict in self._networks if address is not None else ():
            if address in network:
                return verdict
        return None

    def ip_denied(self, ip: str) -> bool:
        """Can nobody from there be let in? Known before a handshake is paid for."""
        if not self._networks or any(
            v == "allow" for e, v in self._all().items() if ":" not in e and "." not in e
        ):
            return False  # an allowed peer may be there
        return self.verdict("", ip) == "deny"

    def rows(self) -> list[dict[str, str]]:
        """entry, verdict and origin ("config" or "command"), sorted."""
        return [
            {"entry": e, "verdict": v, "origin": "config" if e in self._fixed else "command"}
            for e, v in sorted(self._all().items())
        ]

    def _all(self) -> dict[str, Verdict]:
        return {**self._own, **self._fixed}

    def _index(self) -> None:
        found: list[tuple[_Network, Verdict]] = []
        for entry, verdict in self._all().items():
            try:
                found.append((ip_network(entry), verdict))
            except ValueError:
                continue  # a peer id
        self._networks = sorted(found, key=lambda pair: -pair[0].prefixlen)
