"""Garbage collection of the embedded store: mark what pins and the node's own needs reach, sweep the rest, give the
space of packs back. And verification: every block read and hashed.

It runs in a worker thread beside everything else. A block is swept only if it is older than the grace period: what is
being added is not pinned before its end. Putting a block again makes it young again.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

from swarmd.node.content.dag import links_of
from swarmd.node.content.repo import ContentRepo
from swarmd.protocol.cids import DAG_CBOR, DAG_PB, codec_of, verify_block
from swarmd.protocol.faults import LocalFault, RemoteFault

GRACE_S: Final = 3_600.0
_SWEEP_ROWS: Final = 512
_MARK_ROWS: Final = 4_096
# A pack is written anew when less than this part of it is still needed.
_WORTH_KEEPING: Final = 0.5
_COPY_BYTES: Final = 4 * 1_048_576

Roots = Callable[[], Iterable[bytes]]
Tell = Callable[[str, int], None]  # (phase, how many more)


@dataclass(slots=True)
class Collected:
    """What a collection did. `young_*`: not reachable, but within the grace period."""

    blocks: int = 0
    bytes: int = 0
    kept_blocks: int = 0
    young_blocks: int = 0
    young_bytes: int = 0
    disk_bytes: int = 0  # given back to the file system
    packs_rewritten: int = 0

    def to_map(self) -> dict[str, int]:
        return asdict(self)


def collect(
    repo: ContentRepo,
    roots: Roots = lambda: (),
    *,
    grace_s: float = GRACE_S,
    not_after_s: Callable[[], float] = lambda: float("inf"),
    tell: Tell = lambda *_: None,
) -> Collected:
    """Delete what neither a pin nor `roots` reaches and what is older than `grace_s`.

    `roots` is asked again before each part of the sweep, from this thread. `not_after_s()`: nothing put since that
    Unix time goes either (the beginning of the oldest import that runs). kill -9 at any point leaves a whole store.
    """
    done = Collected()
    before = repo.usage().disk_bytes
    marks = _Marks(repo, roots, tell)
    try:
        marks.follow()
        cutoff_s = min(repo.clock_s() - grace_s, not_after_s())
        for table in ("blocks", "large"):
            _sweep(repo, marks, table, cutoff_s, done, tell)
        done.kept_blocks, done.young_blocks, done.young_bytes = marks.rest()
    finally:
        marks.drop()
    repo.sync()
    _compact(repo, done, tell)
    done.disk_bytes = max(0, before - repo.usage().disk_bytes)
    return done


class _Marks:
    """What is reachable, in a temporary table: constant memory, gone with the connection."""

    def __init__(self, repo: ContentRepo, roots: Roots, tell: Tell) -> None:
        self._repo = repo
        self._roots = roots
        self._tell = tell
        self._known: set[bytes] = set()  # roots that were followed
        self._nodes: set[bytes] = set()  # nodes that were read: a hundredth of the blocks
        self._turn = -1
        with repo.write_lock:
            repo.db.execute("drop table if exists temp.marked")
            repo.db.execute("create temp table marked (cid blob not null primary key) without rowid")

    def follow(self) -> bool:
        """Mark below roots that are new; False if there were none."""
        turn = self._repo.pins_turn
        direct, deep = [], set(self._roots())
        for pin in self._repo.pins():
            if pin.recursive:
                deep.add(pin.cid)
            else:
                direct.append(pin.cid)
        fresh = (deep | set(direct)) - self._known
        self._turn = turn
        if not fresh:
            return False
        pending = list(direct)
        for cid in deep - self._known:
            for each in self._below(cid):
                pending.append(each)
                if len(pending) >= _MARK_ROWS:
                    self._mark(pending)
        self._mark(pending)
        self._known |= fresh
        return True

    @property
    def current(self) -> bool:
        """Are the pins those that were followed? Under the write lock."""
        return self._turn == self._repo.pins_turn

    def _below(self, root: bytes) -> Iterator[bytes]:
        stack = [root]
        while stack:
            cid = stack.pop()
            if codec_of(cid) not in (DAG_PB, DAG_CBOR):
                yield cid
                continue
            if cid in self._nodes:
                continue
            self._nodes.add(cid)
            yield cid
            block = self._repo.get(cid)
            if block is not None:
                # A node that cannot be read keeps itself, and what is below it nobody can find.
                with suppress(RemoteFault):
                    stack += links_of(cid, block)

    def _mark(self, cids: list[bytes]) -> None:
        with self._repo.write_lock, self._repo.transaction():
            self._repo.db.executemany(
                "insert or ignore into temp.marked values (?)", [(cid,) for cid in cids]
            )
        self._tell("mark", len(cids))
        cids.clear()

    def rest(self) -> tuple[int, int, int]:
        """(blocks marked, unmarked blocks, their bytes) of what is here."""
        with self._repo.write_lock:
            blocks, size = self._repo.db.execute(
                "select count(*), coalesce(sum(size), 0) from (select size from large where cid not in "
                "(select cid from temp.marked) union all select length(block) from blocks where cid not in "
                "(select cid from temp.marked))"
            ).fetchone()
            (every,) = self._repo.db.execute("select blocks from totals").fetchone()
        return every - blocks, blocks, size

    def drop(self) -> None:
        with self._repo.write_lock:
            self._repo.db.execute("drop table if exists temp.marked")


def _sweep(
    repo: ContentRepo, marks: _Marks, table: str, cutoff_s: float, done: Collected, tell: Tell
) -> None:
    last = b""
    while True:
        while marks.follow():
            pass
        with repo.write_lock:
            if not marks.current:
                continue
            page = repo.db.execute(
                f"select cid from {table} where cid > ? and at_s < ? and cid not in "
                f"(select cid from temp.marked) order by cid limit {_SWEEP_ROWS}",
                (last, cutoff_s),
            ).fetchall()
            if not page:
                return
            last = page[-1][0]
            with repo.transaction():
                blocks, size = repo.forget(cid for (cid,) in page)
        done.blocks += blocks
        done.bytes += size
        tell("sweep", blocks)


# Packs -----------------------------------------------------------------------------------------------------


def _compact(repo: ContentRepo, done: Collected, tell: Tell) -> None:
    """Remove packs nobody needs, and write anew those that are mostly holes."""
    repo.close_pack()
    with repo.write_lock:
        packs = repo.db.execute("select id, bytes, live from packs where bytes > 0").fetchall()
    for pack, size, live in packs:
        if live == 0:
            _drop(repo, pack)
        elif live < size * _WORTH_KEEPING:
            try:
                _rewrite(repo, pack, live)
            except LocalFault as fault:
                if fault.code != "disk-full":
                    raise
                continue  # a copy needs room for a moment: next time
            done.packs_rewritten += 1
        else:
            continue
        tell("compact", 1)


def _drop(repo: ContentRepo, pack: int) -> None:
    with repo.write_lock:
        with repo.transaction(durable=True):
            # Looked at again: an unused pack may be the one that is appended to by now.
            gone = repo.db.execute("delete from packs where id = ? and live = 0", (pack,)).rowcount
        if gone:
            repo.packs.remove(pack)


def _rewrite(repo: ContentRepo, pack: int, live: int) -> None:
    """Copy what is needed of `pack` into a new one, which is on disk before the index speaks of it."""
    repo.check_room(live)
    with repo.write_lock, repo.transaction():
        (target,) = repo.db.execute("select max(id) + 1 from packs").fetchone()
        # Full, for the index: nobody else must append to it. After kill -9 here the next collection drops it.
        repo.db.execute("insert into packs values (?, ?, 0, ?)", (target, repo.pack_bytes, repo.pack_bytes))
        rows = repo.db.execute(
            "select cid, at, size from large where pack = ? order by at", (pack,)
        ).fetchall()
    moved: list[tuple[int, int, bytes, int]] = []
    end = 0
    group: list[bytes] = []
    with repo.packs.writing(target) as write:
        for cid, at, size in rows:
            block = repo.packs.read(pack, at, size)
            if block is None or not verify_block(cid, block):
                continue  # rotten: it goes with its pack
            moved.append((target, end, cid, pack))
            group.append(block)
            end += size
            if sum(map(len, group)) >= _COPY_BYTES:
                write(group)
                group.clear()
        write(group)
    with repo.write_lock:
        with repo.transaction(durable=True):
            repo.db.executemany("update large set pack = ?, at = ? where cid = ? and pack = ?", moved)
            (live,) = repo.db.execute(
                "select coalesce(sum(size), 0) from large where pack = ?", (target,)
            ).fetchone()
            repo.db.execute(
                "update packs set bytes = ?, live = ?, synced = ? where id = ?", (end, live, end, target)
            )
            rotten = repo.db.execute("select cid from large where pack = ?", (pack,)).fetchall()
            repo.forget(cid for (cid,) in rotten)
            repo.db.execute("delete from packs where id = ?", (pack,))
        repo.packs.remove(pack)


# Verification ----------------------------------------------------------------------------------------------


def verify(repo: ContentRepo, tell: Tell = lambda *_: None) -> dict[str, Any]:
    """Read and hash every block. {"blocks", "bytes", "corrupt": [CIDs]}; those count as missing from now on."""
    blocks = size = told = 0
    corrupt = []
    for cid in repo.cids():
        block = repo.get(cid)
        if block is None:
            if repo.known_corrupt(cid):
                corrupt.append(cid)
            continue
        blocks += 1
        size += len(block)
        if size - told >= _COPY_BYTES:
            tell("verify", size - told)
            told = size
    tell("verify", size - told)
    return {"blocks": blocks, "bytes": size, "corrupt": corrupt}
