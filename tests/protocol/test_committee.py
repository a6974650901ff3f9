"""K, and committees: the seed's formulas, deterministic draws, an even spread, and quorums that always meet."""

from collections import Counter
from fractions import Fraction
from hashlib import sha256
from itertools import combinations, permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.protocol.consensus.committee import (
    Committee,
    committee_size,
    draw,
    k_plan,
    k_result,
    liars_borne,
    quorum_of,
    ranked,
    too_few,
)
from swarmd.protocol.didkey import did_of
from swarmd.protocol.envelope import need_id
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.genesis import BFT, COMMITTEE, ETCD, MAJORITY, Genesis, parse_genesis

VECTORS = Path(__file__).parent / "vectors" / "committee.txt"
ROSTER = tuple(sorted(did_of(sha256(b"member %d" % i).digest()) for i in range(16)))


def genesis(**change):
    return Genesis("test", ROSTER, {}, **change)


# active verifiers -> (K_plan, K_result), seed 004 commands 34 and 36 with alpha 0.3, target 5, threshold 10
SEED_TABLE = {
    1: (1, 1), 2: (1, 1), 3: (1, 1), 4: (1, 1), 5: (1, 1), 6: (1, 1), 7: (2, 1), 8: (2, 1), 9: (2, 1), 10: (3, 3), 11: (3, 3),
    13: (3, 3), 14: (4, 4), 16: (4, 4), 17: (5, 5), 20: (5, 5), 100: (5, 5), 4096: (5, 5),
}  # fmt: skip


@pytest.mark.parametrize("active", SEED_TABLE)
def test_k_of_the_seed(active):
    assert (k_plan(active, genesis()), k_result(active, genesis())) == SEED_TABLE[active]
    assert too_few(active, genesis()) == (active < 10)


def test_outside_bootstrap_two_judge_at_least():
    assert k_result(10, genesis(alpha_permille=100)) == 2
    assert k_result(10, genesis(alpha_permille=100, k_target=1)) == 1


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.integers(0, 1000), st.integers(1, 31), st.integers(0, 100))
def test_k_by_exact_arithmetic(active, alpha, target, threshold):
    params = genesis(alpha_permille=alpha, k_target=target, bootstrap_threshold=threshold)
    part = int(active * Fraction(alpha, 1000))
    assert k_plan(active, params) == max(1, min(target, part))
    assert k_result(active, params) == (1 if active < threshold else min(target, max(2, part)))


@pytest.mark.property_id("P1")
@pytest.mark.parametrize("size", range(1, 10))
def test_two_quorums_of_one_committee_share_a_member(size):
    committee = draw(ROSTER[:size], 5, ())
    assert len(committee.members) == size
    quorums = [set(quorum) for quorum in combinations(committee.members, committee.quorum)]
    assert all(one & other for one in quorums for other in quorums)
    assert 2 * (committee.quorum - 1) <= size  # and no smaller number would do with a majority missing


@pytest.mark.parametrize("k", range(1, 6))
def test_a_full_committee_has_2k_minus_1_of_whom_k_decide(k):
    committee = draw(ROSTER, k, ())
    assert (len(committee.members), committee.quorum) == (2 * k - 1, k)
    assert committee.members == ROSTER[: 2 * k - 1]
    assert [committee.rank(did) for did in ROSTER[: 2 * k]] == [*range(2 * k - 1), None]


@settings(max_examples=200, deadline=None)
@given(st.sets(st.sampled_from(ROSTER)), st.integers(1, 5), st.integers(0, 1000))
def test_exclusions(excluded, k, seq):
    order = ranked(ROSTER, "plan", need_id(ROSTER[0], seq), "", 0)
    committee = draw(order, k, excluded)
    left = [did for did in order if did not in excluded]
    if left:
        assert not excluded & set(committee.members)
        assert committee.members == tuple(left[: 2 * k - 1])
    else:
        assert committee.members == order[: 2 * k - 1]  # nobody else is there: they judge themselves
    assert len(set(committee.members)) == len(committee.members) >= 1
    assert 2 * committee.quorum > len(committee.members) >= committee.quorum


def test_one_daemon_judges_itself():
    assert draw(("did",), 1, {"did"}) == Committee(("did",), 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(ROSTER))
def test_a_member_that_leaves_moves_nobody_else(seq, gone):
    """Rendezvous hashing: the order of the others stays."""
    thread = need_id(ROSTER[0], seq)
    rest = tuple(did for did in ROSTER if did != gone)
    assert ranked(rest, "plan", thread, "", 0) == tuple(
        did for did in ranked(ROSTER, "plan", thread, "", 0) if did != gone
    )


def test_every_part_of_the_seed_matters():
    thread = need_id(ROSTER[0], 0)
    orders = {
        ranked(ROSTER, "plan", thread, "", 0),
        ranked(ROSTER, "result", thread, "", 0),
        ranked(ROSTER, "plan", need_id(ROSTER[0], 1), "", 0),
        ranked(ROSTER, "plan", thread, "t1", 0),
        ranked(ROSTER, "plan", thread, "", 1),
    }
    assert len(orders) == 5


def chi_square(counts, total):
    expected = total / len(ROSTER)
    return sum((counts[did] - expected) ** 2 / expected for did in ROSTER)


def test_the_spread_is_even():
    """15 degrees of freedom: 37.7 is the 99.9th percentile; the draws are fixed, so this never flickers."""
    threads = [need_id(ROSTER[0], seq) for seq in range(3_000)]
    orders = [ranked(ROSTER, "plan", thread, "", 0) for thread in threads]
    for rank in (0, 1, 8, 15):
        assert chi_square(Counter(order[rank] for order in orders), len(orders)) < 37.7
    # The second member does not follow from the first: pairs are even, too (240 ordered pairs, 239 degrees: 311).
    pairs = Counter((order[0], order[1]) for order in orders)
    expected = len(orders) / 240
    assert sum((pairs[(a, b)] - expected) ** 2 / expected for a in ROSTER for b in ROSTER if a != b) < 311


WEIGHTS = tuple((did, weight) for did, weight in zip(ROSTER, [2, 1, 3, 1] * 4, strict=True) if weight > 1)


def test_shares_are_by_weight():
    """4 members of each weight; first places by weight / 28 and, of 4-member rosters, every whole order as by drawing
    lots without putting back. 15 and 23 degrees of freedom: 37.7 and 49.7 are the 99.9th percentiles."""
    weight = {**dict.fromkeys(ROSTER, 1), **dict(WEIGHTS)}
    total = sum(weight.values())
    firsts = Counter(ranked(ROSTER, "plan", str(i), "", 0, WEIGHTS)[0] for i in range(7_000))
    assert sum((firsts[d] - 7_000 * w / total) ** 2 / (7_000 * w / total) for d, w in weight.items()) < 37.7
    some = ROSTER[:4]
    orders = Counter(ranked(some, "plan", str(i), "", 0, WEIGHTS[:2]) for i in range(7_000))
    off = 0.0
    for order in permutations(some):
        left, share = 7, Fraction(1)
        for did in order:
            share *= Fraction(weight[did], left)
            left -= weight[did]
        off += float((orders[order] - 7_000 * share) ** 2 / (7_000 * share))
    assert off < 49.7


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9), st.binary(min_size=0, max_size=32))
def test_equal_weights_draw_as_none(seq, weight, beacon):
    thread = need_id(ROSTER[0], seq)
    equal = tuple((did, weight) for did in ROSTER)
    assert ranked(ROSTER, "plan", thread, "", 1, equal, beacon) == ranked(
        ROSTER, "plan", thread, "", 1, (), beacon
    )


def test_a_beacon_changes_every_draw():
    threads = [need_id(ROSTER[0], seq) for seq in range(200)]
    draws = [
        [ranked(ROSTER, "plan", t, "", 1, (), beacon)[0] for t in threads]
        for beacon in (b"", b"a" * 32, b"b" * 32)
    ]
    for one, other in combinations(draws, 2):
        assert sum(a == b for a, b in zip(one, other, strict=True)) < 40  # 1 in 16, not all


def test_weighted_draws_of_the_vectors():
    """Recomputed without the module."""
    lines = [line.split() for line in VECTORS.read_text("utf-8").splitlines() if line.startswith("weighted ")]
    assert len(lines) == 16
    for _, purpose, thread, task, epoch, beacon, weights, order in lines:
        task, salt = task.strip("-"), bytes.fromhex(beacon.strip("-"))
        by_did = {ROSTER[int(i)]: int(w) for i, w in (each.split(":") for each in weights.split(","))}
        own = tuple(sorted(by_did.items()))
        assert [ROSTER.index(d) for d in ranked(ROSTER, purpose, thread, task, int(epoch), own, salt)] == [
            int(i) for i in order.split(",")
        ]
        seed = f"swarmd/{purpose}/1\0{thread}\0{task}\0{epoch}\0".encode() + salt
        tickets = [(sha256(seed + did.encode()).digest(), did) for did in ROSTER]
        tickets += [
            (sha256(seed + did.encode() + b"\0" + str(n).encode()).digest(), did)
            for did, weight in own
            for n in range(1, weight)
        ]
        lots = dict.fromkeys(did for _, did in sorted(tickets, reverse=True))
        assert [ROSTER.index(did) for did in lots] == [int(i) for i in order.split(",")]


def vectors():
    lines = [line for line in VECTORS.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    roster = tuple(line.split()[1] for line in lines if line.startswith("member "))
    return roster, [line.split() for line in lines if line.startswith(("draw ", "bft "))]


def test_draws_of_the_vectors():
    """tests/protocol/vectors/committee.txt, for other implementations; recomputed here without the module, too."""
    roster, draws = vectors()
    assert roster == ROSTER
    assert [draw[0] for draw in draws].count("draw") == 48
    for word, purpose, thread, task, epoch, k, excluded, quorum, members in draws:
        mode = BFT if word == "bft" else MAJORITY
        task = "" if task == "-" else task
        out = {roster[int(i)] for i in excluded.split(",") if i != "-"}
        committee = draw(ranked(roster, purpose, thread, task, int(epoch)), int(k), out, mode)
        assert [roster.index(did) for did in committee.members] == [int(i) for i in members.split(",")]
        assert committee.quorum == int(quorum)

        def weight(did, seed=f"swarmd/{purpose}/1\0{thread}\0{task}\0{epoch}\0"):
            return sha256((seed + did).encode()).hexdigest()

        left = sorted((did for did in roster if did not in out), key=weight, reverse=True)
        size = 3 * int(k) - 2 if mode == BFT else 2 * int(k) - 1
        assert tuple(left[:size]) == committee.members


def test_the_k_of_the_vectors():
    rows = [line.split()[1:] for line in VECTORS.read_text("utf-8").splitlines() if line.startswith("k ")]
    assert len(rows) == 14
    for active, *expected in (map(int, row) for row in rows):
        k = k_plan(active, genesis())
        drawn = [(size := committee_size(k, mode), quorum_of(size, mode)) for mode in (MAJORITY, BFT)]
        assert [k, k_result(active, genesis()), *drawn[0], *drawn[1]] == expected


# Quorum mode bft.


@pytest.mark.property_id("P1")
@pytest.mark.parametrize("size", range(1, 20))
def test_two_quorums_in_mode_bft_share_an_honest_member(size):
    liars, quorum = liars_borne(size, BFT), quorum_of(size, BFT)
    assert liars == (size - 1) // 3
    shared = 2 * quorum - size  # the least that two sets of that size have in common
    assert shared > liars
    assert 2 * (quorum - 1) - size <= liars  # and no smaller quorum would do
    assert quorum <= size - liars  # those that live and are honest are enough
    if size < 8:
        members = range(size)
        quorums = [set(chosen) for chosen in combinations(members, quorum)]
        for bad in combinations(members, liars):
            assert all((one & other) - set(bad) for one in quorums for other in quorums)


@pytest.mark.parametrize("k", range(1, 6))
def test_a_full_committee_in_mode_bft_has_3f_plus_1_of_whom_2f_plus_1_decide(k):
    f = k - 1
    committee = draw(ROSTER, k, (), BFT)
    assert (len(committee.members), committee.quorum) == (3 * f + 1, 2 * f + 1)
    assert committee.members[: 2 * k - 1] == draw(ROSTER, k, ()).members


def test_genesis_names_mode_and_arbiter_only_where_they_are_not_the_default():
    """A mesh that was founded before there were any keeps its id."""
    plain = genesis()
    assert {"quorum_mode", "arbiter"}.isdisjoint(plain.to_map())
    said = parse_genesis({**plain.to_map(), "quorum_mode": MAJORITY, "arbiter": COMMITTEE})
    assert (said, said.mesh_id) == (plain, plain.mesh_id)
    others = [genesis(quorum_mode=BFT), genesis(arbiter=ETCD), genesis(quorum_mode=BFT, arbiter=ETCD)]
    assert len({other.mesh_id for other in [plain, *others]}) == 4
    assert [parse_genesis(other.to_map()) for other in others] == others


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"quorum_mode": "paxos"}, "one of"),
        ({"quorum_mode": None}, "one of"),
        ({"arbiter": "zookeeper"}, "one of"),
        ({"arbiter": ["etcd"]}, "one of"),
        ({"quorum_mode": BFT, "k_target": 16}, "at most 15"),
        ({"quorum": "bft"}, "quorum"),
    ],
)
def test_genesis_with_another_mode_or_arbiter_is_refused(change, why):
    with pytest.raises(LocalFault, match=why) as caught:
        parse_genesis({**genesis().to_map(), **change})
    assert caught.value.code == "bad-genesis"
