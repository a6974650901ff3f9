"""The graph of a plan, against the plainest way to answer the same questions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.protocol.work.graph import Cycle, Graph

NAMES = [f"t{i}" for i in range(7)]
edges = st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=16)


def above(task, pairs):
    """All from which edges lead to `task`."""
    found = set()
    while more := {parent for parent, child in pairs if child == task or child in found} - found:
        found |= more
    return found


@settings(max_examples=300)
@given(edges)
def test_relatives_order_and_cycles_are_those_of_the_edges(pairs):
    parents = {task: [parent for parent, child in sorted(pairs) if child == task] for task in NAMES}
    cyclic = {task for task in NAMES if task in above(task, pairs)}
    try:
        graph = Graph(parents)
    except Cycle as cycle:
        path = cycle.path
        assert path[0] == path[-1] and set(path) <= cyclic
        assert all(edge in pairs for edge in zip(path, path[1:], strict=False))
        assert str(cycle) == " -> ".join(path)
        return
    assert not cyclic and len(graph) == len(NAMES)
    order = graph.order()
    assert sorted(order) == NAMES
    for task in NAMES:
        assert set(graph.parents(task)) == set(parents[task])
        assert set(graph.children(task)) == {child for parent, child in pairs if parent == task}
        assert graph.ancestors(task) == above(task, pairs)
        assert graph.descendants(task) == {other for other in NAMES if task in above(other, pairs)}
        assert all(order.index(parent) < order.index(task) for parent in parents[task])


def test_a_task_after_itself_is_a_cycle_of_one():
    with pytest.raises(Cycle, match="a -> a"):
        Graph({"a": ["a"]})


def test_names_that_are_not_there():
    graph = Graph({"a": []})
    assert (graph.parents("b"), graph.children("b"), graph.ancestors("b"), graph.descendants("b")) == (
        (),
        (),
        set(),
        set(),
    )
    assert "a" in graph and "b" not in graph
    with pytest.raises(KeyError):
        Graph({"a": ["b"]})
