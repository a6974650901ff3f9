"""TCP as libp2p has it, which also knows what it opened.

A connection whose end is cut short (the host stops between a dial and its registration, or before the task that was to close
it has begun) is in none of libp2p's tables: its socket would stay open until the garbage collector comes by.
"""

from libp2p.abc import IRawConnection
from libp2p.transport.tcp.tcp import TCP
from multiaddr import Multiaddr  # type: ignore[import-untyped]
from trio import SocketStream


class KnownTCP(TCP):
    def __init__(self) -> None:
        super().__init__()
        self._dialed: set[SocketStream] = set()

    async def dial(self, maddr: Multiaddr) -> IRawConnection:
        return self._noted(await super().dial(maddr))

    async def dial_with_source(self, maddr: Multiaddr, source: tuple[str, int]) -> IRawConnection:
        return self._noted(await super().dial_with_source(maddr, source))

    def _noted(self, connection: IRawConnection) -> IRawConnection:
        self._dialed = {stream for stream in self._dialed if stream.socket.fileno() != -1}
        stream = getattr(getattr(connection, "stream", None), "stream", None)
        if isinstance(stream, SocketStream):
            self._dialed.add(stream)
        return connection

    def close_left(self) -> int:
        """Close what is still open of all that was dialed, at once; returns how many those were."""
        left = [stream for stream in self._dialed if stream.socket.fileno() != -1]
        for stream in left:
            stream.socket.close()
        self._dialed.clear()
        return len(left)
