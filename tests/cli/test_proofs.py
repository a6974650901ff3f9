"""`swarmd proof` and `swarmd doctor content`, on a real daemon and without one."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Swarmd = Callable[..., Any]


@pytest.fixture
def done(swarmd: Swarmd, live: Path) -> dict[str, Any]:
    """A finished need, whose thread is at rest: its anchor, which is part of it, is noted."""
    ran = swarmd("need post text.wordcount --budget 1 --wait --json", "--text", "text=the cat the hat")
    assert ran.code == 0, ran.out + ran.err
    detail: dict[str, Any] = ran.json
    ends_s = time.monotonic() + 60
    while not detail["anchor_note"]:
        assert time.monotonic() < ends_s, "it is not anchored"
        time.sleep(0.05)
        detail = swarmd("need show --json", detail["need"]).json
    return detail


def test_a_step_is_proven_to_anybody(
    swarmd: Swarmd, done: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "paid.car"
    root = swarmd("proof root --json", done["need"]).json
    made = swarmd("proof make --json", done["need"], "finalize", "--out", str(file)).json
    assert made["root"] == root["root"] == swarmd("proof root -q", done["need"]).out.strip()
    assert made["file"] == str(file) and made["bytes"] == file.stat().st_size
    again = swarmd("proof make --json", done["need"], "FINALIZE", "--out", str(file))
    assert again.json["error"]["code"] == "file-exists"
    assert swarmd("proof make --force", done["need"], "FINALIZE", "--out", str(file)).code == 0
    # Anywhere, without a home.
    monkeypatch.setenv("SWARMD_HOME", str(tmp_path / "nowhere"))
    shown = swarmd("proof verify --json", str(file), "--root", root["root"], "--mesh", made["mesh"])
    assert shown.code == 0 and shown.json["holds"] and shown.json["kind"] == "FINALIZE"
    assert "compare the root" in swarmd("proof verify", str(file)).out
    other = swarmd("proof verify --json", str(file), "--root", made["envelope"])
    assert other.code == 1 and not other.json["holds"] and "not bafy" in other.json["reason"]
    data = bytearray(file.read_bytes())
    data[data.rindex(b"FINALIZE")] ^= 1
    file.write_bytes(data)
    touched = swarmd("proof verify", str(file))
    assert touched.code == 1 and "it does not hold" in touched.out
    assert swarmd("proof verify --json", str(tmp_path / "none")).json["error"]["code"] == "not-read"


def test_doctor_content_says_what_is_exchanged(swarmd: Swarmd, live: Path) -> None:
    found = swarmd("doctor content --json")
    assert found.code == 0 and found.json["daemon"] == "up"
    assert {"backend", "bitswap"} == {check["name"] for check in found.json["checks"]}
    assert "embedded" in swarmd("doctor content").out
