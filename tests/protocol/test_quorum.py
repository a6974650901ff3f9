"""The seed's QuorumTracker (004, command 34) as this core has it: votes of one committee about one need, heard by one of
its members, in whatever order. And where genesis names an arbiter, that nothing is decided before it has said."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.protocol.cbor import Link
from swarmd.protocol.cids import raw_cid
from swarmd.protocol.consensus.arbitration import WAITING
from swarmd.protocol.consensus.committee import k_plan
from swarmd.protocol.digest import mesh_digest
from swarmd.protocol.genesis import BFT, ETCD, Genesis
from swarmd.protocol.identity.manifest import sign_manifest
from swarmd.protocol.inputs import Arbitrated, ManifestSeen
from swarmd.protocol.state import State


@pytest.fixture(scope="session")
def manifest_of(keys, author_of):
    def make(name, offers, genesis, at_ns):
        def sign(data):
            return keys(name).sign(data).signature

        return sign_manifest(genesis.mesh_id, author_of(name).did, at_ns, offers, (), (), sign)

    return make


# QuorumTracker.


@pytest.mark.property_id("P6")
def test_three_votes_reach_k_of_three(ballot):
    one = ballot()
    assert (one.committee.quorum, len(one.committee.members)) == (3, 5)
    for count, vote in enumerate(one.votes(one.plan, 3), 1):
        one.hear(vote)
        one.pass_time()
        assert len(one.record.votes[one.plan.id]) == count
        assert len(one.decisions) == (count == 3), "only the vote that completes the quorum does"
    assert one.record.decided.proposal == one.plan.id
    assert set(one.decisions[0].refs) == {one.plan.id, *one.record.votes[one.plan.id].values()}


def test_a_quorum_completes_exactly_once(ballot):
    """Neither more votes, nor the same again, nor time, nor another's DECIDE make a member decide twice."""
    one = ballot()
    votes = one.votes(one.plan, 4)
    one.hear(*votes[:3])
    one.pass_time()
    assert len(one.decisions) == 1
    one.hear(votes[3], *votes, one.decide(one.proposer, one.plan, votes[:3]))
    one.pass_time(30)
    assert len(one.decisions) == 1
    assert len(one.record.decides) == 2, "two members said so; it is one decision"
    assert {decide.proposal for decide in one.record.decides.values()} == {one.plan.id}


def test_whoever_votes_twice_counts_once(ballot):
    one = ballot()
    first, second = one.committee.members[:2]
    one.hear(*(one.vote(did, one.plan) for did in (first, second, first, second, first)))
    one.pass_time()
    assert len(one.record.votes[one.plan.id]) == 2
    assert not one.decisions


def test_proposals_do_not_interfere(ballot):
    one = ballot()
    one.hear(*one.votes(one.plan, 2), *one.votes(one.rival, 2, first=2))
    one.pass_time()
    assert not one.decisions, "four votes, but no three for one"
    assert [len(one.record.votes[p.id]) for p in (one.plan, one.rival)] == [2, 2]
    one.hear(one.vote(one.committee.members[4], one.rival))
    one.pass_time()
    assert [decision.refs[0] for decision in one.decisions] == [one.rival.id]


def test_who_is_no_member_does_not_count(ballot):
    one = ballot()
    strangers = [did for did in one.names if did not in one.committee.members]
    one.hear(
        *one.votes(one.plan, 2), *(one.vote(did, one.plan) for did in [*strangers, one.owner, one.worker])
    )
    one.pass_time()
    assert len(one.record.votes[one.plan.id]) == 2 and not one.decisions
    assert len(one.record.void) == len(strangers) + 2


def test_a_vote_against_or_a_skip_is_no_vote_for(ballot):
    one = ballot()
    third = one.committee.members[2]
    skip = one.envelope(one.committee.members[3], "ATTEST_PLAN", {"verdict": "skip", "round": 1, "reason": ""}, [one.need.id])  # fmt: skip
    one.hear(*one.votes(one.plan, 2), one.vote(third, one.plan, "reject"), skip)
    one.pass_time()
    assert not one.decisions
    one.hear(one.vote(third, one.plan))
    one.pass_time()
    assert len(one.decisions) == 1


@pytest.mark.parametrize("active", [1, 4, 7, 10, 14, 17, 20, 50])
def test_k_is_of_the_active_verifiers_with_alpha_and_target_of_the_seed(active):
    genesis = Genesis("k", ("did",), {})
    assert (genesis.alpha_permille, genesis.k_target) == (300, 5)
    assert k_plan(active, genesis) == max(1, min(5, int(active * 0.3)))


@pytest.mark.property_id("P1")
def test_any_order_of_the_same_votes_gives_the_same_decision(ballot):
    source = ballot()
    votes = [*source.votes(source.plan, 3), source.vote(source.committee.members[3], source.rival)]
    decide = source.decide(source.proposer, source.plan, votes[:3])
    digests = set()
    for order in permutations(votes):
        one = ballot()
        one.state.me = "an onlooker"
        one.hear(*order, decide)
        digests.add(mesh_digest(one.state))
        assert one.record.decided.proposal == one.plan.id
    assert len(digests) == 1


@settings(max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=14))
def test_a_member_decides_at_most_once_and_only_with_a_quorum(ballot, said):
    """Whatever members say, however often and however they contradict themselves: each DECIDE of ours has a quorum of
    different members, and there is at most one for a plan."""
    one = ballot()
    for member, rival in said:
        one.hear(one.vote(one.committee.members[member], one.rival if rival else one.plan))
    one.pass_time()
    one.pass_time(40)
    assert len({decision.refs[0] for decision in one.decisions}) == len(one.decisions)
    for decision in one.decisions:
        voters = {one.record.vote_of[ref][0] for ref in decision.refs[1:]}
        assert len(voters) >= one.committee.quorum and voters <= set(one.committee.members)


def test_in_mode_bft_two_thirds_and_one_decide(ballot):
    one = ballot(quorum_mode=BFT)
    assert (one.committee.quorum, len(one.committee.members)) == (5, 7)
    votes = one.votes(one.plan, 5)
    one.hear(*votes[:4])
    one.pass_time()
    assert not one.decisions
    one.hear(one.decide(one.proposer, one.plan, votes[:4], k=4), votes[4])
    assert [void for void in one.record.void.values()] == ["4 votes of the committee, 5 are needed"]
    one.pass_time()
    assert len(one.decisions) == 1 and one.decisions[0].payload["k"] == 5


@pytest.mark.property_id("P1")
@pytest.mark.parametrize(("mode", "liars", "both"), [("majority", 0, False), ("majority", 1, True), (BFT, 2, False), (BFT, 3, True)])  # fmt: skip
def test_how_many_equivocating_members_it_takes_for_two_decisions(ballot, mode, liars, both):
    """The honest split their votes as the liars like it; the liars vote for both. K of 2K-1 bears none, 2f+1 of 3f+1
    bears f, and one more breaks either."""
    one = ballot(quorum_mode=mode)
    members = one.committee.members
    bad, honest = members[:liars], members[liars:]
    half = len(honest) // 2
    sides = {one.plan: [*honest[:half], *bad], one.rival: [*honest[half:], *bad]}
    for proposal, voters in sides.items():
        votes = [one.vote(did, proposal) for did in voters]
        one.hear(*votes, one.decide(one.proposer, proposal, votes))
    decided = {decide.proposal for decide in one.record.decides.values()}
    assert (len(decided) == 2) is both
    assert set(bad) <= one.record.equivocators.keys(), "each liar is on record with both votes"
    assert one.record.equivocators.keys() <= {*bad, one.proposer}, (
        "and so is the proposer, who said two in one round"
    )


@pytest.mark.parametrize("heard", [True, False])
def test_a_proposer_made_of_a_backup_does_not_propose_twice_in_a_round(ballot, heard, manifest_of):
    """What it said before and only hears again counts as said: two plans of a round are proof against their proposer."""
    one = ballot()
    again = State(one.genesis, one.proposer, check_everything=True)
    one.state, one.me = again, one.proposer
    if heard:
        one.hear(one.need, one.plan)
    one.feed(ManifestSeen(manifest_of("w", {"echo": 10_000}, one.genesis, one.now_ns), one.now_ns))
    if not heard:
        one.hear(one.need)
    one.pass_time(1)
    proposed = [envelope for envelope in one.said if envelope.kind == "PROPOSE"]
    assert len(proposed) == (0 if heard else 1)
    if not heard:
        one.hear(one.plan)
        assert one.record.equivocators == {one.me: tuple(sorted([proposed[0].id, one.plan.id]))}


# The arbiter.


@pytest.mark.property_id("P1")
def test_nothing_is_decided_before_the_arbiter_has_said(ballot):
    one = ballot(arbiter=ETCD)
    one.hear(*one.votes(one.plan, 3))
    one.pass_time()
    assert not one.decisions and one.record.waiting_for == WAITING
    assert [(ask.need, ask.epoch, ask.proposal, ask.decider) for ask in one.asked] == [
        (one.thread, 0, one.plan.id, one.me)
    ]
    one.pass_time(30)
    assert len(one.asked) == 1 and not one.decisions, "it waits; the question is in the outbox"
    one.ruled(one.plan)
    assert len(one.decisions) == 1
    assert len(one.decisions[0].refs) == 4, "with its certificate, as ever"
    one.ruled(one.plan)
    assert len(one.decisions) == 1


def test_the_arbiter_named_another_plan(ballot):
    one = ballot(arbiter=ETCD)
    one.hear(*one.votes(one.plan, 3))
    one.pass_time()
    one.ruled(one.rival)
    one.pass_time(30)
    assert not one.decisions, "it waits for a quorum for the other, or for its DECIDE"
    votes = one.votes(one.rival, 3, first=2)
    one.hear(*votes)
    one.pass_time()
    assert [decision.refs[0] for decision in one.decisions] == [one.rival.id]


def test_a_second_word_of_the_arbiter_changes_nothing(ballot):
    one = ballot(arbiter=ETCD)
    one.hear(*one.votes(one.plan, 3))
    one.pass_time()
    one.ruled(one.plan)
    one.ruled(one.rival)
    assert one.record.arbitrated == one.plan.id and len(one.decisions) == 1


def test_too_late_for_the_arbiter(ballot):
    one = ballot(arbiter=ETCD)
    one.hear(*one.votes(one.plan, 3))
    one.pass_time()
    assert one.asked[0].until_ns == one.record.deadline_ns
    one.ruled(None)
    one.pass_time()
    assert not one.decisions and one.record.decided is None


@pytest.mark.property_id("P1")
@pytest.mark.parametrize("winner", ["plan", "rival"])
def test_two_certificates_and_the_arbiter_says_which_holds(ballot, winner):
    """With more liars than the committee bears both plans have a quorum. All nodes then ask, and take its word."""
    source = ballot(arbiter=ETCD)
    sides = {source.plan: source.votes(source.plan, 3), source.rival: source.votes(source.rival, 3, first=2)}
    decides = [source.decide(source.proposer, plan, votes) for plan, votes in sides.items()]
    chosen = getattr(source, winner)
    digests = set()
    for order in (decides, decides[::-1]):
        for early in (False, True):
            one = ballot(arbiter=ETCD)
            one.state.me = "an onlooker"
            one.hear(*(vote for votes in sides.values() for vote in votes))
            one.hear(order[0])
            assert not one.asked, "one certificate is enough where nothing contradicts it"
            if early:
                one.ruled(chosen)
            one.hear(order[1])
            if not early:
                assert [ask.need for ask in one.asked] == [one.thread]
                one.ruled(chosen)
            assert one.record.decided.proposal == chosen.id
            digests.add(mesh_digest(one.state))
    assert len(digests) == 1


def test_what_the_arbiter_says_of_what_is_not_here(ballot):
    one = ballot(arbiter=ETCD)
    before = mesh_digest(one.state)
    one.feed(Arbitrated("need-" + "a" * 32, 0, one.plan.id, one.now_ns))
    one.feed(Arbitrated(one.thread, 7, one.plan.id, one.now_ns))
    assert mesh_digest(one.state) == before and not one.record.arbitrated
    unknown = Link(raw_cid(b"a plan that never came"))
    one.feed(Arbitrated(one.thread, 0, unknown, one.now_ns))
    one.hear(*one.votes(one.plan, 3))
    one.pass_time()
    assert not one.decisions, "another node recorded a plan that has not come here: wait for it"


def test_without_an_arbiter_nobody_is_asked(ballot):
    one = ballot()
    one.hear(*one.votes(one.plan, 3))
    one.pass_time()
    assert not one.asked and len(one.decisions) == 1
