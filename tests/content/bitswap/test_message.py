"""Bitswap messages: what is written is what kubo reads, and what comes is bounded before anything is believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.bitswap.pb.bitswap_pb2 import Message as Packed
from swarmd.node.content.bitswap.message import (
    MAX_BLOCKS,
    MAX_ENTRIES,
    PROTOCOLS,
    Want,
    check_wanted,
    decode,
    encode,
    encode_blocks,
    why_not_served,
)
from swarmd.protocol.cids import DAG_CBOR, RAW, cid_of, raw_cid
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.limits import MAX_BLOCK_BYTES

A, B = raw_cid(b"a"), cid_of(DAG_CBOR, b"\xa0")
SHA512 = b"\x01\x55\x13\x40" + bytes(64)
V0 = b"\x12\x20" + bytes(32)


def test_what_is_written_is_read():
    wants = (Want(A, send_dont_have=True), Want(B, have_only=True), Want(raw_cid(b"c"), cancel=True))
    # Protobuf messages add up.
    blocks = encode_blocks([(A, b"a"), (B, b"\xa0")])
    found = decode(encode(wants=wants, full=True, have=[A], dont_have=[B]) + blocks)
    assert found.wants == wants and found.full
    assert found.blocks == ((A, b"a"), (B, b"\xa0")) and found.block_bytes == 2
    assert (found.have, found.dont_have) == ((A,), (B,))
    assert decode(b"") == decode(encode()) and decode(b"").wants == ()


def test_older_versions_get_what_they_know():
    wants = [Want(A, send_dont_have=True), Want(B, have_only=True)]
    for protocol in PROTOCOLS[1:]:
        packed = Packed.FromString(
            encode(wants=wants, have=[A], dont_have=[B], protocol=protocol)
            + encode_blocks([(A, b"a")], protocol)
        )
        assert [entry.block for entry in packed.wantlist.entries] == [A], "HAVE is unknown to it"
        assert not packed.wantlist.entries[0].sendDontHave and not packed.blockPresences
        bare = protocol in PROTOCOLS[2:]
        assert [list(packed.blocks), len(packed.payload)] == ([[b"a"], 0] if bare else [[], 1])
        found = decode(packed.SerializeToString())
        assert (found.bare if bare else found.blocks) == (((A[4:], b"a"),) if bare else ((A, b"a"),))


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 16_383, 16_384, MAX_BLOCK_BYTES])
def test_blocks_by_hand_are_as_protobuf_has_them(size):
    block = bytes(size)
    packed = Packed(payload=[Packed.Block(prefix=A[:4], data=block)] * 2)
    found = Packed.FromString(encode_blocks([(raw_cid(block), block)] * 2))
    assert found == packed and found.SerializeToString() == packed.SerializeToString()
    bare = Packed.FromString(encode_blocks([(raw_cid(block), block)], PROTOCOLS[3]))
    assert bare == Packed(blocks=[block])


def test_a_block_is_what_its_bytes_are():
    """Whatever the sender says: nothing names a block but its own hash."""
    packed = Packed()
    packed.payload.add(prefix=A[:4], data=b"not a")
    assert decode(packed.SerializeToString()).blocks == ((raw_cid(b"not a"), b"not a"),)


@pytest.mark.parametrize(
    "cid", [A, B, SHA512, V0, b"\x01\xb2\x25\x12\x20" + bytes(32), b"\x01\x55\x13\x80\x01" + bytes(128)]
)
def test_wants_of_other_content_are_no_fault(cid):
    check_wanted(cid)
    assert decode(encode(wants=[Want(cid)])).wants == (Want(cid),)


def test_why_others_are_not_served():
    assert why_not_served(V0) == "cid-v0" and why_not_served(SHA512) == "unknown-hash"
    assert why_not_served(b"\x01\xb2\x25\x12\x20" + bytes(32)) == "unknown-codec"
    assert why_not_served(b"\x01\x55\x12\x10" + bytes(16)) == "odd-cid"


@pytest.mark.parametrize(
    "cid",
    [
        b"",
        b"x",
        b"\x01",
        b"\x00\x55\x12\x20" + bytes(32),
        b"\x02\x55\x12\x20" + bytes(32),
        A[:-1],
        A + b"x",
        V0 + b"x",
        b"\x01\x55\x00\x00",
        b"\x01\x55\x00\x05hello",
        b"\x01\x55\x00\xc8\x01" + bytes(200),
        b"\x01\x55\x13\x81\x01" + bytes(129),
        b"\xff" * 40,
        b"\x01" + b"\xff" * 60,
    ],
)
def test_what_no_honest_peer_wants_is_refused(cid):
    with pytest.raises(RemoteFault, match="bad-want"):
        decode(encode(wants=[Want(cid)]))


def test_bounds():
    def refused(packed: Packed) -> str:
        with pytest.raises(RemoteFault) as caught:
            decode(packed.SerializeToString())
        return caught.value.code

    many = Packed()
    many.wantlist.entries.extend([Packed.Wantlist.Entry(block=A)] * (MAX_ENTRIES + 1))
    assert refused(many) == "wantlist-too-big"
    many = Packed(blockPresences=[Packed.BlockPresence(cid=A)] * (MAX_ENTRIES + 1))
    assert refused(many) == "wantlist-too-big"
    assert refused(Packed(blocks=[b""] * (MAX_BLOCKS + 1))) == "too-many-blocks"
    large = bytes(MAX_BLOCK_BYTES + 1)
    assert refused(Packed(blocks=[large])) == "block-too-big"
    assert refused(Packed(payload=[Packed.Block(prefix=A[:4], data=large)])) == "block-too-big"
    for prefix in (b"", b"\x01", b"\x01\x55\x13\x40", b"\x01\x55\x00\x20", b"\x01\x55\x12\x10", V0[:2]):
        assert refused(Packed(payload=[Packed.Block(prefix=prefix, data=b"x")])) == "bad-block-prefix"
    whole = encode(wants=[Want(cid_of(RAW, bytes([i]))) for i in range(9)])
    for end in (1, 7, len(whole) - 1):
        with pytest.raises(RemoteFault, match="bad-protobuf"):
            decode(whole[:end])


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(data):
    try:
        decode(data)
    except RemoteFault:
        pass
