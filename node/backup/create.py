"""Making a backup: a snapshot, the digest of the state it holds, one encrypted file."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from swarmd.node.backup.archive import Manifest, measure, write_archive
from swarmd.node.backup.sealed import Cost
from swarmd.node.backup.snapshot import (
    DATABASES,
    JOURNAL,
    copy_databases,
    disk_fault,
    members,
    snapshot_folder,
    sync_folder,
)
from swarmd.node.journal import SCHEMA_VERSION, Journal
from swarmd.node.keys import load_key
from swarmd.node.own_journal import is_lost, journal_lost
from swarmd.node.replay import Recording
from swarmd.node.setup import GENESIS_FILE, load_genesis
from swarmd.node.version import version
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.genesis import Genesis

PARTIAL_SUFFIX = ".partial"
LOCK_FILE = "backup.lock"
# The daemon's own hand in it: copies its databases into the folder.
Copy = Callable[[Path], None]


def create_backup(
    home: Path,
    file: Path,
    passphrase: bytes,
    *,
    copy: Copy | None = None,
    cost: Cost = Cost(),
    clock_ns: Callable[[], int] = time.time_ns,
) -> Manifest:
    """Back the node of `home` up into the new file `file` (0600).

    `copy` asks the running daemon for its databases; without it the caller holds the home's lock. Raises LocalFault
    `no-home`, `no-folder`, `backup-exists`, `backup-running`, `disk-full`, CorruptState `bad-journal`. After any failure `file`
    is not there; what a killed process leaves is `file`.partial, which the next attempt writes over.
    """
    if file.exists():
        raise LocalFault("backup-exists", f"{file} is there already", fix="choose another name")
    if not file.parent.is_dir():
        raise LocalFault("no-folder", f"{file.parent} is no folder", fix="make it, or name another file")
    identity, genesis = load_key(home), load_genesis(home / GENESIS_FILE)
    with _alone(home), snapshot_folder(home) as folder:
        try:
            names = _gather(home, folder, copy, genesis, identity.did)
            inputs, mesh_digest, state_digest = digests(folder)
        except OSError as error:
            raise disk_fault(error, folder) from None
        manifest = Manifest(
            swarmd=version(),
            created_ns=clock_ns(),
            did=identity.did,
            mesh=genesis.mesh_name,
            schema=SCHEMA_VERSION,
            inputs=inputs,
            mesh_digest=mesh_digest,
            state_digest=state_digest,
            files={name: measure(folder / name) for name in names},
        )
        with _whole(file) as target:
            write_archive(target, passphrase, manifest, {name: folder / name for name in names}, cost)
    return manifest


def digests(folder: Path) -> tuple[int, str, str]:
    """(inputs, mesh digest, state digest) of a home's journal. CorruptState if it cannot be replayed."""
    taken = Recording(folder)
    try:
        found = taken.replay(check_everything=False)
    finally:
        taken.journal.close()
    return found.inputs, found.mesh_digest, found.state_digest


def _gather(home: Path, folder: Path, copy: Copy | None, genesis: Genesis, did: str) -> list[str]:
    """Fill `folder` with all that makes the home; the names of the files."""
    if is_lost(home):
        raise journal_lost(home)
    (copy or (lambda target: copy_databases(home, target)))(folder)
    if not (folder / JOURNAL).exists():
        # A node that has never run: it has a key, and that is worth a backup.
        journal = Journal(folder / JOURNAL)
        journal.set_meta("mesh_id", genesis.mesh_id)
        journal.set_meta("did", did.encode())
        journal.close()
    found = members(home)
    for name in found:
        # Read once: an operator's command may write some of them anew while we are at it.
        (folder / name).parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(home / name, folder / name)
    return found + [name for name in DATABASES if (folder / name).exists()]


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    fd = os.open(home / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise LocalFault(
            "backup-running", f"another backup of {home} is being made", fix="wait for its end"
        ) from None
    finally:
        os.close(fd)


def _name(partial: Path, file: Path) -> None:
    try:
        # Not a rename: that would write over what another process has put there meanwhile.
        os.link(partial, file)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links, as memory sticks have.
        if file.exists():
            raise FileExistsError(file) from None
        os.rename(partial, file)


@contextmanager
def _whole(file: Path) -> Iterator[BinaryIO]:
    """`file` with all that the block writes, on disk, or not at all."""
    partial = file.with_name(file.name + PARTIAL_SUFFIX)
    try:
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(fd, "wb") as target:
                yield target
                target.flush()
                os.fsync(target.fileno())
            _name(partial, file)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(file.parent)
    except FileExistsError:
        raise LocalFault("backup-exists", f"{file} is there already", fix="choose another name") from None
    except OSError as error:
        raise disk_fault(error, file) from None
