"""Bitswap between hosts of ours: whoever lies, stalls or leaves, the next peer has it; and older versions."""

import os
from io import BytesIO

import pytest
import trio
from swarmd.node.content.bitswap.config import BitswapLimits
from swarmd.node.content.bitswap.message import PROTOCOLS, Want
from swarmd.node.content.bitswap.service import BitswapSource
from swarmd.node.content.fetch import FetchLimits, fetch_from
from swarmd.node.content.unixfs import import_file, read_file
from swarmd.node.ports import PeerGone
from swarmd.protocol.cids import DAG_PB, cid_of, cid_text, raw_cid
from swarmd.protocol.faults import LocalFault, RemoteFault

SIZE = 3_000_000
QUICK = BitswapLimits(idle_timeout_s=0.5)


def keep(node, data: bytes) -> bytes:
    with node.store.batch() as put:
        return import_file(BytesIO(data), put).cid


async def fetch_all(node, cid: bytes, *others) -> None:
    with trio.fail_after(60):
        peers = [await node.transport.connect(other.addr) for other in others]
        sources = [BitswapSource(node.bitswap, peer) for peer in peers]
        await fetch_from(sources, node.transport.report, cid, node.store, FetchLimits())


def faults(node, other) -> dict[str, int]:
    return dict(node.transport.scores.faults(other.transport.peer_id))


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_each_version(ours, monkeypatch, protocol):
    giver = await ours("giver")
    data = os.urandom(SIZE)
    cid = keep(giver, data)
    monkeypatch.setattr("swarmd.node.content.bitswap.lines.PROTOCOLS", (protocol,))
    taker = await ours("taker")
    await fetch_all(taker, cid, giver)
    assert b"".join(read_file(cid, taker.store.get)) == data
    assert faults(taker, giver) == faults(giver, taker) == {}
    [(_, ledger)] = list(giver.bitswap.ledgers)
    assert ledger.sent_blocks == 13 and ledger.sent_bytes > SIZE and ledger.wants == 0


async def test_several_peers_share_the_work(ours):
    givers = [await ours(f"giver {number}") for number in range(3)]
    data = os.urandom(30_000_000)
    [cid] = {keep(giver, data) for giver in givers}
    taker = await ours("taker")
    await fetch_all(taker, cid, *givers)
    assert b"".join(read_file(cid, taker.store.get)) == data
    assert all(giver.bitswap.counters["blocks-sent"] > 0 for giver in givers)


async def test_who_lies_is_charged_and_the_next_one_asked(ours):
    liar, honest = await ours("liar"), await ours("honest")
    data = os.urandom(20_000_000)  # enough for both to be asked
    cid = keep(honest, data)
    keep(liar, data)
    true_get = liar.store.get

    def lie(wanted: bytes) -> bytes | None:
        block = true_get(wanted)
        return block if wanted == cid or block is None else b"lies" + block[4:]

    liar.store.get = lie
    taker = await ours("taker")
    await fetch_all(taker, cid, liar, honest)
    assert b"".join(read_file(cid, taker.store.get)) == data
    assert faults(taker, liar).get("bad-block", 0) >= 1 and faults(taker, honest) == {}
    assert taker.store.stat().corrupt == 0


async def test_who_stalls_is_charged_and_the_next_one_asked(ours, monkeypatch):
    staller, honest = await ours("staller"), await ours("honest")
    data = os.urandom(20_000_000)
    cid = keep(honest, data)

    async def nothing(*args, **kwargs) -> None:
        return

    monkeypatch.setattr(staller.bitswap._server, "take", nothing)
    taker = await ours("taker", QUICK)
    await fetch_all(taker, cid, staller, honest)
    assert b"".join(read_file(cid, taker.store.get)) == data
    assert faults(taker, staller).keys() == {"content-timeout"}


async def test_who_leaves_is_not_charged_and_the_next_one_asked(ours):
    leaver, honest = await ours("leaver"), await ours("honest")
    data = os.urandom(20_000_000)
    cid = keep(honest, data)
    keep(leaver, data)
    taker = await ours("taker", BitswapLimits(idle_timeout_s=5))  # a busy machine is no peer that left
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetch_all, taker, cid, leaver, honest)
        with trio.fail_after(20):
            while not leaver.bitswap.counters["blocks-sent"]:  # noqa: ASYNC110
                await trio.sleep(0.005)
        leaver.transport._session.cut_off(taker.transport.peer_id, "the test")
    assert b"".join(read_file(cid, taker.store.get)) == data
    assert "bad-block" not in faults(taker, leaver) and faults(taker, honest) == {}


async def test_a_peer_without_bitswap_or_connection_is_gone(ours, monkeypatch):
    mute, taker = await ours("mute"), await ours("taker")
    for protocol in PROTOCOLS:
        del mute.transport._session.host.multiselect.handlers[protocol]
    peer = await taker.transport.connect(mute.addr)
    with trio.fail_after(20), pytest.raises(PeerGone):
        await taker.bitswap.ask(peer, [raw_cid(b"x")])
    assert not taker.bitswap.may_speak(peer)
    with pytest.raises(PeerGone, match="not connected"):
        await taker.bitswap.ask("12D3KooWRtwMVzNUtHdTpGrM6wjBFcZHGTYxGCftaM3eECBJKxsW", [raw_cid(b"x")])
    with pytest.raises(LocalFault, match="bad-peer-id"):
        await taker.bitswap.ask("0OIl", [raw_cid(b"x")])


async def test_who_reads_nothing_loses_its_wants_and_is_charged(ours, monkeypatch):
    giver = await ours("giver", BitswapLimits(send_timeout_s=0.5))
    cid = keep(giver, os.urandom(SIZE))
    taker = await ours("taker")

    async def deaf(stream) -> None:
        await trio.sleep_forever()

    for protocol in PROTOCOLS:
        taker.transport._session.host.set_stream_handler(protocol, deaf)
    peer = await taker.transport.connect(giver.addr)
    leaves = [each for each in _cids(giver) if each != cid]
    taker.bitswap._want(peer, [Want(each) for each in leaves])
    with trio.fail_after(30):
        while not faults(giver, taker):  # noqa: ASYNC110
            await trio.sleep(0.05)
    assert faults(giver, taker) == {"reads-nothing": 1}
    assert giver.bitswap.ledgers.of(taker.transport.peer_id).wants == 0


def _cids(node) -> list[bytes]:
    return [cid for (cid,) in node.store._db.execute("select cid from blocks")]


async def test_cancelled_asks_leave_nothing_behind(ours):
    giver, taker = await ours("giver"), await ours("taker")
    peer = await taker.transport.connect(giver.addr)
    cids = [raw_cid(str(number).encode()) for number in range(50)]
    with trio.move_on_after(20) as scope:
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                scope.cancel()

            # DONT_HAVE answers at once; then there is nothing to cancel, so ask as one that gets no such answers.
            taker.bitswap._want(peer, [Want(cid) for cid in cids])
            while not giver.bitswap.ledgers.of(taker.transport.peer_id).waiting:  # noqa: ASYNC110
                await trio.sleep(0.01)
            taker.bitswap._want(peer, [Want(cid, cancel=True) for cid in cids])
            while giver.bitswap.ledgers.of(taker.transport.peer_id).waiting:  # noqa: ASYNC110
                await trio.sleep(0.01)
            nursery.start_soon(stop)
    assert giver.bitswap.ledgers.of(taker.transport.peer_id).wants == 0
    assert not any(peer.asks for peer in taker.bitswap._asker._peers.values())


async def test_a_block_that_nobody_asked_for_is_refused(ours):
    giver, taker = await ours("giver"), await ours("taker")
    block = b"unasked"
    peer = await giver.transport.connect(taker.addr)
    await giver.bitswap.send_blocks(peer, [(raw_cid(block), block)])
    with trio.fail_after(20):
        while not faults(taker, giver):  # noqa: ASYNC110
            await trio.sleep(0.02)
    assert faults(taker, giver) == {"bad-block": 1} and not taker.store.has(raw_cid(block))


async def test_what_is_unserved_is_said_and_counted(ours):
    giver, taker = await ours("giver"), await ours("taker")
    keep(giver, b"small")
    peer = await taker.transport.connect(giver.addr)
    cids = [raw_cid(b"small"), raw_cid(b"lacking")]
    with trio.fail_after(20):
        answer = await taker.bitswap.ask(peer, cids)
    assert answer.blocks == {cids[0]: b"small"} and answer.missing == {cids[1]} and answer.verified
    taker.bitswap._want(peer, [Want(b"\x12\x20" + bytes(32), send_dont_have=True)])
    with trio.fail_after(20):
        while not giver.bitswap.counters["refused-cid-v0"]:  # noqa: ASYNC110
            await trio.sleep(0.02)
    assert faults(giver, taker) == {}


async def test_bad_content_is_its_authors_fault(ours):
    giver, taker = await ours("giver"), await ours("taker")

    bad = b"no node"
    cid = cid_of(DAG_PB, bad)
    giver.store.put(cid, bad)
    with pytest.raises(RemoteFault, match="bad-dag-pb"):
        await fetch_all(taker, cid, giver)
    assert faults(taker, giver) == {} and not taker.store.has(cid), cid_text(cid)
