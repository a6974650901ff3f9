"""The peers' own interpreter: a venv in the user's cache with what node/bench/peers/requirements.lock pins.

Apart from swarmd's, because Ray alone is 250 MB on disk, and nobody who installs swarmd should have it for one benchmark.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import swarmd.node
from swarmd.node.bench.history import cache_folder
from swarmd.protocol.faults import LocalFault

LOCK = Path(__file__).with_name("requirements.lock")
_TIMEOUT_S = 900.0
# Without byte code, which is made of the few modules that run: Ray has thousands.
_PIP = ("-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-compile")


def folder() -> Path:
    """Another one for each lock file and version of Python."""
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    return cache_folder() / f"peers-{digest}-py{sys.version_info[0]}.{sys.version_info[1]}"


def ready() -> Path | None:
    """The interpreter if it has been made."""
    return folder() / "bin/python" if (folder() / ".installed").exists() else None


def make() -> Path:
    """The interpreter, made if it is not there. LocalFault `bench-peers` with what pip said."""
    place = folder()
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two benchmarks may begin at once
        if (python := ready()) is not None:
            return python
        python = place / "bin/python"
        _run([sys.executable, "-m", "venv", "--clear", str(place)])
        _run([str(python), *_PIP, "--only-binary", ":all:", "--require-hashes", "-r", str(LOCK)])
        (place / ".installed").touch()
    return python


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise LocalFault("bench-peers", f"{' '.join(command[:4])} took over {_TIMEOUT_S:g} s") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-1_000:]
        raise LocalFault(
            "bench-peers",
            f"could not install Celery, Ray and nats-py: {said}",
            fix="see that pip reaches a package index, or leave them out: --systems swarmd",
        )


def environment(folder: Path) -> dict[str, str]:
    """Variables for a program in that interpreter: of swarmd's packages it finds these files, and nothing else of what
    this interpreter has."""
    link = folder / "path/swarmd"
    if not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(swarmd.node.__path__[0]).parent)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RAY_", "CELERY_"))}
    return {**kept, "PYTHONPATH": str(link.parent), "PYTHONUNBUFFERED": "1"}


def versions(python: Path) -> dict[str, str]:
    """Of the libraries that the peers use."""
    names = ("nats-py", "grpcio", "celery", "redis", "ray")
    program = f"from importlib.metadata import version\nfor n in {names!r}: print(n, version(n))"
    said = subprocess.run([str(python), "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return dict(line.split(" ", 1) for line in said.stdout.splitlines())
