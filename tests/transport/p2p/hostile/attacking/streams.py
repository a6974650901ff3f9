"""Multistream on a stream, and the small protocols on one."""

import os
import re

import trio
from raw import DATA, FIN, IDENTIFY, MULTISTREAM, PING, RST, WINDOW, Cut, Key, Raw, prefixed, said, varint
from raw import field as pb

from attacking.stage import MIB, Stage, attack

for _name, _data in {
    "not UTF-8": b"\x04\xff\xfe\xfd\n",
    "not UTF-8, later": said(MULTISTREAM) + b"\x04\xff\xfe\xfd\n",
    "a length of 4 GB": said(MULTISTREAM) + b"\xff\xff\xff\xff\x0f" + b"x" * 10_000,
    "an endless varint": b"\xff" * 200,
    "no newline": said(MULTISTREAM) + b"\x05hello",
    "another protocol": said("/multistream/9.0.0"),
    "ls for ever": said(MULTISTREAM) + said("ls") * 2_000,
    "unknown protocols for ever": said(MULTISTREAM) + said("/nope/1.0.0") * 2_000,
}.items():

    @attack(f"stream: {_name}", "cut", "bad-multistream", batch="streams")
    async def on_a_stream(stage: Stage, data: bytes = _data) -> None:
        raw = await stage.peer()
        for _ in range(5):
            await raw.send(await raw.syn(), data)
        await trio.sleep(0.05)


@attack("stream: negotiations never ended", "cut", "slow-negotiation", repeats=3, timeout_s=40)
async def stalled_negotiations(stage: Stage) -> None:
    raw = await stage.peer()
    for _ in range(30):
        await raw.send(await raw.syn(), said(MULTISTREAM)[:7])
    await raw.until_cut(8)


@attack("identify: 1,000 times", "cut", "stream-flood")
async def identify_flood(stage: Stage) -> None:
    raw = await stage.peer()
    for _ in range(1_000):
        sid = await raw.syn()
        await raw.send(sid, said(MULTISTREAM) + said(IDENTIFY))
        if len(raw.inbound) > 20:
            await raw.frame(WINDOW, RST, min(raw.inbound), 0)
            del raw.inbound[min(raw.inbound)]
    await raw.until_cut()


@attack("identify: a push of rubbish", "limited")
async def identify_push(stage: Stage) -> None:
    raw = await stage.peer()
    for data in (os.urandom(5_000), varint(2**40), pb(1, b"\xff" * 3_000)):
        await raw.send(await raw.syn(), said(MULTISTREAM) + said("/ipfs/id/push/1.0.0") + prefixed(data))
    await trio.sleep(0.3)


async def _protocols(raw: Raw) -> list[str]:
    """What the victim says it speaks."""
    sid = await raw.syn()
    await raw.send(sid, said(MULTISTREAM) + said("ls"))
    await raw.until(lambda: b"/ipfs/ping/" in raw.inbound[sid])
    await trio.sleep(0.1)
    text = bytes(raw.inbound[sid]).decode("ascii", "replace")
    return sorted(set(re.findall(r"/[a-zA-Z0-9/._-]+", text)))


def _rubbish() -> list[bytes]:
    return [
        b"",
        b"\x00",
        b"\xff" * 500,
        varint(2**62),
        varint(50 * MIB) + b"x" * 70_000,
        prefixed(os.urandom(3_000)),
        prefixed(pb(1, 5) + pb(2, b"\xff" * 40) + pb(10, b"\xff" * 400)),
        prefixed(pb(8, os.urandom(38)) * 2_000),
        b"\x00\x00\x00\x7f" + os.urandom(127),
    ]


@attack("each protocol it speaks: rubbish, kad and relay too", "limited", timeout_s=60)
async def every_protocol(stage: Stage) -> None:
    first = await stage.peer(Key())

    async def one(protocol: str, data: bytes) -> None:
        try:
            raw = await stage.peer(Key(), source=f"127.0.8.{hash(protocol) % 200 + 1}")
            for _ in range(3):
                sid = await raw.syn()
                await raw.send(sid, said(MULTISTREAM) + said(protocol) + data)
                await raw.frame(DATA, FIN, sid, 0)
            await trio.sleep(0.3)
            await trio.aclose_forcefully(raw.stream)
        except (Cut, OSError):
            pass

    protocols = await _protocols(first)
    assert len(protocols) >= 4, protocols
    for protocol in protocols:
        async with trio.open_nursery() as nursery:
            for data in _rubbish():
                nursery.start_soon(one, protocol, data)


@attack("ping: a part of one, and silence", "limited")
async def partial_ping(stage: Stage) -> None:
    raw = await stage.peer()
    for _ in range(3):
        await raw.send(await raw.open(PING), b"x" * 7)
    await trio.sleep(0.3)
