"""Needs that their owners cannot pay for: checkpoints let go of them, and an account goes on past what it will never pay.

Who posts them costs the mesh no more than for a while, nobody is blamed for what nobody could decide, and an owner that
asked for too much once can ask again (adr/0047).
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.protocol.checkpoint.packing import pack
from swarmd.protocol.checkpoint.unpacking import unpack
from swarmd.protocol.cids import dag_cbor_cid
from swarmd.protocol.digest import mesh_digest, state_digest
from swarmd.protocol.dumping import dump, load
from swarmd.protocol.engine import step
from swarmd.protocol.inputs import Admitted, Adopted
from swarmd.protocol.ledger.accounts import fund_entry
from swarmd.protocol.limits import S_NS
from swarmd.protocol.state import State
from swarmd.protocol.work import committees

BALANCE = 10_000_000  # of everybody, in minor units
NOWHERE = bytes([7]) * 32  # the hash of an entry that nobody ever said
OTHERS = ("bob", "cee")

pytestmark = pytest.mark.property_id("P9")


class Owner:
    """ann, who says what a test wants in her account's chain, and nothing else."""

    def __init__(self, mesh, room, author, make_task):
        self.mesh, self.room, self.author = mesh, room, author
        self.task = make_task("t1")
        self.did = author.did
        mesh.nodes["ann"].alive = False

    def need(self, seq, prev, budget, deadline_s=60):
        """The NEED of entry `seq` after `prev`; `entry` is that entry's hash."""
        payload = {
            "title": "unpaid",
            "budget": budget,
            "deadline_ns": self.mesh.now_ns + deadline_s * S_NS,
            "fund": {"seq": seq, "prev": prev},
            "tasks": [self.task],
        }
        epoch = self.mesh.nodes["bob"].state.epoch
        return self.author.envelope(
            "NEED", payload, thread=self.author.thread(seq), ts_ns=self.mesh.now_ns, epoch=epoch
        )

    def tell(self, *envelopes, to=OTHERS):
        for name in to:
            for envelope in envelopes:
                self.mesh.feed(self.mesh.nodes[name], Admitted((envelope,), {}, self.mesh.now_ns))
        self.mesh.nodes["ann"].said += envelopes
        self.room.settle()

    def entry(self, need):
        fund = need.payload["fund"]
        return fund_entry(self.did, fund["seq"], fund["prev"], need.thread, need.payload["budget"]).hash

    def pass_epochs(self, count):
        end = self.mesh.nodes["bob"].state.epoch + count
        for _ in range(4 * count):
            if self.mesh.nodes["bob"].state.epoch < end:
                self.room.end_epoch()
        assert self.mesh.nodes["bob"].state.epoch >= end, "no checkpoint is agreed to any more"

    @property
    def states(self):
        return [self.mesh.nodes[name].state for name in OTHERS]

    def snapshot(self):
        return self.room.snapshots[self.room.adopted["bob"]]

    def newcomer(self):
        """Somebody who knows nothing but the last checkpoint."""
        fresh = State(self.mesh.genesis, self.did, check_everything=True)
        step(fresh, Adopted(unpack(pack(self.snapshot())), {}, self.mesh.now_ns))
        return fresh

    def account(self, state):
        found = state.ledger.account(self.did)
        return found.available, found.locked, found.next_seq


@pytest.fixture
def owner(rooms, author_of, make_task):
    return owner_of(rooms, author_of, make_task)


def owner_of(rooms, author_of, make_task, names=("ann", "bob", "cee"), **params):
    mesh, room = rooms(names, verifiers=list(OTHERS), **params)
    return Owner(mesh, room, author_of("ann", mesh.genesis.mesh_id), make_task)


def test_it_is_drawn_no_committees_however_many_checkpoints_find_it(owner):
    """One message would have every snapshot grow by an epoch and its roster with each epoch, for good."""
    need = owner.need(0, bytes(32), 2 * BALANCE, deadline_s=20_000)
    owner.tell(need)
    owner.pass_epochs(3)
    early = len(owner.snapshot().rosters)
    owner.pass_epochs(12)
    for state in owner.states:
        assert state.needs[need.thread].draws == (0,)
    assert len(owner.snapshot().rosters) <= early + 12  # those of the last epochs, and no others
    owner.pass_epochs(12)
    assert len(owner.snapshot().rosters) <= 18


def test_once_it_is_paid_for_its_committee_has_as_long_as_any(owner, make_task):
    """Two checkpoints found it unpaid, which is no reason for another committee; two that find it paid for are."""
    owner.task = make_task("t1", capability="rare")  # nobody offers it
    need = owner.need(0, bytes(32), BALANCE + 20_000, deadline_s=20_000)
    owner.tell(need)
    owner.pass_epochs(2)
    owner.mesh.nodes["ann"].alive = True
    owner.mesh.publish_manifest("ann", {"rich": 20_000})
    for name in OTHERS:
        owner.mesh.publish_manifest(name, {})
    owner.mesh.post("bob", [make_task("t1", capability="rich")], 30_000)
    owner.room.settle()
    owner.mesh.nodes["ann"].alive = False
    for state in owner.states:
        assert state.ledger.escrows[need.thread].state == "funded"
    owner.pass_epochs(1)
    assert {state.needs[need.thread].draws for state in owner.states} == {(0,)}
    owner.pass_epochs(1)
    assert {len(state.needs[need.thread].draws) for state in owner.states} == {2}


def test_it_expires_and_the_account_goes_on(owner):
    """Behind it is one that the account can pay for: it waited for that long, and is done then."""
    much = owner.need(0, bytes(32), 2 * BALANCE)
    little = owner.need(1, owner.entry(much), 30_000, deadline_s=20_000)
    owner.tell(much, little)
    owner.pass_epochs(3)  # deadline, grace and two epochs: 240 s
    assert {much.thread, little.thread} <= owner.states[0].needs.keys()
    owner.pass_epochs(2)
    for state in (*owner.states, owner.newcomer()):
        assert much.thread not in state.needs
        assert owner.account(state) == (BALANCE - 30_000, 30_000, 2)
        assert "money" not in state.needs[little.thread].waiting_for
    for name in OTHERS:
        owner.mesh.publish_manifest(name, {"echo": 20_000})  # those of before have grown old
    owner.room.settle()
    assert {state.needs[little.thread].state() for state in owner.states} == {"FINALIZED"}
    assert len(owner.mesh.digests()) == 1
    found = [snapshot.closed for snapshot in owner.room.snapshots.values() if snapshot is not None]
    [closed] = {repr(each[much.thread]): each[much.thread] for each in found if much.thread in each}.values()
    assert (closed.outcome, dict(closed.paid), closed.returned) == ("expired", {}, 0)


def test_it_is_not_let_go_of_before_two_epochs_after_its_deadline(owner):
    """What pays for it may be on its way."""
    need = owner.need(0, bytes(32), 2 * BALANCE, deadline_s=300)
    owner.tell(need)
    while owner.mesh.now_ns < need.payload["deadline_ns"] + (60 + 2 * 60) * S_NS:
        assert all(need.thread in state.needs for state in owner.states)
        owner.pass_epochs(1)
    owner.pass_epochs(2)
    assert not any(need.thread in state.needs for state in owner.states)


def test_what_its_account_never_comes_to_is_let_go_of_too(owner):
    """Entries after one that nobody ever said: their needs would be in every snapshot for good."""
    lost = [owner.need(seq, NOWHERE, 30_000) for seq in range(1, 6)]
    owner.tell(*lost)
    owner.pass_epochs(6)
    for state in (*owner.states, owner.newcomer()):
        assert not state.needs
        assert state.bonds.keys() == {need.thread for need in lost}
    assert not owner.snapshot().open
    # Heard once more, epochs later, they open nothing.
    owner.pass_epochs(4)
    for state in owner.states:
        step(state, Admitted(tuple(lost), {}, owner.mesh.now_ns))
        assert not state.needs
    assert len({*owner.mesh.digests(), mesh_digest(owner.newcomer())}) == 1


def test_who_was_away_for_epochs_lets_go_of_it_too(owner):
    """The one checkpoint that it adopts is not the one that closed it."""
    lost = owner.need(1, NOWHERE, 30_000)
    owner.tell(lost)
    cee = owner.mesh.nodes["cee"]
    away = load(owner.mesh.genesis, cee.did, dump(cee.state))
    owner.pass_epochs(8)
    assert lost.thread not in owner.snapshot().closed
    step(away, Adopted(owner.snapshot(), {}, owner.mesh.now_ns))
    assert not away.needs
    assert mesh_digest(away) == mesh_digest(cee.state)


def test_its_entry_keeps_its_place_in_the_account(owner):
    """The entry before it comes at last. It locks its money then, which goes home with the next checkpoint, and the account
    goes on behind it."""
    first = owner.need(0, bytes(32), 50_000, deadline_s=20_000)
    second = owner.need(1, owner.entry(first), 30_000)
    third = owner.need(2, owner.entry(second), 40_000, deadline_s=20_000)
    owner.tell(second, third)
    owner.pass_epochs(6)
    for state in owner.states:
        assert second.thread not in state.needs and third.thread in state.needs
    owner.tell(first)
    for state in owner.states:
        assert owner.account(state)[2] == 3
        assert state.ledger.escrows[second.thread].state == "funded"
        assert second.thread not in state.needs
        assert load(owner.mesh.genesis, state.me, dump(state)).ledger.escrows == state.ledger.escrows
    owner.pass_epochs(1)
    for state in (*owner.states, owner.newcomer()):
        assert second.thread not in state.ledger.escrows
        assert not state.bonds
        assert owner.account(state) == (BALANCE - 90_000, 90_000, 3)
    assert len(owner.mesh.digests()) == 1


def test_an_account_goes_on_past_a_bond_that_it_cannot_pay_for(owner):
    """A CHALLENGE of nothing, with more than there is: it went home if it were paid, so it need not be."""
    stake = {"seq": 0, "prev": bytes(32), "amount": 2 * BALANCE}
    payload = {"task": "t1", "reason": "wrong", "evidence": [], "bond": stake}
    thread = owner.author.thread(9)
    challenge = owner.author.envelope("CHALLENGE", payload, thread=thread, refs=(dag_cbor_cid(b"nothing"),))
    owner.tell(challenge)
    [(name, bond)] = owner.states[0].bonds.items()
    need = owner.need(1, bond.entry.hash, 30_000, deadline_s=20_000)
    owner.tell(need)
    owner.pass_epochs(4)  # for two it is kept for the need that it is about
    for state in owner.states:
        assert name not in state.bonds
        assert owner.account(state)[2] == 2
    assert len(owner.mesh.digests()) == 1


@settings(max_examples=25)
@given(
    asked=st.lists(
        st.tuples(
            st.integers(0, 4),  # seq
            st.booleans(),  # does it go on from the one before?
            st.sampled_from((30_000, BALANCE - 40_000, BALANCE, 3 * BALANCE)),
            st.sampled_from((30, 90, 20_000)),  # deadline, seconds
        ),
        max_size=6,
        unique_by=lambda one: one[0],
    ),
    random=st.randoms(use_true_random=False),
    late=st.integers(0, 3),
)
def test_whoever_heard_what_first_all_have_the_same(rooms, author_of, make_task, asked, random, late):
    """Needs of all sorts, told in any order, some of them epochs later: all nodes and who begins at the last checkpoint agree,
    no money is made or lost, and nothing stays that nobody will pay for."""
    owner = owner_of(rooms, author_of, make_task)
    owner.task = make_task("t1", capability="rare")  # nobody offers it
    said, prev = [], bytes(32)
    for seq, goes_on, budget, deadline_s in sorted(asked):
        said.append(owner.need(seq, prev if goes_on else NOWHERE, budget, deadline_s))
        prev = owner.entry(said[-1])
    random.shuffle(said)
    cut = min(late, len(said))
    owner.tell(*said[cut:])
    owner.pass_epochs(late)
    for need in said[:cut]:
        owner.tell(need, to=random.sample(OTHERS, len(OTHERS)))
    owner.pass_epochs(6)
    assert len({*owner.mesh.digests(), mesh_digest(owner.newcomer())}) == 1
    for state in (*owner.states, owner.newcomer()):
        state.ledger.check_all()
        for name, need in state.needs.items():
            paid = state.ledger.escrows[name].state != "waiting"
            assert paid or need.deadline_ns + 400 * S_NS > owner.mesh.now_ns
        assert sum(account.available for account in state.ledger.accounts.values()) <= 3 * BALANCE
    again = load(owner.mesh.genesis, owner.states[0].me, dump(owner.states[0]))
    assert state_digest(again) == state_digest(owner.states[0])


def test_nobody_owes_votes_on_it(rooms, author_of, make_task):
    """A member of its committee proposes a plan, and the others wait for the money: they would be jailed for their silence."""
    owner = owner_of(
        rooms, author_of, make_task, ("ann", *OTHERS), verifier_stake=1_000_000, alpha_permille=1000
    )
    need = owner.need(0, bytes(32), 2 * BALANCE, deadline_s=20_000)
    owner.tell(need)
    bob = owner.mesh.nodes["bob"]
    proposer = committees.plan_committee(bob.state.terms, bob.state.needs[need.thread], 0).proposer(0)
    name = next(name for name in OTHERS if owner.mesh.nodes[name].did == proposer)
    liar = author_of(name, owner.mesh.genesis.mesh_id)
    payload = {"round": 0, "lease_s": 60, "plan": {"t1": [[proposer, 20_000]]}}
    said = liar.envelope(
        "PROPOSE", payload, thread=need.thread, refs=(need.id,), lamport=1_000, ts_ns=owner.mesh.now_ns
    )
    for other in OTHERS:
        owner.mesh.feed(owner.mesh.nodes[other], Admitted((said,), {}, owner.mesh.now_ns))
    owner.mesh.nodes[name].said.append(said)
    for _ in range(4):
        owner.pass_epochs(1)
        for state in owner.states:
            assert state.needs[need.thread].proposals
            assert [(each.misses, each.state) for each in state.pool.members.values()] == [(0, "active")] * 2
