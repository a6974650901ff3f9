"""The book of peers and the connector: hints from strangers are bounded, what worked is kept, dials back off."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from swarmd.bootstrap import book as book_module
from swarmd.bootstrap.addresses import peer_id_of
from swarmd.bootstrap.book import MAX_ADDRS_PER_PEER, MAX_PEERS, PeerBook
from swarmd.bootstrap.connector import Connector, DialFailed


def peer(number: int) -> str:
    return peer_id_of(number.to_bytes(32, "big"))


def addr(number: int, port: int = 4001, ip: str = "192.0.2.7") -> str:
    return f"/ip4/{ip}/tcp/{port}/p2p/{peer(number)}"


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(clock: Clock) -> PeerBook:
    return PeerBook(peer(0), clock=clock, wall_s=clock)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rubbish",
        "/ip4/192.0.2.7/tcp/4001",
        "/ip4/192.0.2.7/udp/4001/p2p/" + peer(1),
        "/ip4/0.0.0.0/tcp/4001/p2p/" + peer(1),
        "/ip4/224.0.0.251/tcp/4001/p2p/" + peer(1),
        "/ip4/192.0.2.7/tcp/0/p2p/" + peer(1),
        "/ip4/192.0.2.7/tcp/4001/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        addr(0),
        "/ip4/192.0.2.7/tcp/4001/p2p/" + peer(1) + "x" * 600,
    ],
)
def test_what_cannot_be_dialed_is_not_taken_in(book: PeerBook, text: str) -> None:
    assert not book.learn(text, "dht") and len(book) == 0


def test_strangers_hints_push_out_neither_the_operators_nor_what_worked(book: PeerBook) -> None:
    book.learn(addr(1), "list")
    book.learn(addr(2), "peer")
    book.worked(peer(2), addr(2))
    for number in range(3, MAX_PEERS + 500):
        book.learn(addr(number), "dht")
    for port in range(1, 100):
        book.learn(addr(2, port), "dht")
    assert len(book) == MAX_PEERS
    assert book.get(peer(1)) is not None
    known = book.get(peer(2))
    assert known is not None and known.addrs[0] == addr(2) and len(known.addrs) == MAX_ADDRS_PER_PEER


def test_direct_addresses_come_before_relayed_ones_and_loopback_last(book: PeerBook) -> None:
    relayed = f"/ip4/192.0.2.9/tcp/1/p2p/{peer(9)}/p2p-circuit/p2p/{peer(1)}"
    for text in (relayed, addr(1, ip="127.0.0.1"), addr(1)):
        book.learn(text, "peer")
    known = book.get(peer(1))
    assert known is not None and known.addrs == [addr(1), addr(1, ip="127.0.0.1"), relayed]


def test_who_does_not_answer_is_asked_less_and_less_and_then_forgotten(book: PeerBook, clock: Clock) -> None:
    book.learn(addr(1), "dht")
    book.learn(addr(2), "list")
    pauses = []
    for _ in range(book_module.FORGET_AFTER_FAILURES):
        known = book.get(peer(1))
        assert known is not None and known in book.candidates((), 9)
        book.failed(peer(1), "refused")
        book.failed(peer(2), "refused")
        assert book.candidates((), 9) == []
        pauses.append(known.retry_at_s - clock.now_s)
        clock.now_s += 1_000_000 if len(pauses) == 11 else 400
    assert pauses == sorted(pauses) and pauses[-1] == book_module.RETRY_MAX_S
    assert book.get(peer(1)) is None
    pinned = book.get(peer(2))
    assert pinned is not None and pinned.retry_after_s() == book_module.PINNED_RETRY_MAX_S


def test_the_book_is_the_same_after_a_restart(book: PeerBook, clock: Clock, tmp_path: Path) -> None:
    book.learn(addr(1), "ticket")
    book.learn(addr(2), "mdns")
    book.learn(addr(2, 5), "mdns")
    book.worked(peer(2), addr(2, 5))
    book.save(tmp_path)
    again = PeerBook(peer(0), clock=clock, wall_s=clock)
    again.load(tmp_path)
    assert {k.peer_id: (k.source, k.addrs, k.connected_at_s) for k in again.all()} == {
        k.peer_id: (k.source, k.addrs, k.connected_at_s) for k in book.all()
    }
    assert not again.changed


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"\xff", b'{"peers": [{"source": "dht"}]}', os.urandom(99)]
)
def test_a_broken_book_is_put_aside(book: PeerBook, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "peers.json").write_bytes(content)
    book.load(tmp_path)
    assert len(book) == 0 and (tmp_path / "peers.bad").read_bytes() == content


class World:
    """Peers that answer or not, for the connector."""

    def __init__(self) -> None:
        self.up: set[str] = set()
        self.connected: set[str] = set()
        self.dials: list[str] = []
        self.at_once = self.most_at_once = 0

    async def dial(self, text: str) -> None:
        self.dials.append(text)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await trio.sleep(0.1)
        self.at_once -= 1
        if text not in self.up:
            raise DialFailed("refused")
        self.connected.add(text.rpartition("/")[2])


async def until(true: Callable[[], bool]) -> None:
    with trio.fail_after(60):
        while not true():  # noqa: ASYNC110 (autojump clock: this takes no time)
            await trio.sleep(0.05)


async def test_the_connector_dials_until_it_has_enough_and_again_after_a_loss(autojump_clock) -> None:
    world = World()
    book = PeerBook(peer(0), clock=trio.current_time)
    connector = Connector(book, world.dial, lambda: world.connected, target_peers=5)
    world.up = {addr(number) for number in range(1, 21, 2)}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connector.run)
        for number in range(1, 21):
            book.learn(addr(number), "dht")
        await until(lambda: len(world.connected) >= 5)
        await trio.sleep(60)
        assert len(world.connected) == 5 and world.most_at_once <= 8
        gone = world.connected.pop()
        connector.wake()
        await until(lambda: len(world.connected) == 5)
        nursery.cancel_scope.cancel()
    assert gone in {text.rpartition("/")[2] for text in world.dials}


async def test_every_address_of_a_peer_is_tried_and_the_one_that_works_comes_first(autojump_clock) -> None:
    world = World()
    book = PeerBook(peer(0), clock=trio.current_time)
    connector = Connector(book, world.dial, lambda: world.connected, target_peers=5)
    world.up = {addr(1, 3)}
    async with trio.open_nursery() as nursery:
        for port in (1, 2, 3, 4):
            book.learn(addr(1, port), "peer")
        nursery.start_soon(connector.run)
        await until(lambda: bool(world.connected))
        nursery.cancel_scope.cancel()
    known = book.get(peer(1))
    assert known is not None and known.addrs[0] == addr(1, 3) and known.failures == 0
    assert world.dials == [addr(1, port) for port in (1, 2, 3)]


def test_one_who_is_back_makes_the_others_worth_dialing(book: PeerBook, clock: Clock) -> None:
    for number in (1, 2, 3, 4):
        book.learn(addr(number), "peer")
    for _ in range(8):
        for number in (1, 2):
            book.failed(peer(number), "timeout")
        book.failed(peer(3), "of another mesh", wait_s=60)
    clock.now_s += 1
    assert [known.peer_id for known in book.candidates((), 9)] == [peer(4)]
    book.worked(peer(4))  # it never was away, so that says nothing
    assert book.candidates({peer(4)}, 9) == []
    book.worked(peer(2))
    assert [known.peer_id for known in book.candidates({peer(2), peer(4)}, 9)] == [peer(1)]
    # Who comes and goes does not make us dial without end.
    book.failed(peer(1), "timeout")
    book.failed(peer(2), "timeout")
    book.worked(peer(2))
    assert book.candidates({peer(2), peer(4)}, 9) == []
    clock.now_s += book_module.ROUSE_INTERVAL_S
    book.failed(peer(2), "timeout")
    book.worked(peer(2))
    assert [known.peer_id for known in book.candidates({peer(2), peer(4)}, 9)] == [peer(1)]
