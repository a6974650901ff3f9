"""A real kubo as the content store: each verb, through ipfshttpclient, and what it answers held against the bytes."""

import json
import os
import threading
from io import BytesIO

import pytest
import trio
from swarmd.node.content import kubo as kubo_module
from swarmd.node.content.kubo import KuboStore
from swarmd.node.content.pinning import PinStrategy, keep, trim
from swarmd.node.content.unixfs import import_bytes, import_file, read_file
from swarmd.protocol.cbor import Link, encode
from swarmd.protocol.cids import DAG_CBOR, RAW, cid_of, cid_text, parse_cid, raw_cid
from swarmd.protocol.faults import LocalFault, RemoteFault


@pytest.fixture
async def store(kubo):
    with KuboStore(kubo.api_addr, timeout_s=20) as made:
        yield made


async def call(function, *args, **kwargs):
    """As the daemon does: in a worker thread."""
    with trio.fail_after(60):
        return await trio.to_thread.run_sync(lambda: function(*args, **kwargs))


async def test_health(store, kubo):
    assert await call(store.version) == json.loads(await kubo.call("version", "--enc=json"))["Version"]
    assert (await call(store.peer_id)).startswith("12D3KooW")
    assert any("/tcp/" in addr for addr in await call(store.swarm_addrs))


async def test_blocks(store):
    blocks = [(cid_of(codec, data), data) for codec, data in ((RAW, b""), (RAW, b"a"), (DAG_CBOR, b"\xa0"))]
    for cid, block in blocks:
        assert not await call(store.has, cid) and await call(store.get, cid) is None
        assert await call(store.size_of, cid) is None
        await call(store.put, cid, block)
        await call(store.put, cid, block)
        assert await call(store.get, cid) == block
        assert await call(store.size_of, cid) == len(block)
    listed = set(await call(lambda: list(store.cids())))
    assert {cid_of(RAW, block) for _, block in blocks} <= listed, "kubo keeps blocks by hash, not by codec"
    assert await call(store.delete, blocks[1][0]) and not await call(store.delete, blocks[1][0])
    assert not await call(store.has, blocks[1][0])


async def test_bad_blocks_never_reach_kubo(store):
    with pytest.raises(RemoteFault, match="cid-mismatch"):
        await call(store.put, raw_cid(b"a"), b"b")
    with pytest.raises(RemoteFault, match="cid-mismatch"):
        await call(store.put_many, [(raw_cid(b"x"), b"x"), (raw_cid(b"a"), b"b")])
    assert await call(store.get, b"no cid") is None and not await call(store.has, b"")
    assert not await call(store.has, raw_cid(b"a"))


async def test_many_blocks_and_files(store, kubo):
    data = os.urandom(20_000_000)

    def put() -> bytes:
        with store.batch() as batch:
            return import_file(BytesIO(data), batch).cid

    cid = await call(put)
    assert await call(lambda: b"".join(read_file(cid, store.get))) == data
    assert await call(lambda: b"".join(store.cat(cid))) == data
    assert await kubo.call("cat", cid_text(cid)) == data
    other = os.urandom(600_000)
    expected = import_bytes(other, lambda cid, block: None).cid
    await call(store.add_file, BytesIO(other), expected)
    assert await kubo.call("cat", "--offline", cid_text(expected)) == other
    with pytest.raises(LocalFault, match="kubo-wrong-cid"):
        await call(store.add_file, BytesIO(other + b"!"), expected)
    small = [(raw_cid(bytes([i, j])), bytes([i, j])) for i in range(30) for j in range(100)]
    assert await call(store.put_many, small) == 3_000
    assert await call(store.get, small[77][0]) == small[77][1]


async def test_dag_nodes_are_read_by_kubo(store, kubo):
    leaf = encode({"n": 1})
    node = encode({"to": [Link(cid_of(DAG_CBOR, leaf))]})
    for block in (leaf, node):
        await call(store.put, cid_of(DAG_CBOR, block), block)
    text = cid_text(cid_of(DAG_CBOR, node))
    assert json.loads(await kubo.call("dag", "get", text)) == {
        "to": [{"/": cid_text(cid_of(DAG_CBOR, leaf))}]
    }
    assert json.loads(await kubo.call("dag", "get", f"{text}/to/0/n")) == 1
    added = await kubo.call("dag", "put", "--store-codec=dag-cbor", data=b'{"b":[2],"a":{"c":true}}')
    cid = parse_cid(added.decode().strip())
    assert await call(store.get, cid) == encode({"a": {"c": True}, "b": [2]})


async def test_pins_keep_and_let_go(store, kubo):
    def put(data: bytes) -> bytes:
        with store.batch() as batch:
            return import_bytes(data, batch).cid

    kept, loose = [await call(put, os.urandom(600_000)) for _ in range(2)]
    pin = await call(store.pin, kept, name="mine/and yours")
    await kubo.call("pin", "add", "--name=theirs", cid_text(await call(put, b"theirs")))
    assert await call(store.pins) == [pin] and pin.recursive and pin.name == "mine/and yours"
    assert await call(store.collect) >= 3
    assert await call(store.has, kept) and not await call(store.has, loose)
    assert (await call(store.usage)).pins == 1 and (await call(store.usage)).blocks >= 4
    with pytest.raises(LocalFault, match="content-missing"):
        await call(store.pin, loose)
    assert await call(store.unpin, kept) and not await call(store.unpin, kept)
    await call(store.collect)
    assert not await call(store.has, kept)


async def test_strategies_let_go_of_the_oldest(store):
    def put(data: bytes) -> bytes:
        with store.batch() as batch:
            return import_bytes(data, batch).cid

    async def kept(strategy: PinStrategy, cid: bytes, size: int, now_s: int) -> list[bytes]:
        return await call(keep, store, strategy, cid, size, now_s)

    by_hand = await call(put, b"by hand")
    await call(store.pin, by_hand, name="by hand")
    first, second = await call(put, b"1" * 600), await call(put, b"2" * 600)
    now_s = (await call(store.pins))[0].at_s
    assert await kept(PinStrategy("all"), first, 600, now_s) == []
    assert await kept(PinStrategy("size", max_bytes=500), second, 600, now_s) == [first]
    assert await kept(PinStrategy("recent", keep_s=60), second, 600, now_s) == []
    assert await call(trim, store, PinStrategy("recent", keep_s=60), now_s + 300) == [second]
    assert [pin.cid for pin in await call(store.pins)] == [by_hand]


async def test_threads_do_not_share_a_connection(store):
    blocks = [(raw_cid(str(i).encode()), str(i).encode()) for i in range(40)]
    seen = set()

    def put(cid: bytes, block: bytes) -> None:
        store.put(cid, block)
        assert store.get(cid) == block
        seen.add(threading.get_ident())

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for cid, block in blocks:
                nursery.start_soon(trio.to_thread.run_sync, put, cid, block)
    assert len(seen) > 1


async def test_what_kubo_says_is_not_believed(store, monkeypatch):
    """A kubo that lies, or is of another kind than its answers say."""
    cid = raw_cid(b"true")
    await call(store.put, cid, b"true")
    with monkeypatch.context() as patch:
        patch.setattr(kubo_module.KuboStore, "_call", lambda self, ask: b"lies")
        assert store.get(cid) is None
    assert not store.has(cid)
    with monkeypatch.context() as patch:
        patch.setattr(kubo_module.KuboStore, "_call", lambda self, ask: {"Key": cid_text(raw_cid(b"x"))})
        with pytest.raises(LocalFault, match="kubo-wrong-cid"):
            store.put(cid, b"true")
        patch.setattr(kubo_module.KuboStore, "_call", lambda self, ask: [])
        with pytest.raises(LocalFault, match="kubo-wrong-cid"):
            store.put_many([(cid, b"true")])
        patch.setattr(kubo_module.KuboStore, "_call", lambda self, ask: {"Version": "0.4.23"})
        with pytest.raises(LocalFault, match="kubo-too-old"):
            store.version()
    await call(store.put, cid, b"true")
    assert await call(store.get, cid) == b"true"


async def test_a_kubo_that_is_gone_is_said_with_the_fix(store, kubo):
    kubo.kill()
    for verb in (store.version, store.pins, store.usage, lambda: store.get(raw_cid(b"x"))):
        with pytest.raises(LocalFault, match="kubo-gone") as caught:
            await call(verb)
        assert "kubo_addr" in caught.value.fix
    await kubo.start()
    with KuboStore(kubo.api_addr) as again:
        assert await call(again.version)


def test_an_address_that_is_none_is_refused():
    for addr in ("", "nonsense", "/ip4/127.0.0.1", "/ip4/300.0.0.1/tcp/5001"):
        with KuboStore(addr) as store, pytest.raises(LocalFault, match="bad-kubo-addr|kubo-gone"):
            store.version()
