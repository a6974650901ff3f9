"""The codes of findings: documented, unique, and what each answer of a daemon leads to."""

import re
from pathlib import Path
from typing import Any

import pytest
from swarmd.node.health import live, offline
from swarmd.node.health.findings import CODES, Finding, good, of_checks

NOW_NS = 1_700_000_000_000_000_000
ME = "did:key:zMe"
STATUS: dict[str, Any] = {
    "did": ME,
    "uptime_s": 7,
    "roster": 4,
    "trouble": "",
    "restored": None,
    "journal": {"inputs": 3},
    "parked": 0,
    "ingress": {"dropped": 0},
    "chain": {"kind": "embedded", "chain_id": 1337, "state": "ready", "head": 4, "pending": 0, "trouble": "", "error": ""},
    "pool": {"mine": "none"},
    "arbiter": None,
    "bridge": None,
}  # fmt: skip
AGENT = {"name": "wc", "enabled": True, "available": True, "done": 1, "failed": {}}
NEED = {"need": "need-a", "owner": ME, "state": "OPEN", "waiting_for": "", "created_ns": NOW_NS}
AGED = {"created_ns": NOW_NS - int(live.STUCK_S * 2e9)}


def found(**changed: Any) -> dict[str, Finding]:
    status = {**STATUS, **changed.pop("status", {})}
    asked = {
        "status": status,
        "doctor.net": {"checks": changed.pop("net", [])},
        "doctor.content": {"checks": changed.pop("content", [])},
        "agent.list": changed.pop("agents", []),
        "need.list": {"needs": changed.pop("needs", [])},
    }
    assert not changed
    return {each.code: each for each in live.examine(asked, NOW_NS)}


def test_the_documented_codes_are_those_there_are(repo: Path) -> None:
    page = (repo / "docs" / "doctor.md").read_text("utf-8")
    rows = re.findall(r'^\| <a id="([a-z0-9-]+)"></a>`([a-z0-9-]+)` \| (.+?) \| (.+?) \|$', page, re.M)
    assert all(anchor == code and fix for anchor, code, _, fix in rows)
    assert {code: meaning for _, code, meaning, _ in rows} == CODES


def test_each_offline_code_is_known_and_checked_once() -> None:
    codes = [code for code, _ in offline.CHECKS]
    assert len(set(codes)) == len(codes) and set(codes) <= set(CODES)
    with pytest.raises(ValueError):
        Finding("made-up", "ok", "")


def test_a_daemon_that_is_well() -> None:
    seen = found(agents=[AGENT], needs=[NEED, {**NEED, **AGED}])
    assert good(seen.values()) and {each.status for each in seen.values()} == {"ok"}


def chain(trouble: str, **more: Any) -> dict[str, Any]:
    error = f"{trouble}: the reason" if trouble else ""
    return {"status": {"chain": {**STATUS["chain"], "trouble": trouble, "error": error, **more}}}


CASES = [
    ({"status": {"trouble": "disk-full"}}, "trouble", "bad"),
    ({"status": {"restored": {"heard": 1, "needed": 3}}}, "restored", "warning"),
    ({"status": {"parked": live.MANY_PARKED + 1}}, "sync-lag", "warning"),
    ({"status": {"ingress": {"dropped": 5}}}, "frames-dropped", "warning"),
    ({"status": {"pool": {"mine": "jailed"}}}, "verifier", "bad"),
    ({"status": {"arbiter": {"state": "unreachable", "pending": 2, "error": "x"}}}, "arbiter", "bad"),
    ({"status": {"bridge": {"connected": False, "url": "h:1"}}}, "bridge", "warning"),
    (chain("out-of-gas"), "gas", "bad"),
    (chain("fee-above-cap"), "gas", "bad"),
    (chain("behind"), "chain-head", "bad"),
    (chain("rpc-down"), "chain", "bad"),
    (chain("stuck"), "outbox", "bad"),
    (chain("something-new"), "chain", "bad"),
    (chain("", pending=live.MANY_PENDING + 1), "outbox", "warning"),
    ({"agents": [{**AGENT, "available": False}]}, "agents", "warning"),
    ({"agents": [{**AGENT, "failed": {"timeout": live.FAILING_RUNS}}]}, "agents", "warning"),
    ({"needs": [{**NEED, **AGED, "waiting_for": "offers"}]}, "stuck-needs", "warning"),
    ({"needs": [{**NEED, "created_ns": NOW_NS - int(live.SLOW_S * 2e9)}]}, "stuck-needs", "warning"),
    ({"net": [{"name": "peers", "ok": False, "message": "m", "fix": "f"}]}, "peers", "bad"),
    (
        {"net": [{"name": "bootstrap /dnsaddr/x", "ok": False, "message": "m", "fix": "f"}]},
        "bootstrap",
        "bad",
    ),
    ({"content": [{"name": "kubo's disk", "ok": False, "message": "m", "fix": "f"}]}, "kubo", "bad"),
]


@pytest.mark.parametrize(("changed", "code", "status"), CASES)
def test_what_is_wrong_is_named_with_a_fix(changed: dict[str, Any], code: str, status: str) -> None:
    seen = found(**{name: value for name, value in changed.items()})
    assert seen[code].status == status and seen[code].fix
    assert [each.code for each in seen.values() if each.status in ("bad", "warning")] == [code]
    assert good(seen.values()) is (status != "bad")
    assert seen[code].document()["docs"] == f"docs/doctor.md#{code}"


def test_what_is_not_ours_or_over_is_not_stuck() -> None:
    old = {**NEED, **AGED, "waiting_for": "offers"}
    seen = found(needs=[{**old, "owner": "did:key:zOther"}, {**old, "state": "REFUNDED"}])
    assert seen["stuck-needs"].status == "ok"
    assert "and 2 more" in found(needs=[old] * 5)["stuck-needs"].message


def test_a_mesh_of_one_may_be_alone() -> None:
    net = [
        {"name": name, "ok": False, "message": "m", "fix": "f"} for name in ("listening", "peers", "clock")
    ]
    seen = found(status={"roster": 1}, net=net)
    assert [seen[code].status for code in ("listening", "peers", "clock")] == ["warning", "warning", "bad"]


def test_every_check_of_the_network_and_the_content_has_a_code() -> None:
    """Of the names that the two examinations use; a new one without a code is a KeyError in `swarmd doctor`."""
    names = set()
    root = Path(live.__file__).parents[1]
    for path in ("doctor.py", "content/host.py", "console/doctor.py"):
        text = (root / path).read_text("utf-8")
        names |= set(re.findall(r'\badd\(\s*f?"([^"{]+)', text)) | set(
            re.findall(r'\(\s*"(kubo[^"]*)",', text)
        )
    assert {"listening", "peers", "bootstrap ", "backend", "kubo", "listen"} <= names
    for name in names - {
        "chain",
        "chain ",
    }:  # of `swarmd doctor chain`; `swarmd doctor` has that from the chain's own troubles
        table = live._CONTENT if name.split()[0] in live._CONTENT else live._NET
        assert of_checks([{"name": name.strip() + " x", "ok": None, "message": "", "fix": ""}], table)
