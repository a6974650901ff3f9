"""The embedded content store: rows and packs, pins, quota, and what is left after kill -9 (P9's content half)."""

import io
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.node.content.bulk import import_stream
from swarmd.node.content.index import MAX_ROW_BYTES
from swarmd.node.content.repo import ContentRepo
from swarmd.node.content.unixfs import import_bytes, import_file, read_file
from swarmd.protocol.cids import cid_text, parse_cid, raw_cid
from swarmd.protocol.faults import CorruptState, LocalFault, RemoteFault
from swarmd.protocol.limits import MAX_BLOCK_BYTES

MakeRepo = Callable[..., ContentRepo]
SIZES = (0, 1, 300, MAX_ROW_BYTES, MAX_ROW_BYTES + 1, 262_144, MAX_BLOCK_BYTES)


def some(sizes: tuple[int, ...] = SIZES) -> dict[bytes, bytes]:
    blocks = [os.urandom(size) for size in sizes]
    return {raw_cid(block): block for block in blocks}


def test_rows_and_packs_give_back_what_was_put(repo: ContentRepo) -> None:
    blocks = some()
    for cid, block in blocks.items():
        assert repo.get(cid) is None and not repo.has(cid) and repo.size_of(cid) is None
        repo.put(cid, block)
        repo.put(cid, block)
        assert repo.get(cid) == block and repo.has(cid) and repo.size_of(cid) == len(block)
    usage = repo.usage()
    assert (usage.blocks, usage.bytes) == (len(blocks), sum(SIZES))
    assert set(repo.cids()) == set(blocks)
    for cid in blocks:
        assert repo.delete(cid) and not repo.delete(cid) and repo.get(cid) is None
    assert (repo.usage().blocks, repo.usage().bytes) == (0, 0)


def test_a_store_that_is_opened_again_has_it_all(make_repo: MakeRepo) -> None:
    blocks = some() | some((400_000,) * 7)  # several packs
    first = make_repo()
    first.put_many(blocks.items())
    pinned = first.pin(next(iter(blocks)), name="one")
    usage = first.usage()
    first.close()
    again = make_repo()
    assert all(again.get(cid) == block for cid, block in blocks.items())
    assert again.pins() == [pinned] and again.usage().bytes == usage.bytes
    assert len(again.packs.on_disk()) > 2
    more = some((300_000,) * 4)
    again.put_many(more.items())
    assert all(again.get(cid) == block for cid, block in (blocks | more).items())


@pytest.mark.parametrize(
    ("cid", "block", "code"),
    [
        (raw_cid(b"a"), b"b", "cid-mismatch"),
        (raw_cid(b"x" * (MAX_BLOCK_BYTES + 1)), b"x" * (MAX_BLOCK_BYTES + 1), "block-too-big"),
        (b"\x12\x20" + bytes(32), b"", "bad-cid"),
        (b"\x01\x55\x00\x01a", b"a", "bad-cid"),
        (b"\x01\x55\x13\x40" + bytes(64), b"", "bad-cid"),
    ],
)
def test_wrong_puts_are_refused(repo: ContentRepo, cid: bytes, block: bytes, code: str) -> None:
    for put in (lambda: repo.put(cid, block), lambda: repo.put_many([(cid, block)])):
        with pytest.raises(RemoteFault) as caught:
            put()
        assert caught.value.code == code
    assert repo.usage().blocks == 0


def test_one_process_owns_a_store(repo: ContentRepo) -> None:
    with pytest.raises(LocalFault, match="content-in-use"):
        ContentRepo(repo.folder)


def test_another_version_and_a_file_that_is_no_database(make_repo: MakeRepo, tmp_path: Path) -> None:
    make_repo().close()
    with sqlite3.connect(tmp_path / "content" / "index.db") as db:
        db.execute("pragma user_version = 99")
    db.close()
    with pytest.raises(LocalFault, match="newer-content-store"):
        make_repo()
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "index.db").write_bytes(b"certainly not a database" * 100)
    with pytest.raises(CorruptState, match="corrupt-block-store"):
        make_repo("junk")
    assert make_repo("fresh").usage().blocks == 0  # neither failure keeps a lock


def test_a_file_where_the_folder_should_be_is_the_callers_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalFault, match="no-block-store"):
        ContentRepo(tmp_path / "file" / "content")


@pytest.mark.parametrize("size", [500, 50_000])
def test_rot_is_missing_counted_and_healed_by_the_next_put(make_repo: MakeRepo, size: int) -> None:
    block = os.urandom(size)
    cid = raw_cid(block)
    first = make_repo()
    first.put(cid, block)
    first.close()
    if size > MAX_ROW_BYTES:
        pack = first.packs.path(1)
        rotten = bytearray(pack.read_bytes())
        rotten[size // 2] ^= 1
        pack.write_bytes(rotten)
    else:
        with sqlite3.connect(first.folder / "index.db") as db:
            db.execute("update blocks set block = ?", (bytes(size),))
        db.close()
    repo = make_repo()
    assert repo.has(cid) and repo.get(cid) is None
    assert not repo.has(cid) and repo.usage().corrupt == 1
    repo.put(cid, block)
    assert repo.get(cid) == block and repo.usage().corrupt == 0 and repo.usage().bytes == size


def test_a_pack_that_is_gone_costs_its_blocks_only(make_repo: MakeRepo) -> None:
    blocks = some((600_000,) * 4)
    first = make_repo()
    first.put_many(blocks.items())
    first.close()
    first.packs.path(1).unlink()
    repo = make_repo()
    here = [cid for cid in blocks if repo.get(cid) is not None]
    assert 0 < len(here) < 4
    repo.put_many(blocks.items())
    assert all(repo.get(cid) == block for cid, block in blocks.items())


def test_the_quota_counts_new_bytes_only_and_names_the_way_out(make_repo: MakeRepo) -> None:
    repo = make_repo(max_bytes=1_000_000)
    blocks = some((400_000, 400_000, 300))
    repo.put_many(blocks.items())
    with pytest.raises(LocalFault) as caught:
        repo.put_many(some((300_000,)).items())
    assert caught.value.code == "content-quota" and "gc" in caught.value.fix
    repo.put_many(blocks.items())  # here already: costs nothing
    repo.put_many((blocks | some((100_000,))).items())
    assert repo.usage().bytes == 900_300
    repo.delete(next(iter(blocks)))
    repo.put_many(some((300_000,)).items())


def test_a_disk_that_is_nearly_full_is_refused_before_it_is(make_repo: MakeRepo) -> None:
    repo = make_repo(reserve_bytes=1 << 60)
    with pytest.raises(LocalFault) as caught:
        repo.put(raw_cid(b"x"), b"x")
    assert caught.value.code == "disk-full" and caught.value.fix


def test_a_full_disk_in_the_middle_leaves_what_was_there(make_repo: MakeRepo) -> None:
    """A limit on the size of files stands in for the disk's: writes fail in the same place, half done."""
    repo = make_repo(pack_bytes=1 << 30)
    before = some((300_000,) * 3)
    repo.put_many(before.items())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    lost = some((300_000,) * 10)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, limits[1]))
        with pytest.raises(LocalFault) as caught:
            repo.put_many(lost.items())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert caught.value.code == "disk-full"
    assert not any(map(repo.has, lost)) and repo.usage().blocks == 3
    repo.put_many(lost.items())  # room again
    assert all(repo.get(cid) == block for cid, block in (before | lost).items())


def test_a_pin_wants_all_of_a_dag_and_stays_recursive(repo: ContentRepo) -> None:
    data = os.urandom(700_000)
    with repo.batch() as put:
        root = import_bytes(data, put)
    first = repo.pin(root.cid, name="data")
    assert first.recursive and repo.pins()[0].name == "data"
    repo.pin(root.cid, recursive=False)
    assert repo.pins()[0].recursive  # or what is below would be let go of
    repo.delete(raw_cid(data[:262_144]))
    with pytest.raises(LocalFault, match="content-missing"):
        repo.pin(root.cid)
    with pytest.raises(LocalFault, match="content-missing"):
        repo.pin(raw_cid(b"nowhere"), recursive=False)
    with pytest.raises(RemoteFault, match="bad-cid"):
        repo.pin(b"nonsense")
    assert repo.unpin(root.cid) and not repo.unpin(root.cid) and repo.pins() == []


class Trickle:
    """A stream without readinto that hands over less than it is asked for."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def read(self, size: int, /) -> bytes:
        part = self._data[self._at : self._at + min(size, 70_000)]
        self._at += len(part)
        return part


@pytest.mark.parametrize("size", [0, 1, 262_144, 262_145, 8_388_608, 8_388_609, 20_000_000])
def test_the_fast_importer_makes_the_same_blocks(repo: ContentRepo, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    blocks: dict[bytes, bytes] = {}
    expected = import_file(io.BytesIO(data), blocks.__setitem__)
    (tmp_path / "file").write_bytes(data)
    told: list[int] = []
    with open(tmp_path / "file", "rb", buffering=0) as file:
        assert import_stream(file, repo.put_group, progress=told.append) == expected
    assert set(repo.cids()) == set(blocks) and sum(told) == size
    assert b"".join(read_file(expected.cid, repo.get)) == data
    assert import_stream(Trickle(data), repo.put_group) == expected


def test_threads_may_share_a_store(repo: ContentRepo) -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for i in range(60):
                block = b"%d/%d" % (seed, i) + bytes(i * 1_000)
                repo.put(raw_cid(block), block)
                assert repo.get(raw_cid(block)) == block
                if i % 20 == 0:
                    repo.sync()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures and repo.usage().blocks == 240


WRITER = """
import os, sys
from pathlib import Path
from swarmd.node.content.repo import ContentRepo
from swarmd.protocol.cids import cid_text, raw_cid
repo = ContentRepo(Path(sys.argv[1]), pack_bytes=1_000_000)
while True:
    blocks = [os.urandom(size) for size in (300, 3_000, 30_000, 90_000)]
    repo.put_many((raw_cid(block), block) for block in blocks)
    print(*(cid_text(raw_cid(block)) for block in blocks), flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(make_repo: MakeRepo, tmp_path: Path) -> None:
    acknowledged: list[bytes] = []
    for kill_after in (1, 4, 17):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "content")], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        with child, child.stdout:
            for _ in range(kill_after):
                acknowledged += map(parse_cid, child.stdout.readline().split())
            os.kill(child.pid, signal.SIGKILL)
    repo = make_repo()
    assert len(acknowledged) == 4 * 22
    assert all(repo.get(cid) is not None for cid in acknowledged)
    every = list(repo.cids())
    blocks = [repo.get(cid) for cid in every]
    assert None not in blocks and repo.usage().bytes == sum(len(block or b"") for block in blocks)


def test_bytes_that_never_reached_the_disk_are_forgotten(make_repo: MakeRepo) -> None:
    """A power cut, played: the index knows of blocks whose pack ends before them, or holds zeros there."""
    first = make_repo()
    kept, lost = some((200_000,) * 2), some((200_000,) * 2)
    first.put_many(kept.items())
    first.sync()
    first.put_many(lost.items())
    first.sync = lambda: None  # type: ignore[method-assign]
    first.close()
    pack = first.packs.path(1)
    data = pack.read_bytes()
    pack.write_bytes(data[:400_000] + bytes(150_000))
    repo = make_repo()
    assert all(repo.get(cid) == block for cid, block in kept.items())
    assert not any(map(repo.has, lost))
    assert (repo.usage().blocks, repo.usage().bytes, repo.usage().corrupt) == (2, 400_000, 0)
    repo.put_many(lost.items())
    assert all(repo.get(cid) == block for cid, block in (kept | lost).items())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=64), max_size=30))
def test_it_is_a_map_from_cid_to_block(blocks: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as home, ContentRepo(Path(home) / "c") as repo:
        repo.put_many((raw_cid(block), block) for block in blocks)
        assert repo.usage().blocks == len(set(blocks))
        assert all(repo.get(raw_cid(block)) == block for block in blocks)
        assert {cid_text(cid) for cid in repo.cids()} == {cid_text(raw_cid(block)) for block in blocks}
