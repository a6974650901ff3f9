"""Private networks: who lacks the pre-shared key cannot even begin a handshake (libp2p specs, pnet).

Each direction is XORed with XSalsa20 under the key and a 24-byte nonce that its sender sends first. It hides
and guards the way in; noise, inside of it, is what authenticates. libp2p 0.8.1 has Salsa20 with 8-byte nonces
here, which no other libp2p speaks.
"""

import os
import struct

from Crypto.Cipher import Salsa20
from libp2p.abc import IRawConnection
from libp2p.connection_types import ConnectionType
from libp2p.network.connection.raw_connection import RawConnection
from multiaddr import Multiaddr  # type: ignore[import-untyped]

NONCE_BYTES = 24
_SIGMA = struct.unpack("<4I", b"expand 32-byte k")
_MASK = 0xFFFFFFFF


def hsalsa20(key: bytes, nonce: bytes) -> bytes:
    """The 32-byte subkey of a 32-byte key and a 16-byte nonce (Bernstein, Extending the Salsa20 nonce)."""
    k, n = struct.unpack("<8I", key), struct.unpack("<4I", nonce)
    x = [_SIGMA[0], *k[:4], _SIGMA[1], *n, _SIGMA[2], *k[4:], _SIGMA[3]]

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for target, one, other, rotation in ((b, a, d, 7), (c, b, a, 9), (d, c, b, 13), (a, d, c, 18)):
            word = (x[one] + x[other]) & _MASK
            x[target] ^= ((word << rotation) | (word >> (32 - rotation))) & _MASK

    for _ in range(10):
        for column in ((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11)):
            quarter(*column)
        for row in ((0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14)):
            quarter(*row)
    return struct.pack("<8I", *(x[i] for i in (0, 5, 10, 15, 6, 7, 8, 9)))


def xsalsa20(key: bytes, nonce: bytes) -> Salsa20.Salsa20Cipher:
    """The stream cipher of a 32-byte key and a 24-byte nonce."""
    return Salsa20.new(key=hsalsa20(key, nonce[:16]), nonce=nonce[16:])


class ProtectedConn(RawConnection):
    """A connection whose both directions are encrypted with the key of the mesh."""

    def __init__(self, conn: IRawConnection, psk: bytes) -> None:
        self._psk = psk
        self._conn = conn
        self.is_initiator = conn.is_initiator
        self._reading: Salsa20.Salsa20Cipher | None = None
        self._writing: Salsa20.Salsa20Cipher | None = None

    async def write(self, data: bytes) -> None:
        if self._writing is None:
            nonce = os.urandom(NONCE_BYTES)
            self._writing = xsalsa20(self._psk, nonce)
            await self._conn.write(nonce + self._writing.encrypt(data))
        else:
            await self._conn.write(self._writing.encrypt(data))

    async def read(self, n: int | None = None) -> bytes:
        if self._reading is None:
            nonce = b""
            while len(nonce) < NONCE_BYTES:
                more = await self._conn.read(NONCE_BYTES - len(nonce))
                if not more:
                    return b""
                nonce += more
            self._reading = xsalsa20(self._psk, nonce)
        data = await self._conn.read(n)
        return self._reading.decrypt(data) if data else b""

    async def close(self) -> None:
        await self._conn.close()

    def get_remote_address(self) -> tuple[str, int] | None:
        return self._conn.get_remote_address()

    def get_connection_type(self) -> ConnectionType:
        return self._conn.get_connection_type()

    def get_transport_addresses(self) -> list[Multiaddr]:
        found: list[Multiaddr] = self._conn.get_transport_addresses()
        return found


def protect(conn: IRawConnection, psk_hex: str) -> ProtectedConn:
    """In the place of libp2p's `new_protected_conn`."""
    return ProtectedConn(conn, bytes.fromhex(psk_hex))
