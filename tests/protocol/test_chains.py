"""Chains of batches: any order of arrival ends in the same heads; gaps, forks and clocks are caught."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.protocol import limits
from swarmd.protocol.batch import GENESIS_PREV, sign_flush
from swarmd.protocol.chains import Chains, Gap, Head, chain_of
from swarmd.protocol.envelope import bucket_of
from swarmd.protocol.faults import RemoteFault

MESH = b"m" * 32
START_NS = 1_760_000_000 * limits.S_NS
NOW_NS = START_NS + limits.S_NS


def chain_of_length(author, length, thread_seq=0):
    return [author.flush([author.envelope(thread=author.thread(thread_seq))])[1][0] for _ in range(length)]


def take(chains, batch, now_ns=NOW_NS, lamport=0):
    """As the node does it: what is ready is accepted at once."""
    ready, gap = chains.order(batch, now_ns, lamport)
    for follower in ready:
        chains.accept(follower)
    return ready, gap


def refused(code, call):
    with pytest.raises(RemoteFault) as caught:
        call()
    assert caught.value.code == code


@pytest.fixture(scope="session")
def batches(author_of):
    """Three authors, two buckets each, six batches a chain."""
    authors = [author_of(name) for name in ("ann", "bob", "eve")]
    return [batch for author in authors for seq in (0, 1) for batch in chain_of_length(author, 6, seq)]


def test_in_order(batches):
    chains = Chains()
    for batch in batches:
        assert chains.next_of(chain_of(batch)) == (batch.seq, batch.prev)
        assert take(chains, batch) == ([batch], None)
        head = chains.heads[chain_of(batch)]
        assert (head.seq, head.hash, head.lamport) == (batch.seq, batch.hash, batch.envelopes[-1].lamport)


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_any_order_ends_in_the_same_heads(batches, dice):
    """And each batch comes out once, after its predecessor."""
    straight, mixed = Chains(), Chains()
    for batch in batches:
        take(straight, batch)
    shuffled = list(batches)
    dice.shuffle(shuffled)
    out = []
    for batch in shuffled:
        ready, gap = take(mixed, batch)
        out.extend(ready)
        if gap is None:
            assert batch in ready
        else:
            assert not ready
            assert gap.chain == chain_of(batch)
            assert gap.first == mixed.next_of(gap.chain)[0] <= gap.last < batch.seq
    assert mixed.heads == straight.heads
    assert mixed.bucket_roots() == straight.bucket_roots()
    assert sorted(b.hash for b in out) == sorted(b.hash for b in batches)
    place = {b.hash: i for i, b in enumerate(out)}
    assert all(b.seq == 0 or place[b.prev] < place[b.hash] for b in out)
    assert not mixed._early and not any(mixed._early_count.values())


def test_gaps_name_what_is_missing(author_of):
    chain = chain_of_length(author_of("ann"), 8)
    chains = Chains()
    key = chain_of(chain[0])
    assert take(chains, chain[3]) == ([], Gap(key, 0, 2))
    assert take(chains, chain[7]) == (
        [],
        Gap(key, 0, 2),
    )  # 3 waits already; the rest shows once it is through
    assert take(chains, chain[0]) == ([chain[0]], None)
    assert take(chains, chain[2]) == ([], Gap(key, 1, 1))
    assert take(chains, chain[1]) == ([chain[1], chain[2], chain[3]], None)
    assert take(chains, chain[6]) == ([], Gap(key, 4, 5))
    assert take(chains, chain[6]) == ([], Gap(key, 4, 5))  # twice: kept once


def fork_of(author, batch, **change):
    """Another batch of the author with the same seq and prev."""
    other = author.envelope(thread=batch.envelopes[0].thread, **change)
    group = (batch.epoch, batch.bucket, batch.seq, batch.prev, [other])
    return sign_flush(MESH, author.did, [group], author.sign)[1][0]


def test_forks(author_of):
    ann = author_of("ann")
    chain = chain_of_length(ann, 3)
    chains = Chains()
    take(chains, chain[0])
    take(chains, chain[1])
    refused("equivocation", lambda: take(chains, fork_of(ann, chain[1])))
    refused("equivocation", lambda: take(chains, fork_of(ann, chain[0])))
    # A batch that continues another chain than ours:
    _, (foreign,) = sign_flush(
        MESH, ann.did, [(0, chain[0].bucket, 2, b"x" * 32, [ann.envelope()])], ann.sign
    )
    refused("broken-chain", lambda: take(chains, foreign))
    assert take(chains, chain[2]) == ([chain[2]], None)


def test_an_early_batch_of_a_fork_does_not_get_in(author_of):
    ann = author_of("ann")
    chain = chain_of_length(ann, 4)
    _, (foreign,) = sign_flush(
        MESH, ann.did, [(0, chain[0].bucket, 2, b"x" * 32, [ann.envelope()])], ann.sign
    )
    chains = Chains()
    take(chains, foreign)
    take(chains, chain[3])
    assert take(chains, chain[0]) == ([chain[0]], None)
    assert take(chains, chain[1]) == ([chain[1]], None)
    assert take(chains, chain[2]) == ([chain[2], chain[3]], None)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("back", [{"lamport": 1}, {"ts_ns": START_NS - 1}])
def test_going_back_in_time_is_refused_early_or_in_order(author_of, back, early):
    """Otherwise what a node keeps of a chain would depend on the order in which it heard it."""
    ann = author_of("ann")
    first = chain_of_length(ann, 1)[0]
    _, (second,) = ann.flush([ann.envelope(**back)])
    chains = Chains()
    if early:
        assert take(chains, second)[0] == []
        assert take(chains, first) == ([first], None)
    else:
        take(chains, first)
        refused("not-monotonic", lambda: take(chains, second))
    assert chains.heads[chain_of(first)].seq == 0


def test_clocks_within_a_batch(author_of):
    ann = author_of("ann")
    cases = {
        "not-monotonic": [ann.envelope(lamport=5), ann.envelope(lamport=5)],
        "future-dated": [ann.envelope(ts_ns=NOW_NS + limits.MAX_FUTURE_NS + 1)],
        "lamport-jump": [ann.envelope(lamport=limits.MAX_LAMPORT_JUMP + 8)],
    }
    for code, group in cases.items():
        _, (batch,) = sign_flush(
            MESH, ann.did, [(0, bucket_of(ann.thread()), 0, GENESIS_PREV, group)], ann.sign
        )
        refused(code, lambda batch=batch: take(Chains(), batch, lamport=7))
    back = [ann.envelope(ts_ns=START_NS), ann.envelope(ts_ns=START_NS - 1)]
    _, (batch,) = sign_flush(MESH, ann.did, [(0, bucket_of(ann.thread()), 0, GENESIS_PREV, back)], ann.sign)
    refused("not-monotonic", lambda: take(Chains(), batch))


def test_the_bounds_of_clocks_pass(author_of):
    ann = author_of("ann")
    envelope = ann.envelope(ts_ns=NOW_NS + limits.MAX_FUTURE_NS, lamport=limits.MAX_LAMPORT_JUMP + 7)
    _, (batch,) = ann.flush([envelope])
    assert take(Chains(), batch, lamport=7) == ([batch], None)


def test_what_waits_is_bounded_per_author(author_of, monkeypatch):
    monkeypatch.setattr(limits, "MAX_PARKED_PER_AUTHOR", 3)
    ann, bob = author_of("ann"), author_of("bob")
    chain = chain_of_length(ann, 6)
    chains = Chains()
    for batch in chain[2:5]:
        assert take(chains, batch)[1] is not None
    refused("too-many-early", lambda: take(chains, chain[5]))
    assert take(chains, chain_of_length(bob, 2)[1])[1] is not None  # another author has room of its own
    take(chains, chain[0])
    assert take(chains, chain[1])[0] == chain[1:5]
    assert take(chains, chain[5]) == ([chain[5]], None)  # the room is free again


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=6, max_size=6), st.lists(st.integers(0, 6), min_size=6, max_size=6)
)
def test_bucket_roots_are_equal_iff_the_chains_are(batches, one, other):
    """Each node knows the first n batches of each chain."""

    def node(lengths):
        chains = Chains()
        for number, length in enumerate(lengths):
            for batch in batches[number * 6 : number * 6 + length]:
                take(chains, batch)
                if random.Random(batch.hash).random() < 0.3:
                    chains.bucket_roots()  # asking in between changes nothing
        return chains

    left, right = node(one), node(other)
    differ = {batches[number * 6].bucket for number in range(6) if one[number] != other[number]}
    roots = zip(left.bucket_roots(), right.bucket_roots(), strict=True)
    assert {bucket for bucket, (a, b) in enumerate(roots) if a != b} == differ
    for bucket in range(limits.BUCKETS):
        assert (list(left.vector(bucket)) == list(right.vector(bucket))) == (bucket not in differ)


def test_a_fork_shows_in_the_roots(author_of):
    ann = author_of("ann")
    chain = chain_of_length(ann, 1)
    one, other = Chains(), Chains()
    take(one, chain[0])
    take(other, fork_of(ann, chain[0]))
    assert one.bucket_roots() != other.bucket_roots()
    assert list(one.vector(chain[0].bucket)) == list(
        other.vector(chain[0].bucket)
    )  # seqs alone do not show it


def test_restored_heads_go_on(author_of):
    chain = chain_of_length(author_of("ann"), 3)
    before, after = Chains(), Chains()
    for batch in chain[:2]:
        take(before, batch)
    for key, head in before.heads.items():
        after.restore(key, Head(head.seq, head.hash, head.lamport, head.ts_ns))
    assert after.bucket_roots() == before.bucket_roots()
    assert take(after, chain[2]) == ([chain[2]], None)
