"""Batches, flushes, seals and proofs: what is signed is what is taken, and nothing else is."""

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.protocol import limits, merkle
from swarmd.protocol.batch import (
    FRAME_FLUSH,
    GENESIS_PREV,
    Batch,
    Seal,
    batch_to_list,
    encode_flush,
    parse_flush,
    parse_sealed,
    proof_from_list,
    prove,
    reload_batch,
    sealed_envelopes,
    sign_flush,
    verify_proof,
)
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.envelope import bucket_of
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.identity.manifest import MAX_MANIFEST_BYTES, parse_manifest, sign_manifest

MESH = b"m" * 32
START_NS = 1_760_000_000 * limits.S_NS


@pytest.fixture(scope="session")
def spoken(author_of):
    """(author, frame, batches): three batches of one, two and three envelopes of three threads."""
    ann = author_of("ann")
    groups = [[ann.envelope(thread=ann.thread(seq)) for _ in range(seq + 1)] for seq in range(3)]
    frame, batches = ann.flush(*groups)
    return ann, frame, batches


def refused(call, code=None):
    with pytest.raises(RemoteFault) as caught:
        call()
    if code is not None:
        assert caught.value.code == code


def signed_by(author, header_fields, envelopes):
    """A flush whose header says whatever a test wants; the signature is good."""
    header = encode({
        "v": 1, "seq": 0, "prev": GENESIS_PREV, "root": merkle.root_of([e.id for e in envelopes]), "count": len(envelopes),
        "epoch": 0, "author": author.did, "bucket": bucket_of(author.thread()), **header_fields,
    })  # fmt: skip
    root = merkle.root_of([header])
    signature = author.sign(b"swarmd/flush/1\0" + MESH + root + (1).to_bytes(4, "big"))
    return [FRAME_FLUSH, signature, [[header, [e.raw for e in envelopes]]]]


def test_a_flush_comes_in_as_it_went_out(spoken):
    ann, frame, batches = spoken
    again = parse_flush(MESH, decode(frame))
    assert again == batches
    assert [b.envelopes for b in again] == [b.envelopes for b in batches]
    assert encode_flush(again) == frame
    assert all(b.author == ann.did and b.seq == 0 and b.prev == GENESIS_PREV for b in again)


def test_a_sealed_batch_stands_alone(spoken):
    _, _, batches = spoken
    for batch in batches:
        value = decode(encode(batch_to_list(batch)))
        assert parse_sealed(MESH, value) == batch
        assert reload_batch(value) == batch


def test_one_signature_is_verified_once_per_exchange(spoken, monkeypatch):
    import nacl.bindings

    checked = []
    real = nacl.bindings.crypto_sign_open
    monkeypatch.setattr(nacl.bindings, "crypto_sign_open", lambda *args: checked.append(1) or real(*args))
    _, _, batches = spoken
    verified: set[bytes] = set()
    for batch in batches:
        parse_sealed(MESH, batch_to_list(batch), verified)
    assert len(checked) == 1
    forged = batch_to_list(batches[0])
    forged[2] = [bytes(64), *forged[2][1:]]
    refused(lambda: parse_sealed(MESH, forged, verified), "bad-signature")


def test_proofs_of_single_envelopes(spoken):
    _, _, batches = spoken
    for batch in batches:
        for index, envelope in enumerate(batch.envelopes):
            proof = proof_from_list(decode(encode(prove(batch, index).to_list())))
            assert proof == prove(batch, index)
            assert verify_proof(MESH, proof) == envelope
            refused(lambda proof=proof: verify_proof(b"n" * 32, proof), "bad-signature")


def test_chains_go_on_from_flush_to_flush(author_of):
    ann = author_of("ann")
    first = ann.flush([ann.envelope()])[1][0]
    second = ann.flush([ann.envelope()])[1][0]
    assert (second.seq, second.prev) == (1, first.hash)


@pytest.mark.parametrize("count", [0, limits.MAX_BATCHES_PER_FLUSH + 1])
def test_our_own_flush_of_a_wrong_size(author_of, count):
    ann = author_of("ann")
    envelope = ann.envelope()
    groups = [
        (0, bucket_of(envelope.thread), i, b"p" * 32 if i else GENESIS_PREV, [envelope]) for i in range(count)
    ]
    with pytest.raises(LocalFault):
        sign_flush(MESH, ann.did, groups, ann.sign)


def test_the_fullest_flush(author_of):
    ann = author_of("ann")
    groups = [[ann.envelope(thread=ann.thread(seq))] for seq in range(300)]
    by_bucket = {bucket_of(group[0].thread): group for group in groups}
    frame, batches = ann.flush(
        *list(by_bucket.values())[: limits.MAX_BATCHES_PER_FLUSH - 1],
        [ann.envelope(thread=ann.thread(500)) for _ in range(limits.MAX_ENVELOPES_PER_BATCH)],
    )
    assert parse_flush(MESH, decode(frame)) == batches


HEADERS = [
    ({"v": 2}, "bad-version"),
    ({"v": True}, "bad-batch"),
    ({"seq": 1}, "bad-batch"),  # and prev zero
    ({"prev": b"p" * 32}, "bad-batch"),  # and seq 0
    ({"prev": bytes(31)}, "bad-batch"),
    ({"seq": -1}, "bad-batch"),
    ({"seq": 1 << 62, "prev": b"p" * 32}, "bad-batch"),
    ({"root": bytes(32)}, "bad-batch"),
    ({"root": "x" * 32}, "bad-batch"),
    ({"count": 0}, "bad-batch"),
    ({"count": 2}, "bad-batch"),
    ({"count": limits.MAX_ENVELOPES_PER_BATCH + 1}, "bad-batch"),
    ({"epoch": 1}, "bucket-mismatch"),
    ({"epoch": None}, "bad-batch"),
    ({"bucket": 256}, "bad-batch"),
    ({"bucket": False}, "bad-batch"),
    ({"author": None}, "bad-did"),
    ({"author": ["did"]}, "bad-did"),
    ({"author": {}}, "bad-did"),
    ({"author": "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"}, "bad-signature"),
    ({"more": 1}, "bad-batch"),
]


@pytest.mark.property_id("P10")
@pytest.mark.parametrize(("change", "code"), HEADERS)
def test_a_wrong_header_even_when_signed(author_of, change, code):
    ann = author_of("ann")
    refused(lambda: parse_flush(MESH, signed_by(ann, change, [ann.envelope()])), code)


def test_a_header_in_another_bucket(author_of):
    ann = author_of("ann")
    wrong = (bucket_of(ann.thread()) + 1) % 256
    flush = signed_by(ann, {"bucket": wrong}, [ann.envelope()])
    refused(lambda: parse_flush(MESH, flush), "bucket-mismatch")


def test_a_proof_of_an_envelope_in_another_bucket(author_of):
    """Signed, and in the batch; but no node takes such a batch, so it proves nothing that counts."""
    ann = author_of("ann")
    envelope = ann.envelope()
    wrong = (bucket_of(ann.thread()) + 1) % 256
    _, (batch,) = sign_flush(MESH, ann.did, [(0, wrong, 0, GENESIS_PREV, [envelope])], ann.sign)
    refused(lambda: verify_proof(MESH, prove(batch, 0)), "bucket-mismatch")


def test_anothers_envelope_in_ones_batch(author_of):
    ann, bob = author_of("ann"), author_of("bob")
    stolen = bob.envelope(thread=ann.thread())
    refused(lambda: parse_flush(MESH, signed_by(ann, {}, [stolen])), "sender-mismatch")
    _, (batch,) = sign_flush(
        MESH, ann.did, [(0, bucket_of(ann.thread()), 0, GENESIS_PREV, [stolen])], ann.sign
    )
    refused(lambda: verify_proof(MESH, prove(batch, 0)), "sender-mismatch")
    refused(lambda: parse_sealed(MESH, batch_to_list(batch)), "sender-mismatch")


def test_one_flush_one_author(author_of):
    ann, bob = author_of("ann"), author_of("bob")
    one = decode(ann.flush([ann.envelope()])[0])
    other = decode(bob.flush([bob.envelope()])[0])
    refused(lambda: parse_flush(MESH, [1, one[1], [*one[2], *other[2]]]), "bad-flush")


def test_another_mesh_another_signature(spoken):
    _, frame, batches = spoken
    refused(lambda: parse_flush(b"n" * 32, decode(frame)), "bad-signature")
    refused(lambda: parse_sealed(b"n" * 32, batch_to_list(batches[0])), "bad-signature")


def test_a_manifest_signature_signs_no_flush(author_of):
    """The domain separates: the very bytes of a flush, signed as something else, are not signed as a flush."""
    ann = author_of("ann")
    flush = decode(ann.flush([ann.envelope()])[0])
    root = merkle.root_of([flush[2][0][0]])
    flush[1] = ann.sign(b"swarmd/manifest/1\0" + MESH + root + (1).to_bytes(4, "big"))
    refused(lambda: parse_flush(MESH, flush), "bad-signature")


SHAPES = [
    None, 1, "x", [], {}, [1], [1, b"s" * 64], [2, b"s" * 64, []], [1, b"s" * 64, []], [1, b"s" * 64, {}], [1, b"s" * 64, [1]], [True, b"s" * 64, [[b"", []]]],
    [1, b"s" * 64, [[]]], [1, b"s" * 64, [[b""]]], [1, b"s" * 64, [[b"", []]]], [1, b"s" * 64, [["h", []]]], [1, b"s" * 64, [[b"\xa0", []]]],
    [1, b"s" * 64, [[b"\xf6" * 600, []]]], [1, b"s" * 64, [[b"", []]] * (limits.MAX_BATCHES_PER_FLUSH + 1)], [1, b"s" * 64, [[b"", [], []]]],
]  # fmt: skip


@pytest.mark.property_id("P10")
@pytest.mark.parametrize("value", SHAPES)
def test_what_has_no_shape_at_all(value):
    for take in (parse_flush, parse_sealed, parse_manifest):
        refused(lambda take=take: take(MESH, value))
    refused(lambda: proof_from_list(value))


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65), None, "s" * 64, 5, []])
def test_a_signature_of_another_shape(spoken, signature):
    _, frame, batches = spoken
    value = decode(frame)
    refused(lambda: parse_flush(MESH, [1, signature, value[2]]), "bad-signature")
    header, envelopes, seal = batch_to_list(batches[0])
    refused(lambda: parse_sealed(MESH, [header, envelopes, [signature, *seal[1:]]]))


@pytest.mark.property_id("P10")
@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("value", [None, -1, 1 << 63, True, b"x", [], [b"x"], [bytes(32)] * 9, "x", {}])
def test_a_seal_of_another_shape(spoken, place, value):
    _, _, batches = spoken
    header, envelopes, seal = batch_to_list(batches[1])
    seal[place] = value
    refused(lambda: parse_sealed(MESH, [header, envelopes, seal]))
    proof = prove(batches[1], 0).to_list()
    proof[5] = seal
    refused(lambda: verify_proof(MESH, proof_from_list(proof)))


@pytest.mark.property_id("P10")
@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("value", [None, -1, 1, 2, 1 << 63, True, b"x", [], [b"x"], [bytes(32)] * 9, "x", {}])
def test_a_proof_of_another_shape(spoken, place, value):
    _, _, batches = spoken
    proof = prove(batches[2], 0).to_list()
    if proof[place] == value and type(proof[place]) is type(value):
        return
    proof[place] = value
    refused(lambda: verify_proof(MESH, proof_from_list(proof)))


def test_envelopes_left_out_swapped_or_doubled(spoken):
    _, frame, _ = spoken
    signature, body = decode(frame)[1:]
    header, raws = body[2]
    for wrong in (
        raws[:2],
        [*raws, raws[0]],
        [raws[1], raws[0], raws[2]],
        [raws[0], raws[0], raws[2]],
        [],
        None,
        {},
        [1, 2, 3],
    ):
        refused(
            lambda wrong=wrong: parse_flush(MESH, [1, signature, [*body[:2], [header, wrong]]]), "bad-batch"
        )
    for wrong in (body[:2], body[::-1], [*body, body[0]]):
        refused(lambda wrong=wrong: parse_flush(MESH, [1, signature, wrong]), "bad-signature")


def test_no_batch_passes_as_part_of_another_flush(author_of):
    ann = author_of("ann")
    _, (one, other) = ann.flush([ann.envelope()], [ann.envelope(thread=ann.thread(1))])
    header, envelopes, seal = batch_to_list(one)
    for wrong in (
        [*seal[:1], 1, *seal[2:]],
        [*seal[:2], 3, seal[3]],
        [*seal[:3], [*seal[3], *seal[3]]],
        [*seal[:3], []],
        other.seal.to_list(),
    ):
        refused(lambda wrong=wrong: parse_sealed(MESH, [header, envelopes, wrong]))


def mutate(data, raw: bytes) -> bytes:
    mutant = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(mutant) - 1))
        match data.draw(st.sampled_from(["flip", "insert", "delete", "truncate", "swap"])):
            case "flip":
                mutant[at] ^= 1 << data.draw(st.integers(0, 7))
            case "insert":
                mutant.insert(at, data.draw(st.integers(0, 255)))
            case "delete" if len(mutant) > 1:
                del mutant[at]
            case "truncate" if at:
                del mutant[at:]
            case "swap":
                other = data.draw(st.integers(0, len(mutant) - 1))
                mutant[at], mutant[other] = mutant[other], mutant[at]
    return bytes(mutant)


@pytest.fixture(scope="session")
def signed_things(spoken):
    """name -> (bytes, how a receiver takes them). All of each is under a signature."""
    ann, frame, batches = spoken
    manifest = sign_manifest(
        MESH, ann.did, START_NS, {"text.count": 5}, ("verifier",), ("/ip4/127.0.0.1/tcp/1",), ann.sign
    )
    return {
        "flush": (frame, lambda value: parse_flush(MESH, value)),
        "sealed": (encode(batch_to_list(batches[1])), lambda value: parse_sealed(MESH, value)),
        "proof": (
            encode(prove(batches[2], 1).to_list()),
            lambda value: verify_proof(MESH, proof_from_list(value)),
        ),
        "manifest": (manifest.frame(), lambda value: parse_manifest(MESH, value)),
    }


@pytest.mark.property_id("P10")
@settings(max_examples=600, deadline=None)
@given(st.sampled_from(["flush", "sealed", "proof", "manifest"]), st.data())
def test_no_mutant_of_what_is_signed_is_taken(signed_things, name, data):
    """The encoding is canonical and the signature covers all of it, so no other bytes say the same."""
    raw, take = signed_things[name]
    mutant = mutate(data, raw)
    if mutant == raw:
        return
    with pytest.raises(RemoteFault):
        take(decode(mutant))


def splice(data, value):
    """The decoded value with one place replaced by another value of its own or by a small one."""
    places = []

    def walk(inner, path):
        places.append((path, inner))
        if type(inner) is list:
            for position, item in enumerate(inner):
                walk(item, (*path, position))

    walk(value, ())
    path, old = data.draw(st.sampled_from(places))
    new = data.draw(
        st.sampled_from([place[1] for place in places])
        | st.sampled_from([None, 0, 1, -1, 1 << 63, b"", b"\xa0", "", [], {}, True])
    )
    if not path:
        return new, new == old

    def put(inner, rest):
        return (
            [put(item, rest[1:]) if position == rest[0] else item for position, item in enumerate(inner)]
            if rest
            else new
        )

    return put(value, path), new == old and type(new) is type(old)


@pytest.mark.property_id("P10")
@settings(max_examples=400, deadline=None)
@given(st.sampled_from(["flush", "sealed", "proof", "manifest"]), st.data())
def test_no_other_structure_is_taken(signed_things, name, data):
    raw, take = signed_things[name]
    value, equal = splice(data, decode(raw))
    if equal:
        return
    refused(lambda: take(value))


@pytest.mark.parametrize(
    "change",
    [
        {"did": "x"},
        {"issued_ns": -1},
        {"offers": {"Bad Name": 1}},
        {"offers": {"a": -1}},
        {"roles": ["x" * 33]},
        {"addrs": ["a"] * 17},
        {"more": 1},
    ],
)
def test_a_manifest_of_another_shape_even_when_signed(author_of, change):
    ann = author_of("ann")
    good = sign_manifest(MESH, ann.did, 1, {"a": 1}, (), (), ann.sign)
    raw = encode({**decode(good.raw), **change})
    refused(lambda: parse_manifest(MESH, [2, raw, ann.sign(b"swarmd/manifest/1\0" + MESH + raw)]))


def test_a_manifest_too_big():
    refused(lambda: parse_manifest(MESH, [2, b"\xa0" * (MAX_MANIFEST_BYTES + 1), bytes(64)]), "bad-manifest")


def test_a_proof_counts_as_its_header_does(spoken):
    """Leaf 0 of 3 and of 4 have paths of one length: the count is checked for itself."""
    _, _, batches = spoken
    proof = prove(batches[2], 0).to_list()
    proof[2] = 4
    refused(lambda: verify_proof(MESH, proof_from_list(proof)), "bad-proof")


def test_values_are_what_they_seem(spoken):
    _, _, batches = spoken
    assert isinstance(batches[0], Batch)
    assert isinstance(batches[0].seal, Seal)
    assert len({batch.hash for batch in batches}) == 3


def test_sealed_envelopes_are_those_of_the_batch_encoded(spoken):
    _, _, batches = spoken
    for batch in batches:
        found = sealed_envelopes(decode(encode(batch_to_list(batch))), batch.hash)
        assert found == tuple((envelope.id, envelope.raw) for envelope in batch.envelopes)


def test_sealed_envelopes_that_are_others_or_of_another_batch_are_refused(spoken):
    _, _, batches = spoken
    header, raws, seal = batch_to_list(batches[0])
    for wrong in (raws[:-1], [*raws, raws[0]], [raws[0] + b"\0", *raws[1:]]):
        refused(partial(sealed_envelopes, [header, wrong, seal], batches[0].hash), "bad-batch")
    refused(partial(sealed_envelopes, [header, raws, seal], batches[1].hash), "bad-batch")
