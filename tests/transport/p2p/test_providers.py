"""Content in the DHT: who has what is announced, found, bounded and forgotten."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID
from swarmd.bootstrap.addresses import peer_id_of
from swarmd.node.transport.p2p import P2PTransport
from swarmd.node.transport.p2p.kad import Kademlia, providers
from swarmd.node.transport.p2p.kad.providers import ProviderBook, is_content_key
from swarmd.node.transport.p2p.kad.table import Contact
from swarmd.node.transport.p2p.rpc import write_message
from swarmd.protocol.cids import RAW, cid_of, raw_cid


def contact(number: int) -> Contact:
    peer = peer_id_of(number.to_bytes(32, "big"))
    return Contact(ID.from_base58(peer).to_bytes(), (f"/ip4/192.0.2.1/tcp/4001/p2p/{peer}",))


def key(number: int) -> bytes:
    return cid_of(RAW, str(number).encode())[2:]


# The book -------------------------------------------------------------------------------------------------


def test_records_are_found_renewed_and_forgotten_in_time() -> None:
    now_s = [0.0]
    book = ProviderBook(lambda: now_s[0])
    book.add(key(1), contact(1))
    now_s[0] = providers.RECORD_TTL_S / 2
    book.add(key(1), contact(2))
    assert book.of(key(1)) == [contact(2), contact(1)] and book.of(key(2)) == []
    book.add(key(1), contact(1))
    assert book.of(key(1)) == [contact(1), contact(2)] and book.records == 2
    now_s[0] = providers.RECORD_TTL_S * 1.5 + 1
    assert book.of(key(1)) == []
    book.add(key(3), contact(3))
    now_s[0] *= 3
    book.expire()
    assert (len(book), book.records) == (0, 0)


def test_nobody_fills_the_book(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever announces most makes way, whatever names it takes one key to."""
    for name, value in {"MAX_RECORDS": 300, "MAX_RECORDS_PER_PEER": 200, "MAX_PROVIDERS_PER_KEY": 8}.items():
        monkeypatch.setattr(providers, name, value)
    book = ProviderBook(lambda: 0.0)
    for number in range(20):
        book.add(key(number), contact(1))
    for number in range(1_000):
        book.add(key(10_000 + number), contact(2))
    assert all(book.of(key(number)) == [contact(1)] for number in range(20)) and book.records == 220
    for number in range(3, 200):
        book.add(key(50_000 + number), contact(number))
    assert book.records == 300 and all(book.of(key(number)) for number in range(20))
    for number in range(300, 400):
        book.add(key(7), contact(number))
    assert len(book.of(key(7))) == 8 and book.records <= 300


def test_only_sha256_multihashes_are_keys() -> None:
    assert is_content_key(key(1))
    for bad in (b"", key(1)[:-1], key(1) + b"x", b"\x13\x20" + bytes(32), raw_cid(b"x")):
        assert not is_content_key(bad)


# Real hosts ------------------------------------------------------------------------------------------------


class Node:
    def __init__(self, *known: str) -> None:
        self.transport = P2PTransport(os.urandom(32), "kad", static_peers=known)
        self.kad = Kademlia(self.transport, "kad", lambda addr: None)
        self.transport.plugins.append(self.kad)

    @property
    def peer(self) -> tuple[str, tuple[str, ...]]:
        return self.transport.peer_id, self.transport.addrs

    def on_frame(self, peer_id: str, frame: bytes) -> None: ...

    async def on_request(self, peer_id: str, body: bytes) -> bytes:
        return b""

    async def on_peer_up(self, peer_id: str, did: str) -> None:
        self.kad.on_peer_up(peer_id)

    async def on_peer_down(self, peer_id: str) -> None: ...


@asynccontextmanager
async def nodes(count: int) -> AsyncIterator[list[Node]]:
    """The first, and others that know only it; all in each other's tables."""
    async with trio.open_nursery() as nursery:
        made = [Node()]
        await nursery.start(made[0].transport.run, made[0])
        for _ in range(count - 1):
            made.append(Node(*made[0].transport.addrs))
            await nursery.start(made[-1].transport.run, made[-1])
        await until(lambda: all(len(node.kad.table) == count - 1 for node in made))
        yield made
        nursery.cancel_scope.cancel()


async def until(true, timeout_s: float = 20.0) -> None:
    with trio.fail_after(timeout_s):
        while not true():  # noqa: ASYNC110 (tables have no event to wait for)
            await trio.sleep(0.02)


async def test_content_is_announced_and_found_through_the_mesh() -> None:
    cid = raw_cid(b"something")
    async with nodes(4) as made:
        first, owner, other, asker = made
        owner.kad.provide(cid)
        owner.kad.provide(cid)
        await until(lambda: all(node.kad.content.records.records for node in made if node is not owner))
        with trio.fail_after(20):
            assert await asker.kad.find_providers(cid) == [owner.peer]
            # Codecs differ, bytes do not: it is the same content.
            assert await first.kad.find_providers(b"\x01\x70" + cid[2:]) == [owner.peer]
            assert await owner.kad.find_providers(cid) == []
            assert await asker.kad.find_providers(raw_cid(b"nothing")) == []
        asker.kad.provide(cid)
        await until(lambda: len(other.kad.content.records.of(cid[2:])) == 2)
        with trio.fail_after(20):
            assert set(await other.kad.find_providers(cid)) == {owner.peer, asker.peer}
        for node in made:
            for peer in made:
                assert node.transport.scores.faults(peer.transport.peer_id) == {}


async def test_a_thousand_announcements_are_no_flood() -> None:
    """They are spread in time: nobody is charged."""
    async with nodes(2) as (owner, other):
        for number in range(1_000):
            owner.kad.provide(raw_cid(str(number).encode()))
        await until(lambda: other.kad.content.records.records >= 10)
        assert other.transport.scores.faults(owner.transport.peer_id) == {}
        assert owner.kad.content.provided == 1_000


async def test_records_of_others_and_of_no_content_are_refused(new_attacker) -> None:
    cid = raw_cid(b"something")
    async with nodes(2) as (victim, other):
        target = type("Target", (), {"id": victim.transport.peer_id, "addr": victim.transport.addrs[0]})()
        for bad_key, provider in ((cid[2:], other.kad.own_id), (b"\x00\x01x", None), (cid[2:], b"")):
            async with new_attacker() as attacker:
                await attacker.connect(target)
                stream = await attacker.open(victim.kad.protocol)
                message = Message(type=Message.ADD_PROVIDER, key=bad_key)
                own = ID.from_base58(attacker.id).to_bytes()
                message.providerPeers.add().id = own if provider is None else provider
                await write_message(stream, message)
                await until(
                    lambda a=attacker: victim.transport.scores.faults(a.id).get("bad-kad-message", 0) == 1
                )
        assert victim.kad.content.records.records == 0


async def test_a_flood_of_records_is_refused(new_attacker) -> None:
    async with nodes(2) as (victim, other), new_attacker() as attacker:
        target = type("Target", (), {"id": victim.transport.peer_id, "addr": victim.transport.addrs[0]})()
        await attacker.connect(target)
        own = ID.from_base58(attacker.id).to_bytes()

        async def announce() -> None:
            stream = await attacker.open(victim.kad.protocol)
            for _ in range(60):
                message = Message(type=Message.ADD_PROVIDER, key=raw_cid(os.urandom(8))[2:])
                message.providerPeers.add().id = own
                await write_message(stream, message)

        with trio.move_on_after(20):
            try:
                while victim.kad.counters["refused"] == 0:
                    await announce()
            except Exception:  # it is being cut off, in one of libp2p's many ways
                pass
        await until(lambda: victim.kad.counters["refused"] > 0)
        assert victim.kad.content.records.records <= 1_100
        assert victim.transport.scores.faults(attacker.id)["kad-flood"] >= 1
        with trio.fail_after(20):
            other.kad.provide(raw_cid(b"honest"))
            await until(lambda: bool(victim.kad.content.records.of(raw_cid(b"honest")[2:])))
