"""Shadow balances: transfers that are final by a committee's signatures, withdrawals, deposits; double spends; checkpoints."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.protocol.batch import prove
from swarmd.protocol.checkpoint.packing import pack
from swarmd.protocol.checkpoint.unpacking import unpack
from swarmd.protocol.digest import Digests, mesh_digest, state_digest
from swarmd.protocol.dumping import dump, load
from swarmd.protocol.effects import CheckClaim, Report
from swarmd.protocol.engine import step
from swarmd.protocol.envelope import account_thread
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.inputs import Admitted, Adopted, ClaimChecked, Commanded, Ticked
from swarmd.protocol.ledger.accounts import GENESIS_HEAD
from swarmd.protocol.pool.record import EXPELLED
from swarmd.protocol.shadow import keeping
from swarmd.protocol.shadow.evidence import verify_double_spend
from swarmd.protocol.shadow.record import DOUBLE_SPEND_FAILURES, PAID_OUT, deposit_key, spend_of
from swarmd.protocol.state import NOBODY, State

NAMES = ["ann", "bob", "cee", "dan", "eve"]
START = 1_000_000
ACCOUNT = b"\xaa" * 20
NO_LIMITS = {"max_amount": 0, "max_per_day": 0}


@pytest.fixture
def room_of(rooms):
    def make(names=NAMES, balance=START, **params):
        return rooms(names, balance=balance, **params)

    return make


def pay(mesh, payer, payee, amount, key, memo="", **limits):
    to = mesh.nodes[payee].did
    args = {"to": to, "amount": amount, "key": key, "memo": memo, **NO_LIMITS, **limits}
    mesh.feed(mesh.nodes[payer], Commanded("money.transfer", args, mesh.now_ns))


def withdraw(mesh, payer, amount, key):
    args = {"to": ACCOUNT, "amount": amount, "key": key, "memo": "", **NO_LIMITS}
    mesh.feed(mesh.nodes[payer], Commanded("money.withdraw", args, mesh.now_ns))


def settle(room, rounds=3):
    """Deliver everything; committees vote at the ticks in between."""
    for _ in range(rounds):
        room.mesh.tick(0.01)
        room.settle()


def available(mesh, name, seen_by="ann"):
    return mesh.nodes[seen_by].state.ledger.account(mesh.nodes[name].did).available


def agree(mesh):
    alive = [node for node in mesh.nodes.values() if node.alive]
    assert len({mesh_digest(node.state) for node in alive}) == 1
    for node in alive:
        node.state.ledger.check_all()


def escrow(mesh, name, seen_by="ann"):
    return mesh.nodes[seen_by].state.ledger.escrows[name]


def say(mesh, author, payload, to=None, **change):
    """`author` says it to `to` (all). Returns the envelope and what it was reported for."""
    envelope = author.envelope("MONEY", payload, thread=account_thread(author.did), **change)
    reports = []
    for name in to or mesh.nodes:
        out = step(mesh.nodes[name].state, Admitted((envelope,), {}, mesh.now_ns))
        reports += [effect.code for effect in out if isinstance(effect, Report)]
    return envelope, reports


def entry_of(author, to, amount, seq=0, prev=GENESIS_HEAD, key="k", memo=""):
    return {"op": "transfer", "seq": seq, "prev": prev, "to": to, "amount": amount, "key": key, "memo": memo}


# Transfers -----------------------------------------------------------------------------------------------------


@pytest.mark.property_id("P9")
def test_a_transfer_is_final_once_a_quorum_signed_it_and_not_before(room_of):
    mesh, room = room_of()
    pay(mesh, "ann", "bob", 300_000, "invoice 7")
    room.settle()
    assert available(mesh, "bob") == START  # nobody has signed yet: all have heard
    assert mesh.nodes["ann"].state.own_pending == 300_000
    settle(room)
    agree(mesh)
    assert (available(mesh, "ann"), available(mesh, "bob", "eve")) == (START - 300_000, START + 300_000)
    assert mesh.nodes["ann"].state.own_pending == 0
    [spend] = mesh.nodes["cee"].state.shadow.spends.values()
    assert escrow(mesh, spend.name).state == "released"
    votes = mesh.nodes["cee"].state.shadow.votes[(spend.owner, 0)][spend.hash][0]
    assert len(votes) == 5


def test_fewer_than_a_quorum_make_nothing_final(room_of):
    mesh, room = room_of()
    for name in ("cee", "dan", "eve"):
        mesh.nodes[name].alive = False
    pay(mesh, "ann", "bob", 1, "k")
    settle(room)
    assert available(mesh, "bob") == START
    mesh.nodes["cee"].alive = True
    settle(room)
    assert available(mesh, "bob") == START + 1


def test_many_at_once_are_final_in_few_envelopes(room_of):
    mesh, room = room_of()
    for n in range(100):
        pay(mesh, "ann", "bob", 1_000, f"k{n}")
    settle(room)
    agree(mesh)
    assert available(mesh, "bob") == START + 100_000
    votes = [e for e in mesh.nodes["cee"].said if e.kind == "MONEY"]
    assert len(votes) <= 3 and sum(len(e.payload["entries"]) for e in votes) == 100


def test_a_need_behind_a_transfer_and_one_before_it(room_of, make_task):
    mesh, room = room_of()
    first = mesh.post("ann", [make_task("t1")], 30_000)
    pay(mesh, "ann", "bob", 100_000, "k")
    second = mesh.post("ann", [make_task("t1")], 30_000)
    settle(room, 6)
    agree(mesh)
    for need in (first, second):
        assert mesh.need("bob", need).state() == "FINALIZED"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"amount": START + 1}, "insufficient-funds"),
        ({"amount": 0}, "bad-amount"),
        ({"amount": -5}, "bad-amount"),
        ({"amount": 1.5}, "bad-amount"),
        ({"amount": 1 << 63}, "bad-amount"),
        ({"amount": True}, "bad-amount"),
        ({"to": "did:key:zNobody"}, "bad-transfer"),
        ({"key": "k" * 65}, "bad-transfer"),
        ({"memo": "m" * 257}, "bad-transfer"),
        ({"amount": 501, "max_amount": 500}, "over-limit"),
    ],
)
def test_what_the_owner_may_not_ask_for_changes_nothing(room_of, change, code):
    mesh, room = room_of()
    node = mesh.nodes["ann"]
    before = state_digest(node.state)
    args = {"to": mesh.nodes["bob"].did, "amount": 1, "key": "k", "memo": "", **NO_LIMITS, **change}
    with pytest.raises(LocalFault) as caught:
        mesh.feed(node, Commanded("money.transfer", args, node.state.now_ns))
    assert caught.value.code == code
    assert state_digest(node.state) == before
    with pytest.raises(LocalFault, match="this account already"):
        mesh.feed(node, Commanded("money.transfer", {**args, "amount": 1, "to": node.did}, mesh.now_ns))


def test_what_is_on_its_way_cannot_be_spent_again(room_of):
    mesh, _ = room_of()
    pay(mesh, "ann", "bob", START, "all of it")
    with pytest.raises(LocalFault, match="0 are available|0.000000") as caught:
        pay(mesh, "ann", "cee", 1, "more")
    assert caught.value.code == "insufficient-funds"


def test_a_key_pays_once_and_not_for_two_things(room_of):
    mesh, room = room_of()
    for _ in range(3):
        pay(mesh, "ann", "bob", 1_000, "invoice 7")
    settle(room)
    for args in (("bob", 1_001), ("cee", 1_000)):
        with pytest.raises(LocalFault) as caught:
            pay(mesh, "ann", *args, "invoice 7")
        assert caught.value.code == "key-conflict"
    room.end_epoch()
    pay(mesh, "ann", "bob", 1_000, "invoice 7")  # a checkpoint makes no difference
    settle(room)
    assert available(mesh, "bob") == START + 1_000


def test_a_daily_limit_counts_a_day(room_of):
    mesh, room = room_of(epoch_s=0)
    limit = {"max_per_day": 10_000}
    pay(mesh, "ann", "bob", 6_000, "a", **limit)
    with pytest.raises(LocalFault) as caught:
        pay(mesh, "ann", "bob", 4_001, "b", **limit)
    assert caught.value.code == "over-daily-limit"
    pay(mesh, "ann", "bob", 4_000, "b", **limit)
    mesh.tick(86_400 + 60)
    pay(mesh, "ann", "bob", 10_000, "c", **limit)
    settle(room)
    assert available(mesh, "bob") == START + 20_000


# What strangers and liars try ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [{"amount": 0}, {"to": "self"}],
)
def test_an_empty_transfer_and_one_to_itself_are_void(room_of, author_of, payload):
    mesh, room = room_of()
    ann = author_of("ann")
    payload = {name: ann.did if value == "self" else value for name, value in payload.items()}
    _, reports = say(mesh, ann, {**entry_of(ann, mesh.nodes["bob"].did, 5), **payload}, to=["bob"])
    assert reports == ["void-transfer"]
    assert not mesh.nodes["bob"].state.shadow.spends


def test_nobody_speaks_in_the_thread_of_another_account(room_of, author_of):
    mesh, _ = room_of()
    bob = author_of("bob")
    envelope = bob.envelope(
        "MONEY", entry_of(bob, mesh.nodes["cee"].did, 5), thread=account_thread(author_of("ann").did)
    )
    out = step(mesh.nodes["cee"].state, Admitted((envelope,), {}, mesh.now_ns))
    assert [effect.code for effect in out if isinstance(effect, Report)] == ["misplaced-money"]
    assert not mesh.nodes["cee"].state.shadow.spends
    other = bob.envelope("YIELD", None, thread=account_thread(bob.did))
    assert step(mesh.nodes["cee"].state, Admitted((other,), {}, mesh.now_ns))


def test_an_overdraft_is_never_signed_and_waits_for_money(room_of, author_of):
    mesh, room = room_of()
    ann = author_of("ann")
    say(mesh, ann, entry_of(ann, mesh.nodes["bob"].did, START + 5))
    mesh.nodes["ann"].alive = False
    settle(room)
    assert available(mesh, "bob", "cee") == START
    assert not any(e.kind == "MONEY" for e in mesh.nodes["cee"].said)
    pay(mesh, "dan", "ann", 5, "k")
    settle(room, 4)
    assert available(mesh, "bob", "cee") == 2 * START + 5
    assert available(mesh, "ann", "cee") == 0


def test_entries_out_of_order_apply_in_order_and_replayed_ones_once(room_of, author_of):
    mesh, room = room_of()
    ann, bob = author_of("ann"), mesh.nodes["bob"].did
    thread = account_thread(ann.did)
    said, prev = [], GENESIS_HEAD
    for seq in range(4):
        envelope = ann.envelope("MONEY", entry_of(ann, bob, 10, seq, prev, key=f"k{seq}"), thread=thread)
        prev = spend_of(envelope).hash
        said.append(envelope)
    mesh.nodes["ann"].alive = False
    others = [mesh.nodes[name] for name in NAMES[1:]]
    for at in (3, 1, 2, 1, 3):
        for node in others:
            mesh.feed(node, Admitted((said[at],), {}, mesh.now_ns))
    settle(room)
    assert available(mesh, "bob", "cee") == START
    for node in others:
        mesh.feed(node, Admitted((said[0], said[2]), {}, mesh.now_ns))
    settle(room)
    assert {available(mesh, "bob", name) for name in NAMES[1:]} == {START + 40}


def double_spend(mesh, author):
    """Two entries of one number, to bob and to cee; who hears which first differs."""
    envelopes = [
        author.envelope(
            "MONEY", entry_of(author, mesh.nodes[name].did, 1_000), thread=account_thread(author.did)
        )
        for name in ("bob", "cee")
    ]
    for at, name in enumerate(NAMES[1:]):
        for envelope in envelopes[:: -1 if at % 2 else 1]:
            mesh.nodes[name].inbox.append(envelope)
    return envelopes


@pytest.mark.property_id("P9")
@pytest.mark.parametrize("seed", range(8))
def test_a_double_spend_pays_one_at_most_and_is_proven(room_of, author_of, seed):
    mesh, room = room_of(seed=seed)
    mesh.nodes["ann"].alive = False
    ann = author_of("ann")
    one, other = double_spend(mesh, ann)
    settle(room, 5)
    agree(mesh)
    paid = [available(mesh, name, "dan") - START for name in ("bob", "cee")]
    assert sorted(paid) in ([0, 0], [0, 1_000])
    for name in NAMES[1:]:
        state = mesh.nodes[name].state
        assert (ann.did, 0) in state.ledger.double_spends
        assert state.reputation[ann.did][1] == DOUBLE_SPEND_FAILURES
        signed = [row for e in mesh.nodes[name].said if e.kind == "MONEY" for row in e.payload["entries"]]
        assert (
            len({bytes(entry) for _, _, entry in signed}) <= 1
        )  # an honest member signs one of them at most


def test_of_two_entries_of_one_number_that_are_known_a_member_signs_neither(room_of, author_of):
    mesh, room = room_of()
    mesh.nodes["ann"].alive = False
    double_spend(mesh, author_of("ann"))
    room.settle()
    settle(room)
    assert not any(e.kind == "MONEY" for name in NAMES[1:] for e in mesh.nodes[name].said)
    assert available(mesh, "bob", "dan") == available(mesh, "cee", "dan") == START


def test_a_verifier_that_spends_twice_loses_its_seat(room_of, author_of):
    mesh, room = room_of()
    mesh.nodes["ann"].alive = False
    ann = author_of("ann")
    envelopes = double_spend(mesh, ann)
    mesh.nodes["ann"].said += envelopes  # so that they are in the cut
    settle(room)
    mesh.nodes["ann"].alive = True
    room.end_epoch()
    assert mesh.nodes["bob"].state.pool.members[ann.did].state == EXPELLED


def test_a_double_spend_proves_itself_offline_and_nothing_else_does(author_of):
    ann, bob = author_of("ann"), author_of("bob")
    mesh_id = ann.mesh_id

    def proof(author, *payloads):
        said = [author.envelope("MONEY", payload, thread=account_thread(author.did)) for payload in payloads]
        _, [batch] = author.flush(said)
        return [prove(batch, index).to_list() for index in range(len(said))]

    first, again = entry_of(ann, bob.did, 5), entry_of(ann, bob.did, 6)
    one, other = proof(ann, first, again)
    found = verify_double_spend(mesh_id, one, other)
    assert (found["who"], found["as"], found["account"], found["seq"]) == (ann.did, "owner", ann.did, 0)
    need = ann.envelope("NEED", thread=ann.thread(0))
    _, [batch] = ann.flush([need])
    assert verify_double_spend(mesh_id, one, prove(batch, 0).to_list())["seq"] == 0
    votes = [{"op": "confirm", "entries": [[ann.did, 0, bytes([n]) * 32]]} for n in (1, 2)]
    yes, no = proof(bob, *votes)
    assert verify_double_spend(mesh_id, yes, no)["as"] == "member"
    [later] = proof(ann, entry_of(ann, bob.did, 5, seq=1))
    for pair in ((one, one), (one, later), (one, yes), (yes, yes)):
        with pytest.raises(RemoteFault) as caught:
            verify_double_spend(mesh_id, *pair)
        assert caught.value.code == "no-contradiction"
    forged = [other[0], *other[1:5], [bytes(64), *other[5][1:]]]
    with pytest.raises(RemoteFault) as caught:
        verify_double_spend(mesh_id, one, forged)
    assert caught.value.code == "bad-signature"


def test_certified_stands_before_any_other_of_its_number(room_of, author_of):
    """The committee signed before it heard of the other: that one is late, whatever its hash."""
    mesh, room = room_of()
    mesh.nodes["ann"].alive = False
    ann = author_of("ann")
    said = [
        ann.envelope("MONEY", entry_of(ann, mesh.nodes[name].did, 1_000), thread=account_thread(ann.did))
        for name in ("bob", "cee")
    ]
    said.sort(key=lambda envelope: spend_of(envelope).hash)
    for name in NAMES[1:]:
        mesh.nodes[name].inbox.append(said[1])  # of the larger hash
    settle(room)
    for name in NAMES[1:]:
        mesh.nodes[name].inbox.append(said[0])
    settle(room)
    agree(mesh)
    winner = spend_of(said[1])
    assert escrow(mesh, winner.name, "dan").state == "released"
    assert escrow(mesh, spend_of(said[0]).name, "dan").state == "waiting"


def test_a_member_that_signs_both_is_on_record_and_expelled(room_of, author_of):
    mesh, room = room_of()
    mesh.nodes["ann"].alive = mesh.nodes["eve"].alive = False
    ann, eve = author_of("ann"), author_of("eve")
    one, other = double_spend(mesh, ann)
    for at, envelope in enumerate((one, other)):
        vote = {"op": "confirm", "entries": [[ann.did, 0, spend_of(envelope).hash]]}
        confirm, reports = say(mesh, eve, vote, to=["bob", "cee", "dan"])
        mesh.nodes["eve"].said.append(confirm)
        assert reports == ["contradiction"] * 3 * at
    settle(room)
    for name in ("bob", "cee", "dan"):
        assert set(mesh.nodes[name].state.shadow.liars) == {eve.did}
    mesh.nodes["eve"].alive = True
    room.end_epoch()
    assert mesh.nodes["bob"].state.pool.members[eve.did].state == EXPELLED


def test_votes_of_strangers_do_not_count(room_of, author_of):
    mesh, room = room_of(names=[*NAMES, "out"], verifiers=NAMES)
    mesh.nodes["ann"].alive = False
    ann, out = author_of("ann"), author_of("out")
    envelope, _ = say(mesh, ann, entry_of(ann, mesh.nodes["bob"].did, 5), to=["bob"])
    vote = {"op": "confirm", "entries": [[ann.did, 0, spend_of(envelope).hash]]}
    assert say(mesh, out, vote, to=["bob"])[1] == ["void-confirm"]
    assert not mesh.nodes["bob"].state.shadow.votes


# Deposits and withdrawals --------------------------------------------------------------------------------------------


CLAIM = {
    "op": "claim",
    "chain_id": 1337,
    "contract": b"\xcc" * 20,
    "tx": b"\x11" * 32,
    "log": 3,
    "account": ACCOUNT,
    "made_at_s": 1,
    "signature": bytes(65),
}


def claim(mesh, name, **change):
    """Says it; returns who is asked to look, with what."""
    node = mesh.nodes[name]
    mesh.feed(node, Commanded("money.claim", {**CLAIM, **change}, mesh.now_ns))
    return node.said[-1]


def look_up(mesh, name, envelope):
    out = step(mesh.nodes[name].state, Admitted((envelope,), {}, mesh.now_ns))
    return [effect for effect in out if isinstance(effect, CheckClaim)]


def found(mesh, name, wish, amount, seen=True):
    mesh.feed(
        mesh.nodes[name],
        ClaimChecked(wish.subject, wish.what, wish.to, amount, seen, "", mesh.now_ns),
    )


@pytest.mark.property_id("P9")
def test_a_deposit_counts_once_a_quorum_has_seen_it_and_only_once(room_of):
    mesh, room = room_of()
    ann = mesh.nodes["ann"].did
    key = deposit_key(1337, b"\xcc" * 20, b"\x11" * 32, 3)
    for again in range(2):
        envelope = claim(mesh, "ann")
        for at, name in enumerate(("bob", "cee", "dan")):
            wishes = look_up(mesh, name, envelope)
            if again:
                assert wishes == []
                continue
            [wish] = wishes
            assert (wish.subject, wish.to, wish.claim["tx"]) == (key, ann, b"\x11" * 32)
            found(mesh, name, wish, 5_000)
            room.settle()
            assert available(mesh, "ann", "eve") == START + (5_000 if at == 2 else 0)
    agree(mesh)
    assert mesh.nodes["bob"].state.ledger.deposited == 5_000
    room.end_epoch()
    agree(mesh)
    assert mesh.nodes["bob"].state.ledger.base_deposited == 5_000
    assert look_up(mesh, "bob", claim(mesh, "ann")) == []  # in no later epoch either
    room.end_epoch()
    assert available(mesh, "ann", "eve") == START + 5_000
    assert look_up(mesh, "bob", claim(mesh, "ann")) == []


def test_a_liar_alone_mints_nothing_and_members_must_agree(room_of, author_of):
    mesh, room = room_of()
    eve = author_of("eve")
    mesh.nodes["eve"].alive = False
    key = b"\x22" * 32
    rows = {"subject": key, "what": "deposit", "to": eve.did}
    for amount in (1, 10**12):
        say(mesh, eve, {"op": "attest", **rows, "amount": amount}, to=NAMES[:4])
    for at, name in enumerate(("ann", "bob")):
        voter = author_of(name)
        say(mesh, voter, {"op": "attest", **rows, "amount": 7 + at}, to=["cee"])
    assert mesh.nodes["cee"].state.ledger.deposited == 0
    assert mesh.nodes["cee"].state.ledger.credits == {}


def test_what_was_not_found_is_not_attested(room_of):
    mesh, room = room_of()
    envelope = claim(mesh, "ann")
    for name in NAMES[1:]:
        [wish] = look_up(mesh, name, envelope)
        found(mesh, name, wish, 0, seen=False)
    settle(room)
    assert not mesh.nodes["bob"].state.ledger.credits
    room.end_epoch()
    envelope = claim(mesh, "ann")  # it was not deep enough: in time it is
    for name in NAMES[1:]:
        [wish] = look_up(mesh, name, envelope)
        found(mesh, name, wish, 9)
    settle(room)
    assert available(mesh, "ann", "bob") == START + 9


@pytest.mark.property_id("P9")
def test_a_withdrawal_is_held_and_leaves_the_mesh_once_its_payout_is_seen(room_of):
    mesh, room = room_of()
    withdraw(mesh, "ann", 40_000, "w")
    settle(room)
    agree(mesh)
    [spend] = mesh.nodes["bob"].state.shadow.spends.values()
    assert (spend.to, escrow(mesh, spend.name).held) == ("0x" + "aa" * 20, 40_000)
    room.end_epoch()
    assert escrow(mesh, spend.name, "cee").held == 40_000  # a checkpoint keeps it
    payout = {
        "op": "payout", "entry": spend.hash, "chain_id": 1337, "contract": bytes(20), "publisher": bytes(20),
        "epoch": bytes(32), "leaf": b"x", "index": 0, "count": 1, "path": [],
    }  # fmt: skip
    mesh.feed(mesh.nodes["dan"], Commanded("money.claim", payout, mesh.now_ns))
    envelope = mesh.nodes["dan"].said[-1]
    for name in ("ann", "bob", "cee"):
        [wish] = look_up(mesh, name, envelope)
        assert (wish.what, wish.to, wish.amount) == ("payout", spend.to, 40_000)
        found(mesh, name, wish, 40_000)
    settle(room)
    agree(mesh)
    state = mesh.nodes["eve"].state
    assert state.ledger.account(PAID_OUT).available == 40_000
    assert state.ledger.escrows[spend.name].state == "released"
    assert look_up(mesh, "eve", envelope) == []
    room.end_epoch()
    agree(mesh)
    assert spend.name not in mesh.nodes["bob"].state.shadow.spends
    assert available(mesh, "ann", "bob") == START - 40_000


# Checkpoints, restarts, newcomers ------------------------------------------------------------------------------------


def test_what_is_not_final_at_a_checkpoint_goes_on_after_it(room_of):
    mesh, room = room_of()
    mesh.nodes["eve"].alive = mesh.nodes["dan"].alive = False
    pay(mesh, "ann", "bob", 500, "k")
    pay(mesh, "bob", "cee", 500, "k")
    room.settle()  # heard, not signed
    room.seal()
    snapshot = room.snapshots[room.make(room.adopted["cee"])]
    assert len(snapshot.shadow.envelopes) == 2
    assert unpack(pack(snapshot)) == snapshot
    newcomer = State(mesh.genesis, mesh.nodes["eve"].did, check_everything=True)
    step(newcomer, Adopted(unpack(pack(snapshot)), {}, mesh.now_ns))
    assert len(newcomer.shadow.spends) == 2
    mesh.nodes["eve"].alive = mesh.nodes["dan"].alive = True
    room.end_epoch()
    settle(room)
    agree(mesh)
    assert (available(mesh, "bob"), available(mesh, "cee")) == (START, START + 500)
    assert mesh.nodes["ann"].state.own_pending == 0


def test_who_signed_an_entry_agrees_to_no_checkpoint_with_another_in_its_place(room_of):
    mesh, room = room_of()
    for n in range(3):
        pay(mesh, "ann", "bob", 500, f"k{n}")
    settle(room)
    made = room.snapshots[room.make(room.adopted["cee"])]
    state, ann = mesh.nodes["cee"].state, mesh.nodes["ann"].did
    assert set(state.shadow.promised) == {(ann, 0), (ann, 1), (ann, 2)}
    assert keeping.broken_promise(state, made) == ""
    for seq in range(3):
        kept = state.shadow.promised[(ann, seq)]
        state.shadow.promised[(ann, seq)] = (b"x" * 32, 0)
        assert f"another entry {seq}" in keeping.broken_promise(state, made)
        state.shadow.promised[(ann, seq)] = kept
    room.end_epoch()
    assert state.epoch == 1 and not state.shadow.promised


def test_a_newcomer_that_begins_at_a_checkpoint_agrees_with_the_rest(room_of):
    mesh, room = room_of()
    for n in range(5):
        pay(mesh, "ann", "bob", 100, f"k{n}")
    settle(room)
    withdraw(mesh, "bob", 50, "w")
    settle(room)
    room.end_epoch()
    snapshot = room.snapshots[room.adopted["bob"]]
    newcomer = State(mesh.genesis, NOBODY, check_everything=True)
    step(newcomer, Adopted(snapshot, {}, mesh.now_ns))
    assert mesh_digest(newcomer) == mesh_digest(mesh.nodes["bob"].state)
    [withdrawal] = newcomer.shadow.spends.values()
    assert newcomer.ledger.escrows[withdrawal.name].held == 50


@pytest.mark.property_id("P2")
def test_a_replay_and_a_dump_give_the_same_state(room_of):
    mesh, room = room_of()
    for n in range(3):
        pay(mesh, "ann", "bob", 100, f"k{n}")
        settle(room)
    pay(mesh, "ann", "cee", 100, "on its way")
    room.settle()
    for node in mesh.nodes.values():
        replayed = State(mesh.genesis, node.did, check_everything=True)
        for entry in node.journal:
            step(replayed, entry)
        assert state_digest(replayed) == state_digest(node.state)
        loaded = load(mesh.genesis, node.did, dump(node.state))
        assert state_digest(loaded) == state_digest(node.state)
        assert Digests().mesh(loaded) == mesh_digest(node.state)
        step(loaded, Ticked(mesh.now_ns + 1))
        step(node.state, Ticked(mesh.now_ns + 1))
        assert state_digest(loaded) == state_digest(node.state)


# Any order -----------------------------------------------------------------------------------------------------------


ORDERS = st.integers(0, 2**32 - 1)


@pytest.mark.property_id("P9")
@given(seed=ORDERS, amounts=st.lists(st.integers(1, START), min_size=1, max_size=12))
@settings(max_examples=30)
def test_money_is_conserved_under_any_order_of_transfers(mesh_of, author_of, seed, amounts):
    """Random transfers of all, a double spender among them, all facts in any order and twice: everybody agrees, nobody is
    negative, and the sum is what it was."""
    chance = random.Random(seed)
    names = ["ann", "bob", "cee"]
    voters = [author_of(name) for name in names]
    genesis = Genesis("test", tuple(sorted(v.did for v in voters)), {v.did: START for v in voters})
    heads = {name: (0, GENESIS_HEAD) for name in names}
    facts = []
    for amount in amounts:
        name = chance.choice(names)
        author = voters[names.index(name)]
        seq, prev = heads[name]
        for fork in range(2 if chance.random() < 0.2 else 1):
            to = chance.choice([v.did for v in voters if v is not author])
            payload = entry_of(author, to, amount, seq, prev, key=f"{seq}/{fork}")
            envelope = author.envelope("MONEY", payload, thread=account_thread(author.did))
            facts.append(envelope)
            spend = spend_of(envelope)
            heads[name] = (seq + 1, spend.hash)
        # Two of three sign the last of them; sometimes one only.
        for voter in chance.sample(voters, chance.choice((1, 2, 2, 2))):
            body = {"op": "confirm", "entries": [[author.did, seq, spend.hash]]}
            facts.append(voter.envelope("MONEY", body, thread=account_thread(voter.did)))
    digests = set()
    for at in range(3):
        order = facts * 2
        chance.shuffle(order)
        state = State(genesis, NOBODY, check_everything=True)
        for envelope in order:
            step(state, Admitted((envelope,), {}, 1_760_000_000 * 10**9 + at))
        assert sum(account.available for account in state.ledger.accounts.values()) == 3 * START
        assert all(account.available >= 0 for account in state.ledger.accounts.values())
        before = mesh_digest(state)
        state.ledger.rebuild()
        assert mesh_digest(state) == before
        digests.add(before)
    assert len(digests) == 1


def test_an_own_entry_heard_by_a_restored_node_moves_its_chain_on(room_of, author_of):
    mesh, _ = room_of()
    ann = author_of("ann")
    envelope, _ = say(mesh, ann, entry_of(ann, mesh.nodes["bob"].did, 5), to=["ann"])
    state = mesh.nodes["ann"].state
    assert (state.own_seq, state.own_head, state.own_pending) == (1, spend_of(envelope).hash, 5)
