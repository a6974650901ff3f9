"""Chains of epochs long over are closed: which ones, and that it comes to the same in whatever order one hears of it."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.protocol import limits
from swarmd.protocol.cbor import encode
from swarmd.protocol.chains import CLOSED, Chains, Head, chain_of, is_over
from swarmd.protocol.checkpoint import adopting, closing
from swarmd.protocol.checkpoint.closing import over_after, present_after
from swarmd.protocol.checkpoint.making import choose_cut, why_not_cut
from swarmd.protocol.checkpoint.packing import pack
from swarmd.protocol.checkpoint.snapshot import NO_SNAPSHOT
from swarmd.protocol.checkpoint.unpacking import parse_over, part_names, unpack
from swarmd.protocol.digest import mesh_digest, state_digest
from swarmd.protocol.dumping import dump, load
from swarmd.protocol.engine import step
from swarmd.protocol.envelope import bucket_of
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.genesis import Genesis, parse_genesis
from swarmd.protocol.inputs import Admitted, Adopted
from swarmd.protocol.state import State

CHAIN_EPOCHS = 2


# Which ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "cut", "before", "present"),
    [
        pytest.param(
            3, [("a", 2, 0), ("a", 2, 9), ("b", 1, 0)], {}, {"a": (2,)}, id="heard at the end of it"
        ),
        pytest.param(3, [("a", 0, 0)], {"a": (0, 1)}, {"a": (0, 1)}, id="away since"),
        pytest.param(3, [("a", 2, 0)], {"a": (0, 1)}, {"a": (1, 2)}, id="the last two are kept"),
        pytest.param(0, [], {"a": (0, 1)}, {"a": (0, 1)}, id="nobody"),
    ],
)
def test_who_was_present(epochs, cut, before, present):
    assert present_after(cut, epochs or 3, before, CHAIN_EPOCHS) == present
    assert present_after(cut, epochs or 3, before, 0) == {}


@pytest.mark.parametrize(
    ("cut", "before", "present", "over"),
    [
        pytest.param([("a", 0, 0)], {}, {}, {}, id="nothing at first"),
        pytest.param([("a", 0, 0), ("a", 3, 0)], {}, {"a": (3,)}, {}, id="present once since"),
        pytest.param([("a", 0, 0), ("a", 3, 0)], {}, {"a": (3, 5)}, {"a": 2}, id="present twice since"),
        pytest.param([("a", 9, 0)], {"a": 4}, {"a": (3, 9)}, {"a": 4}, id="it never goes back"),
        pytest.param([], {"b": 1}, {}, {"b": 1}, id="closed for good"),
        pytest.param([], {}, {"a": (0, 1)}, {}, id="there is nothing before epoch 0"),
        pytest.param([("a", n, 0) for n in range(8)], {}, {}, {}, id="late again and again"),
        pytest.param([("a", n, 0) for n in range(9)], {}, {}, {"a": 0}, id="late too often"),
    ],
)
def test_which_chains_are_closed(cut, before, present, over):
    assert over_after(cut, before, present, CHAIN_EPOCHS) == over
    assert over_after(cut, before, present, 0) == before


def test_genesis_says_how_many_and_a_mesh_of_before_keeps_its_id():
    genesis = Genesis("m", ("did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",), {})
    assert genesis.chain_epochs == limits.CHAIN_EPOCHS and "chain_epochs" not in genesis.to_map()
    other = replace(genesis, chain_epochs=3)
    assert parse_genesis(other.to_map()) == other and other.mesh_id != genesis.mesh_id
    with pytest.raises(LocalFault, match="at least 2"):
        parse_genesis({**genesis.to_map(), "chain_epochs": 1})


# Chains -----------------------------------------------------------------------------------------------------------


def test_closed_chains_are_let_go_and_what_is_said_in_them_is_refused(author_of):
    ann, chains, other = author_of("ann"), Chains(), Chains()
    now_ns = ann.envelope().ts_ns
    _, [first] = ann.flush([ann.envelope()])
    _, [second] = ann.flush([ann.envelope()])
    _, [third] = ann.flush([ann.envelope()])
    fresh = author_of("ann", lamport=50)
    _, [late] = fresh.flush([fresh.envelope(epoch=1)])
    for each in (first, late):
        chains.accept(each)
    other.accept(late)
    assert chains.order(third, now_ns, 100) == ([], chains.order(third, now_ns, 100)[1])  # it came early
    chains.close({ann.did: 0})
    assert set(chains.heads) == {chain_of(late)} and chains.bucket_roots() == other.bucket_roots()
    assert [row for bucket in range(limits.BUCKETS) for row in chains.vector(bucket)] == [(chain_of(late), 0)]
    assert chains.is_over(chain_of(first)) and not chains.is_over(chain_of(late))
    for each in (first, second, third):
        with pytest.raises(RemoteFault) as fault:
            chains.order(each, now_ns, 100)
        assert fault.value.code == CLOSED
    assert chains._early == {} and chains._early_count[ann.did] == 0


def test_a_cut_has_no_closed_chains():
    head = Head(3, bytes(32), 9, 9)
    old, new = ("a", 0, 1), ("a", 5, 1)

    class Base:
        cut = {old: head, new: head}
        over = {"a": 0}

    cut = choose_cut({old: replace(head, seq=9), ("b", 0, 1): head}, Base, 6)
    assert cut == {new: head, ("b", 0, 1): head}
    assert why_not_cut(cut, Base, 6) == ""
    assert "closed" in why_not_cut({**cut, old: head}, Base, 6)


# A mesh -----------------------------------------------------------------------------------------------------------


class History:
    """Three epochs of a mesh in which some of ann's words of epoch 0 are in no cut; the last checkpoint closes these."""

    def __init__(self, rooms, make_task, seed):
        rng = random.Random(seed)
        self.mesh, self.room = mesh, room = rooms(
            ("ann", "bob", "cee"), seed=seed, epoch_s=0, chain_epochs=CHAIN_EPOCHS
        )
        self.states = []
        for epoch in range(4):
            for name in mesh.nodes:
                capability = rng.choice(("echo", "rare"))
                mesh.post(name, [make_task("t1", capability=capability)], 30_000)
            for _ in range(rng.randrange(10, 400)):
                mesh.deliver()
            room.seal()
            if epoch == 0:
                # All needs' threads but ann's own, which would take her account with them, or hers too.
                self.short = self._withheld(rng)
            if epoch < 3:
                self._adopt()
        mesh.run()
        room.seal()
        self.snapshots = [room.snapshots[state] for state in self.states]
        self.last = self.snapshots[-1]

    def _withheld(self, rng):
        """chain -> the last seq of it that is in cuts, -1 for none, of some of ann's chains."""
        heads = self.room.chains["ann"].heads
        own = sorted(chain for chain in heads if chain[1] == 0)
        return {chain: rng.randrange(-1, heads[chain].seq) for chain in rng.sample(own, 1 + len(own) // 2)}

    def _adopt(self):
        room = self.room
        base = self.states[-1] if self.states else NO_SNAPSHOT
        epoch = len(self.states)
        cut = {}
        for batch in room.batches:
            chain, last = chain_of(batch), batch.envelopes[-1]
            if batch.epoch <= epoch and batch.seq <= self.short.get(chain, 1 << 30):
                cut[chain] = Head(batch.seq, batch.hash, last.lamport, last.ts_ns)
        before = room.snapshots[base]
        over = before.over if before is not None else {}
        cut = {chain: head for chain, head in cut.items() if not is_over(over, chain)}
        self.states.append(room.make(base, cut))
        found = room.snapshots[self.states[-1]]
        for node in self.mesh.nodes.values():
            heard = [e for e in node.journal if isinstance(e, Admitted)]
            ids = {e.id for each in heard for e in each.envelopes} | {e.id for e in node.said}
            self.mesh.feed(node, self._adopted(node.state, found, ids))
            # What is still on its way a node's chains refuse, before the core hears of it.
            over = node.state.over
            late = [e for e in node.inbox if is_over(over, (e.sender, e.epoch, bucket_of(e.thread)))]
            for each in late:
                node.inbox.remove(each)
        self.refused = dict(self.mesh.nodes["ann"].state.refused)

    def _adopted(self, state, found, ids):
        """As a node does that has heard `ids`."""
        stale = tuple(e for e in self.beyond(found) if e.id in ids)
        wanted = {*adopting.to_rebuild(state, found), *closing.threads_of(state, stale)}
        every = [e for batch in self.room.batches for e in batch.envelopes if e.id in ids]
        threads = {name: tuple(e for e in every if e.thread == name) for name in wanted}
        return Adopted(found, threads, self.mesh.now_ns, stale)

    def beyond(self, found):
        return [
            envelope
            for batch in self.room.batches
            if is_over(found.over, chain := chain_of(batch))
            and (chain not in found.cut or found.cut[chain].seq < batch.seq)
            and batch.seq > self.short.get(chain, 1 << 30)
            for envelope in batch.envelopes
        ]

    def newcomer(self):
        return State(self.mesh.genesis, "did:key:newcomer", check_everything=True)

    def told(self, seed):
        """A node that hears all of it in an order of its own, the checkpoints at times of its own."""
        rng, state, ids = random.Random(seed), self.newcomer(), set()
        order = list(self.room.batches)
        rng.shuffle(order)
        todo = [*order]
        for found, place in zip(self.snapshots, sorted(rng.sample(range(len(todo)), 3)), strict=True):
            todo.insert(place, found)
        for what in todo:
            if what in self.snapshots:
                step(state, self._adopted(state, what, ids))
            elif not is_over(state.over, chain_of(what)):
                ids |= {envelope.id for envelope in what.envelopes}
                step(state, Admitted(what.envelopes, {}, self.mesh.now_ns))
        return state


@pytest.mark.property_id("P2")
@pytest.mark.property_id("P4")
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_any_order_comes_to_the_same(rooms, make_task, seed):
    """Whether it heard the words that no cut has before a checkpoint closed their chains, after it, or never."""
    history = History(rooms, make_task, seed)
    ann = history.mesh.nodes["ann"].did
    assert history.last.over[ann] == 0
    gone = history.beyond(history.last)
    assert gone
    never = history.newcomer()
    step(never, Adopted(history.last, {}, history.mesh.now_ns))
    for batch in history.room.batches:
        if not is_over(never.over, chain_of(batch)):
            step(never, Admitted(batch.envelopes, {}, history.mesh.now_ns))
    digests = {mesh_digest(history.told(order)) for order in range(seed, seed + 4)}
    assert digests == {mesh_digest(never)}
    # And nothing of them is left with those who had lived through it.
    for node in history.mesh.nodes.values():
        held = {ref for need in node.state.needs.values() for ref in need.seen}
        assert not held & {envelope.id for envelope in gone}
        assert {e.need for known in node.state.ledger.entries.values() for e in known.values()}.isdisjoint(
            e.thread for e in gone if e.kind == "NEED" and e.thread not in node.state.needs
        )
        assert mesh_digest(node.state) == mesh_digest(never)


def test_the_owner_is_told_of_a_need_that_no_cut_has_and_can_post_again(rooms, make_task):
    for seed in range(40):
        history = History(rooms, make_task, seed)
        gone = history.beyond(history.last)
        lost = [each.thread for each in gone if each.kind == "NEED" and each.thread not in history.last.open]
        if lost:
            break
    assert lost
    assert dict.fromkeys(lost, closing.WHY).items() <= history.refused.items()
    # The entry of its account was never made, so the number is free, and the next need has it.
    [again] = [e for e in history.mesh.nodes["ann"].said if e.kind == "NEED" and e.epoch == 3]
    assert again.thread == lost[0]
    for node in history.mesh.nodes.values():
        assert node.state.needs[again.thread].envelope == again.id
        assert node.state.ledger.escrows[again.thread].state in ("funded", "released")


def test_what_this_node_promised_binds_it_though_part_of_the_need_is_dropped(rooms, make_task):
    """Else who had voted would vote again, for another plan in the same round: that is slashed."""
    found = 0
    for seed in range(30):
        history = History(rooms, make_task, seed)
        gone = {envelope.thread for envelope in history.beyond(history.last)}
        for node in history.mesh.nodes.values():
            for thread in gone & node.state.needs.keys():
                need = node.state.needs[thread]
                votes = [
                    e
                    for e in node.said
                    if e.thread == thread and e.kind == "ATTEST_PLAN" and e.payload["verdict"] == "accept"
                ]
                known = [need.proposals[e.refs[0]] for e in votes if e.refs[0] in need.proposals]
                rounds = [proposal.round for proposal in known if proposal.draw == need.draw]
                assert all(need.voted.get(number) for number in rounds)
                assert len(rounds) == len(set(rounds))
                found += len(rounds)
    assert found


# Snapshots --------------------------------------------------------------------------------------------------------


def test_a_snapshot_has_what_is_closed_and_one_of_before_has_nothing(rooms, make_task):
    history = History(rooms, make_task, 5)
    packed = pack(history.last)
    assert unpack(packed) == history.last
    assert set(packed.parts) == set(part_names(packed.head))
    plain = replace(history.last, over={}, present={})
    of_before = pack(plain)
    assert len(part_names(of_before.head)) == len(part_names(packed.head)) - 1
    assert unpack(of_before) == plain
    # The rows of closed chains are in this cut, whose members had to see them, and in no later one.
    assert any(is_over(history.last.over, chain) for chain in history.last.cut)
    later = choose_cut(history.last.cut, history.last, history.last.epoch + 1)
    assert later and not any(is_over(history.last.over, chain) for chain in later)


@pytest.mark.parametrize(
    "rows",
    [
        [["a"]],
        [[1, 0, []]],
        [["a", -1, []]],
        [["a", 1, [2, 2]]],
        [["a", 1, [3, 2]]],
        [["a", 1, ["x"]]],
        [["a", 1, 7]],
        7,
    ],
)
def test_a_part_that_makes_no_sense_is_refused(rows):
    with pytest.raises(RemoteFault) as fault:
        parse_over(encode(rows))
    assert fault.value.code == "bad-snapshot"


def test_a_restart_knows_what_is_closed(rooms, make_task):
    history = History(rooms, make_task, 5)
    state = history.mesh.nodes["bob"].state
    again = load(history.mesh.genesis, state.me, dump(state), check_everything=True)
    assert again.over == state.over != {}
    assert state_digest(again) == state_digest(state)
