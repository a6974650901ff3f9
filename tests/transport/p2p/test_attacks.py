"""P10: no input from a peer ends the daemon. Every remote crash and denial known of libp2p 0.8.1, from an
attacker with a fresh key, while an honest pair goes on exchanging frames and requests."""

import os
import resource
import struct
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.secp256k1 import create_new_key_pair as create_secp256k1
from libp2p.host.exceptions import HostException
from libp2p.host.ping import ID as PING
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.exceptions import StreamReset
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.stream_muxer.exceptions import MuxedStreamError, MuxedStreamReset
from libp2p.utils.varint import encode_uvarint
from swarmd.node.transport.p2p.gossip_wire import Signer, rpc_of
from swarmd.node.transport.p2p.sync_wire import Kind, encode

MESHSUB = "/meshsub/1.1.0"
SYNC = "/swarm/test/sync/1"
TOPIC = "/swarm/test/flush/1"


@pytest.fixture
async def honest(pair, exchange):
    """A victim and an honest peer; afterwards everything still works, without a restart of the host."""
    victim, friend = await pair()
    await exchange([victim, friend], 20, 500)
    yield victim
    await exchange([victim, friend], 50, 500)
    assert await friend.transport.request(victim.id, b"still?") == b"echo:still?"
    assert victim.transport.restarts == friend.transport.restarts == 0
    assert not victim.stopped.is_set() and victim.handler.downs.count(friend.id) == 0
    (peer,) = [peer for peer in victim.transport.peers() if peer.peer_id == friend.id]
    assert not peer.faults


async def eventually(true: Callable[[], bool]) -> None:
    """Polls what libp2p and the score book give no event for."""
    with trio.fail_after(5):
        while not true():  # noqa: ASYNC110
            await trio.sleep(0.01)


def prefixed(data: bytes) -> bytes:
    return encode_uvarint(len(data)) + data


@pytest.mark.parametrize(
    "data",
    [
        b"\x04\xff\xfe\xfd\n",  # crash 1: not UTF-8
        b"\x13/multistream/1.0.0\n\x04\xff\xfe\xfd\n",
        b"\x13/multistream/1.0.0\n\x01\n",
        b"\xff\xff\xff\xff\x0f" + b"x" * 10_000,  # denial: a length of 4 GB
        b"\xff" * 20,
        b"\x00",
        b"\x13/multistream/1.0.0\n" + b"\x03ls\n" * 200,
        b"\x13/multistream/1.0.0\n" + b"\x06/nope\n" * 200,
    ],
)
async def test_multistream_on_a_stream(honest, attacker, data):
    await attacker.connect(honest)
    for _ in range(3):
        stream = await attacker.raw_stream()
        await stream.write(data)
    with trio.move_on_after(0.1):
        await stream.read(1_000)


@pytest.mark.parametrize(
    "data", [b"\x04\xff\xfe\xfd\n", b"\xff" * 4_096, b"GET / HTTP/1.1\r\n\r\n", b"", b"\x13"]
)
async def test_garbage_before_the_handshake(honest, data):
    _, _, host, _, port, *_ = honest.addr.split("/")
    for _ in range(5):
        stream = await trio.open_tcp_stream(host, int(port))
        if data:
            await stream.send_all(data)
        await stream.aclose()


async def test_garbage_inside_the_handshake(honest):
    _, _, host, _, port, *_ = honest.addr.split("/")
    for body in (os.urandom(32), os.urandom(65_000), b""):
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(b"\x13/multistream/1.0.0\n\x07/noise\n")
            await stream.send_all(struct.pack(">H", len(body)) + body)
            with trio.move_on_after(0.1):
                while await stream.receive_some(4_096):
                    pass


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (prefixed(b"\xff" * 50), "bad-protobuf"),  # crash 2
        (prefixed(b"\x0a\x05\x12\x03\xff\xfe\xfd"), None),
        (b"\xff" * 11, "bad-varint"),
        (encode_uvarint(50 << 20) + b"x" * 100, "frame-too-big"),
        (
            prefixed(
                rpc_pb2.RPC(
                    subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=str(i)) for i in range(6_000)]
                ).SerializeToString()
            ),
            "subscription-flood",
        ),
        (
            prefixed(
                rpc_pb2.RPC(
                    control=rpc_pb2.ControlMessage(
                        graft=[rpc_pb2.ControlGraft(topicID=str(i)) for i in range(6_000)]
                    )
                ).SerializeToString()
            ),
            "control-flood",
        ),
        (
            prefixed(
                rpc_pb2.RPC(
                    control=rpc_pb2.ControlMessage(
                        prune=[
                            rpc_pb2.ControlPrune(
                                topicID=TOPIC,
                                backoff=2**64 - 1,
                                peers=[rpc_pb2.PeerInfo(peerID=b"\xff", signedPeerRecord=b"\xff")],
                            )
                        ]
                    )
                ).SerializeToString()
            ),
            None,
        ),
        (
            prefixed(
                rpc_pb2.RPC(
                    control=rpc_pb2.ControlMessage(
                        ihave=[rpc_pb2.ControlIHave(topicID=TOPIC, messageIDs=[b"\xff" * 46] * 6_000)],
                        iwant=[rpc_pb2.ControlIWant(messageIDs=[b"z" * 46] * 6_000)],
                    )
                ).SerializeToString()
            ),
            None,
        ),
        (prefixed(rpc_pb2.RPC(senderRecord=b"\xff" * 100).SerializeToString()), None),
    ],
)
async def test_pubsub(honest, attacker, data, code):
    await attacker.connect(honest)
    stream = await attacker.open(MESHSUB)
    await stream.write(data)
    if code is not None:
        await eventually(lambda: code in honest.transport.scores.faults(attacker.id))


def forged(**changes: object) -> bytes:
    message = rpc_pb2.Message.FromString(
        Signer(create_new_key_pair(os.urandom(32)).private_key, TOPIC).sign(b"x")[1]
    )
    for name, value in changes.items():
        message.ClearField(name)
        if name == "topicIDs":
            message.topicIDs.extend(value)
        else:
            setattr(message, name, value)
    return rpc_of(message.SerializeToString())


@pytest.mark.parametrize(
    "changes",
    [
        # crash 3: an author whose id holds no key, and a key that is none
        {"from_id": ID.from_pubkey(create_secp256k1().public_key).to_bytes(), "key": b"garbage"},
        {"from_id": b"\x12\x20" + bytes(32), "key": b"\xff" * 100},
        {"from_id": b""},
        {"from_id": b"\xff" * 1_000},
        {"signature": b""},
        {"signature": b"\xff" * 64},
        {"seqno": b""},
        {"seqno": b"\xff" * 100},
        {"data": b"changed"},
        {"topicIDs": [TOPIC, TOPIC]},
        {"topicIDs": ["/swarm/other/flush/1"]},
        {"topicIDs": []},
    ],
)
async def test_forged_messages_are_not_delivered(honest, attacker, changes):
    await attacker.connect(honest)
    stream = await attacker.open(MESHSUB)
    before = len(honest.handler.frames)
    await stream.write(forged(**changes))
    await eventually(
        lambda: honest.transport.scores.faults(attacker.id) or honest.transport.drops["other-topic"]
    )
    again = await attacker.open(MESHSUB)
    await again.write(forged())  # a good one behind it: one fault does not cut off
    await honest.handler.until(lambda: len(honest.handler.frames) > before)
    assert [frame for _, frame in honest.handler.frames[before:]] == [b"x"]


async def test_what_we_said_before_a_restart_may_come_back(honest, attacker):
    """The mesh still passes it on; only a forgery in our name is a fault."""
    await attacker.connect(honest)
    stream = await attacker.open(MESHSUB)
    before = len(honest.handler.frames)
    signer = Signer(honest.transport._session.host.get_private_key(), TOPIC)
    await stream.write(rpc_of(signer.sign(b"from an earlier life")[1]))
    await eventually(lambda: honest.transport.drops["own-frame"])
    assert len(honest.handler.frames) == before
    assert not honest.transport.scores.faults(attacker.id)
    await stream.write(forged(from_id=signer.author))
    await eventually(lambda: honest.transport.scores.faults(attacker.id) == {"bad-gossip-signature": 1})


async def test_a_forger_cannot_make_us_deaf_to_an_author(honest, attacker):
    friend_id = ID.from_base58(next(iter(honest.handler.ups)))
    await attacker.connect(honest)
    stream = await attacker.open(MESHSUB)
    # The friend's next numbers, guessed from its last: marked as seen, its frames would be dropped.
    last = max(honest.transport._session._pubsub.seen_messages._new)
    seqno = int.from_bytes(last[-8:], "big")
    before = len(honest.handler.frames)
    numbers = [(seqno + i).to_bytes(8, "big") for i in range(1, 300)]
    author = friend_id.to_bytes()
    for number in numbers[:3]:
        stream = await attacker.open(MESHSUB)
        await stream.write(forged(from_id=author, seqno=number))
        with trio.move_on_after(1):
            with pytest.raises(MuxedStreamReset):
                await stream.muxed_stream.read()
    await attacker.closed()
    assert len(honest.handler.frames) == before
    assert not any(honest.transport._session._pubsub.seen_messages.has(author + number) for number in numbers)
    assert honest.transport.scores.denied_for_s(attacker.id) > 0


async def test_a_forged_wrapper_of_a_signed_frame(pair, start, attacker):
    """Where frames carry signatures of their own, a first copy is taken without its gossip signature. That gives
    a forger nothing: not to deafen us, not to replay, not to be passed on."""
    victim, friend = await pair(frames_are_signed=True)
    await attacker.connect(victim)
    gossip = await attacker.open(MESHSUB)
    signer = Signer(create_new_key_pair(friend.seed).private_key, TOPIC)
    _, true_bytes = signer.sign(b"a frame")
    true = rpc_pb2.Message.FromString(true_bytes)
    forged_copy = rpc_pb2.Message.FromString(true_bytes)
    forged_copy.signature = bytes(64)
    await gossip.write(rpc_of(forged_copy.SerializeToString()))
    await victim.handler.until(lambda: victim.handler.bodies() == [b"a frame"])  # its own signature held
    assert victim.transport.scores.score(attacker.id) == 1.0

    # The true message of the same id is another copy: heard again, for its signature holds.
    await gossip.write(rpc_of(true.SerializeToString()))
    await victim.handler.until(lambda: len(victim.handler.frames) == 2)
    # Of a message id still to come only what was forged is dropped, not what its author sends.
    _, next_bytes = signer.sign(b"next")
    ahead = rpc_pb2.Message.FromString(next_bytes)
    ahead.data = b"some other frame of the author's"
    await gossip.write(rpc_of(ahead.SerializeToString()))
    await gossip.write(rpc_of(next_bytes))
    await victim.handler.until(lambda: victim.handler.bodies()[-1] == b"next")

    # A known frame under a new id must prove that its author sent it again.
    replay = rpc_pb2.Message.FromString(true_bytes)
    replay.seqno = bytes(8)
    await gossip.write(rpc_of(replay.SerializeToString()))
    await eventually(lambda: victim.transport.scores.faults(attacker.id) == {"bad-gossip-signature": 1})
    assert victim.handler.bodies().count(b"a frame") == 2


async def test_a_forged_wrapper_is_not_passed_on(pair, start, attacker):
    victim, friend = await pair(frames_are_signed=True)
    await attacker.connect(victim)
    gossip = await attacker.open(MESHSUB)
    # Unknown: it reaches nobody, so the victim would forward.
    author = create_new_key_pair(os.urandom(32)).private_key
    message = rpc_pb2.Message.FromString(Signer(author, TOPIC).sign(b"a frame")[1])
    message.signature = bytes(64)
    await gossip.write(rpc_of(message.SerializeToString()))
    await eventually(lambda: victim.transport.scores.faults(attacker.id) == {"bad-gossip-signature": 1})
    await victim.transport.publish(b"after it")
    await friend.handler.until(lambda: friend.handler.bodies() == [b"after it"])


async def test_a_handler_that_raises(honest, attacker):
    """Crashes 4 and 5: an exception in a stream handler, or while a message is judged."""

    async def boom(*_: object) -> None:
        raise RuntimeError("boom")

    session = honest.transport._session
    session.host.set_stream_handler("/boom/1", boom)
    await attacker.connect(honest)
    for _ in range(5):
        with pytest.raises((StreamReset, HostException)):  # it may come with the answer, before we see that
            stream = await attacker.open("/boom/1")
            await stream.read(1)
    assert session.host.failures["RuntimeError"] == 5

    def bug(*_: object) -> None:
        raise RuntimeError("boom")

    honest.handler.judge = bug
    gossip = await attacker.open(MESHSUB)
    await gossip.write(forged())
    await eventually(lambda: honest.transport.drops["handler-error"])
    honest.handler.judge = None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xff\xff\xff\xff", "message-too-big"),
        (b"\x00\x00\x00\x00", "bad-message"),
        (b"\x00\x00\x00\x05hello", "bad-message"),
        (b"\x00\x00\x10\x00" + b"\x81" * 4_096, "bad-message"),  # nested arrays
        (encode(Kind.RESPONSE, 1, b""), "bad-message"),
        (encode(Kind.PONG, 1), "bad-message"),
        (encode(Kind.REQUEST, 2**64 - 1, b"ok"), None),
        (encode(Kind.PING, 1, b"x" * 100_000) * 20, None),
        (b"\x00\x7f\xff\xff" + b"x" * 1_000, None),  # a body that never ends
    ],
)
async def test_the_request_stream(honest, attacker, data, code):
    await attacker.connect(honest)
    stream = await attacker.open(SYNC)
    await stream.write(data)
    if code is not None:
        await eventually(lambda: code in honest.transport.scores.faults(attacker.id))
    assert await honest.transport.request(next(iter(honest.handler.ups)), b"?") == b"echo:?"


async def test_a_flood_of_requests_is_bounded(honest, attacker):
    gate = trio.Event()
    running = 0

    async def answer(peer_id: str, body: bytes) -> bytes:
        nonlocal running
        if peer_id != attacker.id:
            return b"echo:" + body
        running += 1
        await gate.wait()
        return b""

    honest.handler.answer = answer

    # Speak the protocol well enough to be up: answer the victim's pings.
    async def serve(stream) -> None:
        while True:
            head = await stream.read(4)
            message = await stream.read(int.from_bytes(head, "big"))
            await stream.write(encode(Kind.PONG, message[2]))

    attacker.host.set_stream_handler(SYNC, serve)
    await attacker.connect(honest)
    await honest.handler.until(lambda: attacker.id in honest.handler.ups)
    stream = await attacker.open(SYNC)
    for i in range(80):
        await stream.write(encode(Kind.REQUEST, i, b""))
    await eventually(lambda: honest.transport.scores.faults(attacker.id).get("too-many-requests") == 16)
    assert running == 64
    gate.set()


async def test_flow_control_is_enforced(honest, attacker):
    await attacker.connect(honest)
    stream = await attacker.open(SYNC)
    size = (1 << 20) + 1
    attacker.muxed.push(struct.pack("!BBHII", 0, 0, 0, stream.muxed_stream.stream_id, size) + bytes(1_000))
    await attacker.closed()
    assert honest.transport.scores.faults(attacker.id) == {"flow-control": 1}


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (struct.pack("!BBHII", 9, 0, 0, 1, 0), "bad-yamux-frame"),
        (struct.pack("!BBHII", 0, 9, 0, 1, 0), "bad-yamux-frame"),
        (struct.pack("!BBHII", 0, 1, 1, 2, 0), "bad-stream-id"),  # an id that is ours to give
        (struct.pack("!BBHII", 0, 1, 1, 1, 0) * 2, "bad-stream-id"),  # twice
        (struct.pack("!BBHII", 0, 1, 1, 1, 2**32 - 1), "window-overflow"),
        (struct.pack("!BBHII", 0, 3, 0, 0, 99), None),
        (struct.pack("!BBHII", 0, 1, 15, 1, 0), None),
        (struct.pack("!BBHII", 0, 0, 12, 77, 0), None),
    ],
)
async def test_yamux_frames(honest, attacker, frame, code):
    await attacker.connect(honest)
    attacker.muxed.push(frame)
    if code is not None:
        await attacker.closed()
        assert honest.transport.scores.faults(attacker.id) == {code: 1}
    else:
        await attacker.muxed.wait_writable()


async def test_who_sends_pings_and_reads_nothing_is_cut_off(honest, attacker):
    await attacker.connect(honest)
    attacker.muxed._wire.read = trio.sleep_forever  # from its next read on
    ping = struct.pack("!BBHII", 0, 2, 1, 0, 7) * 5_000
    with trio.fail_after(10):
        # Either limit ends it: what it may send in a time, or what it leaves unread.
        while not {"reads-nothing", "frame-flood"} & honest.transport.scores.faults(attacker.id).keys():
            with trio.move_on_after(0.1):
                await attacker.muxed._write_frame(ping)


async def test_idle_streams_are_capped_and_their_owner_cut_off(honest, attacker):
    await attacker.connect(honest)
    with trio.fail_after(10):
        with pytest.raises((SwarmException, MuxedStreamError)):  # cut off on the way
            for _ in range(2_000):
                await attacker.raw_stream()
    await attacker.closed()
    assert honest.transport.scores.faults(attacker.id)["stream-flood"] >= 30
    assert honest.transport.scores.denied_for_s(attacker.id) > 0
    with pytest.raises((SwarmException, HostException)):
        await attacker.connect(honest)
        await attacker.open(PING)


async def test_slots_come_back(start, exchange, new_attacker, quick_limits):
    """As shipped, each inbound connection leaked one of 250 slots."""
    limits = replace(quick_limits, max_connections=3, max_pending_inbound=2)
    victim = await start(limits=limits)
    for _ in range(12):
        async with new_attacker() as attacker:
            await attacker.connect(victim)
    late = await start([victim])
    await late.until_up(victim)
    await victim.until_up(late)
    await exchange([victim, late], 20, 500)


async def test_one_key_does_not_take_all_connections(honest, attacker):
    await attacker.connect(honest)
    first = attacker.muxed
    for _ in range(6):
        await attacker.connect(honest)
    with trio.fail_after(5):
        await first.event_closed.wait()
    swarm = honest.transport._session.host.swarm
    await eventually(lambda: len(swarm.get_connections(attacker.host.get_id())) == 2)


@pytest.mark.parametrize("protocol", [PING, IDENTIFY])
async def test_bundled_protocols(honest, attacker, protocol):
    await attacker.connect(honest)
    for data in (b"", b"x", os.urandom(100_000)):
        stream = await attacker.open(protocol)
        await stream.write(data)
        await stream.reset()


async def test_half_open_connections_do_not_keep_honest_peers_out(honest, start):
    _, _, host, _, port, *_ = honest.addr.split("/")
    async with AsyncExitStack() as stack:
        for _ in range(25):
            await stack.enter_async_context(await trio.open_tcp_stream(host, int(port)))
        late = await start([honest])
        await late.until_up(honest)


async def test_memory_stays_bounded(honest, attacker):
    """Lengths announced and never sent, on every kind of stream."""
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await attacker.connect(honest)
    for protocol, data in ((SYNC, b"\x00\x7f\xff\x00"), (MESHSUB, encode_uvarint(2 << 20))):
        stream = await attacker.open(protocol)
        await stream.write(data + bytes(500_000))
    raw = await attacker.raw_stream()
    await raw.write(b"\xff\xff\xff\x7f" + bytes(100_000))
    with trio.move_on_after(0.2):
        await raw.read(1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 60_000
