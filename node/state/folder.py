"""A folder of Automerge documents with an `index.json`: what exports and archives are. Written whole, or not at all."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from swarmd.node.state.documents import Document
from swarmd.protocol.faults import LocalFault

INDEX = "index.json"
SUFFIX = ".automerge"
FORMAT = 1


class FolderWriter:
    """`add` documents; `about` goes into the index beside them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.rows: list[dict[str, Any]] = []
        self.about: dict[str, Any] = {}

    def add(self, document: Document, **more: Any) -> None:
        saved = document.save()
        file = document.name + SUFFIX
        _write(self._folder / file, saved)
        self.rows.append(
            {
                "file": file,
                "bytes": len(saved),
                "sha256": sha256(saved).hexdigest(),
                "changes": document.changes,
                "heads": sorted(head.hex() for head in document.heads),
                **more,
            }
        )

    def documents(self) -> Iterator[Document]:
        """What was added, read back from the disk."""
        return _documents(self._folder, self.rows)

    def index(self) -> dict[str, Any]:
        return {"format": FORMAT, **self.about, "documents": self.rows}


def _write(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def new_folder(folder: Path, code: str) -> Iterator[FolderWriter]:
    """Make `folder` of what the block adds. LocalFault `code` if it is there already and not empty, `disk`."""
    there = LocalFault(code, f"{folder} is there already", fix="choose another name")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise there
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700, parents=True)
        writer = FolderWriter(partial)
        yield writer
        _write(partial / INDEX, json.dumps(writer.index(), indent=2).encode() + b"\n")
        try:
            os.rename(partial, folder)
        except OSError:
            if folder.exists():
                raise there from None
            raise
    except OSError as error:
        raise LocalFault(
            "disk", f"{error.filename or folder}: {error.strerror}", fix="make room for it"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_folder(folder: Path) -> tuple[Mapping[str, Any], Iterator[Document]]:
    """The index and the documents, each checked against it. LocalFault `no-archive` or `bad-archive`."""
    try:
        index = json.loads((folder / INDEX).read_bytes())
        rows = list(index["documents"])
    except FileNotFoundError:
        raise LocalFault("no-archive", f"there is no {folder}", fix="swarmd state import makes one") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LocalFault("bad-archive", f"{folder / INDEX}: {error}", fix="import it again") from None
    return index, _documents(folder, rows)


def _documents(folder: Path, rows: list[Any]) -> Iterator[Document]:
    for row in rows:
        try:
            data = (folder / os.path.basename(row["file"])).read_bytes()
            sound = sha256(data).hexdigest() == row["sha256"]
            heads, changes = {bytes.fromhex(head) for head in row["heads"]}, int(row["changes"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LocalFault("bad-archive", f"{folder}: {error}", fix="import it again") from None
        if not sound:
            # Only what we wrote is ever given to Automerge.
            raise LocalFault(
                "bad-archive", f"{folder / row['file']} is not what was written", fix="import it again"
            )
        yield Document.load(row["file"].removesuffix(SUFFIX), data, heads, changes)
