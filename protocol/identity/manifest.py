"""Manifests: what a node offers, signed by it. Not part of the mesh's state: a view each node has of the others."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import nacl.bindings
import nacl.exceptions
from swarmd.protocol import limits, schema
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.didkey import public_key_of
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.kinds import CAPABILITY
from swarmd.protocol.ledger.binding import Binding, binding_from_map, binding_shape, binding_to_map

FRAME_MANIFEST = 2
TTL_NS = 180 * limits.S_NS
MAX_MANIFEST_BYTES = 65_536
_DOMAIN = b"swarmd/manifest/1\0"


@dataclass(frozen=True, slots=True)
class Manifest:
    """`offers`: capability -> price in USDC minor units. `issued_ns` orders the manifests of one node."""

    did: str
    issued_ns: int
    offers: dict[str, int]
    roles: tuple[str, ...]
    addrs: tuple[str, ...]
    raw: bytes
    signature: bytes
    binding: Binding | None = None  # whose account on a chain this is, as the node says; not checked here

    def frame(self) -> bytes:
        return encode([FRAME_MANIFEST, self.raw, self.signature])


_shape = schema.record(
    {
        "did": schema.did,
        "issued_ns": schema.uint((1 << 63) - 1),
        "offers": schema.map_of(
            schema.pattern(CAPABILITY, "a capability"), schema.uint(limits.MAX_AMOUNT), 0, 1024
        ),
        "roles": schema.list_of(schema.text(32), 0, 8),
        "addrs": schema.list_of(schema.text(256), 0, 16),
    },
    {"binding": binding_shape},
)


def sign_manifest(
    mesh_id: bytes,
    did: str,
    issued_ns: int,
    offers: dict[str, int],
    roles: tuple[str, ...],
    addrs: tuple[str, ...],
    sign: Callable[[bytes], bytes],
    binding: Binding | None = None,
) -> Manifest:
    body: dict[str, Any] = {
        "did": did,
        "issued_ns": issued_ns,
        "offers": offers,
        "roles": list(roles),
        "addrs": list(addrs)[:16],
    }
    if binding is not None:
        body["binding"] = binding_to_map(binding)
    raw = encode(body)
    signature = sign(_DOMAIN + mesh_id + raw)
    return Manifest(did, issued_ns, offers, roles, tuple(addrs)[:16], raw, signature, binding)


def parse_manifest(mesh_id: bytes, value: Any, *, verify: bool = True) -> Manifest:
    """From a decoded frame [2, manifest bytes, signature]; RemoteFault for anything amiss."""
    if (
        type(value) is not list
        or len(value) != 3
        or type(value[0]) is not int
        or value[0] != FRAME_MANIFEST
        or type(value[1]) is not bytes
        or type(value[2]) is not bytes
        or len(value[2]) != 64
        or len(value[1]) > MAX_MANIFEST_BYTES
    ):
        raise RemoteFault("bad-manifest", "not [2, manifest, signature]")
    body = decode(value[1])
    _shape(body, "manifest")
    if verify:
        try:
            nacl.bindings.crypto_sign_open(
                value[2] + _DOMAIN + mesh_id + value[1], public_key_of(body["did"])
            )
        except (nacl.exceptions.BadSignatureError, ValueError):
            raise RemoteFault("bad-signature", f"manifest not signed by {body['did']}") from None
    return Manifest(
        did=body["did"],
        issued_ns=body["issued_ns"],
        offers=body["offers"],
        roles=tuple(body["roles"]),
        addrs=tuple(body["addrs"]),
        raw=value[1],
        signature=value[2],
        binding=binding_from_map(body["binding"]) if "binding" in body else None,
    )
