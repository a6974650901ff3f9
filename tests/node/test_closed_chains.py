"""A node whose mesh closes chains: its journal, its start, what it refuses, what it does not seal any more."""

from dataclasses import replace

import pytest
import trio
from swarmd.node.bench import history
from swarmd.node.bench.hour_node import HourNode
from swarmd.node.checkpoint.records import Records
from swarmd.node.garbage import Garbage
from swarmd.node.state.sync import Sync
from swarmd.node.voice import Voice
from swarmd.protocol.batch import batch_to_list
from swarmd.protocol.chains import Head, chain_of
from swarmd.protocol.checkpoint.making import Maker, choose_cut
from swarmd.protocol.checkpoint.packing import pack
from swarmd.protocol.checkpoint.snapshot import NO_SNAPSHOT
from swarmd.protocol.digest import mesh_digest, state_digest

CHAIN_EPOCHS = 2
EPOCHS = 4


class Mesh:
    """Epochs of a mesh, each (batches, snapshot at its end). `late`: the last batch of a chain of epoch 0, in no cut."""

    def __init__(self):
        self.said = said = history.History(chain_epochs=CHAIN_EPOCHS)
        self.epochs, self.late = [], None
        base, base_state = None, NO_SNAPSHOT
        for epoch in range(EPOCHS):
            maker = Maker(said.genesis, base, base_state)
            batches = [batch for _, batches in said.flushes(8) for batch in batches]
            said.show_all()
            batches += [batch for _, batches in said.flush() for batch in batches]
            if epoch == 0:
                self.late = [each for each in batches if each.seq][-1]
                self.before = max(
                    (b for b in batches if chain_of(b) == chain_of(self.late) and b.seq < self.late.seq),
                    key=lambda batch: batch.seq,
                )
            for batch in batches:
                if batch is not self.late:
                    maker.feed(batch)
            heads, last = said.heads(), self.before.envelopes[-1]
            if chain_of(self.late) in heads:
                short = Head(self.before.seq, self.before.hash, last.lamport, last.ts_ns)
                heads[chain_of(self.late)] = short
            base = maker.finish(choose_cut(heads, base, epoch + 1))
            packed = pack(base)
            base_state = packed.state
            self.epochs.append((batches, packed, base))
            said.begin(epoch + 1, base.rosters, base.over)


@pytest.fixture(scope="module")
def mesh():
    return Mesh()


@pytest.fixture
def settings(tmp_path):
    def make(name, keep=10):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return {
            "folder": str(folder),
            "every_s": 10_000,
            "keep_epochs": keep,
            "cold_mb": 64,
            "gated": False,
            "chain_epochs": CHAIN_EPOCHS,
        }

    return make


class Running:
    """A node that hears batches and adopts snapshots as it is told."""

    def __init__(self, settings):
        self.hour = HourNode(settings, Garbage())
        self.runner, self.journal = self.hour.node.runner, self.hour.node.journal

    async def hear(self, batches):
        self.hour.now_ns = max([self.hour.now_ns, *(b.envelopes[-1].ts_ns for b in batches)])
        return await self.runner.offer_synced("peer", [batch_to_list(batch) for batch in batches])

    async def adopt(self, packed, found):
        self.hour.records.put(packed)
        await self.hour.checkpoints._take(found.epoch, packed.state, ())
        await self.hour.pruner.prune(found.epoch)

    @property
    def faults(self):
        return self.runner.ingress.faults

    async def live(self, do):
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.runner.run)
                await do(self)
                nursery.cancel_scope.cancel()
        found = (
            mesh_digest(self.runner.state),
            state_digest(self.runner.state),
            dict(self.runner.chains.heads),
        )
        self.journal.close()
        return found


async def test_what_a_checkpoint_closes_leaves_memory_journal_and_state(mesh, settings):
    async def everything(node):
        for batches, packed, found in mesh.epochs:
            assert await node.hear(batches) == len(batches)
            await node.adopt(packed, found)
            held = list(node.journal.batch_bodies(chain_of(mesh.late), mesh.late.seq, mesh.late.seq))
            assert bool(held) == (chain_of(mesh.late)[1] > found.over.get(mesh.late.author, -1))
        over = node.runner.state.over
        assert over and set(over.values()) == {EPOCHS - CHAIN_EPOCHS - 1}
        epochs = {chain[1] for chain in node.runner.chains.heads}
        assert epochs == set(range(EPOCHS - CHAIN_EPOCHS, EPOCHS))
        # Again what is closed, known or not: refused, and nobody is charged.
        old = mesh.epochs[0][0]
        assert await node.hear(old[:5]) == 0
        assert await node.hear([mesh.late]) == 0
        assert node.faults == {"closed-chain": 6}

    async def without(node):
        for batches, packed, found in mesh.epochs:
            await node.hear([batch for batch in batches if batch is not mesh.late])
            await node.adopt(packed, found)
            if found.epoch == EPOCHS - 1:
                assert await node.hear([mesh.late]) == 0  # after it was closed
        assert node.faults["closed-chain"] == 1

    one, other = Running(settings("a")), Running(settings("b"))
    agreed, exact, heads = await one.live(everything)
    assert (await other.live(without))[::2] == (agreed, heads)
    # A start finds the same, of the state, of the journal and of the cut that its chains begin at.
    again = Running(settings("a"))
    assert mesh_digest(again.runner.state) == agreed
    assert state_digest(again.runner.state) == exact
    assert dict(again.runner.chains.heads) == heads
    again.journal.close()


async def test_who_jumps_over_checkpoints_puts_away_what_they_closed(mesh, settings):
    """The cut that it prunes by has no rows any more of chains that were closed before."""

    async def jump(node):
        await node.hear(mesh.epochs[0][0])
        for _, packed, found in mesh.epochs[-2:]:
            await node.adopt(packed, found)
        count = "select count(*) from batches where epoch = 0"
        assert node.journal.db.execute(count).fetchone() == (0,)

    node = Running(settings("c", keep=1))
    await node.live(jump)


async def test_sync_asks_for_nothing_that_is_closed(mesh, settings):
    async def ask(node):
        for batches, packed, found in mesh.epochs:
            await node.hear(batches)
            await node.adopt(packed, found)
        sync = Sync(node.runner, node.journal, None, lambda: b"")
        author, epoch, bucket = chain_of(mesh.late)
        # Who is behind still has it in its vectors.
        assert sync._missing([[bucket, [[author, epoch, 9], [author, EPOCHS, 3]]]]) == [
            [author, EPOCHS, bucket, 0, 3]
        ]
        assert sync._not_asked([[author, epoch, bucket, 0, 9]]) == {}

    await Running(settings("d")).live(ask)


async def test_a_restored_node_seals_nothing_in_chains_that_were_closed_since(mesh, settings):
    """It would be the first batch of a chain that the others have had for long."""

    async def restored(node):
        for batches, packed, found in mesh.epochs:
            await node.hear(batches)
            await node.adopt(packed, found)
        envelope = replace(mesh.late.envelopes[-1])
        voice = Voice(
            node.runner.genesis.mesh_id, mesh.late.author, lambda data: bytes(64), None, node.journal
        )
        voice.restore([envelope], node.runner.chains)
        assert voice.unsealed == []
        voice.unsealed = [envelope]
        voice.leave_behind(node.runner.chains)
        assert voice.unsealed == []

    await Running(settings("e")).live(restored)


async def test_the_part_that_says_what_is_closed_is_kept_with_the_cuts(mesh, settings):
    async def adopt(node):
        for batches, packed, found in mesh.epochs:
            await node.hear(batches)
            await node.adopt(packed, found)
        records = Records(node.journal)
        for kept in records.since(EPOCHS - 1, 5):
            assert records.over(kept.head) == mesh.epochs[kept.epoch - 1][2].over != {}

    await Running(settings("f")).live(adopt)
