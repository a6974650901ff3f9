"""A node made of an old backup, in a mesh that has heard more of it since: it listens, and contradicts itself in nothing."""

import shutil
from contextlib import closing

import nacl.pwhash.argon2id as argon2id
import pytest
import trio
from swarmd.node.backup.create import create_backup
from swarmd.node.backup.restore import restore_backup
from swarmd.node.backup.sealed import Cost
from swarmd.node.journal import RESTORED_KEY, Journal
from swarmd.protocol.cbor import decode
from swarmd.protocol.envelope import bucket_of
from swarmd.protocol.faults import LocalFault

QUICK = Cost(argon2id.OPSLIMIT_MIN, argon2id.MEMLIMIT_MIN)
PASSPHRASE = b"passphrase"


@pytest.fixture
async def fallen(mesh, task, echo, tmp_path):
    """(mesh, needs): of three nodes the first was backed up, worked on, is gone and restored from that backup."""
    found = await mesh(3)
    await found.until_met()
    for node in found:
        await node.attach(echo(f"echo-{node.name}"))
    await found.until_met()
    first = found[0]
    needs = [await first.post(task())]
    await first.finish(needs[0])
    file = tmp_path / "backup"

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
    shutil.rmtree(first.home)
    restore_backup(file, first.home, lambda: PASSPHRASE)
    return found, needs


async def test_it_listens_before_it_speaks(fallen, task, echo, wait_until):
    found, needs = fallen
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
    found, _ = fallen
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
