"""did:key for Ed25519 (W3C CCG did:key method): `did:key:z` + base58btc(0xed01 || public key)."""

from functools import lru_cache

from swarmd.protocol.faults import RemoteFault

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_INDEX = {c: i for i, c in enumerate(_ALPHABET)}
_PREFIX = b"\xed\x01"
_HEAD = "did:key:z"
# 34 bytes that begin with 0xed never need a leading '1', so the text is always this long.
_TEXT_CHARS = len(_HEAD) + 47


def did_of(public_key: bytes) -> str:
    """The did:key of a 32-byte Ed25519 public key."""
    if len(public_key) != 32:
        raise RemoteFault("bad-did", f"an Ed25519 public key has 32 bytes, not {len(public_key)}")
    number = int.from_bytes(_PREFIX + public_key, "big")
    out = []
    while number:
        number, digit = divmod(number, 58)
        out.append(_ALPHABET[digit])
    return _HEAD + "".join(reversed(out))


def public_key_of(did: object) -> bytes:
    """The 32-byte Ed25519 key inside `did`; RemoteFault `bad-did` for any other text and any other type."""
    # Checked before the cache looks: it could not hash a list that a peer sent in the place of a did.
    if type(did) is not str or not did.startswith(_HEAD) or len(did) != _TEXT_CHARS:
        raise RemoteFault("bad-did", f"not an Ed25519 did:key: {str(did)[:80]!r}")
    return _public_key_of(did)


@lru_cache(maxsize=4096)
def _public_key_of(did: str) -> bytes:
    number = 0
    for char in did[len(_HEAD) :]:
        digit = _INDEX.get(char)
        if digit is None:
            raise RemoteFault("bad-did", f"not base58btc: {did!r}")
        number = number * 58 + digit
    raw = number.to_bytes(36, "big").lstrip(b"\0")
    if len(raw) != 34 or raw[:2] != _PREFIX:
        raise RemoteFault("bad-did", f"not an Ed25519 did:key: {did!r}")
    return raw[2:]
