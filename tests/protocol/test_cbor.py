"""dag-cbor, strictly: equal to the `dag-cbor` package byte for byte, and nothing but the one encoding is taken.

The tables follow the rules of the published fixtures (https://github.com/ipld/codec-fixtures and the strictness
section of https://ipld.io/specs/codecs/dag-cbor/spec/), less floats, which we leave out on purpose.
"""

import cbor2
import dag_cbor
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multiformats import CID
from swarmd.protocol.cbor import Link, decode, encode, encode_ordered, size_of
from swarmd.protocol.cids import DAG_CBOR, DAG_PB, RAW, cid_of
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.limits import MAX_NESTING

LINK = Link(cid_of(DAG_CBOR, b"fixture"))
LINK_HEX = "d82a582500" + LINK.hex()

links = st.builds(
    lambda codec, data: Link(cid_of(codec, data)),
    st.sampled_from((RAW, DAG_PB, DAG_CBOR)),
    st.binary(max_size=4),
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 64), (1 << 64) - 1)
    | st.sampled_from([0, 23, 24, 255, 256, 65_535, 65_536, (1 << 32) - 1, 1 << 32, -1, -24, -25, -256, -257])
    | st.text(max_size=40)
    | st.binary(max_size=40)
    | links
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=12), inner, max_size=5),
    max_leaves=24,
)


def for_dag_cbor(value):
    """Our value as the other package wants it: links as its CID objects."""
    if type(value) is Link:
        return CID.decode(bytes(value))
    if type(value) is list:
        return [for_dag_cbor(item) for item in value]
    if type(value) is dict:
        return {key: for_dag_cbor(item) for key, item in value.items()}
    return value


def from_dag_cbor(value):
    if isinstance(value, CID):
        return Link(bytes(value))
    if isinstance(value, list):
        return [from_dag_cbor(item) for item in value]
    if isinstance(value, dict):
        return {key: from_dag_cbor(item) for key, item in value.items()}
    return value


def same(one, other) -> bool:
    """Equal in type too: 1 is not True, and a link is no byte string."""
    if type(one) is not type(other):
        return False
    if type(one) is list:
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is dict:
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


@settings(max_examples=150, deadline=None)
@given(values)
def test_equal_to_the_dag_cbor_package_both_ways(value):
    data = encode(value)
    assert data == dag_cbor.encode(for_dag_cbor(value))
    assert same(from_dag_cbor(dag_cbor.decode(data)), value)
    assert same(decode(data), value)


@settings(max_examples=100, deadline=None)
@given(values)
def test_what_is_decoded_encodes_without_sorting(value):
    data = encode(value)
    assert encode_ordered(decode(data)) == data


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_the_encoding_of_a_value_or_refused(data):
    try:
        value = decode(data)
    except RemoteFault as fault:
        assert fault.code == "bad-cbor"
    else:
        assert encode(value) == data


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_bytes_near_a_valid_encoding(data):
    """One byte changed, put in, or left out, and cut short: the canonical encoding of a value, or refused."""
    whole = encode(data.draw(values))
    at = data.draw(st.integers(0, len(whole) - 1))
    byte = bytes([data.draw(st.integers(0, 255))])
    for mutant in (
        whole[:at] + byte + whole[at + 1 :],
        whole[:at] + byte + whole[at:],
        whole[:at] + whole[at + 1 :],
        whole[:at],
    ):
        try:
            value = decode(mutant)
        except RemoteFault:
            continue
        assert encode(value) == mutant


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=4)
        | st.binary(max_size=4)
        | st.datetimes().map(str),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.integers() | st.text(max_size=3) | st.binary(max_size=3), inner, max_size=3)
            | st.builds(cbor2.CBORTag, st.integers(0, 300), inner)
        ),
        max_leaves=8,
    )
)
def test_any_cbor_of_a_general_encoder(value):
    """Well-formed CBOR with floats, bignums, tags and other keys: ours only where it is canonical dag-cbor."""
    data = cbor2.dumps(value)
    try:
        taken = decode(data)
    except RemoteFault:
        return
    assert encode(taken) == data


GOOD = {
    "f6": None, "f5": True, "f4": False, "00": 0, "17": 23, "1818": 24, "18ff": 255, "190100": 256, "20": -1, "37": -24,
    "3818": -25, "1bffffffffffffffff": (1 << 64) - 1, "3bffffffffffffffff": -(1 << 64), "1b0020000000000000": 1 << 53,
    "40": b"", "43616263": b"abc", "60": "", "63e0b18a": "\u0c4a", "64f09f9880": "\U0001f600", "80": [], "a0": {},
    "82f6f5": [None, True], "a2616101626161f6": {"a": 1, "aa": None}, "a26162016261 6102": {"b": 1, "aa": 2},
    LINK_HEX: LINK, "81" + LINK_HEX: [LINK], "58" + "18" + "00" * 24: bytes(24),
}  # fmt: skip


@pytest.mark.parametrize("data", GOOD)
def test_fixtures_that_are_taken(data):
    raw = bytes.fromhex(data.replace(" ", ""))
    assert same(decode(raw), GOOD[data])
    assert encode(GOOD[data]) == raw


BAD = {
    "nothing": "",
    "trailing bytes": "0000",
    "two values": "f6f6",
    "integer not minimal, 1 byte": "1817",
    "integer not minimal, 2 bytes": "1900ff",
    "integer not minimal, 4 bytes": "1a0000ffff",
    "integer not minimal, 8 bytes": "1b00000000ffffffff",
    "negative not minimal": "3817",
    "bytes length not minimal": "580100",
    "text length not minimal": "780161",
    "list length not minimal": "9801f6",
    "map length not minimal": "b8016161f6",
    "tag number not minimal": "d9002a" + LINK_HEX[4:],
    "link length not minimal": "d82a590025" + LINK_HEX[8:],
    "indefinite bytes": "5f4101ff",
    "indefinite text": "7f6161ff",
    "indefinite list": "9f01ff",
    "indefinite map": "bf616101ff",
    "break alone": "ff",
    "half float": "f93c00",
    "single float": "fa3f800000",
    "double float": "fb3ff0000000000000",
    "float where an int is meant": "a1616efb4000000000000000",
    "NaN": "f97e00",
    "infinity": "f97c00",
    "undefined": "f7",
    "simple 0": "e0",
    "simple 19": "f3",
    "simple 32 in one byte": "f820",
    "simple true in two bytes": "f815",
    "reserved additional information": "1c",
    "positive bignum": "c249010000000000000000",
    "negative bignum": "c349010000000000000000",
    "small bignum": "c24101",
    "duplicate key": "a2616101616102",
    "keys bytewise, not length first": "a262616101616202",
    "keys of one length unsorted": "a2616201616102",
    "integer key": "a10102",
    "bytes key": "a1416102",
    "null key": "a1f602",
    "list key": "a18002",
    "map key": "a1a002",
    "link key": "a1" + LINK_HEX + "01",
    "true and 1 as keys": "a2f50101 02",
    "link without the zero byte": "d82a5824" + LINK.hex(),
    "link with another first byte": "d82a582501" + LINK.hex(),
    "link that is text": "d82a6161",
    "link that is a list": "d82a80",
    "link that is null": "d82af6",
    "link within a link": "d82a" + LINK_HEX,
    "empty link": "d82a40",
    "link of zero byte alone": "d82a4100",
    "link cut short": "d82a582400" + LINK.hex()[:-2],
    "link too long": "d82a582600" + LINK.hex() + "00",
    "CIDv0": "d82a5823001220" + "11" * 32,
    "CIDv1 with sha2-512": "d82a58450001711340" + "11" * 64,
    "CIDv1 with identity hash": "d82a46000171000161",
    "CIDv1 of a codec we do not serve": "d82a582500" + "0151" + LINK.hex()[4:],
    "date": "c074323031332d30332d32315432303a30343a30305a",
    "epoch time": "c11a514b67b0",
    "decimal fraction": "c48221196ab3",
    "shareable": "d81c80",
    "reference to a shareable": "82d81c80d81d00",
    "cycle": "d81c81d81d00",
    "string reference": "d9010081d81900",
    "set": "d9010281 01",
    "self-described": "d9d9f7f6",
    "unknown tag": "d903e8f6",
    "tag 43": "d82bf6",
    "text not UTF-8": "62c328",
    "surrogate in UTF-8": "63eda080",
    "overlong UTF-8": "62c080",
    "list of a length that is not there": "9b00000000ffffffff",
    "list of a length beyond memory": "9bffffffffffffffff",
    "bytes of a length that is not there": "5b7fffffffffffffff",
    "text of a length that is not there": "7b00000000ffffffff",
    "map of a length that is not there": "bb00000000ffffffff",
    "map with a key and no value": "a16161",
}


@pytest.mark.property_id("P10")
@pytest.mark.parametrize("name", BAD)
def test_fixtures_that_are_refused(name):
    with pytest.raises(RemoteFault) as caught:
        decode(bytes.fromhex(BAD[name].replace(" ", "")))
    assert caught.value.code == "bad-cbor"


@pytest.mark.parametrize(
    ("core", "depth"), [(None, 0), (b"x" * 36, 0), (LINK, 1), ([], 1), ({}, 1), ({"a": LINK}, 2)]
)
def test_nesting_is_bounded_alike_on_both_sides(core, depth):
    """Lists, maps and tags count: what we can encode, everybody can decode."""
    deepest = core
    for _ in range(MAX_NESTING - depth):
        deepest = [deepest]
    assert same(decode(encode(deepest)), deepest)
    with pytest.raises(LocalFault):
        encode([deepest])
    with pytest.raises(RemoteFault):
        decode(b"\x81" + encode(deepest))


@pytest.mark.property_id("P10")
@pytest.mark.parametrize("opening", [b"\x81", b"\xa1\x61a", b"\xd8\x2a", b"\xd8\x1c", b"\x82\x81"])
def test_a_tower_of_openings_ends_in_a_fault(opening):
    with pytest.raises(RemoteFault):
        decode(opening * 200_000)


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        1 << 64,
        -(1 << 64) - 1,
        {1: 2},
        {b"a": 1},
        {None: 1},
        {"a": 1.5},
        [object()],
        {1},
        "\ud800",
        {"\udfff": 1},
        bytearray(b"a"),
        3j,
    ],
)
def test_what_we_may_not_encode_is_our_callers_fault(value):
    with pytest.raises(LocalFault) as caught:
        encode(value)
    assert caught.value.code == "not-dag-cbor"


def test_keys_are_sorted_by_length_first():
    assert encode({"bb": 1, "a": 2, "c": 3, "aaa": 4, "\u00e9": 5}) == bytes.fromhex(
        "a5616102616303626262 01 62c3a905 6361616104".replace(" ", "")
    )


@given(values)
def test_the_size_is_that_of_the_encoding(value):
    raw = encode(value)
    assert size_of(decode(raw)) == len(raw)


@pytest.mark.parametrize("length", [0, 23, 24, 255, 256, 65_535, 65_536])
def test_sizes_around_the_heads_of_cbor(length):
    found = ["t" * length, b"b" * length, [None] * length, length, -1 - length, "\u00e9" * length]
    keys = {f"{number:05d}": 0 for number in range(length)}
    assert [size_of(each) for each in [*found, keys]] == [len(encode(each)) for each in [*found, keys]]


@given(values, st.data())
def test_what_is_taken_is_what_encoding_it_again_gives(value, data):
    """The size alone decides about minimal heads and what comes after: no bytes but the canonical ones pass."""
    raw = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 1))] = data.draw(st.binary(max_size=2))
    try:
        found = decode(bytes(raw))
    except RemoteFault:
        return
    assert encode(found) == bytes(raw)
