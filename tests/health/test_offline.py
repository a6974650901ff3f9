"""Each check of a home, on homes that have that fault."""

import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from swarmd.node.health import offline
from swarmd.node.health.findings import Finding
from swarmd.node.health.offline import CHECKS, Ground, examine, ntp_synchronised
from swarmd.node.setup import init_home


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("whole") / "home"
    init_home(home)
    return home


@pytest.fixture
def home(whole: Path, tmp_path: Path) -> Path:
    """A home of this test's own."""
    made = tmp_path / "home"
    init_home(made)
    (made / "swarmd.toml").write_text('listen = ["/ip4/127.0.0.1/tcp/0"]\n')
    return made


def finding(code: str, home: Path, env: dict[str, str] | None = None, pid: int | None = None) -> Finding:
    check = dict(CHECKS)[code]
    return offline._checked(code, check, Ground(home, env or {}, pid))


def test_a_home_that_is_well(home: Path) -> None:
    seen = examine(Ground(home, {}, None))
    assert not [each for each in seen if each.status == "bad"], seen
    assert [each.code for each in seen] == [code for code, _ in CHECKS]


def test_a_home_that_is_none(tmp_path: Path) -> None:
    seen = {each.code: each for each in examine(Ground(tmp_path / "no", {}, None))}
    assert seen["key"].status == seen["genesis"].status == seen["permissions"].status == "bad"
    assert all(each.fix for each in seen.values() if each.status == "bad")


def test_others_can_read_it(home: Path) -> None:
    (home / "agents.json").write_text('{"format": 1, "agents": []}')
    (home / "agents.json").chmod(0o644)
    seen = finding("permissions", home)
    assert seen.status == "warning" and "agents.json" in seen.message and "chmod" in seen.fix
    (home / "agents.json").chmod(0o600)
    assert finding("permissions", home).status == "ok"
    home.chmod(0o755)
    assert finding("permissions", home).status == "warning"


def test_somebody_elses(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    seen = finding("permissions", home)
    assert seen.status == "bad" and "12345" in seen.message


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_that_is_taken(home: Path, taken: int) -> None:
    env = {"SWARMD_LISTEN": f"/ip4/127.0.0.1/tcp/{taken}"}
    seen = finding("ports", home, env)
    assert seen.status == "bad" and str(taken) in seen.message and "another port" in seen.fix
    assert finding("ports", home, env, pid=4).status == "ok"  # it is the daemon that has it


def test_a_journal_of_a_newer_swarmd_and_one_that_is_none(home: Path) -> None:
    assert finding("journal", home).status == "ok"
    path = home / "journal.db"
    db = sqlite3.connect(path)
    db.execute("create table meta (key text primary key, value blob)")
    db.execute("insert into meta values ('schema_version', 99)")
    db.commit()
    db.close()
    seen = finding("journal", home)
    assert seen.status == "bad" and "schema 99" in seen.message and "newer" in seen.fix
    path.write_bytes(b"no database, and long enough to be taken for one" * 100)
    seen = finding("journal", home)
    assert seen.status == "bad" and "docs/backup.md" in seen.fix
    assert path.read_bytes().startswith(b"no database")


def test_a_disk_that_is_full(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full is a real device that takes nothing; a small tmpfs would need root."""
    assert finding("disk", home).status in ("ok", "warning")
    assert not list(home.glob(".swarmd-probe*"))
    usage = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr(offline.shutil, "disk_usage", lambda _: usage)
    seen = finding("disk", home)
    assert seen.status == "bad" and "1 MiB free" in seen.message
    monkeypatch.setattr(usage, "free", 1 << 29)
    assert finding("disk", home).status == "warning"


def test_a_disk_that_takes_no_writes(home: Path) -> None:
    if os.geteuid() == 0:
        # Root may write anywhere; a name that is too long for any disk stands for one that takes none.
        seen = offline._checked("disk", dict(CHECKS)["disk"], Ground(home / ("x" * 300), {}, None))
        assert seen.status == "bad"
        return
    home.chmod(0o500)
    assert finding("disk", home).status == "bad"
    home.chmod(0o700)


def test_a_clock_that_went_back(home: Path) -> None:
    ahead_s = time.time() + 86_400
    os.utime(home / "genesis.json", (ahead_s, ahead_s))
    seen = finding("clock", home)
    assert seen.status == "bad" and "genesis.json" in seen.message and "NTP" in seen.fix


def test_the_clock_is_asked_of_the_kernel(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ntp_synchronised() in (True, False, None)
    for said, status in ((True, "ok"), (False, "warning"), (None, "unknown")):
        monkeypatch.setattr(offline, "ntp_synchronised", lambda said=said: said)
        assert finding("clock", home).status == status


def test_a_chain_that_cannot_be_meant(home: Path) -> None:
    env = {"SWARMD_CHAIN_KIND": "rpc"}
    assert finding("chain-settings", home, env).status == "bad"
    env["SWARMD_CHAIN_RPC"] = "http://127.0.0.1:1"
    assert finding("chain-settings", home, env).status == "ok"
    (home / "chain").mkdir(exist_ok=True)
    (home / "chain" / "keystore.json").write_text("{}")
    seen = finding("chain-settings", home, env)
    assert seen.status == "warning" and "SWARMD_KEYSTORE_PASSPHRASE" in seen.fix
    env["SWARMD_CHAIN_CONTRACTS"] = "Settlement=here"
    assert finding("chain-settings", home, env).status == "bad"


def test_agents_that_are_gone_or_not_understood(home: Path) -> None:
    path = home / "agents.json"
    path.write_text("{")
    path.chmod(0o600)
    assert finding("agents-file", home).status == "bad"
    agent = {
        "name": "wc",
        "kind": "command",
        "capabilities": [{"name": "a", "price": "1"}],
        "argv": ["/no/program"],
    }
    path.write_text(json.dumps({"format": 1, "agents": [agent]}))
    seen = finding("agents-file", home)
    assert seen.status == "warning" and "wc" in seen.message and "--replace" in seen.fix


def test_too_few_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline.resource, "getrlimit", lambda _: (256, 4_096))
    seen = finding("files-limit", home)
    assert seen.status == "warning" and "ulimit -n" in seen.fix


def test_settings_that_are_not_understood_are_one_finding_each(home: Path) -> None:
    (home / "swarmd.toml").write_text("lisen = []\n")
    seen = {each.code: each for each in examine(Ground(home, {}, None))}
    assert seen["settings"].status == "bad" and "did you mean listen?" in seen["settings"].fix
    assert seen["key"].status == seen["genesis"].status == "ok"
