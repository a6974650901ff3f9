"""Requests and pings of ours."""

import struct

import trio
from raw import RST, SYN, WINDOW

from attacking.stage import MIB, Stage, attack


def sync(kind: int, number: int, body: bytes = b"") -> bytes:
    head = b"\x83" + bytes((kind,)) + b"\x1a" + struct.pack(">I", number)
    head += b"\x5a" + struct.pack(">I", len(body)) + body
    return struct.pack(">I", len(head)) + head


for _name, _data, _codes in (
    ("a message of 4 GB", b"\xff\xff\xff\xff", ("message-too-big",)),
    ("an empty message", b"\x00\x00\x00\x00", ("bad-message",)),
    ("rubbish", b"\x00\x00\x00\x05hello", ("bad-message",)),
    ("nested arrays", b"\x00\x00\x10\x00" + b"\x81" * 4_096, ("bad-message",)),
    ("an answer nobody asked for", sync(1, 1), ("bad-message",)),
    ("a pong nobody asked for", sync(4, 1), ("bad-message",)),
    (
        "another body than its length says",
        struct.pack(">I", 9) + b"\x83\x00\x01\x5a\xff\xff\xff\xff\x00",
        ("bad-message",),
    ),
):

    @attack(f"requests: {_name}", "cut", *_codes, batch="messages")
    async def request(stage: Stage, data: bytes = _data) -> None:
        raw = await stage.peer()
        await raw.send(await raw.open(raw.sync), data)
        await raw.until_cut(0.5)


for _name, _body, _codes in (
    ("CBOR that is none", b"\xff" * 50, ("bad-cbor",)),
    ("CBOR nested 50,000 deep", b"\x81" * 50_000, ("bad-cbor",)),
    ("a list", b"\x80", ("bad-request",)),
    ("an unknown kind", b"\xa1\x61t\x64nope", ("bad-sync",)),
    ("no roots", b"\xa1\x61t\x65roots", ("bad-payload", "bad-sync")),
    ("wants of rubbish", b"\xa2\x61t\x67batches\x64want\x81\x01", ("bad-payload", "bad-sync")),
    ("a hello with rubbish for a manifest", b"\xa2\x61t\x65hello\x68manifest\x43\xff\xff\xff", ("bad-cbor",)),
):

    @attack(f"requests: {_name}", "cut", *_codes, batch="requests")
    async def asked(stage: Stage, body: bytes = _body) -> None:
        raw = await stage.peer()
        sid = await raw.open(raw.sync)
        for number in range(8):
            await raw.send(sid, sync(0, number, body))
        await raw.until_cut(1.0)


@attack("requests: 30,000, and no answer read", "cut", "too-many-requests", repeats=3, timeout_s=60)
async def request_flood(stage: Stage) -> None:
    raw = await stage.peer()
    sid = await raw.open(raw.sync)
    roots = b"\xa2\x61t\x65roots\x65roots\x99\x01\x00" + (b"\x58\x20" + bytes(32)) * 256
    raw.answers = True
    with trio.move_on_after(15):
        for number in range(0, 3_000, 5):
            await raw.send(sid, b"".join(sync(0, number + i, roots) for i in range(5)))
    await raw.until_cut(2)


@attack("requests: 100,000 pings", "limited", timeout_s=60)
async def ping_flood(stage: Stage) -> None:
    raw = await stage.peer()
    sid = await raw.open(raw.sync)
    with trio.move_on_after(6):
        for _ in range(100):
            await raw.send(sid, sync(3, 1) * 1_000)


@attack("requests: a body never ended, on 8 streams", "limited")
async def slow_bodies(stage: Stage) -> None:
    raw = await stage.peer()
    for _ in range(8):
        sid = await raw.open(raw.sync)
        await raw.send(sid, struct.pack(">I", 8 * MIB) + bytes(900_000))
    await trio.sleep(0.5)


@attack("requests: resets each stream the victim opens", "limited")
async def resets(stage: Stage) -> None:
    raw = await stage.peer(answers=False)
    with trio.move_on_after(4):
        done = 0
        while True:
            await raw.heard.wait()
            for kind, flags, sid, _ in raw.frames[done:]:
                if kind == WINDOW and flags & SYN:
                    await raw.frame(WINDOW, RST, sid, 0)
            done = len(raw.frames)
    opened = sum(kind == WINDOW and bool(flags & SYN) for kind, flags, *_ in raw.frames)
    assert opened < 100, f"the victim opened {opened} streams in 4 s"


@attack("requests: never answers a ping", "refused", timeout_s=45)
async def silent(stage: Stage) -> None:
    raw = await stage.peer(answers=False)
    await raw.until_cut(40)
