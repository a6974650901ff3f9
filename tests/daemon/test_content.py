"""Content between whole daemons, IPFS peers and kubo: found, fetched, served, mirrored."""

import json
import os

import pytest
import trio
from swarmd.node.content.network import ContentSettings
from swarmd.node.content.pinning import PinStrategy
from swarmd.node.discovery import DiscoverySettings
from swarmd.protocol.cids import cid_text, parse_cid
from swarmd.protocol.faults import LocalFault

DHT = DiscoverySettings(dht=True)


async def bounded(awaitable, timeout_s: float = 60.0):
    with trio.fail_after(timeout_s):
        return await awaitable


async def test_bulk_goes_by_bitswap_and_nobody_is_charged(mesh):
    two = await mesh(2)
    await two.until_met()
    data = os.urandom(5_000_000)
    cid, _ = two[0].daemon.content.add(data)
    await bounded(two[1].daemon.content.ensure(cid, [two[0].did]))
    assert two[1].daemon.content.read(cid) == data
    shown = await two[1].call("content.network")
    assert shown["backend"] == "embedded" and shown["bitswap"]["counters"]["blocks-received"] >= 19
    [peer] = shown["bitswap"]["peers"]
    assert peer["peer_id"] == two[0].daemon.p2p.peer_id and peer["received_bytes"] >= 4_900_000
    for node in two:
        assert [peer["faults"] for peer in (await node.call("peers"))["peers"]] == [{}]


async def test_without_bitswap_requests_do(mesh):
    two = await mesh(2, content=ContentSettings(bitswap=False))
    await two.until_met()
    data = os.urandom(2_000_000)
    cid, _ = two[0].daemon.content.add(data)
    await bounded(two[1].daemon.content.ensure(cid, [two[0].did]))
    assert two[1].daemon.content.read(cid) == data
    assert (await two[1].call("content.network"))["bitswap"] is None


async def test_a_peer_without_bitswap_is_asked_by_request(mesh):
    two = await mesh(2, start=False)
    await two[0].start(content=ContentSettings(bitswap=False))
    await two[1].start(peers=[two[0].addr])
    await two.until_met()
    data = os.urandom(2_000_000)
    cid, _ = two[0].daemon.content.add(data)
    await bounded(two[1].daemon.content.ensure(cid, [two[0].did]))
    assert two[1].daemon.content.read(cid) == data


async def test_who_has_it_is_found_through_the_dht(mesh, wait_until):
    """The asker is connected to one that has nothing, and knows of the other by the DHT only."""
    three = await mesh(3, start=False, discovery=DHT)
    middle, holder, asker = three
    await middle.start()
    await holder.start(peers=[middle.addr])
    data = os.urandom(700_000)
    cid, _ = holder.daemon.content.add(data)
    await wait_until(lambda: middle.daemon.discovery.dht.content.records.records > 0, "the DHT was told")
    await asker.start(peers=[middle.addr])
    await wait_until(lambda: len(asker.daemon.discovery.dht.table) > 0, "the asker knows somebody")
    await bounded(asker.daemon.content.ensure(cid, []))
    assert asker.daemon.content.read(cid) == data
    with pytest.raises(LocalFault, match="content-unavailable"):
        await bounded(
            asker.daemon.content.ensure(
                parse_cid("bafkreif2pall7dybz7vecqka3zo24irdwabwdi4wc55jznaq75q7eaavvu"), []
            )
        )


async def test_an_ipfs_peer_is_kept_and_fetched_from_and_fetches(mesh, kubo, wait_until):
    data = os.urandom(3_000_000)
    added = await kubo.call("add", "-Q", "--cid-version=1", data=data)
    addr = await kubo.swarm_addr()
    one = await mesh(1, content=ContentSettings(ipfs_peers=(addr,)))
    daemon = one[0].daemon
    peer = addr.rpartition("/")[2]
    await wait_until(lambda: daemon.content_host.bitswap.is_connected(peer), "kubo is connected")
    cid = parse_cid(added.decode().strip())
    await bounded(daemon.content.ensure(cid, []))
    assert daemon.content.read(cid) == data
    ours, _ = daemon.content.add(os.urandom(2_000_000))
    assert await kubo.call("cat", cid_text(ours)) == daemon.content.read(ours)
    doctor = await one[0].call("doctor.content")
    assert doctor["ok"] and any(check["message"] == "connected" for check in doctor["checks"])
    assert daemon.p2p.scores.faults(peer) == {}


async def test_kubo_gets_what_we_have_and_we_get_what_kubo_has(mesh, kubo, wait_until):
    settings = ContentSettings("kubo", kubo.api_addr, PinStrategy("size", max_bytes=3_000_000))
    one = await mesh(1, content=settings)
    daemon = one[0].daemon
    mirror = daemon.content_host.mirror
    contents = [os.urandom(size) for size in (1_200_000, 1_000_000, 900_000)]
    cids = [daemon.content.add(data)[0] for data in contents]
    await wait_until(lambda: mirror.mirrored == 3, "kubo has them")
    for cid, data in zip(cids, contents, strict=True):
        assert await kubo.call("cat", "--offline", cid_text(cid)) == data
    pins = json.loads(await kubo.call("pin", "ls", "--type=recursive", "--enc=json"))["Keys"]
    pinned = [cid_text(cid) in pins for cid in cids]
    assert pinned[2] and sum(pinned) == 2, "the latest, and as many more as fit"
    added = await kubo.call("add", "-Q", "--cid-version=1", data=contents[0][::-1])
    cid = parse_cid(added.decode().strip())
    await bounded(daemon.content.ensure(cid, []))
    assert daemon.content.read(cid) == contents[0][::-1]
    doctor = await one[0].call("doctor.content")
    assert doctor["ok"], doctor
    assert {"kubo", "kubo's disk", "mirror", "bitswap"} <= {check["name"] for check in doctor["checks"]}


async def test_without_its_kubo_a_node_goes_on_and_kubo_catches_up(mesh, kubo, task, echo, wait_until):
    one = await mesh(1, content=ContentSettings("kubo", kubo.api_addr))
    await one[0].attach(echo())
    kubo.kill()
    need = await one[0].post(task())
    shown = await one[0].finish(need)
    assert shown["state"] == "FINALIZED"
    doctor = await one[0].call("doctor.content")
    assert not doctor["ok"]
    assert any(check["name"] == "kubo" and "kubo_addr" in check["fix"] for check in doctor["checks"])
    result = shown["result"]["t"]
    # On the port that it had.
    config = json.loads((kubo.home / "config").read_text())
    config["Addresses"]["API"] = one[0].daemon.content_host.kubo.addr
    (kubo.home / "config").write_text(json.dumps(config))
    await kubo.start()
    mirror = one[0].daemon.content_host.mirror
    await wait_until(lambda: not mirror.error and mirror.mirrored > 0 and not mirror._waiting, "it caught up")
    assert json.loads(await kubo.call("cat", "--offline", result)) == shown["values"]["t"]


async def test_no_kubo_at_all_is_said(mesh):
    one = await mesh(1, content=ContentSettings("kubo", "/ip4/127.0.0.1/tcp/1"))
    cid, _ = one[0].daemon.content.add(b"still here")
    assert one[0].daemon.content.read(cid) == b"still here"
    doctor = await one[0].call("doctor.content")
    assert not doctor["ok"] and "no kubo answers" in str(doctor["checks"])
