"""Three daemons: what gossip loses, sync repairs; who was away catches up."""

import pytest
import trio
from swarmd.node.agents.sdk import Agent
from swarmd.node.runner import Runner
from swarmd.node.transport.p2p import P2PTransport
from swarmd.protocol.cids import cid_text, dag_cbor_cid


@pytest.fixture
def deaf(monkeypatch):
    """deaf(node): gossip of batches does not reach it any more. `lost` counts, `hear()` ends it."""

    class Deaf:
        def __init__(self, node):
            self.lost = 0
            self.did = node.did
            offer_frame = Runner.offer_frame

            def lose(runner, peer, frame):
                if runner.me == self.did and runner.ingress.parse(frame, runner.now_ns()).batches:
                    self.lost += 1
                else:
                    offer_frame(runner, peer, frame)

            monkeypatch.setattr(Runner, "offer_frame", lose)

        def hear(self):
            self.did = ""

    return Deaf


async def test_sync_repairs_what_gossip_lost(mesh, task, echo, deaf, wait_until):
    three = await mesh(3, sync_interval_s=0.2)
    await three[0].attach(echo("a"))
    await three[1].attach(echo("b"))
    await three.until_met()
    ears = deaf(three[2])
    before = (await three[2].call("status"))["sync"]
    needs = [await three[0].post(task()) for _ in range(5)]
    for need in needs:
        assert (await three[0].finish(need))["state"] == "FINALIZED"
    await three.until_agreed()
    after = (await three[2].call("status"))["sync"]
    assert ears.lost > 0
    assert after["rounds"] > before["rounds"]
    assert after["repaired"] > before["repaired"]
    assert {need: three[2].state.needs[need].state() for need in needs} == dict.fromkeys(needs, "FINALIZED")
    three.check_money()


async def test_a_batch_that_was_lost_is_asked_for_when_the_next_one_comes(mesh, task, echo, deaf, wait_until):
    """Without waiting for a round of sync."""
    two = await mesh(2, verifiers=1, sync_interval_s=3600)
    agent = Agent("gated")
    go = trio.Event()

    @agent.task("echo", price="0.01")
    async def wait(job):
        await go.wait()
        return {"text": job.input["text"]}

    await two[0].attach(agent)
    await two.until_met()
    sync = two[1].daemon.sync
    # Over, not only begun: a round under way would find what we are about to lose.
    await wait_until(lambda: sync.rounds > 0 and not sync._slots.borrowed_tokens, "its first round")
    ears = deaf(two[1])
    need = await two[0].post(task())
    await wait_until(lambda: two[0].state.needs[need].state() == "RUNNING", "it is claimed")
    await wait_until(lambda: ears.lost > 0, "some of it was lost")
    # Not 1: two nodes that dialed each other at once keep one of the connections, and follow each other anew.
    rounds = two[1].daemon.sync.rounds
    ears.hear()
    go.set()
    assert (await two[0].finish(need))["state"] == "FINALIZED"
    await two.until_agreed()
    await wait_until(lambda: two[1].daemon.sync.repaired > 0, "it is counted")
    assert two[1].daemon.sync.rounds == rounds


async def test_who_was_away_catches_up(mesh, task, echo, deaf, wait_until):
    three = await mesh(3, verifiers=2, sync_interval_s=1.0)
    await three[0].attach(echo("a"))
    await three[1].attach(echo("b"))
    await three.until_met()
    await three[0].finish(await three[0].post(task()))
    await three.until_agreed()
    await three[2].stop()
    needs = [await three[index % 2].post(task()) for index in range(6)]
    for index, need in enumerate(needs):
        assert (await three[index % 2].finish(need))["state"] == "FINALIZED"
    # Gossip keeps a history of some seconds; a longer absence leaves only sync.
    # Several rounds of it: those who stayed may still say a last word after the first.
    deaf(three[2])
    await three[2].start(peers=[three[0].addr, three[1].addr])
    await three.until_agreed()
    await wait_until(lambda: three[2].daemon.sync.repaired > 0, "it is counted")
    three.check_money()
    # It has what it says: the result comes over, block by block verified.
    shown = await three[2].call("need.show", need=needs[0])
    [cid] = shown["result"].values()
    assert (await three[2].call("content.cat", cid=cid))["data"] == b'{"text":"hello"}'
    why = await three[2].call("why", need=needs[0])
    assert {step["kind"] for step in why["steps"]} >= {
        "NEED",
        "PROPOSE",
        "ATTEST_PLAN",
        "DECIDE",
        "CLAIM",
        "COMMIT",
        "ATTEST",
        "FINALIZE",
    }
    assert all(step["verified"] for step in why["steps"])


async def test_honest_nodes_find_no_fault_with_each_other(mesh, task, echo):
    three = await mesh(3, sync_interval_s=0.3)
    for index, node in enumerate(three):
        await node.attach(echo(f"agent{index}"))
    await three.until_met()
    needs = [(node, await node.post(task())) for _ in range(8) for node in three]
    for node, need in needs:
        assert (await node.finish(need))["state"] == "FINALIZED"
    await three.until_agreed()
    three.check_money()
    for node in three:
        status = await node.call("status")
        assert status["ingress"]["faults"] == {}
        assert status["trouble"] == ""
        peers = (await node.call("peers"))["peers"]
        assert [(peer["faults"], node.trust(peer["peer_id"])) for peer in peers] == [({}, 1.0)] * 2


async def test_a_peer_that_comes_and_goes_is_followed_once(mesh, wait_until):
    [node] = await mesh(1, sync_interval_s=0.2)
    asked = []

    class Peer:
        def on_frame(self, peer_id, frame):
            pass

        async def on_request(self, peer_id, body):
            asked.append(body)
            await trio.sleep_forever()

        async def on_peer_up(self, peer_id, did):
            self.up.set()

        async def on_peer_down(self, peer_id):
            pass

    seed = bytes(range(32))
    for _ in range(4):
        peer = Peer()
        peer.up = trio.Event()
        transport = P2PTransport(seed, node.daemon.genesis.mesh_name, ("/ip4/127.0.0.1/tcp/0",), [node.addr])
        async with trio.open_nursery() as nursery:
            with trio.fail_after(10):
                await nursery.start(transport.run, peer)
                await peer.up.wait()
                await wait_until(lambda: asked, "it is asked")
            assert len(node.daemon.sync._followed) == 1
            asked.clear()
            nursery.cancel_scope.cancel()
    await wait_until(lambda: not node.daemon.sync._followed, "nobody is followed")
    assert (await node.call("status"))["peers"] == 0


async def test_blocks_nobody_has(mesh):
    [node, _] = await mesh(2)
    fault = await node.refused("content.cat", cid=cid_text(dag_cbor_cid(b"\xa0")))
    assert fault.code == "content-unavailable"
