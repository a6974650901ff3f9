"""Epochs end with a checkpoint: what it closes, what it fixes, what it fences, and that everybody makes the same."""

import contextlib
import random
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.protocol import merkle
from swarmd.protocol.batch import prove
from swarmd.protocol.chains import Head
from swarmd.protocol.checkpoint import ballots
from swarmd.protocol.checkpoint.making import choose_cut, in_order, why_not_cut
from swarmd.protocol.checkpoint.packing import compress, decompress, pack
from swarmd.protocol.checkpoint.record import EpochBallot, Proposed, Skipped
from swarmd.protocol.checkpoint.snapshot import NO_SNAPSHOT, Packed
from swarmd.protocol.checkpoint.unpacking import check_part, parse_cut, part_names, unpack
from swarmd.protocol.consensus.committee import Committee
from swarmd.protocol.digest import mesh_digest, state_digest
from swarmd.protocol.dumping import dump, load
from swarmd.protocol.effects import Adopt, Arm, MakeSnapshot
from swarmd.protocol.engine import step
from swarmd.protocol.envelope import build, parse
from swarmd.protocol.faults import CorruptState, RemoteFault
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.inputs import Admitted, Adopted
from swarmd.protocol.limits import S_NS
from swarmd.protocol.state import State
from swarmd.protocol.work import committees

EPOCH_S = 60  # of the fixture `rooms`


@pytest.fixture(scope="module")
def busy(rooms, make_task):
    """A room with work of all sorts, and the hash of the snapshot of all of it."""
    mesh, room = rooms([f"n{i}" for i in range(5)], seed=7)
    for number in range(6):
        mesh.post(f"n{number % 5}", [make_task("t1"), make_task("t2", after=("t1",))], 60_000)
        some(mesh, 30 * number)
    mesh.post("n1", [make_task("t1", capability="rare")], 30_000)
    room.settle()
    return room, room.make(NO_SNAPSHOT)


def proof_of(batches, ref):
    """The proof of an envelope that one of `batches` has."""
    return next(
        prove(batch, place)
        for batch in batches
        for place, envelope in enumerate(batch.envelopes)
        if envelope.id == ref
    )


def some(mesh, steps):
    """Deliver a little."""
    for _ in range(steps):
        mesh.deliver()


def alive(mesh):
    return [node for node in mesh.nodes.values() if node.alive]


def test_an_epoch_ends_and_lets_finished_needs_go(rooms, make_task):
    mesh, room = rooms()
    done = [mesh.post("ann", [make_task("t1")], 30_000) for _ in range(3)]
    room.settle()
    before = {did: account for did, account in mesh.nodes["bob"].state.ledger.accounts.items()}
    assert all(mesh.need("bob", need).state() == "FINALIZED" for need in done)
    room.end_epoch()
    for node in alive(mesh):
        assert node.state.epoch == 1
        assert node.state.needs == {}
        assert dict.fromkeys(done, 1) == node.state.closed
        assert node.state.ledger.escrows == {}
        assert {
            d: (a.available, a.locked, a.earned, a.spent) for d, a in node.state.ledger.accounts.items()
        } == {d: (a.available, a.locked, a.earned, a.spent) for d, a in before.items()}
    assert len(mesh.digests()) == 1
    # The next epoch works like the first, and writes in its own number.
    more = mesh.post("cee", [make_task("t1")], 30_000)
    room.settle()
    assert mesh.need("ann", more).state() == "FINALIZED"
    assert mesh.nodes["cee"].said[-1].epoch == 1
    room.end_epoch()
    assert {node.state.epoch for node in alive(mesh)} == {2}
    assert len(mesh.digests()) == 1
    snap = room.snapshots[room.adopted["ann"]]
    assert snap.prev in room.snapshots
    assert snap.closed.keys() == {more}


@pytest.mark.property_id("P7")
def test_the_root_is_recomputable_and_says_what_is_in_the_cut(rooms, make_task):
    mesh, room = rooms()
    mesh.post("ann", [make_task("t1")], 30_000)
    room.settle()
    room.end_epoch()
    snap = room.snapshots[room.adopted["bob"]]
    ids = sorted(
        envelope.id
        for batch in room.batches
        for envelope in batch.envelopes
        if (head := snap.cut.get((batch.author, batch.epoch, batch.bucket))) and batch.seq <= head.seq
    )
    assert snap.ops == len(ids) > 0
    assert snap.root == merkle.root_of(ids)
    for place in (0, len(ids) // 2, len(ids) - 1):
        path = merkle.proof_of(ids, place)
        assert merkle.root_from_proof(ids[place], place, len(ids), path) == snap.root
        assert merkle.root_from_proof(bytes(36), place, len(ids), path) != snap.root


@pytest.mark.property_id("P7")
def test_a_certificate_is_verified_offline_and_no_forged_one_is(rooms, make_task):
    mesh, room = rooms([f"n{i}" for i in range(5)])
    mesh.post("n0", [make_task("t1")], 30_000)
    room.settle()
    room.end_epoch()
    room.seal()
    [wish] = [wish for wish in mesh.nodes["n1"].wishes if isinstance(wish, Adopt)]
    proofs = [proof_of(room.batches, ref) for ref in wish.certificate]
    roster, mesh_id = mesh.genesis.roster, mesh.genesis.mesh_id
    found = room.snapshots[wish.state]
    assert ballots.verify_certificate(mesh_id, 1, roster, proofs) == (found.root, wish.state)
    quorum = ballots.epoch_committee(roster, 0).quorum
    votes = proofs[1:]
    other = next(b for b in room.batches if b.envelopes[0].kind == "CLAIM")
    forged = {
        "another epoch": (2, roster, proofs),
        "another roster": (1, tuple(sorted(mesh.nodes))[:4], proofs),
        "votes of strangers": (1, tuple(sorted((parse(proofs[0].raw).sender, "did:x", "did:y"))), proofs),
        "too few": (1, roster, proofs[:quorum]),
        "one vote again and again": (1, roster, [proofs[0], *[votes[0]] * quorum]),
        "no checkpoint": (1, roster, votes),
        "something else for a vote": (
            1,
            roster,
            [*proofs[:quorum], proof_of([other], other.envelopes[0].id)],
        ),
        "a signature changed": (
            1,
            roster,
            [replace(proofs[0], seal=replace(proofs[0].seal, signature=bytes(64))), *votes],
        ),
    }
    for epoch, members, given_proofs in forged.values():
        with pytest.raises(RemoteFault):
            ballots.verify_certificate(mesh_id, epoch, members, given_proofs)


def test_open_needs_go_on_as_if_nothing_had_happened(rooms, make_task):
    """Claimed before the cut and delivered after it; posted before it and without a worker until after it."""
    mesh, room = rooms()
    held = mesh.post("ann", [make_task("t1")], 30_000)
    rare = mesh.post("bob", [make_task("t1", capability="rare")], 30_000)
    work, jobs = mesh._work, []
    mesh._work = lambda node, job: jobs.append((node, job))  # their agents take their time
    room.settle()
    room.end_epoch()
    for node in alive(mesh):
        assert node.state.epoch == 1
        assert {name: need.state() for name, need in node.state.needs.items()} == {
            held: "RUNNING",
            rare: "OPEN",
        }
        assert node.state.ledger.escrows[held].state == "funded"
    assert len(mesh.digests()) == 1
    mesh._work = work
    mesh.publish_manifest("cee", {"rare": 10_000, "echo": 20_000})
    for node, job in jobs:
        work(node, job)
    room.settle()
    mesh.tick(3)
    room.settle()
    for node in alive(mesh):
        assert {need.state() for need in node.state.needs.values()} == {"FINALIZED"}
        assert all(node.state.needs[need].draws == (0,) for need in (held, rare))
    assert len(mesh.digests()) == 1


@pytest.mark.property_id("P4")
def test_what_comes_late_about_a_closed_need_moves_nothing(rooms, make_task):
    mesh, room = rooms()
    need = mesh.post("ann", [make_task("t1")], 30_000)
    room.settle()
    late = [e for node in mesh.nodes.values() for e in node.said if e.thread == need]
    room.end_epoch()
    node = mesh.nodes["bob"]
    before = mesh_digest(node.state)
    for envelope in late:
        assert step(node.state, Admitted((envelope,), {}, mesh.now_ns)) == []
    assert node.state.fenced == len(late)
    assert mesh_digest(node.state) == before
    assert node.state.parked == {}
    # Long after, when nobody remembers the thread, its NEED is still known by the account's entry.
    node.state.closed.clear()
    [first] = [e for e in late if e.kind == "NEED"]
    step(node.state, Admitted((first,), {}, mesh.now_ns))
    assert node.state.needs == {}
    assert mesh_digest(node.state) == before


def test_a_newcomer_begins_at_the_snapshot(rooms, make_task):
    """It has what everybody has, and works on with them."""
    mesh, room = rooms()
    mesh.post("ann", [make_task("t1")], 30_000)
    mesh.post("bob", [make_task("t1", capability="rare")], 30_000)
    room.settle()
    room.end_epoch()
    state = room.adopted["ann"]
    packed = pack(room.snapshots[state])
    assert packed.state == state
    fresh = State(mesh.genesis, mesh.nodes["cee"].did, check_everything=True)
    step(fresh, Adopted(unpack(packed), {}, mesh.now_ns))
    assert mesh_digest(fresh) == mesh_digest(mesh.nodes["ann"].state)
    assert fresh.rates(mesh.nodes["ann"].did) == mesh.nodes["ann"].state.rates(mesh.nodes["ann"].did)
    after = len(room.batches)
    mesh.publish_manifest("cee", {"rare": 10_000, "echo": 20_000})
    mesh.post("ann", [make_task("t2")], 30_000)
    room.settle()
    room.seal()
    for batch in in_order(room.batches[after:]):
        step(fresh, Admitted(batch.envelopes, {}, mesh.now_ns))
    assert mesh_digest(fresh) == mesh_digest(mesh.nodes["ann"].state)


def test_an_envelope_of_an_epoch_that_has_not_begun_here_waits(rooms, make_task):
    mesh, room = rooms(seed=3)
    room.settle()
    first = ballots.epoch_committee(mesh.genesis.roster, 0).members[0]
    gone = next(name for name, node in mesh.nodes.items() if node.did != first)
    mesh.nodes[gone].alive = False
    room.end_epoch()
    need = mesh.post(next(name for name in mesh.nodes if name != gone), [make_task("t1")], 30_000)
    room.settle()
    away = mesh.nodes[gone]
    away.alive = True
    assert away.state.epoch == 0
    room.settle()
    # What it missed arrives in any order; it adopts the checkpoint, then what had waited for it.
    assert away.state.epoch == 1
    assert away.state.ahead == {}
    assert away.state.needs[need].state() == "FINALIZED"
    assert len(mesh.digests()) == 1


@pytest.mark.property_id("P1")
def test_a_silent_proposer_costs_a_round(rooms, make_task):
    mesh, room = rooms([f"n{i}" for i in range(5)])
    first = ballots.epoch_committee(mesh.genesis.roster, 0).members[0]
    silent = next(node for node in mesh.nodes.values() if node.did == first)
    mesh.post("n0", [make_task("t1")], 30_000)
    room.settle()
    silent.alive = False
    mesh.tick(EPOCH_S + 1)
    room.settle()
    assert {node.state.epoch for node in alive(mesh)} == {0}
    for _ in range(4):
        mesh.tick(20)
        room.settle()
    assert {node.state.epoch for node in alive(mesh)} == {1}
    assert len(mesh.digests()) == 1
    silent.alive = True
    room.settle()
    assert silent.state.epoch == 1
    assert len(mesh.digests()) == 1


def test_who_makes_another_snapshot_does_not_vote_for_it(rooms, make_task):
    mesh, room = rooms([f"n{i}" for i in range(3)])
    drawn = ballots.epoch_committee(mesh.genesis.roster, 0)
    room.lies = {name for name, node in mesh.nodes.items() if node.did in drawn.members[1:]}
    mesh.tick(EPOCH_S + 1)
    room.settle()
    assert {node.state.epoch for node in alive(mesh)} == {0}
    ballot = mesh.nodes["n0"].state.ballot
    assert [len(votes) for votes in ballot.votes.values()] == [1]


@pytest.mark.property_id("P4")
def test_a_need_that_two_checkpoints_found_undecided_is_drawn_anew(rooms, make_task):
    """A partition keeps the decision of the old committee from the others; after it, theirs has been orphaned."""
    mesh, room = rooms([f"n{i}" for i in range(5)])
    [need] = [mesh.post("n0", [make_task("t1", capability="rare")], 30_000, deadline_s=600)]
    room.settle()
    room.end_epoch()
    drawn = committees.plan_committee(mesh.nodes["n0"].state.terms, mesh.need("n1", need), 0).members
    island = {name for name, node in mesh.nodes.items() if node.did in drawn}
    assert len(island) == 1  # K is 1 of 5: a committee of one
    mainland = [name for name in mesh.nodes if name not in island]
    for name in island:
        mesh.nodes[name].alive = False
    for _ in range(3):  # its proposer may be on the island
        room.end_epoch()
        if mesh.nodes[mainland[0]].state.epoch == 2:
            break
    assert {mesh.nodes[name].state.epoch for name in mainland} == {2}
    assert mesh.need(mainland[0], need).draws == (0, 2)
    # On the island somebody offers it, and its committee decides and pays.
    inboxes = {name: list(mesh.nodes[name].inbox) for name in mesh.nodes}
    for name in mesh.nodes:
        mesh.nodes[name].alive = name in island
        mesh.nodes[name].inbox.clear()
    worker = sorted(island)[0]
    mesh.publish_manifest(worker, {"rare": 10_000})
    room.settle()
    told = mesh.nodes[worker].state.needs[need]
    assert told.decided is not None
    orphan = told.decided.id
    # It heals: the newer epoch's committee decides, the older decision is orphaned everywhere, money is whole.
    for name in mesh.nodes:
        mesh.nodes[name].alive = True
        mesh.nodes[name].inbox.extend(inboxes[name])
    room.settle()
    for _ in range(6):
        mesh.tick(5)
        room.settle()
    for node in mesh.nodes.values():
        held = node.state.needs[need]
        assert "orphaned_by_epoch 2" in held.void[orphan]
        assert held.decided is not None and held.decided.epoch == 2
        assert held.state() == "FINALIZED"
        assert held.reconciled == {orphan: 2}
        node.state.ledger.check_all()
    assert mesh.nodes[worker].state.orphaned[need] == [orphan]
    assert len(mesh.digests()) == 1


@pytest.mark.property_id("P7")
def test_a_need_that_nobody_decides_for_long_is_drawn_anew_ever_more_rarely(rooms, make_task):
    """Each committee has its roster in every snapshot for as long as the need is open."""
    mesh, room = rooms(verifiers=["ann", "bob"])
    need = mesh.post("cee", [make_task("t1", capability="rare")], 30_000, deadline_s=86_400)
    room.settle()
    while mesh.nodes["ann"].state.epoch < 80:
        room.end_epoch()
    draws = mesh.need("ann", need).draws
    assert draws[:17] == (0, *range(2, 18))  # with each checkpoint at first
    waits = [after - before for before, after in pairwise(draws[2:])]
    assert waits == sorted(waits) and 5 <= waits[-1] <= 80 // 8
    # Nobody waits longer for the next than an eighth of the time that it has waited.
    assert all(8 * wait <= max(8, before) for before, wait in zip(draws[2:], waits, strict=False))
    last = room.snapshots[room.adopted["ann"]]
    assert len(last.rosters) <= len(draws) + 16 + 2 < 60


def test_a_replay_of_the_journal_gives_the_state(rooms, make_task):
    mesh, room = rooms()
    mesh.post("ann", [make_task("t1")], 30_000)
    room.settle()
    room.end_epoch()
    mesh.post("bob", [make_task("t1")], 30_000)
    room.settle()
    for node in mesh.nodes.values():
        again = State(mesh.genesis, node.did)
        for given_input in node.journal:
            step(again, given_input)
        assert state_digest(again) == state_digest(node.state)


@pytest.mark.property_id("P2")
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 400))
def test_a_dumped_state_goes_on_like_the_one_it_was(mesh_of, make_task, seed, steps):
    """Whenever it is dumped: the same digest at once, and after everything that came later."""
    mesh = mesh_of(["ann", "bob", "cee"], seed=seed)
    mesh.answer = lambda node, job: {"n": 1} if mesh.random.random() < 0.8 else None
    for _ in range(3):
        mesh.post("ann", [make_task("t1"), make_task("t2", after=("t1",))], 60_000)
        mesh.post("bob", [make_task("t1", capability="rare")], 30_000)
        some(mesh, steps // 3)
    others = {}
    for name, node in mesh.nodes.items():
        others[name] = load(mesh.genesis, node.did, dump(node.state), check_everything=True)
        assert state_digest(others[name]) == state_digest(node.state)
        assert dump(others[name]) == dump(node.state)
    had = {name: len(node.journal) for name, node in mesh.nodes.items()}
    mesh.publish_manifest("cee", {"rare": 10_000, "echo": 20_000})
    mesh.run()
    for name, node in mesh.nodes.items():
        for given_input in node.journal[had[name] :]:
            step(others[name], given_input)
        assert state_digest(others[name]) == state_digest(node.state)


def test_a_state_that_is_none_is_refused(rooms):
    mesh, _ = rooms()
    node = mesh.nodes["ann"]
    whole = dump(node.state)
    for body in (b"", b"\xa0", whole[:-1], whole.replace(b"Account", b"Accourt") + b"x"):
        with pytest.raises(CorruptState):
            load(mesh.genesis, node.did, body)


@pytest.mark.property_id("P9")
def test_a_snapshot_that_makes_money_is_refused(rooms, make_task):
    mesh, room = rooms()
    mesh.post("ann", [make_task("t1")], 30_000)
    room.settle()
    found = room.snapshots[room.make(NO_SNAPSHOT)]
    rich = mesh.nodes["ann"].did
    accounts = {**found.accounts, rich: replace(found.accounts[rich], available=1 << 60)}
    with pytest.raises(CorruptState, match="P9"):
        step(State(mesh.genesis, rich), Adopted(replace(found, accounts=accounts), {}, mesh.now_ns))


@given(seed=st.integers(0, 2**32 - 1))
def test_everybody_makes_the_same_bytes_in_whatever_order_batches_came(busy, seed):
    room, reference = busy
    dice = random.Random(seed)
    batches = room.batches
    room.batches = dice.sample(batches, len(batches))
    try:
        assert room.make(NO_SNAPSHOT) == reference
    finally:
        room.batches = batches


@given(data=st.data())
def test_mutated_snapshots_are_refused(busy, data):
    """10,000 and more over all examples: heads, parts, compressed parts; nothing but a RemoteFault comes of them."""
    room, reference = busy
    packed = pack(room.snapshots[reference])
    dice = random.Random(data.draw(st.integers(0, 2**32 - 1)))
    for _ in range(30):
        body = bytearray(dice.choice([packed.head, *packed.parts.values()]))
        for _ in range(dice.randint(1, 4)):
            place = dice.randrange(len(body))
            match dice.randrange(3):
                case 0:
                    body[place] ^= 1 << dice.randrange(8)
                case 1:
                    del body[place:]
                case 2:
                    body[place:place] = dice.randbytes(dice.randint(1, 9))
            body = body or bytearray(b"x")
        mutant = bytes(body)
        for read in readers(packed, mutant):
            with contextlib.suppress(RemoteFault):
                read()


def readers(packed, mutant):
    yield lambda: unpack(Packed(mutant, packed.parts))
    yield lambda: part_names(mutant)
    yield lambda: parse_cut(mutant)
    yield lambda: decompress(mutant)
    yield lambda: check_part(packed.state, mutant)
    yield lambda: unpack(Packed(packed.head, dict.fromkeys(packed.parts, mutant)))


def test_compression_is_the_same_everywhere(busy):
    """A frame's bytes follow from the content, the level and the version of zstandard; here is one of known hash."""
    body = b"".join(f"need-{number:032d};".encode() for number in range(1_000))
    frame = compress(body)
    assert frame == compress(bytes(bytearray(body)))
    assert decompress(frame) == body
    room, reference = busy
    for part in pack(room.snapshots[reference]).parts.values():
        assert decompress(compress(part)) == part
    with pytest.raises(RemoteFault, match="at most"):
        decompress(compress(bytes(2_000_000)), 1_000_000)
    with pytest.raises(RemoteFault):
        decompress(frame + b"x")
    with pytest.raises(RemoteFault):
        decompress(frame[:-1])


def test_a_need_that_comes_an_epoch_late_is_planned_by_its_own_epoch(rooms, make_task):
    """Its author was cut off when the epoch ended; its roster is kept for what is on its way."""
    mesh, room = rooms([f"n{i}" for i in range(5)])
    first = ballots.epoch_committee(mesh.genesis.roster, 0).members[0]
    away = next(name for name, node in mesh.nodes.items() if node.did != first)
    need = mesh.post(away, [make_task("t1")], 30_000, deadline_s=600)
    held = {name: list(node.inbox) for name, node in mesh.nodes.items()}
    for node in mesh.nodes.values():
        node.inbox.clear()
    mesh.nodes[away].alive = False
    room.sealed[away] = len(mesh.nodes[away].said)  # nobody has its batches
    room.end_epoch()
    assert {node.state.epoch for node in alive(mesh)} == {1}
    mesh.nodes[away].alive = True
    for name, node in mesh.nodes.items():
        node.inbox.extend(held[name])
    room.settle()
    mesh.tick(3)
    room.settle()
    for node in mesh.nodes.values():
        assert node.state.epoch == 1
        assert node.state.needs[need].draws == (0,)
        assert node.state.needs[need].state() == "FINALIZED"
    assert len(mesh.digests()) == 1


def test_rosters_that_are_long_over_are_let_go(rooms, make_task):
    """What is still said in so old an epoch is judged by the oldest roster there is, and ends no daemon (P10)."""
    mesh, room = rooms()
    mesh.post("ann", [make_task("t1")], 30_000)
    room.settle()
    room.end_epoch()
    terms = mesh.nodes["bob"].state.terms
    kept = {epoch: roster for epoch, roster in terms.rosters.items() if epoch}
    terms.rosters = {epoch + 30: roster for epoch, roster in kept.items()}
    assert terms.known(0) == min(terms.rosters) == 31
    assert terms.roster(0) == mesh.genesis.roster
    assert terms.known(31) == 31


def test_what_waited_is_taken_when_the_snapshot_brings_its_cause(rooms, make_task):
    mesh, room = rooms([f"n{i}" for i in range(5)])
    need = mesh.post("n0", [make_task("t1", capability="rare")], 30_000, deadline_s=600)
    room.settle()
    room.end_epoch()
    found = room.snapshots[room.adopted["n0"]]
    assert need in found.open
    mesh.publish_manifest("n1", {"rare": 10_000})
    room.settle()
    later = [e for node in mesh.nodes.values() for e in node.said if e.thread == need and e.kind != "NEED"]
    fresh = State(mesh.genesis, mesh.nodes["n3"].did)
    for envelope in sorted(later, key=lambda e: e.lamport):
        step(fresh, Admitted((envelope,), {}, mesh.now_ns))
    assert fresh.needs == {} and fresh.ahead
    late = replace_epoch_free(mesh, need)
    step(fresh, Admitted((late,), {}, mesh.now_ns))
    assert late.id in fresh.parked_ids
    step(fresh, Adopted(found, {}, mesh.now_ns))
    assert late.id in fresh.needs[need].seen
    assert fresh.parked == {} and fresh.parked_ids == set() and fresh.ahead == {}
    assert fresh.needs[need].state() == "FINALIZED"


def replace_epoch_free(mesh, need):
    """A void vote of epoch 0 about a need, whose cause is the NEED."""
    [first] = [e for node in mesh.nodes.values() for e in node.said if e.thread == need and e.kind == "NEED"]
    return build(
        kind="ATTEST_PLAN",
        thread=need,
        sender=first.sender,
        lamport=first.lamport + 1,
        ts_ns=first.ts_ns,
        epoch=0,
        payload={"verdict": "accept", "reason": ""},
        refs=(first.id,),
        policy=bytes(32),
        eval_digest=bytes(32),
    )


def test_two_needs_under_one_entry_in_two_epochs_are_settled_by_the_next_checkpoint(
    rooms, make_task, author_of
):
    """Their chains differ, so nodes may hear them in either order: what the checkpoint has first stands everywhere."""
    mesh, room = rooms()
    liar = author_of("ann", mesh.genesis.mesh_id)
    payload = {
        "title": "one",
        "budget": 30_000,
        "deadline_ns": mesh.now_ns + 600 * 10**9,
        "fund": {"seq": 0, "prev": bytes(32)},
        "tasks": [make_task("t1", capability="rare")],
    }
    room.settle()
    room.end_epoch()
    one = liar.envelope("NEED", payload, ts_ns=mesh.now_ns)
    two = liar.envelope("NEED", {**payload, "title": "two"}, ts_ns=mesh.now_ns, epoch=1)
    mesh.nodes["ann"].alive = False  # it says these and nothing else
    for name, order in (("bob", (one, two)), ("cee", (two, one))):
        for envelope in order:
            mesh.feed(mesh.nodes[name], Admitted((envelope,), {}, mesh.now_ns))
    room.settle()
    assert len(mesh.digests()) == 2
    mesh.nodes["ann"].said += [one, two]
    for _ in range(3):
        room.end_epoch()
        if mesh.nodes["bob"].state.epoch == 2:
            break
    assert mesh.need("bob", one.thread).envelope == mesh.need("cee", one.thread).envelope == one.id
    assert len(mesh.digests()) == 1


def test_a_cut_goes_forward_and_not_into_epochs_to_come():
    head = Head(3, bytes(32), 9, 9)
    base = SimpleNamespace(cut={("a", 0, 1): head}, over={})
    ahead = {("b", 1, 1): head, ("b", 0, 2): head}
    cut = choose_cut(ahead, base, 1)
    assert cut == {("a", 0, 1): head, ("b", 0, 2): head}
    assert why_not_cut(cut, base, 1) == ""
    assert why_not_cut(ahead | cut, base, 1)
    assert why_not_cut({("b", 0, 2): head}, base, 1)
    assert why_not_cut({("a", 0, 1): replace(head, seq=2)}, base, 1)
    assert why_not_cut({("a", 0, 1): replace(head, hash=bytes([1]) * 32)}, base, 1)
    assert why_not_cut({("a", 0, 1): replace(head, seq=4, hash=bytes([1]) * 32)}, base, 1) == ""


def test_who_opens_a_round_leaves_out_skips_that_bind_it_to_what_it_refused():
    """A liar votes for a snapshot that nobody can make; any quorum of the others' skips frees the next proposer."""
    ballot = EpochBallot(1, "epoch-x")
    drawn = Committee(("a", "b", "c"), 2)
    ballot.proposals[b"p"] = Proposed(b"p", "a", 0, b"p", b"root", b"state", 0)
    for name, accepted in (("a", b"p"), ("b", None), ("c", None)):
        skip = Skipped(name.encode(), name, 1, accepted, 5, 0)
        ballot.skips[skip.id] = skip
    assert [skip.voter for skip in ballots._skips(ballot, drawn, 1)] == ["a", "b"]
    ballot.refusals[b"p"] = "the cut gives another snapshot"
    assert [skip.voter for skip in ballots._skips(ballot, drawn, 1)] == ["b", "c"]


@pytest.mark.parametrize("comes", [True, False])
def test_who_opens_a_round_waits_for_skips_that_do_not_bind_it(comes):
    """Liars that are quick would else be in the first quorum of every round."""
    state = State(Genesis("m", ("a", "b", "c"), {}, epoch_s=EPOCH_S), "b")
    ballot, drawn, out = (
        EpochBallot(1, "epoch-x", since_ns=S_NS, promised=1),
        Committee(("a", "b", "c"), 2),
        [],
    )
    ballot.proposals[b"p"] = Proposed(b"p", "a", 0, b"p", b"root", b"state", 0)
    ballot.refusals[b"p"] = "the cut gives another snapshot"
    for name, accepted in (("a", b"p"), ("b", None)):
        ballot.skips[name.encode()] = Skipped(name.encode(), name, 1, accepted, 5, 0)
    begins_ns, ends_ns = (S_NS + ballots._round_end_ns(state, round_) for round_ in (0, 1))
    state.now_ns = begins_ns
    ballots._propose(state, ballot, drawn, out)
    half_ns = (begins_ns + ends_ns) // 2
    assert out == [Arm(half_ns)]
    if comes:
        ballot.skips[b"c"] = Skipped(b"c", "c", 1, None, 5, 0)
        ballots._propose(state, ballot, drawn, out)
        assert out[1:] == [MakeSnapshot(1, 1)]  # free
    else:
        state.now_ns = half_ns
        ballots._propose(state, ballot, drawn, out)
        [said] = out[1:]
        assert said.payload == {"epoch": 1, "round": 1, "root": b"root", "state": b"state"}
