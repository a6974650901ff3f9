"""The life of a need through engines alone: decisions, leases, results, money, and their convergence."""

import hypothesis
import pytest
from hypothesis import strategies as st
from swarmd.protocol import planning
from swarmd.protocol.digest import state_digest
from swarmd.protocol.effects import Publish
from swarmd.protocol.engine import step
from swarmd.protocol.envelope import build
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.inputs import Admitted, Commanded, ManifestSeen, Ticked
from swarmd.protocol.state import State
from swarmd.protocol.terms import Terms
from swarmd.protocol.work import committees

NAMES = ["ann", "bob", "cid", "dan", "eve"]


@pytest.mark.parametrize("seed", range(8))
def test_one_task_from_need_to_anchor(mesh_of, make_task, seed):
    """P1 P6 P9: one decision with a certificate, the price paid, the rest returned, all nodes agree."""
    mesh = mesh_of(NAMES, seed=seed)
    need = mesh.post("ann", [make_task("t1")], 50_000)
    mesh.run()
    mesh.tick(3)
    mesh.run()
    for name in NAMES:
        record = mesh.need(name, need)
        assert record.state() == "FINALIZED"
        assert len({d.proposal for d in record.decides.values()}) == 1
        assert record.plan.annotations[("", "anchor")][2].startswith("eip155:1337:0x")
        assert record.void == {}
    assert len(mesh.digests()) == 1
    ledger = mesh.nodes["bob"].state.ledger
    escrow = ledger.escrows[need]
    assert (escrow.state, escrow.held, escrow.returned) == ("released", 0, 30_000)
    assert sum(account.earned for account in ledger.accounts.values()) == 20_000


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("alpha", [300, 600])
def test_a_graph_runs_in_order_whatever_the_delivery(mesh_of, make_task, seed, alpha):
    mesh = mesh_of(NAMES, seed=seed, alpha_permille=alpha, bootstrap_threshold=0)
    tasks = [
        make_task("split"),
        *(make_task(f"count-{i}", after=("split",)) for i in range(3)),
        make_task("merge", after=("count-0", "count-1", "count-2")),
    ]
    need = mesh.post("ann", tasks, 200_000)
    mesh.run()
    for _ in range(4):
        mesh.tick(1)
        mesh.run()
    assert len(mesh.digests()) == 1
    record = mesh.need("eve", need)
    assert record.state() == "FINALIZED", record.waiting_for
    split = record.runs["split"].final
    assert all(record.runs[f"count-{i}"].claim.ts_ns >= split.ts_ns for i in range(3))
    assert mesh.nodes["ann"].state.ledger.escrows[need].returned == 200_000 - 5 * 20_000


def test_a_failing_agent_yields_and_the_next_candidate_takes_over(mesh_of, make_task):
    """P5: the lease ends on yield, the next candidate claims."""
    mesh = mesh_of(NAMES, seed=1)
    failed = []

    def answer(node, job):
        if not failed:
            failed.append(node.did)
            return None
        return {"ok": node.did}

    mesh.answer = answer
    need = mesh.post("ann", [make_task("t1")], 50_000)
    mesh.run()
    record = mesh.need("bob", need)
    assert record.state() == "FINALIZED"
    assert record.runs["t1"].attempt == 1
    assert record.runs["t1"].final.worker != failed[0]


def test_a_vanished_worker_loses_its_lease(mesh_of, make_task):
    """P5: nothing heard until the lease expires, RELEASE, another worker is paid."""
    mesh = mesh_of(NAMES, seed=3, verifiers=["ann", "bob"])
    for name in ("ann", "bob"):
        mesh.publish_manifest(name, {})
    need = mesh.post("ann", [make_task("t1")], 50_000, deadline_s=600)
    while not any(record.claims for node in mesh.nodes.values() if (record := node.state.needs.get(need))):
        mesh.deliver()
    claim = next(
        iter(
            next(
                r for n in mesh.nodes.values() if (r := n.state.needs.get(need)) and r.claims
            ).claims.values()
        )
    )
    gone = next(node for node in mesh.nodes.values() if node.did == claim.worker)
    gone.alive = False
    gone.jobs.clear()
    mesh.run()
    assert mesh.need("ann", need).state() == "RUNNING"
    for _ in range(70):
        mesh.tick(1)
        mesh.run()
    record = mesh.need("ann", need)
    assert record.state() == "FINALIZED"
    assert record.runs["t1"].final.worker != gone.did
    assert [e.cause for e in record.endings.values()] == ["expired"]


def test_a_rejected_result_is_not_paid(mesh_of, make_task):
    """A verifier says no: every candidate is rejected, the owner has all its money again."""
    mesh = mesh_of(NAMES, seed=4)
    mesh.judge = lambda node, job: ("reject", 0, "another result")
    need = mesh.post("ann", [make_task("t1")], 50_000)
    mesh.run()
    for _ in range(5):
        mesh.tick(1)
        mesh.run()
    record = mesh.need("cid", need)
    assert record.state() == "REFUNDED"
    assert {e.cause for e in record.endings.values()} == {"rejected"}
    account = mesh.nodes["cid"].state.ledger.account(mesh.nodes["ann"].did)
    assert (account.available, account.locked) == (10_000_000, 0)
    assert len(mesh.digests()) == 1


def test_nobody_offers_it_so_it_expires_with_the_reason(mesh_of, make_task):
    mesh = mesh_of(NAMES, seed=5)
    need = mesh.post("ann", [make_task("t1", capability="nobody.does")], 50_000, deadline_s=30)
    mesh.run()
    mesh.tick(95)
    mesh.run()
    record = mesh.need("bob", need)
    assert record.state() == "EXPIRED"
    assert record.closed.reason == "nobody offered nobody.does for at most 0.03 USDC"
    assert mesh.nodes["bob"].state.ledger.escrows[need].state == "expired"
    assert mesh.nodes["bob"].state.ledger.account(mesh.nodes["ann"].did).available == 10_000_000


@pytest.mark.parametrize(
    ("delivers", "verdict", "said"),
    [
        (True, "abstain", "a result was delivered and nobody could judge it: no agent for it here"),
        (True, None, "a result was delivered and not judged before the lease ran out"),
        (False, None, "expired, its worker took it and delivered nothing before the lease expired"),
    ],
)
def test_a_lease_that_runs_out_says_what_it_waited_for(mesh_of, make_task, delivers, verdict, said):
    """One verifier, without an agent for what it must run again; or it says nothing; or the worker does not."""
    mesh = mesh_of(["ann", "bob"], seed=7, verifiers=["ann"])
    mesh.tick(1)
    mesh.publish_manifest("ann", {})  # newer than its first
    mesh.judge = lambda node, job: ("abstain", 0, "no agent for it here")
    need = mesh.post("ann", [make_task("t1")], 50_000, deadline_s=600)
    if not delivers:
        while not mesh.nodes["bob"].jobs:
            mesh.deliver()
        mesh.nodes["bob"].alive = False
    elif verdict is None:
        while not mesh.nodes["ann"].jobs:
            mesh.deliver()
        mesh.nodes["ann"].jobs.clear()
    for _ in range(80):
        mesh.run()
        mesh.tick(1)
    record = mesh.need("ann", need)
    assert record.state() == "REFUNDED"
    assert record.closed.reason == f"t1: every candidate failed; last: {said}"


def test_judges_that_abstain_are_replaced(mesh_of, make_task):
    mesh = mesh_of(NAMES, seed=6)
    silent = set()

    def judge(node, job):
        if len(silent) < 2:
            silent.add(node.did)
        return ("abstain", 0, "no such agent here") if node.did in silent else ("accept", 100, "same")

    mesh.judge = judge
    need = mesh.post("ann", [make_task("t1")], 50_000)
    mesh.run()
    record = mesh.need("dan", need)
    assert record.state() == "FINALIZED"
    assert sorted(a.verdict for a in record.attests.values()) == ["abstain", "abstain", "accept"]


def test_a_lone_daemon_serves_itself(mesh_of, make_task):
    mesh = mesh_of(["ann"])
    need = mesh.post("ann", [make_task("t1")], 50_000)
    mesh.run()
    assert mesh.need("ann", need).state() == "FINALIZED"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"budget": 10_000}, "budget-too-small"),
        ({"budget": 10_000_001}, "insufficient-funds"),
        ({"deadline_s": 0}, "bad-deadline"),
        ({"title": "x" * 300}, "bad-need"),
        ({"tasks": []}, "bad-need"),
    ],
)
def test_a_bad_command_changes_nothing(mesh_of, make_task, change, code):
    mesh = mesh_of(["ann", "bob"])
    state = mesh.nodes["ann"].state
    before = state_digest(state)
    args = {
        "title": "t",
        "budget": 50_000,
        "deadline_s": 60,
        "tasks": [make_task("t1")],
        "inline": [],
        **change,
    }
    with pytest.raises(LocalFault) as caught:
        step(state, Commanded("need.post", args, mesh.now_ns + 5))
    assert caught.value.code == code
    assert state_digest(state) == before


def test_a_cycle_is_named(mesh_of, make_task):
    mesh = mesh_of(["ann"])
    tasks = [make_task("a", after=("b",)), make_task("b", after=("a",))]
    with pytest.raises(LocalFault, match="wait for each other: a -> b -> a"):
        mesh.post("ann", tasks, 100_000)


@pytest.mark.parametrize("seed", range(4))
def test_the_journal_gives_the_state_again(mesh_of, make_task, seed):
    """P2: replaying a node's inputs gives its state digest."""
    mesh = mesh_of(NAMES, seed=seed)
    for i in range(5):
        mesh.post(NAMES[i], [make_task("t1"), make_task("t2", after=("t1",))], 90_000)
    mesh.run()
    mesh.tick(3)
    mesh.run()
    for node in mesh.nodes.values():
        again = State(mesh.genesis, node.did, check_everything=True)
        for given in node.journal:
            step(again, given)
        assert state_digest(again) == state_digest(node.state)
    assert len(mesh.digests()) == 1


def test_an_unknown_input_raises(mesh_of):
    mesh = mesh_of(["ann"])
    with pytest.raises(TypeError):
        step(mesh.nodes["ann"].state, object())


def test_who_never_claims_comes_last_after_two_failures(mesh_of, make_task):
    """A price of next to nothing does not buy the right to stall every need."""
    mesh = mesh_of(NAMES, seed=7, verifiers=NAMES[:4])
    mesh.publish_manifest("eve", {"echo": 1})
    stalled = mesh.nodes["eve"]
    stalled.alive = False
    waited = []
    for _ in range(4):
        need = mesh.post("ann", [make_task("t1")], 50_000, deadline_s=600)
        mesh.run()
        ticks = 0
        while mesh.need("ann", need).state() != "FINALIZED":
            mesh.tick(1)
            mesh.run()
            ticks += 1
            assert ticks < 60
        waited.append(ticks)
    assert waited[0] > 9 and waited[-1] == 0


def committee_of(mesh, need):
    by_did = {node.did: node for node in mesh.nodes.values()}
    drawn = committees.plan_committee(Terms(mesh.genesis), mesh.need("ann", need), 0)
    return [by_did[did] for did in drawn.members]


SEVEN = [*NAMES, "fay", "gus"]


@pytest.mark.property_id("P1")
@pytest.mark.parametrize("silent", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_a_silent_proposer_costs_a_round(mesh_of, make_task, seed, silent):
    mesh = mesh_of(SEVEN, seed=seed, alpha_permille=430)
    need = mesh.post("ann", [make_task("t1")], 50_000, deadline_s=600)
    for node in committee_of(mesh, need)[:silent]:
        node.alive = False
        node.inbox.clear()
    living = next(node for node in committee_of(mesh, need) if node.alive).state
    for _ in range(40):
        mesh.run()
        mesh.tick(0.5)
    record = living.needs[need]
    assert record.decided is not None and record.proposals[record.decided.proposal].round == silent
    assert len({decide.proposal for decide in record.decides.values()}) == 1
    assert record.equivocators == {}


@pytest.mark.property_id("P1")
def test_what_one_member_voted_for_unseen_is_what_the_next_round_decides(mesh_of, make_task):
    """The first proposer reaches one member and is gone. That member's skip carries the plan over."""
    mesh = mesh_of(SEVEN, seed=1, alpha_permille=430)
    need = mesh.post("ann", [make_task("t1")], 50_000, deadline_s=600)
    asked = next(envelope for envelope in mesh.nodes["ann"].said if envelope.kind == "NEED")
    first, second, third, *rest = committee_of(mesh, need)

    def hear(node, envelope):
        mesh.feed(node, Admitted((envelope,), {}, mesh.now_ns))

    hear(first, asked)
    proposal = first.said[0]
    hear(third, asked)
    hear(third, proposal)
    assert [envelope.kind for envelope in third.said] == ["ATTEST_PLAN"]
    first.alive = False
    for node in mesh.nodes.values():
        node.inbox = type(node.inbox)(e for e in node.inbox if e.sender != first.did)
    rest[0].alive = False  # with the first gone too, all three others are needed
    mesh.publish_manifest("bob", {"echo": 1})  # what a fresh plan would take
    for _ in range(40):
        mesh.run()
        mesh.tick(0.5)
    # The proposal itself reaches the others as what a skip refers to; without it they could not tell.
    record = third.state.needs[need]
    assert record.decided is None and record.skips
    for node in (second, *rest):
        node.inbox.append(proposal)
    for _ in range(200):
        mesh.run()
        mesh.tick(0.5)
    assert record.decided is not None and record.decided.proposal == proposal.id
    assert max(proposal.round for proposal in record.proposals.values()) > 0


@pytest.mark.property_id("P1")
def test_who_forgot_its_vote_and_hears_it_again_does_not_vote_twice(mesh_of, make_task):
    """A node restored from a backup gets what it said since then from others, as anybody's envelopes."""
    mesh = mesh_of(SEVEN, seed=1, alpha_permille=430)
    need = mesh.post("ann", [make_task("t1")], 50_000, deadline_s=600)
    asked = next(envelope for envelope in mesh.nodes["ann"].said if envelope.kind == "NEED")
    first, member, *_ = committee_of(mesh, need)
    mesh.feed(first, Admitted((asked,), {}, mesh.now_ns))
    proposal = first.said[0]
    mesh.feed(member, Admitted((asked,), {}, mesh.now_ns))
    mesh.feed(member, Admitted((proposal,), {}, mesh.now_ns))
    [vote] = member.said
    forgetful = State(mesh.genesis, member.did, check_everything=True)
    # A second proposal of the round, as a lying proposer makes it, is on record before the first.
    lie = build(
        kind="PROPOSE",
        thread=need,
        sender=first.did,
        lamport=proposal.lamport + 1,
        ts_ns=proposal.ts_ns,
        epoch=0,
        payload={**proposal.payload, "lease_s": 7},
        refs=proposal.refs,
        policy=bytes(32),
        eval_digest=bytes(32),
        trace="",
    )
    said = step(forgetful, Admitted((asked, proposal, vote, lie), {}, mesh.now_ns))
    for manifest in member.state.manifests.values():  # before these it could vote for nobody
        said += step(forgetful, ManifestSeen(manifest, mesh.now_ns))
    assert [effect for effect in said if isinstance(effect, Publish) and effect.kind == "ATTEST_PLAN"] == []
    [skip] = [
        effect for effect in step(forgetful, Ticked(mesh.now_ns + 3 * 10**9)) if isinstance(effect, Publish)
    ]
    assert (skip.payload["verdict"], skip.refs) == ("skip", (asked.id, vote.id))


@hypothesis.given(st.integers(0, 50_000), st.integers(0, 10**9))
def test_rounds_double_up_to_a_minute_and_are_told_by_the_time(round_, part):
    """A need may be open for 30 days, some 43,000 rounds: both ways are a step, however many have passed."""
    start_ns, next_ns = planning.round_start_ns(round_), planning.round_start_ns(round_ + 1)
    assert next_ns - start_ns == min(planning.ROUND_NS << min(round_, 9), planning.MAX_ROUND_NS)
    assert planning._round_at(start_ns + part * (next_ns - start_ns - 1) // 10**9) == round_
    assert planning.round_start_ns(0) == 0
