"""The bytes of a signed gossip message (libp2p pubsub, StrictSign) and small tables around them.

Built by hand: the signed part, the message and the RPC around it are one concatenation, where libp2p
builds and serialises three protobufs. Bytes are equal (tests/transport/test_gossip_wire.py).
https://github.com/libp2p/specs/blob/master/pubsub/README.md#message-signing
"""

import time
from collections import deque
from collections.abc import Callable
from hashlib import sha256

import trio
from libp2p.crypto.keys import PrivateKey
from libp2p.peer.id import ID
from libp2p.pubsub.mcache import MessageCache
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.rpc_queue import RpcQueue
from libp2p.utils.varint import encode_uvarint
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError
from swarmd.node.transport.p2p.host import public_key_of

_SIGN_PREFIX = b"libp2p-pubsub:"
_SEQNO_BYTES = 8
_SIGNATURE_BYTES = 64


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return bytes((number << 3 | 2,)) + encode_uvarint(len(value)) + value


class Signer:
    """Makes signed messages of one author for one topic."""

    def __init__(self, key: PrivateKey, topic: str) -> None:
        self._key = key
        public_key = key.get_public_key()
        self.author = ID.from_pubkey(public_key).to_bytes()
        self._from = _field(1, self.author)
        self._topic = _field(4, topic.encode())
        self._public_key = _field(6, public_key.serialize())
        # As a time, so that after a restart peers do not take the next messages for old ones.
        self._seqno = time.time_ns()

    def sign(self, data: bytes) -> tuple[bytes, bytes]:
        """(message id, message bytes) for the next message."""
        self._seqno += 1
        seqno = self._seqno.to_bytes(_SEQNO_BYTES, "big")
        signed = b"".join((self._from, _field(2, data), _field(3, seqno), self._topic))
        signature = self._key.sign(_SIGN_PREFIX + signed)
        return self.author + seqno, b"".join((signed, _field(5, signature), self._public_key))


def rpc_of(message: bytes) -> bytes:
    """A length-prefixed RPC that publishes one serialised message."""
    body = _field(2, message)
    return encode_uvarint(len(body)) + body


def well_formed(message: rpc_pb2.Message) -> bool:
    """Has it the fields of a StrictSign message of an author with an Ed25519 key (all members have one)?"""
    return (
        public_key_of(ID(message.from_id)) is not None
        and len(message.seqno) == _SEQNO_BYTES
        and len(message.signature) == _SIGNATURE_BYTES
        and len(message.topicIDs) == 1
    )


def signature_ok(message: rpc_pb2.Message) -> bool:
    """StrictSign, without trusting `key`: the peer id of an Ed25519 author holds the public key itself."""
    public_key = public_key_of(ID(message.from_id))
    if public_key is None or not well_formed(message):
        return False
    signed = b"".join(
        (
            message.signature,
            _SIGN_PREFIX,
            _field(1, message.from_id),
            _field(2, message.data),
            _field(3, message.seqno),
            _field(4, message.topicIDs[0].encode()),
        )
    )
    try:
        crypto_sign_open(signed, public_key)
    except (BadSignatureError, ValueError):
        return False
    return True


def fingerprint(*parts: bytes) -> bytes:
    """16 bytes for some bytes, however long."""
    return sha256(b"".join(parts)).digest()[:16]


class SeenIds:
    """Message ids of the last `ttl_s` to 2 * `ttl_s`, in two generations; libp2p's keeps a thread and a
    lock for it. Bounded: at `max_ids` a generation is closed early."""

    def __init__(self, ttl_s: float, max_ids: int) -> None:
        self._ttl_s = ttl_s
        self._max_ids = max_ids // 2
        self._new: set[bytes] = set()
        self._old: set[bytes] = set()
        self._turned_at = time.monotonic()

    def add(self, message_id: bytes) -> bool:
        """True if it was not there."""
        if self.has(message_id):
            return False
        if len(self._new) >= self._max_ids or time.monotonic() - self._turned_at > self._ttl_s:
            self._old, self._new = self._new, set()
            self._turned_at = time.monotonic()
        self._new.add(message_id)
        return True

    def has(self, message_id: bytes) -> bool:
        return message_id in self._new or message_id in self._old

    def stop(self) -> None:
        """libp2p's cache has a thread to stop."""


class FrameCache(MessageCache):
    """Recent messages for IWANT, bounded in bytes too: frames may be 2 MiB."""

    def __init__(self, window: int, history: int, max_bytes: int) -> None:
        super().__init__(window, history)
        self._max_bytes = max_bytes
        self._bytes = 0
        self._order: deque[bytes] = deque()

    def put(self, msg: rpc_pb2.Message) -> None:
        message_id = msg.from_id + msg.seqno
        if message_id in self.msgs:
            return
        super().put(msg)
        self._order.append(message_id)
        self._bytes += len(msg.data)
        while self._bytes > self._max_bytes and self._order:
            self._forget(self._order.popleft())

    def shift(self) -> None:
        for entry in self.history[-1]:
            self._forget(entry.mid)
        super().shift()
        while self._order and self._order[0] not in self.msgs:
            self._order.popleft()

    def _forget(self, message_id: bytes) -> None:
        message = self.msgs.pop(message_id, None)
        if message is not None:
            self._bytes -= len(message.data)


class OutQueue(RpcQueue):
    """What waits to be sent to one peer, serialised, bounded in bytes and count. Control goes first."""

    def __init__(self, max_frames: int, max_bytes: int) -> None:
        super().__init__(max_size=max_frames, max_message_size=max_bytes)
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._bytes = 0
        self._urgent: deque[bytes] = deque()
        self._items: deque[bytes] = deque()
        # Set while nothing waits and nobody writes: takes what fits at once and says if it did.
        self.shortcut: Callable[[bytes], bool] | None = None

    def __len__(self) -> int:
        return len(self._items) + len(self._urgent)

    def push(self, rpc: rpc_pb2.RPC, priority: bool = False) -> bool:
        body = rpc.SerializeToString()
        return self.push_bytes(encode_uvarint(len(body)) + body, priority=priority)

    def push_bytes(self, data: bytes, *, priority: bool = False) -> bool:
        """False if it is full, or the peer gone: the caller counts the drop."""
        if self.shortcut is not None and not self._closed and self.shortcut(data):
            return True
        if self._closed or len(self) >= self._max_frames or self._bytes + len(data) > self._max_bytes:
            return False
        self.shortcut = None  # until the writer has emptied it: order is kept
        self._bytes += len(data)
        (self._urgent if priority else self._items).append(data)
        self._notify.set()
        return True

    async def pop_batch(self, max_bytes: int, shortcut: Callable[[bytes], bool] | None = None) -> bytes:
        """As much as fits `max_bytes`, at least one item; b"" when closed. While it waits, items go through
        `shortcut`, which saves the task that would write them one wake-up each."""
        while not self._items and not self._urgent:
            if self._closed:
                return b""
            if self._notify.is_set():
                self._notify = trio.Event()
            self.shortcut = shortcut
            try:
                await self._notify.wait()
            finally:
                self.shortcut = None
        batch: list[bytes] = []
        size = 0
        for queue in (self._urgent, self._items):
            while queue and (not batch or size + len(queue[0]) <= max_bytes):
                batch.append(queue.popleft())
                size += len(batch[-1])
        self._bytes -= size
        return b"".join(batch)
