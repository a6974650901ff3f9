"""Envelopes: one encoding and one id, every field checked, and only RemoteFault for anything else."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.protocol import limits
from swarmd.protocol.cbor import Link, decode, encode
from swarmd.protocol.cids import dag_cbor_cid, raw_cid
from swarmd.protocol.envelope import bucket_of, need_id, parse, trace_of
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.kinds import KINDS

FIELDS = [
    "v",
    "eval",
    "kind",
    "refs",
    "epoch",
    "trace",
    "ts_ns",
    "policy",
    "sender",
    "thread",
    "lamport",
    "payload",
]


def changed(envelope, **fields):
    return encode({**decode(envelope.raw), **fields})


def refused(raw, code):
    with pytest.raises(RemoteFault) as caught:
        parse(raw)
    assert caught.value.code == code


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_goes_out_and_comes_in(author_of, payloads_of, kind):
    ann = author_of("ann")
    for payload in payloads_of(ann.did)[kind]:
        ref = Link(raw_cid(b"parent"))
        envelope = ann.envelope(kind, payload, refs=(ref,), trace=trace_of(ann.thread(), 1))
        again = parse(envelope.raw)
        assert again == envelope
        assert hash(again) == hash(envelope)
        assert again.id == dag_cbor_cid(envelope.raw)
        assert (again.kind, again.payload, again.refs) == (kind, payload, (ref,))
        assert list(decode(envelope.raw)) == FIELDS
        assert encode(decode(envelope.raw)) == envelope.raw


def test_envelopes_are_equal_by_id(author_of):
    ann = author_of("ann")
    one, other = ann.envelope(), ann.envelope()
    assert one != other
    assert one != one.raw
    assert len({one, other, parse(one.raw)}) == 2


LINK = Link(raw_cid(b"x"))
TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
WRONG = [
    ("v", 0, "bad-version"), ("v", 2, "bad-version"), ("v", True, "bad-version"), ("v", None, "bad-version"), ("v", "1", "bad-version"),
    ("kind", "PAY", "unknown-kind"), ("kind", None, "unknown-kind"), ("kind", ["NEED"], "unknown-kind"), ("kind", {}, "unknown-kind"),
    ("thread", "", "bad-envelope"), ("thread", "need-" + "a" * 31, "bad-envelope"), ("thread", "need-" + "A" * 32, "bad-envelope"),
    ("thread", "need-" + "a" * 32 + "\n", "bad-envelope"), ("thread", "need-" + "1" * 32, "bad-envelope"), ("thread", None, "bad-envelope"), ("thread", [], "bad-envelope"),
    ("sender", "", "bad-did"), ("sender", None, "bad-did"), ("sender", [], "bad-did"), ("sender", {"a": []}, "bad-did"), ("sender", b"did", "bad-did"),
    ("lamport", 0, "bad-lamport"), ("lamport", -1, "bad-lamport"), ("lamport", (1 << 62) + 1, "bad-lamport"), ("lamport", True, "bad-lamport"), ("lamport", "1", "bad-lamport"),
    ("ts_ns", -1, "bad-envelope"), ("ts_ns", 1 << 63, "bad-envelope"), ("ts_ns", False, "bad-envelope"), ("ts_ns", None, "bad-envelope"),
    ("epoch", -1, "bad-envelope"), ("epoch", 1 << 62, "bad-envelope"), ("epoch", True, "bad-envelope"),
    ("policy", bytes(31), "bad-envelope"), ("policy", bytes(33), "bad-envelope"), ("policy", "x" * 32, "bad-envelope"), ("policy", None, "bad-envelope"), ("policy", LINK, "bad-envelope"),
    ("eval", b"", "bad-envelope"), ("eval", [0] * 32, "bad-envelope"),
    ("trace", "x", "bad-envelope"), ("trace", TRACE.upper(), "bad-envelope"), ("trace", TRACE + "-", "bad-envelope"), ("trace", TRACE + "\n", "bad-envelope"), ("trace", None, "bad-envelope"),
    ("refs", None, "bad-envelope"), ("refs", {}, "bad-envelope"), ("refs", [bytes(LINK)], "bad-envelope"), ("refs", [LINK, LINK], "bad-envelope"), ("refs", [[LINK]], "bad-envelope"),
    ("refs", [Link(raw_cid(b"%d" % i)) for i in range(limits.MAX_REFS + 1)], "bad-envelope"),
    ("payload", None, "bad-payload"), ("payload", [], "bad-payload"), ("payload", {}, "bad-payload"),
]  # fmt: skip


@pytest.mark.property_id("P10")
@pytest.mark.parametrize(("name", "value", "code"), WRONG)
def test_a_wrong_field(author_of, name, value, code):
    refused(changed(author_of("ann").envelope(), **{name: value}), code)


def test_the_bounds_themselves_pass(author_of):
    ann = author_of("ann")
    refs = tuple(raw_cid(b"%d" % i) for i in range(limits.MAX_REFS))
    envelope = ann.envelope(
        lamport=limits.MAX_LAMPORT, ts_ns=(1 << 63) - 1, epoch=(1 << 62) - 1, refs=refs, trace=TRACE
    )
    assert parse(envelope.raw).lamport == 1 << 62


@pytest.mark.parametrize("name", FIELDS)
def test_a_missing_and_an_extra_field(author_of, name):
    fields = decode(author_of("ann").envelope().raw)
    refused(encode({key: value for key, value in fields.items() if key != name}), "bad-envelope")
    refused(encode({**fields, name + "x": fields[name]}), "bad-envelope")


@pytest.mark.parametrize("value", [None, 1, "x", b"x", [], {}, [1] * 12, True])
def test_what_is_no_map_of_these_fields(value):
    refused(encode(value), "bad-envelope")


def test_too_big_is_refused_before_it_is_decoded(author_of):
    refused(b"\xff" * (limits.MAX_ENVELOPE_BYTES + 1), "envelope-too-big")
    with pytest.raises(RemoteFault) as caught:
        author_of("ann").envelope(
            "CHALLENGE", {"task": "t1", "reason": "x" * limits.MAX_ENVELOPE_BYTES, "evidence": []}
        )
    assert caught.value.code == "envelope-too-big"


def test_a_payload_of_1_mib_passes_and_no_byte_more(author_of, make_task):
    ann = author_of("ann")
    tasks = [
        {**make_task(f"task-{i}"), "input": {f"a{j}": {"task": "t", "pointer": ""} for j in range(3)}}
        for i in range(1024)
    ]
    payload = {
        "title": "big",
        "budget": 1,
        "deadline_ns": 1,
        "fund": {"seq": 0, "prev": bytes(32)},
        "tasks": tasks,
    }
    room = limits.MAX_PAYLOAD_BYTES - len(encode(payload))
    for binding in (task["input"][name] for task in tasks for name in task["input"]):
        length = min(room - 2, 512) if room >= 258 else room  # texts of 24 and of 256 bytes have longer heads
        if 0 < length:
            binding["pointer"] = "x" * length
            room -= length + (2 if length > 255 else 1 if length > 23 else 0)
    payload["title"] += "x" * (limits.MAX_PAYLOAD_BYTES - len(encode(payload)))
    assert len(encode(payload)) == limits.MAX_PAYLOAD_BYTES
    envelope = ann.envelope("NEED", payload)
    assert parse(envelope.raw) == envelope
    payload["title"] += "x"
    with pytest.raises(RemoteFault) as caught:
        ann.envelope("NEED", payload)
    assert caught.value.code == "payload-too-big"


def test_our_own_mistakes_are_our_fault(author_of):
    with pytest.raises(LocalFault):
        author_of("ann").envelope(payload={"task": 1.5})


@pytest.mark.property_id("P10")
@settings(max_examples=400, deadline=None)
@given(st.sampled_from(KINDS), st.data())
def test_mutated_envelopes(author_of, payloads_of, kind, data):
    """Bytes flipped, put in, left out or cut: refused, or another envelope with another id and that one encoding."""
    ann = author_of("ann")
    raw = ann.envelope(kind, data.draw(st.sampled_from(payloads_of(ann.did)[kind]))).raw
    mutant = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(mutant) - 1))
        match data.draw(st.sampled_from(["flip", "insert", "delete", "truncate"])):
            case "flip":
                mutant[at] ^= 1 << data.draw(st.integers(0, 7))
            case "insert":
                mutant.insert(at, data.draw(st.integers(0, 255)))
            case "delete" if len(mutant) > 1:
                del mutant[at]
            case "truncate" if at:
                del mutant[at:]
    try:
        envelope = parse(bytes(mutant))
    except RemoteFault:
        return
    assert encode(decode(envelope.raw)) == bytes(mutant)
    assert (envelope.id == dag_cbor_cid(raw)) == (bytes(mutant) == raw)


@pytest.mark.property_id("P10")
@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FIELDS), st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 64), (1 << 64) - 1) | st.text(max_size=5) | st.binary(max_size=33) | st.just(LINK),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=6))  # fmt: skip
def test_any_value_in_any_field(author_of, name, value):
    try:
        parse(changed(author_of("ann").envelope(), **{name: value}))
    except RemoteFault:
        pass


def test_need_ids_belong_to_their_owner(author_of):
    ann, bob = author_of("ann").did, author_of("bob").did
    ids = {need_id(did, seq) for did in (ann, bob) for seq in range(50)}
    assert len(ids) == 100
    assert need_id(ann, 0) == need_id(ann, 0)


def test_buckets_are_the_first_byte_of_the_hash(author_of):
    threads = [need_id(author_of("ann").did, seq) for seq in range(2_000)]
    assert all(bucket_of(thread) == sha256(thread.encode()).digest()[0] for thread in threads)
    assert len({bucket_of(thread) for thread in threads}) > 250


def test_one_trace_per_need(author_of):
    thread = author_of("ann").thread()
    assert trace_of(thread, 1)[:36] == trace_of(thread, 2)[:36] != trace_of(author_of("bob").thread(), 1)[:36]
    author_of("ann").envelope(trace=trace_of(thread, 3))  # passes the check of a receiver
