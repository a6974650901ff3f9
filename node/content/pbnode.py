"""dag-pb nodes of any UnixFS kind, as far as walking and listing need them: named links and the UnixFS message.

`dagpb` is the strict reader of files, where every size is checked; here are directories, sharded directories and
symbolic links besides. What they share: canonical bytes only, or RemoteFault `bad-dag-pb`.
"""

from dataclasses import dataclass
from typing import Final

from swarmd.node.content.dagpb import bad, fields, read_varint, varint
from swarmd.protocol.cids import DAG_CBOR, DAG_PB, RAW, is_cid
from swarmd.protocol.faults import RemoteFault

FILE_KINDS: Final = (0, 2)  # "raw", as old leaves have it, and "file"
DIRECTORY: Final = 1
SYMLINK: Final = 4
HAMT: Final = 5
MAX_NAME_BYTES: Final = 255 + 8  # what a file system takes, behind the prefix of a shard
# A directory that is no HAMT is small: kubo begins to shard at 256 KiB of names and CIDs.
MAX_NODE_LINKS: Final = 16_384
_IDENTITY: Final = 0x00
MAX_IDENTITY_BYTES: Final = 128
# Of any kind: what a refusal needs to see.
MAX_CID_BYTES: Final = 1_024


@dataclass(frozen=True, slots=True)
class NamedLink:
    """A link of any node. `dag_bytes` (Tsize) is what its maker said of the DAG below: advice, never believed."""

    name: bytes
    cid: bytes
    dag_bytes: int


@dataclass(frozen=True, slots=True)
class PbNode:
    """A node: its links in their order, and the fields of its UnixFS message, each with its number."""

    links: tuple[NamedLink, ...]
    unixfs: tuple[tuple[int, int | bytes], ...]

    @property
    def kind(self) -> int:
        """The UnixFS type; RemoteFault `bad-dag-pb` if there is none."""
        return self.number(1, "type")

    def number(self, field: int, what: str) -> int:
        for each, value in self.unixfs:
            if each == field and isinstance(value, int):
                return value
        raise bad(f"a UnixFS node without {what}")

    def data(self) -> bytes:
        return next((value for each, value in self.unixfs if each == 2 and isinstance(value, bytes)), b"")


def decode_node(block: bytes) -> PbNode:
    """RemoteFault `bad-dag-pb` for bytes that are no canonical dag-pb node, or whose data is no UnixFS message."""
    links: list[NamedLink] = []
    unixfs: bytes | None = None
    for field, value in fields(block):
        if field == 2 and unixfs is None and isinstance(value, bytes):
            if len(links) == MAX_NODE_LINKS:
                raise bad(f"more than {MAX_NODE_LINKS} links")
            links.append(_link(value))
        elif field == 1 and unixfs is None and isinstance(value, bytes):
            unixfs = value
        else:
            raise bad(f"field {field} has no place here")
    message = fields(unixfs or b"")  # a node without data is legal; it has links, but is nothing of UnixFS
    if [field for field, _ in message] != sorted(field for field, _ in message):
        raise bad("UnixFS fields out of order")
    return PbNode(tuple(links), tuple(message))


def _link(link: bytes) -> NamedLink:
    found = fields(link)
    if [field for field, _ in found] != [1, 2, 3]:
        raise bad("a link has Hash, Name and Tsize")
    (_, cid), (_, name), (_, dag_bytes) = found
    if not isinstance(cid, bytes) or not isinstance(name, bytes) or not isinstance(dag_bytes, int):
        raise bad("a link has a CID, a name and a size")
    check_cid(cid)
    return NamedLink(name, cid, dag_bytes)


_CODECS: Final = {RAW: "raw", DAG_PB: "dag-pb", DAG_CBOR: "dag-cbor"}


def check_cid(cid: bytes) -> None:
    """RemoteFault that says what kind of CID we do not take: `cid-v0`, `cid-identity`, `cid-codec`, `cid-hash`,
    or `bad-cid` for bytes that are none."""
    if is_cid(cid):
        return
    if cid[:2] == b"\x12\x20" and len(cid) == 34:
        raise RemoteFault("cid-v0", "a CIDv0; add the content anew with --cid-version=1")
    try:
        version, at = read_varint(cid, 0)
        codec, at = read_varint(cid, at)
        hash_code, at = read_varint(cid, at)
        digest_bytes, at = read_varint(cid, at)
    except RemoteFault:
        raise RemoteFault("bad-cid", f"{len(cid)} bytes that are no CID") from None
    if version != 1 or digest_bytes != len(cid) - at:
        raise RemoteFault("bad-cid", f"{len(cid)} bytes that are no CIDv1")
    if hash_code == _IDENTITY:
        over = (
            f", over the {MAX_IDENTITY_BYTES} that anybody takes" if digest_bytes > MAX_IDENTITY_BYTES else ""
        )
        raise RemoteFault(
            "cid-identity", f"an identity CID of {digest_bytes} bytes{over}; this store takes sha2-256 only"
        )
    if hash_code != 0x12:
        raise RemoteFault("cid-hash", f"hash function 0x{hash_code:x}; this store takes sha2-256 only")
    if codec not in _CODECS:
        raise RemoteFault("cid-codec", f"codec 0x{codec:x}; this store takes {', '.join(_CODECS.values())}")
    raise RemoteFault("bad-cid", f"a sha2-256 digest of {digest_bytes} bytes")


def leading_cid(data: bytes) -> bytes:
    """The CID that `data` begins with, of whatever kind, as long as it says it is."""
    if data[:2] == b"\x12\x20":
        return data[:34]
    at = value = 0
    for _ in range(4):  # version, codec, hash function, bytes of the digest
        try:
            value, at = read_varint(data, at)
        except RemoteFault:
            return data[:MAX_CID_BYTES]
    return data[: at + value]


# Encoding --------------------------------------------------------------------------------------------------


def encode_node(links: list[NamedLink], unixfs: bytes) -> bytes:
    """A node with these links, in this order."""
    parts = []
    for link in links:
        body = (
            b"\x0a"
            + varint(len(link.cid))
            + link.cid
            + b"\x12"
            + varint(len(link.name))
            + link.name
            + b"\x18"
            + varint(link.dag_bytes)
        )
        parts.append(b"\x12" + varint(len(body)) + body)
    parts.append(b"\x0a" + varint(len(unixfs)) + unixfs)
    return b"".join(parts)


DIRECTORY_DATA: Final = b"\x08\x01"


def symlink_data(target: bytes) -> bytes:
    return b"\x08\x04\x12" + varint(len(target)) + target


def hamt_data(bitfield: bytes, fanout: int, hash_code: int) -> bytes:
    return (
        b"\x08\x05\x12"
        + varint(len(bitfield))
        + bitfield
        + b"\x28"
        + varint(hash_code)
        + b"\x30"
        + varint(fanout)
    )
