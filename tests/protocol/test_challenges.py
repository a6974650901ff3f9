"""Challenges (P3): a wrong result is reversed, a right one never is, and money moves only when a window has ended."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.protocol import bonds
from swarmd.protocol.cbor import Link, decode
from swarmd.protocol.checkpoint.snapshot import NO_SNAPSHOT
from swarmd.protocol.cids import raw_cid
from swarmd.protocol.digest import mesh_digest, need_digest, state_digest
from swarmd.protocol.dumping import dump, load
from swarmd.protocol.effects import Judge
from swarmd.protocol.engine import step
from swarmd.protocol.envelope import build
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.inputs import Admitted, Adopted, Commanded, Ticked
from swarmd.protocol.state import State
from swarmd.protocol.work import challenging

pytestmark = pytest.mark.property_id("P3")

NAMES = [f"n{i}" for i in range(9)]
RIGHT = {"n": 1}
WRONG = {"n": 666}
OPENING = 10_000_000
PRICE = 20_000
WINDOW_S = 100


@pytest.fixture(scope="module")
def rooms(rooms):
    """With a challenge window: epochs of 60 s, K 2, committees of 3 of nine verifiers."""

    def make(**params):
        given = {"bootstrap_threshold": 0, "challenge_window_s": WINDOW_S, **params}
        mesh, room = rooms(NAMES, balance=OPENING, **given)
        mesh.liars = set()
        mesh.answer = lambda node, job: WRONG if node.did in mesh.liars else RIGHT
        mesh.judge = judge
        return mesh, room

    return make


def judge(node, job):
    """The first committee believes everything, as a loose schema does; who judges again runs it again."""
    if job.verify["type"] != "reexec":
        return "accept", 100, "it has the right form"
    same = job.result == raw_cid(repr(RIGHT).encode())
    return ("accept", 100, "the same result") if same else ("reject", 0, "another result")


def loose(make_task, name="t1", **change):
    return make_task(name, verify={"type": "schema", "schema": Link(raw_cid(b"schema"))}, **change)


def wrong(rooms, make_task, owner="n0", tasks=1, **params):
    """A need whose results are in, the first of them wrong; (mesh, room, need, its liar's name)."""
    mesh, room = rooms(**params)
    names = [f"t{i + 1}" for i in range(tasks)]
    tasks = [loose(make_task, n, after=(names[i - 1],) if i else ()) for i, n in enumerate(names)]
    # Whoever is asked first lies.
    first = []
    mesh.answer = lambda node, job: (
        first.append(node.did) or WRONG if not first and job.task == "t1" else RIGHT
    )
    need = mesh.post(owner, tasks, 30_000 * len(names), deadline_s=3600)
    mesh.run()
    assert mesh.need(owner, need).state() == "FINALIZED"
    assert mesh.need(owner, need).runs["t1"].final.result == raw_cid(repr(WRONG).encode())
    liar = next(name for name, node in mesh.nodes.items() if node.did == first[0])
    return mesh, room, need, liar


def challenge(mesh, who, need, task="t1"):
    """Returns the challenge as `who` has it."""
    args = {"need": need, "task": task, "reason": "wrong", "evidence": []}
    mesh.feed(mesh.nodes[who], Commanded("challenge", args, mesh.now_ns))
    said = mesh.nodes[who].said[-1]
    assert said.kind == "CHALLENGE"
    return mesh.need(who, need).challenges[said.id]


def account(mesh, who, at="n0"):
    return mesh.nodes[at].state.ledger.account(mesh.nodes[who].did)


def until_closed(mesh, room, need, epochs=8):
    for count in range(epochs):
        if all(need not in node.state.needs for node in mesh.nodes.values()):
            return count
        room.end_epoch()
    raise AssertionError("the need stays open")


def total(mesh):
    return sum(account(mesh, name).available for name in NAMES)


def bystander(mesh, need, but=()):
    """Who has no part in a result: neither owner, worker, judge, nor of the committee that would judge it again."""
    record = mesh.need("n0", need)
    final = record.runs["t1"].final
    state = mesh.nodes["n0"].state
    again = challenging.review_committee(state.terms, record, final, "", frozenset()).members
    parts = {record.owner, final.worker, *final.judges, *again}
    return next(name for name, node in mesh.nodes.items() if node.did not in parts and name not in but)


def test_a_wrong_result_is_reversed_and_the_next_candidate_paid(rooms, make_task):
    mesh, room, need, liar = wrong(rooms, make_task)
    record = mesh.need("n0", need)
    first = set(record.runs["t1"].final.judges)
    # Accepted, and yet nobody is paid: the window is open.
    assert account(mesh, liar).available == OPENING and account(mesh, "n0").locked == 30_000
    made = challenge(mesh, "n0", need)
    assert account(mesh, "n0").locked == 30_000 + PRICE // 2
    mesh.run()
    for name in NAMES:
        record = mesh.need(name, need)
        run = record.runs["t1"]
        assert challenging.outcome(record, record.challenges[made.id]) == "upheld"
        assert (run.attempt, run.state) == (1, "FINALIZED")
        assert run.final.result == raw_cid(repr(RIGHT).encode())
        assert run.final.worker != mesh.nodes[liar].did
    judges = {review.judge for review in record.reviews.values()}
    parts = {record.owner, mesh.nodes[liar].did, *first}
    assert len(judges) == 2 and not judges & parts
    # Its judges looked at the form, as they were asked to: the lie is the worker's alone.
    assert challenging.marks(record) == {mesh.nodes[liar].did: set(record.rulings)}
    good = next(name for name, node in mesh.nodes.items() if node.did == run.final.worker)
    until_closed(mesh, room, need)
    assert len(mesh.digests()) == 1
    assert account(mesh, liar).available == OPENING
    assert account(mesh, good).available == OPENING + PRICE
    # Its owner had it reversed itself: the reward came out of one pocket into the other.
    assert account(mesh, "n0").available == OPENING - PRICE
    assert total(mesh) == OPENING * len(NAMES)
    closed = next(s.closed[need] for s in room.snapshots.values() if s is not None and need in s.closed)
    assert closed.outcome == "released"
    assert closed.marks.keys() == challenging.marks(record).keys()
    assert closed.paid["t1"] == (mesh.nodes[good].did, PRICE)


@pytest.mark.parametrize(("threshold", "reward"), [(0, PRICE // 4), (10, PRICE // 2)])
def test_a_stranger_earns_a_reward_out_of_what_is_left(rooms, make_task, threshold, reward):
    """Twice as much in bootstrap mode."""
    mesh, room, need, liar = wrong(rooms, make_task, bootstrap_threshold=threshold)
    who = bystander(mesh, need)
    challenge(mesh, who, need)
    mesh.run()
    assert account(mesh, who).available == OPENING, "the bond is back at once"
    until_closed(mesh, room, need)
    assert account(mesh, who).available - OPENING in (
        reward,
        reward + PRICE,
    )  # it may have done the work, too
    assert account(mesh, "n0").available == OPENING - PRICE - reward
    assert total(mesh) == OPENING * len(NAMES)


def test_a_reward_is_never_more_than_what_is_left(rooms, make_task):
    mesh, room = rooms(challenge_reward_permille=500, bootstrap_threshold=10)
    first = []
    mesh.answer = lambda node, job: first.append(node.did) or WRONG if not first else RIGHT
    need = mesh.post("n0", [loose(make_task, price=PRICE + 77)], PRICE + 77, deadline_s=3600)
    mesh.run()
    who = bystander(mesh, need)
    challenge(mesh, who, need)
    until_closed(mesh, room, need)
    assert account(mesh, who).available - OPENING in (77, 77 + PRICE)
    assert account(mesh, "n0").available == OPENING - PRICE - 77


def test_a_right_result_stands_and_the_bond_is_its_workers(rooms, make_task):
    mesh, room = rooms()
    need = mesh.post("n0", [loose(make_task)], 30_000, deadline_s=3600)
    mesh.run()
    final = mesh.need("n0", need).runs["t1"].final
    worker = next(name for name, node in mesh.nodes.items() if node.did == final.worker)
    who = bystander(mesh, need)
    made = challenge(mesh, who, need)
    mesh.run()
    for name in NAMES:
        record = mesh.need(name, need)
        assert challenging.outcome(record, record.challenges[made.id]) == "dismissed"
        assert record.runs["t1"].final.id == final.id
        assert record.invalid == {} and challenging.marks(record) == {}
    assert account(mesh, who).available == OPENING - PRICE // 2
    assert account(mesh, worker).available == OPENING + PRICE // 2
    until_closed(mesh, room, need)
    assert account(mesh, worker).available == OPENING + PRICE // 2 + PRICE
    assert total(mesh) == OPENING * len(NAMES)
    assert len(mesh.digests()) == 1


def test_results_made_from_a_wrong_one_fall_with_it(rooms, make_task):
    mesh, room, need, liar = wrong(rooms, make_task, tasks=3)
    before = {task: run.final.commit for task, run in mesh.need("n0", need).runs.items()}
    challenge(mesh, bystander(mesh, need), need)
    mesh.run()
    for name in NAMES:
        record = mesh.need(name, need)
        assert record.fallen == set(before.values())
        assert record.state() == "FINALIZED"
        after = {task: run.final.commit for task, run in record.runs.items()}
        assert set(after.values()).isdisjoint(before.values())
        assert [run.attempt for run in record.runs.values()] == [1, 0, 0]
    until_closed(mesh, room, need)
    assert account(mesh, liar).available - OPENING in (
        0,
        PRICE,
        2 * PRICE,
    )  # it may have done what came after
    assert total(mesh) == OPENING * len(NAMES)


def test_judges_who_said_they_had_run_it_are_marked(rooms, make_task):
    """A committee that colludes: it had to run the work again, and accepted what nobody gets."""
    mesh, room = rooms()
    mesh.answer = lambda node, job: WRONG if node.did == liars[0] else RIGHT
    mesh.judge = lambda node, job: (
        judge(node, job) if job.job_id.startswith("review-") else ("accept", 1, "friends")
    )
    liars = [mesh.nodes["n0"].did]
    need = mesh.post("n1", [make_task("t1")], 30_000, deadline_s=3600)
    while not mesh.need("n1", need).proposals:
        assert mesh.deliver()
    liars[0] = next(iter(mesh.need("n1", need).proposals.values())).plan["t1"][0][0]
    mesh.run()
    final = mesh.need("n1", need).runs["t1"].final
    assert final.worker == liars[0]
    challenge(mesh, "n1", need)
    mesh.run()
    record = mesh.need("n1", need)
    accepted = {a.judge for a in record.attests.values() if a.commit == final.commit}
    assert len(accepted) >= 2
    assert challenging.marks(record).keys() == {liars[0], *accepted}
    until_closed(mesh, room, need)
    closed = next(s.closed[need] for s in room.snapshots.values() if s is not None and need in s.closed)
    assert closed.marks.keys() == {liars[0], *accepted}


def test_nobody_left_refunds_the_owner(rooms, make_task):
    mesh, room = rooms()
    mesh.answer = lambda node, job: WRONG
    need = mesh.post("n0", [loose(make_task)], 30_000, deadline_s=3600)
    mesh.run()
    attempts = 0
    while (final := mesh.need("n0", need).runs["t1"].final) is not None:
        attempts += 1
        challenge(mesh, "n0", need)
        mesh.run()
    assert attempts == 3  # as many as a plan has candidates
    assert mesh.need("n0", need).state() == "REFUNDED"
    until_closed(mesh, room, need)
    assert account(mesh, "n0").available == OPENING and total(mesh) == OPENING * len(NAMES)
    assert final is None


def test_a_need_stays_open_as_long_as_its_window(rooms, make_task):
    """The window begins with the first checkpoint that has the result, and ends with one that is a window later."""
    mesh, room = rooms()
    need = mesh.post("n0", [loose(make_task)], 30_000, deadline_s=3600)
    mesh.run()
    final = mesh.need("n0", need).runs["t1"].final
    worker = next(name for name, node in mesh.nodes.items() if node.did == final.worker)
    for _ in range(2):
        room.end_epoch()
        assert need in mesh.nodes["n3"].state.needs
        assert account(mesh, worker).available == OPENING
    count = until_closed(mesh, room, need)
    assert count in (1, 2), "64 s an epoch, 100 s of window"
    assert account(mesh, worker).available == OPENING + PRICE
    with pytest.raises(LocalFault, match="challenge window has ended"):
        challenge(mesh, "n0", need)


def test_a_backdated_result_does_not_shorten_its_window(rooms, make_task):
    """Whoever says FINALIZE writes its time: it counts for nothing."""
    mesh, room = rooms()
    need = mesh.post("n0", [loose(make_task)], 30_000, deadline_s=3600)
    mesh.run()
    record = mesh.nodes["n0"].state.needs[need]
    assert all(node.state.needs[need].found == {} for node in mesh.nodes.values())
    room.end_epoch()
    cut = room.snapshots[room.adopted["n0"]].cut
    latest_ns = max(head.ts_ns for head in cut.values())
    assert mesh.need("n0", need).found == {record.runs["t1"].final.commit: latest_ns}


def test_an_undecided_challenge_keeps_a_need_open_and_then_lapses(rooms, make_task):
    mesh, room, need, liar = wrong(rooms, make_task)
    who = bystander(mesh, need)
    mesh.judge = lambda node, job: ("abstain", 0, "I cannot say")
    challenge(mesh, who, need)
    for _ in range(2):
        room.end_epoch()
    assert need in mesh.nodes["n3"].state.needs
    assert account(mesh, who).locked == PRICE // 2
    until_closed(mesh, room, need)
    assert account(mesh, who).available == OPENING
    assert account(mesh, liar).available == OPENING + PRICE  # nobody could say that it was wrong
    assert total(mesh) == OPENING * len(NAMES)
    assert len(mesh.digests()) == 1


def test_a_challenge_without_money_holds_nothing_up(rooms, make_task):
    mesh, room, need, _ = wrong(rooms, make_task)
    who = bystander(mesh, need)
    node = mesh.nodes[who]
    mesh.post(who, [loose(make_task, price=OPENING)], OPENING, deadline_s=3600)
    node.state.own_pending = -OPENING  # a liar's: it believes it is rich
    mesh.feed(
        node,
        Commanded("challenge", {"need": need, "task": "t1", "reason": "", "evidence": []}, mesh.now_ns),
    )
    mesh.run()
    record = mesh.need("n0", need)
    assert len(record.challenges) == 1 and record.reviews == {}
    assert challenging.outcome(record, *record.challenges.values()) == "pending"
    until_closed(mesh, room, need)
    assert len(mesh.digests()) == 1


def test_a_late_challenge_is_fenced_and_its_bond_comes_home(rooms, make_task):
    """Said before, heard after the checkpoint that closed the need: its account's chain has no gap."""
    mesh, room, need, _ = wrong(rooms, make_task)
    who = bystander(mesh, need)
    until_closed(mesh, room, need)
    # A clock or a link that was slow: the envelope is of the epoch before.
    node = mesh.nodes[who]
    state = node.state
    stake = {"seq": state.own_seq, "prev": state.own_head, "amount": PRICE // 2}
    late = build(
        kind="CHALLENGE", thread=need, sender=node.did, lamport=state.lamport, ts_ns=mesh.now_ns, epoch=state.epoch - 1,
        payload={"task": "t1", "reason": "late", "evidence": [], "bond": stake}, refs=(raw_cid(b"final"),), policy=bytes(32), eval_digest=bytes(32),
    )  # fmt: skip
    for each in mesh.nodes.values():
        mesh.feed(each, Admitted((late,), {}, mesh.now_ns))
    node.said.append(late)
    assert state.own_seq == stake["seq"] + 1
    assert account(mesh, who).locked == PRICE // 2
    after = mesh.post(who, [loose(make_task)], 30_000, deadline_s=3600)
    room.end_epoch()
    assert account(mesh, who).locked == 30_000
    assert mesh.nodes["n0"].state.ledger.escrows[after].state == "funded"
    assert all(node.state.bonds == {} for node in mesh.nodes.values())
    assert len(mesh.digests()) == 1


@pytest.mark.parametrize("verdict", ["upheld", "dismissed"])
def test_a_newcomer_finds_a_challenge_in_the_snapshot(rooms, make_task, verdict):
    mesh, room, need, _ = wrong(rooms, make_task)
    who = bystander(mesh, need)
    made = challenge(mesh, who, need)
    if verdict == "dismissed":
        mesh.judge = lambda node, job: ("accept", 100, "the first liar's friends")
    # The checkpoint comes between the challenge and what comes of it.
    state = room.make(NO_SNAPSHOT)
    fresh = State(mesh.genesis, "did:key:zNewcomer", check_everything=True)
    step(fresh, Adopted(room.snapshots[state], {}, mesh.now_ns))
    assert fresh.bonds.keys() == {made.bond}
    assert fresh.ledger.escrows[made.bond].held == PRICE // 2
    sealed = {envelope.id for batch in room.batches for envelope in batch.envelopes}
    mesh.run()
    later = [e for node in mesh.nodes.values() for e in node.said if e.id not in sealed]
    random.Random(1).shuffle(later)
    step(fresh, Admitted(tuple(later), {}, mesh.now_ns))
    record = fresh.needs[need]
    assert challenging.outcome(record, record.challenges[made.id]) == verdict
    old = mesh.nodes["n0"].state
    assert need_digest(record) == need_digest(old.needs[need])
    assert fresh.ledger.escrows[made.bond].state == (
        bonds.RETURNED if verdict == "upheld" else bonds.FORFEITED
    )
    for name in NAMES:
        did = mesh.nodes[name].did
        assert fresh.ledger.account(did).available == old.ledger.account(did).available


def test_the_committee_runs_it_again_on_what_it_was_made_from(rooms, make_task):
    mesh, _, need, _ = wrong(rooms, make_task, tasks=2)
    parent = mesh.need("n0", need).runs["t1"].final
    seen = []
    honest = mesh.judge
    mesh.judge = lambda node, job: seen.append(job) or honest(node, job)
    challenge(mesh, bystander(mesh, need), need, task="t1")
    mesh.run()
    again = [job for job in seen if job.job_id.startswith("review-")]
    assert {job.verify["type"] for job in again} == {"reexec"}
    assert {job.result for job in again} == {parent.result}
    assert all(isinstance(job, Judge) and parent.worker in job.holders for job in again)


def test_who_pays_at_once_is_not_protected(rooms, make_task):
    mesh, _ = rooms()
    args = {
        "title": "quick", "budget": 30_000, "deadline_s": 3600, "tasks": [loose(make_task)], "inline": [], "pay": "at_once",
    }  # fmt: skip
    mesh.feed(mesh.nodes["n0"], Commanded("need.post", args, mesh.now_ns))
    need = mesh.nodes["n0"].said[-1].thread
    mesh.run()
    final = mesh.need("n0", need).runs["t1"].final
    worker = next(name for name, node in mesh.nodes.items() if node.did == final.worker)
    assert account(mesh, worker).available == OPENING + PRICE
    with pytest.raises(LocalFault, match="paid at once"):
        challenge(mesh, "n0", need)


def test_a_challenge_that_cannot_be_is_refused_and_changes_nothing(rooms, make_task):
    mesh, _, need, liar = wrong(rooms, make_task)
    node = mesh.nodes[liar]
    before = state_digest(node.state)
    with pytest.raises(LocalFault, match="challenger's own"):
        challenge(mesh, liar, need)
    assert state_digest(node.state) == before
    with pytest.raises(LocalFault, match="t9 has no accepted result"):
        challenge(mesh, "n0", need, task="t9")
    with pytest.raises(LocalFault, match="need-nowhere is not open here"):
        challenge(mesh, "n0", "need-nowhere")
    mesh.nodes["n0"].state.own_pending = OPENING
    with pytest.raises(LocalFault, match="the bond is 0.01 USDC"):
        challenge(mesh, "n0", need)
    mesh.nodes["n0"].state.own_pending = 0
    challenge(mesh, "n0", need)
    with pytest.raises(LocalFault, match="is being judged"):
        challenge(mesh, "n0", need)


def test_a_receipt_of_a_reversed_result_says_so(rooms, make_task):
    mesh, _, need, liar = wrong(rooms, make_task)
    owner = mesh.nodes["n0"]
    mesh.tick(3)
    mesh.run()
    assert need in owner.state.anchor_of
    challenge(mesh, "n0", need)
    mesh.run()
    mesh.tick(3)
    mesh.run()
    leaves = [decode(leaf) for anchor in owner.state.anchors.values() for leaf in anchor.leaves]
    first, *others = [leaf for leaf in leaves if leaf["need"] == need]
    assert (first["held"], first["paid"][0]["worker"]) == (True, mesh.nodes[liar].did)
    assert "invalidated" not in first
    for leaf in others:
        assert [row["worker"] for row in leaf["invalidated"]] == [mesh.nodes[liar].did]
    assert others[0]["paid"] == [] and others[-1]["paid"][0]["worker"] != mesh.nodes[liar].did


# Any order -----------------------------------------------------------------------------------------------


def plotted(dice, mesh, need):
    """All keys of the mesh in one hand: copies of what was said about challenges, with some of it changed."""
    every = {e.id: e for node in mesh.nodes.values() for e in node.said if e.thread == need}
    dids = [node.did for node in mesh.nodes.values()]
    told = list(every.values())
    for _ in range(40):
        model = dice.choice(
            [e for e in told if e.kind in ("CHALLENGE", "ATTEST", "INVALIDATE", "FINALIZE", "COMMIT")]
        )
        payload = dict(model.payload)
        if "verdict" in payload and dice.random() < 0.5:
            payload["verdict"] = dice.choice(["accept", "reject", "abstain"])
        if "bond" in payload and dice.random() < 0.5:
            payload["bond"] = {
                **payload["bond"],
                "seq": dice.randrange(3),
                "prev": dice.choice([bytes(32), b"x" * 32]),
            }
        refs = [ref for ref in model.refs if dice.random() < 0.9]
        refs += [e.id for e in dice.sample(told, dice.choice([0, 0, 1, 3]))]
        kind = model.kind
        if kind in ("INVALIDATE", "FINALIZE") and "reason" in payload and dice.random() < 0.3:
            body = {"task": payload["task"], "reason": "turned"}
            kind, payload = (
                ("FINALIZE", {"outcome": "dismissed", **body})
                if kind == "INVALIDATE"
                else ("INVALIDATE", body)
            )
        after = max((each.lamport for each in told if each.id in refs), default=0)
        told.append(
            build(
                kind=kind, thread=need, sender=model.sender if dice.random() < 0.6 else dice.choice(dids), lamport=after + dice.randrange(1, 3),
                ts_ns=model.ts_ns + dice.randrange(-3, 9), epoch=0, payload=payload, refs=tuple(dict.fromkeys(refs)), policy=bytes(32), eval_digest=bytes(32),
            )
        )  # fmt: skip
    return told


def turned(dice, mesh, need):
    """A committee that says both: its INVALIDATE and its dismissal, each with a quorum."""
    record = mesh.need("n0", need)
    state = mesh.nodes["n0"].state
    lamport = state.lamport + 1

    def say(sender, kind, payload, *refs):
        nonlocal lamport
        lamport += dice.choice([1, 1, 2])
        return build(
            kind=kind, thread=need, sender=sender, lamport=lamport, ts_ns=mesh.now_ns, epoch=0, payload=payload, refs=refs,
            policy=bytes(32), eval_digest=bytes(32),
        )  # fmt: skip

    for made in record.challenges.values():
        final = record.finals[made.final]
        members = challenging.review_committee(
            state.terms, record, final, made.challenger, frozenset()
        ).members
        for verdict in ("reject", "accept"):
            body = {"task": made.task, "verdict": verdict, "score": 1, "reason": ""}
            reviews = [say(did, "ATTEST", body, made.id) for did in members]
            yield from reviews
            rule = {"task": made.task, "reason": ""}
            refs = (made.id, *(review.id for review in reviews))
            if verdict == "reject":
                yield say(dice.choice(members), "INVALIDATE", rule, *refs)
            else:
                yield say(dice.choice(members), "FINALIZE", {"outcome": "dismissed", **rule}, *refs)


def picture(state):
    return (
        mesh_digest(state),
        {name: (e.state, e.held, dict(e.paid)) for name, e in state.ledger.escrows.items()},
        {
            name: (
                sorted(need.challenges), sorted(need.reviews), sorted(need.rulings), need.invalid, sorted(need.fallen), need.earned(), need.state(),
                {c.id: challenging.outcome(need, c) for c in need.challenges.values()}, {did: sorted(m) for did, m in challenging.marks(need).items()},
                sorted(need.void.items()),
            )
            for name, need in state.needs.items()
        },
    )  # fmt: skip


@pytest.mark.property_id("P2")
@pytest.mark.property_id("P9")
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1 << 32))
def test_any_order_of_challenges_and_lies_gives_one_state(rooms, make_task, author_of, seed):
    dice = random.Random(seed)
    mesh, _ = rooms(seed=seed)
    mesh.answer = lambda node, job: dice.choice([RIGHT, WRONG])
    needs = [
        mesh.post(name, [loose(make_task), loose(make_task, "t2", after=("t1",))], 60_000, deadline_s=3600)
        for name in dice.sample(NAMES, 2)
    ]
    mesh.run()
    if dice.random() < 0.5:
        mesh.judge = lambda node, job: (dice.choice(["accept", "reject", "abstain"]), 1, "any")
    for need in needs:
        for who in dice.sample(NAMES, 3):
            try:
                challenge(mesh, who, need, dice.choice(["t1", "t2"]))
            except LocalFault:
                continue
            for _ in range(dice.choice([0, 5, 500])):
                mesh.deliver()
    mesh.run()
    mesh.tick(60)
    mesh.run()
    told = [e for node in mesh.nodes.values() for e in node.said]
    for need in needs:
        if dice.random() < 0.5:
            told += plotted(dice, mesh, need)
        if dice.random() < 0.5:
            told += list(turned(dice, mesh, need))
    pictures = []
    for _ in range(3):
        state = State(mesh.genesis, author_of("onlooker").did, check_everything=True)
        order = told + dice.sample(told, len(told) // 3)
        dice.shuffle(order)
        while order:
            size = dice.choice([1, 1, 2, 9])
            step(state, Admitted(tuple(order[:size]), {}, mesh.now_ns))
            del order[:size]
            if dice.random() < 0.1:
                step(state, Ticked(mesh.now_ns))
        pictures.append(picture(state))
    assert pictures[0] == pictures[1] == pictures[2]


def test_a_written_state_has_its_challenges(rooms, make_task):
    """P2: what a node begins with after a start is what it had."""
    mesh, _, need, _ = wrong(rooms, make_task, tasks=2)
    challenge(mesh, bystander(mesh, need), need)
    for _ in range(40):
        mesh.deliver()
        for node in mesh.nodes.values():
            again = load(mesh.genesis, node.did, dump(node.state), check_everything=True)
            assert state_digest(again) == state_digest(node.state)
            assert picture(again) == picture(node.state)
            assert again.bonds == node.state.bonds
    mesh.run()
    record = mesh.need("n0", need)
    assert record.invalid
    again = load(mesh.genesis, mesh.nodes["n0"].did, dump(mesh.nodes["n0"].state), check_everything=True)
    assert picture(again) == picture(mesh.nodes["n0"].state)


def test_a_verifier_that_made_a_reversed_result_is_jailed(rooms, make_task):
    mesh, room, need, liar = wrong(rooms, make_task)
    challenge(mesh, "n0", need)
    mesh.run()
    guilty = set(challenging.marks(mesh.need("n0", need)))
    assert guilty == {mesh.nodes[liar].did}  # its judges only looked at the form, as the owner had asked
    until_closed(mesh, room, need)
    state = mesh.nodes["n0"].state
    jailed = {did: member.reason for did, member in state.pool.members.items() if member.state == "jailed"}
    assert jailed.keys() == guilty
    assert set(jailed.values()) == {"made or accepted results that were reversed, in 1 need"}
    assert not guilty & set(state.terms.rosters[state.epoch + 1].members)
    assert len({mesh_digest(node.state) for node in mesh.nodes.values()}) == 1
