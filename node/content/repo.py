"""The embedded content store: an SQLite index with small blocks in it, packs with the large ones, pins, a quota.

A folder of its own (HOME/content), owned by one process at a time: the daemon, or a command while no daemon runs.
Safe to use from any thread: one connection writes under a lock, another one reads and never waits for it.

What kill -9 leaves is whole: blocks count once their transaction has committed. A power cut may take what was put since
the last `sync`; blocks whose bytes did not reach the disk are found and forgotten when the store is opened.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from swarmd.node.content.dag import walk
from swarmd.node.content.repo_writer import RepoWriter
from swarmd.node.ports import Pin, Usage
from swarmd.protocol.cids import cid_text, is_cid, verify_block
from swarmd.protocol.faults import LocalFault, RemoteFault

INDEX_FILE: Final = "index.db"
# What a batch holds in memory before it writes: few transactions, short ones.
FLUSH_BYTES: Final = 8 * 1_048_576
FLUSH_BLOCKS: Final = 16_384
# A block that is put again counts as new for garbage collection; not worth a write within this time.
_TOUCH_S: Final = 60
# The disk is called full before it is: the journal beside must go on.
RESERVE_BYTES: Final = 64 * 1_048_576
_PAGE_ROWS: Final = 2_000

Put = Callable[[bytes, bytes], None]
Data = bytes | memoryview


class ContentRepo(RepoWriter):
    """`ContentStore` in the folder `folder`. LocalFault `content-in-use` if another process has it."""

    # Reading -------------------------------------------------------------------------------------------

    def get(self, cid: bytes) -> bytes | None:
        """The verified block, or None. One whose bytes do not hash to its CID counts as missing, and the next put
        of that CID replaces it."""
        block = self._read(cid)
        if block is None:
            return None
        if not verify_block(cid, block):
            block = self._read(cid)  # its pack may have been rewritten between the two steps of a read
            if block is None or not verify_block(cid, block):
                self._corrupt.add(cid)
                return None
        return block

    def _read(self, cid: bytes) -> bytes | None:
        """What lies under `cid`, not yet verified; b"" where its file is gone."""
        with self._whole(), self._read_lock:
            row = self._reader.execute("select block from blocks where cid = ?", (cid,)).fetchone()
            if row is not None:
                return row[0] if isinstance(row[0], bytes) else b""
            row = self._reader.execute("select pack, at, size from large where cid = ?", (cid,)).fetchone()
            return None if row is None else self.packs.read(*row) or b""

    def has(self, cid: bytes) -> bool:
        """Is there a block of `cid` not known to be corrupt? The bytes are verified by `get` only."""
        return self.size_of(cid) is not None

    def size_of(self, cid: bytes) -> int | None:
        if cid in self._corrupt:
            return None
        with self._whole(), self._read_lock:
            row = self._reader.execute(
                "select length(block) from blocks where cid = ? union all select size from large where cid = ?",
                (cid, cid),
            ).fetchone()
        return None if row is None else int(row[0])

    def known_corrupt(self, cid: bytes) -> bool:
        return cid in self._corrupt

    def cids(self) -> Iterator[bytes]:
        """Every block that is here, by table and CID; what comes or goes meanwhile may be missed."""
        for table in ("blocks", "large"):
            last = b""
            while True:
                with self._whole(), self._read_lock:
                    page = self._reader.execute(
                        f"select cid from {table} where cid > ? order by cid limit {_PAGE_ROWS}", (last,)
                    ).fetchall()
                if not page:
                    break
                for (cid,) in page:
                    yield cid
                last = page[-1][0]

    # Pins ----------------------------------------------------------------------------------------------

    def pin(self, cid: bytes, *, recursive: bool = True, name: str = "") -> Pin:
        """Keep a block or a whole DAG; everything put before is on disk once this returns.

        LocalFault `content-missing` names a block that is not here. RemoteFault if a node of it cannot be read.
        """
        if not is_cid(cid):
            raise RemoteFault("bad-cid", "not a binary sha2-256 CIDv1 of raw, dag-pb or dag-cbor")
        for each in walk(cid, self.get) if recursive else [cid]:
            if not self.has(each):
                raise LocalFault(
                    "content-missing",
                    f"block {cid_text(each)} is not here",
                    fix="fetch or add the content first",
                )
        self.sync()
        pin = Pin(cid, recursive, name, int(self.clock_s()))
        with self.write_lock, self._whole(), self.transaction(durable=True):
            self.pins_turn += 1
            # A recursive pin covers a direct one; the other way round it would let go of what is below.
            self.db.execute(
                "insert into pins values (?, ?, ?, ?) on conflict (cid) do update set "
                "recursive = max(recursive, excluded.recursive), name = excluded.name",
                (cid, recursive, name, pin.at_s),
            )
        return pin

    def unpin(self, cid: bytes) -> bool:
        with self.write_lock, self._whole(), self.transaction(durable=True):
            self.pins_turn += 1
            return self.db.execute("delete from pins where cid = ?", (cid,)).rowcount > 0

    def pins(self) -> Sequence[Pin]:
        """Oldest first."""
        with self._whole(), self._read_lock:
            rows = self._reader.execute(
                "select cid, recursive, name, at_s from pins order by at_s, cid"
            ).fetchall()
        return [Pin(cid, bool(recursive), name, at_s) for cid, recursive, name, at_s in rows]

    def usage(self) -> Usage:
        with self._whole(), self._read_lock:
            blocks, size = self._reader.execute("select blocks, bytes from totals").fetchone()
            (pins,) = self._reader.execute("select count(*) from pins").fetchone()
            (packed,) = self._reader.execute("select coalesce(sum(bytes), 0) from packs").fetchone()
        files = [self.folder / f"{INDEX_FILE}{end}" for end in ("", "-wal")]
        disk = packed + sum(file.stat().st_size for file in files if file.exists())
        return Usage(blocks, size, disk, self.max_bytes, len(self._corrupt), pins)

    def __enter__(self) -> "ContentRepo":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
