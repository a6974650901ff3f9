"""The writing half of the embedded content store: groups of blocks into rows and packs, syncing, deleting, recovery."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from swarmd.node.content.index import MAX_ROW_BYTES, index_fault, open_reader, open_writer, own
from swarmd.node.content.packs import PACK_BYTES, Packs, disk_fault
from swarmd.node.content.store import check_block, grouped, put_all
from swarmd.protocol.cids import verify_block
from swarmd.protocol.faults import LocalFault

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


class RepoWriter:
    """The folder, its lock, its two connections, and all that writes. `ContentRepo` adds reading and pins."""

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = 0,
        reserve_bytes: int = RESERVE_BYTES,
        pack_bytes: int = PACK_BYTES,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """`max_bytes`: quota over the bytes of all blocks, 0 for none. `reserve_bytes`: left free on the disk."""
        self.folder = folder
        self.max_bytes = max_bytes
        self._reserve_bytes = reserve_bytes
        self.pack_bytes = pack_bytes
        self.clock_s = clock_s
        self._lock_fd = own(folder)
        try:
            self.packs = Packs(folder / "packs")
            path = folder / INDEX_FILE
            self.db = open_writer(path)
            try:
                self._reader = open_reader(path)
            except BaseException:
                self.db.close()
                raise
        except BaseException:
            os.close(self._lock_fd)
            raise
        self.write_lock = threading.RLock()
        self._read_lock = threading.Lock()
        self._corrupt: set[bytes] = set()
        self._unsynced = False
        self._closed = False
        self.pins_turn = 0  # moves with each change of the pins
        try:
            self._recover()
            self._load()
        except BaseException:
            self.close()
            raise

    def _load(self) -> None:
        self._blocks, self._bytes = self.db.execute("select blocks, bytes from totals").fetchone()
        row = self.db.execute("select id, bytes from packs order by id desc limit 1").fetchone()
        newest: tuple[int, int] | None = row
        self._pack, self._pack_at = newest or (0, self.pack_bytes)

    def _recover(self) -> None:
        """Forget what a power cut has torn: bytes behind the last `sync` of their pack are read once."""
        known = {pack for (pack,) in self.db.execute("select id from packs")}
        for pack in set(self.packs.on_disk()) - known:
            self.packs.remove(pack)  # begun, but never in the index; or collected, but not yet removed
        for pack, synced in self.db.execute("select id, synced from packs where bytes > synced").fetchall():
            rows = self.db.execute(
                "select cid, at, size from large where pack = ? and at + size > ?", (pack, synced)
            ).fetchall()
            torn = [
                (cid, size)
                for cid, at, size in rows
                if not verify_block(cid, self.packs.read(pack, at, size) or b"")
            ]
            self.packs.sync(pack)
            with self.transaction(durable=True):
                for cid, size in torn:
                    self.db.execute("delete from large where cid = ?", (cid,))
                    self.db.execute("update packs set live = live - ? where id = ?", (size, pack))
                    self.db.execute("update totals set blocks = blocks - 1, bytes = bytes - ?", (size,))
                self.db.execute("update packs set synced = bytes where id = ?", (pack,))

    # Writing -------------------------------------------------------------------------------------------

    def put(self, cid: bytes, block: bytes) -> None:
        """Store one block; storing it again does nothing. RemoteFault unless it hashes to `cid`."""
        check_block(cid, block)
        self.put_group({cid: block})

    def put_many(self, blocks: Iterable[tuple[bytes, bytes]], /) -> int:
        """Store pairs as they come. A RemoteFault ends it: pairs before the bad one may be stored."""
        return put_all(self.batch(), blocks)

    def batch(self) -> AbstractContextManager[Put]:
        """A `put` for streams; see `grouped`."""
        return grouped(self.put_group, FLUSH_BYTES, FLUSH_BLOCKS)

    def put_group(self, blocks: Mapping[bytes, Data]) -> None:
        """Store blocks whose CIDs the caller has just made of them, in one transaction. Buffers are written from
        where they lie, and are the caller's again once this returns."""
        with self.write_lock, self._whole():
            rows = {cid: block for cid, block in blocks.items() if len(block) <= MAX_ROW_BYTES}
            if len(rows) < len(blocks) or not self._all_new(rows):
                self._store(self._fresh(blocks))

    def _all_new(self, rows: Mapping[bytes, Data]) -> bool:
        """Insert small blocks at once; False, and nothing done, if one of them is here already or is too much."""
        size = sum(map(len, rows.values()))
        if not self._corrupt.isdisjoint(rows) or (self.max_bytes and self._bytes + size > self.max_bytes):
            return False
        self.check_room(size)
        now_s = int(self.clock_s())
        try:
            with self.transaction():
                self.db.executemany(
                    "insert into blocks values (?, ?, ?)",
                    [(cid, block, now_s) for cid, block in rows.items()],
                )
                self._count(len(rows), size)
        except sqlite3.IntegrityError:
            return False
        self._unsynced = True
        return True

    def _store(self, fresh: Mapping[bytes, Data]) -> None:
        """Blocks that are not here."""
        if not fresh:
            return
        size = sum(map(len, fresh.values()))
        self.check_room(size)
        now_s = int(self.clock_s())
        rows = [(cid, block, now_s) for cid, block in fresh.items() if len(block) <= MAX_ROW_BYTES]
        large = [(cid, block) for cid, block in fresh.items() if len(block) > MAX_ROW_BYTES]
        with self.transaction():
            self.db.executemany("insert into blocks values (?, ?, ?)", rows)
            if large:
                self._append(large, now_s)
            self._count(len(fresh), size)
        self._unsynced = True

    def _count(self, blocks: int, size: int) -> None:
        """Within a transaction; its end without a commit reads the totals anew."""
        self.db.execute("update totals set blocks = blocks + ?, bytes = bytes + ?", (blocks, size))
        self._blocks += blocks
        self._bytes += size

    def _fresh(self, blocks: Mapping[bytes, Data]) -> Mapping[bytes, Data]:
        """Those that are not here yet. Those that are count as put now; a rotten one makes way."""
        found: dict[bytes, int] = {}
        cids = list(blocks)
        for first in range(0, len(cids), 500):
            part = cids[first : first + 500]
            marks = ",".join("?" * len(part))
            for table in ("blocks", "large"):
                found.update(
                    self.db.execute(f"select cid, at_s from {table} where cid in ({marks})", part).fetchall()
                )
        if not found:
            return blocks
        rotten = self._corrupt & found.keys()
        for cid in rotten:
            self.delete(cid)
            del found[cid]
        stale_s = int(self.clock_s()) - _TOUCH_S
        stale = [cid for cid, at_s in found.items() if at_s < stale_s]
        if stale:
            with self.transaction():
                self.touch(stale)
        return {cid: block for cid, block in blocks.items() if cid not in found}

    def touch(self, cids: Iterable[bytes]) -> None:
        """Count blocks as put now. Within a transaction."""
        now_s = int(self.clock_s())
        values = [(now_s, cid) for cid in cids]
        for table in ("blocks", "large"):
            self.db.executemany(f"update {table} set at_s = ? where cid = ?", values)

    def check_room(self, size: int) -> None:
        """LocalFault `content-quota` or `disk-full` if `size` bytes more do not fit."""
        if self.max_bytes and self._bytes + size > self.max_bytes:
            raise LocalFault(
                "content-quota",
                f"the store holds {self._bytes} bytes and may hold {self.max_bytes}; {size} more do not fit",
                fix="swarmd content gc, unpin what is not needed, or raise content_max_bytes",
            )
        disk = os.statvfs(self.folder)
        if disk.f_bavail * disk.f_frsize < size + self._reserve_bytes:
            raise LocalFault(
                "disk-full",
                f"{self.folder} has {disk.f_bavail * disk.f_frsize} bytes left, "
                f"{self._reserve_bytes} of them are kept for the node's own journal",
                fix="free space on its disk, or swarmd content gc",
            )

    def _append(self, blocks: Sequence[tuple[bytes, Data]], now_s: int) -> None:
        """Into the newest pack, or a new one. Within a transaction: without its commit nothing has happened."""
        todo = list(blocks)
        pack, at = self._pack, self._pack_at
        while todo:
            if at >= self.pack_bytes:
                row = self.db.execute("select coalesce(max(id), 0) + 1 from packs").fetchone()
                pack, at = max(int(row[0]), pack + 1), 0
                self.db.execute("insert into packs values (?, 0, 0, 0)", (pack,))
            group, rows, start = [], [], at
            while todo and at < self.pack_bytes:
                cid, block = todo.pop(0)
                rows.append((cid, pack, at, len(block), now_s))
                group.append(block)
                at += len(block)
            self.packs.append(pack, start, group)
            self.db.executemany("insert into large values (?, ?, ?, ?, ?)", rows)
            self.db.execute(
                "update packs set bytes = ?, live = live + ? where id = ?", (at, at - start, pack)
            )
        self._pack, self._pack_at = pack, at

    def close_pack(self) -> None:
        """What is put next begins a new pack."""
        with self.write_lock:
            self._pack_at = self.pack_bytes

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """All of it or nothing; joins one that is open. With `durable` on disk at its end, and all before it."""
        if self.db.in_transaction:
            yield
            return
        if durable:
            self.db.execute("pragma synchronous = full")
        self.db.execute("begin immediate")
        try:
            yield
            self.db.execute("commit")
        except BaseException:
            # SQLite ends the transaction itself on some errors (disk full); then there is nothing left.
            if self.db.in_transaction:
                self.db.execute("rollback")
            self._load()  # where the newest pack ends, and what there is
            raise
        finally:
            if durable:
                self.db.execute("pragma synchronous = normal")

    @contextmanager
    def _whole(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise index_fault(error, self.folder / INDEX_FILE) from error
        except OSError as error:
            raise disk_fault(error, self.folder) from error

    def sync(self) -> None:
        """Whatever was put before survives a power cut once this returns."""
        with self._whole():
            with self.write_lock:
                if not self._unsynced:
                    return
                self._unsynced = False
                ends = self.db.execute("select id, bytes from packs where bytes > synced").fetchall()
            try:
                for pack, _ in ends:  # not under the lock: the others may go on putting
                    self.packs.sync(pack)
                with self.write_lock, self.transaction(durable=True):
                    self.db.execute("update totals set turn = turn + 1")
                    self.db.executemany(
                        "update packs set synced = max(synced, ?) where id = ?",
                        [(end, pack) for pack, end in ends],
                    )
            except BaseException:
                self._unsynced = True
                raise

    def delete(self, cid: bytes) -> bool:
        """Forget a block, pinned or not; False if there was none."""
        with self.write_lock, self._whole(), self.transaction():
            return self.forget([cid])[0] > 0

    def forget(self, cids: Iterable[bytes]) -> tuple[int, int]:
        """Delete blocks, within a transaction of the caller's; (blocks, bytes) that went."""
        blocks = size = 0
        for cid in cids:
            small = self.db.execute("select length(block) from blocks where cid = ?", (cid,)).fetchone()
            large = self.db.execute("select size, pack from large where cid = ?", (cid,)).fetchone()
            if small is not None:
                self.db.execute("delete from blocks where cid = ?", (cid,))
            elif large is not None:
                self.db.execute("delete from large where cid = ?", (cid,))
                self.db.execute("update packs set live = live - ? where id = ?", large)
            else:
                continue
            blocks += 1
            size += (small or large)[0]
            self._corrupt.discard(cid)
        self._count(-blocks, -size)
        return blocks, size

    def close(self) -> None:
        """Put everything on disk and let go of the folder. Once is enough."""
        with self.write_lock:
            if self._closed:
                return
            self._closed = True
            try:
                self.sync()
            finally:
                with self._read_lock:
                    self._reader.close()
                self.db.close()
                self.packs.close()
                os.close(self._lock_fd)
