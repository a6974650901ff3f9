"""Signing EIP-712 digests, and finding who signed: the ports of `swarmd.protocol.ledger`, over eth_keys (coincurve)."""

from eth_keys import keys  # type: ignore[attr-defined]
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError
from swarmd.protocol.ledger.eip712 import SIGNATURE_BYTES


def recover(digest: bytes, signature: bytes) -> bytes | None:
    """The 20-byte address that signed the 32-byte `digest`; None if the signature is of nobody."""
    if len(signature) != SIGNATURE_BYTES or signature[64] not in (27, 28):
        return None
    try:
        made = keys.Signature(signature[:64] + bytes([signature[64] - 27]))
        return made.recover_public_key_from_msg_hash(digest).to_canonical_address()
    except (BadSignature, ValidationError, ValueError):
        return None


def sign_digest(key: bytes, digest: bytes) -> bytes:
    """r || s || v of the 32-byte `key`: 65 bytes, s low (RFC 6979, EIP-2)."""
    made = keys.PrivateKey(key).sign_msg_hash(digest).to_bytes()
    return made[:64] + bytes([made[64] + 27])


def address_of(key: bytes) -> bytes:
    """The 20-byte address of a key."""
    return keys.PrivateKey(key).public_key.to_canonical_address()
