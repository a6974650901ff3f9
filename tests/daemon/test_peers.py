"""The operator's hand on the connections of a real daemon: bans and lists act at once and hold over restarts."""

import os

import pytest
from swarmd.node.daemon import Daemon
from swarmd.node.transport.p2p.peer_store import PEERS_FILE
from swarmd.protocol.faults import CorruptState, LocalFault

pytestmark = pytest.mark.property_id("P10")


async def test_a_ban_cuts_off_and_holds_over_a_restart(mesh, wait_until):
    two = await mesh(2)
    await two.until_met()
    a, b = two
    other = b.daemon.transport.peer_id
    done = await a.call("peers.ban", peer=b.did, for_s=3_600, reason="rude")
    assert done == {"peer_id": other, "for_s": 3_600.0}
    await wait_until(lambda: not a.daemon.transport.peers() and not b.daemon.transport.peers(), "cut off")
    standing = (await a.call("peers.score", peer=other))["standings"][0]
    assert standing["state"] == "denied" and standing["reason"] == "rude"
    assert 3_500 < standing["denied_for_s"] <= 3_600
    listen = [a.addr.partition("/p2p/")[0]]
    await a.stop()
    await a.start(listen=listen)  # b dials it again and again meanwhile
    await wait_until(lambda: a.daemon.p2p.drops["refused-banned"] >= 1, "b was refused")
    again = (await a.call("peers.score"))["standings"]
    assert [each["peer_id"] for each in again] == [other] and again[0]["denied_for_s"] > 3_400
    status = await a.call("status")
    assert status["network"]["dropped"]["refused-banned"] >= 1
    assert status["network"]["pool"]["max_connections"] == 100
    assert (await a.call("peers.unban", peer=other))["forgiven"] is True
    await wait_until(lambda: a.daemon.transport.peers() and b.daemon.transport.peers(), "it is back", 40)
    assert (await a.call("peers.score"))["standings"] == []


async def test_the_lists(mesh, wait_until):
    two = await mesh(2)
    await two.until_met()
    a, b = two
    other = b.daemon.transport.peer_id
    denied = await a.call("peers.access", entry=b.did, verdict="deny")
    assert denied["entry"] == other
    await wait_until(lambda: not a.daemon.transport.peers(), "cut off")
    await a.stop()
    await a.start(listen=[two[1].settings.peers[0].partition("/p2p/")[0]])
    rows = (await a.call("peers.access"))["entries"]
    assert rows == [{"entry": other, "verdict": "deny", "origin": "command"}]
    await wait_until(lambda: a.daemon.p2p.drops["refused-denied"] >= 1, "b was refused")
    await a.call("peers.access", entry=other, verdict="none")
    await wait_until(a.daemon.transport.peers, "it is back", 40)
    # Who is on the allow list is not cut off, whatever it does.
    await a.call("peers.access", entry=other, verdict="allow")
    for _ in range(20):
        a.daemon.transport.report(other, "bad-protobuf")
    assert (await a.call("peers.score", peer=other))["standings"][0]["state"] == "denied"
    assert a.daemon.transport.peers()
    assert (await a.refused("peers.ban", peer=other)).code == "allowed-peer"


async def test_a_network_is_denied_before_any_handshake(mesh, wait_until):
    two = await mesh(2)
    await two.until_met()
    a, _ = two
    await a.call("peers.access", entry="127.0.0.0/8", verdict="deny")
    await wait_until(lambda: not a.daemon.transport.peers(), "cut off")
    await wait_until(lambda: a.daemon.p2p.drops["refused-denied-ip"] >= 1, "refused")


@pytest.mark.parametrize(
    ("op", "args", "code"),
    [
        ("peers.ban", {"peer": "nonsense"}, "bad-peer-id"),
        ("peers.ban", {"peer": "did:key:z6Mk"}, "bad-peer-id"),
        ("peers.ban", {"peer": 7}, "bad-args"),
        ("peers.ban", {"peer": "SELF"}, "self-ban"),
        ("peers.ban", {"peer": "SELF", "for_s": -1}, "bad-args"),
        ("peers.unban", {"peer": ""}, "bad-args"),
        ("peers.score", {"peer": "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"}, "bad-peer-id"),
        ("peers.access", {"entry": "10.0.0.0/99", "verdict": "deny"}, "bad-peer-id"),
        ("peers.access", {"entry": "10.0.0.0/8", "verdict": "perhaps"}, "bad-args"),
        ("peers.access", {"entry": "SELF", "verdict": "deny"}, "self-ban"),
        ("peers.access", {"entry": "192.0.2.9", "verdict": "none"}, "in-config"),
    ],
)
async def test_what_is_wrong_is_said(mesh, op, args, code):
    [node] = await mesh(1, deny_peers=["192.0.2.9"])
    own = node.daemon.transport.peer_id
    args = {name: own if value == "SELF" else value for name, value in args.items()}
    fault = await node.refused(op, **args)
    assert fault.code == code
    assert (await node.call("peers.access"))["entries"] == [
        {"entry": "192.0.2.9/32", "verdict": "deny", "origin": "config"}
    ]


async def test_only_who_is_allowed(mesh, wait_until):
    three = await mesh(3, start=False)
    a, b, c = three
    await a.start(only_allowed_peers=True, allow_peers=[b.did])
    await b.start(peers=[a.addr])
    await c.start(peers=[a.addr])
    await wait_until(lambda: len(a.daemon.transport.peers()) == 1, "b is let in")
    await wait_until(lambda: a.daemon.p2p.drops["refused-not-allowed"] >= 1, "c is refused")
    assert [peer.did for peer in a.daemon.transport.peers()] == [b.did]


async def test_a_damaged_file_stops_the_daemon_rather_than_forget_bans(mesh):
    [node] = await mesh(1)
    await node.stop()
    (node.home / PEERS_FILE).write_bytes(os.urandom(8_192))
    for suffix in ("-wal", "-shm"):
        (node.home / (PEERS_FILE + suffix)).unlink(missing_ok=True)
    with pytest.raises(CorruptState, match="move it away"):
        Daemon(node.settings)


def test_a_peer_on_both_lists_is_a_mistake_of_the_configuration(tmp_path):
    from swarmd.node.transport.p2p.access import AccessList

    with pytest.raises(LocalFault, match="both|allow_peers and in deny_peers"):
        AccessList(["10.0.0.0/8"], ["10.0.0.0/8"])
