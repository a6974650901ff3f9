"""Change bytes are those that Automerge itself makes, so documents of all nodes, and of Automerge's users, merge."""

import hashlib
import random

import automerge.core as automerge
import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarmd.node.state.changes import make_change, sleb, sync_message, uleb
from swarmd.node.state.documents import Document
from swarmd.protocol.faults import CorruptState


def theirs(actor: bytes, batches: list[list[tuple[str, bytes]]]) -> list:
    document = automerge.Document(actor_id=actor)
    for puts in batches:
        with document.transaction() as transaction:
            for key, value in puts:
                transaction.put(automerge.ROOT, key, automerge.ScalarType.Bytes, value)
    return list(document.get_changes([]))


def ours(actor: bytes, batches: list[list[tuple[str, bytes]]]) -> list:
    made, first_op, prev = [], 1, None
    for seq, puts in enumerate(batches, 1):
        change = make_change(actor, seq, first_op, prev, puts)
        made.append(change)
        first_op, prev = change.next_op, change.hash
    return made


def check(actor: bytes, batches: list[list[tuple[str, bytes]]]) -> None:
    for their, our in zip(theirs(actor, batches), ours(actor, batches), strict=True):
        # The library sets the time of a commit in seconds; ours is the epoch, as is that of this build.
        assert our.raw == bytes(their.raw_bytes)
        assert our.hash == bytes(their.hash)
        assert our.next_op == their.max_op + 1


@pytest.mark.parametrize("count", [1, 2, 3, 63, 64, 65, 127, 128, 500])
def test_the_bytes_are_those_of_the_library(count):
    dice = random.Random(count)
    puts = [
        (hashlib.sha256(dice.randbytes(8)).hexdigest(), dice.randbytes(dice.randrange(600)))
        for _ in range(count)
    ]
    check(dice.randbytes(16), [puts])
    same_size = [(f"k{n}", bytes([n & 0xFF]) * 100) for n in range(count)]
    check(dice.randbytes(16), [same_size])


keys = st.text(min_size=1, max_size=12)
values = st.one_of(st.binary(max_size=300), st.sampled_from([b"", b"same", b"x" * 128]))


@given(
    st.lists(st.dictionaries(keys, values, min_size=1, max_size=12), min_size=1, max_size=6),
    st.binary(min_size=16, max_size=16),
)
def test_chains_of_changes_are_those_of_the_library(drafts, actor):
    seen: set[str] = set()
    batches = []
    for draft in drafts:
        new = [(key, value) for key, value in draft.items() if key not in seen]
        seen.update(draft)
        if new:
            batches.append(new)
    check(actor, batches)


@given(st.integers(0, 1 << 62))
def test_numbers(number):
    value = shift = 0
    for byte in uleb(number):
        value |= (byte & 0x7F) << shift
        shift += 7
    assert value == number
    for signed in (number, -number):
        value = shift = 0
        for byte in sleb(signed):
            value |= (byte & 0x7F) << shift
            shift += 7
        if byte & 0x40:
            value -= 1 << shift
        assert value == signed


def test_any_order_of_chains_gives_one_document():
    chains = [
        ours(bytes([n]) * 16, [[(f"{n}-{m}-{k}", b"v") for k in range(3)] for m in range(5)])
        for n in range(4)
    ]
    steps = [n for n, chain in enumerate(chains) for _ in chain]
    found = set()
    for seed in range(5):
        document, at = Document("d"), [0] * len(chains)
        random.Random(seed).shuffle(steps)
        for n in steps:
            change = chains[n][at[n]]
            document.apply([change], [chains[n][at[n] - 1].hash if at[n] else None])
            at[n] += 1
        found.add((frozenset(document.heads), tuple(sorted(document.keys()))))
        again = Document.load("d", document.save(), document.heads, document.changes)
        assert sorted(again.keys()) == sorted(document.keys())
    assert len(found) == 1


def test_a_change_that_does_not_get_in_is_noticed():
    """Automerge keeps one that lacks its predecessor in a queue, and says nothing."""
    first, second = ours(bytes(16), [[("a", b"1")], [("b", b"2")]])
    document = Document("d")
    with pytest.raises(CorruptState) as caught:
        document.apply([second], [first.hash])
    assert caught.value.code == "replica-diverged"
    document = Document("d")
    document.apply([first], [None])
    saved = document.save()
    with pytest.raises(CorruptState):
        Document.load("d", saved, {second.hash}, 1)
    with pytest.raises(CorruptState):
        Document.load("d", saved[:-1], document.heads, 1)


def test_a_message_of_many_changes_is_one_the_library_makes_sense_of():
    changes = ours(bytes(16), [[(f"k{n}", b"v")] for n in range(300)])
    document = automerge.Document()
    document.receive_sync_message(
        automerge.SyncState(), automerge.Message.decode(sync_message(c.raw for c in changes))
    )
    assert document.length(automerge.ROOT) == 300
