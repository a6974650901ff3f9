"""The artifacts that ship are what the pinned compiler makes of the sources, and can be loaded from the package."""

import json
import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from swarmd.contracts import Artifact, load_artifact

CONTRACTS = Path(__file__).parents[2] / "contracts"


def build(*arguments: str, folder: Path = CONTRACTS) -> subprocess.CompletedProcess[str]:
    """Run build.js, or say aloud why it can't be run here; on CI that is a failure."""
    missing = ""
    if shutil.which("node") is None:
        missing = "node is not installed"
    elif not (CONTRACTS / "node_modules" / "solc").is_dir():
        missing = "the pinned compiler is not installed: run `npm ci` in contracts/"
    if missing and os.environ.get("CI"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    return subprocess.run(
        ["node", "build.js", *arguments], cwd=folder, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the contracts folder to break."""
    copy = tmp_path / "contracts"
    shutil.copytree(
        CONTRACTS, copy, ignore=shutil.ignore_patterns("node_modules", "__pycache__", "out", "cache")
    )
    (copy / "node_modules").symlink_to(CONTRACTS / "node_modules")
    return copy


def test_a_fresh_build_equals_the_shipped_artifacts():
    done = build("--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_check_sees_a_changed_source_and_a_changed_artifact(copied):
    source = copied / "src" / "SettlementAnchor.sol"
    source.write_text(source.read_text().replace("count == 0", "count == 1"))
    done = build("--check", folder=copied)
    assert done.returncode == 1
    assert "artifacts/SettlementAnchor.json differs from a fresh build" in done.stderr


def test_the_check_sees_an_artifact_without_a_source(copied):
    (copied / "artifacts" / "Ghost.json").write_text("{}")
    done = build("--check", folder=copied)
    assert (done.returncode, "Ghost.json has no contract" in done.stderr) == (1, True)


def test_a_warning_of_the_compiler_fails_the_build(copied):
    source = copied / "src" / "SettlementAnchor.sol"
    source.write_text(
        source.read_text().replace(
            "bytes32 known = entry.root;", "bytes32 known = entry.root; uint256 unused;"
        )
    )
    done = build(folder=copied)
    assert (done.returncode, "Unused local variable" in done.stderr) == (1, True)


def test_an_unknown_argument_is_refused():
    assert build("--chekc").returncode == 2


def test_the_artifact_belongs_to_the_source():
    artifact = load_artifact("SettlementAnchor")
    assert isinstance(artifact, Artifact)
    source = (CONTRACTS / "src" / "SettlementAnchor.sol").read_bytes()
    assert artifact.source_sha256 == sha256(source).hexdigest()
    assert artifact.compiler.startswith("solc 0.8.37+")
    assert artifact.bytecode.endswith(artifact.deployed_bytecode)
    names = {item["name"] for item in artifact.abi if item["type"] == "function"}
    assert names == {"anchor", "anchorOf", "countOf", "includes", "verify"}


def test_the_compiler_is_pinned_by_hash_and_by_no_address():
    lock = json.loads((CONTRACTS / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages["node_modules/solc"]["version"] == "0.8.37"
    assert [
        name for name, entry in packages.items() if not entry.get("integrity", "").startswith("sha512-")
    ] == []
    assert [name for name, entry in packages.items() if "resolved" in entry] == []


@pytest.mark.parametrize("name", ["Nothing", "../package", "", "a/b"])
def test_an_unknown_contract_is_a_lookup_error(name):
    with pytest.raises(LookupError):
        load_artifact(name)
