"""P9: an owner says two NEEDs under one entry of its account, in two epochs: two chains, so no chain shows it up.

Nodes hear them in either order and fund the one that they hear first. What the next checkpoint has of them is the same for
everybody, and so is the owner's account from then on, whatever else came after either of them.
"""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.protocol.bonds import FORFEITED
from swarmd.protocol.checkpoint.packing import pack
from swarmd.protocol.checkpoint.unpacking import unpack
from swarmd.protocol.digest import mesh_digest
from swarmd.protocol.dumping import dump, load
from swarmd.protocol.engine import step
from swarmd.protocol.envelope import account_thread
from swarmd.protocol.inputs import Admitted, Adopted
from swarmd.protocol.ledger.accounts import fund_entry
from swarmd.protocol.shadow import keeping
from swarmd.protocol.shadow.record import spend_of
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

    def need(self, seq, prev, budget, epoch, **change):
        """(the NEED of entry `seq` after `prev`, the hash of that entry)"""
        thread = self.author.thread(seq)
        payload = {
            "title": "one of two",
            "budget": budget,
            "deadline_ns": self.mesh.now_ns + 600 * 10**9,
            "fund": {"seq": seq, "prev": prev},
            "tasks": [self.task],
        }
        said = self.author.envelope(
            "NEED", payload, thread=thread, ts_ns=self.mesh.now_ns, epoch=epoch, **change
        )
        return said, fund_entry(self.author.did, seq, prev, thread, budget).hash

    def transfer(self, seq, prev, to, amount, **change):
        payload = {
            "op": "transfer",
            "seq": seq,
            "prev": prev,
            "to": to,
            "amount": amount,
            "key": "k",
            "memo": "",
        }
        thread = account_thread(self.author.did)
        return self.author.envelope("MONEY", payload, thread=thread, ts_ns=self.mesh.now_ns, **change)


def begun(rooms, author_of, make_task, *names):
    """(mesh, room, a liar who is known by what a test says of it) in the second epoch"""
    mesh, room = rooms(*names)
    liar = Liar(mesh, author_of("ann", mesh.genesis.mesh_id), make_task)
    room.settle()
    room.end_epoch()
    mesh.nodes["ann"].alive = False
    return mesh, room, liar


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


def test_a_need_that_opens_nothing_leaves_no_trace_in_either_order(rooms, author_of, make_task):
    """Its tasks cost more than its budget. Who heard it after the one that stands had it on record, who heard it before had not."""
    mesh, room, liar = begun(rooms, author_of, make_task)
    empty, _ = liar.need(0, ELSEWHERE, 1, epoch=0)
    stands, _ = liar.need(0, bytes(32), 60_000, epoch=1)
    tell(mesh, empty, stands, to=["bob"])
    tell(mesh, stands, empty, to=["cee"])
    bob, cee = (mesh.nodes[name].state for name in ("bob", "cee"))
    for state in (bob, cee):
        need = state.needs[stands.thread]
        assert need.envelope == stands.id and empty.id not in need.seen and not need.void
    assert mesh_digest(bob) == mesh_digest(cee)


def test_a_bond_about_the_need_that_does_not_stand_is_not_forfeited(rooms, author_of, make_task):
    """One node has seen a challenge fail, of a result for the NEED that the checkpoint then leaves out."""
    mesh, room, liar = begun(rooms, author_of, make_task)
    one, _ = liar.need(0, bytes(32), 30_000, epoch=0)
    two, _ = liar.need(0, bytes(32), 60_000, epoch=1)
    tell(mesh, two, one, to=["cee"])
    cee, bob = mesh.nodes["cee"].state, author_of("bob", mesh.genesis.mesh_id)
    stake = {"seq": 0, "prev": bytes(32), "amount": 10_000}
    payload = {"task": "t1", "reason": "wrong", "evidence": [], "bond": stake}
    challenge = bob.envelope("CHALLENGE", payload, thread=two.thread, epoch=1, lamport=90, refs=(two.id,))
    tell(mesh, challenge, to=["cee"])
    [bond] = cee.bonds
    cee.ledger.settle(bond, {"bond": (mesh.nodes["ann"].did, 10_000)}, FORFEITED)
    mesh.nodes["ann"].said += [one, two]
    next_epoch(mesh, room)
    assert cee.needs[one.thread].envelope == one.id
    assert (cee.ledger.escrows[bond].state, cee.ledger.escrows[bond].held) == ("funded", 10_000)
    cee.ledger.check_all()


@settings(max_examples=20)
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


# What is final ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def paid(rooms, author_of, make_task):
    """(mesh, room, liar, one, two, transfer): in epoch 1 `ann` says a NEED and a transfer to bob after it; `two` is another
    NEED under the same entry, which comes first in any cut. Nobody has heard of any of them."""
    mesh, room, liar = begun(rooms, author_of, make_task, ["ann", "bob", "cee", "dan", "eve"])
    two, _ = liar.need(0, bytes(32), 60_000, epoch=0, lamport=1)
    one, after_one = liar.need(0, bytes(32), 30_000, epoch=1, lamport=50)
    transfer = liar.transfer(1, after_one, mesh.nodes["bob"].did, 400_000, epoch=1, lamport=60)
    return mesh, room, liar, one, two, transfer


def tell(mesh, *envelopes, to=("bob", "cee", "dan", "eve")):
    for name in to:
        for envelope in envelopes:
            mesh.feed(mesh.nodes[name], Admitted((envelope,), {}, mesh.now_ns))


def vote(mesh, room):
    for _ in range(3):
        mesh.tick(0.01)
        room.settle()


def next_epoch(mesh, room):
    epoch = mesh.nodes["bob"].state.epoch
    for _ in range(6):
        room.end_epoch()
        if mesh.nodes["bob"].state.epoch > epoch:
            return
    raise AssertionError("no checkpoint is agreed to any more")


def balances(mesh, name):
    did = mesh.nodes[name].did
    return {node.state.ledger.account(did).available for node in mesh.nodes.values() if node.alive}


def test_what_is_final_after_one_of_two_needs_stays_final(paid):
    """The cut has the other NEED first, and something else of the account after that: neither takes the money back, and
    checkpoints go on."""
    mesh, room, liar, one, two, transfer = paid
    tell(mesh, one, transfer)
    vote(mesh, room)
    assert balances(mesh, "bob") == {BALANCE + 400_000}
    _, after_two = liar.need(0, bytes(32), 60_000, epoch=0)
    other, _ = liar.need(1, after_two, 40_000, epoch=1, lamport=70)
    tell(mesh, two, other)
    mesh.nodes["ann"].said += [two, one, transfer, other]
    next_epoch(mesh, room)
    for name in ("bob", "cee", "dan", "eve"):
        assert mesh.need(name, one.thread).envelope == one.id
    assert balances(mesh, "bob") == {BALANCE + 400_000}
    assert len({*mesh.digests(), mesh_digest(newcomer(mesh, room))}) == 1
    next_epoch(mesh, room)
    assert balances(mesh, "bob") == {BALANCE + 400_000}


def test_who_knows_of_two_needs_signs_nothing_after_them_until_a_checkpoint_has_one(paid):
    mesh, room, _, one, two, transfer = paid
    tell(mesh, one, two, transfer)
    vote(mesh, room)
    assert balances(mesh, "bob") == {BALANCE}
    assert not any(node.state.shadow.promised for node in mesh.nodes.values())
    loaded = load(mesh.genesis, mesh.nodes["bob"].did, dump(mesh.nodes["bob"].state))
    assert loaded.shadow.rivals == mesh.nodes["bob"].state.shadow.rivals != {}
    mesh.nodes["ann"].said += [two, one, transfer]
    next_epoch(mesh, room)
    assert mesh.need("bob", one.thread).envelope == two.id
    assert not any(node.state.shadow.rivals for node in mesh.nodes.values())
    vote(mesh, room)
    assert balances(mesh, "bob") == {BALANCE}  # it does not go on from what stands


def test_who_signed_agrees_to_no_checkpoint_with_another_need_before_it(paid):
    """The votes are not in the cut: what it comes to would undo what is final."""
    mesh, room, _, one, two, transfer = paid
    tell(mesh, one, transfer)
    mesh.nodes["ann"].said += [two, one, transfer]
    made = room.snapshots[room.make(room.adopted["bob"])]  # before anybody has signed
    vote(mesh, room)
    state = mesh.nodes["bob"].state
    assert state.shadow.promised
    assert made.accounts[one.sender].head != state.ledger.account(one.sender).head
    assert "another entry 0" in keeping.broken_promise(state, made)
    assert keeping.broken_promise(state, room.snapshots[room.make(room.adopted["bob"])]) == ""


def test_who_signed_agrees_to_no_checkpoint_in_which_another_need_waits_before_it(paid):
    mesh, room, liar, one, _, transfer = paid
    two, _ = liar.need(0, bytes(32), BALANCE + 1, epoch=0, lamport=1)
    tell(mesh, one, transfer)
    mesh.nodes["ann"].said += [two, one, transfer]
    made = room.snapshots[room.make(room.adopted["bob"])]
    vote(mesh, room)
    assert made.open[one.thread].escrow is None
    assert "another need 0" in keeping.broken_promise(mesh.nodes["bob"].state, made)


def test_a_promise_that_a_checkpoint_made_void_binds_nobody(paid):
    """One member had signed; the others knew of both NEEDs. Their checkpoint has the other, and the next ones are agreed to."""
    mesh, room, _, one, two, transfer = paid
    tell(mesh, one, transfer, to=["bob"])
    mesh.tick(0.01)
    bob = mesh.nodes["bob"].state
    room.settle()
    assert set(bob.shadow.promised) == {(one.sender, 1)}
    tell(mesh, two, one, transfer, to=("cee", "dan", "eve"))
    tell(mesh, two, to=["bob"])
    mesh.nodes["ann"].said += [two, one, transfer]
    next_epoch(mesh, room)
    assert mesh.need("bob", one.thread).envelope == two.id
    assert not bob.shadow.promised
    assert len(mesh.digests()) == 1


@pytest.mark.parametrize("in_its_place", [False, True])
def test_what_too_few_signed_does_not_stop_checkpoints_for_good(paid, in_its_place):
    """Two of five have signed, two had heard what contradicts it, and one is gone: no three of them have one view. In the
    first rounds those that signed wait for a certificate that may yet show up; none does."""
    mesh, room, liar, one, two, transfer = paid
    if in_its_place:  # no need comes before it: it has the need's own number
        one, transfer = None, liar.transfer(0, bytes(32), mesh.nodes["bob"].did, 400_000, epoch=1, lamport=60)
    first = [said for said in (one, transfer) if said is not None]
    tell(mesh, *first, to=["bob", "cee"])
    tell(mesh, two, to=["dan", "eve"])
    mesh.tick(0.01)  # bob and cee sign
    tell(mesh, two, to=["bob", "cee"])
    tell(mesh, *first, to=["dan", "eve"])
    room.settle()
    assert [len(mesh.nodes[name].state.shadow.promised) for name in ("bob", "cee", "dan", "eve")] == [
        1,
        1,
        0,
        0,
    ]
    mesh.nodes["ann"].said += [two, *first]
    room.end_epoch()
    assert mesh.nodes["bob"].state.epoch == 1  # not agreed to in its first round
    next_epoch(mesh, room)
    assert mesh.need("bob", two.thread).envelope == two.id
    assert balances(mesh, "bob") == {BALANCE}
    assert len({*mesh.digests(), mesh_digest(newcomer(mesh, room))}) == 1


def test_what_is_known_to_be_final_binds_in_every_round(paid):
    mesh, room, _, one, two, transfer = paid
    tell(mesh, one, transfer)
    mesh.nodes["ann"].said += [two, one, transfer]
    made = room.snapshots[room.make(room.adopted["bob"])]
    vote(mesh, room)
    for round_ in (0, keeping.GIVE_WAY_ROUND, 100):
        assert keeping.broken_promise(mesh.nodes["bob"].state, made, round_)


ORDERS = st.permutations(range(3))


@settings(max_examples=12)
@given(orders=st.tuples(ORDERS, ORDERS, ORDERS, ORDERS), votes_between=st.booleans())
def test_in_whatever_order_they_come_nothing_final_is_undone(
    rooms, author_of, make_task, orders, votes_between
):
    """Four members hear the two NEEDs and the transfer after one of them in any order, and vote in between or not."""
    mesh, room, liar = begun(rooms, author_of, make_task, ["ann", "bob", "cee", "dan", "eve"])
    two, _ = liar.need(0, bytes(32), 60_000, epoch=0, lamport=1)
    one, after_one = liar.need(0, bytes(32), 30_000, epoch=1, lamport=50)
    transfer = liar.transfer(1, after_one, mesh.nodes["bob"].did, 400_000, epoch=1, lamport=60)
    said = [one, two, transfer]
    for step_of in range(3):
        for name, order in zip(("bob", "cee", "dan", "eve"), orders, strict=True):
            tell(mesh, said[order[step_of]], to=[name])
        if votes_between:
            vote(mesh, room)
    vote(mesh, room)
    final = any(transfer_is_final(node.state, transfer) for node in mesh.nodes.values())
    mesh.nodes["ann"].said += [two, one, transfer]
    next_epoch(mesh, room)
    assert balances(mesh, "bob") == {BALANCE + 400_000 * final}
    assert len({*mesh.digests(), mesh_digest(newcomer(mesh, room))}) == 1
    next_epoch(mesh, room)
    assert balances(mesh, "bob") == {BALANCE + 400_000 * final}


def transfer_is_final(state, transfer):
    return spend_of(transfer).hash in state.ledger.certified
