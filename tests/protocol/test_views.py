"""The views say at any time what a look at everything would say."""

import random

import pytest
from swarmd.protocol import invariants
from swarmd.protocol.faults import CorruptState
from swarmd.protocol.views import Views

NAMES = ["ann", "bob", "cid", "dan", "eve"]


def graph(make_task):
    return [
        make_task("split"),
        *(make_task(f"count-{i}", after=("split",)) for i in range(3)),
        make_task("merge", after=("count-0", "count-1", "count-2")),
    ]


@pytest.mark.parametrize("seed", range(6))
def test_they_follow_each_step(mesh_of, make_task, seed):
    """Needs that end well, that fail and that expire; `check_everything` compares after every step of every node."""
    mesh = mesh_of(NAMES, seed=seed)
    dice = random.Random(seed)
    mesh.answer = lambda node, job: None if dice.random() < 0.3 else {"n": 1}
    for name in NAMES[:3]:
        mesh.post(name, graph(make_task), 200_000, deadline_s=30)
    mesh.post("dan", [make_task("t", capability="nobody.does")], 50_000, deadline_s=30)
    mesh.run()
    for _ in range(6):
        mesh.tick(20)
        mesh.run()
    state = mesh.nodes["eve"].state
    counts = state.views.need_counts()
    assert sum(counts.values()) == 4 and counts["EXPIRED"] >= 1
    assert not list(state.views.ready())


def test_ready_tasks_wait_for_all_their_parents(mesh_of, make_task):
    mesh = mesh_of(NAMES, seed=1)
    need = mesh.post("ann", graph(make_task), 200_000)
    views = mesh.nodes["ann"].state.views
    assert list(views.ready()) == [(need, "split")]
    ready = {}
    while mesh.deliver():
        now = {task for _, task in views.ready()}
        done = {task for task, state in views.tasks_of(need).items() if state == "FINALIZED"}
        for task in now - ready.keys():
            ready[task] = done
    assert ready["count-1"] >= {"split"} and ready["merge"] >= {"count-0", "count-1", "count-2"}
    assert list(views.tasks_in("FINALIZED"))[0] == (need, "merge")
    assert views.task_counts() == {"FINALIZED": 5}
    assert list(views.needs_in("FINALIZED")) == [need] and list(views.needs_in("OPEN")) == []


def test_a_view_that_is_wrong_is_noticed(mesh_of, make_task):
    mesh = mesh_of(NAMES, seed=2)
    mesh.post("ann", graph(make_task), 200_000)
    mesh.run()
    state = mesh.nodes["ann"].state
    state.views = Views()
    with pytest.raises(CorruptState, match="views"):
        invariants.check_all(state)
