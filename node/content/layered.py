"""The daemon's blocks: those of its journal, and those of the store of content.

What the node itself said and made (inputs, results, receipts) is in the journal, in the transaction that names it, and stays
as long as that does. What comes from elsewhere (fetched, added, imported) is in the store of content, where pins, quota
and garbage collection rule. A reader sees both.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from swarmd.node.content.repo import ContentRepo
from swarmd.node.content.store import SqliteBlockStore, StoreStat


class LayeredBlocks:
    """`BlockStore` of the daemon's own thread (the journal's connection is that thread's): reads both, writes to the
    journal. `content` is the same for what comes from elsewhere: it writes to the store of content.
    """

    def __init__(self, journal: SqliteBlockStore, repo: ContentRepo) -> None:
        self.journal = journal
        self.repo = repo

    @property
    def content(self) -> "FetchedBlocks":
        return FetchedBlocks(self.journal, self.repo)

    def put(self, cid: bytes, block: bytes) -> None:
        self.journal.put(cid, block)

    def put_many(self, blocks: Iterable[tuple[bytes, bytes]], /) -> int:
        return self.journal.put_many(blocks)

    def get(self, cid: bytes) -> bytes | None:
        block = self.journal.get(cid)
        return self.repo.get(cid) if block is None else block

    def has(self, cid: bytes) -> bool:
        return self.journal.has(cid) or self.repo.has(cid)

    def size_of(self, cid: bytes) -> int | None:
        size = self.journal.size_of(cid)
        return self.repo.size_of(cid) if size is None else size

    def delete(self, cid: bytes) -> bool:
        """From both; False if neither had it."""
        here, there = self.journal.delete(cid), self.repo.delete(cid)
        return here or there

    def stat(self) -> StoreStat:
        """Of both together: counted by a scan of the journal's rows, for operators."""
        journal, content = self.journal.stat(), self.repo.usage()
        return StoreStat(
            journal.blocks + content.blocks, journal.bytes + content.bytes, journal.corrupt + content.corrupt
        )


class FetchedBlocks(LayeredBlocks):
    """As `LayeredBlocks`, but what is put lands in the store of content, where it may be collected."""

    def put(self, cid: bytes, block: bytes) -> None:
        self.repo.put(cid, block)

    def put_many(self, blocks: Iterable[tuple[bytes, bytes]], /) -> int:
        return self.repo.put_many(blocks)


def journal_reader(path: Path) -> SqliteBlockStore | None:
    """The blocks of the journal of a daemon that does not run; None if it has none. Reads only."""
    if not path.exists():
        return None
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    if db.execute("select 1 from sqlite_master where name = 'blocks'").fetchone() is None:
        db.close()
        return None
    return SqliteBlockStore(db)
