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
from swarmd.node.bench.hour import slope

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
    assert [json.loads(line) for line in rows.read_text().splitlines()] == curve
    assert curve[-1]["what"] == "end" and curve[-1]["refused"] == curve[-1]["parked"] == 0
    # 15 needs are under way at a time, 30 begin in an epoch. What had ended at its cut is gone.
    after = [row for row in curve if row["what"] == "after"]
    assert [row["epoch"] for row in after] == list(range(1, found["epochs"] + 1))
    assert all(0 < row["needs_in_memory"] <= 15 for row in after)
    assert found["most_needs_in_memory"] < 100
    # The journal keeps three epochs at most, of all ten.
    before = [row for row in curve if row["what"] == "before"]
    assert before[-1]["warm_mb"] < 2 * before[2]["warm_mb"] and before[-1]["cold_mb"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]  # its folder is gone


def test_stopped_it_says_what_there_is_so_far(tmp_path):
    rows = tmp_path / "rows"
    process = start(tmp_path, "--tasks-per-s", "100", "--seconds", "86400", "--every", "1",
                    "--keep", "1", "--epoch", "2", "--rows", str(rows))  # fmt: skip
    by_s = time.monotonic() + _TIMEOUT_S
    while not rows.exists() and process.poll() is None and time.monotonic() < by_s:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    code, found, errors = ended(process)
    assert code == 130, errors
    assert found["simulated_s"] >= 1 and found["tasks"] > 0 and len(found["curve"]) >= 1


@pytest.mark.parametrize("words", [("--seconds", "1"), ("--epoch", "0"), ("--cold-mb", "0")])
def test_what_cannot_be_measured_is_refused(tmp_path, words):
    code, found, _ = ended(start(tmp_path, *words))
    assert code == 2 and found["error"]["code"] == "usage"
    assert list(tmp_path.iterdir()) == []


def test_a_slope_is_by_the_hour():
    rows = [{"simulated_s": second, "mb": 100 + second / 60} for second in range(0, 600, 30)]
    assert slope(rows, "mb") == 60.0
    assert slope(rows[:2], "mb") is None and slope([rows[0]] * 3, "mb") is None
