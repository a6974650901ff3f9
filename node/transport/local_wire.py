"""The local socket's frames, shared by the server and both clients: `length (4 bytes, big endian) || CBOR map`.

Client to server: `{"v": 1, "id": int, "op": str, "args": map}`. Server to client: any number of
`{"id": int, "event": any}`, then `{"id": int, "ok": true, "result": any}` or
`{"id": int, "ok": false, "error": {"code", "message", "fix"}}`; and messages without an id that the
server began, such as `{"job": map}`.

Imports neither trio nor anything slow: the CLI loads it at each call.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import cbor2
from swarmd.protocol.faults import Fault, LocalFault

LOCAL_VERSION = 1
MAX_MESSAGE_BYTES = 16 * 1_048_576
# JSON input of 64 levels inside the few levels of a message.
MAX_DEPTH = 80
HEADER_BYTES = 4
MAX_CALL_ID = (1 << 63) - 1
# sockaddr_un has 108 bytes on Linux, 104 on macOS, one of them the closing NUL.
MAX_SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103
_MAX_BIGNUM_BYTES = 32


class BadMessage(ValueError):
    """Bytes that are no message of ours. The connection cannot go on: the framing is lost."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _OnlyBignums(Mapping[int, Callable[[Any, bool], Any]]):
    """The CBOR tags we decode: none but bounded bignums.

    cbor2 would make regular expressions, mail messages and shared (even cyclic) values of a client's
    bytes. Asked for every tag, also for those a later cbor2 will know.
    """

    def __getitem__(self, tag: int) -> Callable[[Any, bool], Any]:
        return _BIGNUMS.get(tag, _refuse_tag)

    def __iter__(self) -> Iterator[int]:
        return iter(_BIGNUMS)

    def __len__(self) -> int:
        return len(_BIGNUMS)


# cbor2 6.2 gives the callbacks of some tags a second argument (immutable) and of others none.
def _refuse_tag(value: Any, *_: Any) -> Any:
    raise ValueError("a tag")


def _bignum(value: Any, *_: Any) -> int:
    if type(value) is not bytes or len(value) > _MAX_BIGNUM_BYTES:
        raise ValueError("a bignum beyond 256 bits")
    return int.from_bytes(value, "big")


def _negative_bignum(value: Any, *_: Any) -> int:
    return -1 - _bignum(value)


_BIGNUMS: dict[int, Callable[..., Any]] = {2: _bignum, 3: _negative_bignum}
_TAGS = _OnlyBignums()


def encode_message(message: Mapping[str, Any]) -> bytes:
    """The frame of a message. LocalFault `message-too-big` or `not-cbor` if it cannot travel."""
    try:
        body = cbor2.dumps(message)
    except (cbor2.CBOREncodeError, RecursionError) as error:
        raise LocalFault("not-cbor", f"cannot be sent over the local socket: {error}") from None
    if len(body) > MAX_MESSAGE_BYTES:
        raise LocalFault(
            "message-too-big",
            f"a message of {len(body)} bytes; the most is {MAX_MESSAGE_BYTES}",
            fix="send large values as content, by CID",
        )
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def decode_body(body: bytes) -> dict[str, Any]:
    """The message of a frame's body. BadMessage for anything but one well-formed map with text keys."""
    stream = BytesIO(body)
    try:
        message = cbor2.CBORDecoder(
            stream,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
            semantic_decoders=_TAGS,
            tag_hook=_refuse_tag,
        ).decode()
    except (cbor2.CBORDecodeError, ValueError, RecursionError) as error:
        raise BadMessage("bad-message", f"not CBOR as we speak it: {error}") from None
    if stream.tell() != len(body):
        raise BadMessage("bad-message", "bytes after the message")
    if type(message) is not dict or not all(type(key) is str for key in message):
        raise BadMessage("bad-message", "a message is a map with text keys")
    return message


class FrameReader:
    """Cuts a byte stream into frames; keeps at most one unfinished frame."""

    def __init__(self, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._buffer = bytearray()
        self._max_bytes = max_bytes

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the bodies completed by `data`. BadMessage `message-too-big` before a byte is kept for it."""
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= HEADER_BYTES:
                size = int.from_bytes(buffer[start : start + HEADER_BYTES], "big")
                if size > self._max_bytes:
                    raise BadMessage(
                        "message-too-big", f"a frame of {size} bytes; the most is {self._max_bytes}"
                    )
                end = start + HEADER_BYTES + size
                if len(buffer) < end:
                    break
                body = bytes(buffer[start + HEADER_BYTES : end])
                start = end
                yield body
        finally:
            # In one go: deleting from the front at each frame would be quadratic.
            del buffer[:start]

    @property
    def partial(self) -> bool:
        """True within a frame."""
        return bool(self._buffer)


def error_map(fault: Fault) -> dict[str, str]:
    return {"code": fault.code, "message": fault.message, "fix": fault.fix}


def fault_of(error: object) -> LocalFault:
    """The LocalFault of an answer's `error` map."""
    fields = error if isinstance(error, dict) else {}
    code, message, fix = (str(fields.get(key, "")) for key in ("code", "message", "fix"))
    return LocalFault(code or "internal", message, fix=fix)


def not_running(path: Path) -> LocalFault:
    return LocalFault(
        "daemon-not-running",
        f"no swarmd daemon answers at {path}",
        fix="start one with `swarmd up`, or name its home with --home or SWARMD_HOME",
    )


@contextmanager
def short_address(path: Path) -> Iterator[str]:
    """An address of the socket `path` that fits sockaddr_un, valid inside the block.

    A path too long for it is reached through its open folder on Linux (/proc/self/fd/N/name), so the
    socket stays in the node's home; elsewhere that is a LocalFault `socket-path-too-long`.
    """
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        yield str(path)
        return
    if sys.platform != "linux" or len(os.fsencode(path.name)) > 64:
        raise LocalFault(
            "socket-path-too-long",
            f"{path} has {len(os.fsencode(path))} bytes; a Unix socket's path may have {MAX_SOCKET_PATH_BYTES}",
            fix="choose a home with a shorter path (--home or SWARMD_HOME)",
        )
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
