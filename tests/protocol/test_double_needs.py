"""P9: an owner says two NEEDs under one entry of its account, in two epochs: two chains, so no chain shows it up.

Nodes hear them in either order and fund the one that they hear first. What the next checkpoint has of them is the same for
everybody, and so is the owner's account from then on, whatever else came after either of them.
"""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.protocol.checkpoint.snapshot import pack, unpack
from swarmd.protocol.digest import mesh_digest
from swarmd.protocol.engine import step
from swarmd.protocol.inputs import Admitted, Adopted
from swarmd.protocol.ledger.accounts import fund_entry
from swarmd.protocol.state import State

BALANCE = 10_000_000  # of everybody, in minor units
ELSEWHERE = bytes([7]) * 32  # the hash of an entry that nobody ever said

pytestmark = pytest.mark.property_id("P9")


class Liar:
    """A member that says what a test wants in its account's chain, and nothing else."""

    def __init__(self, mesh, author, make_task):
        self.mesh = mesh
        self.author = author
        self.task = make_task("t1", capability="rare")  # nobody offers it: the needs stay open

    def need(self, seq, prev, budget, epoch):
        """(the NEED of entry `seq` after `prev`, the hash of that entry)"""
        thread = self.author.thread(seq)
        payload = {
            "title": "one of two",
            "budget": budget,
            "deadline_ns": self.mesh.now_ns + 600 * 10**9,
            "fund": {"seq": seq, "prev": prev},
            "tasks": [self.task],
        }
        said = self.author.envelope("NEED", payload, thread=thread, ts_ns=self.mesh.now_ns, epoch=epoch)
        return said, fund_entry(self.author.did, seq, prev, thread, budget).hash


@pytest.fixture(scope="module")
def told(rooms, author_of, make_task):
    """told(prevs, budgets, order) -> (mesh, room, the two NEEDs), after a checkpoint that has both."""

    def tell(prevs, budgets, orders):
        mesh, room = rooms()
        liar = Liar(mesh, author_of("ann", mesh.genesis.mesh_id), make_task)
        room.settle()
        room.end_epoch()
        one, after_one = liar.need(0, prevs[0], budgets[0], epoch=0)
        two, after_two = liar.need(0, prevs[1], budgets[1], epoch=1)
        # What follows goes on from the one or from the other.
        three, _ = liar.need(1, after_one, 40_000, epoch=0)
        four, _ = liar.need(1, after_two, 50_000, epoch=1)
        said = [one, two, three, four]
        mesh.nodes["ann"].alive = False
        for name, order in zip(("bob", "cee"), orders, strict=True):
            for place in order:
                mesh.feed(mesh.nodes[name], Admitted((said[place],), {}, mesh.now_ns))
        room.settle()
        mesh.nodes["ann"].said += said
        for _ in range(3):
            room.end_epoch()
            if mesh.nodes["bob"].state.epoch == 2:
                break
        return mesh, room, (one, two)

    return tell


def newcomer(mesh, room):
    """Somebody who knows nothing but the last checkpoint."""
    fresh = State(mesh.genesis, mesh.nodes["ann"].did, check_everything=True)
    packed = pack(room.snapshots[room.adopted["bob"]])
    step(fresh, Adopted(unpack(packed), {}, mesh.now_ns))
    return fresh


def test_the_need_that_the_checkpoint_left_out_funds_nothing_any_more(told):
    """Who heard it first had locked its money, and that of what followed."""
    mesh, room, (one, two) = told((ELSEWHERE, bytes(32)), (30_000, 60_000), ((0, 1, 2, 3), (1, 3, 0, 2)))
    bob, cee = (mesh.nodes[name].state for name in ("bob", "cee"))
    assert bob.epoch == cee.epoch == 2
    assert bob.needs[one.thread].envelope == cee.needs[one.thread].envelope == one.id
    for state in (bob, cee, newcomer(mesh, room)):
        account = state.ledger.account(one.sender)
        assert (account.available, account.locked, account.next_seq) == (BALANCE, 0, 0)
        [entry] = state.ledger.entries[(one.sender, 0)].values()
        assert entry.amount == 30_000


def test_the_need_that_the_checkpoint_has_stands_with_its_own_budget(told):
    """Both fit the account: the smaller hash must not decide what the checkpoint has decided."""
    for budgets in ((30_000, 60_000), (60_000, 30_000)):
        mesh, room, (one, _) = told((bytes(32), bytes(32)), budgets, ((0, 1, 2, 3), (1, 3, 0, 2)))
        for state in (mesh.nodes["bob"].state, mesh.nodes["cee"].state, newcomer(mesh, room)):
            assert state.ledger.escrows[one.thread].held == state.needs[one.thread].budget == budgets[0]


@settings(max_examples=40)
@given(
    prevs=st.tuples(*[st.sampled_from((bytes(32), ELSEWHERE))] * 2),
    budgets=st.tuples(*[st.sampled_from((30_000, 60_000, BALANCE - 45_000, BALANCE + 1))] * 2),
    orders=st.tuples(*[st.sampled_from(list(permutations(range(4))))] * 2),
)
def test_whatever_came_first_all_have_the_same_after_a_checkpoint(told, prevs, budgets, orders):
    mesh, room, (one, _) = told(prevs, budgets, orders)
    assert {mesh.nodes[name].state.epoch for name in ("bob", "cee")} == {2}
    assert len({*mesh.digests(), mesh_digest(newcomer(mesh, room))}) == 1
    for name in ("bob", "cee"):
        ledger = mesh.nodes[name].state.ledger
        ledger.check_all()
        assert len(ledger.entries.get((one.sender, 0), ())) <= 1
