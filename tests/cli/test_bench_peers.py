"""`swarmd bench peers` on a small scale: that it measures what it says, names who is missing, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from swarmd.node.bench import table
from swarmd.node.bench.peers import brokers, interpreter, main, rounds, tree
from swarmd.node.bench.peers.contenders import CONTENDERS, SYSTEMS
from swarmd.node.bench.peers.rounds import Measured
from swarmd.protocol.faults import LocalFault

Swarmd = Callable[..., Any]


@pytest.fixture
def installed() -> None:
    """The brokers of Debian, and the environment of Python that `make interop` makes."""
    missing = brokers.missing(tuple(brokers.PACKAGES))
    if interpreter.QUEUES.ready() is None:
        missing.append("the environment of make interop")
    if missing:
        if os.environ.get("CI"):
            pytest.fail(f"not installed: {missing}")
        pytest.skip(f"not installed: {missing}")


def test_the_same_need_through_three_systems(installed: None, swarmd: Swarmd) -> None:
    names = ["nats", "nats-verified", "celery-verified", "swarmd-lean"]
    few = "--tasks 24 --window 8 --workers 1 --payload 600 --rounds 1"
    ran = swarmd(f"bench peers --only {','.join(names)} {few} --json")
    assert ran.code == 0, ran.out
    found = ran.json
    assert (found["absent"], found["failed"]) == ([], [])
    assert [each["name"] for each in found["contenders"]] == names
    by_name = {each["name"]: each for each in found["contenders"]}
    for each in found["contenders"]:
        assert (each["wrong"], each["unrecorded"]) == (0, 0)
        assert 0 < each["p50_ms"] <= each["p95_ms"] <= each["p99_ms"]
        assert each["runs_tasks_per_s"] == [each["tasks_per_s"]] and each["memory_mb"] > 10
        parts = {"daemons" if each["system"] == "swarmd" else "brokers", "workers", "driver"}
        assert set(each["cpu_ms_per_task_by_part"]) == parts
    assert sum(each["cpu_ms_per_task"] for each in found["contenders"]) > 0
    assert set(found["ratios"]) == set(names) - {"swarmd-lean"}
    ratio = found["ratios"]["nats"]["tasks_per_s"]["swarmd-lean"]
    swarmds, nats = by_name["swarmd-lean"]["tasks_per_s"], by_name["nats"]["tasks_per_s"]
    assert ratio == pytest.approx(swarmds / nats, rel=0.05, abs=0.001)
    assert {"nats-server", "etcd", "redis-server", "nats-py", "celery"} <= set(found["versions"])
    assert any("verification" in what for what in by_name["nats"]["lacks"])
    assert not any("verification" in what for what in by_name["nats-verified"]["lacks"])


def test_who_is_not_installed_is_named_with_what_helps(
    swarmd: Swarmd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = swarmd("bench peers --only nats,celery --rounds 1 --json")
    assert ran.code == 1  # nobody is left
    assert ran.json["contenders"] == [] and ran.json["ratios"] == {}
    fixes = {each["system"]: each["fix"] for each in ran.json["absent"]}
    assert fixes == {
        "nats": "Debian: apt-get install nats-server etcd-server",
        "celery": "Debian: apt-get install redis-server",
    }
    text = swarmd("bench peers --only celery --rounds 1")
    assert "celery is left out: not installed: redis-server" in text.out


def test_a_broker_that_does_not_start_is_said_and_the_other_ends(
    installed: None, swarmd: Swarmd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "etcd"
    broken.write_text("#!/bin/sh\necho the disk is on fire >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    before = tree.tree([os.getpid()])
    ran = swarmd("bench peers --only nats --tasks 10 --rounds 2 --json")
    assert ran.code == 1 and ran.json["contenders"] == []
    assert [each["contender"] for each in ran.json["failed"]] == ["nats", "nats-verified"]
    assert "etcd did not start: the disk is on fire" in ran.json["failed"][0]["why"]
    assert tree.tree([os.getpid()]) <= before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_brokers_end_with_the_benchmark(installed: None, tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "swarmd.cli", "bench", "peers", "--only", "nats", "--tasks", "1000000"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as bench:
        try:
            assert bench.stderr is not None
            assert any("round 1" in line for line in bench.stderr)
            begun = _until(lambda: _with_names(bench.pid, {"nats-server", "etcd"}))
            bench.send_signal(number)
            code = bench.wait(60)
        finally:
            bench.kill()
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    _until(lambda: all(tree.started_ticks(pid) != ticks for pid, ticks in begun.items()))
    if number != signal.SIGKILL:
        assert list(tmp_path.iterdir()) == []


def _with_names(root: int, names: set[str]) -> dict[int, int | None]:
    """The processes of a tree, once some with all of these names are among them; nothing before."""
    pids = tree.tree([root]) - {root}
    found = {Path(os.readlink(f"/proc/{pid}/exe")).name for pid in pids if os.path.exists(f"/proc/{pid}/exe")}
    return {pid: tree.started_ticks(pid) for pid in pids} if names <= found else {}


def _until(holds: Callable[[], Any]) -> Any:
    end_s = time.monotonic() + 60
    while not (found := holds()):
        assert time.monotonic() < end_s, "waited a minute"
        time.sleep(0.02)
    return found


def test_wrong_results_and_missing_records_are_counted() -> None:
    wanted = {"1": {"words": 3}, "2": {"words": 4}, "3": {"words": 5}}
    assert rounds._differ(wanted, wanted) == 0
    assert rounds._differ(wanted, {"1": {"words": 3}, "2": {"words": 5}}) == 2


def test_medians_are_of_rounds_and_ratios_of_pairs() -> None:
    def round_of(tasks_per_s: float, cpu_ms: float) -> Measured:
        latencies = {"p50_ms": 1.0, "p95_ms": 2.0, "p99_ms": 3.0}
        return Measured(tasks_per_s, latencies, {"all": cpu_ms}, 10.0, 1, None, None)

    nats, ours = (each for each in CONTENDERS if each.name in ("nats", "swarmd-lean"))
    found = {
        "nats": [round_of(100, 1), round_of(10, 2), round_of(50, 4)],
        "swarmd-lean": [round_of(50, 2), round_of(20, 2), round_of(100, 2)],
    }
    # 0.5, 2 and 2: what the second round did to both does not count.
    assert rounds.ratios([nats, ours], found) == {
        "nats": {"tasks_per_s": {"swarmd-lean": 2.0}, "cpu_ms_per_task": {"swarmd-lean": 1.0}}
    }
    described = rounds.described(nats, found["nats"])
    assert (described["tasks_per_s"], described["cpu_ms_per_task"]) == (50, 2)
    assert (described["wrong"], described["unrecorded"], described["others_cpu_percent"]) == (3, None, None)


def test_each_contender_says_what_it_does_not_do() -> None:
    assert len({each.name for each in CONTENDERS}) == len(CONTENDERS)
    for each in CONTENDERS:
        lacks = [*each.lacks, *SYSTEMS[each.system].lacks]
        assert any(what.startswith("verification") for what in lacks) is not each.verified
        if each.system != "swarmd":
            assert {"payment", "policy", "a second owner"} <= {what.split(":")[0] for what in lacks}


@pytest.mark.parametrize(
    "words", ["--only rabbit", "--tasks 0", "--window 0", "--workers 0", "--payload 8", "--rounds 0"]
)
def test_bad_words_are_named(swarmd: Swarmd, words: str) -> None:
    ran = swarmd(f"bench peers {words} --json")
    assert ran.code == 2 and ran.json["error"]["code"] == "usage"


def test_a_system_or_one_of_its_ways(tmp_path: Path) -> None:
    assert [each.name for each in main.chosen("ray,swarmd-lean,nats")] == [
        *("nats", "nats-verified", "ray", "ray-verified", "swarmd-lean")
    ]


def test_a_table_says_what_was_left_out() -> None:
    run = {
        "suite": "peers",
        "command": "swarmd bench peers",
        "error": "",
        "skipped": table._skipped(
            {"absent": [{"system": "nats", "why": "not installed: etcd", "fix": "get it"}]}
        ),
        "figures": [],
    }
    document = {"runs": [run], "date": "", "commit": "", "cpus": 1, "machine": "", "system": "", "python": ""}
    assert "nats left out: not installed: etcd (get it)" in table.markdown(document)


def test_an_environment_that_cannot_be_made_says_what_pip_said() -> None:
    with pytest.raises(LocalFault) as failed:
        interpreter._run(
            [sys.executable, "-c", "raise SystemExit('no matching distribution')"], "look for one"
        )
    assert "no matching distribution" in failed.value.message
    assert failed.value.fix == "look for one"
