"""CIDv1 by hand against the `multiformats` package and the fixed points of the CID specification."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multiformats import CID
from swarmd.protocol import cids
from swarmd.protocol.faults import RemoteFault

CODECS = {cids.RAW: "raw", cids.DAG_PB: "dag-pb", cids.DAG_CBOR: "dag-cbor"}


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(CODECS)), st.binary(max_size=100))
def test_equal_to_multiformats(codec, block):
    cid = cids.cid_of(codec, block)
    other = CID("base32", 1, CODECS[codec], ("sha2-256", sha256(block).digest()))
    assert cid == bytes(other)
    assert cids.cid_text(cid) == other.encode("base32") == str(other)
    assert cids.parse_cid(cids.cid_text(cid)) == cid
    assert cids.codec_of(cid) == codec
    assert cids.is_cid(cid)
    assert cids.verify_block(cid, block)
    assert not cids.verify_block(cid, block + b"\0")


def test_known_cids():
    # The raw block "hello world" and the empty dag-cbor map, as any IPFS tool prints them.
    assert (
        cids.cid_text(cids.raw_cid(b"hello world"))
        == "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
    )
    assert (
        cids.cid_text(cids.dag_cbor_cid(b"\xa0"))
        == "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua"
    )


GOOD = cids.cid_text(cids.raw_cid(b"x"))
QM = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnHGPq"


@pytest.mark.property_id("P10")
@pytest.mark.parametrize(
    "text",
    ["", "b", GOOD[:-1], GOOD + "a", GOOD.upper(), "B" + GOOD[1:], "z" + GOOD[1:], GOOD[:-1] + "1", GOOD[:-1] + "\u00e9", QM, " " + GOOD[:-1],
     GOOD[:-1] + "=", cids.cid_text(b"\x01\x51\x12\x20" + bytes(32)), cids.cid_text(b"\x01\x55\x13\x20" + bytes(32)), None, 5, b"b" * 59],
)  # fmt: skip
def test_any_other_text_is_refused(text):
    with pytest.raises(RemoteFault) as caught:
        cids.parse_cid(text)
    assert caught.value.code == "bad-cid"


def test_one_cid_has_one_text():
    """36 bytes are 57.6 letters: the last one carries two spare bits, which must be zero."""
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    taken = []
    for letter in alphabet:
        try:
            taken.append(cids.parse_cid(GOOD[:-1] + letter))
        except RemoteFault:
            continue
    assert len(taken) == len(set(taken)) == 8


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=70)
    | st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=58, max_size=58).map(lambda body: "b" + body)
)
def test_any_text_prints_again_or_is_refused(text):
    try:
        cid = cids.parse_cid(text)
    except RemoteFault:
        return
    assert cids.cid_text(cid) == text


@pytest.mark.parametrize(
    "value",
    [
        b"",
        bytes(36),
        None,
        "x" * 36,
        b"\x01\x55\x12\x20" + bytes(31),
        b"\x00\x55\x12\x20" + bytes(32),
        b"\x01\x55\x12\x21" + bytes(32),
    ],
)
def test_what_is_no_cid(value):
    assert not cids.is_cid(value)
    if isinstance(value, bytes):
        assert not cids.verify_block(value, b"")
