"""The plan reducer: tasks grow-only, states monotonic by lamport, edges grow-only, annotations last-writer-wins.

Operations commute, associate and are idempotent, so every order of delivery gives one plan (seed 004, command
37; the ties by op id are ours, tests/protocol/test_plan.py shows it by property).
"""

from dataclasses import dataclass, field
from typing import Any

OPEN = "OPEN"
PROPOSED = "PROPOSED"
DECIDED = "DECIDED"
CLAIMED = "CLAIMED"
COMMITTED = "COMMITTED"
FINALIZED = "FINALIZED"
FAILED = "FAILED"
_TERMINAL = {FINALIZED: 2, FAILED: 1}
STATES = (OPEN, PROPOSED, DECIDED, CLAIMED, COMMITTED, FINALIZED, FAILED)


@dataclass(slots=True)
class Plan:
    """`states`: task -> (terminal rank, lamport, op id, state). `annotations`: (task, key) -> (lamport, op id, value)."""

    tasks: dict[str, Any] = field(default_factory=dict)
    states: dict[str, tuple[int, int, bytes, str]] = field(default_factory=dict)
    edges: set[tuple[str, str]] = field(default_factory=set)
    annotations: dict[tuple[str, str], tuple[int, bytes, Any]] = field(default_factory=dict)
    _added: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    def add_task(self, task: str, spec: Any, lamport: int, op_id: bytes) -> None:
        """The earliest definition of a task id stands."""
        at = (lamport, op_id)
        known = self._added.get(task)
        if known is None or at < known:
            self._added[task] = at
            self.tasks[task] = spec
        if task not in self.states:
            self.states[task] = (0, 0, b"", OPEN)

    def set_state(self, task: str, state: str, lamport: int, op_id: bytes) -> None:
        """The latest state stands; a terminal one is never left."""
        new = (_TERMINAL.get(state, 0), lamport, op_id, state)
        known = self.states.get(task)
        if known is None or new > known:
            self.states[task] = new

    def link(self, parent: str, child: str) -> None:
        self.edges.add((parent, child))

    def annotate(self, task: str, key: str, value: Any, lamport: int, op_id: bytes) -> None:
        known = self.annotations.get((task, key))
        if known is None or (lamport, op_id) > known[:2]:
            self.annotations[(task, key)] = (lamport, op_id, value)

    def state_of(self, task: str) -> str:
        known = self.states.get(task)
        return known[3] if known else OPEN
