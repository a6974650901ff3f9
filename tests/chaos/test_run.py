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

SWARMD = [sys.executable, "-m", "swarmd.cli", "--json"]
CHAOS = [*SWARMD, "chaos", "run"]


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
        *("--minutes", "0.15", "--nodes", "3", "--seed", "4", "--rate", "2"),
        *("--nemesis", ",".join(kinds), "--keep"),
    )
    out, err = process.communicate(timeout=240)
    report = json.loads(out)
    assert process.returncode == 0, (report.get("violations"), report.get("log"), err[-2_000:])
    assert report["violations"] == []
    assert set(report["properties"].values()) == {"held"}
    assert set(report["faults"]) == set(kinds)
    assert len(report["log"]) == 2 * sum(report["faults"].values())
    assert report["needs"] == report["finalized"] + report["refunded"] + report["expired"]
    assert report["finalized"] >= 3  # those after the faults, at least
    assert report["acknowledged"] > 5
    assert report["seed"] == 4 and report["heal_s"] is not None
    assert left_over(process.pid) == []
    # It was asked to keep what the verdict is from: it replays.
    [home] = tmp_path.iterdir()
    assert str(home) == report["homes"] and (home / "chaos.json").exists()
    folder = report["again"][1].split()[2]
    with recording(Path(folder)) as taken:
        assert taken.replay().needs == report["needs"]


def started(tmp_path, node):
    """The socket of a node of a run, and the pid of its daemon, once that serves."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        for socket in tmp_path.glob(f"*/node-{node}/run/swarmd.sock"):
            for command in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    words = command.read_bytes().split(b"\0")
                except OSError:
                    continue
                if b"up" in words and str(socket.parent.parent).encode() in words:
                    return socket, int(command.parent.name)
        time.sleep(0.05)
    raise AssertionError(f"node {node} did not start")


def swarmd(socket, *words):
    """What a command says of the node with this socket."""
    home = str(socket.parent.parent)
    done = subprocess.run(
        [*SWARMD, "--home", home, *words], capture_output=True, text=True, check=True, timeout=30
    )
    return json.loads(done.stdout)


@pytest.mark.property_id("P10")
@pytest.mark.property_id("P9")
def test_what_is_wrong_is_found(doable, chaos, tmp_path):
    """A daemon that ends though nobody in the run killed it, and a need that nobody in the run posted."""
    doable("stop")
    process = chaos("--minutes", "0.03", "--nodes", "2", "--seed", "1", "--nemesis", "stop", "--rate", "2")
    socket, _ = started(tmp_path, 1)
    deadline_s = time.monotonic() + 60
    while not swarmd(socket, "need", "list")["needs"]:  # it goes on now
        assert time.monotonic() < deadline_s
    words = "need post chaos.nobody --title stranger --budget 0.01 --deadline 3"
    swarmd(socket, *words.split())
    _, pid = started(tmp_path, 0)
    os.kill(pid, signal.SIGKILL)
    out, err = process.communicate(timeout=240)
    report = json.loads(out)
    assert process.returncode == 1, err[-2_000:]
    found = {violation["property"]: violation["text"] for violation in report["violations"]}
    assert set(found) == {"P9", "P10"}, report["violations"]
    assert found["P9"] == "stranger is there, and nobody posted it"
    assert found["P10"].startswith("node 0 ended by itself with code -9")
    assert report["heal_s"] is not None
    # What it was found in is kept, with the commands that look into it.
    assert json.loads((Path(report["homes"]) / "chaos.json").read_text()) == report
    assert len(report["again"]) == 3
    assert left_over(process.pid) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(doable, chaos, tmp_path, number):
    doable("kill")
    process = chaos("--minutes", "5", "--nodes", "2", "--seed", "1", "--nemesis", "kill")
    started(tmp_path, 0)
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
