"""Bitswap."""

import os

import trio
from raw import MULTISTREAM, prefixed, said, varint
from raw import field as pb

from attacking.gossip import _NESTED
from attacking.stage import MIB, Stage, attack

BITSWAP = "/ipfs/bitswap/1.2.0"
_CID = b"\x01\x55\x12\x20"


def wants(*cids: bytes, cancel: bool = False, tail: bytes = b"") -> bytes:
    """A message with a wantlist."""
    more = (pb(3, 1) if cancel else b"") + tail
    return prefixed(pb(1, b"".join(pb(1, pb(1, cid) + more) for cid in cids)))


def block(prefix: bytes, data: bytes) -> bytes:
    return prefixed(pb(3, pb(1, prefix) + pb(2, data)))


def some_cids(count: int, prefix: bytes = _CID) -> list[bytes]:
    return [prefix + os.urandom(32) for _ in range(count)]


for _name, _data, _codes in (
    ("rubbish", prefixed(b"\xff" * 50), ("bad-protobuf",)),
    ("a truncated message", prefixed(wants(_CID + bytes(32))[1:-9]), ("bad-protobuf",)),
    ("groups nested 30,000 deep", prefixed(_NESTED), ("bad-protobuf",)),
    ("a length of gigabytes", b"\xff\xff\xff\xff\x7f", ("message-too-big",)),
    ("a length without end", b"\x80" * 64, ("message-too-big",)),
    ("a message of 5 MB", varint(5 * MIB) + b"x" * 1_000, ("message-too-big",)),
    ("90,000 wants", wants(*[_CID + i.to_bytes(32, "big") for i in range(90_000)]), ("wantlist-too-big",)),
    ("a want of no CID", wants(b"none"), ("bad-want",)),
    ("a want of nothing", wants(b""), ("bad-want",)),
    ("a want of an identity CID", wants(b"\x01\x55\x00\x05hello"), ("bad-want",)),
    ("a want of an identity CID of 200 bytes", wants(b"\x01\x55\x00\xc8\x01" + bytes(200)), ("bad-want",)),
    ("a want of a digest of 200 bytes", wants(b"\x01\x55\x13\xc8\x01" + bytes(200)), ("bad-want",)),
    ("a want with endless numbers", wants(b"\xff" * 100), ("bad-want",)),
    ("a CIDv0 that is too long", wants(b"\x12\x20" + bytes(40)), ("bad-want",)),
    ("a block that nobody asked for", block(_CID, b"unasked"), ("bad-block",)),
    ("a bare block that nobody asked for", prefixed(pb(2, b"unasked")), ("bad-block",)),
    ("a block of an unknown hash", block(b"\x01\x55\x99\x20", b"x"), ("bad-block-prefix",)),
    ("a block of an identity hash", block(b"\x01\x55\x00\x20", b"x" * 32), ("bad-block-prefix",)),
    ("a block without a prefix", block(b"", b"x"), ("bad-block-prefix",)),
    ("a block of 2 MB", block(_CID, bytes(2 * MIB)), ("block-too-big",)),
    ("10,000 empty blocks", prefixed(pb(3, pb(1, _CID) + pb(2, b"")) * 10_000), ("too-many-blocks",)),
):

    @attack(f"bitswap: {_name}", "cut", *_codes, batch="bitswap")
    async def bitswap(stage: Stage, data: bytes = _data) -> None:
        raw = await stage.peer()
        sid = await raw.open(BITSWAP)
        await raw.send(sid, data)
        await raw.until_cut(0.5)


for _name, _data in {
    "an empty message, 1,000 times": prefixed(b"") * 1_000,
    "wants of codecs and hashes it has not": wants(
        *some_cids(100, b"\x01\xb2\x25\x12\x20"), *some_cids(100, b"\x01\x55\xb2\x40\x20"),
        *some_cids(100, b"\x12\x20"), tail=pb(5, 1),
    ),
    "16,000 wants of what it lacks": wants(*some_cids(16_000), tail=pb(5, 1)),
    "presences of what nobody asked for": prefixed(
        b"".join(pb(4, pb(1, cid) + pb(2, i % 3)) for i, cid in enumerate(some_cids(3_000)))
    ),
    "half a message": wants(*some_cids(10))[:-5],
}.items():  # fmt: skip

    @attack(f"bitswap: {_name}", "limited", batch="bitswap")
    async def odd_bitswap(stage: Stage, data: bytes = _data) -> None:
        raw = await stage.peer()
        await raw.send(await raw.open(BITSWAP), data)
        await trio.sleep(0.3)


@attack("bitswap: cancels without end", "cut", "cancel-flood", repeats=4, timeout_s=60)
async def cancels(stage: Stage) -> None:
    raw = await stage.peer()
    sid = await raw.open(BITSWAP)
    for _ in range(12):
        await raw.send(sid, wants(*some_cids(6_000), cancel=True))
    await raw.until_cut(5.0)


@attack("bitswap: wants of what is no mesh's, without end", "cut", "foreign-wants", repeats=4, timeout_s=60)
async def foreign_wants(stage: Stage) -> None:
    raw = await stage.peer()
    sid = await raw.open(BITSWAP)
    for _ in range(12):
        await raw.send(sid, wants(*some_cids(6_000, b"\x12\x20")))
    await raw.until_cut(5.0)


@attack("bitswap: the whole wantlist anew, 200 times", "limited", timeout_s=60)
async def full_wantlists(stage: Stage) -> None:
    raw = await stage.peer()
    sid = await raw.open(BITSWAP)
    for _ in range(200):
        entries = b"".join(pb(1, pb(1, cid)) for cid in some_cids(100))
        await raw.send(sid, prefixed(pb(1, entries + pb(2, 1))))
    await trio.sleep(0.3)


@attack("bitswap: 24 streams, each with half a message", "limited")
async def many_bitswap_streams(stage: Stage) -> None:
    raw = await stage.peer()
    for _ in range(24):
        sid = await raw.syn()
        await raw.send(sid, said(MULTISTREAM) + said(BITSWAP) + wants(*some_cids(500))[:-9])
    await trio.sleep(0.5)
