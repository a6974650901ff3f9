"""Nodes of ours, with Bitswap and nothing more, and what one needs to misbehave."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from swarmd.node.content.bitswap.config import BitswapLimits
from swarmd.node.content.bitswap.service import Bitswap
from swarmd.node.content.store import SqliteBlockStore
from swarmd.node.transport.p2p import P2PLimits, P2PTransport


class Handler:
    def on_frame(self, peer_id: str, frame: bytes) -> None: ...

    async def on_request(self, peer_id: str, body: bytes) -> bytes:
        return body

    async def on_peer_up(self, peer_id: str, did: str) -> None: ...

    async def on_peer_down(self, peer_id: str) -> None: ...


@dataclass
class Ours:
    """A transport with Bitswap, and its blocks."""

    transport: P2PTransport
    bitswap: Bitswap
    store: SqliteBlockStore

    @property
    def addr(self) -> str:
        return self.transport.addrs[0]


@pytest.fixture
def ours(nursery: trio.Nursery, tmp_path: Path) -> Callable[..., object]:
    """ours(name) -> a node of ours that listens."""

    async def start(name: str = "ours", limits: BitswapLimits = BitswapLimits()) -> Ours:
        store = SqliteBlockStore(tmp_path / f"{name}.db", durable=False)
        transport = P2PTransport(os.urandom(32), "test", limits=P2PLimits(redial_min_s=0.05))
        bitswap = Bitswap(transport, store, limits)
        transport.plugins.append(bitswap)
        transport.keeps.append(bitswap.useful)
        await nursery.start(transport.run, Handler())
        return Ours(transport, bitswap, store)

    return start
