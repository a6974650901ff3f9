"""Directories from peers: with all that is in them, and none that costs more than it is."""

import os
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
import trio
from swarmd.node.content.directories import Node, list_directory, make_directory, make_symlink
from swarmd.node.content.fetch import FetchLimits, fetch
from swarmd.node.content.store import SqliteBlockStore
from swarmd.node.content.treewalk import TreeWalk
from swarmd.node.content.unixfs import import_file, missing, read_file
from swarmd.protocol.cids import DAG_CBOR, cid_of
from swarmd.protocol.faults import RemoteFault

MakeStore = Callable[[str], SqliteBlockStore]


def put_file(store: SqliteBlockStore, data: bytes) -> Node:
    root = import_file(BytesIO(data), store.put, chunk_bytes=1_000, links_per_node=4)
    return Node(root.cid, len(data))


async def fetched(net: Any, cid: bytes, store: SqliteBlockStore, **limits: int) -> None:
    with trio.fail_after(30):
        await fetch(net, list(net.stores), cid, store, FetchLimits(**limits))


@pytest.fixture
def giver(net: Any, make_store: MakeStore) -> SqliteBlockStore:
    store = make_store("giver")
    net.add("giver", store)
    return store


async def test_a_tree_comes_whole(net: Any, giver: SqliteBlockStore, store: SqliteBlockStore) -> None:
    files = {"empty": b"", "small": b"small", "large": os.urandom(50_000), "same": b"small"}
    nodes = {name: put_file(giver, data) for name, data in files.items()}
    inner = make_directory(nodes, giver.put)
    many = make_directory(
        {f"{'n' * 60}{i:05d}": put_file(giver, str(i % 50).encode()) for i in range(3_000)}, giver.put
    )
    top = make_directory(
        {
            "inner": inner,
            "again": inner,
            "many": many,
            "nothing": make_directory({}, giver.put),
            "link": make_symlink("inner/small", giver.put),
            "large": nodes["large"],
        },
        giver.put,
    )
    await fetched(net, top.cid, store)
    assert missing(top.cid, store.get, walk=TreeWalk(top.cid)) == []
    assert sorted(entry.name for entry in list_directory(top.cid, store.get)) == [
        "again", "inner", "large", "link", "many", "nothing",
    ]  # fmt: skip
    assert {entry.name for entry in list_directory(inner.cid, store.get)} == set(files)
    assert sum(1 for _ in list_directory(many.cid, store.get)) == 3_000
    for name, data in files.items():
        assert b"".join(read_file(nodes[name].cid, store.get)) == data
    assert net.reports == []


async def test_what_is_missing_of_a_tree_is_known(giver: SqliteBlockStore) -> None:
    file = put_file(giver, os.urandom(5_000))
    top = make_directory({"a": make_directory({"f": file}, giver.put)}, giver.put)
    assert missing(top.cid, giver.get, giver.has, walk=TreeWalk(top.cid)) == []
    giver.delete(file.cid)
    assert missing(top.cid, giver.get, giver.has, walk=TreeWalk(top.cid)) == [file.cid]


async def test_a_tree_is_bounded_by_what_its_files_declare(
    net: Any, giver: SqliteBlockStore, store: SqliteBlockStore
) -> None:
    top = make_directory({str(i): put_file(giver, os.urandom(3_000)) for i in range(10)}, giver.put)
    await fetched(net, top.cid, store, max_bytes=30_000)
    with pytest.raises(RemoteFault, match="content-too-big"):
        await fetched(net, top.cid, SqliteBlockStore(":memory:"), max_bytes=29_999)


async def test_a_billion_laughs_costs_its_few_blocks(
    net: Any, giver: SqliteBlockStore, store: SqliteBlockStore
) -> None:
    node = put_file(giver, b"ha")
    for _ in range(30):
        node = Node(make_directory({str(i): node for i in range(10)}, giver.put).cid, 1)
    await fetched(net, node.cid, store)
    assert store.stat().blocks == 31


async def test_what_is_no_unixfs_in_a_tree_is_its_makers_fault(
    net: Any, giver: SqliteBlockStore, store: SqliteBlockStore
) -> None:
    record = b"\xa0"
    giver.put(cid_of(DAG_CBOR, record), record)
    top = make_directory({"record": Node(cid_of(DAG_CBOR, record), 1)}, giver.put)
    with pytest.raises(RemoteFault, match="bad-dag"):
        await fetched(net, top.cid, store)
    assert net.reports == []
