"""A node made of an old backup, in a mesh that has heard more of it since: it listens, and contradicts itself in nothing."""

import shutil
from contextlib import closing

import nacl.pwhash.argon2id as argon2id
import pytest
import trio
from swarmd.node.backup.create import create_backup
from swarmd.node.backup.recover import recover
from swarmd.node.backup.restore import restore_backup
from swarmd.node.backup.sealed import Cost
from swarmd.node.daemon import Daemon
from swarmd.node.journal import RESTORED_KEY, Journal
from swarmd.protocol.cbor import decode
from swarmd.protocol.envelope import bucket_of
from swarmd.protocol.faults import LocalFault

QUICK = Cost(argon2id.OPSLIMIT_MIN, argon2id.MEMLIMIT_MIN)
PASSPHRASE = b"passphrase"


@pytest.fixture
def fallen(mesh, task, echo, tmp_path):
    """(mesh, needs): of three nodes the first was backed up, worked on, is gone and restored from that backup."""

    async def fall(*, epoch_s=600, restore=True):
        return await _fall(
            await mesh(3, genesis={"epoch_s": epoch_s}), task, echo, tmp_path / "backup", restore
        )

    return fall


async def _fall(found, task, echo, file, restore):
    await found.until_met()
    for node in found:
        await node.attach(echo(f"echo-{node.name}"))
    await found.until_met()
    first = found[0]
    needs = [await first.post(task())]
    await first.finish(needs[0])

    def copy(folder) -> None:
        trio.from_thread.run(lambda: first.call("backup.snapshot", folder=str(folder)))

    with trio.fail_after(30):
        await trio.to_thread.run_sync(
            lambda: create_backup(first.home, file, PASSPHRASE, copy=copy, cost=QUICK)
        )
    for _ in range(4):
        needs.append(await first.post(task()))
        await first.finish(needs[-1])
    await found.until_agreed()
    await first.stop()
    if restore:
        shutil.rmtree(first.home)
        restore_backup(file, first.home, lambda: PASSPHRASE)
    return found, needs


async def test_it_listens_before_it_speaks(fallen, task, echo, wait_until):
    found, needs = await fallen()
    first, *others = found
    await first.start(peers=[])
    status = await first.call("status")
    assert (status["restored"]["heard"], status["restored"]["needed"]) == (0, 2)
    assert set(needs) - set(first.state.needs)
    fault = await first.refused("need.post", spec={"budget": "1", "tasks": [task()]})
    assert fault.code == "restored-silent"
    await first.stop()

    await first.start(peers=[other.addr for other in others])
    await wait_until(lambda: not first.runner.silent, "it speaks")
    assert (await first.call("status"))["restored"] is None
    assert set(needs) == set(first.state.needs)
    await first.attach(echo("echo-again"))
    for _ in range(3):
        shown = await first.finish(await first.post(task()))
        assert shown["state"] == "FINALIZED"
    await found.until_agreed()
    found.check_money()
    for node in found:
        assert node.runner.journal.proofs() == [], node.name
        assert node.runner.ingress.faults["equivocation"] == 0

    await first.stop()
    with closing(Journal(first.home / "journal.db")) as journal:
        assert journal.meta(RESTORED_KEY) is None
    await first.start(peers=[other.addr for other in others])
    assert not first.runner.silent
    await found.until_agreed()


async def test_without_listening_it_would_contradict_itself(fallen, task, wait_until):
    """What the silence is for."""
    found, _ = await fallen()
    first, second, _ = found
    await first.start(peers=[])
    assert (await first.call("backup.speak"))["heard"] == 0
    with pytest.raises(LocalFault):
        await first.call("backup.speak")
    need = await first.post(task())
    await wait_until(lambda: not first.runner.voice.unsealed, "it is sealed")
    said = first.runner.journal.batch_bodies((first.did, 0, bucket_of(need)), 0, 99)
    assert not second.runner.journal.proofs()
    with trio.fail_after(10):
        await second.runner.offer_synced("", [decode(body) for body in said])
    assert second.runner.ingress.faults["equivocation"]
    assert [what for what, _ in second.runner.journal.proofs()] == ["equivocation"]


async def until_it_is_back(found, wait_until):
    first, *others = found
    await first.start(peers=[other.addr for other in others])
    await wait_until(lambda: not first.runner.silent, "it speaks")
    assert (await first.call("status"))["restored"] is None


async def check_it_works(found, task):
    first = found[0]
    for _ in range(2):
        shown = await first.finish(await first.post(task()))
        assert shown["state"] == "FINALIZED"
    await found.until_agreed()
    found.check_money()
    for node in found:
        assert node.runner.journal.proofs() == [], node.name
        assert node.runner.ingress.faults["equivocation"] == 0


async def until_over(found, needs, wait_until):
    """A checkpoint has closed them, everywhere."""
    await wait_until(
        lambda: not any(need in node.state.needs for node in found.running for need in needs),
        "they are closed",
    )


async def test_a_backup_of_an_epoch_long_ago_comes_back(fallen, task, echo, wait_until):
    """It cannot go on from where it was: what it said since is in checkpoints, and it takes those while it listens."""
    found, needs = await fallen(epoch_s=1)
    first, *others = found
    await until_over(found, needs, wait_until)
    await wait_until(lambda: all(node.state.epoch >= 2 for node in others), "epochs have ended without it")
    await until_it_is_back(found, wait_until)
    assert first.state.epoch >= 2
    await first.attach(echo("echo-again"))
    await check_it_works(found, task)


@pytest.mark.parametrize("epoch_s", [600, 2])
async def test_a_node_whose_journal_is_lost(fallen, task, echo, wait_until, epoch_s):
    """With its key, and without a backup: nothing starts that would contradict itself, and what it owns is not lost."""
    found, needs = await fallen(epoch_s=epoch_s, restore=False)
    first, *others = found
    account = others[0].state.ledger.account(first.did)
    for left in ("", "-wal", "-shm"):
        (first.home / f"journal.db{left}").unlink(missing_ok=True)
    if epoch_s == 2:
        await until_over(found, needs, wait_until)
    with pytest.raises(LocalFault) as caught:
        Daemon(first.settings)
    assert caught.value.code == "journal-lost" and "backup recover" in caught.value.fix
    done = recover(first.home)
    assert (done.did, done.damage) == (first.did, "it is gone")
    assert done.aside is not None and (done.aside / "statement.db").exists()

    await first.start(peers=[])
    status = await first.call("status")
    assert status["restored"]["backup_ns"] is None and status["restored"]["heard"] == 0
    assert (
        await first.refused("need.post", spec={"budget": "1", "tasks": [task()]})
    ).code == "restored-silent"
    await first.stop()

    await until_it_is_back(found, wait_until)
    assert first.state.ledger.account(first.did).available == account.available
    await first.attach(echo("echo-again"))
    await check_it_works(found, task)


async def test_the_only_verifier_of_a_mesh_does_not_take_itself_for_alone(mesh, task, echo, wait_until):
    """A member has heard it too, and would hold a contradiction against it."""
    two = await mesh(2, verifiers=1)
    await two.until_met()
    first, second = two
    await first.attach(echo("a"))
    await first.finish(await second.post(task()))
    await two.until_agreed()
    await first.stop()
    for left in first.home.glob("journal.db*"):
        left.unlink()
    assert recover(first.home).damage == "it is gone"
    await first.start(peers=[])
    status = await first.call("status")
    assert (status["restored"]["heard"], status["restored"]["needed"]) == (0, 1)
    await first.stop()
    await first.start(peers=[second.addr])
    await wait_until(lambda: not first.runner.silent, "it speaks")
    await first.attach(echo("again"))
    assert (await second.finish(await second.post(task())))["state"] == "FINALIZED"
    await two.until_agreed()
    assert second.runner.ingress.faults["equivocation"] == 0
