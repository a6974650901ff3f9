"""A thread as a DAG, and proofs of it: one root for equal threads, and nothing can be slipped in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarmd.protocol import thread_dag
from swarmd.protocol.cbor import Link, decode, encode
from swarmd.protocol.cids import dag_cbor_cid, raw_cid
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.thread_dag import LINKS_PER_PAGE, build, path_to, verify


@pytest.fixture(scope="session")
def said(author_of):
    """5,000 envelopes of one thread."""
    ann = author_of("ann")
    return ann.thread(), [ann.envelope() for _ in range(5_000)]


def proof(dag, envelope) -> dict[bytes, bytes]:
    blocks = {cid: dag.pages[cid] for cid in path_to(dag, envelope.id)}
    return {**blocks, envelope.id: envelope.raw}


def refused(root, envelope_id, blocks, why: str | None = None) -> None:
    with pytest.raises(RemoteFault, match=why) as caught:
        verify(root, envelope_id, blocks.get)
    assert caught.value.code in ("bad-proof", "bad-cbor", "bad-envelope")


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 128, 129, 4_095, 4_096, 4_097, 5_000])
def test_each_envelope_is_proven_by_its_path_alone(said, count):
    thread, envelopes = said
    dag = build(thread, envelopes[:count])
    assert list(dag.ids) == [envelope.id for envelope in envelopes[:count]]
    depth = 1 if count <= 64 else 2 if count <= 4_096 else 3
    for index in {0, count // 2, count - 1, min(count - 1, 64)}:
        envelope = envelopes[index]
        blocks = proof(dag, envelope)
        assert len(blocks) == depth + 1
        shown = verify(dag.root, envelope.id, blocks.get)
        assert (shown.thread, shown.index, shown.count) == (thread, index, count)
        assert shown.envelope == envelope and shown.root == dag.root


def test_the_root_is_one_whatever_the_order_they_came_in(said):
    thread, envelopes = said
    some = envelopes[:200]
    assert build(thread, reversed(some)).root == build(thread, some).root
    assert build(thread, some[:-1]).root != build(thread, some).root
    empty = build(thread, [])
    assert decode(empty.pages[empty.root]) == {
        "v": 1, "count": 0, "level": 0, "links": [], "thread": thread,
    }  # fmt: skip


def test_what_does_not_belong_is_not_built(said, author_of):
    thread, envelopes = said
    with pytest.raises(LocalFault, match="wrong-thread"):
        build("need-" + "a" * 32, envelopes[:2])
    with pytest.raises(LocalFault, match="repeated-envelope"):
        build(thread, [envelopes[0], envelopes[0]])
    with pytest.raises(LocalFault, match="not-in-thread"):
        path_to(build(thread, envelopes[:5]), envelopes[5].id)


def test_a_proof_shows_its_own_envelope_and_no_other(said):
    thread, envelopes = said
    dag = build(thread, envelopes[:300])
    blocks = proof(dag, envelopes[7])
    refused(dag.root, envelopes[299].id, {**blocks, envelopes[299].id: envelopes[299].raw}, "does not lead")
    refused(dag.root, envelopes[8].id, blocks, "lacking")
    refused(build(thread, envelopes[:299]).root, envelopes[7].id, blocks, "lacking")
    refused(raw_cid(b"root"), envelopes[7].id, blocks, "no dag-cbor")
    refused(b"", envelopes[7].id, blocks)
    for cid in blocks:
        refused(dag.root, envelopes[7].id, {**blocks, cid: blocks[cid][:-1] + b"\xff"})
        refused(dag.root, envelopes[7].id, {key: block for key, block in blocks.items() if key != cid})
    more = {**blocks, **dag.pages}
    refused(dag.root, envelopes[7].id, more, "5 of the pages")


def test_an_envelope_of_another_thread_is_not_of_this_one(said, author_of):
    thread, envelopes = said
    other = author_of("bob").envelope()
    page = encode({"v": 1, "count": 1, "level": 0, "links": [Link(other.id)], "thread": thread})
    root = dag_cbor_cid(page)
    refused(root, other.id, {root: page, other.id: other.raw}, "the root of")


def forged(said, top=(), **below):
    """A proof whose pages say what a test wants; every hash is right."""
    thread, envelopes = said
    page = {"v": 1, "count": 6, "level": 0, "links": [Link(each.id) for each in envelopes[:6]], **below}
    low = encode(page)
    top = {
        "v": 1, "count": 70, "level": 1, "links": [Link(raw_cid(b"full")), Link(dag_cbor_cid(low))],
        "thread": thread, **dict(top),
    }  # fmt: skip
    high = encode(top)
    return dag_cbor_cid(high), {
        dag_cbor_cid(high): high,
        dag_cbor_cid(low): low,
        envelopes[0].id: envelopes[0].raw,
    }


def test_pages_that_do_not_fit_together_are_refused(said):
    _, envelopes = said
    root, blocks = forged(said)
    assert verify(root, envelopes[0].id, blocks.get).index == 64
    links = [Link(each.id) for each in envelopes[:6]]
    many = [Link(raw_cid(str(i).encode())) for i in range(65)]
    for top, below in [
        ({"count": 71}, {}),
        ({"count": 64}, {}),
        ({"count": 65}, {}),
        ({"level": 2}, {}),
        ({"level": -1}, {}),
        ({"level": 2**40}, {}),
        ({"level": True}, {}),
        ({"count": -1}, {}),
        ({"count": 64 * 65, "links": many}, {}),
        ({"links": [Link(raw_cid(b"full"))]}, {}),
        ({"links": links[:2]}, {}),
        ({"thread": 5}, {}),
        ({"more": 5}, {}),
        ({"v": 2}, {}),
        ({}, {"v": True}),
        ({}, {"count": 5}),
        ({}, {"count": 7}),
        ({}, {"links": links[:5]}),
        ({}, {"links": [*links[:5], links[0]]}),
        ({}, {"links": [bytes(link) for link in links]}),
        ({}, {"links": "six"}),
        ({}, {"level": 1}),
        ({}, {"thread": "t"}),
    ]:
        bad_root, bad = forged(said, top.items(), **below)
        refused(bad_root, envelopes[0].id, bad)


@given(st.binary(max_size=200))
def test_no_bytes_of_a_page_raise_anything_else(data):
    root = dag_cbor_cid(data)
    with pytest.raises(RemoteFault):
        verify(root, raw_cid(b"x"), {root: data}.get)


def test_the_width_of_a_page_is_part_of_the_format():
    assert (LINKS_PER_PAGE, thread_dag.VERSION) == (64, 1)
