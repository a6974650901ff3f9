"""The plan reducer: operations commute, associate and are idempotent, so every delivery gives one plan."""

import copy
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.protocol.work.plan import FAILED, FINALIZED, OPEN, STATES, Plan

RANK = {FINALIZED: 2, FAILED: 1}
TASKS = ("a", "b", "c")

operations = st.one_of(
    st.tuples(st.just("add"), st.sampled_from(TASKS), st.integers(0, 3)),
    st.tuples(st.just("state"), st.sampled_from(TASKS), st.sampled_from(STATES)),
    st.tuples(st.just("link"), st.sampled_from(TASKS), st.sampled_from(TASKS)),
    st.tuples(
        st.just("annotate"),
        st.sampled_from(("", *TASKS)),
        st.sampled_from(["k", "l"]),
        st.integers(0, 3) | st.booleans() | st.text(max_size=2),
    ),
)
# Few lamports, so that ties are common; who said it breaks them by its hash.
stamped = st.lists(st.tuples(operations, st.integers(1, 4), st.integers(0, 5)), max_size=14)


def op_id(operation, lamport, who):
    return sha256(repr((operation, type(operation[-1]).__name__, lamport, who)).encode()).digest()


def play(plan, operation, lamport, who):
    """Apply one operation as its envelope would: the id covers all that it says."""
    unique = op_id(operation, lamport, who)
    match operation:
        case ("add", task, spec):
            plan.add_task(task, {"spec": spec}, lamport, unique)
        case ("state", task, state):
            plan.set_state(task, state, lamport, unique)
        case ("link", parent, child):
            plan.link(parent, child)
        case ("annotate", task, key, value):
            plan.annotate(task, key, value, lamport, unique)


def played(operations):
    plan = Plan()
    for operation in operations:
        play(plan, *operation)
    return plan


def meaning(operations):
    """The plan as the rules define it, without any order: first definition, highest state, last annotation."""
    at = [(operation, lamport, op_id(operation, lamport, who)) for operation, lamport, who in operations]
    tasks, states, notes = {}, {}, {}
    for task in TASKS:
        added = [(lamport, unique, op[2]) for op, lamport, unique in at if op[:2] == ("add", task)]
        if added:
            tasks[task] = {"spec": min(added)[2]}
        moved = [
            (RANK.get(op[2], 0), lamport, unique, op[2])
            for op, lamport, unique in at
            if op[:2] == ("state", task)
        ]
        if moved or added:
            states[task] = max([*moved, *([(0, 0, b"", OPEN)] if added else [])])
    for key in {op[1:3] for op, _, _ in at if op[0] == "annotate"}:
        lamport, unique, op = max(
            ((lamport, unique, op) for op, lamport, unique in at if op[0] == "annotate" and op[1:3] == key),
            key=lambda entry: entry[:2],
        )
        notes[key] = (lamport, unique, op[3])
    edges = {op[1:] for op, _, _ in at if op[0] == "link"}
    return tasks, states, edges, notes


@settings(max_examples=200, deadline=None)
@given(stamped, st.randoms(use_true_random=False))
def test_every_order_and_any_repeats_give_one_plan(operations, dice):
    plan = played(operations)
    mixed = operations + [operation for operation in operations if dice.random() < 0.5]
    dice.shuffle(mixed)
    assert played(mixed) == plan
    assert (plan.tasks, plan.states, plan.edges, plan.annotations) == meaning(operations)


@settings(max_examples=100, deadline=None)
@given(stamped, stamped, stamped)
def test_grouping_does_not_matter(one, two, three):
    """(one . two) . three = one . (two . three): states that hold part of the operations, joined in either way."""
    assert played(one + two + three) == played(two + three + one) == played(three + one + two)


@settings(max_examples=200, deadline=None)
@given(stamped)
def test_nothing_is_ever_taken_back(operations):
    """Tasks and edges only grow; a state only moves up; what is terminal stays terminal."""
    plan = Plan()
    for operation in operations:
        before = copy.deepcopy(plan)
        play(plan, *operation)
        assert before.tasks.keys() <= plan.tasks.keys()
        assert before.edges <= plan.edges
        assert before.annotations.keys() <= plan.annotations.keys()
        for task, state in before.states.items():
            assert plan.states[task] >= state
            assert RANK.get(plan.state_of(task), 0) >= RANK.get(state[3], 0)
        for key, note in before.annotations.items():
            assert plan.annotations[key][:2] >= note[:2]


@settings(max_examples=100, deadline=None)
@given(stamped)
def test_repeating_the_last_operation_changes_nothing(operations):
    plan = played(operations)
    for operation in operations:
        before = copy.deepcopy(plan)
        play(plan, *operation)
        assert plan == before


@pytest.mark.parametrize("swap", [False, True])
def test_ties_of_annotations_go_to_the_greater_id(swap):
    plan = Plan()
    notes = [("one", 5, b"\x01"), ("two", 5, b"\x02")]
    for value, lamport, unique in notes[::-1] if swap else notes:
        plan.annotate("t", "k", value, lamport, unique)
    plan.annotate("t", "k", "older", 4, b"\xff")
    assert plan.annotations[("t", "k")] == (5, b"\x02", "two")


def test_the_earliest_definition_of_a_task_stands():
    plan = Plan()
    plan.add_task("t", "second", 7, b"\x01")
    plan.add_task("t", "first", 6, b"\x09")
    plan.add_task("t", "third", 7, b"\x00")
    assert plan.tasks == {"t": "first"}


def test_a_result_outlives_everything():
    plan = Plan()
    plan.set_state("t", FINALIZED, 3, b"\x01")
    plan.set_state("t", "CLAIMED", 9, b"\x02")
    assert plan.state_of("t") == FINALIZED
    plan.set_state("t", FAILED, 9, b"\x03")
    assert plan.state_of("t") == FINALIZED
    assert plan.state_of("unknown") == OPEN


def test_a_state_may_come_before_its_task():
    plan = Plan()
    plan.set_state("t", "CLAIMED", 9, b"\x02")
    plan.add_task("t", "spec", 1, b"\x01")
    assert plan.state_of("t") == "CLAIMED"
