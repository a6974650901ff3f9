"""The block store: verified both ways, joins the daemon's transaction, survives kill -9 (P9's content half)."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.node.content.store import MAX_CACHED_BLOCK_BYTES, SqliteBlockStore
from swarmd.protocol.cids import dag_cbor_cid, parse_cid, raw_cid
from swarmd.protocol.faults import CorruptState, LocalFault, RemoteFault
from swarmd.protocol.limits import MAX_BLOCK_BYTES


def overwrite(path: Path, cid: bytes, block: object) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE blocks SET block = ? WHERE cid = ?", (block, cid))
    db.close()


def test_put_get_has_delete_stat(store: SqliteBlockStore) -> None:
    block = b"hello"
    cid = raw_cid(block)
    assert store.get(cid) is None and not store.has(cid) and store.size_of(cid) is None
    store.put(cid, block)
    store.put(cid, block)
    assert store.get(cid) == block and store.has(cid) and store.size_of(cid) == 5
    stat = store.stat()
    assert (stat.blocks, stat.bytes, stat.corrupt) == (1, 5, 0)
    assert store.delete(cid) and not store.delete(cid)
    assert store.get(cid) is None and not store.has(cid) and store.stat().blocks == 0


def test_the_same_bytes_under_two_codecs_are_two_blocks(store: SqliteBlockStore) -> None:
    block = b"\xa0"
    store.put(raw_cid(block), block)
    assert not store.has(dag_cbor_cid(block))


@pytest.mark.parametrize(
    ("cid", "block", "code"),
    [
        (raw_cid(b"a"), b"b", "cid-mismatch"),
        (raw_cid(b"x" * (MAX_BLOCK_BYTES + 1)), b"x" * (MAX_BLOCK_BYTES + 1), "block-too-big"),
        (b"\x12\x20" + bytes(32), b"", "bad-cid"),  # CIDv0
        (b"\x01\x55\x00\x01a", b"a", "bad-cid"),  # identity hash
        (b"\x01\x55\x13\x40" + bytes(64), b"", "bad-cid"),  # sha2-512
        (b"\x01\x85\x12\x20" + bytes(32), b"", "bad-cid"),  # a codec we do not serve
        (b"", b"", "bad-cid"),
    ],
)
def test_wrong_puts_are_refused(store: SqliteBlockStore, cid: bytes, block: bytes, code: str) -> None:
    for put in (lambda: store.put(cid, block), lambda: store.put_many([(cid, block)])):
        with pytest.raises(RemoteFault) as caught:
            put()
        assert caught.value.code == code
    assert store.stat().blocks == 0


def test_the_largest_block_is_taken(store: SqliteBlockStore) -> None:
    block = bytes(MAX_BLOCK_BYTES)
    store.put(raw_cid(block), block)
    assert store.get(raw_cid(block)) == block


def test_put_many_streams_in_groups(store: SqliteBlockStore) -> None:
    pairs = [(raw_cid(block), block) for block in (b"%d" % i for i in range(10_000))]
    assert store.put_many(iter(pairs)) == 10_000
    assert store.stat().blocks == 10_000
    assert all(store.get(cid) == block for cid, block in pairs)


def test_a_bad_block_in_a_batch_keeps_nothing_unverified(store: SqliteBlockStore) -> None:
    good = (raw_cid(b"good"), b"good")
    with pytest.raises(RemoteFault, match="cid-mismatch"):
        store.put_many([good, (raw_cid(b"x"), b"y"), (raw_cid(b"late"), b"late")])
    assert not store.has(raw_cid(b"x")) and not store.has(raw_cid(b"late"))


@pytest.mark.parametrize("rot", [b"rotten", b"", None, "text", 7])
def test_a_corrupt_row_is_missing_counted_and_healed(tmp_path: Path, rot: object) -> None:
    path = tmp_path / "b.db"
    block = os.urandom(600)
    cid = raw_cid(block)
    with SqliteBlockStore(path) as store:
        store.put(cid, block)
    if rot is None:  # the column forbids NULL; a bit flip is the commonest rot
        rot = bytes([block[0] ^ 1]) + block[1:]
    overwrite(path, cid, rot)
    with SqliteBlockStore(path) as store:
        assert store.has(cid)  # not known yet: `has` does not read
        assert store.get(cid) is None
        assert not store.has(cid) and store.size_of(cid) is None and store.stat().corrupt == 1
        store.put(cid, block)
        assert store.get(cid) == block and store.has(cid) and store.stat().corrupt == 0
    with SqliteBlockStore(path) as store:
        assert store.get(cid) == block


def test_hot_small_blocks_come_from_memory_within_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    with SqliteBlockStore(path, cache_bytes=10_000) as store:
        small = [os.urandom(1_000) for _ in range(20)]
        big = os.urandom(MAX_CACHED_BLOCK_BYTES + 1)
        store.put_many((raw_cid(block), block) for block in [*small, big])
        for block in [*small, big]:
            assert store.get(raw_cid(block)) == block
        assert sum(len(block) for block in store._cache.values()) <= 10_000
        for block in [*small, big]:
            overwrite(path, raw_cid(block), b"rot")
        assert store.get(raw_cid(small[-1])) == small[-1]  # hot
        assert store.get(raw_cid(small[0])) is None  # pushed out, so read and found corrupt
        assert store.get(raw_cid(big)) is None  # never kept
        store.delete(raw_cid(small[-1]))
        assert store.get(raw_cid(small[-1])) is None


def test_a_shared_connection_joins_the_callers_transaction(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE journal (entry TEXT)")
    store = SqliteBlockStore(db)
    kept, dropped = (raw_cid(b"kept"), b"kept"), (raw_cid(b"dropped"), b"dropped")

    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO journal VALUES ('one')")
    store.put_many([kept])
    assert db.in_transaction
    assert store.get(kept[0]) == b"kept"
    other = sqlite3.connect(path)
    assert other.execute("SELECT COUNT(*) FROM blocks").fetchone() == (0,)
    db.execute("COMMIT")
    assert other.execute("SELECT COUNT(*) FROM blocks").fetchone() == (1,)
    other.close()

    db.execute("BEGIN IMMEDIATE")
    store.put(*dropped)
    assert store.get(dropped[0]) == b"dropped"
    db.execute("ROLLBACK")
    assert store.get(dropped[0]) is None and not store.has(dropped[0])  # not even from memory

    store.put(*dropped)  # no transaction open: a short one of its own
    assert not db.in_transaction and store.get(dropped[0]) == b"dropped"
    store.close()  # leaves the caller's connection open
    assert db.execute("SELECT COUNT(*) FROM journal").fetchone() == (1,)
    db.close()


def test_an_implicit_transaction_of_the_caller_is_not_committed(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "node.db")  # isolation_level "": the module begins, the caller commits
    store = SqliteBlockStore(db)
    db.commit()
    store.put(raw_cid(b"a"), b"a")
    assert db.in_transaction
    db.rollback()
    assert not store.has(raw_cid(b"a"))
    db.close()


def test_a_failed_flush_leaves_no_transaction_open(store: SqliteBlockStore) -> None:
    store._db.execute("PRAGMA max_page_count = 20")
    blocks = [os.urandom(200_000) for _ in range(10)]
    with pytest.raises(LocalFault) as caught:
        store.put_many((raw_cid(block), block) for block in blocks)
    assert caught.value.code == "disk-full" and caught.value.fix
    assert not store._db.in_transaction
    store._db.execute("PRAGMA max_page_count = 100000")
    store.put_many((raw_cid(block), block) for block in blocks)
    assert store.stat().blocks == 10


def test_threads_may_share_a_store(store: SqliteBlockStore) -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for i in range(100):
                block = b"%d/%d" % (seed, i)
                store.put(raw_cid(block), block)
                assert store.get(raw_cid(block)) == block
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not failures and store.stat().blocks == 400


def test_a_file_that_is_no_database_is_corrupt_state(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    path.write_bytes(b"not a database, certainly" * 100)
    with pytest.raises(CorruptState) as caught:
        SqliteBlockStore(path)
    assert caught.value.code == "corrupt-block-store"


def test_a_folder_that_is_not_there_is_the_callers_fault(tmp_path: Path) -> None:
    with pytest.raises(LocalFault) as caught:
        SqliteBlockStore(tmp_path / "no" / "b.db")
    assert caught.value.code == "no-block-store"


WRITER = """
import os, sys
from swarmd.node.content.store import SqliteBlockStore
from swarmd.protocol.cids import cid_text, raw_cid
store = SqliteBlockStore(sys.argv[1])
while True:
    blocks = [os.urandom(3_000) for _ in range(8)]
    store.put_many((raw_cid(block), block) for block in blocks)
    print(*(cid_text(raw_cid(block)) for block in blocks), flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    acknowledged: list[bytes] = []
    for kill_after in (1, 4, 9, 17, 30):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        with child, child.stdout:
            for _ in range(kill_after):
                acknowledged += map(parse_cid, child.stdout.readline().split())
            os.kill(child.pid, signal.SIGKILL)
    with SqliteBlockStore(path) as store:
        assert len(acknowledged) == 8 * 61
        assert all(store.get(cid) is not None for cid in acknowledged)
        assert store.stat().corrupt == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=64), max_size=30))
def test_it_is_a_map_from_cid_to_block(blocks: list[bytes]) -> None:
    with SqliteBlockStore(":memory:") as store:
        store.put_many((raw_cid(block), block) for block in blocks)
        assert store.stat().blocks == len(set(blocks))
        assert all(store.get(raw_cid(block)) == block for block in blocks)
