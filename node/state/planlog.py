"""Plan-op logs of earlier systems (seed 004, command 39): an SQLite table of ADD_TASK, STATE, LINK and ANNOTATE.

Table `ops`: op_id TEXT, thread_id TEXT, lamport INTEGER, op_type TEXT, task_id TEXT, payload TEXT (a JSON object), and,
where they are there, actor_id TEXT and timestamp_ns INTEGER. Payloads: ADD_TASK any object, STATE {"state"}, LINK
{"parent", "child"} (one that is absent is task_id), ANNOTATE {"key", "value"} or an object of annotations.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmd.protocol.canonical_json import parse_json
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.limits import MAX_LAMPORT, MAX_PAYLOAD_BYTES
from swarmd.protocol.work.plan import Plan

TABLE = "ops"
REQUIRED = ("op_id", "thread_id", "lamport", "op_type", "task_id", "payload")
OPTIONAL = ("actor_id", "timestamp_ns")
MAX_ID_CHARS = 1_024
TYPES = ("ADD_TASK", "STATE", "LINK", "ANNOTATE")
_FIX = "mend that row, or leave it out; see docs/state.md for what a log is"


@dataclass(frozen=True, slots=True)
class PlanOp:
    """One row. `payload` is its JSON as it was written, `body` what that says."""

    op_id: str
    thread: str
    lamport: int
    type: str
    task: str
    payload: str
    actor: str
    ts_ns: int
    body: dict[str, Any]

    def to_bytes(self) -> bytes:
        """Canonical CBOR: what its Automerge document holds."""
        return encode(
            {
                "op": self.op_id,
                "thread": self.thread,
                "lamport": self.lamport,
                "type": self.type,
                "task": self.task,
                "payload": self.payload,
                "actor": self.actor,
                "ts_ns": self.ts_ns,
            }
        )


def plan_op(data: bytes) -> PlanOp:
    """From `to_bytes`."""
    row = decode(data)
    names = ("op", "thread", "lamport", "type", "task", "payload", "actor", "ts_ns")
    op_id, thread, lamport, op_type, task, payload, actor, ts_ns = (row[name] for name in names)
    return PlanOp(op_id, thread, lamport, op_type, task, payload, actor, ts_ns, json.loads(payload))


def read_log(file: Path, table: str = TABLE) -> Iterator[PlanOp]:
    """Every op by (lamport, its place in the table). LocalFault `bad-plan-log` naming the row and what is wrong."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as db:
            # The file is somebody else's: no code of its schema runs.
            db.execute("pragma trusted_schema = off")
            columns = _columns(db, file, table)
            chosen = ", ".join(columns)
            seen: set[str] = set()
            # Both names are checked: of our list, and of an existing table.
            for row in db.execute(f'select {chosen} from "{table}" order by lamport, {_place(db, table)}'):
                op = _op(dict(zip(columns, row, strict=True)))
                if op.op_id in seen:
                    raise _bad(op.op_id, "is there twice")
                seen.add(op.op_id)
                yield op
    except sqlite3.Error as error:
        raise LocalFault(
            "bad-plan-log", f"{file}: {error}", fix="name an SQLite file with a plan-op log"
        ) from None


def _columns(db: sqlite3.Connection, file: Path, table: str) -> list[str]:
    tables = [name for (name,) in db.execute("select name from sqlite_master where type = 'table'")]
    if table not in tables or '"' in table:
        raise LocalFault(
            "bad-plan-log",
            f"{file} has no table {table}",
            fix=f"--table names one of: {', '.join(tables) or 'none'}",
        )
    there = {row[1] for row in db.execute(f'pragma table_info("{table}")')}
    if missing := [name for name in REQUIRED if name not in there]:
        raise LocalFault("bad-plan-log", f"{file}: table {table} lacks {', '.join(missing)}", fix=_FIX)
    return [*REQUIRED, *(name for name in OPTIONAL if name in there)]


def _place(db: sqlite3.Connection, table: str) -> str:
    """What orders ops of one lamport: as they were written, if the table knows that."""
    try:
        db.execute(f'select rowid from "{table}" limit 1')
        return "rowid"
    except sqlite3.OperationalError:
        return "op_id"


def _bad(op_id: object, what: str) -> LocalFault:
    return LocalFault("bad-plan-log", f"op {str(op_id)[:80]} {what}", fix=_FIX)


def _op(row: dict[str, Any]) -> PlanOp:
    op_id = row["op_id"]
    for name in ("op_id", "thread_id", "op_type", "task_id"):
        if type(row[name]) is not str or not 0 < len(row[name]) <= MAX_ID_CHARS:
            raise _bad(op_id, f"has a {name} that is no text of 1 to {MAX_ID_CHARS} characters")
    if type(row["lamport"]) is not int or not 0 <= row["lamport"] <= MAX_LAMPORT:
        raise _bad(op_id, "has a lamport that is no number from 0 up")
    if row["op_type"] not in TYPES:
        raise _bad(op_id, f"is a {row['op_type'][:40]}; there are {', '.join(TYPES)}")
    payload = row["payload"]
    if type(payload) is not str or len(payload) > MAX_PAYLOAD_BYTES:
        raise _bad(op_id, f"has a payload that is no text of up to {MAX_PAYLOAD_BYTES} characters")
    try:
        body = parse_json(payload.encode())
        if type(body) is not dict:
            raise ValueError("not an object")
    except ValueError as error:
        raise _bad(op_id, f"has a payload that is no JSON object: {error}") from None
    actor, ts_ns = row.get("actor_id") or "", row.get("timestamp_ns") or 0
    if type(actor) is not str or type(ts_ns) is not int or not 0 <= ts_ns < 1 << 63:
        raise _bad(op_id, "has an actor_id that is no text or a timestamp_ns that is no time")
    op = PlanOp(
        op_id, row["thread_id"], row["lamport"], row["op_type"], row["task_id"], payload, actor, ts_ns, body
    )
    try:
        _check_body(op)
    except KeyError as error:
        raise _bad(op_id, f"is a {op.type} without {error}") from None
    return op


def _check_body(op: PlanOp) -> None:
    if op.type == "STATE" and not isinstance(op.body["state"], str):
        raise _bad(op.op_id, "has a state that is no text")
    if op.type == "LINK" and not all(isinstance(end, str) and end for end in link_of(op)):
        raise _bad(op.op_id, "links what is no task id")


def link_of(op: PlanOp) -> tuple[str, str]:
    """(parent, child). KeyError if the payload names neither."""
    if "parent" not in op.body and "child" not in op.body:
        raise KeyError("parent or child")
    return op.body.get("parent", op.task), op.body.get("child", op.task)


def annotations_of(op: PlanOp) -> dict[str, Any]:
    if set(op.body) == {"key", "value"} and isinstance(op.body["key"], str):
        return {op.body["key"]: op.body["value"]}
    return op.body


def fold(ops: Iterable[PlanOp]) -> dict[str, Plan]:
    """The plans of the threads, by our reducer, in whatever order the ops come."""
    plans: dict[str, Plan] = {}
    for op in ops:
        plan, at = plans.setdefault(op.thread, Plan()), (op.lamport, op.op_id.encode())
        match op.type:
            case "ADD_TASK":
                plan.add_task(op.task, op.body, *at)
            case "STATE":
                plan.set_state(op.task, op.body["state"], *at)
            case "LINK":
                plan.link(*link_of(op))
            case "ANNOTATE":
                for key, value in annotations_of(op).items():
                    plan.annotate(op.task, key, value, *at)
    return plans
