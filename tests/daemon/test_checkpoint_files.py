"""Exported checkpoints: what verifies offline, and that nothing else does."""

import base64
import random

import pytest
import trio
from swarmd.node.checkpoint.files import verify
from swarmd.node.consensus.certificates import check
from swarmd.node.setup import found_mesh
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.checkpoint.packing import compress, decompress
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


@pytest.mark.property_id("P7")
async def test_a_certificate_of_a_later_epoch_brings_the_checkpoints_that_prove_its_roster(
    mesh, task, echo, wait_until
):
    two = await mesh(2, genesis={"epoch_s": 1})
    await two[0].attach(echo("a"))
    await two.until_met()
    await wait_until(lambda: all(node.state.epoch >= 2 for node in two), "two epochs have ended")
    need = await two[1].post(task())
    await two[1].finish(need)
    made = await two[0].call("consensus.export", need=need)
    draw = max(made["draws"])
    assert draw >= 2
    shown = check(two.genesis, made)
    assert shown["need"] == need

    def with_chain(rows):
        return {**made, "checkpoints": base64.b64encode(compress(encode(rows))).decode()}

    rows = decode(decompress(base64.b64decode(made["checkpoints"])))
    assert check(two.genesis, with_chain(rows)) == shown
    forged = [*rows[:-1], [*rows[-1][:2], [], rows[-1][3]]]
    for wrong, code in (
        (rows[:-1], "unproven-roster"),
        (rows[1:], "bad-checkpoint"),
        (forged, "bad-certificate"),
        ("x", "bad-checkpoint"),
    ):
        with pytest.raises(RemoteFault) as refused:
            check(two.genesis, with_chain(wrong))
        assert refused.value.code == code
    roster = made["rosters"][str(draw)]
    for document in (
        {name: value for name, value in made.items() if name != "checkpoints"},
        {**made, "rosters": {str(draw): {**roster, "members": roster["members"][:1]}}},
    ):
        with pytest.raises(RemoteFault) as refused:
            check(two.genesis, document)
        assert refused.value.code == "unproven-roster"
    assert check(two.genesis, document | {"rosters": made["rosters"]}, ()) == shown
