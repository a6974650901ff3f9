"""Peers that serve real blocks in process, and lie, stall or leave on demand."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cbor2
import pytest
import trio
from swarmd.node.content.repo import ContentRepo
from swarmd.node.content.store import SqliteBlockStore
from swarmd.node.content.wire import serve
from swarmd.node.ports import PeerGone, PeerInfo, TransportHandler


def pattern(size: int) -> bytes:
    """The bytes of vectors/unixfs.json: byte i is (i * 31 + (i >> 8) * 17 + (i >> 16)) & 255."""
    rows = [bytes((i * 31 + k) & 255 for i in range(256)) for k in range(256)]
    return b"".join(rows[(j * 17 + (j >> 8)) & 255] for j in range((size + 255) // 256))[:size]


class PeerNet:
    """A `Transport` whose peers are stores in this process; `behave` replaces how one answers."""

    peer_id = "me"
    addrs: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.stores: dict[str, SqliteBlockStore] = {}
        self.behaviours: dict[str, Callable[[bytes], Any]] = {}
        self.reports: list[tuple[str, str]] = []
        self.requests: list[tuple[str, int]] = []  # (peer, CIDs asked)
        self.most_in_flight = 0
        self._in_flight = 0

    def add(self, peer_id: str, store: SqliteBlockStore) -> str:
        self.stores[peer_id] = store
        return peer_id

    def behave(self, peer_id: str, answer: Callable[[bytes], Any]) -> str:
        """`answer(body)`: the bytes of the answer, an exception to raise, or None to never answer."""
        self.behaviours[peer_id] = answer
        return peer_id

    async def request(self, peer_id: str, body: bytes, *, timeout_s: float = 30.0) -> bytes:
        self.requests.append((peer_id, len(cbor2.loads(body)["cids"])))
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            await trio.lowlevel.checkpoint()
            if peer_id in self.behaviours:
                answer = self.behaviours[peer_id](body)
                if answer is None:
                    await trio.sleep_forever()
                if isinstance(answer, Exception):
                    raise answer
                return answer
            if peer_id not in self.stores:
                raise PeerGone(peer_id)
            return serve(self.stores[peer_id], body)
        finally:
            self._in_flight -= 1

    def report(self, peer_id: str, code: str) -> None:
        self.reports.append((peer_id, code))

    async def run(self, handler: TransportHandler, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        raise AssertionError("a fetch does not run the transport")

    async def publish(self, frame: bytes) -> None:
        raise AssertionError("a fetch does not gossip")

    async def connect(self, addr: str) -> str:
        raise AssertionError("a fetch does not dial")

    def peers(self) -> Sequence[PeerInfo]:
        return ()


@pytest.fixture
def make_pattern() -> Callable[[int], bytes]:
    return pattern


@pytest.fixture
def net() -> PeerNet:
    return PeerNet()


@pytest.fixture
def make_store(tmp_path: Path) -> Iterator[Callable[[str], SqliteBlockStore]]:
    """Stores by name in a temporary folder, closed at the end."""
    opened: list[SqliteBlockStore] = []

    def make(name: str) -> SqliteBlockStore:
        opened.append(SqliteBlockStore(tmp_path / f"{name}.db", durable=False))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(make_store: Callable[[str], SqliteBlockStore]) -> SqliteBlockStore:
    return make_store("blocks")


@pytest.fixture
def make_repo(tmp_path: Path) -> Iterator[Callable[..., ContentRepo]]:
    """Content stores by name in a temporary folder, with small packs, closed at the end."""
    opened: list[ContentRepo] = []

    def make(name: str = "content", **options: Any) -> ContentRepo:
        opened.append(ContentRepo(tmp_path / name, **{"pack_bytes": 1_000_000, "reserve_bytes": 0} | options))
        return opened[-1]

    yield make
    for repo in opened:
        repo.close()


@pytest.fixture
def repo(make_repo: Callable[..., ContentRepo]) -> ContentRepo:
    return make_repo()
