"""Kademlia: the table, lookups through a large mesh, and real hosts that find each other through one they know."""

import os
import random
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID
from swarmd.bootstrap.addresses import key_of as public_key
from swarmd.bootstrap.addresses import peer_id_of
from swarmd.node.ports import PeerGone
from swarmd.node.transport.p2p import P2PTransport
from swarmd.node.transport.p2p.kad import Kademlia
from swarmd.node.transport.p2p.kad.lookup import MAX_ASKED, Lookup
from swarmd.node.transport.p2p.kad.table import BUCKET_SIZE, MAX_PER_NETWORK, Contact, RoutingTable, key_of
from swarmd.node.transport.p2p.rpc import write_message


def contact(number: int, ip: str = "192.0.2.1") -> Contact:
    peer = peer_id_of(number.to_bytes(32, "big"))
    return Contact(ID.from_base58(peer).to_bytes(), (f"/ip4/{ip}/tcp/4001/p2p/{peer}",))


# The table ------------------------------------------------------------------------------------------------


def test_a_bucket_keeps_who_answers_and_gives_the_place_of_who_does_not() -> None:
    alive: set[bytes] = set()
    table = RoutingTable(contact(0).peer_id, lambda peer: peer in alive)
    far = [c for c in map(contact, range(1, 400)) if (key_of(contact(0).peer_id) ^ c.key).bit_length() == 256]
    for each in far[:BUCKET_SIZE]:
        alive.add(each.peer_id)
        assert table.add(each)
    assert not table.add(far[BUCKET_SIZE])
    alive.discard(far[3].peer_id)
    assert table.add(far[BUCKET_SIZE]) and far[3].peer_id not in table
    assert len(table) == BUCKET_SIZE
    assert not table.add(contact(0)) and not table.add(Contact(far[50].peer_id, ()))


def test_one_network_does_not_fill_a_bucket() -> None:
    table = RoutingTable(contact(0).peer_id, lambda peer: True)
    crowd = [contact(number, f"8.8.8.{number % 250}") for number in range(1, 2_000)]
    taken = sum(map(table.add, crowd))
    assert taken <= MAX_PER_NETWORK * 12
    assert table.add(contact(5_000, "9.9.9.9"))


def test_the_closest_are_the_closest() -> None:
    table = RoutingTable(contact(0).peer_id, lambda peer: True)
    inside = [each for each in map(contact, range(1, 300)) if table.add(each)]
    target = key_of(b"somewhere")
    wanted = sorted(inside, key=lambda each: each.key ^ target)[:7]
    assert table.closest(target, 7) == wanted
    assert table.closest(target, 6, without=(wanted[0].peer_id,)) == wanted[1:]


# Lookups ---------------------------------------------------------------------------------------------------


class Mesh:
    """Contacts that know each other as Kademlia nodes do. `silent` ones do not answer."""

    def __init__(self, count: int, seed: int) -> None:
        dice = random.Random(seed)
        self.contacts = [contact(number) for number in range(1, count + 1)]
        self.tables = {}
        self.silent: set[bytes] = set()
        self.lies: dict[bytes, list[Contact]] = {}
        for each in self.contacts:
            table = RoutingTable(each.peer_id, lambda peer: True)
            for other in dice.sample(self.contacts, min(count, 200)):
                table.add(other)
            self.tables[each.peer_id] = table

    async def query(self, asked: Contact, target: bytes) -> list[Contact]:
        await trio.sleep(0.05)
        if asked.peer_id in self.silent or asked.peer_id not in self.tables:
            await trio.sleep(5)
            raise PeerGone("silent")
        if asked.peer_id in self.lies:
            return self.lies[asked.peer_id]
        return self.tables[asked.peer_id].closest(key_of(target), BUCKET_SIZE)


@pytest.mark.parametrize("seed", range(3))
async def test_a_lookup_finds_a_peer_among_six_hundred(autojump_clock, seed: int) -> None:
    mesh = Mesh(600, seed)
    target = mesh.contacts[477]
    mesh.silent = {each.peer_id for each in mesh.contacts[::5] if each is not target}
    lookup = Lookup(target.peer_id, contact(0).peer_id, [mesh.contacts[1]], mesh.query)
    found = await lookup.run()
    assert found[0] == target and lookup.asked <= MAX_ASKED
    assert not {each.peer_id for each in found} & (mesh.silent & lookup._asked)


async def test_a_liar_costs_a_lookup_time_but_not_its_end(autojump_clock) -> None:
    mesh = Mesh(100, 1)
    target = mesh.contacts[50]
    nobody = [contact(number) for number in range(10_000, 12_000)]
    nobody.sort(key=lambda each: each.key ^ key_of(target.peer_id))
    liar = mesh.contacts[3]
    mesh.lies[liar.peer_id] = nobody
    began_s = trio.current_time()
    lookup = Lookup(target.peer_id, contact(0).peer_id, [liar, mesh.contacts[4]], mesh.query)
    found = await lookup.run()
    assert trio.current_time() - began_s <= 31 and lookup.asked <= MAX_ASKED
    assert target in found


# Real hosts ------------------------------------------------------------------------------------------------


class Handler:
    def __init__(self, kad: Kademlia) -> None:
        self.kad = kad

    def on_frame(self, peer_id: str, frame: bytes) -> None:
        return

    async def on_request(self, peer_id: str, body: bytes) -> bytes:
        return b""

    async def on_peer_up(self, peer_id: str, did: str) -> None:
        self.kad.on_peer_up(peer_id)

    async def on_peer_down(self, peer_id: str) -> None:
        return


class Node:
    def __init__(self, *known: str, mesh: str = "kad") -> None:
        self.transport = P2PTransport(os.urandom(32), mesh, static_peers=known)
        self.heard: set[str] = set()
        self.kad = Kademlia(self.transport, mesh, self.heard.add)
        self.transport.plugins.append(self.kad)

    @property
    def addr(self) -> str:
        return self.transport.addrs[0]


@asynccontextmanager
async def nodes(count: int):
    """The first node, and others that know only it."""
    async with trio.open_nursery() as nursery:
        first = Node()
        made = [first]
        await nursery.start(first.transport.run, Handler(first.kad))
        for _ in range(count - 1):
            made.append(Node(first.addr))
            await nursery.start(made[-1].transport.run, Handler(made[-1].kad))
        yield made
        nursery.cancel_scope.cancel()


async def until(true: Callable[[], bool], timeout_s: float = 20.0) -> None:
    with trio.fail_after(timeout_s):
        while not true():  # noqa: ASYNC110 (tables have no event to wait for)
            await trio.sleep(0.02)


async def test_who_knows_one_node_finds_all_through_it() -> None:
    async with nodes(5) as made:
        everybody = {node.addr for node in made}
        await until(lambda: all(everybody - {node.addr} <= node.heard for node in made))
        last, other = made[-1], made[1]
        with trio.fail_after(20):
            assert other.addr in await last.kad.find(other.transport.peer_id)
            unknown = peer_id_of(os.urandom(32))
            assert await last.kad.find(unknown) == ()


async def test_nodes_of_another_mesh_are_none_of_ours() -> None:
    async with nodes(2) as made, trio.open_nursery() as nursery:
        stranger = Node(made[0].addr, mesh="other")
        await nursery.start(stranger.transport.run, Handler(stranger.kad))
        await until(lambda: len(made[0].kad.table) == 1)
        with pytest.raises(PeerGone, match="another mesh"):
            await made[0].transport.connect(stranger.addr)
        assert len(stranger.kad.table) == 0 and stranger.addr not in made[0].heard | made[1].heard
        nursery.cancel_scope.cancel()


ATTACKS: dict[str, bytes] = {
    "not protobuf": b"\x05\xff\xff\xff\xff\xff",
    "a length of gigabytes": b"\xff\xff\xff\xff\x7f",
    "an endless length": b"\x80" * 64,
    "no key": b"\x02\x08\x04",
    "a key of 4,000 bytes": b"",
    "a value to store": b"\x02\x08\x00",
    "an unknown type": b"\x02\x08\x63",
    "half a message": b"\x40\x08",
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_no_bytes_on_a_kad_stream_hurt(attack: str, new_attacker) -> None:
    raw = ATTACKS[attack]
    async with nodes(2) as made, new_attacker() as attacker:
        victim = made[0]
        victim_node = type("Target", (), {"id": victim.transport.peer_id, "addr": victim.addr})()
        await attacker.connect(victim_node)
        stream = await attacker.open(victim.kad.protocol)
        if raw:
            await stream.write(raw)
        else:
            await write_message(stream, Message(type=Message.FIND_NODE, key=bytes(4_000)))
        with trio.move_on_after(1.0):
            with pytest.raises(Exception):  # noqa: B017 (reset, in one of libp2p's many ways)
                while await stream.read(100):
                    pass
        await until(lambda: len(made[1].kad.table) == 1)
        answered = victim.kad.counters["answered"]
        with trio.fail_after(20):
            assert victim.addr in await made[1].kad.find(victim.transport.peer_id)
        assert victim.kad.counters["answered"] > answered


async def test_a_flood_of_questions_is_cut_off(new_attacker) -> None:
    async with nodes(2) as made, new_attacker() as attacker:
        victim = made[0]
        victim_node = type("Target", (), {"id": victim.transport.peer_id, "addr": victim.addr})()
        await attacker.connect(victim_node)
        question = Message(type=Message.FIND_NODE, key=public_key(made[1].transport.peer_id))
        asked: Callable[[], Awaitable[None]]

        async def asked() -> None:
            stream = await attacker.open(victim.kad.protocol)
            for _ in range(60):
                await write_message(stream, question)

        with trio.move_on_after(10):
            try:
                while victim.kad.counters["refused"] == 0:
                    await asked()
            except Exception:  # it is being cut off
                pass
        await until(lambda: victim.kad.counters["refused"] > 0)
        assert victim.transport.scores.faults(attacker.id)["kad-flood"] >= 1
