"""The arbiter against a real etcd cluster of three, of which one is killed, one paused, or all are away."""

import json
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256

import pytest
import trio
from swarmd.node.arbiter.client import EtcdClient, EtcdError, Tls, parse_endpoint
from swarmd.node.arbiter.etcd import BadRecord, DecideRecord, EtcdArbiter, key_of, parse_record
from swarmd.node.arbiter.messages import make
from swarmd.node.arbiter.settings import EtcdSettings, open_arbiter
from swarmd.protocol.cids import cid_text, dag_cbor_cid
from swarmd.protocol.effects import Arbitrate
from swarmd.protocol.envelope import bucket_of, need_id
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.genesis import ETCD, Genesis
from swarmd.protocol.limits import S_NS

pytestmark = pytest.mark.property_id("P1")
KEEP_S = 86_400


def plan(number):
    return dag_cbor_cid(b"plan %d" % number)


def need(number):
    return need_id("did:key:owner", number)


def question(number=0, proposal=0, epoch=0, decider="did:key:a", until_s=600):
    now_ns = time.time_ns()
    return Arbitrate(need(number), epoch, plan(proposal), 7, 3, decider, now_ns, now_ns + until_s * S_NS)


@pytest.fixture
def arbiters(etcd):
    """open(first=0, **change): an arbiter whose client asks member `first` first."""

    @asynccontextmanager
    async def make_one(first=0, clock_ns=time.time_ns, urls=None):
        urls = urls or etcd.urls[first:] + etcd.urls[:first]
        async with EtcdClient(urls) as client:
            yield EtcdArbiter(client, "mesh", clock_ns, KEEP_S)

    return make_one


async def ask(arbiter, asked, timeout_s=30.0):
    with trio.fail_after(timeout_s):
        return await arbiter.decide(asked)


async def stored(arbiter, number):
    with trio.fail_after(10):
        return await arbiter.get_decide(need(number))


async def test_the_first_decides_and_whoever_comes_later_is_told(arbiters):
    async with arbiters(0) as one, arbiters(1) as other:
        assert await stored_when_up(one, 0) is None
        first = question(proposal=1)
        assert await ask(one, first) == plan(1)
        assert await ask(other, question(proposal=2, decider="did:key:b")) == plan(1), (
            "a conflicting DECIDE fails"
        )
        assert await ask(one, first) == plan(1), "the same again is no conflict"
        assert await ask(other, question(proposal=1, decider="did:key:b")) == plan(1)
        record = await stored(other, 0)
        assert record == DecideRecord(need(0), cid_text(plan(1)), 0, 7, 3, "did:key:a", first.at_ns)
        assert [one.counters[name] for name in ("recorded", "lost")] == [2, 0]
        assert [other.counters[name] for name in ("lost", "found")] == [1, 1]
        assert one.status()["state"] == "up" and one.status()["ms"]["p50"] > 0


async def stored_when_up(arbiter, number):
    """As `stored`; an election may still go on."""
    with trio.fail_after(30):
        while True:
            try:
                return await arbiter.get_decide(need(number))
            except EtcdError:
                await trio.sleep(0.1)


async def test_many_ask_at_once_and_one_plan_wins(arbiters):
    winners = []
    async with arbiters(0) as a, arbiters(1) as b, arbiters(2) as c, trio.open_nursery() as nursery:

        async def one(arbiter, number):
            winners.append(await ask(arbiter, question(5, number, decider=f"did:key:{number}")))

        for number in range(30):
            nursery.start_soon(one, (a, b, c)[number % 3], number)
    assert len(winners) == 30 and len(set(winners)) == 1


async def test_a_later_epoch_replaces_and_an_earlier_never_does(arbiters):
    async with arbiters() as one:
        assert await ask(one, question(proposal=1, epoch=3)) == plan(1)
        assert await ask(one, question(proposal=2, epoch=2)) == b"", "fenced: a later epoch has decided"
        assert await ask(one, question(proposal=2, epoch=4)) == plan(2)
        assert await ask(one, question(proposal=1, epoch=3)) == b""
        assert (await stored(one, 0)).epoch == 4


async def test_after_the_deadline_nothing_is_recorded_any_more(arbiters):
    async with arbiters() as one:
        assert await ask(one, question(1, 1, until_s=-1)) == b""
        assert await stored(one, 1) is None
        await ask(one, question(2, 1))
        assert await ask(one, question(2, 1, until_s=-1)) == plan(1), "what is on record it says nevertheless"


async def test_one_member_is_killed_and_one_is_paused(arbiters, etcd):
    """With two of three it goes on, whichever is gone; with one it waits, and then answers; nothing is decided twice."""
    async with arbiters(0) as one, arbiters(1) as other:
        await ask(one, question(0, 0))
        etcd.kill(0)  # whom `one` asks first; it may lead
        assert await ask(one, question(1, 1)) == plan(1)
        assert one.client.endpoint != etcd.urls[0]
        etcd.start(0)
        assert await ask(other, question(1, 2)) == plan(1)
        etcd.pause(1)  # it keeps its connections, and says nothing
        assert await ask(other, question(2, 2), 60) == plan(2)
        assert other.client.failures[etcd.urls[1]] >= 1
        etcd.kill(2)  # one that lives, one that sleeps: no majority
        answers = []
        async with trio.open_nursery() as nursery:

            async def wait(arbiter, proposal):
                answers.append(await ask(arbiter, question(3, proposal), 60))

            nursery.start_soon(wait, one, 3)
            nursery.start_soon(wait, other, 4)
            with trio.fail_after(30):
                while {one.state, other.state} != {"unreachable"}:  # noqa: ASYNC110
                    await trio.sleep(0.05)
            assert not answers
            assert one.error
            assert one.status()["pending"] == 1
            etcd.resume(1)
        assert len(answers) == 2 and len(set(answers)) == 1
        assert one.status()["state"] == "up"
        assert [await ask(other, question(number, 9)) for number in range(3)] == [plan(0), plan(1), plan(2)]


async def test_records_hang_on_leases_that_they_share(arbiters):
    async with arbiters() as one:
        for number in range(20):
            await ask(one, question(number, number))
        key = key_of("mesh", need(0))
        said = await one.client.call("Range", make("RangeRequest", key=b"/swarmd/", range_end=b"/swarmd0"))
        assert said.count == 20
        leases = {found.lease for found in said.kvs}
        assert len(leases) <= 2 and 0 not in leases, "one for each six hours"
        assert key in {found.key for found in said.kvs}
        assert {found.key.split(b"/")[4] for found in said.kvs} == {
            f"{bucket_of(need(number)):02x}".encode() for number in range(20)
        }
        # Somebody revokes them: the records go with them, and the next question gets a lease that lives.
        one._leases = {slot: 0x5EED for slot in one._leases}
        assert await ask(one, question(50, 1)) == plan(1)
        assert 0x5EED not in one._leases.values()


async def test_a_lease_ends_after_the_need_and_what_was_asked_for(arbiters):
    moved_ns = [time.time_ns()]
    async with arbiters(clock_ns=lambda: moved_ns[0]) as one:
        await ask(one, question(0, 0))
        ((slot, _),) = one._leases.items()
        assert slot * 6 * 3_600 * S_NS >= time.time_ns() + (600 + KEEP_S - 5) * S_NS
        moved_ns[0] += 3 * KEEP_S * S_NS
        await ask(one, replace(question(1, 1), until_ns=moved_ns[0] + S_NS))
        assert slot not in one._leases, "leases of the past are forgotten"


RECORD = {
    "need_id": need(0), "proposal_id": cid_text(plan(0)), "epoch": 0, "lamport": 1, "k_plan": 1, "decider_id": "d", "timestamp_ns": 1,
}  # fmt: skip
BAD = {
    "nothing": b"",
    "no JSON": b"\xff\xfe",
    "a list": b"[]",
    "a field less": json.dumps({**RECORD, "epoch": None}).encode(),
    "a field more": json.dumps({**RECORD, "more": 1}).encode(),
    "another need": json.dumps({**RECORD, "need_id": need(1)}).encode(),
    "no CID": json.dumps({**RECORD, "proposal_id": "bafy"}).encode(),
    "true for 1": json.dumps({**RECORD, "lamport": True}).encode(),
    "deep": b"[" * 5_000 + b"]" * 5_000,
}


@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
def test_what_is_no_record(value):
    with pytest.raises(BadRecord):
        parse_record(need(0), value)


async def test_another_program_wrote_under_our_key(arbiters):
    """The need waits, the state says where to look, and it goes on when an operator has removed it."""
    async with arbiters() as one:
        put = make("RequestOp", request_put=make("PutRequest", key=key_of("mesh", need(0)), value=b"mine!"))
        await stored_when_up(one, 9)
        await one.client.call("Txn", make("TxnRequest", success=[put]))
        answers = []
        async with trio.open_nursery() as nursery:

            async def wait():
                answers.append(await ask(one, question(0, 1)))

            nursery.start_soon(wait)
            with trio.fail_after(20):
                while one.state != "bad-record":  # noqa: ASYNC110
                    await trio.sleep(0.02)
            assert key_of("mesh", need(0)).decode() in one.error and not answers
            ours = DecideRecord(need(0), cid_text(plan(1)), 0, 1, 1, "d", 1).to_json()
            mended = make("PutRequest", key=key_of("mesh", need(0)), value=ours)
            await one.client.call("Txn", make("TxnRequest", success=[make("RequestOp", request_put=mended)]))
        assert answers == [plan(1)] and one.state == "up"


async def test_status_of_each_endpoint(arbiters, etcd):
    async with arbiters() as one:
        await stored_when_up(one, 0)
        etcd.kill(2)
        with trio.fail_after(20):
            said = await one.client.status()
        assert list(said) == etcd.urls
        assert "error" in said[etcd.urls[2]] and said[etcd.urls[0]]["version"].startswith("3.")


async def test_nobody_is_there(arbiters):
    async with arbiters(urls=["http://127.0.0.1:9", "http://127.0.0.1:10"]) as one:
        with trio.move_on_after(3) as patience:
            await one.decide(question())
        assert patience.cancelled_caught, "a question can be given up"
        assert one.state == "unreachable" and one.status()["failures"]["http://127.0.0.1:9"] >= 1


async def test_a_server_that_is_no_etcd(nursery, arbiters):
    async def babble(stream):
        await stream.receive_some(1_000)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, babble, [listener])
    port = listener.socket.getsockname()[1]
    async with arbiters(urls=[f"http://127.0.0.1:{port}"]) as one:
        with pytest.raises(EtcdError), trio.fail_after(10):
            await one.get_decide(need(0))
    nursery.cancel_scope.cancel()


def test_256_buckets_that_are_the_same_everywhere_and_even():
    buckets = [bucket_of(need(number)) for number in range(20_000)]
    assert buckets[0] == sha256(need(0).encode()).digest()[0]
    counts = [buckets.count(bucket) for bucket in range(256)]
    assert min(counts) > 40 and max(counts) < 125  # 78 each; the needs are fixed


@pytest.mark.parametrize("text", ["", "127.0.0.1:2379", "ftp://h:1", "http://h", "http://h:x", "http://h:2379/v3", "http://u:p@h:1", "https://[::1"])  # fmt: skip
def test_what_is_no_endpoint(text):
    with pytest.raises(LocalFault) as caught:
        parse_endpoint(text)
    assert caught.value.code == "bad-config" and "2379" in caught.value.fix


def test_endpoints():
    assert parse_endpoint("http://10.0.0.1:2379/") == (False, "10.0.0.1:2379")
    assert parse_endpoint("https://[::1]:2379") == (True, "[::1]:2379")


def test_a_mesh_with_an_arbiter_needs_to_know_where_it_is(tmp_path):
    plain, arbitrated = Genesis("m", ("did",), {}), Genesis("m", ("did",), {}, arbiter=ETCD)
    assert open_arbiter(EtcdSettings(("http://h:1",)), plain, time.time_ns) is None
    with pytest.raises(LocalFault) as caught:
        open_arbiter(EtcdSettings(), arbitrated, time.time_ns)
    assert caught.value.code == "no-arbiter" and "etcd_endpoints" in caught.value.fix
    with pytest.raises(LocalFault) as caught:
        settings = EtcdSettings(("https://h:1",), ca=str(tmp_path / "none.pem"))
        open_arbiter(settings, arbitrated, time.time_ns)
    assert caught.value.code == "bad-config" and "none.pem" in caught.value.message
    assert Tls().credentials(__import__("grpc")) is not None
