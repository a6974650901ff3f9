"""Messages of `/swarm/MESH/sync/1`: a 4-byte big-endian length, then CBOR `[kind, id, body]`.

The CBOR has one shape, so it is read by hand: a general decoder would follow a peer into nested items,
tags and bignums before we could refuse them.
"""

import re
from enum import IntEnum

from swarmd.protocol.faults import RemoteFault

LENGTH_BYTES = 4
# array(3), kind in one byte, id and length in at most nine each.
MAX_HEAD_BYTES = 1 + 1 + 9 + 9
MAX_ERROR_BYTES = 1_024
_CODE = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


class Kind(IntEnum):
    REQUEST = 0
    RESPONSE = 1
    ERROR = 2
    PING = 3
    PONG = 4


def encode(kind: Kind, request_id: int, body: bytes = b"") -> bytes:
    """One message with its length prefix."""
    return encode_head(kind, request_id, len(body)) + body


def encode_head(kind: Kind, request_id: int, body_bytes: int) -> bytes:
    """What goes before a body of that length: for large ones, which would have to be copied behind it."""
    head = b"\x83" + bytes((kind,)) + _head(0x00, request_id) + _head(0x40, body_bytes)
    return (len(head) + body_bytes).to_bytes(LENGTH_BYTES, "big") + head


def decode(message: bytes | bytearray | memoryview) -> tuple[Kind, int, bytes]:
    """The message behind a length prefix; RemoteFault `bad-message` unless it is exactly one."""
    if len(message) < 4 or message[0] != 0x83 or message[1] > Kind.PONG:
        raise RemoteFault("bad-message", "not a sync message")
    request_id, at = _read_head(message, 2, 0x00)
    length, at = _read_head(message, at, 0x40)
    if len(message) - at != length:
        raise RemoteFault("bad-message", "the body has another length than it says")
    return Kind(message[1]), request_id, bytes(message[at:])


def encode_error(code: str, text: str) -> bytes:
    """The body of an ERROR: `code` or `code: text`, UTF-8."""
    full = f"{code}: {text}" if text else code
    return full.encode()[:MAX_ERROR_BYTES]


def decode_error(body: bytes) -> RemoteFault:
    """The fault a peer answered with. Its code is checked, since callers branch on it."""
    code, _, text = body[:MAX_ERROR_BYTES].decode("utf-8", "replace").partition(": ")
    if _CODE.fullmatch(code) is None:
        return RemoteFault("bad-error", "the peer answered with an unreadable error")
    return RemoteFault(code, text)


def _head(major: int, value: int) -> bytes:
    """A CBOR head in its shortest form."""
    if value < 24:
        return bytes((major | value,))
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << (8 * size):
            return bytes((major | info,)) + value.to_bytes(size, "big")
    raise ValueError(f"not a uint64: {value}")


def _read_head(message: bytes | bytearray | memoryview, at: int, major: int) -> tuple[int, int]:
    if at >= len(message) or message[at] & 0xE0 != major:
        raise RemoteFault("bad-message", "an item has the wrong type")
    info = message[at] & 0x1F
    at += 1
    if info < 24:
        return info, at
    size = {24: 1, 25: 2, 26: 4, 27: 8}.get(info)
    if size is None or len(message) - at < size:
        raise RemoteFault("bad-message", "an item is cut off")
    return int.from_bytes(message[at : at + size], "big"), at + size
