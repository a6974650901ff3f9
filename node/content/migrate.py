"""From a plain file store (each file named by its hash) into the store of content, resumable, with a mapping hash -> CID.

A file is taken only if its bytes hash to its name. What was taken is noted in MAPPING.partial, a JSON document a line, after
the blocks are on disk; a run that is killed goes on behind the last note. The mapping is written at the end, whole, and the
notes are removed.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from swarmd.node.content.adding import Adder, Layout
from swarmd.node.content.bulk import Write
from swarmd.node.content.dag import walk
from swarmd.node.content.directories import Node
from swarmd.node.content.extract import PARTIAL_SUFFIX
from swarmd.node.content.packs import disk_fault
from swarmd.node.content.unixfs import read_file
from swarmd.protocol.cids import cid_text, parse_cid
from swarmd.protocol.faults import LocalFault, RemoteFault

# Digits of the name -> what may have made it; the first is the usual one.
HASHES: Final[Mapping[int, tuple[Callable[[], Any], ...]]] = {
    32: (lambda: hashlib.md5(usedforsecurity=False),),
    40: (lambda: hashlib.sha1(usedforsecurity=False),),
    64: (hashlib.sha256, lambda: hashlib.blake2b(digest_size=32), hashlib.sha3_256, hashlib.blake2s),
    96: (hashlib.sha384,),
    128: (hashlib.sha512, hashlib.blake2b),
}
_NAME: Final = re.compile(r"(?:[a-z0-9-]+[:=_-])?([0-9a-f]+)(?:\.[A-Za-z0-9]{1,8})?")
_READ_BYTES: Final = 1_048_576
# Notes are written once so much was taken since the last ones: what a killed run does again.
_NOTE_FILES: Final = 512
_NOTE_BYTES: Final = 256 * 1_048_576


class Target(Protocol):
    """Where the content goes: `remote.NodeContent`."""

    @property
    def put_group(self) -> Write: ...

    def get(self, cid: bytes) -> bytes | None: ...

    def has_all(self, cids: list[bytes]) -> bool: ...

    def sync(self) -> None: ...

    def pin(self, cid: bytes, *, recursive: bool = True, name: str = "") -> object: ...


@dataclass(slots=True)
class Migrated:
    """What a run came to. `root`: a folder of all files under their hashes, which is what is pinned."""

    mapping: dict[str, str] = field(default_factory=dict)
    files: int = 0  # taken by this run
    bytes: int = 0
    resumed: int = 0  # taken by earlier runs
    wrong: list[str] = field(default_factory=list)  # bytes that do not hash to the file's name
    left_out: list[str] = field(default_factory=list)  # not named by a hash
    unverified: list[str] = field(default_factory=list)  # hashes whose content did not read back
    root: str = ""


def scan(folder: Path) -> Iterator[tuple[str | None, Path]]:
    """(hash in hex, or None for a name that is none; file) of every file below, in order.

    `ab/cdef...` names the hash `abcdef...`, and so does `cdef...` below `ab`; a prefix such as `sha256-` and a short
    suffix are no part of it. LocalFault `no-folder`.
    """
    if not folder.is_dir():
        raise LocalFault("no-folder", f"{folder} is no folder", fix="name the folder of the file store")
    for above, folders, files in os.walk(folder):
        folders.sort()
        place = Path(above).relative_to(folder).parts
        for name in sorted(files):
            path = Path(above) / name
            if path.is_symlink() or not path.is_file():
                continue
            yield _hash_of(place, name), path


def _hash_of(place: tuple[str, ...], name: str) -> str | None:
    found = _NAME.fullmatch(name.lower())
    if found is None:
        return None
    digits = found[1]
    for above in range(len(place) + 1):
        joined = "".join(place[len(place) - above :]).lower() + digits
        if len(joined) in HASHES and re.fullmatch("[0-9a-f]+", joined):
            return joined
    return None


def migrate(
    folder: Path,
    mapping_file: Path,
    store: Target,
    *,
    verify: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Migrated:
    """Take every file of `folder` into `store`. LocalFault `no-folder`, `bad-mapping`, `disk-full`, ..."""
    done = Migrated()
    notes = _Notes(mapping_file)
    try:
        known = {digest: row for digest, row in notes.read().items() if _whole(store, row["cid"])}
        done.mapping = {digest: row["cid"] for digest, row in known.items()}
        done.resumed = len(known)
        nodes = {digest: Node(parse_cid(row["cid"]), row["dag_bytes"]) for digest, row in known.items()}
        adder = Adder(store.put_group, Layout())
        fresh: list[dict[str, Any]] = []
        waiting_bytes = 0
        for digest, path in scan(folder):
            if digest is None:
                done.left_out.append(str(path))
            elif digest not in done.mapping:
                size = path.stat().st_size
                if not _right(path, digest):
                    done.wrong.append(str(path))
                    progress(size)
                    continue
                added = adder.add(path)
                done.mapping[digest] = cid_text(added.cid)
                nodes[digest] = Node(added.cid, added.dag_bytes)
                fresh.append({"hash": digest, "cid": cid_text(added.cid), "dag_bytes": added.dag_bytes})
                done.files += 1
                done.bytes += size
                waiting_bytes += size
                progress(size)
                if len(fresh) >= _NOTE_FILES or waiting_bytes >= _NOTE_BYTES:
                    store.sync()
                    notes.add(fresh)
                    fresh, waiting_bytes = [], 0
        store.sync()
        notes.add(fresh)
        root = adder.wrap(nodes)
        store.pin(root.cid, name=f"migrated from {folder.name}")
        done.root = cid_text(root.cid)
        if verify:
            done.unverified = [
                digest for digest in sorted(done.mapping) if not _reads_back(store, done.mapping, digest)
            ]
        notes.finish({digest: done.mapping[digest] for digest in sorted(done.mapping)})
    except OSError as error:
        raise disk_fault(error, Path(error.filename or mapping_file)) from None
    return done


def _right(path: Path, digest: str) -> bool:
    with open(path, "rb", buffering=0) as file:
        return _matches(iter(lambda: file.read(_READ_BYTES), b""), digest)


def _matches(parts: Iterator[bytes], digest: str) -> bool:
    """Do the bytes hash to `digest`, by any function that makes names of its length?"""
    makers = [make() for make in HASHES[len(digest)]]
    for part in parts:
        for maker in makers:
            maker.update(part)
    return any(maker.hexdigest() == digest for maker in makers)


def _whole(store: Target, text: str) -> bool:
    try:
        return store.has_all(list(walk(parse_cid(text), store.get)))
    except RemoteFault:
        return False


def _reads_back(store: Target, mapping: Mapping[str, str], digest: str) -> bool:
    try:
        return _matches(read_file(parse_cid(mapping[digest]), store.get), digest)
    except (LocalFault, RemoteFault):
        return False


class _Notes:
    """What was taken so far, one line each, behind the mapping's name."""

    def __init__(self, mapping_file: Path) -> None:
        self._file = mapping_file
        self._partial = mapping_file.with_name(mapping_file.name + PARTIAL_SUFFIX)

    def read(self) -> dict[str, dict[str, Any]]:
        """LocalFault `bad-mapping` for a mapping that is there and is none."""
        found: dict[str, dict[str, Any]] = {}
        try:
            lines = self._partial.read_bytes().split(b"\n")
        except FileNotFoundError:
            lines = []
        for line in lines:
            try:
                row = json.loads(line)
                found[row["hash"]] = {"cid": str(row["cid"]), "dag_bytes": int(row["dag_bytes"])}
            except (ValueError, KeyError, TypeError):
                continue  # the line that a killed run was writing
        if self._file.exists():
            try:
                mapping = json.loads(self._file.read_bytes())
                if not all(type(key) is str and type(cid) is str for key, cid in mapping.items()):
                    raise ValueError("not {hash: CID}")
            except (ValueError, AttributeError) as error:
                raise LocalFault(
                    "bad-mapping", f"{self._file} is there and no mapping: {error}", fix="name another file"
                ) from None
        return found

    def add(self, rows: list[dict[str, Any]]) -> None:
        with open(self._partial, "ab") as file:
            # A torn line of an earlier run must not swallow the next one.
            file.write(b"\n" + b"".join(json.dumps(row).encode() + b"\n" for row in rows))
            file.flush()
            os.fsync(file.fileno())

    def finish(self, mapping: Mapping[str, str]) -> None:
        temporary = self._file.with_name(self._file.name + ".tmp")
        with open(temporary, "wb") as file:
            file.write(json.dumps(mapping, indent=1).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._file)
        self._partial.unlink(missing_ok=True)
