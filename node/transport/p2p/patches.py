"""What must change inside libp2p 0.8.1 and has no seam to change it by subclassing.

Most of the fast path and the hardening are subclasses (`muxer`, `host`, `gossip`), which touch nobody
else. The few patches here are global to the process. Each is made once, and only on the exact version
they were read against: on another one they could silently stop protecting.
"""

import logging
import os
from importlib.metadata import version
from typing import Any

import libp2p.network.swarm as swarm_module
import libp2p.transport.tcp.tcp as tcp_module
from libp2p.abc import IMultiselectCommunicator
from libp2p.exceptions import ParseError
from libp2p.io.exceptions import IOException, MessageTooLarge
from libp2p.io.trio import TrioTCPStream
from libp2p.protocol_muxer.exceptions import MultiselectCommunicatorError
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.utils.varint import read_varint_prefixed_bytes_limited
from swarmd.node.transport.p2p.pnet import protect
from swarmd.protocol.faults import LocalFault

LIBP2P_VERSION = "0.8.1"
MAX_MULTISTREAM_BYTES = 1_024
MAX_MULTISTREAM_MESSAGES = 32
_READ_CHUNK_BYTES = 131_072
_applied = False


class BadMultistream(MultiselectCommunicatorError):
    """What a peer said is no multistream-select."""


def require_version(installed: str | None = None) -> None:
    """LocalFault `libp2p-version` unless the installed libp2p is the one the patches were made for."""
    found = version("libp2p") if installed is None else installed
    if found != LIBP2P_VERSION:
        raise LocalFault(
            "libp2p-version",
            f"libp2p {found} is installed, the transport is hardened for {LIBP2P_VERSION} only",
            fix=f"pip install libp2p=={LIBP2P_VERSION}",
        )


def apply() -> None:
    """Make the patches. Idempotent."""
    global _applied
    require_version()
    if _applied:
        return
    _applied = True
    _patch_multistream()
    _patch_tcp()
    # As shipped it is not the protocol that other libp2p software speaks.
    setattr(swarm_module, "new_protected_conn", protect)  # noqa: B010
    # A head start for QUIC that costs every dial >= 250 ms where there is only TCP.
    setattr(swarm_module, "_HAPPY_EYEBALLS_DELAY", 0.0)  # noqa: B010 (mypy: the module declares it Final-like)
    # Any stranger can make libp2p log at ERROR, with tracebacks, as often as he connects. What matters of it
    # we log ourselves; LIBP2P_DEBUG, its own switch, brings the rest back.
    if not os.environ.get("LIBP2P_DEBUG"):
        for name in ("libp2p", "libp2p.network.auto_connector"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _patch_multistream() -> None:
    """multistream-select reads a length of the peer's choosing (RSS 84 -> 278 MB seen) and decodes it
    as UTF-8 outside of any try: one bad byte on any stream ended the daemon."""

    async def read(self: IMultiselectCommunicator) -> str:
        try:
            data = await read_varint_prefixed_bytes_limited(
                self.read_writer,  # type: ignore[attr-defined]
                MAX_MULTISTREAM_BYTES,
            )
            if data[-1:] != b"\n":
                raise ParseError("a multistream message ends with a newline")
            text = data[:-1].decode()
            # Every message costs a handler look-up and an answer; who needs so many is not negotiating.
            self.swarmd_reads = getattr(self, "swarmd_reads", 0) + 1  # type: ignore[attr-defined]
            if self.swarmd_reads > MAX_MULTISTREAM_MESSAGES:  # type: ignore[attr-defined]
                raise ParseError("too many multistream messages")
            return text
        except (ParseError, MessageTooLarge, UnicodeDecodeError) as error:
            reads = getattr(self, "swarmd_reads", 0)
            if 2 <= reads <= MAX_MULTISTREAM_MESSAGES:
                # Behind a protocol we lack may be what was meant for it: clients may send it without waiting.
                raise MultiselectCommunicatorError("no multistream message") from error
            raise BadMultistream(str(error)) from error
        except IOException as error:
            raise MultiselectCommunicatorError("the stream ended") from error

    MultiselectCommunicator.read = read  # type: ignore[method-assign]


class BufferedTCPStream(TrioTCPStream):
    """Reads 128 KiB at a time: noise asks for 2 bytes, then a body, which cost two system calls and two
    scheduler rounds for each message."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._buffer = bytearray()

    def take_buffer(self) -> bytearray:
        """What was read ahead, for who reads the socket from here on."""
        buffer, self._buffer = self._buffer, bytearray()
        return buffer

    async def read(self, n: int | None = None) -> bytes:
        buffer = self._buffer
        if not buffer:
            chunk = await super().read(_READ_CHUNK_BYTES)
            if not chunk or n is None or len(chunk) <= n:
                return chunk
            buffer += chunk
        if n is None or n >= len(buffer):
            data = bytes(buffer)
            buffer.clear()
            return data
        data = bytes(buffer[:n])
        del buffer[:n]
        return data


def _patch_tcp() -> None:
    setattr(tcp_module, "TrioTCPStream", BufferedTCPStream)  # noqa: B010 (mypy: assigning to a type)
