"""Bootstrap lists: where to begin looking for others.

An entry is a multiaddr, `/dnsaddr/NAME` (addresses in TXT records of `_dnsaddr.NAME`, as libp2p has them), or a
file: one address a line, or a document that a verifier of the mesh signed, which may come from anywhere.
"""

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.resolver
import nacl.bindings
import nacl.exceptions
from swarmd.bootstrap.addresses import is_dnsaddr, key_of, peer_of
from swarmd.protocol.cbor import encode
from swarmd.protocol.didkey import public_key_of
from swarmd.protocol.faults import LocalFault, RemoteFault

MAX_LIST_BYTES = 1_048_576
MAX_LIST_ADDRS = 1_024
MAX_DNS_ADDRS = 128
MAX_DNS_DEPTH = 4
MAX_DNS_QUERIES = 32
DNS_TIMEOUT_S = 5.0
SEEDS_TYPE = "swarmd-seeds"
_SEEDS_DOMAIN = b"swarmd/seeds/1\0"
_SEEDS_KEYS = {"type", "version", "mesh", "signer", "issued_s", "expires_s", "addrs", "signature"}
_NAME = re.compile(r"(?=.{1,253}$)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?)+")

Lookup = Callable[[str], Any]


def check_entry(entry: str) -> None:
    """LocalFault `bad-address` if an entry of `bootstrap` can be none; files and names are looked at later."""
    if is_dnsaddr(entry):
        _dns_name(entry)
    elif entry.startswith(("/ip4/", "/ip6/", "/dns")):
        peer_of(entry)


def is_file(entry: str) -> bool:
    return not entry.startswith(("/ip4/", "/ip6/", "/dns"))


# Files -----------------------------------------------------------------------------------------------------


def read_file(path: Path, mesh: str, trusted: Collection[str], now_s: float) -> list[str]:
    """The addresses of a file, plain or signed. LocalFault `bad-list` names the line; `untrusted-seeds`."""
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_LIST_BYTES + 1)
        text = raw.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise LocalFault("bad-list", f"{path}: {error}", fix="name a file of addresses, one a line") from None
    if len(raw) > MAX_LIST_BYTES:
        raise LocalFault("bad-list", f"{path} has more than {MAX_LIST_BYTES} bytes")
    if text.lstrip().startswith("{"):
        return open_seeds(text, mesh, trusted, now_s)
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        addr = line.partition("#")[0].strip()
        if not addr:
            continue
        try:
            check_entry(addr)
            if is_file(addr):
                raise LocalFault("bad-address", f"not an address: {addr!r}")
        except LocalFault as fault:
            raise LocalFault("bad-list", f"{path}, line {number}: {fault.message}", fix=fault.fix) from None
        found.append(addr)
    return found[:MAX_LIST_ADDRS]


def sign_seeds(
    mesh: str,
    signer: str,
    addrs: Sequence[str],
    issued_s: int,
    expires_s: int,
    sign: Callable[[bytes], bytes],
) -> str:
    """A list as its signer vouches for it, as JSON. `mesh`: the CID of the genesis; times in Unix seconds."""
    for addr in addrs:
        check_entry(addr)
    if not addrs or len(addrs) > MAX_LIST_ADDRS or any(map(is_file, addrs)):
        raise LocalFault("bad-list", f"a list has 1 to {MAX_LIST_ADDRS} addresses")
    body: dict[str, Any] = {
        "type": SEEDS_TYPE,
        "version": 1,
        "mesh": mesh,
        "signer": signer,
        "issued_s": issued_s,
        "expires_s": expires_s,
        "addrs": list(addrs),
    }
    return json.dumps({**body, "signature": sign(_SEEDS_DOMAIN + encode(body)).hex()}, indent=1) + "\n"


def open_seeds(text: str, mesh: str, trusted: Collection[str], now_s: float) -> list[str]:
    """The addresses of a signed list; LocalFault `bad-list` or `untrusted-seeds` saying why not."""

    def bad(why: str, code: str = "bad-list") -> LocalFault:
        return LocalFault(code, f"the signed list is of no use: {why}", fix="take a new one from the mesh")

    try:
        value = json.loads(text)
        if type(value) is not dict or set(value) != _SEEDS_KEYS:
            raise bad(f"it has not the fields {', '.join(sorted(_SEEDS_KEYS))}")
        body = {name: each for name, each in value.items() if name != "signature"}
        if (body["type"], body["version"]) != (SEEDS_TYPE, 1):
            raise bad("it is of another type or version")
        if type(body["addrs"]) is not list or len(body["addrs"]) > MAX_LIST_ADDRS:
            raise bad(f"more than {MAX_LIST_ADDRS} addresses")
        if type(body["expires_s"]) is not int or type(body["issued_s"]) is not int:
            raise bad("its times are no whole numbers")
        signature = bytes.fromhex(value["signature"])
        signed = signature + _SEEDS_DOMAIN + encode(body)
        nacl.bindings.crypto_sign_open(signed, public_key_of(body["signer"]))
    except (RemoteFault, nacl.exceptions.CryptoError) as error:
        raise bad(f"its signature is not of its signer ({error})") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise bad(str(error)[:200]) from None
    if body["mesh"] != mesh:
        raise bad("it is of another mesh")
    if body["signer"] not in trusted:
        raise bad(f"{body['signer']} is no verifier of this mesh", "untrusted-seeds")
    if body["expires_s"] <= now_s:
        raise bad("it ran out")
    for addr in body["addrs"]:
        if type(addr) is not str or is_file(addr):
            raise bad(f"not an address: {addr!r}")
        check_entry(addr)
    return list(body["addrs"])


# DNS -------------------------------------------------------------------------------------------------------


def _dns_name(entry: str) -> str:
    """The name of /dnsaddr/NAME or /dnsaddr/NAME/p2p/PEER."""
    parts = entry.split("/")
    if len(parts) not in (3, 5) or _NAME.fullmatch(parts[2]) is None or parts[3:4] not in ([], ["p2p"]):
        raise LocalFault("bad-address", f"not a dnsaddr: {entry!r}", fix="use /dnsaddr/mesh.example.org")
    if len(parts) == 5:
        key_of(parts[4])
    return parts[2]


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
            fix=f'it needs a TXT record: _dnsaddr.{_dns_name(entry)} "dnsaddr=/ip4/.../tcp/4001/p2p/12D3Koo..."',
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
    name = _dns_name(entry)
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
