"""Daemons whose mesh decides by etcd: a real cluster of three, members of which come and go while needs are decided."""

import pytest
import trio
from swarmd.node.arbiter.client import EtcdClient, EtcdError
from swarmd.node.arbiter.etcd import parse_record
from swarmd.node.arbiter.messages import make
from swarmd.node.arbiter.settings import EtcdSettings
from swarmd.protocol.cids import cid_text
from swarmd.protocol.consensus.arbitration import WAITING

pytestmark = pytest.mark.property_id("P1")
# K = 3 of 5 verifiers: a committee has four, as the owner sits in none about its own need.
GENESIS = {"alpha_permille": 600, "arbiter": "etcd"}


@pytest.fixture
def arbitrated(mesh, etcd, echo):
    """Five daemons with an echo agent each, and their etcd."""

    async def make():
        five = await mesh(5, genesis=GENESIS, etcd=EtcdSettings(etcd.urls))
        for index, node in enumerate(five):
            await node.attach(echo(f"agent{index}"))
        await five.until_met()
        return five

    return make


async def records(etcd):
    """need -> the record that etcd has."""
    with trio.fail_after(30):
        async with EtcdClient(etcd.urls) as client:
            while True:
                try:
                    every = make("RangeRequest", key=b"/swarmd/", range_end=b"/swarmd0")
                    found = (await client.call("Range", every)).kvs
                    break
                except EtcdError:
                    await trio.sleep(0.1)
    parsed = {}
    for kv in found:
        need = kv.key.decode().rsplit("/", 1)[1]
        parsed[need] = parse_record(need, kv.value)
    return parsed


async def test_needs_are_decided_while_members_of_etcd_come_and_go(arbitrated, etcd, task, wait_until):
    five = await arbitrated()
    needs = []

    async def post(count):
        for _ in range(count):
            for node in five:
                needs.append((node, await node.post(task(), budget="0.10")))

    await post(2)
    etcd.kill(0)
    await post(2)
    etcd.start(0)
    await five[0].finish(needs[0][1], 60)
    etcd.pause(1)
    await post(2)
    for node, need in needs:
        assert (await node.finish(need, 60))["state"] == "FINALIZED"
    etcd.resume(1)
    await five.until_agreed()
    five.check_money()
    found = await records(etcd)
    assert found.keys() == {need for _, need in needs}
    for node in five:
        for need, record in found.items():
            decided = node.state.needs[need].decided
            assert cid_text(decided.proposal) == record.proposal_id
            assert len({decide.proposal for decide in node.state.needs[need].decides.values()}) == 1
            assert len(decided.votes) == record.k_plan == 3, "with its certificate, etcd or not"
    need, record = next(iter(found.items()))
    shown = await five[0].call("consensus.explain", need=need)
    assert shown["arbiter_answered"] and shown["arbiter_record"]["proposal_id"] == record.proposal_id
    assert (await five[0].call("consensus.status"))["arbiter"]["kind"] == "etcd"

    def told():
        return [node.daemon.arbiter.status() for node in five]

    # Who asked the member that was paused asks another once that call has timed out.
    await wait_until(lambda: all(status["pending"] == 0 for status in told()), "nobody asks any more", 60.0)
    assert sum(status["recorded"] for status in told()) == len(needs)


async def test_without_etcd_needs_wait_and_say_for_what(arbitrated, etcd, task, wait_until):
    five = await arbitrated()
    await five[0].finish(await five[0].post(task(), budget="0.10"), 60)
    for member in range(3):
        etcd.kill(member)
    need = await five[0].post(task(), budget="0.10")

    def waiting():
        """Of those who may ask: the owner is in no committee about its own need."""
        known = [node for node in five if node is not five[0] and need in node.state.needs]
        return [node for node in known if node.state.needs[need].waiting_for == WAITING]

    await wait_until(
        lambda: waiting() and any(node.daemon.arbiter.state == "unreachable" for node in five),
        "somebody asks in vain",
    )
    await wait_until(lambda: all(need in node.state.needs for node in five), "all know of it")
    assert all(node.state.needs[need].decided is None for node in five)
    shown = await five[0].call("consensus.explain", need=need)
    assert (shown["arbiter_answered"], shown["arbiter_record"]) == (False, None)
    # The one that asks dies, and asks again in its next life: the question is in its outbox.
    node, *_ = waiting()
    peers = [other.addr for other in five if other is not node]
    await node.stop()
    await node.start(peers=peers)
    assert any(need in row for row in map(repr, node.daemon.journal.outbox()))
    etcd.start()
    assert (await five[0].finish(need, 60))["state"] in ("FINALIZED", "REFUNDED")
    await wait_until(lambda: all(each.state.needs[need].decided for each in five), "decided everywhere")
    assert len({each.state.needs[need].decided.proposal for each in five}) == 1
    found = await records(etcd)
    assert found[need].proposal_id == cid_text(five[0].state.needs[need].decided.proposal)


async def test_a_node_that_does_not_know_where_etcd_is_does_not_start(mesh):
    one = await mesh(1, genesis=GENESIS, start=False)
    with pytest.raises(BaseExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            one[0].nursery = nursery
            await one[0].start()
    (fault,) = _leaves(caught.value)
    assert fault.code == "no-arbiter" and "etcd_endpoints" in fault.fix


def _leaves(error):
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [error]
