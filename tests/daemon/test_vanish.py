"""A worker that is gone between CLAIM and COMMIT: its lease ends, the next one takes over, all agree about it."""

import signal

import pytest
import trio
from swarmd.node.setup import GENESIS_FILE, create_home, found_mesh, write_genesis

OBJECT = {"type": "schema", "schema": {"type": "object"}}


@pytest.mark.property_id("P5")
@pytest.mark.property_id("P9")
async def test_a_worker_killed_between_claim_and_commit(mesh, task, echo, lives, tmp_path, wait_until):
    two = await mesh(2, start=False, lease_ttl_s=1)
    gone_home = tmp_path / "gone"
    gone = create_home(gone_home).did
    members = [*(node.did for node in two), gone]
    # The same genesis for all three; the one that will be gone is no verifier.
    two.genesis = found_mesh("three", members[:2], dict.fromkeys(members, 1_000_000_000))
    for home in (two[0].home, two[1].home, gone_home):
        write_genesis(home / GENESIS_FILE, two.genesis)
    await two.start()
    owner, other = two
    await other.attach(echo("honest", "0.02"))
    life = await lives.start(gone_home, peer=owner.addr, lease_ttl_s=1)
    await life.until_ready()
    sleeper = {
        "name": "sleeper",
        "kind": "command",
        "argv": ["/bin/sleep", "600"],
        "capabilities": [{"name": "echo", "price": "0.01"}],
    }
    await life.call("agent.add", agent=sleeper, base="/")
    await wait_until(
        lambda: all((seen := node.state.manifests.get(gone)) and seen.offers for node in two),
        "its offer is known",
    )
    await wait_until(lambda: owner.state.manifests[other.did].offers, "the other offer is known")

    need = await owner.post(task(verify=OBJECT))
    await wait_until(lambda: owner.state.needs[need].claims, "it is claimed")
    [claim] = owner.state.needs[need].claims.values()
    assert claim.worker == gone
    assert await life.end(signal.SIGKILL) == -signal.SIGKILL

    shown = await owner.finish(need)
    [run] = shown["tasks"]
    assert (shown["state"], run["worker"], run["attempt"], shown["paid"]) == (
        "FINALIZED",
        other.did,
        1,
        "0.02",
    )
    assert [(end["attempt"], end["cause"]) for end in run["ended"]] == [(0, "expired")]
    await two.until_agreed()
    two.check_money()
    assert owner.state.ledger.account(gone).earned == 0

    # Back again, it hears what became of its work, and does not deliver it late.
    back = await lives.start(gone_home, peer=owner.addr, lease_ttl_s=1)
    await back.until_ready()
    with trio.fail_after(15):
        while (await back.call("digest"))["mesh_digest"] != (await owner.call("digest"))["mesh_digest"]:  # noqa: ASYNC110
            await trio.sleep(0.05)
    assert len(owner.state.needs[need].commits) == 1
    for node in two:
        assert not any(peer["faults"] for peer in (await node.call("peers"))["peers"])
    assert await back.end(signal.SIGTERM) == 0, back.told()
