"""Noise messages straight between the muxer and the socket.

Under the muxer libp2p 0.8.1 has eight layers (session, noise, framing, raw connection, stream, trio's stream and
socket), with two locks and four scheduler rounds for each read or write: half of what a small frame costs. Once
the handshake is done all that is left to do is to encrypt, add a length, and write; and the reverse.
https://github.com/libp2p/specs/blob/master/noise/README.md#wire-format
"""

import logging
import os

import trio
from libp2p.abc import ISecureConn
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.security.noise.io import MAX_PLAINTEXT_LENGTH, NoiseTransportReadWriter
from libp2p.security.secure_session import SecureSession
from noise.connection import NoiseConnection  # type: ignore[import-untyped]
from swarmd.node.transport.p2p.patches import BufferedTCPStream

log = logging.getLogger(__name__)

_LENGTH_BYTES = 2
_READ_BYTES = 131_072


class NoiseWire:
    """The bytes of one TCP connection after its handshake. One task reads; writes must not overlap."""

    def __init__(self, session: SecureSession, noise: NoiseConnection, stream: BufferedTCPStream) -> None:
        self._noise = noise
        self._socket = stream.stream.socket
        # What came in with the last message of the negotiation: plaintext, and ciphertext.
        self._plain = session._drain(None)
        self._buffer = stream.take_buffer()
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

    async def read(self) -> bytes:
        """The plaintext of all whole messages that are here; waits for the first. ConnectionClosedError at the
        end; OSError, ClosedResourceError or what noise raises on bytes that are not its own."""
        plain, self._plain = self._plain, b""
        while not plain:
            plain = self._decrypt_whole()
            if plain:
                break
            await trio.lowlevel.wait_readable(self._socket)
            try:
                data = os.read(self._socket.fileno(), _READ_BYTES)
            except BlockingIOError:
                continue
            if not data:
                raise ConnectionClosedError("the peer closed the connection")
            self._buffer += data
        return plain

    def _decrypt_whole(self) -> bytes:
        buffer, position, parts = self._buffer, 0, []
        end = len(buffer)
        while end - position >= _LENGTH_BYTES:
            start = position + _LENGTH_BYTES
            stop = start + (buffer[position] << 8 | buffer[position + 1])
            if stop > end:
                break
            with memoryview(buffer) as view:
                sealed = bytes(view[start:stop])
            parts.append(self._noise.decrypt(sealed))
            position = stop
        if position:
            del buffer[:position]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write_now(self, data: bytes) -> bool:
        """Send `data` without waiting; never during a `write`. False, with nothing done, if there is something
        unsent still or it is too long. What the socket does not take at once stays `unsent`: then somebody must
        call `write` soon, if only with nothing."""
        if self._unsent or len(data) > MAX_PLAINTEXT_LENGTH:
            return False
        sealed = self._encrypt(data)
        try:
            sent = os.write(self._socket.fileno(), sealed)
        except OSError as error:
            # No room, or the connection is gone: `write` meets that again, where it is handled.
            log.debug("nothing sent at once: %r", error)
            sent = 0
        self._unsent = sealed[sent:]
        return True

    @property
    def unsent(self) -> bool:
        return bool(self._unsent)

    async def write(self, data: bytes) -> None:
        """Send what is unsent, then `data`. OSError or ClosedResourceError if the connection is gone."""
        view = memoryview(self._unsent + self._encrypt(data))
        self._unsent = b""
        while view:
            try:
                view = view[os.write(self._socket.fileno(), view) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)

    def _encrypt(self, data: bytes) -> bytes:
        parts = []
        for at in range(0, len(data), MAX_PLAINTEXT_LENGTH):
            sealed = self._noise.encrypt(data[at : at + MAX_PLAINTEXT_LENGTH])
            parts.append(len(sealed).to_bytes(_LENGTH_BYTES, "big"))
            parts.append(sealed)
        return b"".join(parts)
