"""Tickets: a member of a mesh invites others with one line of text.

    swarm1<base58 of CBOR [body, signature]>,  body = [did key, mesh, name, expires_s, [address], psk | null]

A ticket names the mesh by the hash of its genesis, so whoever hands over the genesis cannot hand over another.
It is signed by the inviter: a ticket that was changed or cut on its way is no ticket. With a pre-shared key in
it, it is a secret.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import base58
import nacl.bindings
import nacl.exceptions
from swarmd.bootstrap.addresses import pack, unpack
from swarmd.protocol import schema
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.cids import cid_text, parse_cid
from swarmd.protocol.didkey import did_of, public_key_of
from swarmd.protocol.faults import LocalFault, RemoteFault

PREFIX = "swarm1"
MAX_TICKET_CHARS = 8_192
MAX_ADDRS = 16
PSK_BYTES = 32
_DOMAIN = b"swarmd/ticket/1\0"
_CID_HEAD = bytes.fromhex("01711220")  # CIDv1, dag-cbor, SHA-256 of 32 bytes
_FIX = "ask the inviter for a new one: swarmd invite"


@dataclass(frozen=True, slots=True)
class Ticket:
    """`mesh` is the CID of the genesis (text); `addrs` are dialable multiaddrs; `psk` 32 bytes or None."""

    inviter: str
    mesh: str
    name: str
    expires_s: int
    addrs: tuple[str, ...]
    psk: bytes | None = None

    def __repr__(self) -> str:
        return f"Ticket({self.name!r} by {self.inviter}{', private' if self.psk else ''})"


def _none_or_psk(value: object, path: schema.Path) -> None:
    if value is not None:
        schema.blob(PSK_BYTES, PSK_BYTES)(value, path)


_FIELDS = (
    ("inviter", schema.blob(32, 32)),
    ("mesh", schema.blob(32, 32)),
    ("name", schema.text(64)),
    ("expires_s", schema.uint(1 << 40)),
    ("addrs", schema.list_of(schema.blob(1, 256), 1, MAX_ADDRS)),
    ("psk", _none_or_psk),
)


def issue(
    inviter: str,
    mesh: str,
    name: str,
    addrs: Sequence[str],
    expires_s: int,
    sign: Callable[[bytes], bytes],
    psk: bytes | None = None,
) -> str:
    """The text of a new ticket. `mesh`: the CID of the genesis; `expires_s`: Unix time."""
    if not addrs:
        raise LocalFault(
            "no-address",
            "this node has no address that others could dial",
            fix="listen on one, or name one with --addr",
        )
    key = public_key_of(inviter)
    packed = [pack(addr, key) for addr in list(addrs)[:MAX_ADDRS]]
    body = encode([key, parse_cid(mesh)[-32:], name, expires_s, packed, psk])
    return PREFIX + base58.b58encode(encode([body, sign(_DOMAIN + body)])).decode()


def parse_ticket(text: str, now_s: float) -> Ticket:
    """LocalFault `bad-ticket` or `ticket-expired`, saying what is wrong with it."""
    compact = "".join(text.split())  # mail and chats break lines
    if not compact.startswith(PREFIX) or len(compact) > MAX_TICKET_CHARS:
        raise LocalFault("bad-ticket", f"a ticket begins with {PREFIX}", fix=_FIX)
    try:
        ticket = _open(base58.b58decode(compact.removeprefix(PREFIX)))
    except ValueError:
        raise LocalFault("bad-ticket", "the ticket has a character that none has", fix=_FIX) from None
    except RemoteFault as fault:
        raise LocalFault("bad-ticket", f"the ticket is damaged: {fault.message}", fix=_FIX) from None
    if ticket.expires_s <= now_s:
        ago_s = now_s - ticket.expires_s
        ago = f"{ago_s / 86_400:.0f} days" if ago_s > 172_800 else f"{max(1, ago_s // 60):.0f} min"
        raise LocalFault(
            "ticket-expired", f"the ticket ran out {ago} ago", fix=f"{_FIX}; or set this host's clock"
        )
    return ticket


def _open(raw: bytes) -> Ticket:
    outer = decode(raw)
    if type(outer) is not list or len(outer) != 2:
        raise RemoteFault("bad-ticket", "not [body, signature]")
    body, signature = outer
    schema.blob(1, MAX_TICKET_CHARS)(body, "body")
    schema.blob(64, 64)(signature, "signature")
    fields = decode(body)
    if type(fields) is not list or len(fields) != len(_FIELDS):
        raise RemoteFault("bad-ticket", f"not {len(_FIELDS)} fields")
    for (name, check), value in zip(_FIELDS, fields, strict=True):
        check(value, name)
    key, digest, name, expires_s, addrs, psk = fields
    try:
        nacl.bindings.crypto_sign_open(signature + _DOMAIN + body, key)
    except (nacl.exceptions.BadSignatureError, ValueError):
        raise RemoteFault("bad-signature", "not signed by its inviter") from None
    return Ticket(
        did_of(key),
        cid_text(_CID_HEAD + digest),
        name,
        expires_s,
        tuple(unpack(addr, key) for addr in addrs),
        psk,
    )
