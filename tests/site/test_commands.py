"""Every block of shell commands in README.md and the quickstart runs, in order, against real daemons."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(?:sh|bash|shell|console)\n(.*?)^```$", re.M | re.S)
TIMEOUT_S = 300
NEWCOMERS_COMMANDS = 5


def blocks(page: str) -> list[str]:
    return BLOCK.findall((ROOT / page).read_text("utf-8"))


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """As somebody types it in a clone: `folder` stands for its root, what is written goes there."""
    if not (ROOT / ".venv" / ".installed").exists():
        if os.environ.get("CI"):
            pytest.fail("make setup has not been run")
        pytest.skip("needs the .venv of make setup")
    # Were it older than a lock file or the Makefile, make would install the folder of the test into it, for good.
    subprocess.run(
        ["make", "-s", "setup"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=TIMEOUT_S
    )
    for path in ROOT.iterdir():
        if path.name not in (".git", "__pycache__"):
            (folder / path.name).symlink_to(path)
    env = {
        **{name: os.environ[name] for name in ("LANG", "LC_ALL", "TMPDIR") if name in os.environ},
        # Only of what Debian has, and what the activation adds: a swarmd elsewhere must not help.
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder / "user"),
        # Ports and the LAN belong to whoever else is on this machine.
        "SWARMD_LISTEN": "/ip4/127.0.0.1/tcp/0",
        "SWARMD_MDNS": "false",
    }
    (folder / "user").mkdir()
    try:
        return subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", script],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    finally:
        down = [sys.executable, "-m", "swarmd.cli", "down", "--timeout", "20", "--kill"]
        subprocess.run(down, env=env, cwd=ROOT, capture_output=True, timeout=60, check=True)


@pytest.mark.parametrize("page", ["docs/quickstart.md", "README.md"])
def test_the_commands_run(page: str, tmp_path: Path) -> None:
    found = blocks(page)
    done = run("\n".join(found), tmp_path)
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:]
    if page == "docs/quickstart.md":
        assert "state   FINALIZED" in done.stdout and '"words": 10' in done.stdout
        assert "swarm1" in done.stdout and "nothing is wrong" in done.stdout
        assert (tmp_path / "report.tar.gz").exists()
    else:
        assert '"HELLO, MESH"' in done.stdout


def test_a_newcomer_needs_five_commands(repo: Path) -> None:
    """From a clone to a finished need of an agent of their own."""
    text = (repo / "README.md").read_text("utf-8")
    block = BLOCK.search(text, text.index("## Use it"))
    assert block is not None
    commands = block.group(1).strip().splitlines()
    assert len(commands) <= NEWCOMERS_COMMANDS
    assert commands[-1].startswith("swarmd need post ") and "--wait" in commands[-1]
    assert not any("&&" in line or ";" in line.split("-c ")[0] for line in commands)


def test_the_timing_of_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "swarmd.cli", "bench", "start", "--runs", "2", "--json"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert figures["result"] == "HELLO" and set(figures["path_s"]) == {"up", "agent", "need"}
    assert set(figures["commands"]) == {"version", "status"}
    # What the commands compute themselves, which a busy machine does not change much; the goals are of wall time.
    for name, goal_ms in (("version", 150.0), ("status", 400.0)):
        assert figures["commands"][name]["goal_ms"] == goal_ms
        assert figures["commands"][name]["cpu_ms"] < goal_ms * 2
    assert not list(tmp_path.iterdir())
