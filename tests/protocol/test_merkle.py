"""Merkle trees: every proof verifies, no other does, and the shape is fixed by the number of leaves (P7)."""

from hashlib import sha256

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from swarmd.protocol import merkle

pytestmark = pytest.mark.property_id("P7")
SIZES = range(1, 71)


def leaves_of(count):
    return [b"leaf %d" % i for i in range(count)]


def recursive_root(level):
    """The tree again, from the top: an independent statement of the same shape."""
    if len(level) == 1:
        return level[0]
    half = 1
    while half * 2 < len(level):
        half *= 2
    return sha256(b"\x01" + recursive_root(level[:half]) + recursive_root(level[half:])).digest()


@pytest.mark.parametrize("count", SIZES)
def test_proofs_of_every_leaf(count):
    leaves = leaves_of(count)
    root = merkle.root_of(leaves)
    assert root == recursive_root([sha256(b"\x00" + leaf).digest() for leaf in leaves])
    both = merkle.root_and_proofs(leaves)
    assert both[0] == root
    for index, leaf in enumerate(leaves):
        path = merkle.proof_of(leaves, index)
        assert list(both[1][index]) == path
        assert len(path) <= 7
        assert merkle.root_from_proof(leaf, index, count, path) == root
        # No other leaf, no other index, no other path.
        assert merkle.root_from_proof(leaf + b"!", index, count, path) != root
        assert merkle.root_from_proof(leaf, index, count, [*path, bytes(32)]) is None
        assert merkle.root_from_proof(leaf, index, count, path[:-1] if path else [root]) is None
        for other in range(count):
            if other != index:
                assert merkle.root_from_proof(leaf, other, count, path) != root
        for level in range(len(path)):
            wrong = [*path]
            wrong[level] = bytes([wrong[level][0] ^ 1]) + wrong[level][1:]
            assert merkle.root_from_proof(leaf, index, count, wrong) != root


@pytest.mark.parametrize("index", [-1, 5, 6, 1 << 70])
def test_an_index_out_of_the_tree(index):
    assert merkle.root_from_proof(b"leaf 0", index, 5, merkle.proof_of(leaves_of(5), 0)) is None
    with pytest.raises(IndexError):
        merkle.proof_of(leaves_of(5), index)


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_that_is_none(count):
    assert merkle.root_from_proof(b"leaf 0", 0, count, []) is None


def test_an_absurd_count_takes_no_time():
    assert merkle.root_from_proof(b"x", 0, 1 << 4096, []) is None


def test_no_leaves():
    assert merkle.root_of([]) == merkle.EMPTY_ROOT == merkle.root_and_proofs([])[0]
    assert merkle.root_of([b""]) != merkle.EMPTY_ROOT


def test_a_repeated_last_leaf_changes_the_root():
    """CVE-2012-2459: where odd nodes are doubled, [a, b, c] and [a, b, c, c] have one root."""
    for count in range(1, 20):
        leaves = leaves_of(count)
        assert merkle.root_of(leaves) != merkle.root_of([*leaves, leaves[-1]])


def test_a_node_is_no_leaf():
    """Second preimage: the concatenation of two hashes, given as a leaf, does not take the node's place."""
    leaves = leaves_of(4)
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    forged = [hashes[0] + hashes[1], hashes[2] + hashes[3]]
    assert merkle.root_of(forged) != merkle.root_of(leaves)
    assert merkle.root_from_proof(
        forged[0], 0, 2, [sha256(b"\x01" + hashes[2] + hashes[3]).digest()]
    ) != merkle.root_of(leaves)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=6), min_size=1, max_size=40), st.data())
def test_no_forged_proof(leaves, data):
    """Any statement "`leaf` is number `index` of `count`" whose path leads to the root is true."""
    count = len(leaves)
    root = merkle.root_of(leaves)
    nodes = (
        [merkle.leaf_hash(leaf) for leaf in leaves]
        + [node for path in merkle.root_and_proofs(leaves)[1] for node in path]
        + [root]
    )
    leaf = data.draw(
        st.sampled_from(leaves)
        | st.binary(max_size=70)
        | st.sampled_from(nodes)
        | st.tuples(st.sampled_from(nodes), st.sampled_from(nodes)).map(b"".join)
    )
    index = data.draw(st.integers(0, count - 1))
    path = data.draw(st.just(merkle.proof_of(leaves, index)) | st.lists(st.sampled_from(nodes), max_size=7))
    assume(leaf != leaves[index])
    assert merkle.root_from_proof(leaf, index, count, path) != root


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.binary(max_size=6), min_size=1, max_size=20),
    st.lists(st.binary(max_size=6), min_size=1, max_size=20),
)
def test_equal_roots_of_one_count_mean_equal_leaves(one, other):
    assert (merkle.root_of(one) == merkle.root_of(other)) == (one == other)
