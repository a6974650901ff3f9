"""The lock files carry what pyproject.toml asks for, as versions and hashes and nothing else."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PIN = re.compile(r"^(?P<name>[a-z0-9-]+)(?:\[[a-z,-]+\])?==(?P<version>\S+)(?: ; (?P<marker>.+?))? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


def pins(path: Path) -> list[Requirement]:
    return [
        Requirement(line.removesuffix(" \\")) for line in path.read_text().splitlines() if PIN.match(line)
    ]


@pytest.mark.parametrize(
    "name", ["requirements.lock", "requirements-build.lock", "contracts/requirements-slither.lock"]
)
def test_a_lock_is_pins_and_hashes_and_no_address(repo: Path, name: str) -> None:
    lines = [line for line in (repo / name).read_text().splitlines() if not line.startswith("#")]
    assert lines and not [line for line in lines if not PIN.match(line) and not HASH.match(line)]


def test_the_lock_satisfies_what_the_project_asks_for(repo: Path) -> None:
    project = tomllib.loads((repo / "pyproject.toml").read_text())["project"]
    locked = {canonicalize_name(pin.name): pin for pin in pins(repo / "requirements.lock")}
    for text in sum(project["optional-dependencies"].values(), project["dependencies"]):
        wanted = Requirement(text)
        pin = locked.get(canonicalize_name(wanted.name))
        assert pin is not None, f"{wanted.name} is not locked: run `make lock`"
        (specifier,) = pin.specifier
        assert wanted.specifier.contains(Version(specifier.version), prereleases=True), (
            f"run `make lock`: {text}"
        )


def test_the_build_has_its_tools_pinned(repo: Path) -> None:
    """fastecdsa, python-baseconv and varint have no wheels: without build isolation they need these two."""
    assert {"pip", "setuptools", "wheel"} <= {pin.name for pin in pins(repo / "requirements-build.lock")}
    assert "hatchling" in {pin.name for pin in pins(repo / "requirements.lock")}


def test_what_npm_installs_is_pinned_without_an_address(repo: Path) -> None:
    locks = [path for path in repo.rglob("package-lock.json") if "node_modules" not in path.parts]
    assert len(locks) == 5
    assert not [path for path in locks if "://" in path.read_text()]
