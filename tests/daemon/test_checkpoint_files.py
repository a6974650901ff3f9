"""Exported checkpoints: what verifies offline, and that nothing else does."""

import random

import pytest
import trio
from swarmd.node.checkpoint.files import verify
from swarmd.node.setup import found_mesh
from swarmd.protocol.checkpoint.snapshot import compress, decompress
from swarmd.protocol.faults import RemoteFault

MUTANTS = 10_000


@pytest.fixture
async def exported(mesh, task, echo, wait_until, tmp_path):
    """(frame, genesis) of a checkpoint that two real daemons made."""
    two = await mesh(2, genesis={"epoch_s": 1})
    await two[0].attach(echo("a"))
    await two.until_met()
    need = await two[1].post(task())
    await two[1].finish(need)
    await wait_until(lambda: all(node.state.epoch >= 2 for node in two), "two epochs have ended")
    file = tmp_path / "c.ckpt"
    said = await two[0].call("checkpoint.export", file=str(file))
    assert said["bytes"] == file.stat().st_size
    shown = await two[0].call("checkpoint.show", epoch=said["epoch"])
    assert len(shown["signers"]) == 2 and shown["whole"]
    retrieved = await two[0].call("checkpoint.retrieve", need=need)
    assert (retrieved["outcome"], retrieved["state"]) == ("released", "FINALIZED")
    listed = await two[0].call("checkpoint.list")
    assert [row["epoch"] for row in listed["checkpoints"]][-1] == 1
    return file.read_bytes(), two.genesis, shown


@pytest.mark.property_id("P7")
async def test_a_checkpoint_is_verified_with_nothing_but_the_genesis(exported):
    frame, genesis, shown = exported
    found = verify(frame, genesis)
    assert found.state.hex() == shown["state"]
    assert list(found.signers) == shown["signers"]
    assert sum(a.available + a.locked for a in found.found.accounts.values()) == sum(
        genesis.balances.values()
    )
    with pytest.raises(RemoteFault, match="another mesh"):
        verify(frame, found_mesh("other", list(genesis.roster), dict(genesis.balances)))


@pytest.mark.property_id("P7")
async def test_ten_thousand_mutated_files_are_refused(exported):
    frame, genesis, shown = exported

    body = decompress(frame)
    dice = random.Random(6)

    def refused() -> int:
        count = 0
        for number in range(MUTANTS):
            mutant = bytearray(body if number % 2 else frame)
            for _ in range(dice.randint(1, 3)):
                place = dice.randrange(len(mutant))
                match dice.randrange(3):
                    case 0:
                        mutant[place] ^= 1 << dice.randrange(8)
                    case 1:
                        del mutant[place : place + dice.randint(1, 40)]
                    case 2:
                        mutant[place:place] = dice.randbytes(dice.randint(1, 9))
            try:
                found = verify(compress(bytes(mutant)) if number % 2 else bytes(mutant), genesis)
            except RemoteFault:
                count += 1
            else:
                # What was changed says nothing: a roster that was known, or a bit of the compressed form.
                assert found.state.hex() == shown["state"]
                count += 1
        return count

    assert await trio.to_thread.run_sync(refused) == MUTANTS
