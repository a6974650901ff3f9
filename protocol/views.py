"""Indexes of tasks and needs by state, kept up to date by each step; a query costs what it returns.

Made for seed 004, command 40 (`get_tasks_by_state`, `get_tasks_by_thread`, `get_ready_tasks`); the graph queries of
that command are those of `Need.graph`.
"""

from collections.abc import Iterable, Iterator

from swarmd.protocol.work import plan as states
from swarmd.protocol.work.need import Need

Task = tuple[str, str]  # (need, task)
_NOT_BEGUN = frozenset({states.OPEN, states.PROPOSED, states.DECIDED})


class Views:
    """Fed by the engine after each change of a need; others only ask. Answers have what moved last first."""

    __slots__ = ("_need_state", "_needs", "_ready", "_task_state", "_tasks")

    def __init__(self) -> None:
        self._task_state: dict[str, dict[str, str]] = {}
        self._tasks: dict[str, dict[Task, None]] = {}
        self._ready: dict[Task, None] = {}
        self._need_state: dict[str, str] = {}
        self._needs: dict[str, dict[str, None]] = {}

    @classmethod
    def of(cls, needs: Iterable[Need]) -> "Views":
        """From the start, by a look at everything: what upkeep must come to."""
        views = cls()
        for need in needs:
            views.moved(need, None)
        return views

    def same(self, other: "Views") -> bool:
        return (
            self._task_state == other._task_state
            and self._need_state == other._need_state
            and self._ready.keys() == other._ready.keys()
            and {state: tasks.keys() for state, tasks in self._tasks.items() if tasks}
            == {state: tasks.keys() for state, tasks in other._tasks.items() if tasks}
            and {state: needs.keys() for state, needs in self._needs.items() if needs}
            == {state: needs.keys() for state, needs in other._needs.items() if needs}
        )

    # Questions -----------------------------------------------------------------------------------------

    def tasks_in(self, state: str) -> Iterator[Task]:
        """Tasks in `state`, one of plan.STATES."""
        return reversed(self._tasks.get(state, {}))

    def state_of(self, need: str, task: str) -> str | None:
        return self._task_state.get(need, {}).get(task)

    def is_ready(self, need: str, task: str) -> bool:
        return (need, task) in self._ready

    def tasks_of(self, need: str) -> dict[str, str]:
        """task -> state."""
        return dict(self._task_state.get(need, ()))

    def ready(self) -> Iterator[Task]:
        """Tasks that nobody has begun, of needs that are open, with the results of all parents there."""
        return reversed(self._ready)

    def needs_in(self, state: str) -> Iterator[str]:
        """Needs in `state`, as `Need.state` has it."""
        return reversed(self._needs.get(state, {}))

    def need_counts(self) -> dict[str, int]:
        """state -> how many needs, without empty states."""
        return {state: len(needs) for state, needs in self._needs.items() if needs}

    def task_counts(self) -> dict[str, int]:
        return {state: len(tasks) for state, tasks in self._tasks.items() if tasks}

    # Upkeep --------------------------------------------------------------------------------------------

    def moved(self, need: Need, tasks: Iterable[str] | None) -> None:
        """`tasks` of `need` moved; None: any of them, or the plan itself."""
        known = self._task_state.setdefault(need.id, {})
        state, before = need.state(), self._need_state.get(need.id)
        if state != before:
            if before is not None:
                del self._needs[before][need.id]
            self._needs.setdefault(state, {})[need.id] = None
            self._need_state[need.id] = state
        if tasks is None:
            for task in [task for task in known if task not in need.runs]:
                del self._tasks[known.pop(task)][(need.id, task)]
                self._ready.pop((need.id, task), None)
            for task in need.runs:
                self._place(need, known, task)
            return
        for task in tasks:
            if task in need.runs:
                changed = self._place(need, known, task)
                if changed:
                    for child in need.graph.children(task):
                        self._place(need, known, child)

    def forget(self, need: str) -> None:
        """It is no longer here."""
        for task, state in self._task_state.pop(need, {}).items():
            del self._tasks[state][(need, task)]
            self._ready.pop((need, task), None)
        known = self._need_state.pop(need, None)
        if known is not None:
            del self._needs[known][need]

    def _place(self, need: Need, known: dict[str, str], task: str) -> bool:
        key, state, before = (need.id, task), need.runs[task].state, known.get(task)
        if state != before:
            if before is not None:
                del self._tasks[before][key]
            self._tasks.setdefault(state, {})[key] = None
            known[task] = state
        if state in _NOT_BEGUN and need.closed is None and need.parents_final(task):
            self._ready[key] = None
        else:
            self._ready.pop(key, None)
        return state != before
