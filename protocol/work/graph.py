"""Tasks that come after one another: a directed graph without cycles, and the questions one asks of it.

A plan's graph changes only when a need is opened or decided, so it is made once from its tasks and then only read.
The queries are those of seed 004, command 40.
"""

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter


class Cycle(Exception):
    """Tasks wait for each other; `path` names them, each the parent of the next, the first again at its end."""

    def __init__(self, path: list[str]) -> None:
        super().__init__(" -> ".join(path))
        self.path = path


class Graph:
    """Tasks by name, edges from parent to child. A name that is not there has no relatives."""

    __slots__ = ("_above", "_below")

    def __init__(self, parents: Mapping[str, Iterable[str]]) -> None:
        """task -> its parents, all of them keys. Raises Cycle; KeyError for a parent that is not there."""
        self._above = {task: tuple(dict.fromkeys(above)) for task, above in parents.items()}
        self._below: dict[str, list[str]] = {task: [] for task in self._above}
        for task, above in self._above.items():
            for parent in above:
                self._below[parent].append(task)
        if any(self._above.values()):
            try:
                TopologicalSorter(self._above).prepare()
            except CycleError as error:
                raise Cycle(list(error.args[1])) from error

    def __contains__(self, task: str) -> bool:
        return task in self._above

    def __len__(self) -> int:
        return len(self._above)

    def parents(self, task: str) -> tuple[str, ...]:
        return self._above.get(task, ())

    def children(self, task: str) -> tuple[str, ...]:
        return tuple(self._below.get(task, ()))

    def ancestors(self, task: str) -> set[str]:
        """All that must be done before it."""
        return _reach(task, self._above)

    def descendants(self, task: str) -> set[str]:
        """All that waits for it."""
        return _reach(task, self._below)

    def order(self) -> list[str]:
        """Every task after its parents; those that are ready at one time in the order they were given."""
        return list(TopologicalSorter(self._above).static_order())


def _reach(start: str, edges: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    todo = [start]
    while todo:
        for task in edges.get(todo.pop(), ()):
            if task not in found:
                found.add(task)
                todo.append(task)
    return found
