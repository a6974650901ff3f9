"""A plain file store becomes content: whole, resumable, with the mapping, whatever ends it in the middle."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from swarmd.node.content.migrate import migrate, scan
from swarmd.node.content.remote import FolderContent
from swarmd.node.content.unixfs import read_file
from swarmd.protocol.cids import parse_cid, raw_cid
from swarmd.protocol.faults import LocalFault


@pytest.fixture
def store(tmp_path: Path) -> FolderContent:
    made = FolderContent(tmp_path, tmp_path / "content")
    yield made
    made.close()


def plant(folder: Path, blobs: list[bytes], name: Callable[[str], str] = lambda digest: digest) -> list[str]:
    """Files named after their SHA-256."""
    hashes = []
    for blob in blobs:
        digest = hashlib.sha256(blob).hexdigest()
        path = folder / name(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(blob)
        hashes.append(digest)
    return hashes


def test_every_file_becomes_content_under_its_hash(tmp_path: Path, store: FolderContent) -> None:
    blobs = [b"", b"one", os.urandom(3_000_000), os.urandom(500)]
    hashes = plant(tmp_path / "cas", blobs)
    told: list[int] = []
    done = migrate(tmp_path / "cas", tmp_path / "map.json", store, verify=True, progress=told.append)
    mapping = json.loads((tmp_path / "map.json").read_text())
    assert mapping == done.mapping and sorted(mapping) == sorted(hashes)
    assert (done.files, done.bytes, sum(told)) == (4, 3_000_503, 3_000_503)
    assert not done.wrong and not done.left_out and not done.unverified
    for digest, blob in zip(hashes, blobs, strict=True):
        assert b"".join(read_file(parse_cid(mapping[digest]), store.get)) == blob
    # One block: the CID holds the very hash that was the name.
    assert parse_cid(mapping[hashes[1]]) == raw_cid(b"one") and raw_cid(b"one")[4:].hex() == hashes[1]
    assert [pin["cid"] for pin in store.pins()] == [parse_cid(done.root)]
    store.collect(0, lambda *_: None)
    assert migrate(tmp_path / "cas", tmp_path / "map.json", store, verify=True).unverified == []
    assert not list(tmp_path.glob("map.json.*"))


@pytest.mark.parametrize(
    "name",
    [
        lambda digest: digest,
        lambda digest: f"{digest[:2]}/{digest[2:]}",
        lambda digest: f"{digest[:2]}/{digest[2:4]}/{digest[4:]}",
        lambda digest: f"{digest[:2]}/{digest}",
        lambda digest: f"sha256-{digest}",
        lambda digest: f"objects/{digest}.json",
        lambda digest: digest.upper(),
    ],
)
def test_the_ways_to_name_a_file_by_its_hash(tmp_path: Path, name: Callable[[str], str]) -> None:
    (digest,) = plant(tmp_path / "cas", [b"blob"], name)
    assert [found for found, _ in scan(tmp_path / "cas")] == [digest]


def test_other_hash_functions_are_known_by_their_length(tmp_path: Path, store: FolderContent) -> None:
    folder = tmp_path / "cas"
    folder.mkdir()
    for make in (
        hashlib.md5,
        hashlib.sha1,
        hashlib.sha384,
        hashlib.sha512,
        hashlib.blake2b,
        hashlib.sha3_256,
    ):
        (folder / make(b"x").hexdigest()).write_bytes(b"x")
    done = migrate(folder, tmp_path / "map", store, verify=True)
    assert len(done.mapping) == 6 and set(done.mapping.values()) == {
        done.mapping[hashlib.md5(b"x").hexdigest()]
    }


def test_a_file_that_is_not_what_its_name_says_is_left_and_named(
    tmp_path: Path, store: FolderContent
) -> None:
    (good, bad) = plant(tmp_path / "cas", [b"good", b"bad"])
    (tmp_path / "cas" / bad).write_bytes(b"rotten")
    (tmp_path / "cas" / "index.json").write_text("{}")
    (tmp_path / "cas" / "link").symlink_to("/etc/hosts")
    done = migrate(tmp_path / "cas", tmp_path / "map", store)
    assert list(done.mapping) == [good]
    assert done.wrong == [str(tmp_path / "cas" / bad)] and done.left_out == [
        str(tmp_path / "cas" / "index.json")
    ]


def test_what_is_wrong_with_the_arguments(tmp_path: Path, store: FolderContent) -> None:
    with pytest.raises(LocalFault, match="no-folder"):
        migrate(tmp_path / "nowhere", tmp_path / "map", store)
    (tmp_path / "cas").mkdir()
    (tmp_path / "map").write_text("something else")
    with pytest.raises(LocalFault, match="bad-mapping"):
        migrate(tmp_path / "cas", tmp_path / "map", store)
    assert (tmp_path / "map").read_text() == "something else"


def test_verification_finds_what_does_not_read_back(tmp_path: Path, store: FolderContent) -> None:
    blobs = [os.urandom(100_000) for _ in range(3)]
    hashes = plant(tmp_path / "cas", blobs)
    store.sync = lambda: _rot(tmp_path)  # type: ignore[method-assign]
    done = migrate(tmp_path / "cas", tmp_path / "map", store, verify=True)
    assert done.unverified and set(done.unverified) <= set(hashes)


def _rot(tmp_path: Path) -> None:
    pack = tmp_path / "content" / "packs" / "00000001.pack"
    data = bytearray(pack.read_bytes())
    data[50] ^= 1
    pack.write_bytes(data)


MIGRATION = """
import sys
from pathlib import Path
from swarmd.node.content import migrate as module
from swarmd.node.content.remote import FolderContent
module._NOTE_FILES = 3
home = Path(sys.argv[1])
store = FolderContent(home, home / "content")
def progress(count):
    print("file", flush=True)
    sys.stdin.readline()
module.migrate(home / "cas", home / "map.json", store, progress=progress)
"""


def test_kill_9_in_a_migration_and_it_goes_on(tmp_path: Path) -> None:
    blobs = [os.urandom(50_000 + i) for i in range(16)]
    hashes = plant(tmp_path / "cas", blobs)
    for steps in (5, 4, 6):
        child = subprocess.Popen(
            [sys.executable, "-c", MIGRATION, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert child.stdin is not None and child.stdout is not None
        with child:
            for _ in range(steps):
                child.stdout.readline()
                child.stdin.write(b"\n")
                child.stdin.flush()
            child.stdout.readline()
            os.kill(child.pid, signal.SIGKILL)
        assert not (tmp_path / "map.json").exists()
    with open(tmp_path / "map.json.partial", "ab") as notes:
        notes.write(b'{"hash": "torn')
    store = FolderContent(tmp_path, tmp_path / "content")
    done = migrate(tmp_path / "cas", tmp_path / "map.json", store, verify=True)
    assert done.resumed >= 9 and done.resumed + done.files == 16 and not done.unverified
    assert sorted(done.mapping) == sorted(hashes) == sorted(json.loads((tmp_path / "map.json").read_text()))
    store.close()


def test_notes_of_content_that_is_gone_are_not_believed(tmp_path: Path, store: FolderContent) -> None:
    (digest,) = plant(tmp_path / "cas", [b"blob"])
    row = {
        "hash": digest,
        "cid": "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
        "dag_bytes": 4,
    }
    (tmp_path / "map.partial").write_text(json.dumps(row) + "\n")
    done = migrate(tmp_path / "cas", tmp_path / "map", store, verify=True)
    assert (done.resumed, done.files, done.unverified) == (0, 1, [])
