"""Gossip."""

import os

import trio
from raw import MESHSUB, Key, Raw, prefixed, varint
from raw import field as pb

from attacking.stage import MIB, Stage, attack


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
