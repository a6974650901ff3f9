"""The files that make the daemon a service of its host: as systemd and launchd read them."""

import os
import plistlib
import shlex
import shutil
import subprocess
from collections.abc import Callable
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest
from swarmd.node.console.outcome import CORRUPT, REFUSED, USAGE
from swarmd.node.service_files import HOPELESS, Service, launchd_plist, systemd_unit

Swarmd = Callable[..., Any]
HOME = Path("/srv/swarmd")
# systemd-analyze security: 0.0 is locked up, 10.0 is open. What is left over is what the daemon is for.
MOST_EXPOSED = 30


@pytest.fixture(autouse=True)
def own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


def analyzer() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("systemd-analyze is not installed")
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    return found


@pytest.mark.parametrize("user", ["", "daemon"])
def test_systemd_takes_the_unit_and_finds_it_hardened(tmp_path: Path, user: str) -> None:
    unit = tmp_path / "swarmd.service"
    text = systemd_unit(Service(("/bin/true",), HOME, user))
    unit.write_text(text)
    checked = subprocess.run(
        [analyzer(), "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60
    )
    # It also complains about units of the host; ours is named by its file.
    assert not [line for line in checked.stderr.splitlines() if "swarmd" in line], checked.stderr
    judged = subprocess.run(
        [analyzer(), "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if user:  # of a user's own service it says that it runs as root, which a user's manager cannot
        assert judged.returncode == 0, judged.stdout + judged.stderr


def test_the_unit_says_what_it_must() -> None:
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(systemd_unit(Service(("/opt/swarmd/bin/swarmd",), HOME, "swarmd")))
    service = parser["Service"]
    assert service["ExecStart"] == "/opt/swarmd/bin/swarmd --home /srv/swarmd up"
    assert service["Type"] == "notify" and service["User"] == "swarmd"
    assert service["ReadWritePaths"] == "/srv/swarmd" and service["ProtectSystem"] == "strict"
    # wasmtime compiles: with this it could not.
    assert "MemoryDenyWriteExecute" not in service
    assert service["RestartPreventExitStatus"] == "2 4 6"
    assert set(HOPELESS) == {USAGE, REFUSED, CORRUPT}


def test_odd_paths_are_quoted_as_systemd_reads_them() -> None:
    unit = systemd_unit(Service(("/opt/my python/bin/swarmd",), Path('/srv/50%/a "b" $c')))
    line = next(each for each in unit.splitlines() if each.startswith("ExecStart="))
    assert line == 'ExecStart="/opt/my python/bin/swarmd" --home "/srv/50%%/a \\"b\\" $$c" up'


def test_the_plist_comes_back_as_it_went() -> None:
    job = plistlib.loads(launchd_plist(Service(("/opt/swarmd",), HOME)))
    assert job["ProgramArguments"][:4] == ["/opt/swarmd", "--home", "/srv/swarmd", "up"]
    assert job["KeepAlive"] == {"SuccessfulExit": False} and job["RunAtLoad"] is True
    assert "UserName" not in job
    assert plistlib.loads(launchd_plist(Service(("/opt/swarmd",), HOME, "swarmd")))["UserName"] == "swarmd"


def test_install_status_uninstall(swarmd: Swarmd, home: Path, tmp_path: Path) -> None:
    ran = swarmd("service install")
    assert ran.code == 4 and "run swarmd init first" in ran.err
    swarmd("init")
    path = tmp_path / ".config/systemd/user/swarmd.service"
    ran = swarmd("service status --kind systemd --json")
    assert ran.code == 1 and ran.json["installed"] is False and ran.json["path"] == str(path)
    ran = swarmd("service install --kind systemd --json")
    assert (ran.code, ran.json["changed"], ran.json["started"]) == (0, True, False)
    text = path.read_text()
    assert f"--home {home} up" in text and path.stat().st_mode & 0o777 == 0o644
    assert swarmd("service install --kind systemd --json").json["changed"] is False
    ran = swarmd("service status --kind systemd --json")
    assert ran.code == 0 and ran.json["current"] is True and ran.json["pid"] is None
    path.write_text(text + "# mine\n")
    ran = swarmd("service install --kind systemd")
    assert ran.code == 4 and "--replace" in ran.err and path.read_text().endswith("# mine\n")
    assert swarmd("service status --kind systemd --json").json["current"] is False
    assert swarmd("service install --kind systemd --replace").code == 0 and path.read_text() == text
    assert swarmd("service uninstall --kind systemd").code == 0 and not path.exists()
    assert (home / "node.key").exists()
    ran = swarmd("service uninstall --kind systemd")
    assert ran.code == 4 and "not there" in ran.err


def test_what_would_be_written_can_be_seen_first(swarmd: Swarmd, home: Path, tmp_path: Path) -> None:
    ran = swarmd("service install --kind launchd --print --json")
    job = plistlib.loads(ran.json["text"].encode())
    assert str(home) in job["ProgramArguments"] and not (tmp_path / "Library").exists()
    unit = swarmd("service install --kind systemd --system --user me --print").out
    assert "User=me\n" in unit and "WantedBy=multi-user.target" in unit
    assert shlex.split(unit.split("ExecStart=")[1].splitlines()[0])[-1] == "up"
    assert swarmd("service install --user me --print").code == 2


def test_a_host_without_the_manager_says_so(
    swarmd: Swarmd, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swarmd("init")
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = swarmd("service install --kind systemd --now")
    assert ran.code == 4 and "systemctl is not on this host" in ran.err and "swarmd up -d" in ran.err
    assert swarmd("service status --kind systemd").code == 0
    ran = swarmd("service uninstall --kind systemd --json")
    assert ran.code == 0 and "systemctl" in ran.json["note"]
