"""Whether a journal is this node's own, and all that it has said is in it: else the node would contradict itself.

That a node has spoken is kept beside its journal, for a journal that is lost must not go unnoticed. Beginning again with an
empty one, the node would use the numbers anew that it has used: equivocation, for which the others cut it off. docs/backup.md.
"""

from pathlib import Path
from typing import Final

from swarmd.node.journal import Journal
from swarmd.node.private_file import write_private
from swarmd.node.resume import RESUME_FILE
from swarmd.node.setup import GENESIS_FILE
from swarmd.protocol.faults import LocalFault

JOURNAL_FILE: Final = "journal.db"
SPOKEN_FILE: Final = "spoken"
_TEXT: Final = (
    b"This node has spoken on its mesh, and journal.db says what. Should that be lost: docs/backup.md.\n"
)


def open_own(home: Path, mesh_id: bytes, did: str) -> Journal:
    """The journal of a home, to go on with. LocalFault `journal-lost`, `other-key`, `other-mesh` and those of `Journal`."""
    if is_lost(home):
        raise journal_lost(home)
    journal = Journal(home / JOURNAL_FILE)
    try:
        _claim(journal, home, mesh_id, did)
    except BaseException:
        journal.close()
        raise
    return journal


def _claim(journal: Journal, home: Path, mesh_id: bytes, did: str) -> None:
    known, whose = journal.meta("mesh_id"), journal.meta("did")
    if known is None and _has_spoken(home):
        raise journal_lost(home)
    if whose is not None and whose != did.encode():
        raise LocalFault(
            "other-key",
            f"{home} holds the journal of {whose.decode()}, its node.key is of {did}",
            fix="put the node.key it was made with back, or use another --home",
        )
    if known is not None and known != mesh_id:
        raise LocalFault(
            "other-mesh",
            f"{home} holds the journal of another mesh than its {GENESIS_FILE}",
            fix="put the genesis.json it was made with back, or use another --home",
        )
    if known is None or whose is None:
        with journal.whole():
            journal.set_meta("mesh_id", mesh_id)
            journal.set_meta("did", did.encode())
    note_spoken(home)


def is_lost(home: Path) -> bool:
    """Is there no journal, though this node has spoken?"""
    journal = home / JOURNAL_FILE
    return _has_spoken(home) and not (journal.exists() and journal.stat().st_size)


def _has_spoken(home: Path) -> bool:
    # Homes of before have no such file, but the other.
    return (home / SPOKEN_FILE).exists() or (home / RESUME_FILE).exists()


def note_spoken(home: Path) -> None:
    """Before it says anything. LocalFault `disk-error`."""
    path = home / SPOKEN_FILE
    if path.exists():
        return
    try:
        write_private(path, _TEXT)
    except OSError as error:
        raise LocalFault("disk-error", f"{path}: {error.strerror}", fix="free some space") from None


def journal_lost(home: Path) -> LocalFault:
    return LocalFault(
        "journal-lost",
        f"{home} is of a node that has spoken, and what it said is gone: its journal.db is missing or empty",
        fix="restore a backup into a new home (swarmd backup restore); if there is none: swarmd backup recover",
    )
