"""The attacks, and a process that runs them: `attacks.py ADDR MESH`, a name per line on stdin, JSON per line back.

Each attack has a fresh key. What must become of the attacker:

- "cut": it is charged with one of `codes` and, as it insists, denied: its next connection is refused;
- "refused": it has no name yet; its connection is closed;
- "limited": what it does is legal, so nothing is held against it, but there is a bound to it.
"""

import json
import os
import re
import struct
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio
from raw import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER,
    IDENTIFY,
    MESHSUB,
    MULTISTREAM,
    PING,
    RST,
    SYN,
    WINDOW,
    YPING,
    Cut,
    Key,
    Raw,
    prefixed,
    said,
    varint,
)
from raw import field as pb

MIB = 1 << 20
Run = Callable[["Stage"], Awaitable[None]]


@dataclass
class Stage:
    """What an attack has to work with: the victim's address, a key, and connections that are closed after it."""

    addr: str
    mesh: str
    nursery: trio.Nursery
    key: Key = field(default_factory=Key)
    opened: list[Raw] = field(default_factory=list)
    captured: list[bytes] = field(default_factory=list)  # RPCs the victim sent to an earlier connection

    async def tcp(self, key: Key | None = None, source: str | None = None) -> Raw:
        raw = await Raw(self.addr, self.mesh, key or self.key).tcp(source)
        self.opened.append(raw)
        return raw

    async def noised(self, **wrong) -> Raw:
        return await (await self.tcp()).noised(**wrong)

    async def peer(self, key: Key | None = None, *, answers: bool = True, source: str | None = None) -> Raw:
        raw = await self.tcp(key, source)
        raw.answers = answers
        await raw.noised()
        return await raw.muxed(self.nursery)

    async def gossip(self) -> tuple[Raw, int]:
        raw = await self.peer()
        return raw, await raw.open(MESHSUB)


@dataclass(frozen=True)
class Attack:
    name: str
    run: Run
    ends: str  # "cut" | "refused" | "limited"
    codes: tuple[str, ...] = ()
    repeats: int = 1
    timeout_s: float = 30.0
    batch: str = ""  # attacks of one batch run at the same time


TABLE: dict[str, Attack] = {}


def attack(
    name: str, ends: str, *codes: str, repeats: int = 0, timeout_s: float = 30.0, batch: str = ""
) -> Callable[[Run], Run]:
    """Add to the table. Who only waits to be closed waits together with the others."""

    def add(run: Run) -> Run:
        count = repeats or (12 if ends == "cut" else 1)
        together = batch or ("waiting" if ends == "refused" else "")
        TABLE[name] = Attack(name, run, ends, codes, count, timeout_s, together)
        return run

    return add


# Before the handshake ------------------------------------------------------------------------------------

for _name, _data in {
    "multistream: not UTF-8": b"\x04\xff\xfe\xfd\n",
    "multistream: a length of 4 GB": b"\xff\xff\xff\xff\x0f" + b"x" * 10_000,
    "multistream: an endless varint": b"\xff" * 4_096,
    "multistream: HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "multistream: a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "multistream: ls for ever": said(MULTISTREAM) + said("ls") * 3_000,
    "multistream: unknown protocols for ever": said(MULTISTREAM) + said("/nope/1.0.0") * 3_000,
    "multistream: plaintext": said(MULTISTREAM) + said("/plaintext/2.0.0") * 40,
    "multistream: an empty message": said(MULTISTREAM) + b"\x00" * 100,
    "noise: an empty first message": said(MULTISTREAM) + said("/noise") + b"\x00\x00",
    "noise: 64 KiB of nothing first": said(MULTISTREAM) + said("/noise") + b"\xff\xff" + bytes(65_535),
    "noise: a short key": said(MULTISTREAM) + said("/noise") + b"\x00\x10" + bytes(16),
    "noise: a key of low order, then rubbish": said(MULTISTREAM)
    + said("/noise")
    + b"\x00\x20"
    + bytes(32)
    + b"\x01\x00"
    + os.urandom(256),
}.items():

    @attack(_name, "refused")
    async def before(stage: Stage, data: bytes = _data) -> None:
        raw = await stage.tcp()
        await raw.stream.send_all(data)
        while await raw.stream.receive_some(65_536):
            pass  # until the victim closes
        raw.closed.set()


@attack("tcp: 500 connections closed at once", "limited")
async def closed_at_once(stage: Stage) -> None:
    for number in range(500):
        raw = await Raw(stage.addr, stage.mesh, stage.key).tcp(f"127.0.1.{number % 200 + 1}")
        if number % 2:  # an abort: RST
            raw.stream.setsockopt(1, 13, struct.pack("ii", 1, 0))
        await raw.aclose()


@attack("tcp: 120 half-open connections", "limited")
async def half_open(stage: Stage) -> None:
    for number in range(120):
        await stage.tcp(source=f"127.0.2.{number % 4 + 1}")
    await trio.sleep(1)


@attack("slowloris: a byte at a time", "refused")
async def slowloris(stage: Stage) -> None:
    raw = await stage.tcp()
    for byte in (said(MULTISTREAM) + said("/noise") + bytes(200)) * 4:
        await trio.sleep(0.2)
        await raw.stream.send_all(bytes((byte,)))


@attack("slowloris: a noise handshake never ended", "refused")
async def stalled_handshake(stage: Stage) -> None:
    raw = await stage.tcp()
    await raw.stream.send_all(said(MULTISTREAM) + said("/noise") + b"\x00\x20" + os.urandom(20))
    while await raw.stream.receive_some(65_536):
        pass
    raw.closed.set()


# Noise ---------------------------------------------------------------------------------------------------


async def _closed(raw: Raw) -> None:
    while True:
        await raw._noise_in()


def _identity(kind: str, stage: Stage) -> bytes:
    other = Key()
    return {
        "an empty payload": b"",
        "a payload of rubbish": os.urandom(300),
        "a payload of 60 KB": pb(1, stage.key.protobuf) + pb(2, bytes(60_000)),
        "no signature": pb(1, stage.key.protobuf),
        "a wrong signature": pb(1, stage.key.protobuf) + pb(2, bytes(64)),
        "a stolen identity": pb(1, other.protobuf) + pb(2, stage.key.sign(b"noise-libp2p-static-key:x")),
        "a key of an unknown type": pb(1, pb(1, 9) + pb(2, bytes(32))) + pb(2, bytes(64)),
        "an RSA key of rubbish": pb(1, pb(1, 0) + pb(2, os.urandom(300))) + pb(2, bytes(256)),
        "a secp256k1 key off the curve": pb(1, pb(1, 2) + pb(2, b"\x02" + b"\xff" * 32)) + pb(2, bytes(70)),
    }[kind]


for _name in (
    "an empty payload",
    "a payload of rubbish",
    "a payload of 60 KB",
    "no signature",
    "a wrong signature",
    "a stolen identity",
    "a key of an unknown type",
    "an RSA key of rubbish",
    "a secp256k1 key off the curve",
):

    @attack(f"noise: {_name}", "refused")
    async def identity(stage: Stage, kind: str = _name) -> None:
        raw = await stage.tcp()
        await raw.noised(payload=_identity(kind, stage))
        await _closed(raw)


@attack("noise: ciphertext that is none", "cut", "bad-noise")
async def bad_ciphertext(stage: Stage) -> None:
    raw = await stage.peer()
    await raw._noise_out(os.urandom(500))
    await raw.until_cut()


@attack("noise: its own message once more", "cut", "bad-noise")
async def noise_replay(stage: Stage) -> None:
    raw = await stage.peer(answers=False)
    message = raw.noise.encrypt(HEADER.pack(0, YPING, SYN, 0, 1))
    await raw._noise_out(message)
    await raw._noise_out(message)
    await raw.until_cut()


@attack("noise: an empty message", "cut", "bad-noise")
async def noise_empty(stage: Stage) -> None:
    raw = await stage.peer()
    await raw._noise_out(b"")
    await raw.until_cut()


@attack("noise: a recorded session once more", "refused")
async def session_replay(stage: Stage) -> None:
    raw = await stage.tcp()
    sent = bytearray()
    send_all = raw.stream.send_all

    async def record(data: bytes) -> None:
        sent.extend(data)
        await send_all(data)

    raw.stream.send_all = record  # type: ignore[method-assign]
    await raw.noised()
    await raw.muxed(stage.nursery)
    await raw.open(MESHSUB)
    again = await stage.tcp()
    await again.stream.send_all(bytes(sent))
    while await again.stream.receive_some(65_536):
        pass
    again.closed.set()


for _name, _data in {
    "muxer: only mplex": said(MULTISTREAM) + said("/mplex/6.7.0") * 40,
    "muxer: rubbish": os.urandom(5_000),
    "muxer: an endless varint": b"\xff" * 2_000,
}.items():

    @attack(_name, "refused")
    async def muxer(stage: Stage, data: bytes = _data) -> None:
        raw = await stage.noised()
        await raw.plain(data)
        await _closed(raw)


@attack("muxer: never agreed on", "refused")
async def no_muxer(stage: Stage) -> None:
    await _closed(await stage.noised())


# Yamux ---------------------------------------------------------------------------------------------------

for _name, _frames, _code in (
    ("a wrong version", HEADER.pack(9, 0, 0, 1, 0), "bad-yamux-frame"),
    ("a wrong type", HEADER.pack(0, 9, 0, 1, 0), "bad-yamux-frame"),
    ("a stream id that is not its to give", HEADER.pack(0, WINDOW, SYN, 2, 0), "bad-stream-id"),
    ("stream 0", HEADER.pack(0, WINDOW, SYN, 0, 0), "bad-stream-id"),
    ("a stream twice", HEADER.pack(0, WINDOW, SYN, 1, 0) * 2, "bad-stream-id"),
    ("a window of 4 GB", HEADER.pack(0, WINDOW, SYN, 1, 2**32 - 1), "window-overflow"),
    (
        "a window grown to 4 GB",
        HEADER.pack(0, WINDOW, SYN, 1, 0) + HEADER.pack(0, WINDOW, 0, 1, 1 << 30) * 4,
        "window-overflow",
    ),
    (
        "a frame of 4 GB",
        HEADER.pack(0, WINDOW, SYN, 1, 0) + HEADER.pack(0, DATA, 0, 1, 2**32 - 1) + bytes(9_000),
        "flow-control",
    ),
    (
        "a frame beyond the window",
        HEADER.pack(0, WINDOW, SYN, 1, 0) + HEADER.pack(0, DATA, 0, 1, MIB + 1) + bytes(9_000),
        "flow-control",
    ),
):

    @attack(f"yamux: {_name}", "cut", _code, batch="yamux")
    async def yamux(stage: Stage, frames: bytes = _frames) -> None:
        raw = await stage.peer()
        await raw.plain(frames)
        await raw.until_cut()


@attack("yamux: data without regard to windows", "cut", "flow-control")
async def no_windows(stage: Stage) -> None:
    raw = await stage.peer(answers=False)
    sid = await raw.syn()
    await raw.send(sid, said(MULTISTREAM) + said(PING))
    for _ in range(600):  # 39 MB where 1 MiB may be on its way
        await raw.send(sid, bytes(65_000), rude=True)
    await raw.until_cut()


async def _flood(stage: Stage, frames: bytes, seconds: float = 12.0) -> None:
    """The same frames as fast as they are taken, reading everything that comes back."""
    raw = await stage.peer()
    block = frames * max(1, 60_000 // len(frames))
    with trio.move_on_after(seconds):
        while not raw.closed.is_set():
            await raw.plain(block)
            await trio.lowlevel.checkpoint()


for _name, _frames in {
    "pings": HEADER.pack(0, YPING, SYN, 0, 7),
    "pongs": HEADER.pack(0, YPING, ACK, 0, 7),
    "window updates of no stream": HEADER.pack(0, WINDOW, 0, 77, 1),
    "resets of no stream": HEADER.pack(0, WINDOW, RST, 77, 0),
    "empty data": HEADER.pack(0, DATA, 0, 77, 0),
    "data of a byte": HEADER.pack(0, DATA, 0, 77, 1) + b"x",
    "odd flags": HEADER.pack(0, DATA, FIN | RST | ACK | 64, 77, 0),
}.items():

    @attack(
        f"yamux: a flood of {_name}",
        "cut",
        "frame-flood",
        "reads-nothing",
        repeats=4,
        timeout_s=60,
        batch="floods",
    )
    async def flood(stage: Stage, frames: bytes = _frames) -> None:
        await _flood(stage, frames)


@attack(
    "yamux: pings, and nothing read",
    "cut",
    "frame-flood",
    "reads-nothing",
    repeats=4,
    timeout_s=60,
    batch="floods",
)
async def deaf(stage: Stage) -> None:
    raw = await stage.tcp()
    await raw.noised()
    await raw.plain(said(MULTISTREAM) + said("/yamux/1.0.0"))
    with trio.move_on_after(12):
        while True:
            await raw.plain(HEADER.pack(0, YPING, SYN, 0, 7) * 5_000)


@attack("yamux: 10,000 streams left open", "cut", "stream-flood")
async def idle_streams(stage: Stage) -> None:
    raw = await stage.peer(answers=False)
    for first in range(1, 20_001, 2_000):
        await raw.plain(
            b"".join(HEADER.pack(0, WINDOW, SYN, sid, 0) for sid in range(first, first + 2_000, 2))
        )
    await raw.until_cut()


@attack("yamux: 10,000 streams opened and reset", "cut", "stream-flood")
async def rapid_reset(stage: Stage) -> None:
    raw = await stage.peer(answers=False)
    for first in range(1, 20_001, 2_000):
        await raw.plain(
            b"".join(
                HEADER.pack(0, WINDOW, SYN, sid, 0) + HEADER.pack(0, WINDOW, RST, sid, 0)
                for sid in range(first, first + 2_000, 2)
            )
        )
    await raw.until_cut()


@attack("yamux: half a header, and silence", "limited")
async def half_header(stage: Stage) -> None:
    raw = await stage.peer(answers=False)  # another frame would be taken for the rest of it
    await raw.plain(HEADER.pack(0, DATA, 0, 1, 100)[:5])
    await trio.sleep(0.5)


@attack("yamux: goes away, and goes on", "limited")
async def gone_away(stage: Stage) -> None:
    raw = await stage.peer()
    await raw.plain(HEADER.pack(0, GO_AWAY, 0, 0, 0) + HEADER.pack(0, WINDOW, SYN, 1, 0) * 50)
    await raw.until_cut()


# Multistream on a stream, and the protocols on it --------------------------------------------------------

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


# Gossip --------------------------------------------------------------------------------------------------


def rpc(*fields: bytes) -> bytes:
    return prefixed(b"".join(fields))


def subscribe(topic: bytes) -> bytes:
    return pb(1, pb(1, 1) + pb(2, topic))


def control(*entries: bytes) -> bytes:
    return pb(3, b"".join(entries))


def message(raw: Raw, body: bytes, **wrong: bytes | None) -> bytes:
    """A signed pubsub message in an RPC; `wrong` replaces fields after signing, None leaves one out."""
    key = raw.key
    parts: dict[str, bytes | None] = {
        "author": key.raw_id,
        "data": body,
        "seqno": os.urandom(8),
        "topic": raw.topic.encode(),
    }
    numbers = {"author": 1, "data": 2, "seqno": 3, "topic": 4, "signature": 5, "key": 6}
    signed = b"".join(pb(numbers[name], value or b"") for name, value in parts.items())
    parts["signature"] = key.sign(b"libp2p-pubsub:" + signed)
    parts["key"] = key.protobuf
    parts.update(wrong)
    return rpc(pb(2, b"".join(pb(numbers[n], v) for n, v in parts.items() if v is not None)))


_TOPIC = b"TOPIC"
_NESTED = b"\x0b" * 30_000 + b"\x0c" * 30_000  # groups in groups of an unknown field
for _name, _data, _codes in (
    ("rubbish", prefixed(b"\xff" * 50), ("bad-protobuf",)),
    ("groups nested 30,000 deep", prefixed(_NESTED), ("bad-protobuf",)),
    ("a varint without end", b"\xff" * 11, ("bad-varint",)),
    ("a frame of 50 MB", varint(50 * MIB) + b"x" * 1_000, ("frame-too-big",)),
    ("6,000 subscriptions", rpc(*(subscribe(b"%d" % i) for i in range(6_000))), ("subscription-flood",)),
    ("6,000 grafts", rpc(control(*(pb(3, pb(1, b"%d" % i)) for i in range(6_000)))), ("control-flood",)),
    ("6,000 prunes", rpc(control(*(pb(4, pb(1, b"%d" % i)) for i in range(6_000)))), ("control-flood",)),
    (
        "320,000 ids it has",
        rpc(control(*(pb(1, pb(1, _TOPIC) + pb(2, b"i" * 20) * 1_000) for _ in range(64)))),
        ("control-flood",),
    ),
    (
        "80,000 ids it wants",
        rpc(control(*(pb(2, pb(1, b"w" * 20) * 4_000) for _ in range(20)))),
        ("control-flood",),
    ),
    ("5,000 empty messages", rpc(*(pb(2, b"") for _ in range(5_000))), ("publish-flood",)),
):

    @attack(f"gossip: {_name}", "cut", *_codes, batch="gossip")
    async def pubsub(stage: Stage, data: bytes = _data) -> None:
        raw, sid = await stage.gossip()
        # Lengths stay right: the topic's name is as long as the place kept for it, or longer data is made anew.
        if _TOPIC in data:
            data = rpc(
                control(*(pb(1, pb(1, raw.topic.encode()) + pb(2, b"i" * 20) * 1_000) for _ in range(64)))
            )
        await raw.send(sid, data)
        await raw.until_cut(0.5)


for _name, _data in {
    "a topic that is not UTF-8": rpc(subscribe(b"\xff\xfe\xfd")),
    "a sender's record of rubbish": rpc(pb(4, b"\xff" * 3_000)),
    "an empty RPC": rpc() * 500,
    "a prune with peers to dial": rpc(
        control(pb(4, pb(1, b"t") + pb(2, pb(1, b"\xff") + pb(2, b"\xff" * 90)) * 20 + pb(3, 2**63)))
    ),
}.items():

    @attack(f"gossip: {_name}", "limited", batch="gossip")
    async def odd(stage: Stage, data: bytes = _data) -> None:
        raw, sid = await stage.gossip()
        await raw.send(sid, data)
        await trio.sleep(0.1)


for _name, _wrong in {
    "an author without a key, and a garbage key": {"author": b"\x12\x20" + bytes(32), "key": b"garbage"},
    "no author": {"author": b""},
    "an author of 1,000 bytes": {"author": b"\xff" * 1_000},
    "no signature": {"signature": None},
    "a wrong signature": {"signature": b"\xff" * 64},
    "no sequence number": {"seqno": None},
    "a sequence number of 100 bytes": {"seqno": b"\xff" * 100},
    "other data than was signed": {"data": b"x" * 60},
}.items():

    @attack(f"gossip: a message with {_name}", "cut", "bad-gossip-signature", batch="forged")
    async def forged(stage: Stage, wrong: dict[str, bytes | None] = _wrong) -> None:
        raw, sid = await stage.gossip()
        await raw.send(sid, message(raw, b"x", **wrong))
        await raw.until_cut(0.3)


@attack("gossip: messages in another's name", "cut", "bad-gossip-signature")
async def impostor(stage: Stage) -> None:
    raw, sid = await stage.gossip()
    await raw.send(sid, message(raw, b"x", author=Key().raw_id))
    await raw.until_cut(0.3)


@attack("gossip: well-signed rubbish", "cut", "bad-cbor", "unknown-frame")
async def rubbish_frames(stage: Stage) -> None:
    raw, sid = await stage.gossip()
    for number in range(40):
        await raw.send(sid, message(raw, os.urandom(20) if number % 2 else b"\x81\x18\x63"))
    await raw.until_cut(0.5)


@attack("gossip: another topic 3,000 times", "cut", "other-topic", repeats=4)
async def other_topic(stage: Stage) -> None:
    raw, sid = await stage.gossip()
    for _ in range(3_000):
        await raw.send(sid, message(raw, b"x", topic=b"/another"))
    await raw.until_cut(0.5)


@attack("gossip: what it heard, 60,000 times", "cut", "duplicate-flood", repeats=4, timeout_s=60)
async def replayed(stage: Stage) -> None:
    raw = await stage.peer()
    heard: list[bytes] = []

    def listen(sid: int, buffer: bytes) -> None:
        if b"/flush/1" in buffer and len(buffer) > 400:
            heard.append(buffer)

    raw.on_stream = listen
    sid = await raw.open(MESHSUB)
    await raw.send(sid, rpc(subscribe(raw.topic.encode()), control(pb(3, pb(1, raw.topic.encode())))))
    await raw.until(lambda: bool(heard), 10)
    frames = _whole(heard[-1])
    block = b"".join(frames)
    block *= max(1, 60_000 // max(1, len(block)))
    for _ in range(500):  # 30 MB
        await raw.send(sid, block)
    await raw.until_cut(1)


def _whole(buffer: bytes) -> list[bytes]:
    """The whole RPCs with messages at the beginning of `buffer`."""
    found, at = [], 0
    while at < len(buffer):
        size = shift = 0
        start = at
        while at < len(buffer):
            byte = buffer[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if at + size > len(buffer):
            break
        if buffer[at : at + 1] == b"\x12":
            found.append(buffer[start : at + size])
        at += size
    return found


@attack("gossip: grafts and prunes by turns", "cut", "control-flood", repeats=4)
async def flapping(stage: Stage) -> None:
    raw, sid = await stage.gossip()
    topic = raw.topic.encode()
    await raw.send(sid, rpc(subscribe(topic)))
    turn = rpc(control(pb(3, pb(1, topic)))) + rpc(control(pb(4, pb(1, topic) + pb(3, 1))))
    for _ in range(20):
        await raw.send(sid, turn * 500)
    await raw.until_cut(1)


@attack("gossip: half an RPC, and silence", "limited")
async def half_rpc(stage: Stage) -> None:
    raw = await stage.peer()
    for _ in range(10):
        await raw.send(await raw.open(MESHSUB), varint(2 * MIB) + bytes(200_000))
    await trio.sleep(0.5)


@attack("gossip: 30 streams at once", "limited")
async def many_gossip_streams(stage: Stage) -> None:
    raw = await stage.peer()
    for _ in range(30):
        await raw.send(await raw.open(MESHSUB), rpc(subscribe(raw.topic.encode())))
    await trio.sleep(0.3)


@attack("gossip: subscribes and reads nothing", "limited")
async def deaf_subscriber(stage: Stage) -> None:
    raw = await stage.peer()
    sid = await raw.open(MESHSUB)
    await raw.send(sid, rpc(subscribe(raw.topic.encode()), control(pb(3, pb(1, raw.topic.encode())))))
    raw.answers = False
    await trio.sleep(2)


# Bitswap -------------------------------------------------------------------------------------------------

BITSWAP = "/ipfs/bitswap/1.2.0"
_CID = b"\x01\x55\x12\x20"


def wants(*cids: bytes, cancel: bool = False, tail: bytes = b"") -> bytes:
    """A message with a wantlist."""
    more = (pb(3, 1) if cancel else b"") + tail
    return prefixed(pb(1, b"".join(pb(1, pb(1, cid) + more) for cid in cids)))


def block(prefix: bytes, data: bytes) -> bytes:
    return prefixed(pb(3, pb(1, prefix) + pb(2, data)))


def some_cids(count: int, prefix: bytes = _CID) -> list[bytes]:
    return [prefix + os.urandom(32) for _ in range(count)]


for _name, _data, _codes in (
    ("rubbish", prefixed(b"\xff" * 50), ("bad-protobuf",)),
    ("a truncated message", prefixed(wants(_CID + bytes(32))[1:-9]), ("bad-protobuf",)),
    ("groups nested 30,000 deep", prefixed(_NESTED), ("bad-protobuf",)),
    ("a length of gigabytes", b"\xff\xff\xff\xff\x7f", ("message-too-big",)),
    ("a length without end", b"\x80" * 64, ("message-too-big",)),
    ("a message of 5 MB", varint(5 * MIB) + b"x" * 1_000, ("message-too-big",)),
    ("90,000 wants", wants(*[_CID + i.to_bytes(32, "big") for i in range(90_000)]), ("wantlist-too-big",)),
    ("a want of no CID", wants(b"none"), ("bad-want",)),
    ("a want of nothing", wants(b""), ("bad-want",)),
    ("a want of an identity CID", wants(b"\x01\x55\x00\x05hello"), ("bad-want",)),
    ("a want of an identity CID of 200 bytes", wants(b"\x01\x55\x00\xc8\x01" + bytes(200)), ("bad-want",)),
    ("a want of a digest of 200 bytes", wants(b"\x01\x55\x13\xc8\x01" + bytes(200)), ("bad-want",)),
    ("a want with endless numbers", wants(b"\xff" * 100), ("bad-want",)),
    ("a CIDv0 that is too long", wants(b"\x12\x20" + bytes(40)), ("bad-want",)),
    ("a block that nobody asked for", block(_CID, b"unasked"), ("bad-block",)),
    ("a bare block that nobody asked for", prefixed(pb(2, b"unasked")), ("bad-block",)),
    ("a block of an unknown hash", block(b"\x01\x55\x99\x20", b"x"), ("bad-block-prefix",)),
    ("a block of an identity hash", block(b"\x01\x55\x00\x20", b"x" * 32), ("bad-block-prefix",)),
    ("a block without a prefix", block(b"", b"x"), ("bad-block-prefix",)),
    ("a block of 2 MB", block(_CID, bytes(2 * MIB)), ("block-too-big",)),
    ("10,000 empty blocks", prefixed(pb(3, pb(1, _CID) + pb(2, b"")) * 10_000), ("too-many-blocks",)),
):

    @attack(f"bitswap: {_name}", "cut", *_codes, batch="bitswap")
    async def bitswap(stage: Stage, data: bytes = _data) -> None:
        raw = await stage.peer()
        sid = await raw.open(BITSWAP)
        await raw.send(sid, data)
        await raw.until_cut(0.5)


for _name, _data in {
    "an empty message, 1,000 times": prefixed(b"") * 1_000,
    "wants of codecs and hashes it has not": wants(
        *some_cids(100, b"\x01\xb2\x25\x12\x20"), *some_cids(100, b"\x01\x55\xb2\x40\x20"),
        *some_cids(100, b"\x12\x20"), tail=pb(5, 1),
    ),
    "16,000 wants of what it lacks": wants(*some_cids(16_000), tail=pb(5, 1)),
    "presences of what nobody asked for": prefixed(
        b"".join(pb(4, pb(1, cid) + pb(2, i % 3)) for i, cid in enumerate(some_cids(3_000)))
    ),
    "half a message": wants(*some_cids(10))[:-5],
}.items():  # fmt: skip

    @attack(f"bitswap: {_name}", "limited", batch="bitswap")
    async def odd_bitswap(stage: Stage, data: bytes = _data) -> None:
        raw = await stage.peer()
        await raw.send(await raw.open(BITSWAP), data)
        await trio.sleep(0.3)


@attack("bitswap: cancels without end", "cut", "cancel-flood", repeats=4, timeout_s=60)
async def cancels(stage: Stage) -> None:
    raw = await stage.peer()
    sid = await raw.open(BITSWAP)
    for _ in range(12):
        await raw.send(sid, wants(*some_cids(6_000), cancel=True))
    await raw.until_cut(5.0)


@attack("bitswap: wants of what is no mesh's, without end", "cut", "foreign-wants", repeats=4, timeout_s=60)
async def foreign_wants(stage: Stage) -> None:
    raw = await stage.peer()
    sid = await raw.open(BITSWAP)
    for _ in range(12):
        await raw.send(sid, wants(*some_cids(6_000, b"\x12\x20")))
    await raw.until_cut(5.0)


@attack("bitswap: the whole wantlist anew, 200 times", "limited", timeout_s=60)
async def full_wantlists(stage: Stage) -> None:
    raw = await stage.peer()
    sid = await raw.open(BITSWAP)
    for _ in range(200):
        entries = b"".join(pb(1, pb(1, cid)) for cid in some_cids(100))
        await raw.send(sid, prefixed(pb(1, entries + pb(2, 1))))
    await trio.sleep(0.3)


@attack("bitswap: 24 streams, each with half a message", "limited")
async def many_bitswap_streams(stage: Stage) -> None:
    raw = await stage.peer()
    for _ in range(24):
        sid = await raw.syn()
        await raw.send(sid, said(MULTISTREAM) + said(BITSWAP) + wants(*some_cids(500))[:-9])
    await trio.sleep(0.5)


# Requests ------------------------------------------------------------------------------------------------


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


# Many ----------------------------------------------------------------------------------------------------


@attack("churn: 2,000 connections with fresh keys", "limited", timeout_s=120)
async def churn(stage: Stage) -> None:
    limit = trio.CapacityLimiter(8)
    done = 0

    async def one(number: int) -> None:
        nonlocal done
        async with limit:
            raw = Raw(stage.addr, stage.mesh)
            try:
                with trio.move_on_after(10):
                    await raw.tcp(f"127.0.3.{number % 250 + 1}")
                    await raw.noised()
                    await raw.plain(said(MULTISTREAM) + said("/yamux/1.0.0"))
                    await raw._noise_in()
                    done += 1
            except (Cut, OSError):
                pass
            finally:
                with trio.CancelScope(shield=True):
                    if hasattr(raw, "stream"):
                        await raw.aclose()

    async with trio.open_nursery() as nursery:
        for number in range(2_000):
            nursery.start_soon(one, number)
    assert done >= 1_900, f"{done} of 2,000"


@attack("churn: 1,000 connections from one address", "limited", timeout_s=120)
async def churn_of_one(stage: Stage) -> None:
    refused = 0
    for _ in range(1_000):
        raw = await Raw(stage.addr, stage.mesh).tcp("127.0.4.1")
        try:
            with trio.move_on_after(5):
                await raw.noised()
        except Cut:
            refused += 1
        await raw.aclose()
    assert refused >= 300, f"only {refused} of 1,000 were refused"


@attack("crowd: 150 keys from one address stay", "limited", timeout_s=60)
async def crowd(stage: Stage) -> None:
    kept = 0
    for _ in range(150):
        try:
            await stage.peer(Key(), source="127.0.5.1")
            kept += 1
        except (Cut, OSError):
            pass
    await trio.sleep(0.5)
    alive = sum(not raw.closed.is_set() for raw in stage.opened)
    assert alive <= 64, f"{alive} connections of one address"


@attack("crowd: 200 keys from 200 addresses stay", "limited", timeout_s=60)
async def crowd_of_places(stage: Stage) -> None:
    for number in range(200):
        try:
            await stage.peer(Key(), source=f"127.0.6.{number + 1}")
        except (Cut, OSError):
            pass
    await trio.sleep(0.5)
    alive = sum(not raw.closed.is_set() for raw in stage.opened)
    assert alive <= 75, f"{alive} connections: no slot is left for the victim's own dials"


@attack("crowd: one key 40 times", "limited")
async def one_key(stage: Stage) -> None:
    for _ in range(40):
        await stage.peer()
    await trio.sleep(0.5)
    alive = sum(not raw.closed.is_set() for raw in stage.opened)
    assert alive <= 2, f"{alive} connections of one key"


@attack("memory: 60 keys fill every buffer they can", "limited", timeout_s=120)
async def memory(stage: Stage) -> None:
    async def one(number: int) -> None:
        try:
            raw = await stage.peer(Key(), source=f"127.0.7.{number + 1}")
            sid = await raw.open(raw.sync)
            await raw.send(sid, struct.pack(">I", 8 * MIB) + bytes(8 * MIB - 100_000))
            sid = await raw.open(MESHSUB)
            await raw.send(sid, varint(2 * MIB) + bytes(2 * MIB - 100_000))
            for _ in range(6):
                await raw.send(await raw.syn(), bytes(900_000))
        except (Cut, OSError, trio.TooSlowError):
            pass

    async with trio.open_nursery() as nursery:
        for number in range(60):
            nursery.start_soon(one, number)
    await trio.sleep(0.5)


# The process ---------------------------------------------------------------------------------------------


CLOSED = (Cut, trio.BrokenResourceError, trio.ClosedResourceError, OSError)


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in leaves(each)]
    return [error]


@asynccontextmanager
async def staged(addr: str, mesh: str, key: Key):
    async with trio.open_nursery() as nursery:
        stage = Stage(addr, mesh, nursery, key)
        try:
            yield stage
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True), trio.move_on_after(2):
                for raw in stage.opened:
                    if hasattr(raw, "stream"):
                        await trio.aclose_forcefully(raw.stream)


async def once(chosen: Attack, addr: str, mesh: str, key: Key) -> tuple[bool, str]:
    """(did the victim close a connection?, what went wrong with the attack itself)"""
    stage = None
    try:
        with trio.fail_after(chosen.timeout_s):
            async with staged(addr, mesh, key) as stage:
                await chosen.run(stage)
    except (Exception, ExceptionGroup) as error:
        found = leaves(error)
        if all(isinstance(each, CLOSED) for each in found):
            return True, ""
        return False, "; ".join(repr(each) for each in found)
    return any(raw.closed.is_set() for raw in stage.opened), ""


async def is_refused(addr: str, mesh: str, key: Key, within_s: float) -> bool:
    """Is a further connection of this key closed at once?"""
    with trio.move_on_after(10):
        try:
            async with staged(addr, mesh, key) as stage:
                raw = await stage.peer()
                return await raw.until_cut(within_s)
        except (Exception, ExceptionGroup) as error:
            return all(isinstance(each, CLOSED) for each in leaves(error))
    return False


async def together(names: list[str], addr: str, mesh: str) -> dict[str, object]:
    found: dict[str, object] = {}

    async def one(name: str) -> None:
        found[name] = await perform(name, addr, mesh)

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(one, name)
    return found


async def perform(name: str, addr: str, mesh: str) -> dict[str, object]:
    chosen, key = TABLE[name], Key()
    cut, problem = False, ""
    rounds = 0
    for _ in range(chosen.repeats):
        rounds += 1
        cut, problem = await once(chosen, addr, mesh, key)
        if problem or (chosen.ends == "cut" and await is_refused(addr, mesh, key, 0.3)):
            break
    refused = chosen.ends == "cut" and await is_refused(addr, mesh, key, 3.0)
    return {
        "peer_id": key.peer_id,
        "cut": cut,
        "refused": refused,
        "rounds": rounds,
        "problem": problem,
    }


async def main() -> None:
    addr, mesh = sys.argv[1:]
    lines = trio.lowlevel.FdStream(os.dup(0))
    buffer = b""
    while data := await lines.receive_some(4_096):
        buffer += data
        while b"\n" in buffer:
            line, buffer = buffer.split(b"\n", 1)
            print(json.dumps(await together(json.loads(line), addr, mesh)), flush=True)


if __name__ == "__main__":
    trio.run(main)
