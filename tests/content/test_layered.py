"""The daemon's two stores as one: who writes where, and that readers see both."""

from collections.abc import Callable
from pathlib import Path

from swarmd.node.content.gc import collect
from swarmd.node.content.layered import LayeredBlocks, journal_reader
from swarmd.node.content.repo import ContentRepo
from swarmd.node.content.store import SqliteBlockStore
from swarmd.protocol.cids import raw_cid


def test_what_the_node_makes_stays_and_what_comes_may_go(
    repo: ContentRepo, make_store: Callable[[str], SqliteBlockStore], tmp_path: Path
) -> None:
    layers = LayeredBlocks(make_store("journal"), repo)
    own, given, fetched = (raw_cid(data) for data in (b"own", b"given", b"fetched"))
    layers.put(own, b"own")
    layers.put_many([(given, b"given")])
    layers.content.put_many([(fetched, b"fetched")])
    layers.content.put(raw_cid(b"one more"), b"one more")
    for reader in (layers, layers.content):
        for cid, data in ((own, b"own"), (given, b"given"), (fetched, b"fetched")):
            assert reader.get(cid) == data and reader.has(cid) and reader.size_of(cid) == len(data)
    assert (layers.stat().blocks, repo.usage().blocks) == (4, 2)
    assert collect(repo, grace_s=-1).blocks == 2
    assert layers.has(own) and layers.has(given) and not layers.has(fetched)
    assert layers.delete(own) and not layers.delete(own)
    offline = journal_reader(tmp_path / "journal.db")
    assert offline is not None and offline.get(given) == b"given"
    assert journal_reader(tmp_path / "nowhere.db") is None
