"""A node whose journal is lost, and of which there is no backup: it begins an empty one, and listens before it speaks.

Its key is still good for what it owns, and the mesh has what it said: as with a restored node, silence.py.
"""

import json
import os
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from swarmd.node.analytics.store import FILE as ANALYTICS_FILE
from swarmd.node.backup.create import digests
from swarmd.node.backup.snapshot import JOURNAL, disk_fault, read_only, sync_folder
from swarmd.node.balances.service import STATEMENT_FILE
from swarmd.node.journal import RESTORED_KEY, Journal
from swarmd.node.keys import load_key
from swarmd.node.own_journal import note_spoken
from swarmd.node.resume import RESUME_FILE
from swarmd.node.setup import GENESIS_FILE, load_genesis
from swarmd.node.state.replica_host import STORE_FILE
from swarmd.protocol.faults import CorruptState, LocalFault

# The journal, and what was made of it. It goes first: without it the home does not start.
_ASIDE: Final = (JOURNAL, RESUME_FILE, STATEMENT_FILE, STORE_FILE, ANALYTICS_FILE)
_SUFFIXES: Final = ("", "-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Recovered:
    """`damage`: what was wrong with the journal; `aside`: where what is left of it was put, None if nothing was."""

    did: str
    mesh: str
    damage: str
    aside: Path | None


def recover(home: Path) -> Recovered:
    """Give `home`, whose lock the caller holds, an empty journal. What is left of the old one is kept beside it.

    LocalFault `journal-whole` if nothing is wrong with the one that is there, `newer-journal`, `other-key`, `disk-error`.
    Killed at any moment it leaves a home that does not start, and that this can be done to again.
    """
    identity, genesis = load_key(home), load_genesis(home / GENESIS_FILE)
    damage = _damage(home, identity.did)
    if not damage:
        raise LocalFault(
            "journal-whole", f"{home / JOURNAL} is whole and replays", fix="start the node: swarmd up"
        )
    note_spoken(home)
    new = home / f"{JOURNAL}.new"
    try:
        for left in home.glob(f"{new.name}*"):
            left.unlink()
        with closing(Journal(new)) as journal, journal.whole():
            journal.set_meta("mesh_id", genesis.mesh_id)
            journal.set_meta("did", identity.did.encode())
            note = {"backup_ns": None, "restored_ns": time.time_ns()}
            journal.set_meta(RESTORED_KEY, json.dumps(note).encode())
        aside = _put_aside(home)
        os.rename(new, home / JOURNAL)
        sync_folder(home)
    except OSError as error:
        raise disk_fault(error, home) from None
    return Recovered(identity.did, genesis.mesh_name, damage, aside)


def _damage(home: Path, did: str) -> str:
    """What is wrong with the journal; "" if nothing is. LocalFault if it is somebody else's business."""
    path = home / JOURNAL
    if not path.exists():
        return "it is gone"
    if not path.stat().st_size:
        return "it is empty"
    try:
        with closing(read_only(path)) as db:
            (said,) = db.execute("pragma quick_check(1)").fetchone()
            if said != "ok":
                return str(said)
            known = dict(db.execute("select key, value from meta where key in ('mesh_id', 'did')"))
        if "mesh_id" not in known:
            return "it is empty"
        if whose := bytes(known.get("did", b"")).decode():
            if whose != did:
                raise LocalFault("other-key", f"{path} is of {whose}", fix="put its node.key back")
        digests(home)
    except sqlite3.DatabaseError as error:
        return str(error)
    except CorruptState as fault:
        return fault.message
    return ""


def _put_aside(home: Path) -> Path | None:
    left = [path for name in _ASIDE for suffix in _SUFFIXES if (path := home / f"{name}{suffix}").exists()]
    if not left:
        return None
    aside = home / time.strftime("lost-%Y%m%d-%H%M%S", time.gmtime())
    aside.mkdir(mode=0o700, exist_ok=True)
    for path in left:
        os.rename(path, aside / path.name)
    sync_folder(aside)
    return aside
