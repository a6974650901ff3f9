"""What is put away late spares the snapshot that may become the next checkpoint."""

from contextlib import closing
from io import BytesIO

import trio
from swarmd.node.bench import history
from swarmd.node.bench.hour_load import Load, read_messages
from swarmd.node.bench.hour_node import HourNode
from swarmd.node.checkpoint.pruning import Pruner
from swarmd.node.checkpoint.records import Records
from swarmd.node.content.store import SqliteBlockStore
from swarmd.node.garbage import Garbage
from swarmd.node.journal import Journal
from swarmd.protocol import kinds
from swarmd.protocol.batch import reload_batch
from swarmd.protocol.cbor import decode
from swarmd.protocol.checkpoint.making import Maker, choose_cut
from swarmd.protocol.checkpoint.packing import pack
from swarmd.protocol.cids import raw_cid
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.limits import CHAIN_EPOCHS


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


async def test_content_goes_with_its_batches_but_for_what_an_open_need_refers_to(tmp_path, monkeypatch):
    file = BytesIO()
    Load(file, {"tasks_per_s": 60, "epoch_s": 1, "chain_epochs": CHAIN_EPOCHS}, Garbage()).run(300)
    file.seek(0)
    settings = {"folder": str(tmp_path), "keep_epochs": 1, "cold_mb": 1, "every_s": 60, "gated": False}
    node = HourNode({**settings, "chain_epochs": CHAIN_EPOCHS}, Garbage())
    blocks, pruner = SqliteBlockStore(node.node.journal.db), node.pruner
    said = dict[str, Envelope]()

    def keep_inline(envelope: Envelope) -> None:
        if envelope.kind == kinds.NEED:
            said[envelope.thread] = envelope
            blocks.put_many([(raw_cid(value), value) for value in envelope.payload["inline"]])

    needed, meanwhile = raw_cid(b"0"), raw_cid(b"3")
    put_many = SqliteBlockStore.put_many

    def need_it_again(store, pairs):
        """While the first bucket is put away somebody posts an old input again; it lies in another bucket."""
        if store is not blocks and pruner.due:
            pruner.seen(next(each for each in said.values() if each.payload["inline"] == [b"3"]))
        return put_many(store, pairs)

    monkeypatch.setattr(SqliteBlockStore, "put_many", need_it_again)
    pruner.still_needed = lambda: [needed]
    node.node.runner.watchers.append(keep_inline)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.node.runner.run)
        await nursery.start(node.checkpoints.run, ())
        await node.take(read_messages(file))
        nursery.cancel_scope.cancel()
    with closing(node.node.journal):
        assert pruner.status()["cold"]["batches"] > 0 and len(said) == 150
        cold = {
            envelope.thread
            for bucket in range(256)
            for body in pruner.bodies(bucket)
            for envelope in reload_batch(decode(body)).envelopes
        }
        content = {need: raw_cid(envelope.payload["inline"][0]) for need, envelope in said.items()}
        gone = {content[need] for need in cold & content.keys()}
        assert needed in gone and meanwhile in gone and len(gone) > 4
        # Of the five owners, whose inputs are the same numbers, nobody else needs one.
        assert {cid for cid in gone if blocks.get(cid) is not None} == {needed, meanwhile}
        assert all(
            blocks.get(cid) == b"%d" % number for number, cid in _numbered(set(content.values()) - gone)
        )


def _numbered(cids):
    of = {raw_cid(b"%d" % number): number for number in range(1_000)}
    return [(of[cid], cid) for cid in cids]
