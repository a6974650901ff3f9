"""Bitswap with a real kubo, both ways."""

import os
from io import BytesIO

import pytest
import trio
from swarmd.node.content.bitswap.service import BitswapSource
from swarmd.node.content.fetch import fetch_from
from swarmd.node.content.unixfs import import_file, read_file
from swarmd.protocol.cids import cid_text, parse_cid
from swarmd.protocol.faults import LocalFault

SIZES = (0, 1, 300_000, 20_000_000)


@pytest.mark.parametrize("size", SIZES)
async def test_we_fetch_from_kubo(kubo, ours, size):
    data = os.urandom(size)
    added = await kubo.call("add", "-Q", "--cid-version=1", "--raw-leaves", data=data)
    cid = parse_cid(added.decode().strip())
    node = await ours()
    with trio.fail_after(60):
        peer = await node.transport.dial(await kubo.swarm_addr())
        await fetch_from([BitswapSource(node.bitswap, peer)], node.transport.report, cid, node.store)
    assert b"".join(read_file(cid, node.store.get)) == data
    assert node.transport.scores.faults(peer) == {}


@pytest.mark.parametrize("size", SIZES)
async def test_kubo_fetches_from_us(kubo, ours, size):
    data = os.urandom(size)
    node = await ours()
    with node.store.batch() as put:
        cid = import_file(BytesIO(data), put).cid
    await kubo.call("swarm", "connect", node.addr)
    assert await kubo.call("cat", cid_text(cid)) == data


async def test_what_kubo_lacks_is_known_at_once(kubo, ours):
    node = await ours()
    cid = import_file(BytesIO(os.urandom(100)), lambda cid, block: None).cid
    with trio.fail_after(30):
        peer = await node.transport.dial(await kubo.swarm_addr())
        answer = await node.bitswap.ask(peer, [cid])
        assert answer.missing == {cid}
        with pytest.raises(LocalFault, match="content-unavailable"):
            await fetch_from([BitswapSource(node.bitswap, peer)], node.transport.report, cid, node.store)


async def test_kubo_gets_what_comes_later(kubo, ours):
    """A want of what is not here is remembered."""
    data = os.urandom(50_000)
    node = await ours()
    cid = import_file(BytesIO(data), lambda cid, block: None).cid
    await kubo.call("swarm", "connect", node.addr)
    async with trio.open_nursery() as nursery:
        got: list[bytes] = []

        async def cat() -> None:
            got.append(await kubo.call("cat", cid_text(cid)))

        nursery.start_soon(cat)
        with trio.fail_after(20):
            while not any(ledger.waiting for _, ledger in node.bitswap.ledgers):  # noqa: ASYNC110
                await trio.sleep(0.05)
        with node.store.batch() as put:
            import_file(BytesIO(data), put)
    assert got == [data]
