"""Noise messages straight between the muxer and the socket.

Under the muxer libp2p 0.8.1 has eight layers (session, noise, framing, raw connection, stream, trio's stream and
socket), with two locks and four scheduler rounds for each read or write: half of what a small frame costs. Once
the handshake is done all that is left to do is to encrypt, add a length, and write; and the reverse.
https://github.com/libp2p/specs/blob/master/noise/README.md#wire-format
"""

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

import trio
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from libp2p.abc import ISecureConn
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.security.noise.io import MAX_PLAINTEXT_LENGTH, NoiseTransportReadWriter
from libp2p.security.secure_session import SecureSession
from noise.connection import NoiseConnection  # type: ignore[import-untyped]
from noise.exceptions import NoiseInvalidMessage  # type: ignore[import-untyped]
from swarmd.node.transport.p2p.patches import BufferedTCPStream

log = logging.getLogger(__name__)

_LENGTH_BYTES: Final = 2
_TAG_BYTES: Final = 16
_READ_BYTES: Final = 262_144
_MESSAGE_BYTES: Final = _LENGTH_BYTES + MAX_PLAINTEXT_LENGTH + _TAG_BYTES


class _Buffers(threading.local):
    """Ciphertext on its way in and out, of all connections of a thread: a buffer of its own for each read cost more
    than the read. Nobody awaits between filling one and emptying it."""

    def __init__(self) -> None:
        self.incoming = memoryview(bytearray(_READ_BYTES))
        self.outgoing = memoryview(bytearray(4 * _MESSAGE_BYTES))


_buffers: Final = _Buffers()


class _Nonces:
    """A key of a finished handshake, and how often it was used. noise's own objects go through four calls a message."""

    __slots__ = ("_count", "aead")

    def __init__(self, state: Any) -> None:
        self.aead: ChaCha20Poly1305 = state.cipher.cipher
        self._count: int = state.n

    def next(self) -> bytes:
        nonce = b"\0\0\0\0" + self._count.to_bytes(8, "little")
        self._count += 1
        return nonce


class NoiseWire:
    """The bytes of one TCP connection after its handshake. One task reads; writes must not overlap."""

    def __init__(self, session: SecureSession, noise: NoiseConnection, stream: BufferedTCPStream) -> None:
        self._sealing = _Nonces(noise.noise_protocol.cipher_state_encrypt)
        self._opening = _Nonces(noise.noise_protocol.cipher_state_decrypt)
        self._in, self._out = _buffers.incoming, _buffers.outgoing
        self._socket = stream.stream.socket
        # What came in with the last message of the negotiation: plaintext, and ciphertext.
        self._early: tuple[bytes, bytearray] | None = (session._drain(None), stream.take_buffer())
        self._rest = b""  # of a message that is not whole yet
        self._unsent = b""

    @classmethod
    def under(cls, session: ISecureConn) -> "NoiseWire | None":
        """None if it is not noise directly over TCP: a relayed connection, for one."""
        packets = getattr(session, "conn", None)
        if not isinstance(session, SecureSession) or not isinstance(packets, NoiseTransportReadWriter):
            return None
        raw = packets.read_writer.read_write_closer
        stream = getattr(raw, "stream", None)
        if type(raw) is not RawConnection or type(stream) is not BufferedTCPStream:
            return None
        return cls(session, packets.noise_state, stream)

    async def read(self) -> Sequence[bytes]:
        """The plaintext of each whole message that is here; waits for the first. ConnectionClosedError at the end;
        OSError, ClosedResourceError, or NoiseInvalidMessage for bytes that are not the peer's."""
        if self._early is not None:
            plain, sealed = self._early
            self._early = None
            found = [plain] if plain else []
            found += self._open(memoryview(sealed))
            if found:
                return found
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            kept = len(self._rest)
            try:
                count = os.readv(self._socket.fileno(), [self._in[kept:]])
            except BlockingIOError:
                continue
            if not count:
                raise ConnectionClosedError("the peer closed the connection")
            self._in[:kept] = self._rest
            if found := self._open(self._in[: kept + count]):
                return found

    def _open(self, sealed: memoryview) -> list[bytes]:
        """What is in the whole messages; the rest is kept."""
        position, end, found = 0, len(sealed), []
        opening = self._opening
        while end - position >= _LENGTH_BYTES:
            start = position + _LENGTH_BYTES
            stop = start + (sealed[position] << 8 | sealed[position + 1])
            if stop > end:
                break
            try:
                plain = opening.aead.decrypt(opening.next(), sealed[start:stop], None)
            except InvalidTag:
                raise NoiseInvalidMessage("not what the peer sealed") from None
            if plain:
                found.append(plain)
            position = stop
        self._rest = bytes(sealed[position:end])
        return found

    def write_now(self, data: bytes) -> bool:
        """Send `data` without waiting; never during a `write`. False, with nothing done, if there is something
        unsent still or it is too long. What the socket does not take at once stays `unsent`: then somebody must
        call `write` soon, if only with nothing."""
        if self._unsent or len(data) > MAX_PLAINTEXT_LENGTH:
            return False
        size = self._seal(data, 0)
        try:
            sent = os.write(self._socket.fileno(), self._out[:size])
        except OSError as error:
            # No room, or the connection is gone: `write` meets that again, where it is handled.
            log.debug("nothing sent at once: %r", error)
            sent = 0
        if sent < size:
            self._unsent = bytes(self._out[sent:size])
        return True

    @property
    def unsent(self) -> bool:
        return bool(self._unsent)

    async def write(self, frames: Sequence[bytes]) -> None:
        """Send what is unsent, then `frames`, each whole within a message where it fits one. OSError or
        ClosedResourceError if the connection is gone."""
        unsent, self._unsent = self._unsent, b""
        await self._send(memoryview(unsent))
        size = 0
        for message in _messages(frames):
            if len(self._out) - size < _MESSAGE_BYTES:
                await self._send(self._out[:size])
                size = 0
            size = self._seal(message, size)
        await self._send(self._out[:size])

    async def _send(self, data: memoryview) -> None:
        mine = False
        while data:
            try:
                data = data[os.write(self._socket.fileno(), data) :]
            except BlockingIOError:
                if not mine:
                    data, mine = memoryview(bytes(data)), True  # others use that buffer while we wait
                await trio.lowlevel.wait_writable(self._socket)

    def _seal(self, data: bytes, at: int) -> int:
        """Put the message that holds `data` into the buffer at `at`; where it ends."""
        start = at + _LENGTH_BYTES
        end = start + len(data) + _TAG_BYTES
        self._out[at:start] = (end - start).to_bytes(_LENGTH_BYTES, "big")
        self._sealing.aead.encrypt_into(self._sealing.next(), data, None, self._out[start:end])
        return end


def _messages(frames: Sequence[bytes]) -> Iterator[bytes]:
    """`frames` joined into what fits a noise message, and cut where one alone does not."""
    group: list[bytes] = []
    size = 0
    for frame in frames:
        if size + len(frame) > MAX_PLAINTEXT_LENGTH:
            if group:
                yield b"".join(group)
            group, size = [], 0
            while len(frame) > MAX_PLAINTEXT_LENGTH:
                yield frame[:MAX_PLAINTEXT_LENGTH]
                frame = frame[MAX_PLAINTEXT_LENGTH:]
        group.append(frame)
        size += len(frame)
    if size:
        yield b"".join(group)
