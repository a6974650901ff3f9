"""Importing a plan-op log: an archive in the home, read-only, of Automerge documents.

Nobody has signed such a log, so it becomes no need of the mesh: nothing of it is voted on, paid or sent to peers
(docs/adr/0016-imported-plans-are-archives.md).
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from swarmd.node.state.changes import ACTOR_BYTES, Change, make_change
from swarmd.node.state.documents import Document
from swarmd.node.state.folder import FolderWriter, new_folder, read_folder
from swarmd.node.state.planlog import TABLE, PlanOp, annotations_of, fold, link_of, plan_op, read_log
from swarmd.protocol.envelope import bucket_of
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.work.plan import OPEN, Plan

ARCHIVES = "archive"
GROUPS = 16
# Automerge gets slow and large beyond that (docs/state.md).
MAX_DOCUMENT_OPS = 50_000
CHANGE_OPS = 512
MAX_SHOWN = 100
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

# What both sides of a comparison are made of: fact -> JSON text.
Facts = dict[str, dict[str, str]]


def archive_folder(home: Path, name: str) -> Path:
    """LocalFault `bad-name`."""
    if not _NAME.fullmatch(name):
        raise LocalFault(
            "bad-name",
            f"{name!r} names no archive",
            fix="use --name with lower-case letters, digits, '.', '_', '-'",
        )
    return home / ARCHIVES / name


def import_log(file: Path, folder: Path, *, table: str = TABLE, verify: bool = False) -> dict[str, Any]:
    """Make the archive `folder` of a log; returns what it holds.

    With `verify` the documents are read back, folded, and compared with the log folded by its own rules; if they
    differ nothing is imported and the report under "differences" says where. LocalFault `bad-plan-log`,
    `archive-exists`, `disk`: nothing is imported.
    """
    if not file.is_file():
        raise LocalFault("bad-plan-log", f"{file} is no file", fix="name an SQLite file with a plan-op log")
    with new_folder(folder, "archive-exists") as writer:
        counts = _write(read_log(file, table), writer)
        if not counts["ops"]:
            raise LocalFault("bad-plan-log", f"{file} has no ops", fix="name another --table")
        writer.about = {
            "kind": "plan-op archive",
            "key": "SHA-256 of the value",
            "value": "canonical CBOR",
            **counts,
        }
        found: dict[str, Any] = {"archive": folder.name, **counts, "documents": len(writer.rows)}
        if verify:
            found["differences"] = compare(read_log(file, table), _ops_of(writer.documents()))
            found["verified"] = not any(part["count"] for part in found["differences"].values())
            if not found["verified"]:
                raise Different(found)
    return found


class Different(Exception):
    """The archive would not be equivalent to its log; `report` says where."""

    def __init__(self, report: dict[str, Any]) -> None:
        super().__init__("the archive differs from the log")
        self.report = report


class _Part:
    """One document that is being filled: a chain of changes by one actor."""

    def __init__(self, name: str, first: str) -> None:
        self.document = Document(name)
        self.ops = 0
        self._actor = sha256(f"swarmd/import/1\0{name}\0{first}".encode()).digest()[:ACTOR_BYTES]
        self._last: Change | None = None
        self._puts: list[tuple[str, bytes]] = []

    def put(self, key: str, value: bytes) -> None:
        self._puts.append((key, value))
        self.ops += 1
        if len(self._puts) >= CHANGE_OPS:
            self.flush()

    def flush(self) -> None:
        if not self._puts:
            return
        prev, first_op = (self._last.hash, self._last.next_op) if self._last else (None, 1)
        self._last = make_change(self._actor, self.document.changes + 1, first_op, prev, self._puts)
        self.document.apply([self._last], [prev])
        self._puts = []


def _write(ops: Iterable[PlanOp], writer: FolderWriter) -> dict[str, int]:
    parts: dict[int, _Part] = {}
    made = [0] * GROUPS
    count, threads = 0, set()

    def close(group: int) -> None:
        part = parts.pop(group)
        part.flush()
        writer.add(part.document, ops=part.ops)
        made[group] += 1

    for op in ops:
        group = bucket_of(op.thread) * GROUPS // 256
        value = op.to_bytes()
        key = sha256(value).hexdigest()
        part = parts.get(group)
        if part is None:
            part = parts[group] = _Part(f"{group:02d}-{made[group]:03d}", key)
        part.put(key, value)
        if part.ops >= MAX_DOCUMENT_OPS:
            close(group)
        count += 1
        threads.add(op.thread)
    for group in sorted(parts):
        close(group)
    return {"ops": count, "threads": len(threads)}


def archived_ops(folder: Path) -> Iterator[PlanOp]:
    """Every op of an archive, in no order. LocalFault `no-archive`, `bad-archive`."""
    _, documents = read_folder(folder)
    return _ops_of(documents)


def _ops_of(documents: Iterable[Document]) -> Iterator[PlanOp]:
    for document in documents:
        for _, value in document.items():
            yield plan_op(value)


def archived_plans(folder: Path) -> dict[str, Plan]:
    return fold(archived_ops(folder))


# Comparing -------------------------------------------------------------------------------------------------


def compare(log: Iterable[PlanOp], archived: Iterable[PlanOp]) -> dict[str, Any]:
    """{"tasks", "states", "edges", "annotations"}: each {"count", "shown": [[what, in the log, in the archive]]}."""
    theirs, ours = _by_the_seed(log), _facts_of(fold(archived))
    report = {}
    for kind in ("tasks", "states", "edges", "annotations"):
        one, other = theirs[kind], ours[kind]
        different = [
            [what, one.get(what), other.get(what)]
            for what in sorted(one.keys() | other.keys())
            if one.get(what) != other.get(what)
        ]
        report[kind] = {"count": len(different), "shown": different[:MAX_SHOWN]}
    return report


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _by_the_seed(ops: Iterable[PlanOp]) -> Facts:
    """The log by the rules it was made for, in lamport order: a later lamport wins, of equal ones the first."""
    tasks: dict[str, str] = {}
    states: dict[str, tuple[int, str]] = {}
    edges: dict[str, str] = {}
    notes: dict[str, tuple[int, str]] = {}
    for op in ops:
        if op.type == "ADD_TASK":
            tasks.setdefault(op.task, _json(op.body))
        elif op.type == "STATE":
            if op.task not in states or op.lamport > states[op.task][0]:
                states[op.task] = (op.lamport, op.body["state"])
        elif op.type == "LINK":
            edges[_json(link_of(op))] = "linked"
        else:
            for key, value in annotations_of(op).items():
                what = _json([op.task, key])
                if what not in notes or op.lamport > notes[what][0]:
                    notes[what] = (op.lamport, _json(value))
    return {
        "tasks": tasks,
        "states": {task: state for task, (_, state) in states.items()},
        "edges": edges,
        "annotations": {what: value for what, (_, value) in notes.items()},
    }


def _facts_of(plans: Mapping[str, Plan]) -> Facts:
    facts: Facts = {"tasks": {}, "states": {}, "edges": {}, "annotations": {}}

    def add(kind: str, what: str, value: str) -> None:
        # One id in two threads is one task to the log and two to us: that shows as a difference.
        known = facts[kind].setdefault(what, value)
        if known != value:
            facts[kind][what] = f"{known} | {value}"

    for plan in plans.values():
        for task, spec in plan.tasks.items():
            add("tasks", task, _json(spec))
        for task, (_, _, op_id, state) in plan.states.items():
            if op_id or state != OPEN:  # not the state that a task has before any op gave it one
                add("states", task, state)
        for parent, child in plan.edges:
            facts["edges"][_json((parent, child))] = "linked"
        for (task, key), (_, _, value) in plan.annotations.items():
            add("annotations", _json([task, key]), _json(value))
    return facts
