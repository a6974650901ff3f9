"""`kill -9` in the middle of adding and importing: the store is whole afterwards, and doing it again completes it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Swarmd = Callable[..., Any]
BIG = 60_000_000


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big"
    path.write_bytes(os.urandom(BIG))
    return path


def killed(home: Path, packs: Path, *words: str) -> int:
    """Run a command and kill it once it has begun to store; how many bytes of packs were there."""
    command = [sys.executable, "-m", "swarmd.cli", "--home", str(home), *words]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    stored = 0
    try:
        while not stored and child.poll() is None and time.monotonic() < deadline:
            stored = sum(path.stat().st_size for path in packs.glob("*.pack")) if packs.is_dir() else 0
            time.sleep(0.001)
    finally:
        child.kill()
        child.wait(20)
    return stored


@pytest.mark.parametrize("what", ["add", "import"])
def test_kill_9_leaves_a_whole_store(
    swarmd: Swarmd, home: Path, big: Path, tmp_path: Path, what: str
) -> None:
    assert swarmd("init").code == 0
    cid = swarmd("-q content add", str(big)).out.strip()
    source = big
    if what == "import":
        source = tmp_path / "big.car"
        assert swarmd(f"content export {cid} -o", str(source)).code == 0
    other = tmp_path / "other"
    assert swarmd(f"--home {other} init").code == 0
    for _ in range(3):
        assert killed(other, other / "content" / "packs", "content", what, str(source)) > 0
        found = swarmd(f"--home {other} --json content verify")
        assert found.code == 0 and found.json["corrupt"] == []
        usage = swarmd(f"--home {other} --json content stat").json
        assert (usage["blocks"], usage["bytes"]) == (found.json["blocks"], found.json["bytes"])
    again = swarmd(f"--home {other} -q content {what}", str(source))
    assert again.code == 0 and cid in again.out
    assert swarmd(f"--home {other} content get {cid} -o", str(tmp_path / "back")).code == 0
    assert (tmp_path / "back").read_bytes() == big.read_bytes()
    assert [row["cid"] for row in swarmd(f"--home {other} --json content ls").json["pins"]] == [cid]
