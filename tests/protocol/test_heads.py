"""The patterns of heads against the decoder: what they take it takes, to the same value, and nothing gets by."""

import dataclasses

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.protocol import limits
from swarmd.protocol.batch import _parse_header, batch_to_list, encode_sealed, sign_flush
from swarmd.protocol.cbor import Link, decode, encode
from swarmd.protocol.cids import DAG_CBOR, DAG_PB, RAW, cid_of
from swarmd.protocol.didkey import public_key_of
from swarmd.protocol.envelope import _parse_at_a_look, parse, parse_by_decoder, trace_of
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.heads import match_batch
from swarmd.protocol.kinds import KINDS

EDGES = [0, 1, 23, 24, 255, 256, 65_535, 65_536, (1 << 32) - 1, 1 << 32, (1 << 62) - 1, 1 << 62, (1 << 62) + 1,
         (1 << 63) - 1, 1 << 63, (1 << 64) - 1]  # fmt: skip
links = st.builds(
    lambda codec, data: Link(cid_of(codec, data)),
    st.sampled_from((RAW, DAG_PB, DAG_CBOR)),
    st.binary(max_size=2),
)


def outcome(parser, raw):
    """Every field of the envelope, or the fault."""
    try:
        envelope = parser(raw)
    except RemoteFault as fault:
        return fault.code, fault.message
    found = {field.name: getattr(envelope, field.name) for field in dataclasses.fields(envelope)}
    return found, [type(ref) for ref in found["refs"]]


def same(raw):
    assert outcome(parse, raw) == outcome(parse_by_decoder, raw)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_known_at_a_look(author_of, payloads_of, kind):
    ann = author_of("ann")
    for payload in payloads_of(ann.did)[kind]:
        for count in (0, 1, 23, 24, limits.MAX_REFS):
            refs = tuple(Link(cid_of(RAW, b"%d" % number)) for number in range(count))
            envelope = ann.envelope(kind, payload, refs=refs, trace=trace_of(ann.thread(), 1))
            assert _parse_at_a_look(envelope.raw) is not None
            same(envelope.raw)


@given(st.data())
@settings(max_examples=300)
def test_any_field_at_its_edge(author_of, payloads_of, data):
    ann = author_of("ann")
    kind = data.draw(st.sampled_from(KINDS))
    payload = data.draw(st.sampled_from(payloads_of(ann.did)[kind]))
    fields = decode(ann.envelope(kind, payload).raw)
    changes = {
        "lamport": st.sampled_from(EDGES),
        "ts_ns": st.sampled_from(EDGES),
        "epoch": st.sampled_from(EDGES),
        "refs": st.lists(links, max_size=limits.MAX_REFS + 2),
        "trace": st.sampled_from(["", trace_of(ann.thread(), 2), "00-"]),
        "v": st.sampled_from([0, 2]),
        "sender": st.sampled_from([ann.did[:-1] + "1", ann.did[:-1], "did:key:z" + "1" * 47]),
        "thread": st.sampled_from([ann.thread().upper(), ann.thread() + "a"]),
        "kind": st.sampled_from([*KINDS, "PAY"]),
        "payload": st.sampled_from([{}, None, {"task": "t"}]),
        "more": st.just(1),
    }
    for name in data.draw(st.lists(st.sampled_from(sorted(changes)), max_size=3, unique=True)):
        fields[name] = data.draw(changes[name])
    same(encode(fields))


@given(st.data())
@settings(max_examples=600)
def test_any_bytes_come_to_the_same(author_of, payloads_of, data):
    ann = author_of("ann")
    kind = data.draw(st.sampled_from(KINDS))
    refs = tuple(data.draw(st.lists(links, max_size=3, unique=True)))
    payload = data.draw(st.sampled_from(payloads_of(ann.did)[kind]))
    raw = bytearray(ann.envelope(kind, payload, refs=refs, trace=trace_of(ann.thread(), 1)).raw)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    same(bytes(raw))


def longer(number, form):
    """An integer in a longer form than it needs."""
    return bytes((0x18 + form,)) + number.to_bytes(1 << form, "big")


@pytest.mark.parametrize("form", range(4))
@pytest.mark.parametrize("name", ["epoch", "ts_ns", "lamport"])
def test_an_integer_that_is_not_in_its_shortest_form_is_refused(author_of, name, form):
    number = [5, 200, 60_000, 4_000_000_000][form]
    shortest = encode(number)
    envelope = author_of("ann").envelope()
    head = encode(name)
    raw = encode({**decode(envelope.raw), name: number})
    for wider in range(form if form else 0, 4):
        bent = raw.replace(head + shortest, head + longer(number, wider), 1)
        if bent == raw:
            continue
        with pytest.raises(RemoteFault, match="canonical"):
            parse(bent)
        same(bent)


def header_by_decoder(header):
    """What a header was before there was a pattern: its fields, or the code it is refused with."""
    try:
        head = decode(header) if len(header) <= 512 else None
        if type(head) is not dict or tuple(head) != (
            "v",
            "seq",
            "prev",
            "root",
            "count",
            "epoch",
            "author",
            "bucket",
        ):
            return "bad-batch"
        if any(
            type(head[n]) is not int or not 0 <= head[n] < 1 << 62
            for n in ("v", "seq", "count", "epoch", "bucket")
        ):
            return "bad-batch"
        if any(type(head[n]) is not bytes or len(head[n]) != 32 for n in ("prev", "root")):
            return "bad-batch"
        if head["v"] != limits.PROTOCOL_VERSION:
            return "bad-version"
        if head["bucket"] >= limits.BUCKETS or not 1 <= head["count"] <= limits.MAX_ENVELOPES_PER_BATCH:
            return "bad-batch"
        if (head["seq"] == 0) != (head["prev"] == bytes(32)):
            return "bad-batch"
        public_key_of(head["author"])
    except RemoteFault as fault:
        return fault.code
    return {name: value for name, value in head.items() if name != "v"}


def header_now(header):
    try:
        return dataclasses.asdict(_parse_header(header))
    except RemoteFault as fault:
        return fault.code


def header_of(ann, **change):
    fields = {
        "v": 1,
        "seq": 3,
        "prev": b"p" * 32,
        "root": b"r" * 32,
        "count": 2,
        "epoch": 0,
        "author": ann.did,
        "bucket": 7,
    }
    return encode({**fields, **change})


@given(st.data())
@settings(max_examples=400)
def test_headers_come_to_the_same(author_of, data):
    ann = author_of("ann")
    names = data.draw(
        st.lists(st.sampled_from(["v", "seq", "count", "epoch", "bucket"]), max_size=2, unique=True)
    )
    change = {name: data.draw(st.sampled_from([*EDGES, -1, 64, 65, None, True])) for name in names}
    if data.draw(st.booleans()):
        change["prev"] = data.draw(st.sampled_from([bytes(32), bytes(31), b"q" * 32, "p" * 32]))
    if data.draw(st.booleans()):
        change["author"] = data.draw(
            st.sampled_from([ann.did[:-1] + "0", ann.did[:-1], 7, "did:key:z" + "1" * 47])
        )
    raw = bytearray(header_of(ann, **change))
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    assert header_now(bytes(raw)) == header_by_decoder(bytes(raw))


def test_a_header_is_known_at_a_look(author_of):
    ann = author_of("ann")
    for number in EDGES[:11]:
        assert match_batch(header_of(ann, seq=number, epoch=number)) is not None
    assert match_batch(header_of(ann) + b"\x00") is None
    assert match_batch(cbor2.dumps({**decode(header_of(ann)), "seq": -1}, canonical=True)) is None


@given(st.integers(1, 70), st.integers(1, 3))
@settings(max_examples=30)
def test_a_sealed_batch_is_put_together_as_the_encoder_has_it(author_of, batches, each):
    ann = author_of("ann")
    groups = [
        (0, bucket, 0, bytes(32), [ann.envelope() for _ in range(each)])
        for bucket in range(min(batches, limits.MAX_BATCHES_PER_FLUSH))
    ]
    for batch in sign_flush(bytes(32), ann.did, groups, ann.sign)[1]:
        assert encode_sealed(batch) == encode(batch_to_list(batch))
