"""The peers' own interpreters: venvs in the user's cache, with what the lock files beside this module pin.

Apart from swarmd's, because Ray alone is 250 MB on disk, and nobody who installs swarmd should have it for one benchmark
(docs/adr/0038-peers-in-environments-of-their-own.md). `python -m swarmd.node.bench.peers.interpreter queues` makes one.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import swarmd.node
from swarmd.node.bench.history import cache_folder
from swarmd.protocol.faults import LocalFault

_TIMEOUT_S = 900.0
# Without byte code, which is made of the few modules that run: Ray has thousands.
_PIP = ("-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-compile")
_VENV_FIX = "Debian: apt-get install python3-venv"


@dataclass(frozen=True, slots=True)
class Environment:
    """A venv. `packages`: those of them that the benchmark names with their versions."""

    name: str
    packages: tuple[str, ...]

    @property
    def lock(self) -> Path:
        return Path(__file__).with_name(f"requirements-{self.name}.lock")

    @property
    def folder(self) -> Path:
        """Another one for each lock file and version of Python."""
        digest = hashlib.sha256(self.lock.read_bytes()).hexdigest()[:12]
        return cache_folder() / f"peers-{self.name}-{digest}-py{sys.version_info[0]}.{sys.version_info[1]}"

    def ready(self) -> Path | None:
        """The interpreter if it has been made."""
        return self.folder / "bin/python" if (self.folder / ".installed").exists() else None

    def make(self) -> Path:
        """The interpreter, made if it is not there. LocalFault `bench-peers` with what pip said."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with open(self.folder.with_name(self.folder.name + ".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two benchmarks may begin at once
            if (python := self.ready()) is not None:
                return python
            python = self.folder / "bin/python"
            _run([sys.executable, "-m", "venv", "--clear", str(self.folder)], _VENV_FIX)
            install = [str(python), *_PIP, "--only-binary", ":all:", "--require-hashes", "-r", str(self.lock)]
            _run(install, "see that pip reaches a package index")
            (self.folder / ".installed").touch()
        return python

    def versions(self) -> dict[str, str]:
        """Of `packages`."""
        program = f"from importlib.metadata import version\nfor n in {self.packages!r}: print(n, version(n))"
        said = subprocess.run(
            [str(self.make()), "-c", program], capture_output=True, text=True, check=True, timeout=60
        )
        return dict(line.split(" ", 1) for line in said.stdout.splitlines())


QUEUES = Environment("queues", ("nats-py", "grpcio", "celery", "redis"))
RAY = Environment("ray", ("ray",))


def _run(command: list[str], fix: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise LocalFault(
            "bench-peers", f"{' '.join(command[:4])} took over {_TIMEOUT_S:g} s", fix=fix
        ) from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-1_000:]
        raise LocalFault("bench-peers", f"{' '.join(command[1:4])} failed: {said}", fix=fix)


def variables(folder: Path) -> dict[str, str]:
    """For a program in such an interpreter: of swarmd's packages it finds these files, and nothing else of what our
    interpreter has."""
    link = folder / "path/swarmd"
    if not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(swarmd.node.__path__[0]).parent)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "RAY_", "CELERY_"))
    }
    return {**kept, "PYTHONPATH": str(link.parent), "PYTHONUNBUFFERED": "1"}


if __name__ == "__main__":
    for each in (QUEUES, RAY):
        if each.name in sys.argv[1:]:
            print(each.make())
