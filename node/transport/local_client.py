"""A synchronous client of the daemon's local socket, for the CLI: standard library and cbor2, loads in 20 ms."""

import select
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from swarmd.node.transport.local_wire import (
    LOCAL_VERSION,
    BadMessage,
    FrameReader,
    decode_body,
    encode_message,
    fault_of,
    not_running,
    short_address,
)
from swarmd.protocol.faults import LocalFault

_RECV_BYTES = 262_144
_CONNECT_TIMEOUT_S = 30.0
_BACKLOG_RETRY_S = 0.02


class LocalClient:
    """One connection to the daemon, one call at a time. A context manager.

    Raises LocalFault throughout: the daemon's own faults with their code, message and fix, and
    `daemon-not-running`, `no-permission`, `daemon-timeout`, `daemon-gone`.
    """

    def __init__(self, path: Path | str, timeout_s: float | None = 30.0) -> None:
        """Connect. `timeout_s` bounds the wait for each step of an answer; None waits for ever."""
        self._path = Path(path)
        self._timeout_s = timeout_s
        self._frames = FrameReader()
        self._inbox: list[dict[str, Any]] = []
        self._next_id = 0
        self._socket = _connect(self._path, timeout_s)

    def call(self, op: str, args: Mapping[str, Any] | None = None) -> Any:
        """Call `op` and return its result; events, if any, are dropped."""
        for last, value in self._messages(op, args):
            if last:
                return value
        raise AssertionError("an answer ends with a result or a fault")

    def stream(self, op: str, args: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """Yield the events of `op`, then its result as the last item."""
        for _, value in self._messages(op, args):
            yield value

    def quiet(self, wait_s: float) -> bool:
        """Does nothing come from the daemon for so long?"""
        if self._inbox:
            return False
        return not select.select([self._socket], [], [], wait_s)[0]

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "LocalClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _messages(self, op: str, args: Mapping[str, Any] | None) -> Iterator[tuple[bool, Any]]:
        """(False, event)* then (True, result)."""
        self._next_id += 1
        call_id = self._next_id
        frame = encode_message({"v": LOCAL_VERSION, "id": call_id, "op": op, "args": dict(args or {})})
        try:
            self._socket.sendall(frame)
        except TimeoutError:
            raise self._timeout() from None
        except OSError:
            # The daemon may have said why before it hung up: what it sent can still be read.
            pass
        while True:
            message = self._receive()
            # Id 0 answers what the daemon could not even read; answers to an abandoned stream are skipped.
            if message.get("id") not in (call_id, 0):
                continue
            if "event" in message:
                yield False, message["event"]
            elif message.get("ok") is True:
                yield True, message.get("result")
                return
            else:
                raise fault_of(message.get("error"))

    def _receive(self) -> dict[str, Any]:
        while not self._inbox:
            try:
                data = self._socket.recv(_RECV_BYTES)
            except TimeoutError:
                raise self._timeout() from None
            except OSError as error:
                raise self._gone(error.strerror or str(error)) from None
            if not data:
                raise self._gone("it closed the connection")
            try:
                self._inbox.extend(decode_body(body) for body in self._frames.feed(data))
            except BadMessage as error:
                raise self._gone(f"it does not speak our protocol ({error})") from None
        return self._inbox.pop(0)

    def _timeout(self) -> LocalFault:
        return LocalFault(
            "daemon-timeout",
            f"the daemon at {self._path} did not answer within {self._timeout_s} s",
            fix="see whether it is busy with `swarmd status`, or allow more time",
        )

    def _gone(self, why: str) -> LocalFault:
        return LocalFault(
            "daemon-gone", f"lost the daemon at {self._path}: {why}", fix="see its log; start it again"
        )


def _connect(path: Path, timeout_s: float | None) -> socket.socket:
    give_up_at = time.monotonic() + (_CONNECT_TIMEOUT_S if timeout_s is None else timeout_s)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        with short_address(path) as address:
            while True:
                try:
                    connection.connect(address)
                    return connection
                except BlockingIOError:
                    # Linux says EAGAIN at once when the daemon's backlog is full, whatever the timeout.
                    if time.monotonic() > give_up_at:
                        raise
                    time.sleep(_BACKLOG_RETRY_S)
    except OSError as error:
        connection.close()
        raise connect_fault(path, error) from None
    except BaseException:
        connection.close()
        raise


def connect_fault(path: Path, error: OSError) -> LocalFault:
    """What to tell about a failed connect."""
    if isinstance(error, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
        return not_running(path)
    if isinstance(error, PermissionError):
        return LocalFault(
            "no-permission",
            f"{path} cannot be reached: it is another user's, or its rights are wrong",
            fix="run as who runs the daemon; ls -ld shows who owns the home",
        )
    return LocalFault(
        "daemon-not-running", f"cannot reach the daemon at {path}: {error}", fix="start one with `swarmd up`"
    )
