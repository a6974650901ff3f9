"""Requests on the kept-open streams."""

import os

import pytest
import trio
from swarmd.node.ports import PeerGone
from swarmd.protocol.faults import LocalFault, RemoteFault


async def test_both_sides_ask(pair):
    first, second = await pair()
    assert await first.transport.request(second.id, b"a") == b"echo:a"
    assert await second.transport.request(first.id, b"") == b"echo:"
    large = os.urandom(7 << 20)
    assert await first.transport.request(second.id, large) == b"echo:" + large


async def test_many_at_once_answer_out_of_order(pair):
    first, second = await pair()
    gate = trio.Event()

    async def answer(peer_id: str, body: bytes) -> bytes:
        if body == b"0":
            await gate.wait()
        return body * 2

    second.handler.answer = answer
    answers: dict[int, bytes] = {}

    async def ask(number: int) -> None:
        answers[number] = await first.transport.request(second.id, b"%d" % number)
        if len(answers) == 199:
            gate.set()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(ask, number)
    assert answers == {number: b"%d" % number * 2 for number in range(200)}
    assert first.transport.counters() == second.transport.counters() == {"restarts": 0}


async def test_no_answer_in_time_is_peer_gone_and_harms_nothing(pair):
    first, second = await pair()

    async def answer(peer_id: str, body: bytes) -> bytes:
        if body == b"slow":
            await trio.sleep_forever()
        return body

    second.handler.answer = answer
    with pytest.raises(PeerGone, match="no answer in"):
        await first.transport.request(second.id, b"slow", timeout_s=0.1)
    # Given up while it was still being written: the next one must find a whole stream.
    with pytest.raises(PeerGone):
        await first.transport.request(second.id, bytes(6 << 20), timeout_s=0.005)
    assert await first.transport.request(second.id, b"quick") == b"quick"


async def test_errors_of_the_handler(pair, caplog):
    first, second = await pair()

    async def answer(peer_id: str, body: bytes) -> bytes:
        if body == b"fault":
            raise RemoteFault("not-yours", "ask for your own")
        if body == b"big":
            return bytes(second.transport.limits.max_message_bytes + 1)
        raise ZeroDivisionError("secret detail")

    second.handler.answer = answer
    with pytest.raises(RemoteFault, match="not-yours: ask for your own") as caught:
        await first.transport.request(second.id, b"fault")
    assert caught.value.code == "not-yours"
    with pytest.raises(RemoteFault) as caught:
        await first.transport.request(second.id, b"bug")
    assert caught.value.code == "internal" and "secret" not in str(caught.value)
    with pytest.raises(RemoteFault, match="answer-too-big"):
        await first.transport.request(second.id, b"big")
    (peer,) = second.transport.peers()
    assert peer.faults == {"not-yours": 1}
    assert "secret detail" in caplog.text


async def test_a_peer_that_vanishes_ends_the_requests_to_it(pair):
    first, second = await pair()
    asked = trio.Event()

    async def answer(peer_id: str, body: bytes) -> bytes:
        asked.set()
        await trio.sleep_forever()
        raise AssertionError

    second.handler.answer = answer
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(PeerGone):
                    await first.transport.request(second.id, b"?", timeout_s=60)

            nursery.start_soon(ask)
            await asked.wait()
            await second.stop()
    await first.handler.until(lambda: first.handler.downs == [second.id])
    with pytest.raises(PeerGone, match="not connected"):
        await first.transport.request(second.id, b"?")
    assert first.transport.peers() == []


async def test_misuse_is_ours(pair):
    first, second = await pair()
    with pytest.raises(LocalFault, match="request-too-big"):
        await first.transport.request(second.id, bytes(first.transport.limits.max_message_bytes + 1))
    with pytest.raises(LocalFault, match="bad-peer-id"):
        await first.transport.request("not base58 0OIl", b"")
    with pytest.raises(LocalFault, match="self-dial"):
        await first.transport.connect(first.addr)
    for bad in (
        "",
        "nonsense",
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/127.0.0.1/udp/1/p2p/" + first.id,
        "/ip4/1.2.3/tcp/1",
    ):
        with pytest.raises(LocalFault, match="bad-address"):
            await first.transport.connect(bad)
    with pytest.raises(PeerGone, match="refused|closed|fail"):
        await first.transport.connect("/ip4/127.0.0.1/tcp/1/p2p/" + _other_id())


def _other_id() -> str:
    from swarmd.node.transport.p2p import P2PTransport

    return P2PTransport(os.urandom(32), "x").peer_id
