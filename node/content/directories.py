"""UnixFS directories as kubo makes them: a node of named links, or above a size a HAMT of nodes (sharded).

https://specs.ipfs.tech/unixfs/ and boxo's `unixfs/io` and `unixfs/hamt`: links sorted by name; sharded once the names
and CIDs come to 256 KiB; 256 ways a level by MurmurHash3 (x64, first 64 bits) of the name, most significant bits first.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import mmh3
from swarmd.node.content.pbnode import (
    DIRECTORY,
    DIRECTORY_DATA,
    FILE_KINDS,
    HAMT,
    SYMLINK,
    NamedLink,
    PbNode,
    decode_node,
    encode_node,
    hamt_data,
    symlink_data,
)
from swarmd.protocol.cids import DAG_PB, RAW, cid_of, cid_text, codec_of
from swarmd.protocol.faults import LocalFault, RemoteFault

SHARD_ABOVE_BYTES: Final = 262_144
FANOUT: Final = 256
MURMUR3: Final = 0x22
MAX_ENTRIES: Final = 1_000_000  # of one directory
MAX_NAME_BYTES: Final = 255
MAX_TARGET_BYTES: Final = 4_096
_MAX_FANOUT: Final = 1_024
_HASH_BITS: Final = 64

Put = Callable[[bytes, bytes], object]
Get = Callable[[bytes], bytes | None]


@dataclass(frozen=True, slots=True)
class Node:
    """Something that has a place in a directory: its CID, and the bytes of all its blocks (a link's Tsize)."""

    cid: bytes
    dag_bytes: int


# Making ----------------------------------------------------------------------------------------------------


def make_directory(entries: Mapping[str, Node], put: Put) -> Node:
    """Store a directory of `entries`; sharded where kubo would shard it. LocalFault `bad-name`, `too-many-entries`."""
    if len(entries) > MAX_ENTRIES:
        raise LocalFault("too-many-entries", f"{len(entries)} entries; a directory has at most {MAX_ENTRIES}")
    links = []
    for text, node in entries.items():
        try:
            name = text.encode("utf-8")
            check_name(name)
        except (UnicodeEncodeError, RemoteFault):
            raise LocalFault(
                "bad-name", f"{text!r} cannot be a name in a directory", fix="rename it"
            ) from None
        links.append(NamedLink(name, node.cid, node.dag_bytes))
    links.sort(key=lambda link: link.name)
    # A directory of just the bound is sharded (tests/content/vectors/kubo.txt has one more and one less, too).
    if sum(len(link.name) + len(link.cid) for link in links) >= SHARD_ABOVE_BYTES:
        return _shard([(_hash(link.name), link) for link in links], 0, put)
    return _store(links, DIRECTORY_DATA, put)


def make_symlink(target: str, put: Put) -> Node:
    """Store a symbolic link. LocalFault `bad-name` for a target that no file system takes."""
    try:
        raw = target.encode("utf-8")
    except UnicodeEncodeError:
        raw = b""
    if not 0 < len(raw) <= MAX_TARGET_BYTES or b"\0" in raw:
        raise LocalFault("bad-name", f"{target!r} cannot be what a link points to", fix="remove the link")
    return _store([], symlink_data(raw), put)


def _store(links: list[NamedLink], unixfs: bytes, put: Put) -> Node:
    block = encode_node(links, unixfs)
    cid = cid_of(DAG_PB, block)
    put(cid, block)
    return Node(cid, len(block) + sum(link.dag_bytes for link in links))


def _hash(name: bytes) -> int:
    first, _ = mmh3.hash64(name, seed=0, x64arch=True, signed=False)
    return int(first)


def _slot(digest: int, depth: int, fanout: int) -> int:
    """The place of a name in the shard at `depth`. RemoteFault once its hash is used up."""
    bits = fanout.bit_length() - 1
    shift = _HASH_BITS - bits * (depth + 1)
    if shift < 0:
        raise RemoteFault("bad-dag", "a sharded directory deeper than its hash is long")
    return digest >> shift & (fanout - 1)


def _shard(entries: Sequence[tuple[int, NamedLink]], depth: int, put: Put) -> Node:
    links = []
    taken = 0
    ordered = sorted(entries, key=lambda entry: (_slot(entry[0], depth, FANOUT), entry[1].name))
    for slot, group in groupby(ordered, key=lambda entry: _slot(entry[0], depth, FANOUT)):
        below = list(group)
        taken |= 1 << slot
        if len(below) == 1:
            (_, link) = below[0]
            links.append(NamedLink(b"%02X" % slot + link.name, link.cid, link.dag_bytes))
        else:
            child = _shard(below, depth + 1, put)
            links.append(NamedLink(b"%02X" % slot, child.cid, child.dag_bytes))
    bitfield = taken.to_bytes((taken.bit_length() + 7) // 8, "big")
    return _store(links, hamt_data(bitfield, FANOUT, MURMUR3), put)


# Reading ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry of a directory. `dag_bytes` is what the directory says: advice."""

    name: str
    cid: bytes
    dag_bytes: int


def check_name(name: bytes) -> None:
    """RemoteFault `bad-name` for a name that no file may have: one that leads out of the directory, or nowhere."""
    if not 0 < len(name) <= MAX_NAME_BYTES or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise RemoteFault("bad-name", f"an entry named {name[:80]!r}")


def need_block(cid: bytes, get: Get) -> bytes:
    block = get(cid)
    if block is None:
        raise LocalFault(
            "content-missing", f"block {cid_text(cid)} is not here", fix="fetch the content first"
        )
    return block


def kind_of(cid: bytes, get: Get) -> str:
    """ "file", "directory" or "symlink"; RemoteFault `not-unixfs` for anything else."""
    if codec_of(cid) == RAW:
        return "file"
    if codec_of(cid) != DAG_PB:
        raise RemoteFault("not-unixfs", f"{cid_text(cid)} is a record, no file or directory")
    kind = decode_node(need_block(cid, get)).kind
    if kind in FILE_KINDS:
        return "file"
    if kind in (DIRECTORY, HAMT):
        return "directory"
    if kind == SYMLINK:
        return "symlink"
    raise RemoteFault("not-unixfs", f"{cid_text(cid)} is a UnixFS node of type {kind}")


def list_directory(cid: bytes, get: Get, *, max_entries: int = MAX_ENTRIES) -> Iterator[Listed]:
    """The entries, sorted by name within each node. `get` returns verified bytes.

    LocalFault `content-missing`; RemoteFault `not-a-directory`, `bad-name`, `bad-dag` (two entries of one name, a
    shard that is not where its name belongs, more than `max_entries`), `bad-dag-pb`.
    """
    names: set[bytes] = set()
    for link in _entries(cid, get):
        check_name(link.name)
        if link.name in names:
            raise RemoteFault("bad-dag", f"two entries named {link.name[:80]!r}")
        names.add(link.name)
        if len(names) > max_entries:
            raise RemoteFault("bad-dag", f"{cid_text(cid)} has more than {max_entries} entries")
        try:
            name = link.name.decode("utf-8")
        except UnicodeDecodeError:
            raise RemoteFault("bad-name", f"an entry named {link.name[:80]!r}") from None
        yield Listed(name, link.cid, link.dag_bytes)


def _entries(cid: bytes, get: Get) -> Iterator[NamedLink]:
    node = _directory_node(cid, get)
    if node.kind == DIRECTORY:
        yield from node.links
        return
    fanout = _fanout(node)
    # Each shard once, and every shard holds an entry or a shard: the walk ends with the DAG, or the hash.
    stack = [(node, 0, 0)]
    while stack:
        node, depth, prefix = stack.pop()
        if node.kind != HAMT or _fanout(node) != fanout or len(node.links) > fanout:
            raise RemoteFault("bad-dag", "a shard unlike the others of its directory")
        if not node.links and depth:
            raise RemoteFault("bad-dag", "an empty shard")
        width = len(f"{fanout - 1:X}")
        bits = fanout.bit_length() - 1
        for link in node.links:
            slot = _prefix_slot(link.name[:width], width, fanout)
            path = prefix << bits | slot
            name = link.name[width:]
            if name:
                digest = _hash(name)
                if digest >> max(0, _HASH_BITS - bits * (depth + 1)) != path:
                    raise RemoteFault("bad-dag", f"{name[:80]!r} lies in the wrong shard")
                yield NamedLink(name, link.cid, link.dag_bytes)
            else:
                _slot(0, depth + 1, fanout)  # is there a hash left for another level?
                stack.append((_directory_node(link.cid, get), depth + 1, path))


def _directory_node(cid: bytes, get: Get) -> PbNode:
    if codec_of(cid) == DAG_PB:
        node = decode_node(need_block(cid, get))
        if node.kind in (DIRECTORY, HAMT):
            return node
    raise RemoteFault("not-a-directory", cid_text(cid))


def _fanout(node: PbNode) -> int:
    fanout, function = node.number(6, "fanout"), node.number(5, "hash function")
    if function != MURMUR3:
        raise RemoteFault("bad-dag", f"a directory sharded by hash function 0x{function:x}")
    if not 8 <= fanout <= _MAX_FANOUT or fanout & (fanout - 1):
        raise RemoteFault("bad-dag", f"a directory sharded {fanout} ways")
    return fanout


def _prefix_slot(prefix: bytes, width: int, fanout: int) -> int:
    try:
        slot = int(prefix, 16)
    except ValueError:
        slot = fanout
    if slot >= fanout or prefix != b"%0*X" % (width, slot):
        raise RemoteFault("bad-dag", f"a link of a shard named {prefix[:8]!r}")
    return slot


def read_symlink(cid: bytes, get: Get) -> str:
    """Where a symbolic link points to."""
    node = decode_node(need_block(cid, get))
    if node.kind != SYMLINK or node.links:
        raise RemoteFault("bad-dag", f"{cid_text(cid)} is no symbolic link")
    raw = node.data()
    if not 0 < len(raw) <= MAX_TARGET_BYTES or b"\0" in raw:
        raise RemoteFault("bad-name", f"a link to {raw[:80]!r}")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise RemoteFault("bad-name", f"a link to {raw[:80]!r}") from None


def resolve(root: bytes, path: str, get: Get) -> bytes:
    """The CID at `path` below `root`: names joined by "/". LocalFault `no-entry`, `bad-path`."""
    steps = [step for step in path.split("/") if step]
    if bad := next((step for step in steps if step in (".", "..")), None):
        raise LocalFault("bad-path", f"{path!r}: {bad!r} leads nowhere in content", fix="name each entry")
    cid = root
    for step in steps:
        found = _find(cid, step.encode("utf-8", "surrogateescape"), get)
        if found is None:
            raise LocalFault(
                "no-entry", f"there is no {step!r} in {cid_text(cid)}", fix="see swarmd content ls"
            )
        cid = found
    return cid


def _find(cid: bytes, name: bytes, get: Get) -> bytes | None:
    """The entry `name` of a directory, by its hash where it is sharded."""
    node = _directory_node(cid, get)
    if node.kind == DIRECTORY:
        return next((link.cid for link in node.links if link.name == name), None)
    digest, fanout, depth = _hash(name), _fanout(node), 0
    width = len(f"{fanout - 1:X}")
    while True:
        prefix = b"%0*X" % (width, _slot(digest, depth, fanout))
        links = {link.name: link.cid for link in node.links}
        if prefix + name in links:
            return links[prefix + name]
        if prefix not in links:
            return None
        node, depth = _directory_node(links[prefix], get), depth + 1
        if node.kind != HAMT or _fanout(node) != fanout:
            raise RemoteFault("bad-dag", "a shard unlike the others of its directory")
