"""A stream through a relay, used as a raw connection: noise and yamux run inside it, end to end."""

from libp2p.abc import INetStream
from libp2p.connection_types import ConnectionType
from libp2p.custom_types import TProtocol
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import IOException
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamError
from multiaddr import Multiaddr  # type: ignore[import-untyped]
from swarmd.node.transport.p2p.pnet import ProtectedConn, protect

HOP = TProtocol("/libp2p/circuit/relay/0.2.0/hop")
STOP = TProtocol("/libp2p/circuit/relay/0.2.0/stop")
MAX_MESSAGE_BYTES = 4_096
_READ_BYTES = 65_536


class CircuitStream(ReadWriteCloser):
    """Bytes on a libp2p stream, read as a socket is: what is there, at most `n`, b"" at the end."""

    def __init__(self, stream: INetStream) -> None:
        self.stream = stream
        self._muxed = stream.muxed_stream  # type: ignore[attr-defined]
        self._buffer = bytearray()

    async def read(self, n: int | None = None) -> bytes:
        if not self._buffer:
            try:
                self._buffer += await self._muxed.read(_READ_BYTES)
            except MuxedStreamEOF:
                return b""
            except MuxedStreamError as error:
                raise IOException(str(error)) from error
        count = len(self._buffer) if n is None or n < 0 else n
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    async def write(self, data: bytes) -> None:
        try:
            await self._muxed.write(data)
        except MuxedStreamError as error:
            raise IOException(str(error)) from error

    async def close(self) -> None:
        await self.stream.reset()

    def get_remote_address(self) -> tuple[str, int] | None:
        return None  # the peer's is not known, and the relay's is not the peer's


def raw_connection(
    stream: INetStream, *, initiator: bool, via: Multiaddr, psk: str | None
) -> RawConnection | ProtectedConn:
    """`via` is the relay's address, ending in /p2p/RELAY/p2p-circuit. In a private mesh it is protected again:
    a relay sees no more than any other host between."""
    raw = RawConnection(CircuitStream(stream), initiator, ConnectionType.RELAYED, [via])
    return raw if psk is None else protect(raw, psk)


def circuit_of(relay_addr: str, relay: ID) -> Multiaddr:
    """/…/p2p/RELAY/p2p-circuit of an address of the relay, with or without its id."""
    return Multiaddr(f"{relay_addr.removesuffix(f'/p2p/{relay}')}/p2p/{relay}/p2p-circuit")


def split(addr: str) -> tuple[str, str]:
    """(the relay's address, the peer id) of /…/p2p/RELAY/p2p-circuit/p2p/PEER."""
    relay_addr, _, rest = addr.partition("/p2p-circuit")
    return relay_addr, rest.rpartition("/")[2]
