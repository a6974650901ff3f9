"""The daemon as a process: in the background, its log, waiting for it, stopping it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from swarmd.node.console.lifecycle import follow, reached
from swarmd.node.home_lock import running_pid
from swarmd.node.log_file import log_handler

Swarmd = Callable[..., Any]
Canned = Callable[[dict[str, Any]], list[tuple[str, Any]]]
UP = "up --detach --no-mdns --listen /ip4/127.0.0.1/tcp/0"


@pytest.fixture
def made(swarmd: Swarmd, home: Path) -> Iterator[Path]:
    """A home; whatever runs on it is gone afterwards."""
    assert swarmd("init").code == 0
    yield home
    if pid := running_pid(home):
        os.kill(pid, signal.SIGKILL)


def test_up_logs_wait_and_down(swarmd: Swarmd, swarmd_process: Swarmd, made: Path, tmp_path: Path) -> None:
    hears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    hears.bind(str(tmp_path / "notify"))
    hears.settimeout(10)
    os.environ["NOTIFY_SOCKET"] = str(tmp_path / "notify")
    try:
        ran = swarmd_process(UP + " --json --log-format json")
    finally:
        del os.environ["NOTIFY_SOCKET"]
    assert ran.code == 0, ran.out + ran.err
    assert (ran.json["event"], ran.json["pid"]) == ("ready", running_pid(made))
    # A service manager is told.
    assert hears.recv(100) == b"READY=1"
    hears.close()
    # It is in a session of its own: this terminal's Ctrl-C and hang-up are not meant for it.
    assert os.getsid(ran.json["pid"]) == ran.json["pid"]
    assert swarmd("wait ready --json --timeout 20").json["did"] == ran.json["did"]
    again = swarmd_process(UP + " --json")
    assert (again.code, again.json["error"]["code"]) == (4, "already-running")
    assert f"(pid {ran.json['pid']})" in again.json["error"]["message"]
    log = made / "swarmd.log"
    assert log.stat().st_mode & 0o777 == 0o600
    shown = swarmd("logs --json").lines
    assert shown and all({"level", "message"} <= set(line) for line in shown)
    assert len(swarmd("logs --lines 1").out.splitlines()) == 1
    # And what is down already is well.
    done = swarmd("down --json")
    assert (done.code, done.json) == (0, {"stopped": True, "pid": ran.json["pid"]})
    stat = Path(f"/proc/{ran.json['pid']}/stat")
    assert running_pid(made) is None and (not stat.exists() or ") Z " in stat.read_text())
    assert any(" is up: " in line["message"] for line in shown)
    assert swarmd("logs --json").lines[-1]["message"] == "stopped"
    done = swarmd("down --json")
    assert (done.code, done.json) == (0, {"stopped": False, "pid": None})


def test_the_folder_that_it_is_started_in_has_no_say(made: Path, tmp_path: Path) -> None:
    """Somebody else's folder, whose modules are named as ours."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    for name in ("trio", "cbor2", "queue"):
        (folder / f"{name}.py").write_text("raise SystemExit('not ours')")
    command = [str(Path(sys.executable).with_name("swarmd")), "--home", str(made), *UP.split(), "--json"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert json.loads(ran.stdout)["pid"] == running_pid(made)


def test_a_detached_daemon_that_cannot_start_says_why(
    swarmd: Swarmd, swarmd_process: Swarmd, made: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = swarmd_process(f"up -d --no-mdns --listen /ip4/127.0.0.1/tcp/{port} --json")
    assert ran.code == 4 and str(port) in ran.json["error"]["message"] and ran.json["error"]["fix"]
    (made / "node.key").chmod(0o644)
    ran = swarmd_process(UP)
    assert ran.code == 4 and "others can read" in ran.err and "fix: chmod 600" in ran.err
    (made / "swarmd.toml").write_text("lissten = []\n")
    ran = swarmd_process(UP)
    assert ran.code == 2 and "did you mean listen?" in ran.err
    assert running_pid(made) is None


def test_a_detached_daemon_without_a_home(swarmd: Swarmd, home: Path) -> None:
    ran = swarmd(UP)
    assert ran.code == 4 and "fix: make a node there and start it: swarmd up --init" in ran.err


def test_down_ends_what_does_not_end(swarmd: Swarmd, made: Path) -> None:
    """A process that holds the home's lock and answers nobody."""
    program = (
        "import sys, time; from pathlib import Path; from swarmd.node.home_lock import home_lock\n"
        "with home_lock(Path(sys.argv[1])): print(flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(made)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline()
        ran = swarmd("down --timeout 0.2")
        assert ran.code == 5 and "--kill" in ran.err and holder.poll() is None
        ran = swarmd("down --timeout 1 --kill")
        assert ran.code == 0 and holder.wait(10) == -signal.SIGKILL
    finally:
        holder.kill()
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()


# logs ------------------------------------------------------------------------------------------------------


def test_no_log_says_where_it_is(swarmd: Swarmd, home: Path) -> None:
    ran = swarmd("logs")
    assert ran.code == 4 and "up --detach" in ran.err and "journalctl" in ran.err


def test_a_log_cannot_write_to_the_terminal(swarmd: Swarmd, made: Path) -> None:
    (made / "swarmd.log").write_text("one\nevil \x1b]0;owned\x07\n")
    ran = swarmd("logs")
    assert ran.out == "one\nevil \\x1b]0;owned\\x07\n"
    assert swarmd("logs --json --lines 1").json == {"message": "evil \x1b]0;owned\x07"}
    assert swarmd("logs --lines 0").out == ""


def test_following_goes_over_to_the_next_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")

    def rotate() -> None:
        with open(path, "a") as file:
            file.write("and the last\n")
        path.rename(tmp_path / "log.1")
        path.write_text("new\nhal")

    def finish() -> None:
        with open(path, "a") as file:
            file.write("f\n")

    def begin() -> None:
        with open(path, "a") as file:
            file.write("first\n")

    steps = [begin, rotate, finish]
    lines = follow(path, lambda: steps.pop(0)())
    assert [next(lines) for _ in range(4)] == ["first", "and the last", "new", "half"]


def test_the_log_is_rotated_and_a_crash_is_in_the_newest(tmp_path: Path) -> None:
    program = (
        "import logging, sys; from pathlib import Path; from swarmd.node import log_file\n"
        "log_file.MAX_BYTES = 1_000; path = Path(sys.argv[1])\n"
        "logging.getLogger().addHandler(log_file.log_handler(path))\n"
        "for n in range(20): logging.warning('%d %s', n, 'x' * 200)\n"
        "raise SystemExit('the end')"
    )
    path = tmp_path / "logs" / "swarmd.log"
    path.parent.mkdir()
    with open(path, "ab") as errors:
        subprocess.run([sys.executable, "-c", program, str(path)], stderr=errors, timeout=20)
    files = sorted(path.parent.iterdir())
    assert len(files) == 5 and all(each.stat().st_size <= 1_010 for each in files)
    assert path.read_text().endswith("the end\n") and "19 xxx" in path.read_text()
    handler = log_handler(tmp_path / "fresh" / "log")
    handler.close()
    assert (tmp_path / "fresh" / "log").stat().st_mode & 0o777 == 0o600


# wait ------------------------------------------------------------------------------------------------------


def test_waiting_for_what_does_not_come(swarmd: Swarmd, home: Path) -> None:
    ran = swarmd("wait ready --timeout 0.2")
    assert ran.code == 5 and "no daemon answers" in ran.err and "fix: swarmd doctor" in ran.err


def test_waiting_for_peers(swarmd: Swarmd, canned: Canned) -> None:
    canned({"status": {"peers": 1, "did": "did:key:z"}})
    assert swarmd("wait ready --peers 1 --timeout 5").code == 0
    ran = swarmd("wait ready --peers 2 --timeout 0.2")
    assert ran.code == 5 and "it has 1 of 2 peers" in ran.err


def test_waiting_while_it_starts(swarmd: Swarmd, canned: Canned, home: Path) -> None:
    def late() -> None:
        time.sleep(0.3)
        canned({"status": {"peers": 0, "did": "did:key:z"}})

    starter = threading.Thread(target=late)
    starter.start()
    assert swarmd("wait ready --timeout 20 --json").json == {"ready": True, "did": "did:key:z", "peers": 0}
    starter.join()


def steps(*states: str) -> list[dict[str, Any]]:
    return [{"kind": "X", "state": state} for state in states]


@pytest.mark.parametrize(
    ("wanted", "seen", "code", "state"),
    [
        ("decided", steps("OPEN", "PROPOSED", "DECIDED"), 0, "DECIDED"),
        ("decided", steps("OPEN", "RUNNING"), 0, "RUNNING"),
        ("finalized", [*steps("RUNNING"), {"state": "FINALIZED"}], 0, "FINALIZED"),
        ("finalized", [*steps("RUNNING"), {"state": "REFUNDED"}], 1, "REFUNDED"),
        ("running", [*steps("OPEN"), {"state": "EXPIRED"}], 1, "EXPIRED"),
        ("refunded", [*steps("OPEN"), {"state": "REFUNDED"}], 0, "REFUNDED"),
    ],
)
def test_waiting_for_a_state(
    swarmd: Swarmd, canned: Canned, wanted: str, seen: list[Any], code: int, state: str
) -> None:
    # What comes after the wanted state never comes here: it must not be waited for.
    answer = seen if len(seen[-1]) == 1 else [*seen, trio.sleep_forever]
    canned({"stream:need.watch": answer})
    ran = swarmd(f"wait need need-aaaa --state {wanted} --timeout 10 --json")
    assert (ran.code, ran.json) == (code, {"need": "need-aaaa", "state": state, "reached": code == 0})


def test_waiting_ends_in_time_and_knows_the_states(swarmd: Swarmd, canned: Canned) -> None:
    canned({"stream:need.watch": [*steps("OPEN"), trio.sleep_forever]})
    ran = swarmd("wait need need-aaaa --timeout 0.2")
    assert ran.code == 5 and "swarmd need show need-aaaa" in ran.err
    ran = swarmd("wait need need-aaaa --state done")
    assert ran.code == 2 and "FINALIZED" in ran.err


def test_what_is_past_what() -> None:
    assert reached("FINALIZED", "OPEN") and reached("RUNNING", "PROPOSED") and reached("OPEN", "OPEN")
    assert not reached("REFUNDED", "RUNNING") and not reached("OPEN", "RUNNING")
    assert not reached("FINALIZED", "REFUNDED")


def test_json_lines_of_the_log_are_documents(swarmd: Swarmd, made: Path) -> None:
    (made / "swarmd.log").write_text(json.dumps({"level": "info", "message": "m"}) + "\nplain\n[1]\n")
    assert swarmd("logs --json").lines == [
        {"level": "info", "message": "m"},
        {"message": "plain"},
        {"message": "[1]"},
    ]
