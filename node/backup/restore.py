"""Checking a backup, and making a home of it."""

import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from swarmd.node.backup.archive import Archive, Manifest, read_archive
from swarmd.node.backup.create import digests
from swarmd.node.backup.snapshot import DATABASES, FILES, JOURNAL, disk_fault, read_only, sync_folder
from swarmd.node.journal import RESTORED_KEY, SCHEMA_VERSION
from swarmd.node.keys import KEY_FILE, load_key
from swarmd.node.setup import GENESIS_FILE
from swarmd.protocol.faults import CorruptState, LocalFault

# What can be in a home that is not whole yet: all but its genesis, which is moved last.
_MOVED = frozenset(name.split("/")[0] for name in (*FILES, *DATABASES)) - {GENESIS_FILE}
Passphrase = Callable[[], bytes]


def verify_backup(file: Path, passphrase: Passphrase) -> Manifest:
    """Read all of a backup, and replay its journal to the digest it names. LocalFault as in `read_archive`.

    The databases and the genesis are written to a private folder (the key is not), so there must be room for them.
    """
    with tempfile.TemporaryDirectory(prefix="swarmd-verify-") as name:
        folder = Path(name)
        wanted = (*DATABASES, GENESIS_FILE)
        with read_archive(file, passphrase) as archive:
            _unpack(archive, folder, lambda name: name in wanted)
            manifest = archive.manifest
        _check(manifest, folder, file)
    return manifest


def restore_backup(file: Path, home: Path, passphrase: Passphrase, *, alone: bool = False) -> Manifest:
    """Make the new home `home` of a backup: all of it, or nothing.

    The node then keeps silent until it has heard from the mesh what it said after the backup; `alone` says that there
    is nothing to hear. LocalFault `home-exists`, `disk-full` and those of `verify_backup`. What a killed process
    leaves beside the home (`.NAME.restoring`) or in it (`.restoring`) is removed by the next attempt.
    """
    building = _building(home)
    try:
        with read_archive(file, passphrase) as archive:
            building.mkdir(mode=0o700, parents=True)
            _unpack(archive, building, lambda _: True)
            manifest = archive.manifest
        _check(manifest, building, file)
        if load_key(building).did != manifest.did:
            raise LocalFault(
                "bad-backup", f"{file} holds the key of another node", fix="take an older backup"
            )
        if not alone:
            _mark(building, manifest)
        for folder, _, _ in os.walk(building):
            sync_folder(Path(folder))
        _move(building, home)
    except OSError as error:
        raise disk_fault(error, home) from None
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return manifest


def _building(home: Path) -> Path:
    """Where to build the home, with nothing there. LocalFault `home-exists`.

    Beside it, to be renamed; within it if the folder is there, since that may be where a disk is mounted.
    """
    beside, within = home.with_name(f".{home.name}.restoring"), home / ".restoring"
    try:
        shutil.rmtree(beside, ignore_errors=True)
        if not home.is_symlink() and not home.exists():
            return beside
        if within.is_dir() and {entry.name for entry in home.iterdir()} <= _MOVED | {within.name}:
            # A restore was killed while it moved what it had built: all that is here is its own.
            for entry in home.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        if not home.is_dir() or any(home.iterdir()):
            raise LocalFault("home-exists", f"{home} is there already", fix="choose another --home")
    except OSError as error:
        raise disk_fault(error, home) from None
    return within


def _move(building: Path, home: Path) -> None:
    """Make what was built the home. Without its genesis a home is none, so that comes last."""
    if building.parent != home:
        os.rename(building, home)
        sync_folder(home.parent)
        return
    home.chmod(0o700)
    for entry in sorted(building.iterdir(), key=lambda entry: entry.name == GENESIS_FILE):
        if entry.name == GENESIS_FILE:
            sync_folder(home)
        os.rename(entry, home / entry.name)
    sync_folder(home)


def _unpack(archive: Archive, folder: Path, wanted: Callable[[str], bool]) -> None:
    if archive.manifest.schema > SCHEMA_VERSION:
        raise LocalFault(
            "newer-journal",
            f"the backup's journal has schema {archive.manifest.schema}, this swarmd knows {SCHEMA_VERSION}",
            fix="use the swarmd that wrote it, or a newer one",
        )
    if missing := {KEY_FILE, GENESIS_FILE, JOURNAL} - archive.manifest.files.keys():
        raise LocalFault("bad-backup", f"the backup lacks {sorted(missing)}", fix="take an older backup")

    def open_target(name: str) -> BinaryIO | None:
        if not wanted(name):
            return None
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    try:
        archive.read_into(open_target)
    except OSError as error:
        raise disk_fault(error, folder) from None


def _check(manifest: Manifest, folder: Path, file: Path) -> None:
    """The databases are sound and the journal gives the state that the backup was made of."""
    try:
        for name in DATABASES:
            if (folder / name).exists():
                with closing(read_only(folder / name)) as db:
                    (said,) = db.execute("pragma quick_check(1)").fetchone()
                    if said != "ok":
                        raise CorruptState("bad-journal", f"{name}: {said}")
        _, _, state_digest = digests(folder)
    except (sqlite3.DatabaseError, CorruptState) as error:
        raise LocalFault(
            "bad-backup", f"{file} was made of a damaged home: {error}", fix="take an older backup"
        ) from None
    if state_digest != manifest.state_digest:
        raise LocalFault(
            "bad-backup",
            f"{file} replays to {state_digest}, not to {manifest.state_digest}: its state is not what it was",
            fix=f"use swarmd {manifest.swarmd}, which made it",
        )


def _mark(home: Path, manifest: Manifest) -> None:
    note = {"backup_ns": manifest.created_ns, "restored_ns": time.time_ns()}
    with closing(sqlite3.connect(home / JOURNAL, isolation_level=None)) as db:
        db.execute("pragma synchronous = full")
        db.execute("insert or replace into meta values (?, ?)", (RESTORED_KEY, json.dumps(note).encode()))
