"""The policies that ship with swarmd: Rego, its tests and samples, and the compiled wasm with its data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Policy:
    """A compiled policy: the module that `build.sh` made and the data document that goes with it."""

    name: str
    wasm: bytes
    data: Mapping[str, Any]


def names() -> tuple[str, ...]:
    """The policies that ship, sorted."""
    folders = (entry for entry in files(__name__).iterdir() if entry.is_dir())
    return tuple(
        sorted(folder.name for folder in folders if folder.joinpath(f"{folder.name}.wasm").is_file())
    )


def load(name: str = "base") -> Policy:
    """The policy `name`; KeyError if none of that name ships."""
    if name not in names():
        raise KeyError(f"no policy {name!r}; there are {', '.join(names())}")
    folder = files(__name__).joinpath(name)
    data = json.loads(folder.joinpath("data.json").read_text("utf-8"))
    return Policy(name, folder.joinpath(f"{name}.wasm").read_bytes(), data)


def rego(name: str) -> bytes:
    """The source of the policy `name`, for policies that use it; KeyError as `load`."""
    load(name)
    return files(__name__).joinpath(name, f"{name}.rego").read_bytes()


def folder(name: str) -> Path | None:
    """Where the policy `name` lies, in a source tree with its tests and samples; None if it is not on disk."""
    found = files(__name__).joinpath(name)
    return found if isinstance(found, Path) else None
