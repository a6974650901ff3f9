"""What is inside of a backup: a zstandard-compressed tar, whose first entry says what it holds.

`backup.json`: {"swarmd", "created_ns", "did", "mesh", "schema", "inputs", "mesh_digest", "state_digest",
"files": {name: [bytes, SHA-256 in hex]}}. The others are files of the home under their names there.
"""

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard
from swarmd.node.backup.sealed import Cost, SealedReader, SealedWriter
from swarmd.node.backup.snapshot import is_member
from swarmd.protocol.faults import LocalFault

MANIFEST = "backup.json"
MAX_MANIFEST_BYTES = 1_048_576
COPY_BYTES = 262_144
ZSTD_LEVEL = 3


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says it holds. `schema`: the journal's; `files`: name -> (bytes, SHA-256 in hex)."""

    swarmd: str
    created_ns: int
    did: str
    mesh: str
    schema: int
    inputs: int
    mesh_digest: str
    state_digest: str
    files: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    def to_map(self) -> dict[str, Any]:
        return {**asdict(self), "files": {name: list(each) for name, each in self.files.items()}}


def measure(path: Path) -> tuple[int, str]:
    """(bytes, SHA-256 in hex) of a file."""
    digest, size = sha256(), 0
    with open(path, "rb") as file:
        while data := file.read(COPY_BYTES):
            digest.update(data)
            size += len(data)
    return size, digest.hexdigest()


def write_archive(
    file: BinaryIO, passphrase: bytes, manifest: Manifest, sources: Mapping[str, Path], cost: Cost
) -> None:
    """Encrypt the `sources` (name in the home -> where it is to be read) into `file`."""
    sealed = SealedWriter(file, passphrase, cost)
    with zstandard.ZstdCompressor(level=ZSTD_LEVEL).stream_writer(
        cast(BinaryIO, sealed), closefd=False
    ) as packed:
        with tarfile.open(fileobj=packed, mode="w|", bufsize=COPY_BYTES) as archive:
            text = json.dumps(manifest.to_map(), indent=2).encode() + b"\n"
            archive.addfile(_entry(MANIFEST, len(text), manifest.created_ns), io.BytesIO(text))
            for name in manifest.files:
                with open(sources[name], "rb") as source:
                    archive.addfile(_entry(name, manifest.files[name][0], manifest.created_ns), source)
    sealed.close()


def _entry(name: str, size: int, mtime_ns: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, mtime_ns // 1_000_000_000, 0o600
    return info


class Archive:
    """An opened backup: its manifest at once, its files one after another, once."""

    def __init__(self, name: str, archive: tarfile.TarFile) -> None:
        self._name = name
        self._archive = archive
        first = archive.next()
        if first is None or first.name != MANIFEST or first.size > MAX_MANIFEST_BYTES:
            raise self._bad("does not say what it holds")
        text = self._data(first).read()
        try:
            fields = json.loads(text)
            files = {name: (int(size), str(digest)) for name, (size, digest) in fields.pop("files").items()}
            self.manifest = Manifest(**fields, files=files)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._bad(f"has contents that make no sense: {error}") from None

    def _bad(self, what: str) -> LocalFault:
        return LocalFault(
            "bad-backup", f"{self._name} {what}", fix="take another copy of it, or an older backup"
        )

    def _data(self, info: tarfile.TarInfo) -> Any:
        data = self._archive.extractfile(info) if info.isreg() else None
        if data is None:
            raise self._bad(f"holds {info.name[:80]!r}, which is no file")
        return data

    def read_into(self, open_target: Callable[[str], BinaryIO | None]) -> None:
        """Read every file, its bytes into what `open_target(name)` returns (None: only look at them).

        LocalFault `bad-backup` if one is missing, is too many, or is not what the manifest says.
        """
        missing = dict(self.manifest.files)
        while (info := self._archive.next()) is not None:
            size, digest = missing.pop(info.name, (-1, ""))
            if size < 0 or not is_member(info.name):
                raise self._bad(f"holds {info.name[:80]!r}, which does not belong there")
            target = open_target(info.name)
            found, count, data = sha256(), 0, self._data(info)
            try:
                while chunk := data.read(COPY_BYTES):
                    found.update(chunk)
                    count += len(chunk)
                    if target is not None:
                        target.write(chunk)
                if target is not None:
                    target.flush()
                    os.fsync(target.fileno())
            finally:
                if target is not None:
                    target.close()
            if (count, found.hexdigest()) != (size, digest):
                raise self._bad(f"holds another {info.name} than it says")
        if missing:
            raise self._bad(f"lacks {', '.join(sorted(missing))}")


@contextmanager
def read_archive(path: Path, passphrase: Callable[[], bytes]) -> Iterator[Archive]:
    """LocalFault `no-backup`, `bad-backup`, `newer-backup` or `wrong-passphrase`."""
    try:
        file = open(path, "rb")
    except OSError as error:
        raise LocalFault("no-backup", f"{path}: {error.strerror}", fix="name a backup file") from None
    with file:
        sealed = SealedReader(file, str(path), passphrase)
        try:
            with zstandard.ZstdDecompressor().stream_reader(cast(BinaryIO, sealed), closefd=False) as packed:
                with tarfile.open(fileobj=packed, mode="r|", bufsize=COPY_BYTES) as archive:
                    yield Archive(str(path), archive)
            # What follows the archive's end: its padding, and the mark that nothing was cut off.
            while sealed.read(COPY_BYTES):
                pass
        except (tarfile.TarError, zstandard.ZstdError) as error:
            raise LocalFault("bad-backup", f"{path}: {error}", fix="take another copy of it") from None
