"""Peers that come, go, stop and come back; hosts that fall."""

import os
import signal
import sys
import time
from dataclasses import replace
from functools import partial

import pytest
import trio
from swarmd.node.ports import PeerGone
from swarmd.node.transport.p2p import P2PLimits, P2PTransport, patches
from swarmd.protocol.faults import CorruptState, LocalFault

_PEER = """
import sys, trio
from swarmd.node.transport.p2p import P2PTransport

class Handler:
    def on_frame(self, peer_id, frame): pass
    async def on_request(self, peer_id, body): return body
    async def on_peer_up(self, peer_id, did): pass
    async def on_peer_down(self, peer_id): pass

async def main():
    await P2PTransport(bytes.fromhex(sys.argv[1]), "test", static_peers=[sys.argv[2]]).run(Handler())

trio.run(main)
"""


async def test_a_peer_restarted_on_its_port_is_found_again(start, exchange):
    first = await start()
    second = await start([first])
    await first.until_up(second)
    await first.stop()
    await second.handler.until(lambda: second.handler.downs == [first.id])
    again = await start(seed=first.seed, listen=[first.addr.partition("/p2p/")[0]])
    assert again.addr == first.addr
    await second.until_up(again)
    await again.until_up(second)
    await exchange([again, second], 100, 500)


async def test_a_static_peer_may_come_late(start):
    early = await start(
        ["/ip4/127.0.0.1/tcp/1/p2p/" + P2PTransport(bytes(32), "x").peer_id]
    )  # nobody is there: must not stop it
    late = await start()
    address, seed = late.addr.partition("/p2p/")[0], late.seed
    await late.stop()
    waiting = await start([late])
    with trio.move_on_after(0.5):  # let several dials fail
        await waiting.until_up(late)
    late = await start(seed=seed, listen=[address])
    await waiting.until_up(late)
    assert early.handler.ups == {}


async def test_one_peer_that_comes_makes_us_dial_the_others(start, quick_limits):
    """Else the first pair after a partition would wait for nobody, and the last for its whole pause."""
    late = await start()
    address, seed = late.addr.partition("/p2p/")[0], late.seed
    await late.stop()
    patient = replace(quick_limits, redial_min_s=600.0, redial_max_s=600.0, rouse_interval_s=0.0)
    waiting = await start([late], limits=patient)
    with trio.move_on_after(0.3):  # let the first dial fail
        await waiting.until_up(late)
    late = await start(seed=seed, listen=[address])
    other = await start([waiting])
    await waiting.until_up(late, other)


async def test_closing_is_quick_and_leaves_nothing_open(start):
    hub = await start()
    leaves = [await start([hub]) for _ in range(6)]
    await hub.until_up(*leaves)
    began_s = time.monotonic()
    await hub.stop()
    assert time.monotonic() - began_s < 2
    assert hub.error is None
    for leaf in leaves:
        await leaf.handler.until(lambda leaf=leaf: leaf.handler.downs == [hub.id])
    again = await start(listen=[hub.addr.partition("/p2p/")[0]])  # raises if the port is still held
    assert again.addr.split("/")[4] == hub.addr.split("/")[4]


async def test_a_stopped_process_is_disconnected(start):
    node = await start()
    seed = os.urandom(32)
    peer_id = P2PTransport(seed, "test").peer_id
    async with trio.open_nursery() as nursery:
        command = [sys.executable, "-c", _PEER, seed.hex(), node.addr]
        process = await nursery.start(partial(trio.run_process, command, check=False))
        try:
            await node.handler.until(lambda: peer_id in node.handler.ups, timeout_s=20)
            process.send_signal(signal.SIGSTOP)
            await node.handler.until(lambda: node.handler.downs == [peer_id], timeout_s=10)
            assert node.transport.peers() == []
            process.send_signal(signal.SIGCONT)
            await node.handler.until(lambda: peer_id in node.handler.ups, timeout_s=10)
        finally:
            process.kill()


async def test_a_fallen_host_is_started_again_on_its_port(pair, exchange):
    first, second = await pair()

    async def fall() -> None:
        raise RuntimeError("a bug in libp2p")

    session = first.transport._session
    session._pubsub.manager.run_daemon_task(fall)
    await second.handler.until(lambda: second.handler.downs == [first.id])
    await second.until_up(first)
    await first.until_up(second)
    assert first.transport._session is not session and first.transport.restarts == 1
    assert first.transport.counters()["restarts"] == 1
    await exchange([first, second], 100, 500)


async def test_reports_cut_a_peer_off_for_a_while(pair):
    first, second = await pair()
    first.transport.report(second.id, "odd")
    assert first.transport.peers()[0].score == pytest.approx(0.9, abs=0.01)
    for _ in range(7):
        first.transport.report(second.id, "odd")
    await first.handler.until(lambda: first.handler.downs == [second.id])
    assert first.transport.peers() == []
    with pytest.raises(PeerGone, match="denied for another"):
        await first.transport.connect(second.addr)
    with pytest.raises(PeerGone):
        await second.transport.connect(first.addr)
    assert second.id not in first.handler.ups


async def test_corrupt_state_ends_the_transport(pair):
    first, second = await pair()

    def judge(peer_id: str, frame: bytes) -> None:
        raise CorruptState("digest-mismatch", "for the test")

    second.handler.judge = judge
    await first.transport.publish(b"x")
    with trio.fail_after(5):
        await second.stopped.wait()
    assert isinstance(second.error, CorruptState) and second.error.code == "digest-mismatch"
    assert first.error is None and not first.stopped.is_set()


async def test_a_port_in_use_is_said(start):
    first = await start()
    listen = first.addr.partition("/p2p/")[0]
    with pytest.raises(LocalFault, match="address-in-use") as caught:
        with trio.fail_after(5):
            await P2PTransport(os.urandom(32), "test", [listen]).run(first.handler)
    assert listen in caught.value.message and caught.value.fix
    with pytest.raises(LocalFault, match="address-in-use"):
        with trio.fail_after(5):
            await P2PTransport(os.urandom(32), "test", ["/ip4/192.0.2.1/tcp/4001"]).run(first.handler)
    with pytest.raises(LocalFault, match="listen-failed"):
        with trio.fail_after(5):
            await P2PTransport(os.urandom(32), "test", ["/ip4/192.0.2.1/tcp/0"]).run(first.handler)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"key_seed": b"short"}, "bad-key"),
        ({"mesh_id": "a/b"}, "bad-mesh-id"),
        ({"mesh_id": ""}, "bad-mesh-id"),
        ({"listen": ["/ip4/127.0.0.1/udp/0"]}, "bad-address"),
        ({"listen": ["nonsense"]}, "bad-address"),
        ({"static_peers": ["/ip4/127.0.0.1/tcp/1"]}, "bad-address"),
        (
            {"static_peers": ["/ip4/127.0.0.1/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"]},
            "bad-address",
        ),
    ],
)
def test_bad_settings_are_said(arguments, code):
    with pytest.raises(LocalFault) as caught:
        P2PTransport(**{"key_seed": bytes(32), "mesh_id": "m", "limits": P2PLimits(), **arguments})
    assert caught.value.code == code


def test_another_libp2p_is_refused():
    patches.require_version()
    with pytest.raises(LocalFault, match="libp2p-version") as caught:
        patches.require_version("0.8.2")
    assert "libp2p==0.8.1" in caught.value.fix


async def test_a_peer_that_talks_is_pinged_less_and_told_of_new_neighbours(start, quick_limits):
    limits = replace(quick_limits, ping_interval_s=0.2, max_unpinged_s=60.0)
    first = await start(limits=limits)
    second = await start([first], limits=limits)
    await first.until_up(second)
    await second.until_up(first)
    (link,) = first.transport._session._links.values()
    (back,) = second.transport._session._links.values()

    async def talk(true, *, quiet: bool = False) -> None:
        with trio.fail_after(10):
            while not true():
                if not quiet:
                    await first.transport.publish(os.urandom(20))
                    await second.transport.publish(os.urandom(20))
                await trio.sleep(0.02)

    await talk(lambda: len(back.reach) == 1)
    asked, ends_s = link._next_id, trio.current_time() + 1
    await talk(lambda: trio.current_time() > ends_s)
    assert link._next_id - asked <= 2, "no ping while both talk, beside one or two that were under way"

    await start([first], limits=limits)
    await talk(lambda: len(back.reach) == 2)

    asked = link._next_id
    await talk(lambda: link._next_id >= asked + 3, quiet=True)
