"""CAR files (https://ipld.io/specs/transport/car/): blocks on their way, each behind its CID.

Version 1 is written; 1 and 2 are read (of 2 the blocks only, its index is not needed). A file from elsewhere is a
peer's bytes: sizes are bounded before anything is read, each block must hash to its CID, and what ends early says so.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final, Protocol

from swarmd.node.content.dag import walk
from swarmd.node.content.dagpb import varint
from swarmd.node.content.pbnode import MAX_CID_BYTES, check_cid, leading_cid
from swarmd.protocol.cbor import Link, decode, encode
from swarmd.protocol.cids import CID_BYTES, cid_text, is_cid, verify_block
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.limits import MAX_BLOCK_BYTES

MAX_HEADER_BYTES: Final = 1_048_576
MAX_ROOTS: Final = 16_384
# The header that marks a version 2: {"version": 2}; its length, one byte, stands before it.
_PRAGMA_V2: Final = bytes.fromhex("a16776657273696f6e02")
_HEADER_V2_BYTES: Final = 40
_SKIP_BYTES: Final = 65_536


class Readable(Protocol):
    """A binary stream; `read(n)` may return fewer bytes, and b"" only at the end."""

    def read(self, size: int, /) -> bytes: ...


def car_header(roots: Iterable[bytes]) -> bytes:
    """How a CAR begins that is about `roots`."""
    header = encode({"roots": [Link(root) for root in roots], "version": 1})
    return varint(len(header)) + header


def car_block(cid: bytes, block: bytes) -> bytes:
    """A block as it stands in a CAR."""
    return varint(len(cid) + len(block)) + cid + block


@dataclass(frozen=True, slots=True)
class Car:
    """A CAR that is being read. `blocks` can be gone through once, each verified."""

    roots: Sequence[bytes]
    blocks: Iterator[tuple[bytes, bytes]]


def read_car(stream: Readable) -> Car:
    """RemoteFault, at once or from `blocks`: `bad-car`, `truncated-car`, `bad-cid`, `block-too-big`, `cid-mismatch`."""
    reader = _Reader(stream)
    header = _header(reader)
    if header == _PRAGMA_V2:
        reader.left = _skip_to_v1(reader)
        header = _header(reader)
    return Car(_roots_of(header), _blocks(reader))


def _header(reader: "_Reader") -> bytes:
    length = reader.varint()
    if length is None:
        raise RemoteFault("truncated-car", "it has no header")
    if not 0 < length <= MAX_HEADER_BYTES:
        raise RemoteFault("bad-car", f"a header of {length} bytes; at most {MAX_HEADER_BYTES} are taken")
    return reader.exactly(length)


def _roots_of(header: bytes) -> list[bytes]:
    try:
        document = decode(header)
    except RemoteFault as fault:
        raise RemoteFault("bad-car", f"its header: {fault.message}") from None
    if type(document) is not dict or set(document) != {"roots", "version"} or document["version"] != 1:
        raise RemoteFault("bad-car", "its header is not {roots, version: 1}")
    roots = document["roots"]
    if type(roots) is not list or len(roots) > MAX_ROOTS or any(type(root) is not Link for root in roots):
        raise RemoteFault("bad-car", f"its roots are not at most {MAX_ROOTS} links")
    return [bytes(root) for root in roots]


def _skip_to_v1(reader: "_Reader") -> int:
    """Go to where the blocks of a version 2 begin; how many bytes they take."""
    header = reader.exactly(_HEADER_V2_BYTES)
    offset, size = (int.from_bytes(header[at : at + 8], "little") for at in (16, 24))
    gap = offset - 1 - len(_PRAGMA_V2) - _HEADER_V2_BYTES
    if not 0 <= gap <= MAX_HEADER_BYTES or not size:
        raise RemoteFault("bad-car", "the header of a version 2 leads nowhere")
    while gap:
        gap -= len(reader.exactly(min(gap, _SKIP_BYTES)))
    return size


def _blocks(reader: "_Reader") -> Iterator[tuple[bytes, bytes]]:
    while (length := reader.varint()) is not None:
        if length > MAX_BLOCK_BYTES + MAX_CID_BYTES:
            raise RemoteFault("block-too-big", f"{length} bytes; a block has at most {MAX_BLOCK_BYTES}")
        section = reader.exactly(length)
        cid, block = section[:CID_BYTES], section[CID_BYTES:]
        if not is_cid(cid):
            check_cid(leading_cid(section))  # says of what kind it is
            raise RemoteFault("bad-car", f"a section of {length} bytes holds no block")
        if len(block) > MAX_BLOCK_BYTES:
            raise RemoteFault("block-too-big", f"{len(block)} bytes; a block has at most {MAX_BLOCK_BYTES}")
        if not verify_block(cid, block):
            raise RemoteFault("cid-mismatch", f"the bytes do not hash to {cid_text(cid)}")
        yield cid, block


class _Reader:
    """Whole pieces of a stream. `left`: after so many bytes it ends."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.left: int | None = None

    def varint(self) -> int | None:
        """None at the end of the stream, if that is where one would begin."""
        value = shift = 0
        while True:
            byte = self._take(1)
            if not byte:
                if shift:
                    raise RemoteFault("truncated-car", "it ends inside of a length")
                return None
            value |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80:
                return value
            shift += 7
            if shift > 56:
                raise RemoteFault("bad-car", "an overlong length")

    def exactly(self, count: int) -> bytes:
        data = self._take(count)
        if len(data) < count:
            raise RemoteFault("truncated-car", f"it ends {count - len(data)} bytes too early")
        return data

    def _take(self, count: int) -> bytes:
        if self.left is not None:
            count = min(count, self.left)
        parts = []
        got = 0
        while got < count and (part := self._stream.read(count - got)):
            parts.append(part)
            got += len(part)
        if self.left is not None:
            self.left -= got
        return b"".join(parts)


def write_car(
    roots: Sequence[bytes],
    out: BinaryIO,
    get: Callable[[bytes], bytes | None],
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[int, int]:
    """All DAGs under `roots` into `out`, each block once, in the order of a walk: the same DAGs give the same file.

    Returns (blocks, bytes of the file). LocalFault `content-missing`.
    """
    written = out.write(car_header(roots))
    seen: set[bytes] = set()
    for root in roots:
        for cid in walk(root, get):
            if cid in seen:
                continue
            seen.add(cid)
            block = get(cid)
            if block is None:
                raise LocalFault(
                    "content-missing", f"block {cid_text(cid)} is not here", fix="fetch the content first"
                )
            head = varint(len(cid) + len(block)) + cid
            out.write(head)
            out.write(block)
            written += len(head) + len(block)
            progress(len(block))
    return len(seen), written


def import_car(
    stream: Readable,
    put_many: Callable[[Iterable[tuple[bytes, bytes]]], int],
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[Sequence[bytes], int]:
    """Store the blocks of a CAR: (roots, blocks). RemoteFault as `read_car`; blocks before it may be stored: they
    are right. Whether a root is whole, `pin` finds out."""
    car = read_car(stream)

    def counted() -> Iterator[tuple[bytes, bytes]]:
        for cid, block in car.blocks:
            progress(len(block))
            yield cid, block

    return car.roots, put_many(counted())
