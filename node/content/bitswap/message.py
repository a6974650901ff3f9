"""Bitswap messages (https://specs.ipfs.tech/bitswap-protocol/): encoding, and decoding within bounds.

One protobuf message carries wants and cancels, blocks, and who has what. Versions 1.0.0 and the one without a
number send blocks bare, without their CID's prefix; 1.2.0 added HAVE and DONT_HAVE.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from google.protobuf.message import DecodeError
from libp2p.bitswap.pb.bitswap_pb2 import Message as Packed
from libp2p.custom_types import TProtocol
from swarmd.node.content.dagpb import varint
from swarmd.protocol.cids import CID_BYTES, is_cid
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.limits import MAX_BLOCK_BYTES

# Newest first, as they are offered.
PROTOCOLS: Final = tuple(
    map(TProtocol, ("/ipfs/bitswap/1.2.0", "/ipfs/bitswap/1.1.0", "/ipfs/bitswap/1.0.0", "/ipfs/bitswap"))
)
KNOWS_HAVE: Final = frozenset(PROTOCOLS[:1])
BARE_BLOCKS: Final = frozenset(PROTOCOLS[2:])

MAX_MESSAGE_BYTES: Final = 4 * 1_048_576  # boxo's and the spec's
MAX_ENTRIES: Final = 16_384
MAX_BLOCKS: Final = 4_096
# A multihash of at most 128 bytes of digest, and four varints before it: what boxo takes.
MAX_CID_BYTES: Final = 168
MAX_DIGEST_BYTES: Final = 128
_IDENTITY: Final = 0x00
_SHA2_256: Final = 0x12
_CODECS_SERVED: Final = {0x55, 0x70, 0x71}


@dataclass(frozen=True, slots=True)
class Want:
    """An entry of a wantlist. `cid` as the peer spelled it: perhaps none that we serve (`is_cid`)."""

    cid: bytes
    cancel: bool = False
    have_only: bool = False  # HAVE is enough of an answer
    send_dont_have: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """A decoded message. `blocks` are (CID, bytes), hashed: the CID is what the bytes are, not what was said of them.
    `bare` blocks came without a codec, as (sha2-256 digest, bytes)."""

    wants: tuple[Want, ...] = ()
    full: bool = False  # `wants` replace all before
    blocks: tuple[tuple[bytes, bytes], ...] = ()
    bare: tuple[tuple[bytes, bytes], ...] = ()
    have: tuple[bytes, ...] = ()
    dont_have: tuple[bytes, ...] = ()

    @property
    def block_bytes(self) -> int:
        return sum(len(block) for _, block in (*self.blocks, *self.bare))


def encode(
    *,
    wants: Iterable[Want] = (),
    full: bool = False,
    have: Iterable[bytes] = (),
    dont_have: Iterable[bytes] = (),
    protocol: str = PROTOCOLS[0],
) -> bytes:
    """The bytes of a message without blocks, as `protocol` has them: what an older one lacks is left out."""
    packed = Packed()
    packed.wantlist.full = full
    knows_have = protocol in KNOWS_HAVE
    for want in wants:
        if want.have_only and not knows_have:
            continue
        entry = packed.wantlist.entries.add()
        entry.block, entry.priority, entry.cancel = want.cid, 1, want.cancel
        if knows_have:
            entry.wantType = Packed.Wantlist.Have if want.have_only else Packed.Wantlist.Block
            entry.sendDontHave = want.send_dont_have
    if knows_have:
        for kind, cids in ((Packed.Have, have), (Packed.DontHave, dont_have)):
            for cid in cids:
                presence = packed.blockPresences.add()
                presence.cid, presence.type = cid, kind
    data: bytes = packed.SerializeToString()
    return data


def encode_blocks(blocks: Iterable[tuple[bytes, bytes]], protocol: str = PROTOCOLS[0]) -> bytes:
    """The bytes of a message with nothing but (CID, bytes). By hand: protobuf copies each block twice."""
    parts = []
    for cid, block in blocks:
        size = varint(len(block))
        if protocol in BARE_BLOCKS:  # `blocks`, field 2
            parts.append(b"\x12" + size)
        else:  # `payload`, field 3: prefix 1, data 2
            inside = 2 + 4 + 1 + len(size) + len(block)
            parts.append(b"\x1a" + varint(inside) + b"\x0a\x04" + cid[:4] + b"\x12" + size)
        parts.append(block)
    return b"".join(parts)


def decode(data: bytes) -> Message:
    """RemoteFault with a code of its own for each way of being no message: `bad-protobuf`, `wantlist-too-big`,
    `too-many-blocks`, `bad-want`, `bad-block-prefix`, `block-too-big`."""
    packed = Packed()
    try:
        packed.ParseFromString(data)
    except (DecodeError, RecursionError) as error:
        raise RemoteFault("bad-protobuf", str(error)[:200]) from None
    entries, presences = packed.wantlist.entries, packed.blockPresences
    if max(len(entries), len(presences)) > MAX_ENTRIES:
        raise RemoteFault("wantlist-too-big", f"over {MAX_ENTRIES} entries in a message")
    if len(packed.payload) + len(packed.blocks) > MAX_BLOCKS:
        raise RemoteFault("too-many-blocks", f"over {MAX_BLOCKS} blocks in a message")
    wants = []
    for entry in entries:
        check_wanted(entry.block)
        wants.append(
            Want(
                entry.block,
                cancel=entry.cancel,
                have_only=entry.wantType == Packed.Wantlist.Have,
                send_dont_have=entry.sendDontHave,
            )
        )
    said: dict[int, list[bytes]] = {Packed.Have: [], Packed.DontHave: []}
    for presence in presences:
        # Of a CID that is none of ours we asked nothing.
        if is_cid(presence.cid) and presence.type in said:
            said[presence.type].append(presence.cid)
    return Message(
        wants=tuple(wants),
        full=packed.wantlist.full,
        blocks=tuple(_block(each.prefix, each.data) for each in packed.payload),
        bare=tuple((sha256(_sized(block)).digest(), block) for block in packed.blocks),
        have=tuple(said[Packed.Have]),
        dont_have=tuple(said[Packed.DontHave]),
    )


def _block(prefix: bytes, data: bytes) -> tuple[bytes, bytes]:
    if len(prefix) != 4 or not is_cid(cid := prefix + sha256(_sized(data)).digest()):
        raise RemoteFault("bad-block-prefix", f"not a sha2-256 CIDv1 that we ask for: {prefix[:16].hex()}")
    return cid, data


def _sized(block: bytes) -> bytes:
    if len(block) > MAX_BLOCK_BYTES:
        raise RemoteFault("block-too-big", f"{len(block)} bytes; a block has at most {MAX_BLOCK_BYTES}")
    return block


def check_wanted(cid: bytes) -> None:
    """RemoteFault `bad-want` for what no honest peer wants: bytes that are no CID, an identity CID (its content is in
    it), a digest of over 128 bytes. CIDs that are well-formed but not ours (version 0, other codecs or hash
    functions) pass: the network wants them of everybody."""
    if len(cid) == CID_BYTES and is_cid(cid):
        return
    if not 0 < len(cid) <= MAX_CID_BYTES:
        raise RemoteFault("bad-want", f"a CID of {len(cid)} bytes; at most {MAX_CID_BYTES} are taken")
    if cid[:2] == b"\x12\x20":
        if len(cid) != 34:
            raise RemoteFault("bad-want", "a CIDv0 has 34 bytes")
        return
    numbers, digest = _varints(cid, 4)
    version, _, function, length = numbers
    if version != 1 or length != len(digest):
        raise RemoteFault("bad-want", f"not a CID: {cid[:16].hex()}")
    if function == _IDENTITY:
        raise RemoteFault("bad-want", f"an identity CID of {length} bytes: its content is in it")
    if length > MAX_DIGEST_BYTES:
        raise RemoteFault("bad-want", f"a digest of {length} bytes; at most {MAX_DIGEST_BYTES} are taken")


def why_not_served(cid: bytes) -> str:
    """Why a well-formed CID is none that we can have: for operators."""
    if cid[:2] == b"\x12\x20":
        return "cid-v0"
    (_, codec, function, _), _ = _varints(cid, 4)
    return (
        "unknown-hash"
        if function != _SHA2_256
        else "unknown-codec"
        if codec not in _CODECS_SERVED
        else "odd-cid"
    )


def _varints(data: bytes, count: int) -> tuple[Sequence[int], bytes]:
    numbers = []
    at = 0
    for _ in range(count):
        value = shift = 0
        while True:
            if at == len(data) or shift > 56:
                raise RemoteFault("bad-want", f"not a CID: {data[:16].hex()}")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        numbers.append(value)
    return numbers, data[at:]
