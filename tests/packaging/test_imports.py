"""The direction of imports is kept, and what keeps it does notice."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOMS = ("node", "protocol", "bootstrap", "simulations", "policies", "contracts")
LAYERS = "rooms"
PURE = "the core has no IO, clock or dice"


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(root / ".layout"), "NO_COLOR": "1", "COLUMNS": "200"}
    program = "import sys; from importlinter.cli import lint_imports_command as main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=root,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def copy(repo: Path, tmp_path: Path) -> Path:
    """A copy of the rooms that a test may break."""
    ignore = shutil.ignore_patterns("__pycache__", "node_modules")
    for room in ROOMS:
        shutil.copytree(repo / room, tmp_path / room, ignore=ignore)
    for name in ("cli.py", "pyproject.toml"):
        shutil.copy(repo / name, tmp_path / name)
    shutil.copytree(repo / ".layout", tmp_path / ".layout", symlinks=True)
    return tmp_path


def test_the_rooms_keep_the_direction(copy: Path) -> None:
    done = lint_imports(copy)
    assert done.returncode == 0, done.stdout
    assert f"{LAYERS} KEPT" in done.stdout and f"{PURE} KEPT" in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("protocol/limits.py", "import time", PURE),
        ("protocol/limits.py", "from random import random", PURE),
        ("protocol/limits.py", "import trio.abc", PURE),
        ("protocol/limits.py", "import swarmd.node.ports", LAYERS),
        ("policies/__init__.py", "import swarmd.node.ports", LAYERS),
        ("node/home.py", "import swarmd.simulations", LAYERS),
        ("simulations/__init__.py", "import swarmd.node.ports", LAYERS),
    ],
)
def test_a_forbidden_import_is_noticed(copy: Path, module: str, line: str, contract: str) -> None:
    path = copy / module
    path.write_text(f"{path.read_text()}\n{line}\n")
    done = lint_imports(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{contract} BROKEN" in done.stdout


def imports_of(path: Path) -> set[str]:
    """The absolute names that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            found.add(node.module or "")
    return found


def sources(repo: Path) -> list[Path]:
    return [p for room in ROOMS for p in (repo / room).rglob("*.py") if "node_modules" not in p.parts]


def test_nothing_imports_the_command(repo: Path) -> None:
    """`swarmd.cli` is a module, so import-linter cannot list it as a layer: it stays on top by this test."""
    assert not [p for p in sources(repo) if "swarmd.cli" in imports_of(p)]


def test_the_core_calls_no_builtin_io(repo: Path) -> None:
    """Imports are not the only way out: no open(), print(), input() or dynamic import in the core either."""
    banned = {"open", "print", "input", "__import__", "eval", "exec", "compile", "breakpoint", "id"}
    found = [
        f"{path.relative_to(repo)}:{node.lineno}: {node.func.id}()"
        for path in (repo / "protocol").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in banned
    ]
    assert not found


def own_locks(folder: Path) -> set[str]:
    """What is locked beside the modules of a folder, for processes with an environment of their own."""
    lines = [line for lock in folder.glob("*.lock") for line in lock.read_text().splitlines()]
    return {canonicalize_name(line.partition("==")[0]) for line in lines if line[:1].isalnum()}


def test_each_third_party_import_is_a_declared_dependency(repo: Path) -> None:
    """What is only there because something else asks for it may be gone with its next release."""
    project = tomllib.loads((repo / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    texts = [*project["dependencies"], *(text for name in extras if name != "dev" for text in extras[name])]
    declared = {canonicalize_name(Requirement(text).name) for text in texts}
    owners = packages_distributions()
    missing: dict[str, set[str]] = {}
    for path in [*sources(repo), repo / "cli.py"]:
        for name in imports_of(path):
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names or top in ("swarmd", ""):
                continue
            # What is imported behind a guard and not installed here is its own declaration's business.
            of = {canonicalize_name(owner) for owner in owners.get(top, [top])}
            if not of & (declared | own_locks(path.parent)):
                missing.setdefault(top, set()).add(str(path.relative_to(repo)))
    assert not missing
