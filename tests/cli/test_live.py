"""The commands against a real daemon: a need from the shell to its anchor, and what the daemon refuses."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Swarmd = Callable[..., Any]
POST = "need post text.wordcount --budget 1 --wait"


@pytest.fixture
def done(swarmd: Swarmd, live: Path) -> dict[str, Any]:
    """A finished need."""
    ran = swarmd(POST + " --json", "--text", "text=the cat the hat")
    assert ran.code == 0, ran.out + ran.err
    detail: dict[str, Any] = ran.json
    return detail


def test_a_need_is_done_and_paid(done: dict[str, Any]) -> None:
    assert done["state"] == "FINALIZED" and done["paid"] == "0.02"
    assert done["values"] == {"task": {"words": 4, "top": {"cat": 1, "hat": 1, "the": 2}}}
    assert done["escrow"]["returned"] == "0.98"


def test_quiet_waiting_prints_just_the_result(swarmd: Swarmd, live: Path, tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("to be or not to be")
    ran = swarmd(POST + " -q", "--text", f"text=@{book}")
    assert ran.code == 0 and json.loads(ran.out)["words"] == 6


def test_why_verifies_each_step_and_comes_to_the_anchor(swarmd: Swarmd, done: dict[str, Any]) -> None:
    found = swarmd("why --json", done["need"]).json
    for _ in range(100):
        if found["anchor"]:
            break
        time.sleep(0.1)
        found = swarmd("why --json", done["need"]).json
    kinds = [step["kind"] for step in found["steps"]]
    assert kinds[:8] == ["NEED", "PROPOSE", "ATTEST_PLAN", "DECIDE", "CLAIM", "COMMIT", "ATTEST", "FINALIZE"]
    assert all(step["verified"] and step["gate"]["allow"] for step in found["steps"])
    assert re.fullmatch("0x[0-9a-f]{64}", found["anchor"]["tx_hash"])
    text = swarmd("why", done["need"]).out
    assert "✗ " not in text.split("\n", 4)[4] and found["anchor"]["tx_hash"] in text


def test_a_need_can_be_named_by_its_beginning(swarmd: Swarmd, done: dict[str, Any]) -> None:
    assert swarmd("need show --json", done["need"][:16]).json["need"] == done["need"]
    assert done["need"] in swarmd("need list --state finalized -q").out.split()
    ran = swarmd("need watch --json", done["need"])
    assert ran.code == 0 and ran.lines[-1]["result"]["state"] == "FINALIZED"


def test_a_plan_that_fails_gives_the_money_back(swarmd: Swarmd, live: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some text")
    plan = {
        "title": "broken",
        "budget": "0.5",
        "tasks": [
            {"id": "a", "capability": "text.wordcount", "input": {"text": {"file": "a.txt"}}},
            {
                "id": "b",
                "capability": "text.wordcount",
                "input": {"text": {"task": "a", "pointer": "/nowhere"}},
            },
        ],
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    ran = swarmd("need post --wait --json --graph", str(tmp_path / "plan.json"))
    assert ran.code == 1 and ran.json["state"] == "REFUNDED"
    assert {task["task"]: task["state"] for task in ran.json["tasks"]} == {"a": "FINALIZED", "b": "FAILED"}
    assert (ran.json["escrow"]["returned"], ran.json["paid"]) == ("0.48", "0.02")
    need = ran.json["need"]
    failed = swarmd("task list --state failed --json").json["tasks"]
    assert [(task["need"], task["task"], task["after"]) for task in failed] == [(need, "b", ["a"])]
    assert swarmd("task list -q --need", need).out.splitlines() == [f"{need} a", f"{need} b"]
    assert swarmd("task list --ready --json").json["tasks"] == []
    graph = swarmd("need graph --json", need).json["tasks"]
    assert [(task["task"], task["parents"], task["children"]) for task in graph] == [
        ("a", [], ["b"]),
        ("b", ["a"], []),
    ]
    assert swarmd("need graph --json --task b", need).json["ancestors"] == ["a"]
    for words, code in (
        ("need graph --task c " + need, "unknown-task"),
        ("task list --state odd", "bad-args"),
    ):
        refused = swarmd(words, "--json")
        assert (refused.code, refused.json["error"]["code"]) == (4, code)


def test_what_is_paid_at_once_cannot_be_challenged(swarmd: Swarmd, done: dict[str, Any]) -> None:
    """A mesh has no challenge window unless it was founded with one."""
    ran = swarmd("challenge --json --reason wrong", done["need"])
    assert (ran.code, ran.json["error"]["code"]) == (4, "no-challenge")
    assert "paid at once" in ran.json["error"]["message"]
    assert swarmd("challenge --json --reason wrong --evidence nothing", done["need"]).code == 4
    assert swarmd("challenge", done["need"]).code == 2, "a reason is needed"


def test_what_the_daemon_refuses(swarmd: Swarmd, live: Path) -> None:
    for words in ("need post x --budget 100000", "need show nothing", "agent rm nobody", "why need-zzzz"):
        ran = swarmd(words)
        assert ran.code == 4 and ran.out == "" and "fix:" in ran.err, words


def test_status_and_balance(swarmd: Swarmd, done: dict[str, Any]) -> None:
    status = swarmd("status --json").json
    assert status["did"] == done["owner"] and status["peers"] == 0 and status["needs"]["FINALIZED"] >= 1
    assert re.search(rf"^did +{status['did']}$", swarmd("status").out, re.M)
    balance = swarmd("balance --json").json
    assert balance["did"] == status["did"] and balance["available"] == status["balance"]
    assert swarmd("balance -q").out == f"{balance['available']}\n"
    listed = swarmd("peers --json").json
    assert listed["peers"] == [] and listed["pool"]["max_connections"] == 100


def test_agents_come_and_go(swarmd: Swarmd, live: Path) -> None:
    assert swarmd("agent add echo --capability t.echo --price 0.1 --memory 64 -- cat").code == 0
    taken = swarmd("agent add echo --capability t.echo --price 0.1 -- cat --json")
    assert taken.code == 4 and "there is an agent 'echo'" in taken.err
    agents = {agent["name"]: agent for agent in swarmd("agent list --json").json["agents"]}
    assert set(agents) == {"wc", "echo"} and agents["echo"]["memory_mb"] == 64
    assert swarmd("agent off echo").out == "echo is off\n"
    assert re.search(r"^echo +command +t.echo 0.1 +off +0/2 ", swarmd("agent list").out, re.M)
    assert swarmd("agent on echo --json").json["enabled"] is True
    assert swarmd("agent stderr wc").code == 0
    assert swarmd("agent rm echo").code == 0
    assert swarmd("agent list -q").out == "wc\n"


def test_a_second_daemon_at_the_same_home_is_refused(swarmd_process: Swarmd, live: Path) -> None:
    ran = swarmd_process("up --listen /ip4/127.0.0.1/tcp/0 --json")
    assert ran.code == 4 and ran.json["error"]["code"] == "already-running"


@pytest.mark.property_id("P2")
def test_a_replay_of_the_journal_gives_the_nodes_own_state(
    swarmd: Swarmd, done: dict[str, Any], tmp_path: Path
) -> None:
    """P2: the same inputs, in this process, give the state digest that the daemon has."""
    for _ in range(50):
        before = swarmd("status --json").json
        ran = swarmd("replay --json")
        if swarmd("status --json").json["state_digest"] == before["state_digest"]:
            break
        time.sleep(0.1)
    assert ran.code == 0 and ran.json["state_digest"] == before["state_digest"]
    assert done["need"] in ran.json["finalized"]
    ran = swarmd("replay --reorder 7 --skew-s 5 --json")
    assert ran.code == 0 and ran.json["same"] is True
    bundle = str(tmp_path / "case.tar.zst")
    assert swarmd("incident capture", bundle).code == 0
    ran = swarmd("replay", bundle)
    assert ran.code == 0 and re.search(r"^verdict +the same$", ran.out, re.M)
    assert swarmd("incident capture", bundle).code == 4
    assert swarmd("replay --skew-s 5").code == 2


def test_consensus_says_who_decided_and_proves_it(
    swarmd: Swarmd, done: dict[str, Any], live: Path, tmp_path: Path
) -> None:
    need, me = done["need"], done["owner"]
    told = swarmd("consensus explain --json", need).json
    assert told["why"] == "1 member voted for it in round 0; no other plan has a certificate"
    assert [row["did"] for row in told["committee"]] == [me] and told["decisions"][0]["wins"]
    text = swarmd("consensus explain", need).out
    assert "1 of 1 decide" in text and "holds" in text
    status = swarmd("consensus status --json").json
    assert (status["quorum_mode"], status["arbiter"]["kind"], status["roster"]) == (
        "majority",
        "committee",
        1,
    )
    assert "1 of 10 verifiers, 9 more are missing" in swarmd("consensus status").out
    assert swarmd("consensus roster -q").out == f"{me}\n"
    assert swarmd("consensus epoch -q").out == "0\n"
    assert swarmd("consensus evidence").out.startswith("nobody contradicted itself")

    decided, paid = tmp_path / "decided.json", tmp_path / "paid.json"
    assert swarmd(f"consensus export {need} --out {decided}").code == 0
    assert swarmd(f"consensus export {need} --result --out {paid}").code == 0
    mesh = swarmd("status --json").json["mesh"]["id"]
    assert swarmd(f"consensus export {need}").json == json.loads(decided.read_text())
    genesis = live / "genesis.json"
    for trust in ("", f" --mesh {mesh}", f" --genesis {genesis}"):
        ran = swarmd(f"consensus verify {decided} --json{trust}")
        assert (ran.code, ran.json["verified"], ran.json["need"]) == (0, True, need), ran.out
        assert ran.json["voters"] == ran.json["committee"] == [me]
    shown = swarmd(f"consensus verify {paid} --json").json
    assert (shown["what"], shown["worker"], shown["price"]) == ("result", me, 20_000)
    assert swarmd(f"consensus verify {paid}").out.startswith("verified")

    document = json.loads(decided.read_text())
    broken = tmp_path / "broken.json"
    later = {"members": [me], "weights": {}, "bootstrap": True, "beacon": ""}
    for change, code in (
        ({"proofs": document["proofs"][:-1]}, "missing-statement"),
        ({"proofs": document["proofs"] + document["proofs"][:1]}, "repeated-statement"),
        ({"proofs": ["!"]}, "bad-certificate"),
        ({"proofs": ["/w=="]}, "bad-cbor"),
        ({"what": "decree"}, "bad-certificate"),
        ({"mesh": "bafy"}, "other-mesh"),
        ({"draws": [0, 1]}, "unknown-roster"),
        ({"draws": [0, 1], "rosters": {"1": later}}, "unproven-roster"),
        ({"rosters": {"x": later}}, "bad-certificate"),
        ({"rosters": {"1": {}}}, "bad-certificate"),
        ({"format": "other"}, "bad-certificate"),
    ):
        broken.write_text(json.dumps({**document, **change}))
        ran = swarmd(f"consensus verify {broken} --json")
        assert (ran.code, ran.json["verified"], ran.json["code"]) == (1, False, code), (change, ran.out)
    assert "NOT VERIFIED: bad-certificate" in swarmd(f"consensus verify {broken}").out
    for text in ("[]", "7", '{"format": "swarmd-certificate/1"}'):
        broken.write_text(text)
        assert swarmd(f"consensus verify {broken}").code == 1
    for words, code in (
        (f"verify {tmp_path}/none.json", "bad-file"),
        (f"verify {decided} --mesh bafyother", None),
        (f"verify {decided} --genesis {tmp_path}/none.json", "no-home"),
        (f"export {need} --task none", "no-result"),
        (f"export {need} --against {me}", "no-contradiction"),
        ("export", "usage"),
        (f"export --against {me} --task t", "usage"),
        (f"export --against {me}", "no-contradiction"),
        (f"export {need} --out {tmp_path}/no/folder.json", "bad-file"),
        ("explain need-zzzz", "unknown-need"),
    ):
        ran = swarmd("consensus --json", *words.split())
        assert ran.code in (1, 2, 4) and (code is None or ran.json["error"]["code"] == code), (words, ran.out)
    broken.write_text("{not json")
    assert swarmd(f"consensus verify {broken} --json").json["error"]["code"] == "bad-file"


def test_a_certificate_is_of_no_use_without_a_mesh_to_trust(
    swarmd: Swarmd, done: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided = tmp_path / "decided.json"
    swarmd(f"consensus export {done['need']} --out {decided}")
    monkeypatch.setenv("SWARMD_HOME", str(tmp_path / "elsewhere"))
    ran = swarmd(f"consensus verify {decided} --json")
    assert (ran.code, ran.json["error"]["code"]) == (4, "no-mesh")
    assert swarmd(f"--home {tmp_path}/new init").code == 0
    ran = swarmd(f"--home {tmp_path}/new consensus verify {decided} --json")
    assert (ran.code, ran.json["code"]) == (1, "other-mesh")
