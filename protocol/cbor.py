"""Canonical CBOR that is valid dag-cbor, strictly: one value, one encoding (https://ipld.io/specs/codecs/dag-cbor).

Allowed: None, bool, int (64 bit), text, bytes, list, map with text keys, and links (tag 42). No floats: amounts,
times and scores are integers, and a float's many encodings are a door for two ids of one thing. `cbor2` does
the work, byte-identical to the `dag-cbor` package and seven times faster (facts; tests/protocol/test_cbor.py).
"""

from collections.abc import Mapping
from typing import Any

import cbor2
from swarmd.protocol.cids import is_cid
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.limits import MAX_NESTING


class Link(bytes):
    """A binary CID that is a dag-cbor link (tag 42). Compares and hashes as its bytes."""

    __slots__ = ()


_MIN_INT = -(1 << 64)
_MAX_INT = (1 << 64) - 1
# Tag 42, the head of a byte string of 37 bytes, a zero byte and the CID.
_LINK_BYTES = 41


def _encode_link(encoder: Any, link: Link) -> None:
    encoder.encode(cbor2.CBORTag(42, b"\0" + bytes(link)))


_ENCODERS: Mapping[type, Any] = {Link: _encode_link}


def encode(value: Any) -> bytes:
    """The one encoding of `value`. LocalFault `not-dag-cbor` for a type or range dag-cbor has no place for."""
    _check_encodable(value, 0)
    try:
        return cbor2.dumps(value, canonical=True, encoders=_ENCODERS)
    except UnicodeEncodeError:
        raise LocalFault("not-dag-cbor", "text with a lone surrogate") from None


def encode_ordered(value: Any) -> bytes:
    """Like `encode` for values whose maps are known to be in canonical key order; half the time."""
    return cbor2.dumps(value, encoders=_ENCODERS)


UINT, BYTES, LIST = 0x00, 0x40, 0x80


def head_of(major: int, number: int) -> bytes:
    """The head of UINT `number`, of BYTES that many, of a LIST of that many: for who puts encoded parts together."""
    if number < 24:
        return bytes((major + number,))
    if number < 1 << 8:
        return bytes((major + 24, number))
    if number < 1 << 16:
        return bytes((major + 25, number >> 8, number & 0xFF))
    if number < 1 << 32:
        return bytes((major + 26,)) + number.to_bytes(4, "big")
    return bytes((major + 27,)) + number.to_bytes(8, "big")


def _check_encodable(value: Any, depth: int) -> None:
    kind = type(value)
    if kind is str or kind is bytes or kind is bool or value is None:
        return
    if kind is int:
        if not _MIN_INT <= value <= _MAX_INT:
            raise LocalFault("not-dag-cbor", "an integer of more than 64 bits")
        return
    if depth >= MAX_NESTING:  # as the decoder counts: lists, maps and tags
        raise LocalFault("not-dag-cbor", f"nested deeper than {MAX_NESTING}")
    if kind is Link:
        return
    if kind is list or kind is tuple:
        for item in value:
            _check_encodable(item, depth + 1)
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise LocalFault("not-dag-cbor", f"a map key that is no text: {key!r}")
            _check_encodable(item, depth + 1)
    else:
        raise LocalFault("not-dag-cbor", f"no place for a {kind.__name__}")


def decode(data: bytes) -> Any:
    """Decode strictly; RemoteFault `bad-cbor` for anything that is not the canonical encoding of its value."""
    value = decode_known(data)
    # `size_of` has checked types, ranges and key order. Left are minimal integers and lengths, and trailing bytes:
    # each makes `data` longer than the one canonical encoding.
    if size_of(value) != len(data):
        raise RemoteFault("bad-cbor", "not the canonical encoding")
    return value


def decode_known(data: bytes) -> Any:
    """`decode` without the look whether `data` is canonical: of bytes that were once decoded strictly, and whose hash shows
    that they are the same."""
    try:
        return cbor2.loads(
            data,
            tag_hook=_refuse_tag,
            semantic_decoders=_DECODERS,
            max_depth=MAX_NESTING,
            allow_indefinite=False,
            allow_duplicate_keys=False,
        )
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise RemoteFault("bad-cbor", str(error)[:200]) from None


_KEY_BYTES: dict[tuple[str, ...], int] = {}


def _key_bytes(keys: tuple[Any, ...]) -> int:
    """What map keys take, encoded; -1 unless they are text in dag-cbor order (length first).

    Remembered: honest maps have few shapes.
    """
    known = _KEY_BYTES.get(keys)
    if known is None:
        known = -1
        if all(type(key) is str for key in keys):
            raws = [key.encode() for key in keys]
            if raws == sorted(raws, key=lambda raw: (len(raw), raw)):
                known = sum(_with_head(len(raw)) for raw in raws)
                if len(_KEY_BYTES) < 4096:
                    _KEY_BYTES[keys] = known
    return known


def _with_head(length: int) -> int:
    """Bytes of a string of `length` bytes with its head."""
    if length <= 0xFF:
        return length + 1 + (length > 23)
    return length + 3 + 2 * (length > 0xFFFF) + 4 * (length > 0xFFFFFFFF)


def size_of(value: Any, depth: int = 0) -> int:
    """Bytes of the canonical encoding of a decoded value. RemoteFault `bad-cbor` for what has none.

    `decode` knows by it whether bytes are canonical, in a third of the time that encoding them again takes.
    """
    kind = type(value)
    if kind is str:
        length = len(value) if value.isascii() else len(value.encode())
        return length + 1 if length < 24 else _with_head(length)
    if kind is bytes:
        length = len(value)
        return length + 1 if length < 24 else _with_head(length)
    if kind is int:
        # -1 is encoded as 0, -2 as 1, and so on.
        number: int = value if value >= 0 else -1 - value
        if number < 24:
            return 1
        if number > _MAX_INT:
            raise RemoteFault("bad-cbor", "an integer of more than 64 bits")
        return _with_head(number) - number
    if kind is Link:
        return _LINK_BYTES
    if kind is bool or value is None:
        return 1
    if depth >= MAX_NESTING:  # cbor2 does not count what is empty
        raise RemoteFault("bad-cbor", f"nested deeper than {MAX_NESTING}")
    if kind is dict:
        keys = tuple(value)
        size = _key_bytes(keys) if keys else 0
        if size < 0:
            raise RemoteFault("bad-cbor", "map keys not text or not in canonical order")
        items = value.values()
    elif kind is list:
        size, items = 0, value
    else:
        raise RemoteFault("bad-cbor", f"a {kind.__name__} has no place in dag-cbor here")
    for item in items:
        kind = type(item)
        # The most frequent ones without a call.
        if kind is Link:
            size += _LINK_BYTES
        elif kind is bytes:
            length = len(item)
            size += length + 2 if 23 < length <= 0xFF else _with_head(length)
        elif kind is int and 0 <= item < 24:
            size += 1
        elif kind is str and len(item) < 24 and item.isascii():
            size += len(item) + 1
        else:
            size += size_of(item, depth + 1)
    return _with_head(len(value)) - len(value) + size


def _decode_link(value: Any, _immutable: bool) -> Link:
    if type(value) is not bytes or value[:1] != b"\0" or not is_cid(value[1:]):
        raise ValueError("a link must be a binary sha2-256 CIDv1 behind a zero byte")
    return Link(value[1:])


def _refuse_tag(*_: Any) -> Any:
    raise ValueError("a tag other than 42")


# Tags that cbor2 would turn into dates, bignums, regexes, sets, shared references ... none is dag-cbor.
_FOREIGN_TAGS = (
    0,
    1,
    2,
    3,
    4,
    5,
    25,
    28,
    29,
    30,
    35,
    36,
    37,
    52,
    54,
    100,
    256,
    258,
    260,
    261,
    1004,
    43000,
    55799,
)
_DECODERS: Mapping[int, Any] = {42: _decode_link} | {tag: _refuse_tag for tag in _FOREIGN_TAGS}
