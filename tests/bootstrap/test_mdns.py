"""mDNS: two find each other; what others announce is a hint, bounded and of our mesh only."""

import socket
from collections.abc import Callable

import pytest
import trio
import zeroconf
from swarmd.bootstrap import mdns
from swarmd.bootstrap.addresses import peer_id_of
from swarmd.bootstrap.mdns import SERVICE, Announcement, LocalNetwork
from swarmd.node.bridges.hybrid import HybridInbox
from swarmd.node.bridges.nats import NatsBridge

MESH = "bafymesh"


def peer(number: int) -> str:
    return peer_id_of(number.to_bytes(32, "big"))


def announcement(number: int, mesh: str = MESH) -> Announcement:
    return Announcement(peer(number), mesh, (f"/ip4/127.0.0.1/tcp/{4000 + number}/p2p/{peer(number)}",))


async def until(true: Callable[[], bool], timeout_s: float = 15.0) -> None:
    with trio.fail_after(timeout_s):
        while not true():  # noqa: ASYNC110 (what zeroconf's threads do has no event here)
            await trio.sleep(0.02)


async def test_nodes_of_one_mesh_find_each_other_and_others_do_not() -> None:
    found: dict[int, list[str]] = {1: [], 2: [], 3: []}
    networks = {
        number: LocalNetwork(lambda n=number, m=mesh: announcement(n, m), found[number].append)
        for number, mesh in ((1, MESH), (2, MESH), (3, "bafyother"))
    }
    async with trio.open_nursery() as nursery:
        for network in networks.values():
            nursery.start_soon(network.run)
        await until(lambda: bool(found[1] and found[2]) and networks[1].others > 0 and networks[3].others > 0)
        await until(lambda: all(network.state == "on" for network in networks.values()))
        assert networks[1].interfaces == ["127.0.0.1"]
        nursery.cancel_scope.cancel()
    assert set(found[1]) == {announcement(2).addrs[0]} and set(found[2]) == {announcement(1).addrs[0]}
    assert found[3] == []


async def test_beside_the_nats_bridge_it_closes() -> None:
    """What runs NATS puts event loops of its own in place for all that come after it."""
    NatsBridge("nats://127.0.0.1:1", "m", HybridInbox(lambda frame: None, lambda: 0))
    network = LocalNetwork(lambda: announcement(1), lambda addr: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.run)
        await until(lambda: network.state == "on")
        nursery.cancel_scope.cancel()


def info(peer_id: bytes, mesh: bytes = MESH.encode(), ips: tuple[str, ...] = ("192.168.7.7",), port: int = 1):
    return zeroconf.ServiceInfo(
        SERVICE,
        f"x.{SERVICE}",
        port=port,
        addresses=[socket.inet_aton(ip) for ip in ips],
        properties={b"mesh": mesh, b"id": peer_id},
    )


@pytest.mark.parametrize(
    "bad",
    [
        info(b"rubbish"),
        info(b"\xff\xfe"),
        info(b""),
        info(peer(1).encode(), mesh=b""),
        info(peer(1).encode(), mesh=b"m" * 200),
        info(peer(1).encode(), port=0),
    ],
)
def test_an_announcement_that_is_none_is_left(bad: zeroconf.ServiceInfo) -> None:
    assert mdns._read(bad) is None


def test_an_announcement_leads_to_the_local_network_only() -> None:
    told = mdns._read(info(peer(1).encode(), ips=("192.168.7.7", "8.8.8.8", "169.254.1.1")))
    assert told == (
        MESH,
        peer(1),
        [f"/ip4/{ip}/tcp/1/p2p/{peer(1)}" for ip in ("192.168.7.7", "169.254.1.1")],
    )


def test_a_flood_of_announcements_is_bounded() -> None:
    found: list[str] = []
    network = LocalNetwork(lambda: announcement(1), found.append)
    for number in range(2, 5_000):
        network.heard(f"{number}.{SERVICE}", MESH, peer(number), [announcement(number).addrs[0]])
    assert len(network.seen) == len(found) == mdns.MAX_INSTANCES
    network.left(f"2.{SERVICE}")
    network.heard("own", MESH, peer(1), [announcement(1).addrs[0]])
    assert len(network.seen) == mdns.MAX_INSTANCES - 1


def test_what_is_announced_is_reachable_from_outside_if_anything_is() -> None:
    addrs = tuple(f"/ip4/{ip}/tcp/4001/p2p/{peer(1)}" for ip in ("127.0.0.1", "192.168.7.7"))
    assert Announcement(peer(1), MESH, addrs).ips() == ["192.168.7.7"]
    assert Announcement(peer(1), MESH, addrs[:1]).ips() == ["127.0.0.1"]
