"""A short run on real daemons: what it finds when all is well, and when something is not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from swarmd.node.chaos.netns import PREFIX
from swarmd.node.replay import recording

CHAOS = [sys.executable, "-m", "swarmd.cli", "--json", "chaos", "run"]


def left_over(pid):
    """Namespaces and processes of a run that is over."""
    listed = subprocess.run(["ip", "netns"], capture_output=True, text=True, timeout=10).stdout
    found = [line for line in listed.splitlines() if line.startswith(f"{PREFIX}{pid}-")]
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"{PREFIX}{pid}-".encode() in command.read_bytes():
                found.append(str(command))
        except OSError:
            continue
    return found


@pytest.fixture
def chaos(tmp_path):
    """chaos("--seed", "1", ...): the process of a run, whose homes are under this test's folder."""
    started = []

    def start(*words):
        process = subprocess.Popen(
            [*CHAOS, *words],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(30)
        process.stdout.close()
        process.stderr.close()


@pytest.mark.property_id("P1")
@pytest.mark.property_id("P2")
@pytest.mark.property_id("P5")
@pytest.mark.property_id("P6")
@pytest.mark.property_id("P9")
@pytest.mark.property_id("P10")
def test_a_short_run_holds(doable, chaos, tmp_path):
    kinds = doable("partition", "kill", "slow", "stop", "skew")
    process = chaos(
        *("--minutes", "0.2", "--nodes", "3", "--seed", "4", "--rate", "2"),
        *("--nemesis", ",".join(kinds), "--keep"),
    )
    out, err = process.communicate(timeout=150)
    report = json.loads(out)
    assert process.returncode == 0, (report.get("violations"), report.get("log"), err[-2_000:])
    assert report["violations"] == []
    assert set(report["properties"].values()) == {"held"}
    assert set(report["faults"]) == set(kinds)
    assert len(report["log"]) == 2 * sum(report["faults"].values())
    assert report["needs"] == report["finalized"] + report["refunded"] + report["expired"]
    assert report["finalized"] > 0 and report["acknowledged"] > 5
    assert report["seed"] == 4 and report["heal_s"] is not None
    assert left_over(process.pid) == []
    # It was asked to keep what the verdict is from: it replays.
    [home] = tmp_path.iterdir()
    assert str(home) == report["homes"] and (home / "chaos.json").exists()
    folder = report["again"][1].split()[2]
    with recording(Path(folder)) as taken:
        assert taken.replay().needs == report["needs"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(doable, chaos, tmp_path, number):
    doable("kill")
    process = chaos("--minutes", "5", "--nodes", "2", "--seed", "1", "--nemesis", "kill")
    deadline_s = time.monotonic() + 60
    while not list(tmp_path.glob("*/node-0/run/swarmd.sock")) and time.monotonic() < deadline_s:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert left_over(process.pid) == []
    assert list(tmp_path.iterdir()) == []


def test_usage_is_checked_first(chaos):
    process = chaos("--nemesis", "kill,flood")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert json.loads(out)["error"]["fix"] == "there are: partition, slow, kill, stop, skew"


def test_what_the_machine_refuses_is_asked_without_a_run(refused, chaos):
    process = chaos("--nemesis", "kill,skew", "--check")
    out, _ = process.communicate(timeout=60)
    said = json.loads(out)
    assert {kind: fault and fault["code"] for kind, fault in said.items()} == {
        kind: refused[kind].code if kind in refused else None for kind in ("kill", "skew")
    }
    assert process.returncode == (1 if any(said.values()) else 0)
