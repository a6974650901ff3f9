"""What a connection held for its peer is let go of once, whoever still reads or writes after its end."""

from collections import Counter
from typing import Any

import trio
from libp2p.peer.id import ID
from swarmd.node.transport.p2p.budget import Budget
from swarmd.node.transport.p2p.config import P2PLimits
from swarmd.node.transport.p2p.muxer import MeshYamux


class Wire:
    """A secured connection of which nothing comes."""

    is_initiator = True

    async def read(self, n: int | None = None) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_a_closed_connection_holds_nothing() -> None:
    limits, peer = P2PLimits(), ID(b"peer")
    budget = Budget(limits.max_held_bytes, lambda peer_id: None)
    wire: Any = Wire()
    made = MeshYamux(
        wire,
        peer,
        is_initiator=True,
        limits=limits,
        budget=budget,
        on_violation=lambda *_: None,
        drops=Counter(),
    )
    with trio.fail_after(30):
        made._add_stream(1, is_initiator=True)
        made._take_data(1, bytearray(b"x" * 20), 0, 20)
        made.push(b"y" * 12)
        assert budget.total_bytes == 32
        await made.close()
        assert budget.total_bytes == 0
        # A reader that was woken before still takes what it saw, and a frame comes too late.
        made.hold(-20)
        made.push(b"z" * 12)
        assert budget.total_bytes == 0 and made.buffered_bytes == 0
