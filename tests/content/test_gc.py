"""Garbage collection: what is reachable stays, the rest goes after its grace, packs shrink, kill -9 harms nothing."""

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from swarmd.node.content.bulk import import_stream
from swarmd.node.content.gc import collect, verify
from swarmd.node.content.repo import ContentRepo
from swarmd.node.content.unixfs import read_file
from swarmd.protocol.cbor import Link, encode
from swarmd.protocol.cids import dag_cbor_cid, raw_cid

MakeRepo = Callable[..., ContentRepo]


def add(repo: ContentRepo, data: bytes) -> bytes:
    return import_stream(io.BytesIO(data), repo.put_group).cid


def read(repo: ContentRepo, cid: bytes) -> bytes:
    return b"".join(read_file(cid, repo.get))


def test_what_a_pin_or_a_root_reaches_stays(repo: ContentRepo) -> None:
    files = [os.urandom(600_000) for _ in range(4)]
    cids = [add(repo, data) for data in files]
    record = encode({"of": Link(cids[2])})
    repo.put(dag_cbor_cid(record), record)
    repo.pin(cids[0])
    repo.pin(cids[3], recursive=False)
    done = collect(repo, lambda: [dag_cbor_cid(record)], grace_s=-1)
    assert read(repo, cids[0]) == files[0] and read(repo, cids[2]) == files[2] and repo.has(cids[3])
    assert not repo.has(cids[1]) and not repo.has(raw_cid(files[3][:262_144]))
    assert (done.blocks, done.bytes > 1_200_000, done.young_blocks) == (7, True, 0)
    assert done.kept_blocks == repo.usage().blocks
    again = collect(repo, lambda: [dag_cbor_cid(record)], grace_s=-1)
    assert again.blocks == 0 and read(repo, cids[0]) == files[0]


def test_the_young_have_a_grace_and_putting_again_makes_young(make_repo: MakeRepo) -> None:
    now_s = 1_000_000.0
    repo = make_repo(clock_s=lambda: now_s)
    old, again = os.urandom(50_000), os.urandom(50_000)
    add(repo, old), add(repo, again)
    done = collect(repo, grace_s=3_600)
    assert (done.blocks, done.young_blocks, done.young_bytes) == (0, 2, 100_000)
    now_s += 3_700
    add(repo, again)
    done = collect(repo, grace_s=3_600)
    assert (done.blocks, done.young_blocks) == (1, 1)
    assert not repo.has(raw_cid(old)) and repo.has(raw_cid(again))
    now_s += 3_700
    started_s = now_s - 3_650  # an import that has run since before the grace
    repo.put(raw_cid(b"of an import"), b"of an import")
    now_s += 10_000
    assert collect(repo, grace_s=3_600, not_after_s=lambda: started_s).blocks == 1  # `again` only
    assert repo.has(raw_cid(b"of an import"))


def test_a_pin_that_comes_while_it_sweeps_is_heeded(repo: ContentRepo) -> None:
    data = os.urandom(900_000)
    cid = add(repo, data)
    rest = [os.urandom(100) for _ in range(2_000)]
    repo.put_many((raw_cid(block), block) for block in rest)
    pinned = False

    def tell(phase: str, count: int) -> None:
        nonlocal pinned
        if phase == "sweep" and not pinned:
            pinned = True
            repo.pin(cid)

    collect(repo, grace_s=-1, tell=tell)
    assert pinned and read(repo, cid) == data and not repo.has(raw_cid(rest[0]))


def test_packs_give_their_space_back(make_repo: MakeRepo) -> None:
    repo = make_repo()
    files = [os.urandom(400_000) for _ in range(20)]
    cids = [add(repo, data) for data in files]
    keep = cids[::5]
    for cid in keep:
        repo.pin(cid)
    before = repo.usage()
    done = collect(repo, grace_s=-1)
    after = repo.usage()
    assert 5_000_000 < done.disk_bytes <= before.disk_bytes - after.disk_bytes + 100_000
    packed = sum(repo.packs.path(pack).stat().st_size for pack in repo.packs.on_disk())
    assert packed < 2 * after.bytes
    assert done.packs_rewritten >= 1
    assert all(read(repo, cid) == files[cids.index(cid)] for cid in keep)
    more = [os.urandom(400_000) for _ in range(5)]
    fresh = [add(repo, data) for data in more]
    repo.close()
    again = make_repo()
    assert all(read(again, cid) == data for cid, data in zip(fresh, more, strict=True))
    assert all(read(again, cid) == files[cids.index(cid)] for cid in keep)


def test_reads_go_on_while_packs_are_rewritten(repo: ContentRepo) -> None:
    files = [os.urandom(300_000) for _ in range(30)]
    cids = [add(repo, data) for data in files]
    for cid in cids[::3]:
        repo.pin(cid)
    failures: list[object] = []
    over = threading.Event()

    def reader() -> None:
        while not over.is_set():
            for cid in cids[::3]:
                if read(repo, cid) != files[cids.index(cid)]:
                    failures.append(cid)

    thread = threading.Thread(target=reader)
    thread.start()
    try:
        collect(repo, grace_s=-1)
    finally:
        over.set()
        thread.join(30)
    assert not failures and repo.usage().corrupt == 0


def test_a_rotten_block_does_not_stop_a_rewrite_or_a_verification(make_repo: MakeRepo) -> None:
    first = make_repo()
    files = [os.urandom(200_000) for _ in range(5)]
    cids = [add(first, data) for data in files]
    first.pin(cids[1]), first.pin(cids[3])
    first.close()
    pack = first.packs.path(1)
    data = bytearray(pack.read_bytes())
    data[250_000] ^= 1  # within the second file
    pack.write_bytes(data)
    repo = make_repo()
    found = verify(repo)
    assert found["corrupt"] == [cids[1]] and found["blocks"] == 4
    done = collect(repo, grace_s=-1)
    assert done.packs_rewritten == 1
    assert read(repo, cids[3]) == files[3] and not repo.has(cids[1])
    assert verify(repo) == {"blocks": 1, "bytes": 200_000, "corrupt": []}


COLLECTOR = """
import sys
from pathlib import Path
from swarmd.node.content.gc import collect
from swarmd.node.content.repo import ContentRepo
repo = ContentRepo(Path(sys.argv[1]), pack_bytes=1_000_000, reserve_bytes=0)
def tell(phase, count):
    print(phase, flush=True)
    sys.stdin.readline()
collect(repo, grace_s=-1, tell=tell)
print("end", flush=True)
"""


@pytest.mark.parametrize("steps", [1, 3, 5, 7])
def test_kill_9_in_a_collection_leaves_a_whole_store(make_repo: MakeRepo, tmp_path: Path, steps: int) -> None:
    repo = make_repo()
    files = [os.urandom(300_000) for _ in range(12)]
    cids = [add(repo, data) for data in files]
    small = [os.urandom(200) for _ in range(1_500)]
    repo.put_many((raw_cid(block), block) for block in small)
    for cid in cids[::4]:
        repo.pin(cid)
    repo.close()
    child = subprocess.Popen(
        [sys.executable, "-c", COLLECTOR, str(tmp_path / "content")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None and child.stdout is not None
    with child:
        phases = []
        for _ in range(steps):
            phases.append(child.stdout.readline().strip())
            child.stdin.write("\n")
            child.stdin.flush()
        os.kill(child.pid, signal.SIGKILL)
    again = make_repo()
    assert all(read(again, cid) == files[cids.index(cid)] for cid in cids[::4])
    assert verify(again)["corrupt"] == [] and len(again.pins()) == 3
    collect(again, grace_s=-1)
    assert all(read(again, cid) == files[cids.index(cid)] for cid in cids[::4])
    assert again.usage().blocks == 3 * 3
    assert again.usage().bytes == sum(len(again.get(cid) or b"") for cid in again.cids())
