"""did:key against the Ed25519 test vectors of the W3C CCG method and against `base58` and `multiformats`."""

import base58
import nacl.signing
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multiformats import multibase, multicodec
from swarmd.protocol.didkey import did_of, public_key_of
from swarmd.protocol.faults import RemoteFault

# https://w3c-ccg.github.io/did-key-spec/ (test vectors, Ed25519): the seed is the private key's 32 bytes.
VECTORS = {
    "0000000000000000000000000000000000000000000000000000000000000000": "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
    "0000000000000000000000000000000000000000000000000000000000000001": "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG",
    "0000000000000000000000000000000000000000000000000000000000000002": "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf",
}


@pytest.mark.parametrize("seed", VECTORS)
def test_w3c_vectors(seed):
    public_key = bytes(nacl.signing.SigningKey(bytes.fromhex(seed)).verify_key)
    assert did_of(public_key) == VECTORS[seed]
    assert public_key_of(VECTORS[seed]) == public_key


def test_the_key_of_the_first_vector():
    public_key = bytes.fromhex("3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29")
    assert public_key_of("did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp") == public_key


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_equal_to_base58_and_multiformats(public_key):
    did = did_of(public_key)
    assert did == "did:key:z" + base58.b58encode(b"\xed\x01" + public_key).decode()
    assert did == "did:key:" + multibase.encode(multicodec.wrap("ed25519-pub", public_key), "base58btc")
    assert public_key_of(did) == public_key


@pytest.mark.parametrize("public_key", [bytes(32), b"\xff" * 32])
def test_the_ends_of_the_range(public_key):
    assert public_key_of(did_of(public_key)) == public_key


GOOD = VECTORS["00" * 32]


@pytest.mark.property_id("P10")
@pytest.mark.parametrize(
    "did",
    ["", "did:key:z", GOOD[:-1], GOOD + "1", GOOD.upper(), "did:web:example.org", GOOD.replace("z6Mk", "z1Mk"), GOOD[:-1] + "0", GOOD[:-1] + "l",
     GOOD[:-1] + "\u00e9", GOOD.replace("did:key:z", "did:key:m"), GOOD + "#" + GOOD[8:], " " + GOOD[:-1], "did:key:z" + "1" * 47, "did:key:z" + "z" * 47,
     "did:key:z" + base58.b58encode(b"\xec\x01" + bytes(32)).decode(),  # X25519
     "did:key:z" + base58.b58encode(b"\xe7\x01" + bytes(33)).decode(),  # secp256k1
     None, 5, b"did:key:z", [GOOD], {"a": 1}, ("did",), True],
)  # fmt: skip
def test_anything_else_is_refused(did):
    with pytest.raises(RemoteFault) as caught:
        public_key_of(did)
    assert caught.value.code == "bad-did"


@settings(max_examples=200, deadline=None)
@given(st.text("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", min_size=43, max_size=43))
def test_one_key_has_one_text(tail):
    did = "did:key:z6Mk" + tail + "a"
    try:
        public_key = public_key_of(did)
    except RemoteFault:
        return
    assert did_of(public_key) == did


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_size(size):
    with pytest.raises(RemoteFault):
        did_of(bytes(size))
