"""What is installed is what was meant: every file of every room, nothing else, and it runs on its own."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

ROOMS = ("node", "protocol", "bootstrap", "simulations", "policies", "contracts")
# A star crosses folders. Each file of a room is in exactly one of the two tables.
SHIPPED = (
    "*.py",
    "*/py.typed",
    "policies/*/*.wasm",
    "policies/*/*.rego",
    "policies/*/data.json",
    "contracts/artifacts/*.json",
    "contracts/src/*.sol",
    "node/demo/*.txt",
    "node/demo/*.json",
    "node/dashboard/static/*",
    "node/bench/peers/requirements-*.lock",
    "simulations/*.json",
)
BUILD_ONLY = (
    "policies/build.sh",
    "policies/*/*_test.rego",
    "policies/*/samples/*",
    "contracts/.npmrc",
    "contracts/check.sh",
    "contracts/foundry.toml",
    "contracts/requirements-slither.lock",
    "contracts/slither.config.json",
    "contracts/snapshots/gas.json",
    "contracts/solc-native.js",
    "contracts/test/*.sol",
    "contracts/build.js",
    "contracts/package.json",
    "contracts/package-lock.json",
)
# The demo's agents are scripts that daemons start, not modules; Celery and Ray are in environments of their own.
RUN_ELSEWHERE = ("node/demo/agents/", "node/bench/peers/celery_redis.py", "node/bench/peers/ray_tasks.py")
NOT_OURS = {"__pycache__", "node_modules", "out", "cache"}

Contents = Callable[[Path], dict[str, int]]


def room_files(repo: Path) -> set[str]:
    """Every source file of the rooms, relative to the root."""
    found = {"cli.py"}
    for room in ROOMS:
        for path in (repo / room).rglob("*"):
            inner = path.relative_to(repo)
            if path.is_file() and not NOT_OURS & set(inner.parts):
                found.add(inner.as_posix())
    return found


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def test_every_file_of_a_room_ships_or_is_known_to_be_for_building(repo: Path) -> None:
    unknown = [n for n in room_files(repo) if not matches(n, SHIPPED) and not matches(n, BUILD_ONLY)]
    assert not unknown, f"decide in this test whether they ship: {sorted(unknown)}"


def test_the_wheel_has_each_shipped_file_and_no_other(repo: Path, wheel: Path, contents: Contents) -> None:
    expected = {n for n in room_files(repo) if matches(n, SHIPPED) and not matches(n, BUILD_ONLY)}
    assert set(contents(wheel)) == expected


def test_the_wheel_has_the_data_that_code_reads(wheel: Path, contents: Contents) -> None:
    names = set(contents(wheel))
    assert {
        "contracts/artifacts/SettlementAnchor.json",
        "policies/base/base.wasm",
        "policies/base/data.json",
    } <= names
    assert any(name.startswith("node/demo/") and name.endswith(".txt") for name in names)


def test_the_wheel_names_its_command_and_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (info,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        assert archive.read(f"{info}/entry_points.txt").decode().split() == [
            "[console_scripts]",
            "swarmd",
            "=",
            "swarmd.cli:main",
        ]
        assert b"Apache License" in archive.read(f"{info}/licenses/LICENSE")


def test_the_wheel_of_the_sdist_is_the_same(wheel: Path, wheel_of_sdist: Path, contents: Contents) -> None:
    assert contents(wheel_of_sdist) == contents(wheel)


def run_installed(installed: Path, cwd: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run Python where only the installed wheel is swarmd.

    -S leaves out `site`, and with it the .pth file of the editable install; the dependencies come back
    through PYTHONPATH, which reads no .pth files.
    """
    paths = (installed, sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    env = {"PATH": os.environ["PATH"], "HOME": str(cwd), "PYTHONPATH": os.pathsep.join(map(str, paths))}
    return subprocess.run(
        [sys.executable, "-S", *argv], cwd=cwd, env=env, capture_output=True, text=True, timeout=120
    )


def test_the_installed_command_says_its_version(repo: Path, installed: Path, tmp_path: Path) -> None:
    version = tomllib.loads((repo / "pyproject.toml").read_text())["project"]["version"]
    done = run_installed(installed, tmp_path, str(installed / "bin" / "swarmd"), "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"swarmd {version}\n", "")
    assert not list(tmp_path.iterdir()), "saying the version writes nothing"


def test_every_installed_module_imports(
    installed: Path, tmp_path: Path, wheel: Path, contents: Contents
) -> None:
    modules = sorted(
        "swarmd." + name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in contents(wheel)
        if name.endswith(".py") and not name.startswith(RUN_ELSEWHERE)
    )
    program = (
        "import importlib, sys, swarmd\n"
        "assert list(swarmd.__path__) == [sys.argv[1]], swarmd.__path__\n"
        "for name in sys.argv[2:]:\n"
        "    importlib.import_module(name)\n"
    )
    done = run_installed(installed, tmp_path, "-c", program, str(installed / "swarmd"), *modules)
    assert done.returncode == 0, done.stderr
