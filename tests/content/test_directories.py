"""Directories and whole trees: kubo's CIDs, and no tree of a peer's that writes elsewhere, or costs more than it may."""

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.node.content.adding import Adder, Layout
from swarmd.node.content.directories import (
    Node,
    kind_of,
    list_directory,
    make_directory,
    make_symlink,
    read_symlink,
    resolve,
)
from swarmd.node.content.extract import Limits, write_stream, write_tree
from swarmd.node.content.pbnode import DIRECTORY_DATA, NamedLink, decode_node, encode_node, hamt_data
from swarmd.node.content.repo import ContentRepo
from swarmd.node.content.unixfs import import_bytes
from swarmd.protocol.cids import DAG_PB, cid_of, cid_text, dag_cbor_cid, raw_cid
from swarmd.protocol.faults import LocalFault, RemoteFault

Blocks = dict[bytes, bytes]
Entries = list[tuple[str, Any]]
LINES = [
    line.split()
    for line in (Path(__file__).parent / "vectors" / "kubo.txt").read_text().splitlines()
    if not line.startswith("#")
]
FILES = [(int(line[1]), int(line[2]), line[3]) for line in LINES if line[0] == "file"]
KUBO = {line[1]: line[2] for line in LINES if line[0] == "tree"}


def trees(pattern: Callable[[int], bytes]) -> dict[str, Callable[[], Entries]]:
    """name -> its entries: (path, bytes of a file | target of a link | None for an empty folder)."""

    def at_threshold(last: int) -> Entries:
        return [(f"{i:028d}", b"") for i in range(4_095)] + [("z" * last, b"")]

    return {
        "empty": lambda: [],
        "one": lambda: [("a", b"a")],
        "order": lambda: [
            (name, name.encode()) for name in ("b", "a", "B", "aa", "a.b", "é", "日本", "~", "_", "0")
        ],
        "nested": lambda: [
            ("x/y/z", pattern(300_000)),
            ("x/w", b""),
            ("x/e", None),
            ("v", pattern(1_000)),
        ],
        "links": lambda: [
            ("target", b"t"),
            ("to", "target"),
            ("up", "../elsewhere"),
            ("abs", "/etc/hosts"),
            ("sub/to", "../target"),
        ],
        "hidden": lambda: [(".hid", b"h"), (".d/f", b"f"), ("v", b"v")],
        "threshold--1": lambda: at_threshold(27),
        "threshold-+0": lambda: at_threshold(28),
        "threshold-+1": lambda: at_threshold(29),
        "shard-7000": lambda: [(f"f{i:05d}", b"%d" % i) for i in range(7_000)],
        "shard-20000": lambda: [(f"f{i:05d}", b"%d" % i) for i in range(20_000)],
        "shard-of-trees": lambda: [
            (f"sub{i % 7}/" + "long" * 12 + f"{i:05d}", b"%d" % i) for i in range(25_000)
        ],
        "shard-with-dirs": lambda: [(f"n{i:05d}/{i % 3}", b"%d" % i) for i in range(6_500)],
    }


def build(entries: Entries, blocks: Blocks) -> Node:
    """A tree made in memory."""
    folders: dict[str, dict[str, Any]] = {"": {}}

    def folder(path: str) -> dict[str, Any]:
        if path not in folders:
            above, _, name = path.rpartition("/")
            folders[path] = folder(above)[name] = {}
        return folders[path]

    for path, content in entries:
        above, _, name = path.rpartition("/")
        if content is None:
            folder(path)
        else:
            folder(above)[name] = content

    def make(found: dict[str, Any]) -> Node:
        nodes = {}
        for name, content in found.items():
            if isinstance(content, dict):
                nodes[name] = make(content)
            elif isinstance(content, str):
                nodes[name] = make_symlink(content, blocks.__setitem__)
            else:
                root = import_bytes(content, blocks.__setitem__)
                nodes[name] = Node(root.cid, root.dag_bytes)
        return make_directory(nodes, blocks.__setitem__)

    return make(folders[""])


@pytest.mark.parametrize(("chunk", "size", "cid"), FILES)
def test_files_have_kubos_cids(
    repo: ContentRepo, make_pattern: Callable[[int], bytes], chunk: int, size: int, cid: str
) -> None:
    adder = Adder(repo.put_group, Layout(chunk_bytes=chunk))
    assert cid_text(adder.add_stream(BytesIO(make_pattern(size))).cid) == cid


@pytest.mark.parametrize("name", sorted(KUBO))
def test_trees_have_kubos_cids(name: str, make_pattern: Callable[[int], bytes]) -> None:
    blocks: Blocks = {}
    entries = trees(make_pattern)[name]()
    root = build(entries, blocks)
    assert cid_text(root.cid) == KUBO[name]
    here = {entry.name: entry.cid for entry in list_directory(root.cid, blocks.get)}
    assert set(here) == {path.split("/")[0] for path, _ in entries}
    for path, content in entries[:: max(1, len(entries) // 20)]:
        if isinstance(content, bytes):
            out = BytesIO()
            write_stream(resolve(root.cid, path, blocks.get), out, blocks.get)
            assert out.getvalue() == content


def test_vectors_are_there() -> None:
    assert len(FILES) == 17 and len(KUBO) == 13


def plant(folder: Path, entries: Entries) -> Path:
    folder.mkdir()
    for path, content in entries:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            target.mkdir()
        elif isinstance(content, str):
            target.symlink_to(content)
        else:
            target.write_bytes(content)
    return folder


@pytest.mark.parametrize("name", ["empty", "one", "order", "nested", "links", "hidden"])
def test_a_folder_of_the_disk_has_kubos_cid(
    repo: ContentRepo, tmp_path: Path, make_pattern: Callable[[int], bytes], name: str
) -> None:
    entries = trees(make_pattern)[name]()
    folder = plant(tmp_path / "d", entries)
    told: list[int] = []
    added = Adder(repo.put_group, Layout(hidden=True), progress=told.append).add(folder)
    assert (cid_text(added.cid), added.kind) == (KUBO[name], "directory")
    files = [content for _, content in entries if isinstance(content, bytes)]
    assert (added.size, added.files) == (sum(map(len, files)), len(files)) and sum(told) == added.size
    assert repo.pin(added.cid).recursive


def test_hidden_names_are_left_out_and_odd_files_named(repo: ContentRepo, tmp_path: Path) -> None:
    folder = plant(tmp_path / "d", [(".h", b"h"), ("v", b"v")])
    os.mkfifo(folder / "pipe")
    skipped: list[Path] = []
    added = Adder(repo.put_group, skipped=lambda path, why: skipped.append(path)).add(folder)
    assert [entry.name for entry in list_directory(added.cid, repo.get)] == ["v"]
    assert skipped == [folder / "pipe"]


def test_what_cannot_be_added_is_the_callers_fault(repo: ContentRepo, tmp_path: Path) -> None:
    adder = Adder(repo.put_group, Layout(max_bytes=2_000_000))
    with pytest.raises(LocalFault, match="no-file"):
        adder.add(tmp_path / "nowhere")
    (tmp_path / "big").write_bytes(bytes(2_000_001))
    with pytest.raises(LocalFault, match="content-too-big"):
        adder.add(tmp_path / "big")
    odd = os.fsencode(tmp_path) + b"/d\xff"
    os.mkdir(odd)
    Path(os.fsdecode(odd + b"/n\xfe")).write_bytes(b"")
    with pytest.raises(LocalFault, match="bad-name"):
        adder.add(Path(os.fsdecode(odd)))
    with pytest.raises(LocalFault, match="bad-layout"):
        Adder(repo.put_group, Layout(chunk_bytes=1 << 21))


def test_a_tree_comes_back_as_it_was(
    repo: ContentRepo, tmp_path: Path, make_pattern: Callable[[int], bytes]
) -> None:
    entries: Entries = [
        ("x/y/z", make_pattern(3_000_000)),
        ("x/w", b""),
        ("e", None),
        ("x/l", "../top"),
        ("top", b"t"),
        ("x/m", "y"),
    ]
    folder = plant(tmp_path / "d", entries)
    added = Adder(repo.put_group).add(folder)
    done = write_tree(added.cid, tmp_path / "out", repo.get)
    assert (done.bytes, done.files, done.entries) == (3_000_001, 3, 9)
    for path, content in entries:
        written = tmp_path / "out" / path
        if content is None:
            assert written.is_dir()
        elif isinstance(content, str):
            assert os.readlink(written) == content
        else:
            assert written.read_bytes() == content
    again = Adder(repo.put_group).add(tmp_path / "out")
    assert again.cid == added.cid
    with pytest.raises(LocalFault, match="file-exists"):
        write_tree(added.cid, tmp_path / "out", repo.get)


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and len(name.encode()) <= 255
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(names, st.binary(max_size=20), max_size=30))
def test_any_names_read_back_sorted_by_their_bytes(files: dict[str, bytes]) -> None:
    blocks: Blocks = {}
    root = build(list(files.items()), blocks) if files else make_directory({}, blocks.__setitem__)
    found = [entry.name for entry in list_directory(root.cid, blocks.get)]
    assert found == sorted(files, key=str.encode)


# Hostile trees.

FILE = raw_cid(b"x")


def directory(blocks: Blocks, links: list[tuple[bytes, bytes]], unixfs: bytes = DIRECTORY_DATA) -> bytes:
    block = encode_node([NamedLink(name, cid, 1) for name, cid in links], unixfs)
    blocks[cid_of(DAG_PB, block)] = block
    return cid_of(DAG_PB, block)


def refused(blocks: Blocks, root: bytes, target: Path, code: str, limits: Limits = Limits()) -> None:
    blocks[FILE] = b"x"
    with pytest.raises(RemoteFault) as caught:
        write_tree(root, target / "out", blocks.get, limits)
    assert caught.value.code == code
    assert list(target.iterdir()) == []  # nothing half-written


@pytest.mark.parametrize(
    "name", [b"..", b".", b"", b"a/b", b"/etc", b"../x", b"a\0b", b"n" * 256, b"\xff\xfe", b"a/../../b"]
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: bytes) -> None:
    blocks: Blocks = {}
    refused(blocks, directory(blocks, [(b"good", FILE), (name, FILE)]), tmp_path, "bad-name")


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "..", "../x", "a/../../x", "a/..", "./../x", "../../../../etc", "/"]
)
def test_links_that_lead_out_of_the_tree_are_refused(tmp_path: Path, target: str) -> None:
    blocks: Blocks = {}
    link = make_symlink(target, blocks.__setitem__).cid
    refused(blocks, directory(blocks, [(b"link", link)]), tmp_path, "bad-name")
    refused(blocks, link, tmp_path, "bad-name")


def test_a_link_and_a_folder_of_one_name_cannot_write_through(tmp_path: Path) -> None:
    blocks: Blocks = {}
    link = make_symlink("inside", blocks.__setitem__).cid
    below = directory(blocks, [(b"evil", FILE)])
    refused(blocks, directory(blocks, [(b"a", link), (b"a", below)]), tmp_path, "bad-dag")


def test_a_billion_folders_end_at_the_limit(tmp_path: Path) -> None:
    blocks: Blocks = {}
    below = directory(blocks, [(b"f", FILE)])
    for _ in range(12):
        below = directory(blocks, [(b"%d" % i, below) for i in range(10)])
    assert len(blocks) == 13
    refused(blocks, below, tmp_path, "bad-dag", Limits(max_entries=300))


def test_bytes_are_counted_as_they_are_written_whatever_was_declared(tmp_path: Path) -> None:
    blocks: Blocks = {}
    big = import_bytes(bytes(100_000), blocks.__setitem__).cid
    root = directory(blocks, [(b"%02d" % i, big) for i in range(50)])  # Tsize says 1 each
    refused(blocks, root, tmp_path, "content-too-big", Limits(max_bytes=1_000_000))


def test_folders_too_deep_for_any_path_are_refused(tmp_path: Path) -> None:
    blocks: Blocks = {}
    below = directory(blocks, [])
    for _ in range(200):
        below = directory(blocks, [(b"d", below)])
    refused(blocks, below, tmp_path, "bad-dag")


def shard(blocks: Blocks, links: list[tuple[bytes, bytes]], fanout: int = 256, code: int = 0x22) -> bytes:
    return directory(blocks, links, hamt_data(b"\x01", fanout, code))


def test_shards_that_lie_are_refused(tmp_path: Path) -> None:
    blocks: Blocks = {}
    good = make_directory({f"n{i:05d}": Node(FILE, 1) for i in range(8_000)}, blocks.__setitem__)
    node = decode_node(blocks[good.cid])
    entry = next(entry for entry in list_directory(good.cid, blocks.get))
    bad = {
        "wrong place": shard(blocks, [(b"00" + entry.name.encode(), FILE), (b"01nowhere", FILE)]),
        "no prefix": shard(blocks, [(b"x", FILE)]),
        "lower case": shard(blocks, [(b"0axyz", FILE)]),
        "empty shard": shard(blocks, [(b"00", shard(blocks, []))]),
        "other fanout below": shard(blocks, [(b"00", shard(blocks, [(b"00", FILE)], 16))]),
        "absurd fanout": shard(blocks, [(b"00x", FILE)], 1 << 20),
        "odd fanout": shard(blocks, [(b"00x", FILE)], 100),
        "another hash": shard(blocks, [(b"00x", FILE)], 256, 0x12),
        "too wide": shard(blocks, [(b"00%d" % i, FILE) for i in range(300)]),
        "a plain folder below": shard(blocks, [(b"00", directory(blocks, [(b"a", FILE)]))]),
    }
    deep = shard(blocks, [(b"00", FILE)])
    for _ in range(10):
        deep = shard(blocks, [(b"00", deep)])
    bad["deeper than the hash"] = deep
    for what, root in bad.items():
        with pytest.raises(RemoteFault) as caught:
            list(list_directory(root, blocks.get))
        assert caught.value.code in ("bad-dag", "not-a-directory"), what
    twice = directory(blocks, [(link.name, link.cid) for link in node.links[:5]] * 2)
    with pytest.raises(RemoteFault, match="bad-dag"):
        list(list_directory(twice, blocks.get))
    with pytest.raises(RemoteFault, match="bad-dag"):
        list(list_directory(good.cid, blocks.get, max_entries=100))


def test_absurd_widths_are_refused(tmp_path: Path) -> None:
    blocks: Blocks = {}
    refused(blocks, directory(blocks, [(b"", FILE)] * 16_385), tmp_path, "bad-dag-pb")


@pytest.mark.parametrize(
    ("cid", "code"),
    [
        (b"\x12\x20" + bytes(32), "cid-v0"),
        (b"\x01\x55\x00\x05hello", "cid-identity"),
        (b"\x01\x55\x00\x81\x01" + bytes(129), "cid-identity"),
        (b"\x01\x55\x13\x40" + bytes(64), "cid-hash"),
        (b"\x01\x55\x1b\x20" + bytes(32), "cid-hash"),
        (b"\x01\x51\x12\x20" + bytes(32), "cid-codec"),
        (b"\x01\x55\x12\x14" + bytes(20), "bad-cid"),
        (b"\x02\x55\x12\x20" + bytes(32), "bad-cid"),
        (b"\x01", "bad-cid"),
        (b"", "bad-cid"),
    ],
)
def test_links_of_other_kinds_are_refused_with_the_reason(tmp_path: Path, cid: bytes, code: str) -> None:
    blocks: Blocks = {}
    root = directory(blocks, [(b"a", cid)])
    refused(blocks, root, tmp_path, code)


def test_an_identity_cid_over_the_bound_says_so(tmp_path: Path) -> None:
    blocks: Blocks = {}
    root = directory(blocks, [(b"a", b"\x01\x55\x00\x81\x01" + bytes(129))])
    with pytest.raises(RemoteFault, match="129 bytes, over the 128"):
        decode_node(blocks[root])


def test_kinds_and_what_has_none(tmp_path: Path) -> None:
    blocks: Blocks = {}
    link = make_symlink("to", blocks.__setitem__).cid
    assert kind_of(link, blocks.get) == "symlink" and read_symlink(link, blocks.get) == "to"
    assert kind_of(directory(blocks, []), blocks.get) == "directory"
    assert kind_of(FILE, blocks.get) == "file"
    for cid in (dag_cbor_cid(b"\xa0"), directory(blocks, [], b"\x08\x03")):
        with pytest.raises(RemoteFault, match="not-unixfs"):
            kind_of(cid, blocks.get)
    with pytest.raises(RemoteFault, match="bad-dag-pb"):
        kind_of(directory(blocks, [], b""), blocks.get)
    with pytest.raises(LocalFault, match="content-missing"):
        kind_of(cid_of(DAG_PB, b"gone"), blocks.get)
    with pytest.raises(LocalFault, match="bad-path"):
        resolve(directory(blocks, []), "a/../b", blocks.get)
    with pytest.raises(LocalFault, match="no-entry"):
        resolve(directory(blocks, []), "a", blocks.get)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_only_remote_faults_come_out_of_junk(block: bytes) -> None:
    cid = cid_of(DAG_PB, block)
    try:
        list(list_directory(cid, {cid: block}.get))
    except RemoteFault:
        pass
