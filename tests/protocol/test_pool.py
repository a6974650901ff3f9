"""The verifier pool: stakes, seats, jail, slashes; sortition that grinding does not steer; bootstrap mode; quotes."""

import random
from collections import Counter
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.chains import Head
from swarmd.protocol.checkpoint import ballots
from swarmd.protocol.checkpoint.making import Maker
from swarmd.protocol.checkpoint.packing import pack as packed_of
from swarmd.protocol.checkpoint.snapshot import Packed
from swarmd.protocol.checkpoint.unpacking import check_part, part_names, unpack
from swarmd.protocol.consensus.committee import ranked
from swarmd.protocol.consensus.roster import Roster
from swarmd.protocol.didkey import did_of
from swarmd.protocol.digest import mesh_digest
from swarmd.protocol.effects import CheckQuote, Report
from swarmd.protocol.engine import step
from swarmd.protocol.envelope import epoch_thread, need_id, pool_thread
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.inputs import Admitted, Adopted, Commanded, QuoteChecked
from swarmd.protocol.pool import folding, record
from swarmd.protocol.pool.record import (
    ACTIVE,
    EXPELLED,
    JAIL_EPOCHS,
    JAILED,
    LEAVING,
    TREASURY,
    UNBOND_EPOCHS,
    WAITING,
    quote_data,
    stake_id,
)
from swarmd.protocol.state import NOBODY, State
from swarmd.protocol.terms import in_bootstrap
from swarmd.protocol.work import committees

STAKE = 1_000_000
FOUNDERS = ["ann", "bob", "cee"]


@pytest.fixture
def room_of(rooms):
    def make(names=(*FOUNDERS, "dan"), verifiers=FOUNDERS, **params):
        return rooms(names, verifiers=list(verifiers), verifier_stake=STAKE, **params)

    return make


def command(mesh, name, op, **args):
    mesh.feed(mesh.nodes[name], Commanded(op, args, mesh.now_ns))


def member(mesh, name, seen_by="ann"):
    return mesh.nodes[seen_by].state.pool.members.get(mesh.nodes[name].did)


def roster(mesh, epoch, seen_by="ann"):
    return mesh.nodes[seen_by].state.terms.rosters[epoch]


def say(mesh, author, kind, thread, payload, **change):
    """Somebody says whatever it likes, to all. Returns the envelope and the reports about it."""
    envelope = author.envelope(kind, payload, thread=thread, **change)
    reports = []
    for node in mesh.nodes.values():
        out = step(node.state, Admitted((envelope,), {}, mesh.now_ns))
        reports += [effect for effect in out if isinstance(effect, Report)]
    return envelope, reports


def all_agree(mesh):
    alive = [node for node in mesh.nodes.values() if node.alive]
    assert len({mesh_digest(node.state) for node in alive}) == 1
    for node in alive:
        node.state.ledger.check_all()


# Seats -------------------------------------------------------------------------------------------------------


@pytest.mark.property_id("P9")
def test_a_fourth_node_joins_and_takes_part_an_epoch_later(room_of, make_task):
    mesh, room = room_of(alpha_permille=1000)
    dan = mesh.nodes["dan"].did
    command(mesh, "dan", "verifier.join", amount=STAKE)
    room.settle()
    for node in mesh.nodes.values():
        account = node.state.ledger.account(dan)
        assert (account.locked, account.next_seq) == (STAKE, 1)
        assert dan not in node.state.pool.members  # until a checkpoint says so
    room.end_epoch()
    all_agree(mesh)
    assert member(mesh, "dan").state == ACTIVE
    assert dan not in roster(mesh, 1).members
    assert dan in roster(mesh, 2).members
    need = mesh.post("ann", [make_task("t1")], 30_000)
    room.settle()
    first = committees.plan_committee(mesh.nodes["ann"].state.terms, mesh.need("ann", need), 1)
    assert dan not in first.members
    room.end_epoch()
    all_agree(mesh)
    seats = Counter()
    for _ in range(6):
        need = mesh.post("ann", [make_task("t1")], 30_000)
        room.settle()
        drawn = committees.plan_committee(mesh.nodes["ann"].state.terms, mesh.need("ann", need), 2)
        seats.update(drawn.members)
        assert mesh.need("dan", need).state() == "FINALIZED"
    assert seats[dan] == 6
    assert {e.kind for e in mesh.nodes["dan"].said if e.epoch == 2} >= {"ATTEST_PLAN"}
    room.end_epoch()
    all_agree(mesh)
    # What it locked is in the snapshot, for whoever begins there.
    snap = room.snapshots[room.adopted["dan"]]
    assert {name: escrow.held for name, escrow in snap.stakes.items()} == {stake_id(dan, 0): STAKE}
    fresh = State(mesh.genesis, mesh.nodes["bob"].did, check_everything=True)
    step(fresh, Adopted(unpack(packed_of(snap)), {}, mesh.now_ns))
    assert mesh_digest(fresh) == mesh_digest(mesh.nodes["ann"].state)


def test_a_join_without_the_money_waits_for_it(room_of, make_task, author_of):
    mesh, room = room_of(balance=STAKE - 10_000)
    dan = mesh.nodes["dan"]
    with pytest.raises(LocalFault, match="insufficient"):
        command(mesh, "dan", "verifier.join", amount=STAKE)
    payload = {"op": "join", "amount": STAKE, "fund": {"seq": 0, "prev": bytes(32)}}
    dan.said.append(say(mesh, author_of("dan"), "POOL", pool_thread(dan.did), payload)[0])  # all the same
    room.settle()
    room.end_epoch()
    all_agree(mesh)
    assert member(mesh, "dan").state == WAITING
    assert roster(mesh, 2).members == mesh.genesis.roster
    # A newcomer knows of the entry that blocks the account's chain, too.
    fresh = State(mesh.genesis, dan.did, check_everything=True)
    step(fresh, Adopted(room.snapshots[room.adopted["ann"]], {}, mesh.now_ns))
    assert mesh_digest(fresh) == mesh_digest(mesh.nodes["ann"].state)
    assert fresh.own_seq == 1
    mesh.publish_manifest("dan", {"rare": 20_000})
    mesh.post("ann", [make_task("t1", capability="rare")], 30_000)
    room.settle()
    assert mesh.nodes["bob"].state.ledger.account(dan.did).locked == STAKE  # what it earned makes it enough
    room.end_epoch()
    all_agree(mesh)
    assert member(mesh, "dan").state == ACTIVE


def test_who_leaves_gets_its_stake_back_after_the_time_in_which_it_can_be_found_guilty(room_of):
    mesh, room = room_of()
    dan = mesh.nodes["dan"].did
    before = mesh.nodes["ann"].state.ledger.account(dan).available
    command(mesh, "dan", "verifier.join", amount=STAKE + 5)
    room.settle()
    room.end_epoch()
    with pytest.raises(LocalFault, match="at least"):
        command(mesh, "dan", "verifier.join", amount=STAKE - 1)
    command(mesh, "dan", "verifier.leave", reason="moving")
    room.settle()
    room.end_epoch()
    assert (member(mesh, "dan").state, member(mesh, "dan").reason) == (LEAVING, "moving")
    with pytest.raises(LocalFault, match="not in the pool"):
        command(mesh, "dan", "verifier.leave", reason="")
    assert dan in roster(mesh, 2).members  # as it was promised
    assert dan not in roster(mesh, 3).members
    for _ in range(UNBOND_EPOCHS):
        assert mesh.nodes["bob"].state.ledger.account(dan).locked == STAKE + 5
        room.end_epoch()
    assert member(mesh, "dan") is None
    account = mesh.nodes["bob"].state.ledger.account(dan)
    assert (account.locked, account.available) == (0, before)
    all_agree(mesh)
    command(mesh, "dan", "verifier.join", amount=STAKE)
    room.settle()
    room.end_epoch()
    assert member(mesh, "dan").state == ACTIVE
    all_agree(mesh)


def test_silence_is_jail_and_showing_oneself_ends_it(room_of):
    mesh, room = room_of(verifiers=["ann", "bob", "cee", "dan"])
    mesh.nodes["dan"].alive = False
    for _ in range(2):
        room.end_epoch()
        assert member(mesh, "dan").state == ACTIVE
    room.end_epoch()
    assert (member(mesh, "dan").state, member(mesh, "dan").until) == (JAILED, 3 + JAIL_EPOCHS)
    dan = mesh.nodes["dan"].did
    assert dan in roster(mesh, 3).members
    assert dan not in roster(mesh, 4).members
    mesh.nodes["dan"].alive = True
    room.settle()
    room.end_epoch()
    assert mesh.nodes["dan"].state.epoch == 4
    assert member(mesh, "dan").state == JAILED
    for _ in range(JAIL_EPOCHS - 1):
        room.end_epoch()
    assert member(mesh, "dan").state == ACTIVE
    assert dan in roster(mesh, 7).members
    all_agree(mesh)


def test_a_roster_is_never_empty(room_of):
    mesh, room = room_of()
    for name in FOUNDERS:
        command(mesh, name, "verifier.leave", reason="")
    room.settle()
    for _ in range(3):
        room.end_epoch()
    assert mesh.nodes["ann"].state.epoch == 3
    assert roster(mesh, 4).members == mesh.genesis.roster
    all_agree(mesh)


def test_a_member_that_owes_votes_is_jailed(room_of, make_task):
    """It shows itself in each epoch, and says nothing about needs that wait for it."""
    mesh, room = room_of(verifiers=["ann", "bob"], alpha_permille=1000)
    bob = mesh.nodes["bob"]
    said = bob.state.draft

    def silent(out, thread, kind, payload, refs):
        if not thread.startswith("need-"):
            said(out, thread, kind, payload, refs)

    type(bob.state).draft, held = (
        lambda self, *a: silent(*a) if self is bob.state else held(self, *a),
        State.draft,
    )
    try:
        need = mesh.post("cee", [make_task("t1")], 30_000, deadline_s=86_400)
        room.settle()
        for _ in range(2):
            room.end_epoch()
        assert mesh.need("ann", need).decided is None
        assert (member(mesh, "bob").misses, member(mesh, "ann").misses) == (1, 0)
    finally:
        type(bob.state).draft = held


# Slashes -----------------------------------------------------------------------------------------------------


@pytest.mark.property_id("P9")
def test_who_votes_twice_loses_stake_and_seat_for_good(room_of, make_task, author_of):
    mesh, room = room_of(names=(*FOUNDERS, "dan", "eve"), alpha_permille=1000)
    dan = mesh.nodes["dan"].did
    command(mesh, "dan", "verifier.join", amount=STAKE)
    room.settle()
    for _ in range(3):
        room.end_epoch()
    state = mesh.nodes["ann"].state
    supply = state.ledger.supply
    # In the ballot that is just over, and has its envelopes in the next cut, it votes for two checkpoints of a round.
    drawn_by = ballots.epoch_committee(state.terms.roster(2), 2)
    liar, thread = author_of("dan", lamport=10_000), epoch_thread(3)
    proposer = next(n for n, node in mesh.nodes.items() if node.did == drawn_by.proposer(0))
    payload = {"epoch": 3, "round": 0, "root": bytes(32), "state": bytes(32)}
    other = author_of(proposer, lamport=9_000)
    proposals = [
        other.envelope("CHECKPOINT", {**payload, "root": bytes([n]) * 32}, thread=thread, epoch=2)
        for n in (1, 2)
    ]
    votes = [
        liar.envelope(
            "ATTEST_PLAN", {"verdict": "accept", "reason": ""}, thread=thread, epoch=2, refs=(p.id,)
        )
        for p in proposals
    ]
    for who, fresh in ((proposer, proposals), ("dan", votes)):
        mesh.nodes[who].said += fresh
    for node in mesh.nodes.values():
        step(node.state, Admitted((*proposals, *votes), {}, mesh.now_ns))
    room.settle()
    room.end_epoch()
    gone = member(mesh, "dan")
    assert gone.state == EXPELLED
    assert "ballot" in gone.reason
    assert dan not in roster(mesh, state.epoch + 1).members
    assert state.ledger.account(TREASURY).available == STAKE
    assert state.ledger.account(dan).locked == 0
    assert sum(a.available + a.locked for a in state.ledger.accounts.values()) == supply
    all_agree(mesh)
    with pytest.raises(LocalFault, match="never returns"):
        command(mesh, "dan", "verifier.join", amount=STAKE)


def test_a_double_spend_of_a_verifier_is_slashed(room_of, author_of):
    mesh, room = room_of()
    dan = author_of("dan")
    joins = [
        say(mesh, dan, "POOL", pool_thread(dan.did), {"op": "join", "amount": STAKE + n, "fund": fund})[0]
        for n, fund in ((0, {"seq": 0, "prev": bytes(32)}), (1, {"seq": 0, "prev": bytes(32)}))
    ]
    mesh.nodes["dan"].said += joins
    room.settle()
    room.end_epoch()
    assert member(mesh, "dan").state == EXPELLED
    assert mesh.nodes["ann"].state.ledger.account(TREASURY).available in (STAKE, STAKE + 1)
    all_agree(mesh)


@pytest.mark.property_id("P9")
def test_who_made_or_accepted_reversed_results_is_fined_and_jailed_until_too_little_is_left(room_of):
    mesh, room = room_of()
    dan, ann = mesh.nodes["dan"].did, mesh.nodes["ann"].did
    command(mesh, "dan", "verifier.join", amount=STAKE)
    room.settle()
    room.end_epoch()
    state = State(mesh.genesis, NOBODY, check_everything=True)
    step(state, Adopted(room.snapshots[room.adopted["ann"]], {}, 0))

    def fold(wrong):
        """A checkpoint in whose epoch all showed themselves."""
        state.pool.members = {did: replace(m, seen=state.epoch) for did, m in state.pool.members.items()}
        folded = folding.fold(state, mesh.now_ns, (), wrong)
        state.ledger.check_all()
        state.epoch += 1
        state.pool = folded.pool
        state.terms.rosters[state.epoch + 1] = folded.roster
        # As who begins at this checkpoint has it.
        escrows = {n: e for n, e in state.ledger.escrows.items() if e.state == "funded"}
        state.ledger.rebase(state.ledger.accounts, escrows, ())
        return folded.pool.members

    members = fold({dan: 2, ann: 1, "did:key:worker": 3})
    assert {members[did].state for did in (dan, ann)} == {JAILED}
    assert state.ledger.account(TREASURY).available == STAKE // 5
    assert state.ledger.account(dan).locked == STAKE - STAKE // 5
    for _ in range(JAIL_EPOCHS):
        assert not {dan, ann} & set(state.terms.rosters[state.epoch + 1].members)
        members = fold({})
    assert {members[did].state for did in (dan, ann)} == {ACTIVE}
    members = fold({dan: 4})
    assert (members[dan].state, members[dan].reason) == (WAITING, "too little is left of its stake")
    assert state.ledger.account(dan).locked == STAKE * 2 // 5
    before = state.ledger.account(dan).available
    state.pool.members[dan] = replace(members[dan], state=LEAVING, until=state.epoch)
    assert dan not in fold({})  # what is left of it comes home, what was fined does not
    assert state.ledger.account(dan).available == before + STAKE * 2 // 5
    assert state.ledger.account(TREASURY).available == STAKE * 3 // 5


# What is refused ---------------------------------------------------------------------------------------------


@pytest.mark.property_id("P10")
def test_bad_pool_envelopes_move_nothing_and_are_reported(room_of, author_of):
    mesh, room = room_of()
    before = [mesh_digest(node.state) for node in mesh.nodes.values()]
    ann, eve, dan = author_of("ann"), author_of("eve"), author_of("dan")
    fund = {"seq": 0, "prev": bytes(32)}
    cases = [
        (eve, pool_thread(eve.did), {"op": "heartbeat"}, "pool-stranger"),
        (eve, pool_thread(eve.did), {"op": "leave", "reason": ""}, "pool-stranger"),
        (eve, pool_thread(ann.did), {"op": "leave", "reason": ""}, "misplaced-pool"),
        (dan, pool_thread(ann.did), {"op": "heartbeat"}, "misplaced-pool"),
        (dan, need_id(dan.did, 0), {"op": "heartbeat"}, None),
        (dan, pool_thread(dan.did), {"op": "join", "amount": STAKE - 1, "fund": fund}, "join-without-stake"),
        (dan, pool_thread(dan.did), {"op": "join", "amount": 0, "fund": fund}, "join-without-stake"),
        (eve, pool_thread(eve.did), {"op": "quote", "form": "software", "quote": b"x"}, "pool-stranger"),
    ]
    for author, thread, payload, code in cases:
        _, reports = say(mesh, author, "POOL", thread, payload)
        assert [r.code for r in reports] == ([code] * len(reports) if code else [])
        assert len(reports) >= (len(mesh.nodes) - 1 if code else 0)
    _, reports = say(mesh, ann, "YIELD", pool_thread(ann.did), None)
    assert {r.code for r in reports} == {"void-yield"}
    assert [mesh_digest(node.state) for node in mesh.nodes.values()] == before
    for node in mesh.nodes.values():
        assert not node.state.pool.said


def test_a_sign_of_life_for_an_epoch_to_come_waits_for_it(room_of, author_of):
    mesh, room = room_of()
    ann = author_of("ann", lamport=5_000)
    say(mesh, ann, "POOL", pool_thread(ann.did), {"op": "heartbeat"}, epoch=7)
    bob = mesh.nodes["bob"].state
    assert list(bob.ahead) == [7]
    assert not bob.pool.said
    # Nor is it in a cut before that: a maker would take it for dealt with.
    with pytest.raises(RemoteFault, match="bad-cut"):
        Maker(mesh.genesis, None).finish({(ann.did, 1, 0): Head(0, bytes(32), 1, 1)})


def test_a_flood_of_signs_of_life_is_bounded(room_of, author_of):
    mesh, room = room_of()
    ann = author_of("ann", lamport=5_000)
    for _ in range(record.MAX_SAID + 3):
        _, reports = say(mesh, ann, "POOL", pool_thread(ann.did), {"op": "heartbeat"})
    assert {r.code for r in reports} == {"pool-flood"}
    assert len(mesh.nodes["bob"].state.pool.said[ann.did]) == record.MAX_SAID


@pytest.mark.property_id("P7")
def test_a_pool_or_a_roster_that_makes_no_sense_is_refused(room_of):
    mesh, room = room_of()
    command(mesh, "dan", "verifier.join", amount=STAKE)
    room.settle()
    room.end_epoch()
    snap = room.snapshots[room.adopted["ann"]]
    packed = packed_of(snap)
    assert unpack(packed) == snap
    dids = sorted(mesh.genesis.roster)
    ann = snap.pool[dids[0]]
    bad = [
        {"rosters": {**snap.rosters, 2: Roster(())}},
        {"rosters": {**snap.rosters, 2: Roster((dids[1], dids[0]))}},
        {"rosters": {**snap.rosters, 2: Roster((dids[0], dids[0]))}},
        {"rosters": {**snap.rosters, 2: Roster(tuple(dids), {dids[0]: 1})}},
        {"rosters": {**snap.rosters, 2: Roster(tuple(dids), {"did:key:other": 2})}},
        {"rosters": {**snap.rosters, 2: Roster(tuple(dids), {}, True, b"short")}},
        {"pool": {**snap.pool, ann.did: replace(ann, state="boss")}},
        {"pool": {**snap.pool, "x": replace(ann, did="did:key:nobody")}},
        {"pool": {**snap.pool, ann.did: replace(ann, quote=b"short")}},
        {"pool": {**snap.pool, ann.did: replace(ann, seen=-1)}},
    ]
    for change in bad:
        with pytest.raises(RemoteFault, match="bad-snapshot|bad-did"):
            unpack(packed_of(replace(snap, **change)))
    # A roster that does not hash to its checkpoint: another list under the name that the head has for it.
    head = decode(packed.head)
    name = head["rosters"][-1][1]
    assert name in part_names(packed.head)
    forged = encode([[dids[0]], [], True, b""])
    with pytest.raises(RemoteFault, match="not what the head names"):
        check_part(name, forged)
    other = Packed(encode({**head, "rosters": [[1, sha256(forged).digest()]]}), packed.parts)
    assert other.state != packed.state  # and another head is another checkpoint


# Order -------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.data())
def test_a_checkpoint_makes_one_pool_of_whatever_was_said_in_whatever_order(rooms, rng, data):
    mesh, room = rooms(
        (*FOUNDERS, "dan", "eve"), verifiers=FOUNDERS, verifier_stake=STAKE, seed=rng.randrange(1 << 30)
    )
    wishes = st.lists(
        st.sampled_from(["dan join", "eve join", "dan leave", "ann leave", "eve leave", "dan more", "end"]),
        min_size=2,
        max_size=8,
    )
    for wish in data.draw(wishes):
        if wish == "end":
            room.end_epoch()
            continue
        name, what = wish.split()
        op = "verifier.leave" if what == "leave" else "verifier.join"
        args = {"reason": wish} if what == "leave" else {"amount": STAKE + (what == "more")}
        try:
            command(mesh, name, op, **args)
        except LocalFault:
            pass
        for _ in range(rng.randrange(12)):
            mesh.deliver()
    room.settle()
    room.end_epoch()
    all_agree(mesh)
    rosters = [node.state.terms.rosters for node in mesh.nodes.values()]
    assert all(each == rosters[0] for each in rosters)
    pools = [node.state.pool.members for node in mesh.nodes.values()]
    assert all(pool == pools[0] for pool in pools)
    locked = sum(a.locked for a in mesh.nodes["ann"].state.ledger.accounts.values())
    assert locked == sum(e.held for e in mesh.nodes["ann"].state.ledger.escrows.values())


# Grinding ----------------------------------------------------------------------------------------------------


def test_a_grinder_steers_nothing():
    """It wants the first seat in the committee of a need whose id it knows (its accomplice posts it in epoch m), in a
    roster of nine others, and tries 400 keys for it. Its key must be in the pool before the roster is fixed.

    Were draws of the roster and the need alone, it would get the seat nearly always. With the beacon, which is of what
    everybody says until the epoch begins, it gets one in ten, as anybody.
    """
    rng = random.Random(5)
    honest = [did_of(sha256(b"honest %d" % n).digest()) for n in range(9)]
    keys = [did_of(sha256(b"grind %d" % n).digest()) for n in range(400)]
    wins = Counter()
    rounds = 60
    for round_ in range(rounds):
        target = need_id("did:key:accomplice", round_)

        def first(did, beacon, target=target):
            return ranked(tuple(sorted([*honest, did])), "plan", target, "", 9, (), beacon)[0]

        chosen = next((did for did in keys if first(did, b"") == did), keys[0])
        guess = rng.randbytes(32)  # or of whatever it believes the beacon will be
        guessed = next((did for did in keys if first(did, guess) == did), keys[0])
        root = rng.randbytes(32)  # what all say until then: one honest signature it cannot foresee is enough
        beacon = Roster(tuple(honest)).begun(b"", root).beacon
        wins["without"] += first(chosen, b"") == chosen
        wins["plain"] += first(chosen, beacon) == chosen
        wins["guess"] += first(guessed, beacon) == guessed
    assert wins["without"] >= 56
    # Binomial(60, 0.1): more than 15 comes once in ten thousand; the draws are fixed, so this never flickers.
    assert wins["plain"] <= 15
    assert wins["guess"] <= 15


def test_the_beacon_is_of_all_that_was_said_and_comes_after_the_roster(room_of, make_task):
    beacons = []
    for title in range(2):
        mesh, room = room_of(seed=title)
        room.end_epoch()
        assert roster(mesh, 2).members == mesh.genesis.roster
        assert roster(mesh, 2).beacon == b""  # fixed, and nobody knows yet what it will draw
        for _ in range(title + 1):
            mesh.post("dan", [make_task("t1")], 30_000)
        room.settle()
        room.end_epoch()
        snap = room.snapshots[room.adopted["ann"]]
        assert roster(mesh, 2) == roster(mesh, 1).begun(roster(mesh, 1).beacon, snap.root) or (
            roster(mesh, 2).beacon
            == Roster(()).begun(room.snapshots[snap.prev].rosters[1].beacon, snap.root).beacon
        )
        beacons.append(roster(mesh, 2).beacon)
    assert len(set(beacons)) == 2
    assert all(len(beacon) == 32 for beacon in beacons)


# Bootstrap mode ----------------------------------------------------------------------------------------------


def test_bootstrap_mode_ends_after_its_time_with_enough_verifiers():
    genesis = Genesis("test", ("did",), {}, bootstrap_threshold=10, bootstrap_stable_s=86_400)
    hour = 3_600 * 10**9
    history = [(9, 0), (10, 1), (12, 20), (9, 21), (10, 22), (11, 45), (10, 46), (30, 50), (9, 51), (10, 52)]
    modes, mode, since = [], True, 0
    for active, at in history:
        mode, since = record.bootstrap(genesis, mode, active, since, (at + 1) * hour)
        modes.append(mode)
    assert modes == [True, True, True, True, True, True, False, False, True, True]


def test_a_mesh_leaves_bootstrap_mode_at_a_checkpoint(room_of):
    mesh, room = room_of(bootstrap_threshold=4, bootstrap_stable_s=100)
    terms = mesh.nodes["ann"].state.terms
    assert in_bootstrap(terms, 0)
    assert in_bootstrap(terms, 1)
    command(mesh, "dan", "verifier.join", amount=STAKE)
    room.settle()
    room.end_epoch()  # four from here on
    assert len(roster(mesh, 2).members) == 4
    assert in_bootstrap(terms, 2)
    modes = []
    for _ in range(3):
        room.end_epoch()
        modes.append(in_bootstrap(terms, mesh.nodes["ann"].state.epoch + 1))
    assert modes == [True, False, False]
    assert terms.k_result(5) == 2
    all_agree(mesh)
    command(mesh, "dan", "verifier.leave", reason="")
    room.settle()
    room.end_epoch()
    epoch = mesh.nodes["ann"].state.epoch
    assert not in_bootstrap(terms, epoch)  # it was promised
    assert in_bootstrap(terms, epoch + 1)
    assert terms.k_result(epoch + 1) == 1


def test_a_mesh_founded_with_enough_verifiers_never_was_in_bootstrap_mode(room_of):
    mesh, room = room_of(bootstrap_threshold=3)
    assert not in_bootstrap(mesh.nodes["ann"].state.terms, 0)
    room.end_epoch()
    assert not in_bootstrap(mesh.nodes["ann"].state.terms, 2)


# Quotes ------------------------------------------------------------------------------------------------------


def show(mesh, name, quote):
    """It shows a quote; returns who is asked to verify it."""
    node = mesh.nodes[name]
    epoch = node.state.epoch
    command(mesh, name, "verifier.quote", form="software", quote=quote, epoch=epoch)
    said = node.said[-1]
    asked = []
    for other, each in mesh.nodes.items():
        if each is not node:
            each.inbox = type(each.inbox)(e for e in each.inbox if e.id != said.id)
            out = step(each.state, Admitted((said,), {}, mesh.now_ns))
            asked += [(other, effect) for effect in out if isinstance(effect, CheckQuote)]
    data = quote_data(mesh.genesis.mesh_id, node.did, epoch)
    assert {(e.subject, e.quote, e.data) for _, e in asked} == {(node.did, quote, data)}
    return asked


def vouch(mesh, asked, genuine):
    for other, effect in asked:
        digest = sha256(effect.quote).digest()
        checked = QuoteChecked(effect.subject, digest, genuine, "", mesh.now_ns)
        mesh.feed(mesh.nodes[other], checked)
        mesh.feed(mesh.nodes[other], checked)  # asked twice, it says so once
        said = mesh.nodes[other].state.pool.said[mesh.nodes[other].did].values()
        assert sum(e.payload.get("quote") == digest for e in said) == 1


def test_a_quorum_that_vouches_for_a_quote_doubles_the_weight(room_of):
    mesh, room = room_of()
    asked = show(mesh, "ann", b"genuine")
    assert [name for name, _ in asked] == ["bob", "cee"]  # the committee without itself
    vouch(mesh, asked, genuine=True)
    room.settle()
    room.end_epoch()
    ann = mesh.nodes["ann"].did
    assert roster(mesh, 2).weights == {ann: 2}
    assert member(mesh, "ann").attested == record.ATTESTED_EPOCHS
    all_agree(mesh)
    terms = mesh.nodes["bob"].state.terms
    room.end_epoch()
    firsts = Counter(terms.draw("plan", need_id("x", n), "", 2, ()).members[0] for n in range(600))
    assert 240 < firsts[ann] < 360  # 2 of 4 tickets


def test_a_forged_quote_or_too_few_vouchers_add_nothing(room_of):
    mesh, room = room_of()
    vouch(mesh, show(mesh, "ann", b"forged"), genuine=False)
    asked = show(mesh, "bob", b"good enough for one")
    vouch(mesh, [each for each in asked if each[0] == "cee"], genuine=True)
    room.settle()
    room.end_epoch()
    assert roster(mesh, 2).weights == {}
    all_agree(mesh)
    with pytest.raises(LocalFault, match="of epoch 0"):
        command(mesh, "ann", "verifier.quote", form="software", quote=b"x", epoch=0)
    with pytest.raises(LocalFault, match="not in the pool"):
        command(mesh, "dan", "verifier.quote", form="software", quote=b"x", epoch=1)
