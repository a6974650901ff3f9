"""Bootstrap lists: where to begin looking for others.

An entry is a multiaddr, `/dnsaddr/NAME` (addresses in TXT records of `_dnsaddr.NAME`, as libp2p has them), or a
file: one address a line, or a document that a verifier of the mesh signed, which may come from anywhere.
"""

import json
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import nacl.bindings
import nacl.exceptions
from swarmd.bootstrap.addresses import is_dnsaddr, key_of, peer_of
from swarmd.protocol.canonical_json import parse_json
from swarmd.protocol.cbor import encode
from swarmd.protocol.didkey import public_key_of
from swarmd.protocol.faults import LocalFault, RemoteFault

MAX_LIST_BYTES = 1_048_576
MAX_LIST_ADDRS = 1_024
SEEDS_TYPE = "swarmd-seeds"
_SEEDS_DOMAIN = b"swarmd/seeds/1\0"
_SEEDS_KEYS = {"type", "version", "mesh", "signer", "issued_s", "expires_s", "addrs", "signature"}
_NAME = re.compile(r"(?=.{1,253}$)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?)+")

Lookup = Callable[[str], Any]


def check_entry(entry: str) -> None:
    """LocalFault `bad-address` if an entry of `bootstrap` can be none; files and names are looked at later."""
    if is_dnsaddr(entry):
        dns_name(entry)
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
        value = parse_json(text.encode())
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


def dns_name(entry: str) -> str:
    """The name of /dnsaddr/NAME or /dnsaddr/NAME/p2p/PEER."""
    parts = entry.split("/")
    if len(parts) not in (3, 5) or _NAME.fullmatch(parts[2]) is None or parts[3:4] not in ([], ["p2p"]):
        raise LocalFault("bad-address", f"not a dnsaddr: {entry!r}", fix="use /dnsaddr/mesh.example.org")
    if len(parts) == 5:
        key_of(parts[4])
    return parts[2]
