"""CIDv1 in its binary form: building, checking and printing (https://github.com/multiformats/cid).

Everything here is sha2-256 with the codecs we use. Built by hand: `multiformats` makes 8,000 a second,
this a million, and an id is made for every envelope (docs/adr/0002-hand-written-cids.md).
"""

from base64 import b32decode
from hashlib import sha256

from swarmd.protocol.faults import RemoteFault

RAW = 0x55
DAG_PB = 0x70
DAG_CBOR = 0x71
_CODECS = (RAW, DAG_PB, DAG_CBOR)
CID_BYTES = 36
_DAG_CBOR_PREFIX = b"\x01\x71\x12\x20"
_RAW_PREFIX = b"\x01\x55\x12\x20"


def cid_of(codec: int, block: bytes) -> bytes:
    """The CIDv1 (36 bytes: version, codec, 0x12, 0x20, digest) of `block`."""
    return bytes((1, codec, 0x12, 0x20)) + sha256(block).digest()


def dag_cbor_cid(block: bytes) -> bytes:
    return _DAG_CBOR_PREFIX + sha256(block).digest()


def raw_cid(block: bytes) -> bytes:
    return _RAW_PREFIX + sha256(block).digest()


def is_cid(value: object) -> bool:
    """True for a binary CIDv1 of a codec we serve, with sha2-256."""
    return (
        isinstance(value, bytes)
        and len(value) == CID_BYTES
        and value[0] == 1
        and value[1] in _CODECS
        and value[2:4] == b"\x12\x20"
    )


def codec_of(cid: bytes) -> int:
    return cid[1]


def verify_block(cid: bytes, block: bytes) -> bool:
    """Does `block` hash to `cid`?"""
    return is_cid(cid) and sha256(block).digest() == cid[4:]


_BASE32 = bytes.maketrans(bytes(range(32)), b"abcdefghijklmnopqrstuvwxyz234567")
_DIGITS = 58  # of 288 bits and two zeros


def _spreading() -> tuple[tuple[int, int, int], ...]:
    """(what stays, what moves, how far) of each step that takes groups of 5 bits apart, to one a byte: halves first."""
    steps, groups = [], 64
    while groups > 1:
        half = groups // 2
        low = (1 << 5 * half) - 1
        blocks = range(0, 64 * 8, groups * 8)
        stays = sum(low << at for at in blocks)
        steps.append((stays, stays << 5 * half, 3 * half))
        groups = half
    return tuple(steps)


_SPREADING = _spreading()


def cid_text(cid: bytes) -> str:
    """Multibase base32 lower case, the usual print of a CIDv1: `bafy...`, `bafk...`."""
    # By one integer, not digit by digit: the replica prints one for each envelope.
    bits = int.from_bytes(cid, "big") << 2
    for stays, moves, by in _SPREADING:
        bits = bits & stays | (bits & moves) << by
    return "b" + bits.to_bytes(_DIGITS, "big").translate(_BASE32).decode("ascii")


def parse_cid(text: str) -> bytes:
    """The binary CID of its base32 text; RemoteFault `bad-cid` for anything else."""
    if not isinstance(text, str) or len(text) != 59 or text[0] != "b" or text != text.lower():
        raise RemoteFault("bad-cid", f"not a base32 CIDv1: {str(text)[:80]!r}")
    body = text[1:].upper()
    try:
        cid = b32decode(body + "=" * (-len(body) % 8))
    except ValueError:
        raise RemoteFault("bad-cid", f"not base32: {text[:80]!r}") from None
    if not is_cid(cid) or cid_text(cid) != text:
        raise RemoteFault("bad-cid", f"not a sha2-256 CIDv1 of raw, dag-pb or dag-cbor: {text}")
    return cid
