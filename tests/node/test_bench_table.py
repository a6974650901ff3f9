"""`swarmd bench all`, `bench compare` and the sweep of `bench mesh`: that the tables say what was measured."""

import json
import shutil
import subprocess
import sys

import pytest
from swarmd.node.bench import compare, mesh, sweep, table
from swarmd.node.bench.table import AT_LEAST, AT_MOST, Figure, Suite
from swarmd.protocol.faults import LocalFault

POLICY = Suite(
    "policy",
    ("policy", "--rounds", "200"),
    (
        Figure("an evaluation", "p50_us", "us", AT_MOST, 1e9),
        Figure("evaluations", "evals_per_s", "1/s", AT_LEAST, 1e12),
        Figure("in python", "python.p50_us", "us"),
        Figure("nothing", "no.such.key", "us", AT_MOST, 1),
    ),
)
BROKEN = Suite("broken", ("policy", "--rounds", "none"), (Figure("an evaluation", "p50_us", "us"),))


def test_the_table_has_goals_measures_and_errors(tmp_path):
    said: list[str] = []
    first, document = table.measure([POLICY, BROKEN], said.append)
    assert first == {**document, "runs": document["runs"][:1]}  # who stops it there has that
    table.write(document, tmp_path / "bench.json", tmp_path / "bench.md")
    assert json.loads((tmp_path / "bench.json").read_text("utf-8")) == document
    assert said == ["swarmd bench policy --rounds 200", "swarmd bench policy --rounds none"]
    good, bad = document["runs"]
    assert [row["met"] for row in good["figures"]] == [True, False, None, None]
    assert good["error"] == "" and good["figures"][0]["measured"] == good["all"]["p50_us"] > 0
    assert good["figures"][2]["measured"] == good["all"]["python"]["p50_us"] > 0
    assert good["figures"][3]["measured"] is None
    assert bad["error"] and bad["figures"][0]["measured"] is None
    assert {"date", "commit", "version", "cpus", "machine", "system", "python"} <= document.keys()
    lines = (tmp_path / "bench.md").read_text("utf-8").splitlines()
    assert any(line.startswith("| an evaluation | ") and line.endswith("| met |") for line in lines)
    assert any(line.startswith("| evaluations | ") and line.endswith("| missed |") for line in lines)
    assert "| nothing | not measured | <= 1 |  |" in lines


def test_suites_are_commands_that_there_are():
    for suite in (*table.SUITES, *compare.SUITES):
        done = subprocess.run(
            [sys.executable, "-m", "swarmd.cli", "bench", suite.words[0], "--help"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0
        assert all(word in done.stdout for word in suite.words if word.startswith("--")), suite.command
    for suites in (table.SUITES, compare.SUITES):
        assert len({suite.name for suite in suites}) == len(suites)


def test_a_goal_is_met_on_its_own_side():
    fast, slow = Figure("", "", "", AT_LEAST, 10), Figure("", "", "", AT_MOST, 10)
    assert table.met(fast, 10) and table.met(fast, 11) and table.met(fast, 9) is False
    assert table.met(slow, 10) and table.met(slow, 9) and table.met(slow, 11) is False
    assert table.met(slow, None) is None and table.met(Figure("", "", ""), 3) is None


def test_a_sweep_holds_up_to_the_last_rate_before_the_first_miss():
    def row(rate, decide, finalize, bus, unfinished=0):
        return {
            "rate": rate,
            "decide_p95_ms": decide,
            "finalize_p95_ms": finalize,
            "bus_p99_ms": bus,
            "unfinished": unfinished,
        }

    rows = [row(10.0, 50, 900, 5), row(20.0, 301, 100, 5), row(40.0, 50, 100, 5, unfinished=1)]
    assert sweep.holds_up_to(rows) == {"decide_p95_ms": 10.0, "finalize_p95_ms": 0.0, "bus_p99_ms": 20.0}


def test_cpu_a_task_by_room_adds_up():
    grown = {"frames_cpu_us": 4_000, "turns_cpu_us": 10_000, "commits_cpu_us": 2_000}.__getitem__
    assert mesh.by_room(grown, 20.0, 4) == {"frames": 1.0, "turns": 2.5, "commits": 0.5, "rest": 1.0}


def test_an_open_loop_through_a_real_mesh():
    with mesh.formed(2, 4, None) as bench:
        found = sweep.sweep(bench, [4.0, 8.0], 1.0)
    assert [row["rate"] for row in found["sweep"]] == [4.0, 8.0]
    for row in found["sweep"]:
        assert (row["tasks"], row["unfinished"]) == (int(row["rate"]), 0)
        assert 0 < row["decide_p50_ms"] <= row["decide_p95_ms"]
        assert row["decide_p50_ms"] < row["finalize_p50_ms"] and row["bus_p99_ms"] > 0
        rooms = row["cpu_ms_per_task_by_room"]
        assert min(rooms["frames"], rooms["turns"], rooms["commits"]) > 0
        assert sum(rooms.values()) == pytest.approx(row["cpu_ms_per_task"], abs=0.01)


needs_git = pytest.mark.skipif(
    shutil.which("git") is None or table.git("rev-parse", "HEAD") is None, reason="needs git and a checkout"
)


@needs_git
def test_another_commit_is_measured_in_turn_and_its_tree_removed():
    said: list[str] = []
    found = compare.compare("HEAD", [POLICY], 2, said.append)
    sides = [line.split(" ")[1] for line in said]
    assert sides == ["base:", "here:", "here:", "base:"]
    assert found["base"] == table.git("rev-parse", "--short=12", "HEAD")[:12]
    row, evaluations, _, nothing = found["rows"]
    assert row["ratio"] == pytest.approx(row["base"] / row["here"], abs=0.001)
    assert evaluations["ratio"] == pytest.approx(evaluations["here"] / evaluations["base"], abs=0.001)
    assert nothing["ratio"] is None
    assert "swarmd-bench-" not in table.git("worktree", "list")


@needs_git
def test_the_other_commit_runs_its_own_code():
    with compare.checked_out("HEAD") as tree:
        program = "import swarmd.node.bench as bench; print(bench.__file__)"
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=compare.environment(tree),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.startswith(str(tree))


@needs_git
def test_no_such_commit():
    with pytest.raises(LocalFault) as caught:
        compare.compare("no-such-commit", [POLICY], 1, lambda _: None)
    assert caught.value.code == "no-such-commit"
