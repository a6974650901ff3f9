"""Relays, AutoNAT and DCUtR over loopback. With real NATs between: tests/bootstrap/test_nat.py."""

import os
import secrets
from collections.abc import Callable
from contextlib import asynccontextmanager

import pytest
import trio
from libp2p.host.autonat.pb.autonat_pb2 import Message
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.pb.circuit_pb2 import (
    NO_RESERVATION,
    OK,
    PERMISSION_DENIED,
    HopMessage,
    StopMessage,
)
from libp2p.relay.circuit_v2.pb.dcutr_pb2 import HolePunch
from multiaddr import Multiaddr
from swarmd.bootstrap.addresses import is_relayed
from swarmd.node.ports import PeerGone
from swarmd.node.transport.p2p import P2PTransport
from swarmd.node.transport.p2p.nat import autonat as autonat_module
from swarmd.node.transport.p2p.nat import dcutr, relay
from swarmd.node.transport.p2p.nat.autonat import AutoNat
from swarmd.node.transport.p2p.nat.circuit import HOP, MAX_MESSAGE_BYTES, STOP
from swarmd.node.transport.p2p.nat.traversal import NatTraversal
from swarmd.node.transport.p2p.rpc import read_message, write_message


class Node:
    """A node whose AutoNAT has the given opinion, for as long as nobody asks it."""

    def __init__(self, kind: str, *known: str, psk: bytes | None = None, ask: bool = False) -> None:
        self.transport = P2PTransport(os.urandom(32), "relay", static_peers=known, psk=psk)
        self.autonat = AutoNat(self.transport, lambda: self.transport.bound_addrs)
        self.autonat.kind = kind
        if ask:
            self.transport.plugins.append(self.autonat)
        self.nat = NatTraversal(self.transport, self.autonat)
        self.nat._judged()
        self.id = self.transport.peer_id

    @property
    def addr(self) -> str:
        return self.transport.addrs[0]

    def on_frame(self, peer_id: str, frame: bytes) -> None:
        return

    async def on_request(self, peer_id: str, body: bytes) -> bytes:
        return b"you said " + body

    async def on_peer_up(self, peer_id: str, did: str) -> None:
        self.autonat.on_peer_up(peer_id)
        self.nat.on_peer_up(peer_id)

    async def on_peer_down(self, peer_id: str) -> None:
        self.nat.on_peer_down(peer_id)

    def addrs_of(self, other: "Node") -> tuple[str, ...]:
        return next((p.addrs for p in self.transport.peers() if p.peer_id == other.id), ())


async def until(true: Callable[[], bool], timeout_s: float = 20.0) -> None:
    with trio.fail_after(timeout_s):
        while not true():  # noqa: ASYNC110 (what peers know of us has no event)
            await trio.sleep(0.02)


async def asked(one: Node, far: Node, body: bytes) -> bytes:
    """An answer, as soon as there is a request stream: it moves from one connection to the other."""
    while True:
        try:
            return await one.transport.request(far.id, body)
        except PeerGone:
            await trio.sleep(0.05)


@asynccontextmanager
async def nodes(psk: bytes | None = None):
    """(relay, hidden, other): `hidden` believes it is behind a NAT and holds a reservation; all know the relay."""
    async with trio.open_nursery() as nursery:
        first = Node("public", psk=psk)
        await nursery.start(first.transport.run, first)
        hidden, other = Node("private", first.addr, psk=psk), Node("public", first.addr, psk=psk)
        for each in (hidden, other):
            await nursery.start(each.transport.run, each)
        await until(lambda: bool(hidden.nat.relayed.addrs) and len(first.transport.peers()) == 2)
        yield first, hidden, other
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("private", [False, True])
async def test_who_cannot_be_dialed_is_reached_through_a_relay(private: bool) -> None:
    async with nodes(secrets.token_bytes(32) if private else None) as (middle, hidden, other):
        address = next(addr for addr in hidden.transport.addrs if is_relayed(addr))
        assert middle.id in address and address.endswith(f"/p2p-circuit/p2p/{hidden.id}")
        with trio.fail_after(20):
            assert await other.transport.connect(address) == hidden.id
            body = os.urandom(3_000_000)
            assert await other.transport.request(hidden.id, body) == b"you said " + body
            assert await hidden.transport.request(other.id, b"back") == b"you said back"
        assert other.addrs_of(hidden) == (address,)
        assert middle.nat.server.circuits == 1 and middle.nat.server.counters["bytes"] > 3_000_000
        await other.transport._session._swarm.close_peer(ID.from_base58(hidden.id))
        await until(lambda: middle.nat.server.circuits == 0)


async def test_a_relayed_connection_becomes_a_direct_one_where_it_can() -> None:
    async with nodes() as (_, hidden, other):
        for each in (hidden, other):
            each.autonat.observed["somebody"] = "127.0.0.1"
        address = hidden.nat.relayed.addrs[0]
        with trio.fail_after(20):
            await other.transport.connect(address)
        await until(lambda: not any(map(is_relayed, (*other.addrs_of(hidden), *hidden.addrs_of(other)))))
        with trio.fail_after(20):
            assert await asked(other, hidden, b"hello") == b"you said hello"
        assert hidden.nat.puncher.counters["direct"] == 1


async def test_a_reservation_is_made_again_when_the_relay_comes_back() -> None:
    async with nodes() as (middle, hidden, other):
        before = middle.nat.server.counters["reserved"]
        await hidden.transport._session._swarm.close_peer(ID.from_base58(middle.id))
        # It is a static peer: the connection comes back, and the reservation with it.
        await until(
            lambda: middle.nat.server.counters["reserved"] > before and bool(hidden.nat.relayed.addrs)
        )
        with trio.fail_after(20):
            await other.transport.connect(hidden.nat.relayed.addrs[0])


async def test_a_relay_that_is_gone_is_announced_no_more() -> None:
    async with nodes() as (middle, hidden, _):
        changed = trio.Event()
        hidden.nat.on_change = changed.set
        hidden.transport.ban(middle.id, 600, "test")
        with trio.fail_after(20):
            await changed.wait()
        assert not any(map(is_relayed, hidden.transport.addrs))


async def test_without_a_reservation_there_is_no_circuit() -> None:
    async with nodes() as (middle, hidden, other):
        address = f"{middle.addr}/p2p-circuit/p2p/{other.id}"
        with pytest.raises(PeerGone, match="NO_RESERVATION"):
            await hidden.transport.connect(address)
        nobody = ID.from_base58(Node("public").id)
        with pytest.raises(PeerGone, match="NO_RESERVATION"):
            await other.transport.connect(f"{middle.addr}/p2p-circuit/p2p/{nobody}")


async def test_autonat_tells_open_from_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with trio.open_nursery() as nursery:
        server = Node("unknown", ask=True)
        await nursery.start(server.transport.run, server)
        open_one, closed = Node("unknown", server.addr, ask=True), Node("unknown", server.addr, ask=True)
        # What a port that nobody forwards looks like from outside.
        closed.autonat._candidates = lambda seen: [Multiaddr("/ip4/127.0.0.1/tcp/1").to_bytes()]
        for each in (open_one, closed):
            await nursery.start(each.transport.run, each)
        await until(lambda: open_one.autonat.kind == "public" and closed.autonat.kind == "private")
        assert open_one.autonat.confirmed == open_one.addr
        assert open_one.autonat.observed == {server.id: "127.0.0.1"}
        # Behind a NAT it looks for a relay by itself.
        await until(lambda: bool(closed.nat.relayed.addrs))
        assert not closed.nat.server.enabled
        nursery.cancel_scope.cancel()


# What a stranger may try ----------------------------------------------------------------------------------


class Target:
    def __init__(self, node: Node) -> None:
        self.id, self.addr = node.id, node.addr


async def hop(attacker, message: HopMessage) -> HopMessage:
    stream = await attacker.open(HOP)
    await write_message(stream, message)
    return await read_message(stream, HopMessage, MAX_MESSAGE_BYTES)


async def test_strangers_get_no_reservation_and_no_circuit(new_attacker) -> None:
    async with nodes() as (middle, hidden, _), new_attacker() as attacker:
        await attacker.connect(Target(middle))
        with trio.fail_after(10):
            connect = HopMessage(type=HopMessage.CONNECT)
            connect.peer.id = ID.from_base58(hidden.id).to_bytes()
            for message in (HopMessage(type=HopMessage.RESERVE), connect):
                assert (await hop(attacker, message)).status == PERMISSION_DENIED
        assert middle.nat.server.reservations == 1 and middle.nat.server.circuits == 0


async def test_circuits_nobody_reserved_for_are_not_taken(new_attacker) -> None:
    async with nodes() as (_, hidden, other), new_attacker() as attacker:
        await attacker.connect(Target(hidden))
        stream = await attacker.open(STOP)
        hello = StopMessage(type=StopMessage.CONNECT)
        hello.peer.id = ID.from_base58(other.id).to_bytes()
        await write_message(stream, hello)
        with trio.fail_after(10):
            with pytest.raises(Exception):  # noqa: B017 (reset, in one of libp2p's many ways)
                await read_message(stream, StopMessage, MAX_MESSAGE_BYTES)


RUBBISH = [
    b"\x05\xff\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\x7f",
    b"\x80" * 64,
    b"\x02\x08\x63",
    b"\x40\x08",
    b"\x00",
]


@pytest.mark.parametrize("protocol", [HOP, STOP, dcutr.PROTOCOL, autonat_module.PROTOCOL])
async def test_no_bytes_on_these_protocols_hurt(protocol: str, new_attacker) -> None:
    async with nodes() as (middle, hidden, other), new_attacker() as attacker:
        target = middle if protocol == HOP else hidden
        target.transport._session.host.set_stream_handler(autonat_module.PROTOCOL, target.autonat._serve)
        target.autonat._host = target.transport._session.host
        await attacker.connect(Target(target))
        for raw in RUBBISH:
            try:
                stream = await attacker.open(protocol)
                await stream.write(raw)
                await stream.close()
            except Exception:  # it may have been cut off by now, which is well
                break
        with trio.fail_after(20):
            await other.transport.connect(hidden.nat.relayed.addrs[0])
            assert await other.transport.request(hidden.id, b"hello") == b"you said hello"


async def test_autonat_dials_nobody_but_who_asks(new_attacker) -> None:
    async with trio.open_nursery() as nursery:
        server = Node("public", ask=True)
        await nursery.start(server.transport.run, server)
        async with new_attacker() as attacker:
            await attacker.connect(Target(server))
            victim = await trio.open_tcp_listeners(0, host="127.0.0.2")
            port = victim[0].socket.getsockname()[1]
            stream = await attacker.open(autonat_module.PROTOCOL)
            question = Message(type=Message.DIAL)
            question.dial.peer.id = attacker.host.get_id().to_bytes()
            question.dial.peer.addrs.append(Multiaddr(f"/ip4/127.0.0.2/tcp/{port}").to_bytes())
            await write_message(stream, question)
            with trio.fail_after(10):
                answer = await read_message(stream, Message, 8_192)
            assert answer.dialResponse.status == Message.E_DIAL_REFUSED
            with trio.move_on_after(0.2) as scope:
                await victim[0].accept()
            assert scope.cancelled_caught
            await victim[0].aclose()
        nursery.cancel_scope.cancel()


async def test_a_relay_gives_one_place_only_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "MAX_RESERVATIONS_PER_PLACE", 1)
    async with nodes() as (middle, hidden, other):
        assert middle.nat.server.reservations == 1
        await other.nat.relayed._reserve(middle.id)
        assert not other.nat.relayed.relays and middle.nat.server.reservations == 1
        assert middle.nat.server.counters["refused-reservation-refused"] == 1
        # A second one of the same peer renews the first.
        await hidden.nat.relayed._reserve(middle.id)
        assert middle.nat.server.reservations == 1 and hidden.nat.relayed.relays


def test_the_statuses_are_those_of_the_specification() -> None:
    assert (OK, PERMISSION_DENIED, NO_RESERVATION) == (100, 202, 204)
    assert (HolePunch.CONNECT, HolePunch.SYNC) == (100, 300)
