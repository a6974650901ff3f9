"""A plan-op log of an earlier system becomes an archive that says the same, or nothing."""

import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from swarmd.node.state.archive import (
    CHANGE_OPS,
    Different,
    archived_ops,
    archived_plans,
    import_log,
)
from swarmd.node.state.planlog import read_log
from swarmd.protocol.faults import LocalFault

SCHEMA = (
    "create table ops (op_id text primary key, thread_id text, lamport integer, actor_id text, op_type text,"
    " task_id text, payload text, timestamp_ns integer)"
)


@pytest.fixture
def make_log(tmp_path: Path):
    """make_log([(op_type, task, payload, {column: value}), ...]) -> an SQLite file; lamports count up."""

    def make(rows, name: str = "plan.db", schema: str = SCHEMA) -> Path:
        file = tmp_path / name
        with closing(sqlite3.connect(file)) as db, db:
            db.execute(schema)
            for number, (op_type, task, payload, *more) in enumerate(rows):
                row = {
                    "op_id": f"op-{number}",
                    "thread_id": "th-1",
                    "lamport": number + 1,
                    "op_type": op_type,
                    "task_id": task,
                    "payload": payload if isinstance(payload, str) else json.dumps(payload),
                    **(more[0] if more else {}),
                }
                names = ", ".join(row)
                db.execute(f"insert into ops ({names}) values ({', '.join('?' * len(row))})", [*row.values()])
        return file

    return make


PLAN = [
    ("ADD_TASK", "a", {"type": "classify", "price": 0.5, "é": [1, None]}),
    ("ADD_TASK", "b", {"type": "merge"}),
    ("STATE", "a", {"state": "DRAFT"}),
    ("LINK", "b", {"parent": "a"}),
    ("LINK", "x", {"parent": "a", "child": "b"}),
    ("STATE", "a", {"state": "DECIDED"}),
    ("ANNOTATE", "a", {"key": "bid", "value": 3}),
    ("ANNOTATE", "a", {"owner": "eve", "bid": 4}),
    ("STATE", "a", {"state": "late"}, {"lamport": 1}),
    ("ADD_TASK", "a", {"type": "another"}),
    ("ADD_TASK", "z", {}, {"thread_id": "th-2"}),
]


def test_it_says_the_same(make_log, tmp_path):
    found = import_log(make_log(PLAN), tmp_path / "archive", verify=True)
    assert found["verified"] and (found["ops"], found["threads"]) == (len(PLAN), 2)
    plans = archived_plans(tmp_path / "archive")
    plan = plans["th-1"]
    assert plan.tasks == {"a": {"type": "classify", "price": 0.5, "é": [1, None]}, "b": {"type": "merge"}}
    assert plan.state_of("a") == "DECIDED"
    assert plan.edges == {("a", "b")}
    assert {key: value for (_, key), (_, _, value) in plan.annotations.items()} == {"bid": 4, "owner": "eve"}
    assert plans["th-2"].tasks == {"z": {}}


def many(count: int, seed: int = 1) -> list:
    dice = random.Random(seed)
    rows = []
    for number in range(count):
        task = f"t{dice.randrange(count // 4)}"
        op_type = dice.choice(["ADD_TASK", "STATE", "LINK", "ANNOTATE"])
        payload = {
            "ADD_TASK": {"n": number},
            "STATE": {"state": dice.choice(["DRAFT", "DECIDED", "VERIFIED", "FINAL"])},
            "LINK": {"child": f"t{dice.randrange(count // 4)}"},
            "ANNOTATE": {"key": dice.choice("xyz"), "value": number},
        }[op_type]
        # A task id belongs to one thread, as in the system the log is from.
        rows.append((op_type, task, payload, {"thread_id": f"th-{sum(task.encode()) % 40}"}))
    return rows


def test_every_op_of_a_large_log_is_there_and_twice_the_same_documents(make_log, tmp_path):
    file = make_log(many(20 * CHANGE_OPS))
    found = import_log(file, tmp_path / "one", verify=True)
    assert found["verified"], found["differences"]
    assert {op.op_id for op in archived_ops(tmp_path / "one")} == {op.op_id for op in read_log(file)}
    import_log(file, tmp_path / "two")
    indices = [json.loads((tmp_path / name / "index.json").read_text()) for name in ("one", "two")]
    assert indices[0] == indices[1]


@pytest.mark.parametrize(
    ("kind", "rows"),
    (
        # Of two states with one lamport the log keeps the first, we the one with the larger id.
        (
            "states",
            [
                *PLAN,
                ("STATE", "b", {"state": "X"}, {"lamport": 50}),
                ("STATE", "b", {"state": "Y"}, {"lamport": 50}),
            ],
        ),
        # We never leave FINALIZED.
        ("states", [("STATE", "b", {"state": "FINALIZED"}), ("STATE", "b", {"state": "DRAFT"})]),
        (
            "annotations",
            [("ANNOTATE", "b", {"k": 1}, {"lamport": 5}), ("ANNOTATE", "b", {"k": 2}, {"lamport": 5})],
        ),
        # One id in two threads.
        ("tasks", [("ADD_TASK", "a", {"n": 1}), ("ADD_TASK", "a", {"n": 2}, {"thread_id": "th-9"})]),
    ),
)
def test_a_difference_is_reported_and_nothing_is_imported(make_log, tmp_path, kind, rows):
    file = make_log(rows)
    with pytest.raises(Different) as caught:
        import_log(file, tmp_path / "archive", verify=True)
    parts = caught.value.report["differences"]
    assert {name for name, part in parts.items() if part["count"]} == {kind}
    [[what, log, archive]] = parts[kind]["shown"]
    assert what and log != archive
    assert os.listdir(tmp_path) == ["plan.db"]
    # Who has read the report may take it as it is.
    assert import_log(file, tmp_path / "archive")["ops"] == len(rows)


@pytest.mark.parametrize(
    ("row", "says"),
    (
        (("DROP_TASK", "a", {}), "DROP_TASK"),
        (("STATE", "a", {}), "'state'"),
        (("STATE", "a", {"state": 7}), "no text"),
        (("LINK", "a", {}), "parent or child"),
        (("LINK", "a", {"parent": 3}), "no task id"),
        (("ADD_TASK", "a", "[]"), "not an object"),
        (("ADD_TASK", "a", "{"), "no JSON"),
        (("ADD_TASK", "a", '{"n": NaN}'), "NaN"),
        (("ADD_TASK", "a", '{"n": "\\ud800"}'), "no JSON"),
        (("ADD_TASK", "a", "[" * 100_000), "no JSON"),
        (("ADD_TASK", "", {}), "task_id"),
        (("ADD_TASK", "a", {}, {"lamport": -1}), "lamport"),
        (("ADD_TASK", "a", {}, {"lamport": "x"}), "lamport"),
        (("ADD_TASK", "a", {}, {"timestamp_ns": "x"}), "timestamp_ns"),
        (("ADD_TASK", "a", {}, {"thread_id": None}), "thread_id"),
    ),
)
def test_a_bad_row_is_named_and_nothing_is_imported(make_log, tmp_path, row, says):
    op_type, task, payload, *more = row
    bad = (op_type, task, payload, {"op_id": "the-bad-one", **(more[0] if more else {})})
    with pytest.raises(LocalFault) as caught:
        import_log(make_log([*PLAN, bad]), tmp_path / "archive")
    assert caught.value.code == "bad-plan-log"
    assert "the-bad-one" in caught.value.message and says in caught.value.message
    assert os.listdir(tmp_path) == ["plan.db"]


def test_what_is_no_log(make_log, tmp_path):
    (tmp_path / "text").write_text("not SQLite at all, by far")
    cases = {
        tmp_path / "none": "no file",
        tmp_path / "text": "not a database",
        make_log([], "empty.db"): "no ops",
        make_log([], "other.db", "create table tasks (op_id text)"): "no table ops",
        make_log([], "short.db", "create table ops (op_id text)"): "lacks thread_id",
        make_log([], "view.db", "create view ops as select 1 as op_id"): "no table ops",
    }
    for file, says in cases.items():
        with pytest.raises(LocalFault) as caught:
            import_log(file, tmp_path / "archive")
        assert (caught.value.code, says in caught.value.message) == ("bad-plan-log", True), caught.value
    twice = make_log(PLAN, "twice.db", SCHEMA.replace(" primary key", ""))
    with closing(sqlite3.connect(twice)) as db, db:
        db.execute("insert into ops select * from ops where op_id = 'op-1'")
    with pytest.raises(LocalFault, match="twice"):
        import_log(twice, tmp_path / "archive")
    assert not (tmp_path / "archive").exists()


def test_the_optional_columns_may_be_absent_and_the_table_named(make_log, tmp_path):
    schema = "create table ops (op_id text primary key, thread_id text, lamport integer, op_type text, task_id text, payload text) without rowid"
    file = make_log(PLAN, schema=schema)
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("alter table ops rename to plan_log")
    assert import_log(file, tmp_path / "archive", table="plan_log", verify=True)["verified"]


def test_an_archive_that_is_there_stays(make_log, tmp_path):
    file, folder = make_log(PLAN), tmp_path / "archive"
    import_log(file, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(LocalFault) as caught:
        import_log(file, folder)
    assert caught.value.code == "archive-exists"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_damaged_archive_is_never_given_to_automerge(make_log, tmp_path):
    folder = tmp_path / "archive"
    import_log(make_log(PLAN), folder)
    [document, *_] = folder.glob("*.automerge")
    data = document.read_bytes()
    for at in range(0, len(data), 7):
        document.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(LocalFault) as caught:
            list(archived_ops(folder))
        assert caught.value.code == "bad-archive"
    document.unlink()
    with pytest.raises(LocalFault):
        list(archived_ops(folder))


def test_killed_in_the_midst(make_log, tmp_path):
    file, folder = make_log(many(8_000)), tmp_path / "archive"
    script = (
        "import sys; from pathlib import Path; from swarmd.node.state.archive import import_log;"
        "print('go', flush=True); import_log(Path(sys.argv[1]), Path(sys.argv[2]), verify=True)"
    )
    dice, killed = random.Random(7), 0
    for _ in range(6):
        command = [sys.executable, "-c", script, str(file), str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.readline() == b"go\n"
            time.sleep(dice.uniform(0.0, 0.5))
            process.kill()
            killed += process.wait(30) == -signal.SIGKILL
        assert not folder.exists() or sum(1 for _ in archived_ops(folder)) == 8_000
        if folder.exists():
            break
    assert killed
    if not folder.exists():
        assert import_log(file, folder, verify=True)["verified"]
    assert sorted(os.listdir(tmp_path)) == ["archive", "plan.db"]


def test_no_room(make_log, tmp_path):
    """Nothing is left of an import that the disk did not take."""
    file = make_log(many(4_000))
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))  # says EFBIG in place of ENOSPC
    try:
        with pytest.raises(LocalFault) as caught:
            import_log(file, tmp_path / "archive")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.code == "disk"
    assert os.listdir(tmp_path) == ["plan.db"]
    assert import_log(file, tmp_path / "archive", verify=True)["verified"]
