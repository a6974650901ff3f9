"""`swarmd state` as an operator uses it."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

Swarmd = Callable[..., Any]


@pytest.fixture
def plan_log(tmp_path: Path) -> Path:
    file = tmp_path / "Old Plan.db"
    rows = [
        ("ADD_TASK", "a", {"type": "x\x1b[31m"}),
        ("ADD_TASK", "b", {}),
        ("LINK", "b", {"parent": "a"}),
        ("STATE", "a", {"state": "DRAFT"}),
        ("STATE", "a", {"state": "FINAL"}),
        ("ANNOTATE", "a", {"key": "who", "value": "eve"}),
    ]
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("create table ops (op_id text, thread_id, lamport, op_type, task_id, payload)")
        for number, (op, task, payload) in enumerate(rows):
            db.execute(
                "insert into ops values (?, 'th-1', ?, ?, ?, ?)",
                (f"op{number}", number, op, task, json.dumps(payload)),
            )
    return file


def test_a_plan_log_is_imported_and_shown(swarmd: Swarmd, home: Path, plan_log: Path) -> None:
    assert swarmd("--json state import --sqlite", str(plan_log)).json["error"]["code"] == "no-home"
    swarmd("init")
    ran = swarmd("--json state import --verify --sqlite", str(plan_log))
    assert (ran.code, ran.json["archive"], ran.json["ops"], ran.json["verified"]) == (0, "old-plan", 6, True)
    assert swarmd("--json state import --sqlite", str(plan_log)).json["error"]["code"] == "archive-exists"
    assert swarmd("-q state import --name again --sqlite", str(plan_log)).out == "again\n"
    assert (
        swarmd("--json state import --name ../x --sqlite", str(plan_log)).json["error"]["code"] == "bad-name"
    )
    assert swarmd("--json state show --archive old-plan").json["threads"] == [
        {"thread": "th-1", "tasks": 2, "edges": 1}
    ]
    found = swarmd("--json state show --archive old-plan --thread th-1").json["tasks"]
    assert [(row["task"], row["state"], row["parents"]) for row in found] == [
        ("a", "FINAL", []),
        ("b", "OPEN", ["a"]),
    ]
    assert found[0]["annotations"] == {"who": "eve"}
    text = swarmd("state show --archive old-plan --thread th-1").out
    assert "who=eve" in text and "\x1b" not in text
    for words, code in (("--archive none", "no-archive"), ("--archive again --thread t", "no-such-thread")):
        ran = swarmd(f"--json state show {words}")
        assert (ran.code, ran.json["error"]["code"]) == (4, code)
    assert swarmd("state show --thread t").code == 2


def test_differences_are_shown(swarmd: Swarmd, home: Path, plan_log: Path) -> None:
    swarmd("init")
    with closing(sqlite3.connect(plan_log)) as db, db:
        db.execute("insert into ops values ('z', 'th-1', 4, 'STATE', 'a', '{\"state\": \"TIE\"}')")
    ran = swarmd("state import --verify --sqlite", str(plan_log))
    assert ran.code == 1
    assert "nothing was imported" in ran.out and "FINAL" in ran.out and "TIE" in ran.out
    ran = swarmd("--json state import --verify --sqlite", str(plan_log))
    assert (ran.code, ran.json["verified"]) == (1, False)
    assert ran.json["differences"]["states"] == {"count": 1, "shown": [["a", "FINAL", "TIE"]]}
    assert not (home / "archive" / "old-plan").exists()


def test_the_state_of_a_running_node(swarmd: Swarmd, live: Path) -> None:
    found = swarmd("--json state show").json
    assert found["journal"]["schema"] >= 2
    assert found["mesh_digest"] in swarmd("state show").out
