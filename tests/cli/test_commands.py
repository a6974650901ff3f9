"""What commands show and how they end, against a real socket that answers what the test wants."""

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
import trio
from swarmd.node.console.node import duration, size
from swarmd.node.console.output import clean, short_did
from swarmd.protocol.faults import LocalFault

DID = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
EVIL = "\x1b]0;owned\x07\x1b[2Jpay \u202eme\nnow [red]"
STEP = {
    "at_ns": 1_700_000_000_000_000_000,
    "kind": "NEED",
    "id": "bafyreiabc",
    "sender": DID,
    "task": "",
    "lamport": 1,
    "text": EVIL,
    "refs": [],
    "gate": {"allow": True, "reasons": [], "gas": 65_000, "policy": "00"},
    "verified": True,
    "void": None,
    "trace": "",
}
TASK = {
    "task": "task",
    "capability": "text.wordcount",
    "state": "FINALIZED",
    "worker": DID,
    "price": "0.02",
    "attempt": 0,
    "result": "bafkreigh2akiscaildc",
    "after": ["split"],
    "judges": [{"judge": DID, "verdict": "accept", "score": 100, "reason": "same"}],
}
NEED = {
    "need": "need-aaaa",
    "title": EVIL,
    "state": "FINALIZED",
    "owner": DID,
    "budget": "1",
    "paid": "0.02",
    "done": 1,
    "created_ns": 1_700_000_000_000_000_000,
    "waiting_for": "",
    "reason": "",
    "tasks": [TASK],
    "escrow": {"state": "released", "amount": "1", "held": "0", "returned": "0.98", "paid": []},
    "decide_ms": 12.0,
    "finalize_ms": None,
    "result": {"task": "bafkreigh2akiscaildc"},
    "values": {"task": {"words": 3, "note": EVIL}},
    "anchor": None,
    "anchor_note": None,
}
EVENT = {
    "at_ns": 1_700_000_001_000_000_000,
    "kind": "CLAIM",
    "task": "task",
    "sender": DID,
    "text": EVIL,
    "state": "RUNNING",
}

Swarmd = Callable[..., Any]
Canned = Callable[[dict[str, Any]], list[tuple[str, Any]]]


def hostile(text: str) -> bool:
    """Is there anything in it that a terminal would obey?"""
    return any(not (c.isprintable() or c == "\n") for c in text)


# How it ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    ["status", "peers", "balance", "need list", "agent list", "why x", "stop", "need post x --budget 1"],
)
def test_without_a_daemon(swarmd: Swarmd, home: Path, words: str) -> None:
    ran = swarmd(words)
    assert (ran.code, ran.out) == (3, "")
    assert f"there is no node in {home}" in ran.err
    assert "fix: make and start one: swarmd up --init --detach" in ran.err
    assert swarmd(words, "--json").json["error"]["code"] == "daemon-not-running"
    home.mkdir()
    (home / "node.key").touch()
    assert "fix: start it: swarmd up --detach" in swarmd(words).err


def test_a_refusal_is_shown_with_its_fix(swarmd: Swarmd, canned: Canned) -> None:
    canned({"need.post": LocalFault("too-poor", "the budget is 5", fix="lower --budget")})
    ran = swarmd("need post x --budget 5")
    assert (ran.code, ran.out, ran.err) == (4, "", "swarmd: the budget is 5\n  fix: lower --budget\n")
    ran = swarmd("need post x --budget 5 --json")
    assert (ran.code, ran.err) == (4, "")
    assert ran.json == {
        "error": {"code": "too-poor", "message": "the budget is 5", "fix": "lower --budget", "docs": ""}
    }


def test_a_refusal_cannot_write_to_the_terminal(swarmd: Swarmd, canned: Canned) -> None:
    canned({"status": LocalFault("x", EVIL, fix=EVIL)})
    assert not hostile(swarmd("status").err)


@pytest.mark.parametrize(("state", "code"), [("FINALIZED", 0), ("REFUNDED", 1), ("EXPIRED", 1)])
def test_waiting_ends_as_the_need_does(swarmd: Swarmd, canned: Canned, state: str, code: int) -> None:
    calls = canned(
        {"need.post": {"need": "need-aaaa"}, "stream:need.watch": [EVENT, {**NEED, "state": state}]}
    )
    ran = swarmd("need post x --budget 1 --wait --json")
    assert (ran.code, ran.json["state"]) == (code, state)
    assert [op for op, _ in calls] == ["need.post", "need.watch"]
    assert calls[1][1] == {"need": "need-aaaa"}


@pytest.mark.parametrize("words", ["need watch need-aaaa", "need post x --budget 1 --wait"])
def test_a_need_that_takes_too_long(swarmd: Swarmd, canned: Canned, words: str) -> None:
    canned({"need.post": {"need": "need-aaaa"}, "stream:need.watch": [EVENT, trio.sleep_forever]})
    ran = swarmd(words, "--timeout", "0.2")
    assert ran.code == 5 and "took longer than 0.2 s" in ran.err and "swarmd need" in ran.err
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_ctrl_c_while_watching(canned: Canned, home: Path, as_in_a_terminal: Callable[[], None]) -> None:
    canned({"stream:need.watch": [EVENT, trio.sleep_forever]})
    watcher = subprocess.Popen(
        [sys.executable, "-m", "swarmd.cli", "--home", str(home), "--json", "need", "watch", "need-aaaa"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=as_in_a_terminal,
    )
    assert watcher.stdout is not None
    # An event is shown when it happens, not when the next one does.
    assert json.loads(watcher.stdout.readline()) == {"event": EVENT}
    watcher.send_signal(signal.SIGINT)
    _, err = watcher.communicate(timeout=10)
    assert (watcher.returncode, err) == (130, "")


def test_a_reader_that_has_enough(canned: Canned, home: Path) -> None:
    canned({"need.list": {"needs": [NEED | {"tasks": 1}] * 5_000, "total": 5_000}})
    line = f"{sys.executable} -m swarmd.cli --home {home} need list -q | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr) == ("need-aaaa\n", "")


# What it shows ----------------------------------------------------------------------------------------------


def test_a_need_for_people(swarmd: Swarmd, canned: Canned) -> None:
    canned({"need.show": NEED})
    ran = swarmd("need show need-aaaa")
    assert ran.code == 0 and not hostile(ran.out)
    assert re.search(r"^state +FINALIZED$", ran.out, re.M)
    assert re.search(r"^times +decided after 0.01 s$", ran.out, re.M)
    assert re.search(
        r"^task +text.wordcount +FINALIZED +z6Mkha…a2doK +0.02 +1 +split +accept \(100\)", ran.out, re.M
    )
    assert 'result of task: {"words": 3' in ran.out
    assert "[red]" in ran.out  # text, not markup
    assert swarmd("need show need-aaaa --json").json == NEED
    assert swarmd("need show need-aaaa -q").out == "FINALIZED\n"


def test_a_list_for_people_and_programs(swarmd: Swarmd, canned: Canned) -> None:
    row = {
        **{key: NEED[key] for key in ("need", "title", "state", "owner", "budget", "paid", "created_ns")},
        "tasks": 3,
        "done": 1,
    }
    calls = canned({"need.list": {"needs": [row], "total": 4}})
    ran = swarmd("need list --state finalized --limit 1")
    assert not hostile(ran.out) and "1/3" in ran.out and "3 more: --limit 4" in ran.out
    assert calls == [("need.list", {"state": "finalized", "limit": 1})]
    assert swarmd("need list --json").json == {"needs": [row], "total": 4}
    assert swarmd("need list -q").out == "need-aaaa\n"


def test_tasks_for_people_and_programs(swarmd: Swarmd, canned: Canned) -> None:
    found = {"tasks": [{**TASK, "need": "need-aaaa", "task": EVIL}], "counts": {"FINALIZED": 1}}
    answers: dict[str, Any] = {"task.list": found}
    calls = canned(answers)
    ran = swarmd("task list --state finalized --ready --limit 1")
    assert (
        not hostile(ran.out)
        and "text.wordcount" in ran.out
        and "perhaps more: --limit 2" in ran.out + ran.err
    )
    assert calls == [("task.list", {"state": "finalized", "ready": True, "limit": 1})]
    assert swarmd("task list --json").json == found
    answers["task.list"] = {"tasks": [], "counts": {}}
    assert "no such tasks" in (ran := swarmd("task list --need need-a")).out + ran.err


def test_a_graph_for_people_programs_and_graphviz(swarmd: Swarmd, canned: Canned) -> None:
    def task(name: str, parents: list[str], children: list[str]) -> dict[str, Any]:
        return {"task": name, "state": "DECIDED", "parents": parents, "children": children}

    found = {
        "need": "need-aaaa",
        "tasks": [task("a", [], ['b"', "c"]), task('b"', ["a"], ["c"]), task("c", ["a", 'b"'], [])],
    }
    answers: dict[str, Any] = {"need.graph": found}
    canned(answers)
    shown = swarmd("need graph need-aaaa").out
    assert re.search(
        r'need-aaaa\n└── a  DECIDED\n    └── b"  DECIDED\n        └── c  DECIDED  also after a\n', shown
    )
    assert swarmd("need graph need-aaaa --json").json == found
    dot = swarmd("need graph need-aaaa --dot").out
    assert dot.startswith('digraph "need-aaaa" {\n') and '  "b\\"" -> "c";\n' in dot
    answers["need.graph"] = {"parents": ["a"], "children": [], "ancestors": ["a"], "descendants": []}
    relatives = swarmd("need graph need-aaaa --task b").out
    assert re.search(r"^ancestors +a$", relatives, re.M) and re.search(r"^children +none$", relatives, re.M)
    assert swarmd("need graph need-aaaa --task b --dot").code == 2


@pytest.mark.parametrize(
    ("found", "code", "text"),
    [
        ({"asked": 1, "silent": 0, "repaired": 1}, 0, "asked 1 peer; 1 batch was missing and came\n"),
        (
            {"asked": 3, "silent": 1, "repaired": 0},
            0,
            "asked 3 peers, 1 of them silent; 0 batches were missing",
        ),
        ({"asked": 2, "silent": 2, "repaired": 0}, 1, "asked 2 peers, 2 of them silent"),
        ({"asked": 0, "silent": 0, "repaired": 0}, 1, "no peers are connected"),
    ],
)
def test_sync_says_who_was_asked(
    swarmd: Swarmd, canned: Canned, found: dict[str, int], code: int, text: str
) -> None:
    canned({"stream:sync": [{"peer": "p" * 60, "missing": 9, "got": 1}, found]})
    ran = swarmd("sync")
    assert ran.code == code and text in ran.out + ran.err
    assert swarmd("sync --json").json == found
    assert swarmd("sync -q").out == f"{found['repaired']}\n"


def test_watching_line_by_line(swarmd: Swarmd, canned: Canned) -> None:
    canned({"stream:need.watch": [EVENT, EVENT, NEED]})
    ran = swarmd("need watch need-aaaa")
    assert ran.code == 0 and not hostile(ran.out)
    assert len(re.findall(r"^ +0.00 s  CLAIM ", ran.out, re.M)) == 2
    ran = swarmd("need watch need-aaaa --json")
    assert ran.lines == [{"event": EVENT}, {"event": EVENT}, {"result": NEED}]


def test_watching_on_a_terminal_redraws_and_ends_with_the_result(canned: Canned, home: Path) -> None:
    canned({"stream:need.watch": [EVENT, NEED], "need.show": {**NEED, "state": "RUNNING"}})
    code, screen = on_terminal(home, "need", "watch", "need-aaaa")
    assert code == 0
    assert "RUNNING" in screen and "FINALIZED" in screen and "result of task" in screen
    assert "\x1b[1A" in screen, "it goes up to draw again"
    assert "\x1b]0;" not in screen and "\x1b[2J" not in screen and "\u202e" not in screen


@pytest.mark.parametrize(("more", "colors"), [((), True), (("--no-color",), False)])
def test_colors_only_where_wanted(canned: Canned, home: Path, more: tuple[str, ...], colors: bool) -> None:
    canned({"need.show": NEED})
    _, screen = on_terminal(home, "need", "show", "need-aaaa", *more)
    assert ("\x1b[32m" in screen) is colors


def test_json_on_a_terminal_is_harmless_too(canned: Canned, home: Path) -> None:
    canned({"need.show": {**NEED, "title": "\x9b2J \u202e"}})
    code, screen = on_terminal(home, "need", "show", "need-aaaa", "--json")
    assert code == 0 and "\x9b" not in screen and "\u202e" not in screen


def on_terminal(home: Path, *words: str) -> tuple[int, str]:
    """Run a command on a real pseudo-terminal: its exit code and all it wrote."""
    main_end, its_end = pty.openpty()
    env = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        "COLUMNS": "120",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "swarmd.cli", "--home", str(home), *words],
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        env=env,
    )
    os.close(its_end)
    found = bytearray()
    try:
        while data := os.read(main_end, 65_536):
            found += data
    except OSError:
        pass  # EIO: the other end is closed
    finally:
        os.close(main_end)
    return process.wait(20), found.decode("utf-8", "replace")


def test_why_for_people(swarmd: Swarmd, canned: Canned) -> None:
    anchor = {"tx_hash": "0xab", "block": 7, "root": "cd", "chain_id": 1337, "contract": "0x", "receipts": 1}
    money = {"state": "released", "amount": "1", "held": "0", "returned": "0.98"}
    money_paid = {**money, "paid": [{"task": "task", "worker": DID, "amount": "0.02"}]}
    bad = {**STEP, "verified": False, "void": "late", "gate": {"allow": False, "reasons": ["r1"], "gas": 3}}
    found = {**{key: NEED[key] for key in ("need", "title", "state", "reason", "waiting_for")}}
    canned(
        {"why": {**found, "steps": [STEP, bad], "money": money_paid, "anchor": anchor, "anchor_note": None}}
    )
    ran = swarmd("why need-aaaa")
    assert ran.code == 0 and not hostile(ran.out)
    assert re.search(r"^✓ +0.000 s  NEED +z6Mkha…a2doK ", ran.out, re.M)
    assert re.search(r"^✗ .* VOID: late$", ran.out, re.M)
    assert "bafyreiabc  gate allows, gas 65000" in ran.out and "gate denies (r1), gas 3" in ran.out
    assert f"0.02 to {DID} for task" in ran.out and "0.98 back to its owner" in ran.out
    assert "anchor  0xab (block 7, chain 1337)" in ran.out
    assert swarmd("why need-aaaa -q").out == "bafyreiabc\nbafyreiabc\n"


def test_peers_for_people(swarmd: Swarmd, canned: Canned) -> None:
    peer = {
        "peer_id": "12D3KooWabc", "did": DID, "addrs": [], "direction": "outbound", "rtt_ms": 1.26, "score": 0.5,
        "faults": {"bad-sig": 2}, "frames_in": 1, "frames_out": 1, "bytes_in": 2048, "bytes_out": 5, "connected_s": 61.0,
    }  # fmt: skip
    canned({"peers": {"peers": [peer, {**peer, "rtt_ms": None}]}})
    ran = swarmd("peers")
    assert re.search(
        r"^12D3KooWabc +z6Mkha…a2doK +out +1.3 ms +0.50 +2 bad-sig +2.0 KiB +5 B +1 min$", ran.out, re.M
    )
    assert len(swarmd("peers --json").json["peers"]) == 2
    assert swarmd("peers -q").out == "12D3KooWabc\n" * 2


def test_what_was_dropped_is_said_with_its_reason(swarmd: Swarmd, canned: Canned) -> None:
    found = {
        "peers": [],
        "pool": {"connections": 1},
        "dropped": {"refused-banned": 3, "gossip-queue-full": 1},
    }
    canned({"peers": found})
    for words in ("peers", "peers list"):
        assert "made to wait: 1 gossip-queue-full, 3 refused-banned" in swarmd(words).out
        assert swarmd(f"{words} --json").json == found


def test_watching_peers_goes_on_until_it_is_stopped(
    swarmd: Swarmd, canned: Canned, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("swarmd.node.console.peers.time.sleep", pause)
    calls = canned({"peers": {"peers": [], "pool": {}, "dropped": {"refused-banned": 3}}})
    ran = swarmd("peers --watch --interval 0.5 --json")
    assert ran.code == 130 and ran.out.count('"refused-banned": 3') == 3
    assert [op for op, _ in calls] == ["peers"] * 3 and pauses == [0.5] * 3
    pauses.clear()
    assert swarmd("peers list --watch").out.count("0 peers, 0 of - connections") == 3


STANDING = {
    "peer_id": "12D3KooWabc", "score": 0.21, "trust": 0.25, "rtt_ms": 12.34, "delivery": 0.5, "state": "denied",
    "faults": {"bad-protobuf": 2}, "denials": 1, "denied_for_s": 3_700.0, "reason": "sends\x1b[31m rubbish",
}  # fmt: skip


def test_the_score_of_a_peer(swarmd: Swarmd, canned: Canned) -> None:
    calls = canned({"peers.score": {"standings": [STANDING]}})
    ran = swarmd("peers score 12D3KooWabc")
    assert ran.code == 0 and not hostile(ran.out) and calls == [("peers.score", {"peer": "12D3KooWabc"})]
    assert re.search(r"^denied +for another 1 h 1 min: sends\\x1b\[31m rubbish$", ran.out, re.M)
    assert re.search(r"^12D3KooWabc +denied +0.21 +0.25 +50 % +1 h 1 min ", swarmd("peers score").out, re.M)
    assert swarmd("peers score -q").out == "12D3KooWabc\n"
    assert swarmd("peers score --json").json == {"standings": [STANDING]}


def test_banning_and_the_lists(swarmd: Swarmd, canned: Canned) -> None:
    rows = [
        {"entry": "10.0.0.0/8", "verdict": "deny", "origin": "config"},
        {"entry": "12D3KooWabc", "verdict": "allow", "origin": "command"},
    ]
    calls = canned(
        {
            "peers.ban": {"peer_id": "12D3KooWabc", "for_s": 600.0},
            "peers.unban": {"peer_id": "12D3KooWabc", "forgiven": True},
            "peers.access": {"entry": "10.0.0.0/8", "entries": rows},
        }
    )
    assert swarmd("peers ban 12D3KooWabc --for 10m --reason rude").out == "12D3KooWabc is banned for 10 min\n"
    assert "may come back" in swarmd("peers unban 12D3KooWabc").out
    assert swarmd("peers deny 10.0.0.0/8").out == "10.0.0.0/8 is on the deny list\n"
    assert swarmd("peers deny --remove 10.0.0.0/8").out == "10.0.0.0/8 is on no list\n"
    assert calls == [
        ("peers.ban", {"peer": "12D3KooWabc", "for_s": 600.0, "reason": "rude"}),
        ("peers.unban", {"peer": "12D3KooWabc"}),
        ("peers.access", {"entry": "10.0.0.0/8", "verdict": "deny"}),
        ("peers.access", {"entry": "10.0.0.0/8", "verdict": "none"}),
    ]
    assert swarmd("peers deny").out == "10.0.0.0/8  (config)\n"
    assert swarmd("peers allow -q").out == "12D3KooWabc\n"
    assert swarmd("peers allow --json").json == {"entries": rows[1:]}
    ran = swarmd("peers ban 12D3KooWabc --for soon")
    assert ran.code == 2 and "90s, 10m, 24h or 7d" in ran.err


def test_no_peers_says_why_that_may_be(swarmd: Swarmd, canned: Canned) -> None:
    canned({"peers": {"peers": []}})
    assert "swarmd up --peer MULTIADDR" in swarmd("peers").out
    assert swarmd("peers -q").out == ""


def test_an_agent_goes_to_the_daemon_as_this_shell_means_it(
    swarmd: Swarmd, canned: Canned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "k")
    added = {
        "name": "wc",
        "capabilities": [{"name": "a", "price": "0.02"}],
        "argv": ["/usr/bin/python", "x.py"],
    }
    calls = canned({"agent.add": added})
    ran = swarmd(
        "agent add wc --capability a --capability b --price 0.02 --env API_KEY --env X=1=2 --timeout 3 "
        "--memory 64 --concurrency 4 --cwd sub --replace -- python x.py --home y"
    )
    assert ran.code == 0 and "agent wc offers a for 0.02 USDC: /usr/bin/python x.py" in ran.out
    ((op, args),) = calls
    assert op == "agent.add"
    assert args == {
        "agent": {
            "name": "wc",
            "kind": "command",
            "capabilities": [{"name": "a", "price": "0.02"}, {"name": "b", "price": "0.02"}],
            "argv": ["python", "x.py", "--home", "y"],
            "env": {"API_KEY": "k", "X": "1=2"},
            "cwd": os.path.join(os.getcwd(), "sub"),
            "timeout_s": 3.0,
            "memory_mb": 64,
            "concurrency": 4,
        },
        "base": os.getcwd(),
        "path": os.environ["PATH"],
        "replace": True,
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("agent add wc --capability a --price 1", "needs the command"),
        ("agent add wc --price 1 -- x", "--capability"),
        (
            "agent add wc --capability a --capability b --capability c --price 1 --price 2 -- x",
            "3 capabilities and 2",
        ),
        ("agent add wc --capability a --price free -- x", "not an amount"),
        ("agent add wc --capability a --price 1 --env NOT_SET_ANYWHERE -- x", "not set in this shell"),
    ],
)
def test_an_agent_that_cannot_be_is_refused_before_the_daemon_is_asked(
    swarmd: Swarmd, home: Path, words: str, message: str
) -> None:
    ran = swarmd(words)
    assert ran.code == 2 and message in ran.err


# Pieces -----------------------------------------------------------------------------------------------------


def test_cleaning() -> None:
    assert clean("plain – ünïcode 🎉") == "plain – ünïcode 🎉"
    assert clean(EVIL) == "\\x1b]0;owned\\x07\\x1b[2Jpay \\u202eme\\nnow [red]"
    assert clean("\x9b31m\u2028\ud800") == "\\x9b31m\\u2028\\ud800"
    assert clean(7) == "7"


def test_short_dids() -> None:
    assert short_did(DID) == "z6Mkha…a2doK"
    assert short_did("") == "" and short_did("bob") == "bob" and short_did("\x1b") == "\\x1b"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (7_320, "2 h 2 min"), (200_000, "2 d 7 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1_023, "1023 B"), (1_024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 41, "6144.0 GiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text
