"""A consistent copy of a home's databases, and which files make a home."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from swarmd.bootstrap.book import BOOK_FILE
from swarmd.bootstrap.swarmkey import KEY_FILE as SWARM_KEY_FILE
from swarmd.node.config import CONFIG_FILE
from swarmd.node.content.recipients import FILE as RECIPIENTS_FILE
from swarmd.node.keys import KEY_FILE
from swarmd.node.setup import GENESIS_FILE
from swarmd.protocol.faults import CorruptState, LocalFault

JOURNAL = "journal.db"
CHAIN_DATABASE = "chain/chain.sqlite"
# The order matters: an anchor that the chain has reported is in the journal, so the journal is copied last.
DATABASES = (
    CHAIN_DATABASE,
    "chain/outbox.sqlite",
    "chain/settlement.sqlite",
    "chain/channels.sqlite",
    "peers.db",
    JOURNAL,
)
FILES = (
    KEY_FILE,
    GENESIS_FILE,
    CONFIG_FILE,
    SWARM_KEY_FILE,
    "agents.json",
    BOOK_FILE,
    "chain/account.key",
    "chain/keystore.json",
    "policies/active.json",
    RECIPIENTS_FILE,
)
CAPSULES = "policies/*.capsule"
# In the home, so that nothing of it gets on another disk; the next backup or start of the daemon removes a left one.
SNAPSHOT_FOLDER = "snapshot"


def is_member(name: str) -> bool:
    """May a backup hold a file of this name?"""
    return (
        name in FILES
        or name in DATABASES
        or (name.count("/") == 1 and name.startswith("policies/") and name.endswith(".capsule"))
    )


def members(home: Path) -> list[str]:
    """The names of the files that `home` has, databases left out."""
    found = [name for name in FILES if (home / name).is_file()]
    return found + sorted(path.relative_to(home).as_posix() for path in home.glob(CAPSULES))


def copy_database(source: Path, target: Path) -> None:
    """Copy an SQLite file that may be written meanwhile. LocalFault `disk-full`, CorruptState `bad-journal`."""
    with database_faults(source, target), closing(read_only(source)) as db:
        copy_connection(db, target)


def copy_connection(db: sqlite3.Connection, target: Path) -> None:
    """As `copy_database`, of an open connection; raises what sqlite3 raises."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with closing(sqlite3.connect(target, isolation_level=None)) as copy:
        # In one step: steps begin anew whenever another connection writes, which a busy daemon's always does.
        db.backup(copy)
        # The copy's header says WAL, as the source's; without it, reading the copy would make files beside it.
        copy.execute("pragma journal_mode = delete")


def read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


@contextmanager
def database_faults(source: Path, target: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
            raise disk_full(target) from None
        raise LocalFault("disk-error", f"{source}: {error}", fix="check the disk and its rights") from None
    except sqlite3.DatabaseError as error:
        raise CorruptState("bad-journal", f"{source}: {error}", fix="restore an older backup") from None
    except OSError as error:
        raise disk_fault(error, target) from None


def disk_full(where: Path) -> LocalFault:
    return LocalFault(
        "disk-full",
        f"no room at {where}; nothing was kept of it",
        fix="free some space, or name another disk",
    )


def disk_fault(error: OSError, where: Path) -> LocalFault:
    """The fault of an operating system's error at `where`."""
    if error.errno in (28, 122):  # ENOSPC, EDQUOT
        return disk_full(where)
    return LocalFault("disk-error", f"{error.filename or where}: {error.strerror}", fix="check its rights")


@contextmanager
def snapshot_folder(home: Path) -> Iterator[Path]:
    """A private folder in the home, removed afterwards."""
    folder = home / SNAPSHOT_FOLDER
    remove_snapshot(home)
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise disk_fault(error, folder) from None
    try:
        yield folder
    finally:
        remove_snapshot(home)


def remove_snapshot(home: Path) -> None:
    shutil.rmtree(home / SNAPSHOT_FOLDER, ignore_errors=True)


def copy_databases(home: Path, folder: Path, copy_chain: Callable[[Path], None] | None = None) -> None:
    """Into `folder`, in the order that keeps them consistent. `copy_chain` where a running daemon has the chain."""
    for name in DATABASES:
        source, target = home / name, folder / name
        if not source.exists():
            continue
        if name == CHAIN_DATABASE and copy_chain is not None:
            with database_faults(source, target):
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                copy_chain(target)
        else:
            copy_database(source, target)


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
