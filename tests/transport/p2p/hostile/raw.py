"""A libp2p peer by hand: TCP, multistream-select, noise XX and yamux, each byte of which may be wrong.

Nothing of libp2p and nothing of swarmd is imported, so an attack does not inherit the good manners of either.
"""

import os
import struct
from collections.abc import Callable
from typing import Any

import nacl.signing
import trio
from noise.backends.default.keypairs import KeyPair25519
from noise.connection import Keypair, NoiseConnection

MULTISTREAM = "/multistream/1.0.0"
MESHSUB = "/meshsub/1.1.0"
IDENTIFY = "/ipfs/id/1.0.0"
PING = "/ipfs/ping/1.0.0"
HEADER = struct.Struct("!BBHII")
DATA, WINDOW, YPING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
_CHUNK = 65_000
_WINDOW = 262_144
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def prefixed(data: bytes) -> bytes:
    return varint(len(data)) + data


def field(number: int, value: bytes | int) -> bytes:
    """A protobuf field: length-delimited for bytes, varint for integers."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + prefixed(value)


def said(text: str | bytes) -> bytes:
    """A multistream-select message."""
    raw = text.encode() if isinstance(text, str) else text
    return prefixed(raw + b"\n")


def base58(data: bytes) -> str:
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


class Key:
    """An Ed25519 key and its peer id."""

    def __init__(self, seed: bytes | None = None) -> None:
        self.signing = nacl.signing.SigningKey(seed or os.urandom(32))
        self.protobuf = field(1, 1) + field(2, bytes(self.signing.verify_key))
        self.raw_id = b"\x00\x24" + self.protobuf
        self.peer_id = base58(self.raw_id)

    def sign(self, data: bytes) -> bytes:
        return self.signing.sign(data).signature


class Cut(Exception):
    """The victim closed the connection."""


class Raw:
    """One TCP connection to the victim, brought as far as the attack wants it."""

    def __init__(self, addr: str, mesh: str, key: Key | None = None) -> None:
        _, _, self.host, _, port, *_ = addr.split("/")
        self.port = int(port)
        self.mesh = mesh
        self.key = key or Key()
        self.sync = f"/swarm/{mesh}/sync/1"
        self.topic = f"/swarm/{mesh}/flush/1"
        self.stream: trio.SocketStream
        self.noise: Any = None
        self.closed = trio.Event()
        self.inbound: dict[int, bytearray] = {}  # what the victim sent, by stream
        self.frames: list[tuple[int, int, int, int]] = []  # control frames seen: type, flags, stream, length
        self.heard = trio.Event()
        self.answers = True  # do we speak on the streams that the victim opens?
        self.on_stream: Callable[[int, bytes], None] | None = None
        self.raw_in = bytearray()
        self._sid = -1
        self._windows: dict[int, int] = {}  # what the victim lets us send, by stream
        self._sending = trio.Lock()

    # Layers ----------------------------------------------------------------------------------------------

    async def tcp(self, source: str | None = None) -> "Raw":
        self.stream = await trio.open_tcp_stream(self.host, self.port, local_address=source)
        return self

    async def noised(self, **wrong: Any) -> "Raw":
        """To the end of the noise handshake. `wrong`: payload=..., muxer=..., parts of it to replace."""
        await self.stream.send_all(said(MULTISTREAM) + said("/noise"))
        await self._expect(said(MULTISTREAM))
        await self._expect(said("/noise"))
        self.noise = NoiseConnection.from_name(b"Noise_XX_25519_ChaChaPoly_SHA256")
        static = os.urandom(32)
        self.noise.set_keypair_from_private_bytes(Keypair.STATIC, static)
        self.noise.set_as_initiator()
        self.noise.start_handshake()
        await self._noise_out(bytes(self.noise.write_message()))
        self.noise.read_message(await self._noise_in())
        public = KeyPair25519.from_private_bytes(static).public_bytes
        payload = wrong.get("payload")
        if payload is None:
            signature = self.key.sign(b"noise-libp2p-static-key:" + public)
            payload = field(1, self.key.protobuf) + field(2, signature)
        await self._noise_out(bytes(self.noise.write_message(payload)))
        return self

    async def muxed(self, nursery: trio.Nursery) -> "Raw":
        """Yamux negotiated, and a reader running."""
        await self.plain(said(MULTISTREAM) + said("/yamux/1.0.0"))
        got = bytearray()
        while said("/yamux/1.0.0") not in got:
            got += self.noise.decrypt(await self._noise_in())
        nursery.start_soon(self._read_frames)
        return self

    async def plain(self, data: bytes) -> None:
        """Bytes inside noise."""
        async with self._sending:
            for at in range(0, len(data), _CHUNK):
                await self._out(self.noise.encrypt(data[at : at + _CHUNK]))

    async def frame(
        self, kind: int, flags: int, sid: int, length: int, body: bytes = b"", version: int = 0
    ) -> None:
        await self.plain(HEADER.pack(version, kind, flags, sid, length) + body)

    # Streams ---------------------------------------------------------------------------------------------

    async def syn(self) -> int:
        """A new stream, nothing said on it."""
        self._sid += 2
        self.inbound[self._sid] = bytearray()
        await self.frame(WINDOW, SYN, self._sid, 0)
        return self._sid

    async def open(self, protocol: str) -> int:
        """A stream on which `protocol` is agreed."""
        sid = await self.syn()
        await self.send(sid, said(MULTISTREAM) + said(protocol))
        want = said(MULTISTREAM) + said(protocol)
        await self.until(lambda: len(self.inbound[sid]) >= len(want))
        del self.inbound[sid][: len(want)]
        return sid

    async def send(self, sid: int, data: bytes, *, rude: bool = False) -> None:
        """As data frames, within the window unless `rude`. Waits while it is closed; Cut if the victim closes."""
        at = 0
        while at < len(data):
            # Before the wait, not after it: who closes while a frame is on its way wakes nobody later.
            if self.closed.is_set():
                raise Cut
            room = _CHUNK if rude else min(_CHUNK, self._windows.setdefault(sid, _WINDOW))
            if not room:
                await self.heard.wait()
                continue
            part = data[at : at + room]
            at += len(part)
            if not rude:
                self._windows[sid] -= len(part)
            await self.frame(DATA, 0, sid, len(part), part)

    async def until(self, true: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Cut if the victim closes first."""
        with trio.fail_after(timeout_s):
            while not true():
                if self.closed.is_set():
                    raise Cut
                await self.heard.wait()

    async def until_cut(self, timeout_s: float = 10.0) -> bool:
        with trio.move_on_after(timeout_s):
            await self.closed.wait()
        return self.closed.is_set()

    async def aclose(self) -> None:
        await self.stream.aclose()

    # In --------------------------------------------------------------------------------------------------

    async def _read_frames(self) -> None:
        buffer = bytearray()
        try:
            while True:
                buffer += self.noise.decrypt(await self._noise_in())
                while len(buffer) >= HEADER.size:
                    _, kind, flags, sid, length = HEADER.unpack_from(buffer)
                    end = HEADER.size + (length if kind == DATA else 0)
                    if len(buffer) < end:
                        break
                    body = bytes(buffer[HEADER.size : end])
                    del buffer[:end]
                    await self._take(kind, flags, sid, length, body)
                self._wake()
        except (trio.BrokenResourceError, trio.ClosedResourceError, Cut):
            self.closed.set()
            self._wake()

    def _wake(self) -> None:
        self.heard.set()
        self.heard = trio.Event()

    async def _take(self, kind: int, flags: int, sid: int, length: int, body: bytes) -> None:
        if kind == WINDOW:
            self._windows[sid] = self._windows.get(sid, _WINDOW) + length
        if kind != DATA:
            self.frames.append((kind, flags, sid, length))
            if kind == YPING and flags & SYN and self.answers:
                await self.frame(YPING, ACK, 0, length)
        if sid % 2 == 0 and sid and self.answers:
            await self._answer(sid, body)
        elif kind == DATA:
            self.inbound.setdefault(sid, bytearray()).extend(body)

    async def _answer(self, sid: int, body: bytes) -> None:
        """On streams of the victim: agree to any protocol, then answer pings of ours."""
        known = sid in self.inbound
        buffer = self.inbound.setdefault(sid, bytearray())
        buffer += body
        if not known:
            await self.frame(WINDOW, ACK, sid, 0)
            await self.send(sid, said(MULTISTREAM))
        if buffer.startswith(said(MULTISTREAM)):
            rest = buffer[len(said(MULTISTREAM)) :]
            if rest and len(rest) > rest[0]:
                await self.send(sid, bytes(rest[: rest[0] + 1]))
                del buffer[: len(said(MULTISTREAM)) + rest[0] + 1]
        if self.on_stream is not None:
            self.on_stream(sid, bytes(buffer))
        while len(buffer) >= 7 and buffer[4] == 0x83 and buffer[5] == 3:  # [3 (PING), id, body]
            size = int.from_bytes(buffer[:4], "big")
            message = bytes(buffer[4 : 4 + size])
            del buffer[: 4 + size]
            head = message[2] & 0x1F
            number = message[2 : 3 + (0 if head < 24 else 1 << (head - 24))]
            pong = b"\x83\x04" + number + b"\x40"
            await self.send(sid, len(pong).to_bytes(4, "big") + pong)

    async def _expect(self, want: bytes) -> None:
        while len(self.raw_in) < len(want):
            self.raw_in += await self._some()
        if not self.raw_in.startswith(want):
            raise Cut
        del self.raw_in[: len(want)]

    async def _noise_in(self) -> bytes:
        while len(self.raw_in) < 2 or len(self.raw_in) < 2 + int.from_bytes(self.raw_in[:2], "big"):
            self.raw_in += await self._some()
        size = int.from_bytes(self.raw_in[:2], "big")
        message = bytes(self.raw_in[2 : 2 + size])
        del self.raw_in[: 2 + size]
        return message

    async def _noise_out(self, message: bytes) -> None:
        async with self._sending:
            await self._out(message)

    async def _out(self, message: bytes) -> None:
        try:
            await self.stream.send_all(len(message).to_bytes(2, "big") + message)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.closed.set()
            self._wake()
            raise Cut from None

    async def _some(self) -> bytes:
        try:
            data = await self.stream.receive_some(131_072)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Cut from None
        if not data:
            raise Cut
        return data
