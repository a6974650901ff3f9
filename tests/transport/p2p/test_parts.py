"""The parts that need no network: bytes on the wire, tables, scores."""

import os

import cbor2
import trio
from hypothesis import given
from hypothesis import strategies as st
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.validators import signature_validator
from swarmd.node.transport.p2p.config import P2PLimits
from swarmd.node.transport.p2p.gossip_wire import FrameCache, OutQueue, SeenIds, Signer, rpc_of, signature_ok
from swarmd.node.transport.p2p.scores import ScoreBook
from swarmd.node.transport.p2p.sync_wire import Kind, decode, decode_error, encode, encode_error
from swarmd.protocol.faults import RemoteFault

TOPIC = "/swarm/test/flush/1"


@given(st.binary(max_size=70_000))
def test_signed_messages_are_libp2ps_byte_for_byte(data):
    keys = create_new_key_pair(bytes(32))
    message_id, raw = Signer(keys.private_key, TOPIC).sign(data)
    message = rpc_pb2.Message.FromString(raw)
    assert message.SerializeToString() == raw
    assert (message.data, list(message.topicIDs)) == (data, [TOPIC])
    assert message_id == message.from_id + message.seqno
    assert signature_validator(message) and signature_ok(message)
    framed = rpc_of(raw)
    body = rpc_pb2.RPC(publish=[message]).SerializeToString()
    assert framed.endswith(body) and len(framed) - len(body) in (1, 2, 3)


def test_what_stock_libp2p_signs_verifies_and_nothing_else_does():
    keys = create_new_key_pair(os.urandom(32))
    _, raw = Signer(keys.private_key, TOPIC).sign(b"data")
    good = rpc_pb2.Message.FromString(raw)
    assert signature_ok(good)
    changes = {
        "data": b"datb",
        "seqno": b"\0" * 8,
        "from_id": Signer(create_new_key_pair(bytes(32)).private_key, TOPIC).author,
        "signature": b"\0" * 64,
    }
    for name, value in changes.items():
        bad = rpc_pb2.Message.FromString(raw)
        setattr(bad, name, value)
        assert not signature_ok(bad), name
    for name in changes:
        bad = rpc_pb2.Message.FromString(raw)
        bad.ClearField(name)
        assert not signature_ok(bad), name
    bad = rpc_pb2.Message.FromString(raw)
    bad.topicIDs.append(TOPIC)
    assert not signature_ok(bad)


def test_seqnos_grow_over_restarts():
    keys = create_new_key_pair(bytes(32))
    first, second = Signer(keys.private_key, TOPIC), Signer(keys.private_key, TOPIC)
    ids = [first.sign(b"")[0], first.sign(b"")[0]]
    later = [Signer(keys.private_key, TOPIC).sign(b"")[0], second.sign(b"")[0]]
    assert ids[0] < ids[1] < later[0] and len({*ids, *later}) >= 3


@given(st.sampled_from(Kind), st.integers(0, 2**64 - 1), st.binary(max_size=70_000))
def test_sync_messages_are_canonical_cbor(kind, request_id, body):
    message = encode(kind, request_id, body)
    assert int.from_bytes(message[:4], "big") == len(message) - 4
    assert message[4:] == cbor2.dumps([int(kind), request_id, body], canonical=True)
    assert decode(message[4:]) == (kind, request_id, body)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(st.integers() | st.binary() | st.text(), st.lists).map(cbor2.dumps),
    )
)
def test_any_bytes_are_a_message_or_a_fault(data):
    try:
        kind, request_id, body = decode(data)
    except RemoteFault as fault:
        assert fault.code == "bad-message"
    else:
        assert cbor2.loads(data) == [kind, request_id, body]


def test_errors_cross_the_wire():
    fault = decode_error(encode_error("not-yours", "text: with colon"))
    assert (fault.code, fault.message) == ("not-yours", "text: with colon")
    assert decode_error(encode_error("internal", "")).code == "internal"
    for bad in (b"", b"\xff\xff: x", b"UPPER: x", b"a b", b"x" * 100_000):
        assert decode_error(bad).code == "bad-error"


def test_seen_ids_are_kept_for_the_ttl_and_bounded():
    seen = SeenIds(ttl_s=100, max_ids=10)
    assert seen.add(b"a") and not seen.add(b"a") and seen.has(b"a")
    for i in range(100):
        seen.add(b"%d" % i)
        assert seen.has(b"%d" % i)
    assert sum(seen.has(b"%d" % i) for i in range(100)) <= 10


def test_the_frame_cache_is_bounded_in_bytes():
    cache = FrameCache(window=3, history=5, max_bytes=1_000)
    for i in range(50):
        cache.put(rpc_pb2.Message(from_id=b"f", seqno=b"%d" % i, data=bytes(100), topicIDs=[TOPIC]))
    assert len(cache.msgs) == 10 and cache.get(b"f49") is not None and cache.get(b"f0") is None
    for _ in range(6):
        cache.shift()
    assert cache.msgs == {} and cache._bytes == 0


async def test_a_full_queue_refuses_and_control_overtakes():
    queue = OutQueue(max_frames=3, max_bytes=100)
    assert queue.push_bytes(b"a" * 40) and queue.push_bytes(b"b" * 40) and not queue.push_bytes(b"c" * 40)
    assert queue.push_bytes(b"!", priority=True) and not queue.push_bytes(b"d")
    with trio.fail_after(1):
        assert await queue.pop_batch(60) == b"!" + b"a" * 40
        assert await queue.pop_batch(60) == b"b" * 40
    queue.close()
    assert await queue.pop_batch(60) == b"" and not queue.push_bytes(b"e")


def test_scores_fall_recover_and_deny_for_longer_each_time():
    now_s = [1_000.0]
    limits = P2PLimits(score_half_life_s=100, deny_min_s=60, deny_max_s=100, max_tracked_peers=3)
    book = ScoreBook(limits, clock=lambda: now_s[0])
    assert book.score("p") == 1.0 and book.denied_for_s("p") == 0.0
    assert not book.charge("p", "bad-protobuf") and book.score("p") == 0.5
    now_s[0] += 100
    assert book.score("p") == 0.75
    assert book.charge("p", "bad-protobuf") and book.denied_for_s("p") == 60
    assert not book.charge("p", "bad-protobuf"), "already cut off"
    assert book.faults("p") == {"bad-protobuf": 3}
    now_s[0] += 61
    assert book.denied_for_s("p") == 0
    assert book.charge("p", "bad-protobuf") and book.denied_for_s("p") == 100
    for other in "abc":
        book.charge(other, "x")
    assert book.faults("p") == {}, "bounded: the least recently at fault is forgotten"


def test_codes_are_bounded():
    book = ScoreBook(P2PLimits())
    for i in range(1_000):
        book.charge("p", f"code-{i}")
    assert len(book.faults("p")) == 65 and sum(book.faults("p").values()) == 1_000
