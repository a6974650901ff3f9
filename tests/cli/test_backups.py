"""`swarmd backup` as an operator uses it, on a daemon that runs."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Swarmd = Callable[..., Any]
VARIABLE = "SWARMD_BACKUP_PASSPHRASE"


def test_from_a_running_node_to_another_home(
    swarmd: Swarmd, live: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, secret, new = tmp_path / "b", tmp_path / "secret", tmp_path / "new"
    ran = swarmd("--json backup create", str(file))
    assert (ran.code, ran.json["error"]["code"]) == (4, "no-passphrase")
    assert VARIABLE in ran.json["error"]["fix"]
    secret.write_text("short\n")
    ran = swarmd("--json backup create", str(file), "--passphrase-file", str(secret))
    assert (ran.code, ran.json["error"]["code"]) == (4, "weak-passphrase")
    secret.write_text("six random words, say\nno more is read\n")
    for _ in range(600):
        if swarmd("--json status").json["chain"]["state"] == "ready":
            break
        time.sleep(0.1)
    ran = swarmd("--json backup create", str(file), "--passphrase-file", str(secret))
    assert ran.code == 0, ran.out
    made = ran.json
    assert {"node.key", "journal.db", "chain/chain.sqlite"} <= made["files"].keys()
    assert made["did"] == swarmd("--json status").json["did"]

    monkeypatch.setenv(VARIABLE, "six random words, say")
    assert swarmd("--json backup verify", str(file)).json["state_digest"] == made["state_digest"]
    assert swarmd("-q backup verify", str(file)).out.strip() == made["state_digest"]
    assert "is whole" in swarmd("backup verify", str(file)).out
    ran = swarmd("--json backup restore", str(file))
    assert (ran.code, ran.json["error"]["code"]) == (2, "usage")
    ran = swarmd("backup restore", str(file), "--home", str(new))
    assert ran.code == 0 and "never run two nodes" in ran.out
    assert swarmd("-q replay", str(new)).out.strip() == made["mesh_digest"]
    ran = swarmd("--json backup restore", str(file), "--home", str(new))
    assert (ran.code, ran.json["error"]["code"]) == (4, "home-exists")
    ran = swarmd("--json backup create", str(file))
    assert (ran.code, ran.json["error"]["code"]) == (4, "backup-exists")
    monkeypatch.setenv(VARIABLE, "other words")
    ran = swarmd("--json backup verify", str(file))
    assert (ran.code, ran.json["error"]["code"]) == (4, "wrong-passphrase")
    assert sorted(os.listdir(tmp_path)) == ["b", "new", "secret"]
    # The variable is no setting: what reads the configuration does not take offence.
    assert swarmd("config show").code == 0


def test_a_restored_node_is_told_to_speak(swarmd: Swarmd, canned: Callable[..., Any]) -> None:
    calls = canned({"backup.speak": {"heard": 1, "needed": 2, "backup_ns": 3, "restored_ns": 4}})
    assert "1 of 2 verifiers" in swarmd("backup speak --yes").out
    assert swarmd("--json backup speak --yes").json["needed"] == 2
    assert [op for op, _ in calls] == ["backup.speak"] * 2


def test_a_lost_journal(swarmd: Swarmd, home: Path) -> None:
    """As an operator meets it: what the daemon says, what doctor says, and the way out."""
    assert swarmd("init").code == 0
    (home / "spoken").touch()
    ran = swarmd("up --no-api --listen /ip4/127.0.0.1/tcp/0")
    assert ran.code == 4 and "is of a node that has spoken" in ran.err and "swarmd backup recover" in ran.err
    found = {each["code"]: each for each in swarmd("--json doctor").json["findings"]}
    assert found["journal"]["status"] == "bad" and "swarmd backup recover" in found["journal"]["fix"]
    assert swarmd("backup recover").code == 2  # asks, and nobody is there to answer
    ran = swarmd("backup recover --yes")
    assert ran.code == 0 and "it is gone" in ran.out and "listens to the mesh" in ran.out
    ran = swarmd("--json backup recover --yes")
    assert (ran.code, ran.json["error"]["code"]) == (4, "journal-whole")
    (home / "journal.db").unlink()
    document = swarmd("--json backup recover --yes").json
    assert document["damage"] == "it is gone" and document["aside"] is None
