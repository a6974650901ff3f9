"""Addresses from DNS: `/dnsaddr/NAME` leads to the TXT records of `_dnsaddr.NAME`, as libp2p has them.

A module of its own because dnspython takes as long to load as all else of this room, and few meshes have names.
"""

from dataclasses import dataclass, field

import dns.asyncresolver
import dns.exception
import dns.resolver
from swarmd.bootstrap.addresses import is_dnsaddr, peer_of
from swarmd.bootstrap.lists import dns_name
from swarmd.protocol.faults import LocalFault

MAX_DNS_ADDRS = 128
MAX_DNS_DEPTH = 4
MAX_DNS_QUERIES = 32
DNS_TIMEOUT_S = 5.0


@dataclass(slots=True)
class _Search:
    resolver: dns.asyncresolver.Resolver
    found: dict[str, None] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)


async def resolve_dnsaddr(entry: str, resolver: dns.asyncresolver.Resolver | None = None) -> list[str]:
    """Dialable addresses behind a /dnsaddr entry; LocalFault `dns-failed` if the name leads nowhere."""
    search = _Search(resolver or _system_resolver())
    await _descend(search, entry, 0)
    if not search.found:
        raise LocalFault(
            "dns-failed",
            f"{entry} leads to no address",
            fix=f'it needs a TXT record: _dnsaddr.{dns_name(entry)} "dnsaddr=/ip4/.../tcp/4001/p2p/12D3Koo..."',
        )
    return list(search.found)


def _system_resolver() -> dns.asyncresolver.Resolver:
    try:
        return dns.asyncresolver.Resolver()
    except dns.resolver.NoResolverConfiguration:
        raise LocalFault(
            "dns-failed",
            "this host has no DNS servers",
            fix="see /etc/resolv.conf, or use addresses with an IP",
        ) from None


async def _descend(search: _Search, entry: str, depth: int) -> None:
    name = dns_name(entry)
    if depth >= MAX_DNS_DEPTH or name in search.asked or len(search.asked) >= MAX_DNS_QUERIES:
        return
    search.asked.add(name)
    wanted = entry.rpartition("/p2p/")[2] if "/p2p/" in entry else ""
    try:
        answer = await search.resolver.resolve(f"_dnsaddr.{name}", "TXT", lifetime=DNS_TIMEOUT_S)
    except (dns.exception.DNSException, OSError) as error:
        if depth == 0:
            raise LocalFault(
                "dns-failed", f"_dnsaddr.{name}: {error}", fix="is the name right, and DNS reachable?"
            ) from None
        return
    for record in answer:
        text = b"".join(record.strings).decode("utf-8", "replace")
        if not text.startswith("dnsaddr=") or len(search.found) >= MAX_DNS_ADDRS:
            continue
        addr = text.removeprefix("dnsaddr=")
        if wanted and not addr.endswith(f"/p2p/{wanted}"):
            continue
        try:
            if is_dnsaddr(addr):
                await _descend(search, addr, depth + 1)
            else:
                peer_of(addr)
                search.found[addr] = None
        except LocalFault:
            continue  # one bad record does not spoil the others
