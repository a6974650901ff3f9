"""The sums of analytics: what is added can be taken away, put on disk and bounded, and nothing gets lost."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from swarmd.node.analytics.tally import (
    MAX_AGENTS,
    MAX_CAPABILITIES,
    MAX_HOURS,
    OTHER,
    Tally,
    TaskTally,
    Totals,
    tally_from_json,
    totals_from_json,
)
from swarmd.protocol.work.need_states import ENDS

NAMES = st.sampled_from(["a", "b", "c", "other"])
SMALL = st.integers(0, 3)
MS = st.none() | st.floats(0, 1e9)
TALLIES = st.builds(
    Tally,
    state=st.sampled_from(["OPEN", "RUNNING", *ENDS]),
    owner=NAMES | st.just(""),
    hour=st.integers(0, 5),
    budget=st.integers(0, 1 << 62),
    paid=st.integers(0, 1 << 62),
    tasks=st.lists(st.builds(TaskTally, NAMES, NAMES, SMALL, SMALL, st.integers(0, 1 << 62)), max_size=3).map(
        tuple
    ),
    decide_ms=MS,
    execute_ms=MS,
    finalize_ms=MS,
    challenges=SMALL,
    upheld=SMALL,
)


def summed(found):
    totals = Totals()
    for each in found:
        totals.add(each)
    return totals


def plain(totals):
    return (
        totals.counts,
        totals.hours,
        totals.capabilities,
        totals.agents,
        {name: +each.buckets for name, each in totals.latencies.items()},
    )


@given(kept=st.lists(TALLIES, max_size=4), gone=st.lists(TALLIES, max_size=4))
def test_what_is_taken_away_leaves_nothing(kept, gone):
    totals = summed([*gone, *kept])
    for each in gone:
        totals.add(each, -1)
    assert plain(totals) == plain(summed(kept))


@given(some=st.lists(TALLIES, max_size=4), others=st.lists(TALLIES, max_size=4))
def test_sums_merge_and_survive_the_disk(some, others):
    merged = summed(some).merged(totals_from_json(summed(others).to_json()))
    assert plain(merged) == plain(summed([*some, *others]))


@given(TALLIES)
def test_a_tally_survives_the_disk(tally):
    assert tally_from_json(tally.to_json()) == tally


def test_bounds_fold_the_least_active_and_lose_no_sum():
    totals = Totals()
    for index in range(MAX_AGENTS + 100):
        task = TaskTally(f"cap-{index}", f"agent-{index}", 1 + (index == 7), 0, 10)
        totals.add(Tally("FINALIZED", "", index, 10, 10, (task,)))
    totals.bound()
    assert len(totals.agents) <= MAX_AGENTS and len(totals.capabilities) <= MAX_CAPABILITIES
    assert list(totals.hours) == list(range(MAX_AGENTS + 100 - MAX_HOURS, MAX_AGENTS + 100))
    assert totals.agents["agent-7"]["accepted"] == 2 and OTHER in totals.agents
    for table, paid in ((totals.agents, "earned"), (totals.capabilities, "paid")):
        every = sum(table.values(), Counter())
        assert every["accepted"] == MAX_AGENTS + 101 and every[paid] == 10 * (MAX_AGENTS + 100)
