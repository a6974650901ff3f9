"""Writing a small file of the home: whole or not at all, and never readable by anybody else."""

import os
from pathlib import Path


def write_private(path: Path, data: bytes) -> None:
    """Write beside `path` (0600 from the start), sync, rename: a crash leaves the whole file or none. OSError."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(draft, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
