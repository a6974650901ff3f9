"""Before the handshake, and in it: multistream and noise."""

import os
import struct

import trio
from raw import HEADER, MESHSUB, MULTISTREAM, SYN, YPING, Key, Raw, said
from raw import field as pb

from attacking.stage import Stage, attack

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
