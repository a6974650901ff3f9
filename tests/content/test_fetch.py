"""Fetching over real stores: good peers, and every way a peer can be bad."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import cbor2
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.node.content.dagpb import encode_file_node
from swarmd.node.content.fetch import FetchLimits, fetch
from swarmd.node.content.store import SqliteBlockStore
from swarmd.node.content.unixfs import import_file, missing, read_file
from swarmd.node.content.wire import (
    MAX_ANSWER_BLOCK_BYTES,
    MAX_CIDS_PER_REQUEST,
    content_request,
    decode_answer,
    serve,
)
from swarmd.node.ports import PeerGone
from swarmd.protocol.cids import DAG_PB, cid_of, cid_text, dag_cbor_cid, raw_cid
from swarmd.protocol.faults import LocalFault, RemoteFault

MakeStore = Callable[[str], SqliteBlockStore]
QUICK = FetchLimits(request_timeout_s=0.05)


def give(store: SqliteBlockStore, data: bytes, chunk_bytes: int = 1_000, links: int = 4) -> bytes:
    with store.batch() as put:
        return import_file(BytesIO(data), put, chunk_bytes=chunk_bytes, links_per_node=links).cid


async def fetched(net: Any, peers: list[str], cid: bytes, store: SqliteBlockStore, **kw: Any) -> bytes:
    with trio.fail_after(10):
        await fetch(net, peers, cid, store, **kw)
    assert missing(cid, store.get) == []
    return b"".join(read_file(cid, store.get))


# The codec.


def test_serve_answers_what_it_has_and_names_what_it_has_not(store: SqliteBlockStore) -> None:
    here, absent = raw_cid(b"here"), raw_cid(b"absent")
    store.put(here, b"here")
    body = content_request([here, absent, here])
    assert cbor2.loads(body)["t"] == "blocks"
    answer = decode_answer(serve(store, body), [here, absent])
    assert answer.blocks == {here: b"here"} and answer.missing == {absent}


def test_an_answer_is_bounded_and_keeps_the_order(store: SqliteBlockStore) -> None:
    blocks = [bytes([i]) * 1_000_000 for i in range(6)]
    cids = [raw_cid(block) for block in blocks]
    store.put_many(zip(cids, blocks, strict=True))
    answer = decode_answer(serve(store, content_request(cids)), cids)
    assert set(answer.blocks) == set(cids[:4]) and not answer.missing
    assert sum(map(len, answer.blocks.values())) <= MAX_ANSWER_BLOCK_BYTES


def test_too_many_or_no_cids_are_the_callers_fault() -> None:
    for cids in ([], [raw_cid(b"%d" % i) for i in range(MAX_CIDS_PER_REQUEST + 1)], [b"no cid"]):
        with pytest.raises(LocalFault, match="bad-content-request"):
            content_request(cids)
    largest = content_request([raw_cid(b"%d" % i) for i in range(MAX_CIDS_PER_REQUEST)])
    with SqliteBlockStore(":memory:") as empty:
        assert len(decode_answer(serve(empty, largest), cbor2.loads(largest)["cids"]).missing) == 256


CID = raw_cid(b"leaf")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        cbor2.dumps(7),
        cbor2.dumps({"t": "blocks"}),
        cbor2.dumps({"t": "other", "cids": [CID]}, canonical=True),
        cbor2.dumps({"t": "blocks", "cids": []}, canonical=True),
        cbor2.dumps({"t": "blocks", "cids": [CID[:-1]]}, canonical=True),
        cbor2.dumps({"t": "blocks", "cids": "x" * 40}, canonical=True),
        cbor2.dumps({"t": "blocks", "cids": [[CID]]}, canonical=True),
        cbor2.dumps({"t": "blocks", "cids": [CID], "more": 1}, canonical=True),
        cbor2.dumps({"t": "blocks", "cids": [raw_cid(b"%d" % i) for i in range(257)]}, canonical=True),
        content_request([CID]) + b"\x00",
        b"\xbf" + content_request([CID])[1:] + b"\xff",
        b"\x81" * 9_000,
        b"\x00" * 1_000_000,
        b"\xc0\x63abc",  # a date that is none
        b"\xd8\x1e\x82\x01\x00",  # a fraction over zero
    ],
)
def test_bad_requests_are_the_peers_fault(store: SqliteBlockStore, body: bytes) -> None:
    with pytest.raises(RemoteFault) as caught:
        serve(store, body)
    assert caught.value.code == "bad-content-request"


OTHER = raw_cid(b"other")


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"t": "blocks", "blocks": {}, "missing": {}},
        {"t": "blocks", "blocks": [], "missing": []},
        {"t": "blocks", "blocks": {}, "missing": [OTHER]},
        {"t": "blocks", "blocks": {}, "missing": [[CID]]},
        {"t": "blocks", "blocks": {OTHER: b"other"}, "missing": []},
        {"t": "blocks", "blocks": {CID: "leaf"}, "missing": []},
        {"t": "blocks", "blocks": {CID: b"leaf"}, "missing": [CID]},
        {"t": "blocks", "blocks": {CID: bytes(1_048_577)}, "missing": []},
        {"t": "blocks", "blocks": {CID: b"leaf"}, "missing": [], "x": 0},
    ],
)
def test_bad_answers_are_the_peers_fault(message: dict[str, Any]) -> None:
    with pytest.raises(RemoteFault) as caught:
        decode_answer(cbor2.dumps(message, canonical=True), [CID])
    assert caught.value.code == "bad-content-answer"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120))
def test_only_remote_faults_come_out_of_junk(body: bytes) -> None:
    with SqliteBlockStore(":memory:") as empty:
        for decode in (lambda: serve(empty, body), lambda: decode_answer(body, [CID])):
            with pytest.raises(RemoteFault):
                decode()


# Fetching.


async def test_one_block_costs_one_request_to_the_first_peer(net: Any, make_store: MakeStore) -> None:
    cid = give(make_store("a"), b"small")
    give(make_store("b"), b"small")
    peers = [net.add("a", make_store("a")), net.add("b", make_store("b"))]
    assert await fetched(net, peers, cid, make_store("me")) == b"small"
    assert net.requests == [("a", 1)] and not net.reports


async def test_a_record_is_fetched_as_one_block(net: Any, make_store: MakeStore) -> None:
    record = cbor2.dumps({"a": 1})
    make_store("a").put(dag_cbor_cid(record), record)
    me = make_store("me")
    with trio.fail_after(5):
        await fetch(net, [net.add("a", make_store("a"))], dag_cbor_cid(record), me)
    assert me.get(dag_cbor_cid(record)) == record


async def test_a_large_file_comes_from_all_peers_within_the_limits(net: Any, make_store: MakeStore) -> None:
    data = bytes(range(251)) * 80_000  # 20 MB
    peers = []
    for name in "abcde":
        cid = give(make_store(name), data, 262_144, 174)
        peers.append(net.add(name, make_store(name)))
    limits = FetchLimits(requests=3)
    assert await fetched(net, peers, cid, make_store("me"), limits=limits) == data
    # How many overlap depends on how long hashing takes; never more than the limit.
    assert len({peer for peer, _ in net.requests}) >= 3 and 2 <= net.most_in_flight <= 3
    assert len(net.requests) < 12  # 77 leaves: requests are as large as an answer can be


async def test_nothing_is_asked_for_what_is_here(net: Any, make_store: MakeStore) -> None:
    cid = give(make_store("a"), bytes(range(251)) * 40)
    me = make_store("me")
    peers = [net.add("a", make_store("a"))]
    await fetched(net, peers, cid, me)
    net.requests.clear()
    await fetched(net, peers, cid, me)
    assert net.requests == []
    lost = missing(cid, {}.get) + [raw_cid((bytes(range(251)) * 40)[:1_000])]
    for each in lost:
        me.delete(each)
    await fetched(net, peers, cid, me)
    assert sum(asked for _, asked in net.requests) == len(set(lost))


def lying(store: SqliteBlockStore, every: int = 1) -> Callable[[bytes], bytes]:
    """Answers with one bit flipped in every n-th block."""

    def answer(body: bytes) -> bytes:
        message = cbor2.loads(serve(store, body))
        for i, (cid, block) in enumerate(message["blocks"].items()):
            if i % every == 0:
                message["blocks"][cid] = bytes([block[0] ^ 1]) + block[1:]
        encoded: bytes = cbor2.dumps(message, canonical=True)
        return encoded

    return answer


async def test_a_liar_is_reported_and_left_and_the_next_peer_asked(net: Any, make_store: MakeStore) -> None:
    data = bytes(range(251)) * 100
    cid = give(make_store("good"), data)
    peers = [
        net.behave("liar", lying(make_store("good"))),
        net.behave("half-liar", lying(make_store("good"), every=3)),
        net.add("good", make_store("good")),
    ]
    me = make_store("me")
    assert await fetched(net, peers, cid, me) == data
    assert ("liar", "bad-block") in net.reports
    assert {peer for peer, _ in net.reports} <= {"liar", "half-liar"}
    assert sum(peer == "liar" for peer, _ in net.requests) == 1
    assert me.stat().corrupt == 0


async def test_what_a_liar_gave_rightly_before_it_lied_is_kept(net: Any, make_store: MakeStore) -> None:
    data = bytes(range(251)) * 100
    cid = give(make_store("good"), data, 1_000, 174)
    asked = 0

    def turns_bad(body: bytes) -> bytes:
        nonlocal asked
        asked += 1
        return serve(make_store("good"), body) if asked == 1 else lying(make_store("good"), 100)(body)

    me = make_store("me")
    with trio.fail_after(5), pytest.raises(LocalFault, match="content-unavailable"):
        await fetch(net, [net.behave("late-liar", turns_bad)], cid, me)
    assert me.has(cid) and net.reports == [("late-liar", "bad-block")]


@pytest.mark.parametrize(
    ("answer", "report"),
    [
        (lambda body: None, "content-timeout"),
        (lambda body: PeerGone("left"), None),
        (lambda body: RemoteFault("busy"), "busy"),
        (lambda body: b"junk", "bad-content-answer"),
        (lambda body: bytes(5_000_000), "bad-content-answer"),
        (lambda body: cbor2.dumps({"t": "blocks", "blocks": {}, "missing": []}, canonical=True), None),
    ],
    ids=["stalls", "leaves", "refuses", "junk", "too-big", "empty"],
)
async def test_a_useless_peer_is_left_for_the_next(
    net: Any, make_store: MakeStore, answer: Callable[[bytes], Any], report: str | None
) -> None:
    data = bytes(range(251)) * 100
    cid = give(make_store("good"), data)
    peers = [net.behave("bad", answer), net.add("good", make_store("good"))]
    assert await fetched(net, peers, cid, make_store("me"), limits=QUICK) == data
    assert [code for _, code in net.reports] == ([report] if report else [])
    assert sum(peer == "bad" for peer, _ in net.requests) == 1


async def test_peers_that_have_a_half_each_make_a_whole(net: Any, make_store: MakeStore) -> None:
    data = bytes(range(251)) * 400
    cid = give(make_store("all"), data)
    full = make_store("all")
    walk, cids = [cid], []
    while walk:
        cids += walk
        walk = missing(cid, {c: full.get(c) for c in cids}.get)
    for i, each in enumerate(cids):
        block = full.get(each)
        assert block is not None
        make_store("odd" if i % 2 else "even").put(each, block)
    peers = [net.add("odd", make_store("odd")), net.add("even", make_store("even"))]
    assert await fetched(net, peers, cid, make_store("me")) == data
    assert not net.reports  # to lack a block is no fault


async def test_unavailable_content_names_the_block_and_the_peers_asked(
    net: Any, make_store: MakeStore
) -> None:
    data = bytes(range(251)) * 40
    cid = give(make_store("a"), data, 1_000, 174)
    gap = raw_cid(data[3_000:4_000])
    make_store("a").delete(gap)
    peers = [net.add("a", make_store("a")), net.add("empty", make_store("empty")), "nobody"]
    me = make_store("me")
    with trio.fail_after(5), pytest.raises(LocalFault) as caught:
        await fetch(net, peers, cid, me)
    assert caught.value.code == "content-unavailable" and caught.value.fix
    assert cid_text(gap) in caught.value.message and "3 of 3 peers asked" in caught.value.message
    assert missing(cid, me.get) == [gap]
    make_store("late").put(gap, data[3_000:4_000])
    net.requests.clear()
    assert await fetched(net, [*peers, net.add("late", make_store("late"))], cid, me) == data
    assert all(asked == 1 for _, asked in net.requests)  # resumed: only the gap


async def test_no_peers_at_all(net: Any, store: SqliteBlockStore) -> None:
    with trio.fail_after(5), pytest.raises(LocalFault, match="0 of 0 peers asked"):
        await fetch(net, [], raw_cid(b"x"), store)


async def test_bad_content_is_no_peers_fault(net: Any, make_store: MakeStore) -> None:
    leaf = b"ha" * 512
    bad = encode_file_node([(raw_cid(leaf), 1, 1)] * 9, 9)
    cid = cid_of(DAG_PB, bad)
    make_store("a").put_many([(cid, bad), (raw_cid(leaf), leaf)])
    me = make_store("me")
    with trio.fail_after(5), pytest.raises(RemoteFault) as caught:
        await fetch(net, [net.add("a", make_store("a"))], cid, me)
    assert caught.value.code == "bad-dag" and not net.reports
    assert not me.has(raw_cid(leaf))


async def test_content_larger_than_allowed_is_refused_by_its_root(net: Any, make_store: MakeStore) -> None:
    cid = give(make_store("a"), bytes(range(251)) * 40)
    with trio.fail_after(5), pytest.raises(RemoteFault, match="content-too-big"):
        await fetch(net, [net.add("a", make_store("a"))], cid, make_store("me"), FetchLimits(max_bytes=9_999))
    assert len(net.requests) == 1


async def test_a_full_disk_ends_the_fetch_with_its_reason(net: Any, make_store: MakeStore) -> None:
    cid = give(make_store("a"), bytes(range(251)) * 4_000, 50_000, 174)
    me = make_store("me")
    me._db.execute("PRAGMA max_page_count = 10")
    with trio.fail_after(5), pytest.raises(LocalFault, match="disk-full"):
        await fetch(net, [net.add("a", make_store("a"))], cid, me)
    assert not net.reports


async def test_a_cancelled_fetch_ends_at_once(net: Any, make_store: MakeStore) -> None:
    net.behave("stalls", lambda body: None)
    with trio.fail_after(5):
        with trio.move_on_after(0.02) as scope:
            await fetch(net, ["stalls"], raw_cid(b"x"), make_store("me"))
    assert scope.cancelled_caught and not net.reports
