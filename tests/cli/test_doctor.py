"""`swarmd doctor` and `bugreport` against real homes and a real daemon."""

import json
import os
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from swarmd.node.health.findings import CODES
from swarmd.node.health.offline import CHECKS
from swarmd.protocol.faults import LocalFault

Swarmd = Callable[..., Any]
Canned = Callable[[dict[str, Any]], list[tuple[str, Any]]]
PEER = "12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5"


def test_without_a_daemon_the_home_is_looked_at(swarmd: Swarmd, home: Path) -> None:
    swarmd("init --listen /ip4/127.0.0.1/tcp/0")
    ran = swarmd("doctor --json")
    assert ran.code == 0 and (ran.json["ok"], ran.json["daemon"]) == (True, "down")
    assert [each["code"] for each in ran.json["findings"]] == [*(code for code, _ in CHECKS), "daemon"]
    assert ran.json["findings"][-1]["status"] == "unknown"
    (home / "node.key").chmod(0o604)
    ran = swarmd("doctor")
    assert ran.code == 1 and "BAD  key: others can read" in ran.out and "fix: chmod 600" in ran.out
    assert "see: docs/doctor.md#key" in ran.out
    # Only what is bad, for a cron job.
    assert len(swarmd("doctor -q").out.splitlines()) == sum(
        each["status"] == "bad" for each in swarmd("doctor --json").json["findings"]
    )


def test_with_a_daemon_all_of_it(swarmd: Swarmd, live: Path) -> None:
    ran = swarmd("doctor --json")
    assert ran.code == 0, [each for each in ran.json["findings"] if each["status"] == "bad"]
    assert ran.json["daemon"] == "up"
    codes = {each["code"] for each in ran.json["findings"]}
    assert codes <= set(CODES)
    assert {
        "daemon",
        "trouble",
        "sync-lag",
        "chain",
        "outbox",
        "peers",
        "reachability",
        "stuck-needs",
    } <= codes
    seen = {each["code"]: each for each in ran.json["findings"]}
    assert seen["peers"]["status"] == "warning" and "a mesh" not in seen["chain"]["message"]
    assert seen["agents"] == {**seen["agents"], "status": "ok", "message": "1 registered"}
    assert "nothing is wrong" in swarmd("doctor").out


def test_a_daemon_that_answers_with_a_fault(swarmd: Swarmd, canned: Canned, home: Path) -> None:
    canned({"status": LocalFault("busy", "it is busy", fix="wait")})
    ran = swarmd("doctor --json")
    assert ran.code == 1
    last = ran.json["findings"][-1]
    assert (last["code"], last["status"], last["message"], last["fix"]) == (
        "daemon",
        "bad",
        "it is busy",
        "wait",
    )


# bugreport --------------------------------------------------------------------------------------------------


def content_of(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        files = {}
        for entry in archive:
            file = archive.extractfile(entry)
            assert file is not None and entry.name.startswith("swarmd-bugreport/")
            files[entry.name.removeprefix("swarmd-bugreport/")] = file.read().decode()
        return files


def test_a_report_holds_what_helps_and_no_secret(
    swarmd: Swarmd, own_live: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plants = {
        "title": "planted-title-k2",
        "text": "planted text of a need",
        "passphrase": "planted-passphrase-q8",
        "variable": "planted-variable-w3",
        "log": "planted-log-token-e5",
        "password": "planted-password-r1",
        "peer": PEER,
        "ip": "203.0.113.77",
        "name": "node.planted.example",
        "key": (own_live / "node.key").read_text().strip(),
        "did": swarmd("status -q").out.strip().removeprefix("did:key:"),
    }
    monkeypatch.setenv("SWARMD_BACKUP_PASSPHRASE", plants["passphrase"])
    # The settings that are read here are those of the next start: the daemon runs with the ones before.
    (own_live / "swarmd.toml").write_text(
        f'peers = ["/ip4/{plants["ip"]}/tcp/4001/p2p/{PEER}"]\nbootstrap = ["/dnsaddr/{plants["name"]}"]\n'
        f'nats_url = "nats://me:{plants["password"]}@{plants["name"]}:4222"\nmax_connections = 77\n'
    )
    (own_live / "swarmd.log").write_text(
        f"first line\nauth_token={plants['log']} from /ip4/{plants['ip']}/tcp/1/p2p/{PEER}\n"
        f"seed {plants['key']} of did:key:{plants['did']}\n"
    )
    agents = json.loads((own_live / "agents.json").read_text())
    agents["agents"][0]["env"] = {"API": plants["variable"]}
    (own_live / "agents.json").write_text(json.dumps(agents))
    posted = swarmd(
        "need post text.wordcount --budget 1 --wait -q",
        "--title",
        plants["title"],
        "--text",
        f"text={plants['text']}",
    )
    assert posted.code == 0, posted.err
    path = tmp_path / "report.tar.gz"
    ran = swarmd("bugreport --json", str(path))
    assert ran.code == 0 and path.stat().st_mode & 0o777 == 0o600
    files = content_of(path)
    assert sorted(files) == ran.json["holds"]
    whole = "\n".join(files.values())
    assert [name for name, secret in plants.items() if secret in whole] == []
    assert str(own_live) not in whole
    # As a word: a short name is in a random id by chance.
    assert re.search(rf"(?<![A-Za-z0-9]){re.escape(os.uname().nodename)}(?![A-Za-z0-9])", whole) is None
    # And what helps is there.
    assert json.loads(files["config.json"])["max_connections"] == {"origin": "file", "value": 77}
    assert json.loads(files["config.json"])["nats_url"]["value"].startswith("<set")
    assert "first line" in files["log.txt"] and "<peer-" in files["log.txt"] and "<known-" in files["log.txt"]
    assert json.loads(files["status.json"])["needs"] == {"FINALIZED": 1}
    row = json.loads(files["need.list.json"])["needs"][0]
    assert (row["state"], row["title"]) == ("FINALIZED", "<title>")
    assert {each["code"] for each in json.loads(files["doctor.json"])["findings"]} >= {"chain", "peers"}
    assert json.loads(files["manifest.json"])["replaced"]["peer"] >= 1
    assert json.loads(files["host.json"])["libraries"]["trio"]
    # Never over a file that is there.
    ran = swarmd("bugreport", str(path))
    assert ran.code == 4 and "there already" in ran.err and content_of(path) == files


def test_a_report_of_a_home_that_does_not_work(swarmd: Swarmd, home: Path, tmp_path: Path) -> None:
    """That is when one is wanted."""
    home.mkdir()
    (home / "swarmd.toml").write_text("lisen = [")
    path = tmp_path / "report.tar.gz"
    assert swarmd("bugreport -q", str(path)).out == f"{path}\n"
    files = content_of(path)
    assert json.loads(files["config.json"])["error"]["code"] == "bad-config"
    assert json.loads(files["status.json"])["error"]["code"] == "daemon-not-running"
    assert json.loads(files["doctor.json"])["ok"] is False
    assert files["log.txt"].startswith("no log")
    ran = swarmd("bugreport", str(tmp_path / "no" / "folder.tar.gz"))
    assert ran.code == 4 and "fix:" in ran.err
