"""Epochs on real daemons: they end, needs are let go, newcomers begin at a checkpoint, kill -9 at any step loses nothing."""

import pytest
import trio
from swarmd.node.checkpoint import service
from swarmd.node.checkpoint.making import Snapshots
from swarmd.protocol import funds
from swarmd.protocol.cbor import decode
from swarmd.protocol.digest import mesh_digest
from swarmd.protocol.faults import LocalFault

GENESIS = {"epoch_s": 2}


async def until_epoch(mesh, wait_until, epoch):
    await wait_until(
        lambda: all(node.state.epoch >= epoch for node in mesh.running), f"epoch {epoch} has begun everywhere"
    )


async def test_epochs_end_and_let_needs_go(mesh, task, echo, wait_until):
    three = await mesh(3, genesis=GENESIS)
    await three[0].attach(echo("a"))
    await three[1].attach(echo("b"))
    await three.until_met()
    done = [await three[index % 3].post(task()) for index in range(6)]
    for index, need in enumerate(done):
        assert (await three[index % 3].finish(need))["state"] == "FINALIZED"
    await until_epoch(three, wait_until, 2)
    await wait_until(lambda: not any(node.state.needs for node in three), "all needs are let go")
    three.check_money()
    late = await three[2].post(task())
    assert (await three[2].finish(late))["state"] == "FINALIZED"
    for node in three:
        shown = await node.call("need.show", need=done[0])
        assert shown["state"] == "FINALIZED"
        assert shown["escrow"]["state"] == "released"
        assert shown["values"]["t"] == {"text": "hello"}
        why = await node.call("why", need=done[0])
        assert {step["kind"] for step in why["steps"]} >= {"NEED", "DECIDE", "COMMIT", "FINALIZE"}
        assert all(step["verified"] and not step["void"] for step in why["steps"])
        assert (await node.call("need.wait", need=done[1]))["state"] == "FINALIZED"
        listed = await node.call("need.list")
        assert {row["need"]: row["state"] for row in listed["needs"]}.items() >= dict.fromkeys(
            done, "FINALIZED"
        ).items()
        assert (await node.call("status"))["checkpoint"]["epoch"] >= 2


async def test_a_restart_begins_at_the_checkpoint(mesh, task, echo, wait_until):
    two = await mesh(2, genesis=GENESIS)
    await two[0].attach(echo("a"))
    await two.until_met()
    need = await two[1].post(task())
    await two[1].finish(need)
    await until_epoch(two, wait_until, 1)
    before, spent = two[1].state.epoch, await two[1].call("spending")
    assert spent["day"]["spent"] == "1"
    assert not [each for each in two[1].runner.voice.remembered(0) if each.thread == need]
    await two[1].stop()
    await two[1].start(peers=[two[0].addr])
    assert two[1].state.epoch >= before and await two[1].call("spending") == spent
    assert need not in two[1].state.needs
    later = await two[1].post(task())
    assert (await two[1].finish(later))["state"] == "FINALIZED"
    two.check_money()


async def test_a_newcomer_begins_at_the_last_checkpoint(mesh, task, echo, wait_until):
    three = await mesh(3, verifiers=2, genesis=GENESIS, start=False)
    for index in range(2):
        await three[index].start(peers=[three[0].addr] if index else [])
    await three[0].attach(echo("a"))
    await wait_until(lambda: len(three[0].daemon.transport.peers()) == 1, "two are connected")
    needs = [await three[1].post(task()) for _ in range(4)]
    for need in needs:
        assert (await three[1].finish(need))["state"] == "FINALIZED"
    await until_epoch(three, wait_until, 2)
    await three[2].start(peers=[three[0].addr, three[1].addr])
    await wait_until(lambda: three[2].state.epoch >= 2, "the newcomer is in the mesh's epoch")
    assert not three[2].state.needs.keys() & set(needs)
    await wait_until(lambda: len({mesh_digest(node.state) for node in three}) == 1, "equal digests")
    fresh = await three[2].post(task())
    assert (await three[2].finish(fresh))["state"] == "FINALIZED"
    three.check_money()


async def test_a_newcomer_brings_the_next_one_in(mesh, task, echo, wait_until):
    """It passed checkpoints that it never adopted, and has them all the same: who comes after it verifies each."""
    four = await mesh(4, verifiers=2, genesis={"epoch_s": 1}, start=False)
    for index in range(2):
        await four[index].start(peers=[four[0].addr] if index else [])
    await until_epoch(four, wait_until, 3)
    await four[2].start(peers=[four[0].addr, four[1].addr])
    await until_epoch(four, wait_until, 4)
    for index in range(2):
        await four[index].stop()
    await four[3].start(peers=[four[2].addr])
    await wait_until(lambda: four[3].state.epoch == four[2].state.epoch, "it is where the other newcomer is")
    epochs = [kept.epoch for kept in four[3].daemon.checkpoints.records.since(1, 1_000)]
    assert epochs == list(range(1, four[3].state.epoch + 1))


async def test_old_batches_go_into_blocks_and_come_back(mesh, task, echo, wait_until):
    """Hot, warm, cold: what is long over is in content blocks, and `need show` and `why` still have it."""
    three = await mesh(3, verifiers=2, genesis={"epoch_s": 1}, start=False, keep_epochs=1)
    for index in range(2):
        await three[index].start(peers=[three[0].addr] if index else [])
    await three[0].attach(echo("a"))
    await wait_until(lambda: len(three[0].daemon.transport.peers()) == 1, "two are connected")
    need = await three[1].post(task())
    await three[1].finish(need)

    def put_away():
        return all(node.daemon.checkpoints._pruner.moved > 10 for node in three.running)

    await wait_until(put_away, "batches of the first epoch are in blocks", 60.0)
    for node in three.running:
        tiers = (await node.call("status"))["checkpoint"]["tiers"]
        assert tiers["cold"]["batches"] > 10
        assert tiers["cold"]["bytes"] > 0
        # Kept up from look to look, without reading the journal again.
        rows = node.daemon.journal.db.execute("select count(*), sum(length(body)) from batches").fetchone()
        pruner = node.daemon.checkpoints._pruner
        assert tuple(pruner.status()["warm"].values()) == rows
        why = await node.call("why", need=need)
        assert {step["kind"] for step in why["steps"]} >= {"NEED", "DECIDE", "COMMIT", "FINALIZE"}
        assert all(step["verified"] for step in why["steps"])
        assert (await node.call("need.show", need=need))["state"] == "FINALIZED"
    # A restart begins where its chains do now, and a newcomer, who can get the old batches from nobody, with it.
    await three[1].stop()
    await three[1].start(peers=[three[0].addr])
    await three[2].start(peers=[three[0].addr, three[1].addr])
    await wait_until(lambda: three[2].state.epoch >= 3, "the newcomer is in the mesh's epoch")
    fresh = await three[2].post(task())
    assert (await three[2].finish(fresh))["state"] == "FINALIZED"
    assert (await three[1].call("need.show", need=need))["state"] == "FINALIZED"
    await wait_until(lambda: len({mesh_digest(node.state) for node in three}) == 1, "equal digests")
    three.check_money()


async def test_an_epoch_ends_though_each_snapshot_takes_longer_than_its_round(
    mesh, task, echo, wait_until, monkeypatch
):
    """As on a mesh that is busy beyond its limit: a later cut is longer, and is always done after the round that asked."""
    make, begun_at = Snapshots.make, {}

    async def slow(self, cut):
        base = await self.base()
        epoch = base.epoch if base is not None else 0
        now = trio.current_time()
        await trio.sleep(1.5 * (now - begun_at.setdefault((id(self), epoch), now - 0.5)))
        return await make(self, cut)

    monkeypatch.setattr(Snapshots, "make", slow)
    monkeypatch.setattr(service, "SETTLE_S", 0.1)
    two = await mesh(2, genesis={"epoch_s": 1})
    await two[0].attach(echo("a"))
    await two.until_met()
    need = await two[1].post(task())
    await two[1].finish(need)
    await until_epoch(two, wait_until, 2)
    await wait_until(lambda: not any(node.state.needs for node in two), "the need is let go")
    two.check_money()


async def test_chains_of_old_epochs_are_closed_and_those_of_who_is_away_are_not(mesh, task, echo, wait_until):
    """However many epochs pass, a node keeps chains of the last few; and what somebody said alone counts when it is back."""
    genesis = {"epoch_s": 1, "chain_epochs": 2}
    three = await mesh(3, verifiers=2, genesis=genesis, start=False)
    for index in range(2):
        await three[index].start(peers=[three[0].addr] if index else [])
    await three[0].attach(echo("a"))
    await wait_until(lambda: len(three[0].daemon.transport.peers()) == 1, "two are connected")
    # In epoch 0, and nobody hears it.
    await three[2].start()
    alone = await three[2].post(task(), deadline_s=600)
    await three[2].stop()

    await three[1].finish(await three[1].post(task()))
    await until_epoch(three, wait_until, 8)
    for node in three.running:
        over, heads = node.state.over, node.runner.chains.heads
        assert over.keys() == {three[0].did, three[1].did}
        assert all(chain[1] > over[chain[0]] for chain in heads)
        # Two epochs in which they were present, and that which goes on; another if a checkpoint is just being taken in.
        assert len({chain[1] for chain in heads}) <= 4
        first = three[0].daemon.journal.batch_bodies
        old = next(body for bucket in range(256) for body in first((three[0].did, 0, bucket), 0, 9))
        assert await node.runner.offer_synced("", [decode(old)]) == 0
        assert node.runner.ingress.faults["closed-chain"] >= 1

    await three[2].start(peers=[three[0].addr, three[1].addr])
    assert (await three[2].finish(alone, timeout_s=60.0))["state"] == "FINALIZED"
    # A start has the same.
    await three[1].stop()
    await three[1].start(peers=[three[0].addr])
    assert all(
        chain[1] > three[1].state.over[chain[0]]
        for chain in three[1].runner.chains.heads
        if chain[0] != three[2].did
    )
    await wait_until(lambda: len({mesh_digest(node.state) for node in three}) == 1, "equal digests")
    three.check_money()


async def test_who_asked_for_more_than_it_has_can_ask_again(mesh, task, echo, monkeypatch):
    """The need waits for money until its deadline is two epochs past. Then it has expired, and what was asked after it is done.
    A node of ours says no such need; nothing keeps others from it."""
    two = await mesh(2, genesis={"epoch_s": 1, "expiry_grace_s": 1})
    await two[0].attach(echo("a"))
    await two.until_met()
    assert (await two[1].finish(await two[1].post(task())))["state"] == "FINALIZED"
    before = await two[1].call("balance")
    with pytest.raises(LocalFault, match="insufficient-funds"):
        await two[1].post(task(), budget="1000")
    monkeypatch.setattr(funds, "check", lambda *given: None)
    much = await two[1].post(task(), budget="1000", deadline_s=1)
    little = await two[1].post(task(), deadline_s=3600)
    shown = await two[1].call("need.show", need=much)
    assert "balance does not cover" in shown["waiting_for"]
    assert (await two[1].finish(little))["state"] == "FINALIZED"
    for node in two:
        shown = await node.finish(much)
        assert (shown["state"], shown["escrow"]["state"]) == ("EXPIRED", "expired")
        assert [step["kind"] for step in (await node.call("why", need=much))["steps"]] == ["NEED"]
    paid = float(before["available"]) - float((await two[1].call("balance"))["available"])
    assert 0 < paid <= 1
    two.check_money()
    monkeypatch.undo()
    assert (await two[1].finish(await two[1].post(task())))["state"] == "FINALIZED"
    await two[1].stop()
    await two[1].start(peers=[two[0].addr])
    assert (await two[1].call("need.show", need=much))["state"] == "EXPIRED"
