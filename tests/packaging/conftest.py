"""The built distributions, made once for the room's tests, without a network."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest


def _build(kind: str, source: Path, out: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(out), str(source)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="session")
def wheel(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from the working tree."""
    return _build("wheel", repo, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def sdist(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build("sdist", repo, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="session")
def wheel_of_sdist(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that a packager gets who has only the sdist."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return _build("wheel", source, tmp_path_factory.mktemp("second"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel installed alone into an empty folder."""
    target = tmp_path_factory.mktemp("target")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        + ["--disable-pip-version-check", "--target", str(target), str(wheel)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture(scope="session")
def contents() -> object:
    """`contents(wheel)` -> {path under swarmd/: CRC-32}, without the metadata."""

    def read(path: Path) -> dict[str, int]:
        with zipfile.ZipFile(path) as archive:
            return {
                info.filename.removeprefix("swarmd/"): info.CRC
                for info in archive.infolist()
                if ".dist-info/" not in info.filename
            }

    return read
