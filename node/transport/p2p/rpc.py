"""Small protobuf messages on libp2p streams, each with its length before it; bounded in size and time."""

from typing import TypeVar

import trio
from google.protobuf.message import DecodeError, Message
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.host.exceptions import HostException
from libp2p.io.exceptions import IOException
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.utils.varint import encode_varint_prefixed, read_varint_prefixed_bytes_limited
from swarmd.node.ports import PeerGone
from swarmd.node.transport.p2p.host import MeshHost
from swarmd.node.transport.p2p.streams import STREAM_ENDED
from swarmd.protocol.faults import RemoteFault

M = TypeVar("M", bound=Message)

# What opening or using a stream raises when the peer, or what is between, does not play along.
NOT_ANSWERED = (BaseLibp2pError, SwarmException, HostException, IOException, trio.TooSlowError, *STREAM_ENDED)


async def read_message(stream: INetStream, kind: type[M], max_bytes: int) -> M:
    """The next message; RemoteFault `bad-protobuf`, or one of NOT_ANSWERED at the end of the stream."""
    raw = await read_varint_prefixed_bytes_limited(stream, max_bytes)
    message = kind()
    try:
        message.ParseFromString(raw)
    except (DecodeError, RecursionError) as error:
        raise RemoteFault("bad-protobuf", str(error)[:200]) from None
    return message


async def write_message(stream: INetStream, message: Message) -> None:
    await stream.write(encode_varint_prefixed(message.SerializeToString()))


async def open_stream(host: MeshHost, peer: ID, protocol: TProtocol, timeout_s: float) -> INetStream:
    """A stream to a connected peer. PeerGone if it does not speak `protocol` or does not answer."""
    try:
        with trio.fail_after(timeout_s):
            return await host.new_stream(peer, [protocol])
    except NOT_ANSWERED as error:
        raise PeerGone(f"{peer}: no stream for {protocol} ({type(error).__name__})") from None


async def ask(
    host: MeshHost,
    peer: ID,
    protocol: TProtocol,
    question: Message | None,
    kind: type[M],
    *,
    max_bytes: int,
    timeout_s: float,
) -> M:
    """One question on a stream of its own, one answer. PeerGone, or RemoteFault for an answer against the rules."""
    stream = await open_stream(host, peer, protocol, timeout_s)
    try:
        with trio.fail_after(timeout_s):
            if question is not None:
                await write_message(stream, question)
            return await read_message(stream, kind, max_bytes)
    except NOT_ANSWERED as error:
        raise PeerGone(f"{peer}: no answer on {protocol} ({type(error).__name__})") from None
    finally:
        with trio.move_on_after(1.0, shield=True):
            await stream.reset()


async def tell(host: MeshHost, peer: ID, protocol: TProtocol, *messages: Message, timeout_s: float) -> None:
    """Messages that are not answered, on a stream of their own. PeerGone if they cannot be sent."""
    stream = await open_stream(host, peer, protocol, timeout_s)
    try:
        with trio.fail_after(timeout_s):
            await stream.write(
                b"".join(encode_varint_prefixed(each.SerializeToString()) for each in messages)
            )
            await stream.close()
    except NOT_ANSWERED as error:
        with trio.move_on_after(1.0, shield=True):
            await stream.reset()
        raise PeerGone(f"{peer}: not told on {protocol} ({type(error).__name__})") from None
