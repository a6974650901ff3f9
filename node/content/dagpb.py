"""dag-pb nodes that carry UnixFS files: the encoder, and a decoder that takes canonical bytes only.

Shapes: https://ipld.io/specs/codecs/dag-pb/spec/ (links before data, each link Hash, Name, Tsize) and
https://specs.ipfs.tech/unixfs/ (Type 1, Data 2, filesize 3, blocksizes 4, then mode and mtime). Protobuf
lets one message have many encodings; hashes do not, so anything but minimal varints and ascending fields is
refused as RemoteFault `bad-dag-pb`.
"""

from dataclasses import dataclass
from typing import Final

from swarmd.protocol.cids import DAG_PB, RAW, codec_of, is_cid
from swarmd.protocol.faults import RemoteFault

# kubo's default is 174; its 2025 profile goes to 1,024. More is no file of ours.
MAX_LINKS: Final = 1_024
_MAX_VARINT: Final = (1 << 63) - 1
_VARINT, _BYTES = 0, 2
_TYPE_RAW, _TYPE_FILE = 0, 2
_MTIME, _MODE = 8, 7


@dataclass(frozen=True, slots=True)
class Link:
    """One child of a file node: its CID and how many bytes of the file lie under it."""

    cid: bytes
    size: int


@dataclass(frozen=True, slots=True)
class FileNode:
    """A dag-pb node of a UnixFS file. `size` (bytes of the file under it) is checked against its parts."""

    links: tuple[Link, ...]
    data: bytes
    size: int


def encode_file_node(links: list[tuple[bytes, int, int]], size: int) -> bytes:
    """An inner node of `size` file bytes. `links`: (CID, cumulative DAG bytes, file bytes) of each child."""
    parts = []
    for cid, dag_bytes, _ in links:
        # The empty name is written out, as go-merkledag and @ipld/dag-pb do.
        link = b"\x0a" + varint(len(cid)) + cid + b"\x12\x00\x18" + varint(dag_bytes)
        parts.append(b"\x12" + varint(len(link)) + link)
    unixfs = b"\x08\x02\x18" + varint(size) + b"".join(b"\x20" + varint(part) for _, _, part in links)
    parts.append(b"\x0a" + varint(len(unixfs)) + unixfs)
    return b"".join(parts)


def decode_file_node(block: bytes) -> FileNode:
    """The node in `block`; RemoteFault `bad-dag-pb` for bytes that are not a canonical UnixFS file node."""
    links: list[bytes] = []
    unixfs: bytes | None = None
    for field, value in fields(block):
        if field == 2 and unixfs is None and isinstance(value, bytes):
            if len(links) == MAX_LINKS:
                raise bad(f"more than {MAX_LINKS} links")
            links.append(_link_cid(value))
        elif field == 1 and unixfs is None and isinstance(value, bytes):
            unixfs = value
        else:
            raise bad(f"field {field} has no place here")
    if unixfs is None:
        raise bad("no UnixFS data")
    data, size, sizes = _unixfs(unixfs)
    if len(sizes) != len(links):
        raise bad(f"{len(links)} links but {len(sizes)} block sizes")
    # No importer makes a child of no bytes; a DAG of them would cost work without end for nothing.
    if 0 in sizes:
        raise bad("a child of zero bytes")
    if size != len(data) + sum(sizes):
        raise bad(f"declares {size} bytes, its parts {len(data) + sum(sizes)}")
    return FileNode(tuple(map(Link, links, sizes)), data, size)


def _link_cid(link: bytes) -> bytes:
    found = fields(link)
    if [field for field, _ in found] != [1, 2, 3]:
        raise bad("a link has Hash, Name and Tsize")
    (_, cid), (_, name), (_, dag_bytes) = found
    if name != b"" or not isinstance(dag_bytes, int):
        raise bad("a file's link has no name, and its Tsize is a number")
    if not isinstance(cid, bytes) or not is_cid(cid) or codec_of(cid) not in (RAW, DAG_PB):
        raise bad("a link is not a sha2-256 CIDv1 of raw or dag-pb")
    return cid


def _unixfs(message: bytes) -> tuple[bytes, int, list[int]]:
    """(inline data, declared size, block sizes) of a UnixFS message of a file."""
    data: bytes = b""
    size = 0
    kind: int | None = None
    sizes: list[int] = []
    last = 0
    for field, value in fields(message):
        if field < last or (field == last and field != 4):
            raise bad("UnixFS fields out of order or twice")
        last = field
        if field == 1 and isinstance(value, int):
            kind = value
            if kind not in (_TYPE_RAW, _TYPE_FILE):
                raise RemoteFault("not-a-file", f"a UnixFS node of type {kind}")
        elif field == 2 and isinstance(value, bytes):
            data = value
        elif field == 3 and isinstance(value, int):
            size = value
        elif field == 4 and isinstance(value, int):
            sizes.append(value)
        elif field not in (_MODE, _MTIME):  # kept by importers that preserve them; no part of the content
            raise bad(f"UnixFS field {field} does not belong to a file")
    if kind is None:
        raise bad("a UnixFS node without a type")
    return data, size, sizes


def fields(message: bytes) -> list[tuple[int, int | bytes]]:
    """The (field number, value) pairs of a protobuf message, minimal encodings only."""
    out: list[tuple[int, int | bytes]] = []
    at, end = 0, len(message)
    while at < end:
        key, at = read_varint(message, at)
        field, wire = key >> 3, key & 7
        if not 1 <= field <= 15:
            raise bad(f"field number {field}")
        value, at = read_varint(message, at)
        if wire == _VARINT:
            out.append((field, value))
        elif wire == _BYTES:
            if value > end - at:
                raise bad("truncated")
            out.append((field, message[at : at + value]))
            at += value
        else:
            raise bad(f"wire type {wire}")
    return out


def read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    for position in range(at, min(at + 9, len(message))):
        byte = message[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                raise bad("a varint longer than it needs to be")
            return value, position + 1
        shift += 7
    raise bad("truncated or overlong varint")


def varint(value: int) -> bytes:
    if not 0 <= value <= _MAX_VARINT:
        raise ValueError(value)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def bad(why: str) -> RemoteFault:
    return RemoteFault("bad-dag-pb", why)
