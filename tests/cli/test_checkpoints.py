"""`swarmd checkpoint` as an operator uses it, against a real daemon."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Swarmd = Callable[..., Any]


def test_an_epoch_is_ended_exported_and_verified(swarmd: Swarmd, own_live: Path, tmp_path: Path) -> None:
    before = swarmd("--json checkpoint list").json["epoch"]
    ended = swarmd("--json checkpoint advance")
    assert (ended.code, ended.json) == (0, {"epoch": before + 1})
    listed = swarmd("--json checkpoint list").json
    assert listed["checkpoints"][0]["epoch"] == before + 1
    assert listed["tiers"]["keep_epochs"] == 10
    text = swarmd("checkpoint list")
    assert str(listed["checkpoints"][0]["state"]) in text.out and "in the journal" in text.out
    shown = swarmd("--json checkpoint show").json
    assert (shown["epoch"], shown["state"]) == (before + 1, listed["checkpoints"][0]["state"])
    assert "signed by" in swarmd("checkpoint show").out
    file = tmp_path / "c.ckpt"
    assert swarmd("-q checkpoint export", str(file)).out.strip() == str(file)
    again = swarmd("--json checkpoint export", str(file))
    assert (again.code, again.json["error"]["code"]) == (4, "file-exists")
    verified = swarmd("--json checkpoint verify", str(file)).json
    assert (verified["valid"], verified["state"]) == (True, shown["state"])
    assert "every certificate" in swarmd("checkpoint verify", str(file)).out
    damaged = tmp_path / "d.ckpt"
    damaged.write_bytes(file.read_bytes()[:-1])
    refused = swarmd("--json checkpoint verify", str(damaged))
    assert (refused.code, refused.json["valid"]) == (1, False)
    assert swarmd("--json checkpoint verify", str(tmp_path / "none")).json["error"]["code"] == "cannot-read"
    assert swarmd("--json checkpoint show 999").json["error"]["code"] == "no-checkpoint"
    assert swarmd("--json checkpoint retrieve need-nosuch").json["error"]["code"] == "unknown-need"
