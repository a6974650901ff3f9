"""Questions before what can't be undone, commands that repeat themselves, and errors that say where to read on."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from swarmd.cli import build_parser, parse
from swarmd.node.console.attended import terminated_like_interrupted
from swarmd.node.console.outcome import PAGES

Swarmd = Callable[..., Any]
Canned = Callable[[dict[str, Any]], list[tuple[str, Any]]]
IRREVOCABLE = [
    "backup recover",
    "backup speak",
    "verifier leave",
    "stake unbond 5",
    "settle deploy",
    "channel close 0x00",
    "escrow release 3kq7",
    "escrow refund 3kq7",
]


@pytest.mark.parametrize("words", IRREVOCABLE)
def test_what_cannot_be_undone_is_refused_unless_it_is_meant(swarmd: Swarmd, home: Path, words: str) -> None:
    ran = swarmd(words)
    assert ran.code == 2 and "fix: add --yes" in ran.err
    assert swarmd(words, "--json").json["error"]["code"] == "usage"
    assert parse(build_parser(), [*words.split(), "--yes"]).yes is True


def at_a_terminal(home: Path, answer: bytes) -> tuple[int, str]:
    """`verifier leave` with somebody at the terminal who types `answer`."""
    outer, inner = pty.openpty()
    command = [sys.executable, "-m", "swarmd.cli", "--home", str(home), "verifier", "leave"]
    asked = subprocess.Popen(command, stdin=inner, stdout=subprocess.PIPE, stderr=inner)
    os.close(inner)
    seen = b""
    while b"[y/N]" not in seen:
        seen += os.read(outer, 1_000)
    os.write(outer, answer)
    assert asked.stdout is not None
    out, code = asked.stdout.read(), asked.wait(20)
    asked.stdout.close()
    os.close(outer)
    return code, out.decode()


def test_a_person_is_asked(canned: Canned, home: Path) -> None:
    calls = canned({"verifier.leave": {"pending": ["leave"]}})
    code, _ = at_a_terminal(home, b"\n")
    assert code == 4 and calls == []
    code, out = at_a_terminal(home, b"yes\n")
    assert code == 0 and "leaves" in out and [op for op, _ in calls] == ["verifier.leave"]


def test_watching_goes_on_while_the_daemon_is_away(canned: Canned, home: Path) -> None:
    watcher = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "swarmd.cli",
            "--home",
            str(home),
            *"--json agent list --watch --interval 0.1".split(),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watcher.stdout is not None
    assert json.loads(watcher.stdout.readline())["error"]["code"] == "daemon-not-running"
    canned({"agent.list": []})
    while "error" in (line := json.loads(watcher.stdout.readline())):
        assert line["error"]["code"] == "daemon-not-running"
    assert line == {"agents": []} == json.loads(watcher.stdout.readline())
    watcher.send_signal(signal.SIGINT)
    _, err = watcher.communicate(timeout=20)
    assert watcher.returncode in (0, 130) and err == ""


def test_what_stays_wrong_ends_the_watching(swarmd: Swarmd, canned: Canned) -> None:
    canned({})
    ran = swarmd("need list --watch --json")
    assert (ran.code, ran.json["error"]["code"]) == (4, "unknown-op")


def test_errors_say_where_to_read_on(swarmd: Swarmd, home: Path) -> None:
    assert "  see: docs/runbooks.md#the-daemon-does-not-start\n" in swarmd("status").err
    assert swarmd("status --json").json["error"]["docs"] == PAGES["daemon-not-running"]


def anchors(page: Path) -> set[str]:
    text = page.read_text("utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    slugs = {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)"', text))


def test_each_place_to_read_on_is_there(repo: Path) -> None:
    source = "".join(
        path.read_text("utf-8")
        for room in ("node", "protocol", "bootstrap")
        for path in (repo / room).rglob("*.py")
    )
    for code, place in PAGES.items():
        page, _, anchor = place.partition("#")
        assert (repo / page).exists() and (not anchor or anchor in anchors(repo / page)), place
        assert source.count(f'"{code}"') > 1, f"nothing raises {code}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_a_command_interrupts_it_unless_it_was_ignored(number: signal.Signals) -> None:
    """As under nohup. Afterwards signals do what they did before."""
    before = signal.getsignal(number)
    try:
        for ignored in (signal.SIG_IGN, signal.SIG_DFL):
            signal.signal(number, ignored)
            with terminated_like_interrupted():
                if ignored is signal.SIG_IGN:
                    signal.raise_signal(number)
                else:
                    with pytest.raises(KeyboardInterrupt):
                        signal.raise_signal(number)
            assert signal.getsignal(number) is ignored
    finally:
        signal.signal(number, before)
