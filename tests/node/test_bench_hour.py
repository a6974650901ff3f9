"""`swarmd bench hour` on a small scale: that its node takes all in, goes through epochs, and lets go of what ended."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from swarmd.node.bench.hour import costs_of, slope

_TIMEOUT_S = 180.0


def start(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "swarmd.cli", "bench", "hour", *words, "--json"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, Any, str]:
    try:
        text, errors = process.communicate(timeout=_TIMEOUT_S)
    finally:
        process.kill()
    return process.returncode, json.loads(text) if text else None, errors


def test_memory_and_journal_let_go_of_what_ended(tmp_path):
    rows = tmp_path / "rows"
    words = ("--tasks-per-s", "60", "--seconds", "10", "--epoch", "1", "--keep", "2", "--cold-mb", "1")
    code, found, errors = ended(start(tmp_path, *words, "--every", "2", "--rows", str(rows)))
    assert code == 0, errors
    assert found["tasks"] == 600 and found["lost"] == 0 and found["epochs"] >= 7
    curve = found["curve"]
    assert [json.loads(line) for line in rows.read_text().splitlines()] == curve[:-1]
    assert curve[-2]["what"] == "end" and curve[-1]["refused"] == curve[-1]["parked"] == 0
    # 15 needs are under way at a time, 30 begin in an epoch. What had ended at its cut is gone.
    after = [row for row in curve if row["what"] == "after"]
    assert [row["epoch"] for row in after] == list(range(1, found["epochs"] + 1))
    assert all(0 < row["needs_in_memory"] <= 15 for row in after)
    assert found["most_needs_in_memory"] < 100
    # The journal keeps three epochs at most, of all ten.
    before = [row for row in curve if row["what"] == "before"]
    assert before[-1]["warm_mb"] < 2 * before[2]["warm_mb"] and before[-1]["cold_mb"] > 0
    # Another process that opens it has what the first had, from the last checkpoint on.
    reopened = found["reopened"]
    assert reopened["reopen_needs"] == curve[-2]["needs_in_memory"] and reopened["reopen_s"] > 0
    assert 0 < reopened["reopen_ops"] < curve[-2]["ops"] / 4
    assert 0 < found["cpu_us_per_task"] < 1e6 and found["cpu_us_per_task_per_million"] is not None
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]  # its folder is gone


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped_it_says_what_there_is_so_far(tmp_path, number):
    rows = tmp_path / "rows"
    process = start(tmp_path, "--tasks-per-s", "100", "--seconds", "86400", "--every", "1",
                    "--keep", "1", "--epoch", "2", "--rows", str(rows))  # fmt: skip
    by_s = time.monotonic() + _TIMEOUT_S
    while not rows.exists() and process.poll() is None and time.monotonic() < by_s:
        time.sleep(0.05)
    process.send_signal(number)
    code, found, errors = ended(process)
    assert code == 130, errors
    assert found["simulated_s"] >= 1 and found["tasks"] > 0 and len(found["curve"]) >= 1
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]  # its folder is gone


@pytest.mark.parametrize("words", [("--seconds", "1"), ("--epoch", "0"), ("--cold-mb", "0")])
def test_what_cannot_be_measured_is_refused(tmp_path, words):
    code, found, _ = ended(start(tmp_path, *words))
    assert code == 2 and found["error"]["code"] == "usage"
    assert list(tmp_path.iterdir()) == []


def test_a_slope_is_by_the_hour():
    rows = [{"simulated_s": second, "mb": 100 + second / 60} for second in range(0, 600, 30)]
    assert slope(rows, "mb") == 60.0
    assert slope(rows[:2], "mb") is None and slope([rows[0]] * 3, "mb") is None


def test_what_a_task_costs_is_by_the_epoch():
    def after(epoch: int, tasks: int, cpu_s: float) -> dict[str, Any]:
        return {"what": "after", "epoch": epoch, "tasks": tasks, "cpu_s": cpu_s}

    rows = [
        after(1, 1_000, 1.0),
        {"what": "row"},
        after(2, 3_000, 2.0),
        after(3, 3_000, 2.5),
        after(4, 4_000, 3.5),
    ]
    costs = costs_of(rows)
    assert [(cost["epoch"], cost["us"]) for cost in costs] == [(2, 500), (4, 1_000)]
    assert slope([*costs, {"millions": 0.005, "us": 1_500}], "us", over="millions") == 250_000.0
    assert costs_of(rows[:2]) == []
