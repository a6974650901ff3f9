"""Tiers: what is open is in memory, the batches of `keep_epochs` epochs in the journal, older ones in content blocks.

A block holds the sealed batches of one bucket and epoch, compressed, and is named by its CID like any content. `thread`
and `why` read through all tiers. Cold blocks are dropped, the oldest first, when they take more than a bound.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import trio
from swarmd.node.checkpoint.records import Records
from swarmd.node.content.roots import roots_said
from swarmd.node.journal import Journal
from swarmd.protocol import kinds, limits
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.chains import Chain, Head
from swarmd.protocol.checkpoint.packing import compress, decompress
from swarmd.protocol.cids import raw_cid
from swarmd.protocol.envelope import Envelope, reparse
from swarmd.protocol.faults import LocalFault

log = logging.getLogger("swarmd.checkpoint")

KEEP_EPOCHS = 10
MAX_COLD_BYTES = 1 << 30
RETRY_S = 30.0
# Before compression; what comes out is smaller than a block may be.
PART_BYTES = 900_000
# Some of these bytes are in every envelope that brings content; two in nine of a need's have them.
_OF_CONTENT = (encode(kinds.NEED), encode(kinds.COMMIT))


class Blocks(Protocol):
    """What it needs of the block store."""

    def put_many(self, blocks: Iterable[tuple[bytes, bytes]], /) -> int: ...

    def get(self, cid: bytes) -> bytes | None: ...

    def delete(self, cid: bytes) -> bool: ...


@dataclass(frozen=True, slots=True)
class Warm:
    """What the rows of the journal up to `newest` hold."""

    newest: int = 0
    batches: int = 0
    bytes: int = 0


class Pruner:
    """`wake` when an epoch has begun; `run` puts away what is older than `keep_epochs` then."""

    def __init__(
        self,
        journal: Journal,
        records: Records,
        blocks: Blocks,
        keep_epochs: int = KEEP_EPOCHS,
        max_cold_bytes: int = MAX_COLD_BYTES,
    ) -> None:
        self._journal = journal
        self._db = journal.db
        self._records = records
        self._blocks = blocks
        self._keep = keep_epochs
        self._max_cold_bytes = max_cold_bytes
        self._epoch = 0
        self._wake = trio.Event()
        self.due = False  # something is to be put away, or just being
        self.moved = 0  # batches put into blocks since the start
        self._warm = Warm()
        self.me = ""
        self.still_needed: Callable[[], Iterable[bytes]] = tuple  # content that open needs refer to
        self._needed: set[bytes] = set()  # that, since the pass at hand began
        self.proposed: Callable[[], Iterable[bytes]] = (
            tuple  # states of the snapshots that the next ballot is about
        )
        journal.cold = self.bodies

    def wake(self, epoch: int) -> None:
        self._epoch = epoch
        self.due = True
        self._wake.set()

    async def run(self) -> None:
        latest = self._records.latest()
        if latest is not None:
            self.wake(latest.epoch)  # an earlier life may have been cut short
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            try:
                await self.prune(self._epoch)
                self.due = self._wake.is_set()
            except LocalFault as fault:
                log.info("old batches stay where they are for now: %s", fault)
                await trio.sleep(RETRY_S)
                self._wake.set()

    def seen(self, envelope: Envelope) -> None:
        """Of each envelope that is taken: what a need began to refer to while its content was to be forgotten."""
        if self.due:
            self._needed.update(roots_said(envelope))

    async def prune(self, epoch: int) -> None:
        """Everything that is due when `epoch` has begun. A bucket at a time, each in one transaction; in between others
        have the thread for as long as that took, as one after the other would hold up everything that is said meanwhile."""
        self._forget_snapshots(epoch)
        old = self._records.at(epoch - self._keep)
        if old is None:
            return
        cut = self._records.cut(old.state)
        if cut is None:
            return
        buckets: dict[int, list[tuple[Chain, Head]]] = {}
        for chain, head in cut.items():
            buckets.setdefault(chain[2], []).append((chain, head))
        # Rows of chains that were closed before that one are no longer in its cut. We may have jumped over the one that had
        # them; else there is nothing left of these.
        for author, closed in self._records.over(old.head).items():
            for chain, seq in self._journal.chains_upto(author, closed):
                if chain not in cut:
                    buckets.setdefault(chain[2], []).append((chain, Head(seq, b"", 0, 0)))
        # Walking all open needs once a bucket would cost more than all else. What comes later is `seen`.
        self._needed = set(self.still_needed())
        for bucket, chains in sorted(buckets.items()):
            began_s = trio.current_time()
            self._put_away(bucket, old.epoch, old.state, chains)
            await trio.sleep(trio.current_time() - began_s)
        self._drop_coldest(epoch)

    def _forget_snapshots(self, epoch: int) -> None:
        """Whole snapshots: the last two, one to make the next on and one for who is still fetching it; and what may
        become the next, for this may run late. Cuts: those of the epochs that are still in the journal."""
        keep = [kept.state for kept in self._records.since(epoch - 1, 2)]
        keep += [*self._records.fresh(), *self.proposed()]
        cuts = [kept.state for kept in self._records.since(epoch - self._keep, self._keep + 1)]
        with self._journal.whole():
            self._records.forget_parts(keep, cuts)

    def _put_away(self, bucket: int, epoch: int, state: bytes, chains: list[tuple[Chain, Head]]) -> None:
        rows = [
            (row, body) for chain, head in chains for row, body in self._journal.rows_upto(chain, head.seq)
        ]
        if not rows:
            return
        blocks: list[tuple[bytes, bytes, int]] = []
        size, bodies = 0, []
        for number, (_, body) in enumerate(rows):
            bodies.append(body)
            size += len(body)
            if size >= PART_BYTES or number == len(rows) - 1:
                block = compress(encode(bodies))
                blocks.append((raw_cid(block), block, len(bodies)))
                size, bodies = 0, []
        gone, warm = self._content_of(rows), self._warm_now()
        # Nothing waits for this to be on disk: who loses power before it is does it again, and comes to the same blocks.
        with self._journal.whole(sync_later=True):
            self._blocks.put_many([(cid, block) for cid, block, _ in blocks])
            self._db.executemany(
                "insert or replace into cold values (?, ?, ?, ?, ?, ?)",
                [
                    (bucket, epoch, part, cid, count, len(block))
                    for part, (cid, block, count) in enumerate(blocks)
                ],
            )
            self._db.executemany("delete from batches where rowid = ?", [(row,) for row, _ in rows])
            self._records.set_floor(state)
            for cid in gone:
                self._blocks.delete(cid)
        self.moved += len(rows)
        size = sum(len(body) for _, body in rows)
        self._warm = Warm(warm.newest, warm.batches - len(rows), warm.bytes - size)

    def _content_of(self, rows: list[tuple[int, bytes]]) -> set[bytes]:
        """Inputs and results of others' needs, kept here for work and judgement that are long over. What this node's
        own needs came to stays: that is its owner's."""
        found: dict[str, set[bytes]] = {}
        for _, body in rows:
            _, raws, _ = decode(body)
            for envelope in (reparse(raw) for raw in raws if any(kind in raw for kind in _OF_CONTENT)):
                if envelope.kind == kinds.NEED:
                    inline = {raw_cid(block) for block in envelope.payload.get("inline", ())}
                    found.setdefault(envelope.thread, set()).update(inline)
                elif envelope.kind == kinds.COMMIT:
                    found.setdefault(envelope.thread, set()).add(bytes(envelope.payload["result"]))
        kept: set[bytes] = set()
        gone: set[bytes] = set()
        for need, cids in found.items():
            row = self._db.execute("select row from closed where need = ?", (need,)).fetchone()
            ours = row is not None and row[0] is not None and decode(row[0])["owner"] == self.me
            (kept if ours else gone).update(cids)
        return gone - kept - self._needed

    def _drop_coldest(self, epoch: int) -> None:
        rows = self._db.execute(
            "select epoch, sum(bytes) from cold group by epoch order by epoch desc"
        ).fetchall()
        held = 0
        for old, size in rows:
            held += size
            if held > self._max_cold_bytes and old < epoch - self._keep:
                with self._journal.whole(sync_later=True):
                    cids = self._db.execute("select cid from cold where epoch <= ?", (old,)).fetchall()
                    self._db.execute("delete from cold where epoch <= ?", (old,))
                    self._db.execute("delete from closed where epoch <= ?", (old,))
                    for (cid,) in cids:
                        self._blocks.delete(bytes(cid))
                log.info("%d blocks of cold batches are dropped: they took more than the bound", len(cids))
                return

    # Reading -------------------------------------------------------------------------------------------

    def bodies(self, bucket: int) -> Iterator[bytes]:
        """Stored batches of a bucket that are in blocks, oldest first. One whose block is gone is left out."""
        rows = self._db.execute(
            "select cid from cold where bucket = ? order by epoch, part", (bucket,)
        ).fetchall()
        for (cid,) in rows:
            block = self._blocks.get(bytes(cid))
            if block is None:
                log.warning("the block of old batches %s is gone", bytes(cid).hex())
                continue
            yield from decode(decompress(block))

    def _warm_now(self) -> "Warm":
        """What is in the journal: only rows that came since the last look are read."""
        warm = self._warm
        newest, count, size = self._db.execute(
            "select coalesce(max(rowid), ?), count(*), coalesce(sum(length(body)), 0) from batches"
            " where rowid > ?",
            (warm.newest, warm.newest),
        ).fetchone()
        self._warm = Warm(newest, warm.batches + count, warm.bytes + size)
        return self._warm

    def status(self) -> dict[str, Any]:
        """How much is in which tier."""
        warm = self._warm_now()
        cold = self._db.execute(
            "select coalesce(sum(batches), 0), coalesce(sum(bytes), 0), min(epoch), count(*) from cold"
        ).fetchone()
        return {
            "keep_epochs": self._keep,
            "warm": {"batches": warm.batches, "bytes": warm.bytes},
            "cold": {"batches": cold[0], "bytes": cold[1], "oldest_epoch": cold[2], "blocks": cold[3]},
        }


assert PART_BYTES < limits.MAX_BLOCK_BYTES
