"""What is put away late spares the snapshot that may become the next checkpoint."""

from contextlib import closing

from swarmd.node.bench import history
from swarmd.node.checkpoint.pruning import Pruner
from swarmd.node.checkpoint.records import Records
from swarmd.node.content.store import SqliteBlockStore
from swarmd.node.journal import Journal
from swarmd.protocol.checkpoint.making import Maker, choose_cut
from swarmd.protocol.checkpoint.snapshot import pack


async def test_a_snapshot_that_may_be_the_next_is_kept(tmp_path):
    said = history.History()
    maker = Maker(said.genesis, None)
    for _, batches in said.flushes(3):
        for batch in batches:
            maker.feed(batch)
    packed = pack(maker.finish(choose_cut(said.heads(), None, 1)))
    with closing(Journal(tmp_path / "journal.db")) as journal:
        records = Records(journal)
        pruner = Pruner(journal, records, SqliteBlockStore(journal.db))
        records.put(packed)
        await pruner.prune(0)
        assert records.packed(packed.state) == packed  # made here or fetched, and not proposed yet
        # After a start it is known by the ballot alone.
        pruner = Pruner(journal, Records(journal), SqliteBlockStore(journal.db))
        pruner.proposed = lambda: [packed.state]
        await pruner.prune(0)
        assert records.packed(packed.state) == packed
        pruner.proposed = tuple
        await pruner.prune(0)
        assert records.packed(packed.state) is None
