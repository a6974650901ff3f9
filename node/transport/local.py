"""The daemon's Unix socket: the CLI and the local agents talk to it. `local_wire` describes the messages.

A client is this host's own user, yet may be buggy: garbage, half messages, a client that never reads or
leaves at any time cost it its connection and nobody else anything.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import trio
from swarmd.node.transport.local_listener import Listener
from swarmd.node.transport.local_wire import (
    LOCAL_VERSION,
    MAX_CALL_ID,
    BadMessage,
    FrameReader,
    decode_body,
    encode_message,
    error_map,
)
from swarmd.protocol.faults import CorruptState, Fault, LocalFault
from trio import TASK_STATUS_IGNORED, TaskStatus

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
MAX_CALLS_IN_FLIGHT = 1_024
# Above the low mark a streaming call waits for the client to read; above the high one it is cut off.
# The high mark leaves room for one message of the largest size on top of it.
EMIT_WAIT_BYTES = 1_048_576
MAX_QUEUED_BYTES = 32 * 1_048_576
STALL_TIMEOUT_S = 10.0
PARTIAL_TIMEOUT_S = 30.0
_RECV_BYTES = 262_144
_SEND_BYTES = 262_144
_ACCEPT_RETRY_S = 0.1

Handler = Callable[["LocalCall"], Awaitable[Any]]


class LocalCall:
    """One request of a local client."""

    __slots__ = ("op", "args", "connection", "size_bytes", "_id", "_quiet")

    def __init__(
        self,
        op: str,
        args: dict[str, Any],
        connection: "LocalConnection",
        call_id: int,
        size_bytes: int,
        quiet: bool = False,
    ) -> None:
        self.op = op
        self.args = args
        self.connection = connection
        self.size_bytes = size_bytes  # of the whole request on the wire
        self._id = call_id
        self._quiet = quiet

    async def emit(self, event: Any) -> None:
        """Send an event before the answer. Waits while the client is behind; see `LocalConnection`."""
        await self.connection.wait_writable()
        self.connection.send({"id": self._id, "event": event})


class LocalConnection:
    """One client. Alive until it leaves, breaks the protocol, or stops reading.

    A client that lets MAX_QUEUED_BYTES pile up, or takes nothing for STALL_TIMEOUT_S while there is
    something for it, is cut off: it can never block the daemon or fill its memory.
    """

    def __init__(self, number: int, sock: trio.socket.SocketType) -> None:
        self.number = number
        self.closed = False
        self._socket = sock
        self._queue: list[bytes] = []
        self._queued_bytes = 0
        self._has_work = trio.Event()
        self._drained = trio.Event()
        self._closing = False
        self._scope = trio.CancelScope()
        self._on_close: list[Callable[[], None]] = []

    def send(self, message: Mapping[str, Any]) -> None:
        """Queue a message; never blocks. Dropped if the connection is closed.

        Raises LocalFault `message-too-big` or `not-cbor`; nothing is sent then.
        """
        self._enqueue(encode_message(message))

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, when the connection is gone; at once if it is gone already."""
        if self.closed:
            callback()
        else:
            self._on_close.append(callback)

    def close(self) -> None:
        """Cut the connection off; calls in flight are cancelled."""
        self._closing = True
        self._scope.cancel()

    async def wait_writable(self) -> None:
        """Wait until less than EMIT_WAIT_BYTES are queued."""
        while self._queued_bytes > EMIT_WAIT_BYTES and not self.closed:
            if self._drained.is_set():
                self._drained = trio.Event()
            await self._drained.wait()
        await trio.lowlevel.checkpoint()

    def _enqueue(self, frame: bytes) -> None:
        if self.closed or self._closing:
            return
        self._queue.append(frame)
        self._queued_bytes += len(frame)
        if self._queued_bytes > MAX_QUEUED_BYTES:
            log.warning("local client %d does not read: cut off", self.number)
            self.close()
        self._has_work.set()

    async def _write(self) -> None:
        """Send what is queued, many messages in one system call."""
        while True:
            if not self._queue:
                self._drained.set()
                if self._closing:
                    self.close()
                    return
                self._has_work = trio.Event()
                await self._has_work.wait()
            chunk = b"".join(self._queue)
            self._queue.clear()
            view = memoryview(chunk)
            while view:
                with trio.move_on_after(STALL_TIMEOUT_S) as patience:
                    sent = await self._socket.send(view[:_SEND_BYTES])
                if patience.cancelled_caught:
                    log.warning(
                        "local client %d takes nothing for %g s: cut off", self.number, STALL_TIMEOUT_S
                    )
                    self.close()
                    return
                view = view[sent:]
                self._queued_bytes -= sent
                if self._queued_bytes <= EMIT_WAIT_BYTES:
                    self._drained.set()

    def _close_after_writing(self) -> None:
        self._closing = True
        self._has_work.set()

    def _finish(self) -> None:
        self.closed = True
        self._queue.clear()
        self._queued_bytes = 0
        self._drained.set()
        self._socket.close()
        for callback in self._on_close:
            try:
                callback()
            except Exception:
                # Isolation: one part's clean-up must not keep the others, or the daemon, from theirs.
                log.exception("a close callback of local client %d failed", self.number)
        self._on_close.clear()


class LocalServer:
    """Serves `handler` on the Unix socket `path`.

    What the handler returns is the answer. A LocalFault it raises becomes an error answer with its code,
    message and fix; any other exception is logged and answered with code `internal`. Calls of one client
    run at the same time and are cancelled when it leaves, so a handler shields what must not stop half
    way. Ops in `inline` are awaited in the reading task (in order, without the cost of a task each), so
    they must not wait for anything.
    """

    def __init__(self, path: Path, handler: Handler, *, inline: frozenset[str] = frozenset()) -> None:
        self._path = path
        self._handler = handler
        self._inline = inline
        self._connections: set[LocalConnection] = set()
        self._count = 0

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; `started()` once clients can connect.

        Raises LocalFault `already-running`, `socket-path-taken`, `socket-path-too-long` or
        `socket-folder` if the socket cannot be had.
        """
        with Listener(self._path) as listener:
            sock = trio.socket.from_stdlib_socket(listener.socket)
            async with trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    try:
                        client, _ = await sock.accept()
                    except OSError as error:
                        # Out of file descriptors, or a client gone before we looked: neither is our end.
                        log.warning("cannot accept a local client: %s", error)
                        await trio.sleep(_ACCEPT_RETRY_S)
                        continue
                    self._count += 1
                    nursery.start_soon(self._serve, LocalConnection(self._count, client))

    async def _serve(self, connection: LocalConnection) -> None:
        self._connections.add(connection)
        try:
            with connection._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_until_broken, connection, connection._write)
                    if len(self._connections) > MAX_CONNECTIONS:
                        fault = LocalFault(
                            "too-many-clients", f"{MAX_CONNECTIONS} clients are connected already"
                        )
                        self._refuse(connection, fault)
                    else:
                        await _until_broken(connection, partial(self._read, connection, nursery))
        finally:
            self._connections.discard(connection)
            connection._finish()

    async def _read(self, connection: LocalConnection, nursery: trio.Nursery) -> None:
        frames = FrameReader()
        calls = _Calls()
        try:
            while data := await self._receive(connection, frames):
                for body in frames.feed(data):
                    await self._dispatch(connection, nursery, calls, body)
            connection.close()
        except BadMessage as error:
            self._refuse(connection, LocalFault(error.code, str(error)))

    async def _receive(self, connection: LocalConnection, frames: FrameReader) -> bytes:
        if not frames.partial:
            return await connection._socket.recv(_RECV_BYTES)
        with trio.move_on_after(PARTIAL_TIMEOUT_S):
            return await connection._socket.recv(_RECV_BYTES)
        raise BadMessage("half-message", f"the rest of a message did not come in {PARTIAL_TIMEOUT_S:g} s")

    async def _dispatch(
        self, connection: LocalConnection, nursery: trio.Nursery, calls: "_Calls", body: bytes
    ) -> None:
        message = decode_body(body)
        call_id, op, args = message.get("id"), message.get("op"), message.get("args", {})
        if type(call_id) is not int or not 0 < call_id <= MAX_CALL_ID:
            raise BadMessage("bad-message", "id must be a positive integer")
        if message.get("v") != LOCAL_VERSION:
            fault = LocalFault(
                "unsupported-version",
                f"this daemon speaks version {LOCAL_VERSION} of the local protocol, not {message.get('v')!r}",
                fix="use the CLI or SDK of the daemon's release",
            )
            connection.send({"id": call_id, "ok": False, "error": error_map(fault)})
            return
        if type(op) is not str or type(args) is not dict or not all(type(key) is str for key in args):
            raise BadMessage("bad-message", "op must be text and args a map with text keys")
        call = LocalCall(op, args, connection, call_id, len(body), message.get("quiet") is True)
        if op in self._inline:
            await self._answer(call, None)
        elif calls.in_flight >= MAX_CALLS_IN_FLIGHT:
            fault = LocalFault("busy", f"{MAX_CALLS_IN_FLIGHT} calls of this client are not answered yet")
            connection.send({"id": call_id, "ok": False, "error": error_map(fault)})
        else:
            calls.in_flight += 1
            nursery.start_soon(self._answer, call, calls)

    async def _answer(self, call: LocalCall, calls: "_Calls | None") -> None:
        try:
            result = await self._handler(call)
            if not call._quiet:
                call.connection.send({"id": call._id, "ok": True, "result": result})
        except CorruptState:
            raise
        except Fault as fault:
            # A RemoteFault too: here the bad CID or DID is the local caller's.
            call.connection.send({"id": call._id, "ok": False, "error": error_map(fault)})
        except Exception:
            # The isolation boundary of a local call: a bug in one handler must not end the daemon.
            log.exception("local call %r failed", call.op)
            internal = LocalFault("internal", "the daemon failed at this call", fix="see the daemon's log")
            call.connection.send({"id": call._id, "ok": False, "error": error_map(internal)})
        finally:
            if calls is not None:
                calls.in_flight -= 1

    def _refuse(self, connection: LocalConnection, fault: LocalFault) -> None:
        """Say why, then close: after a broken frame nothing on the connection can be understood."""
        connection.send({"id": 0, "ok": False, "error": error_map(fault)})
        connection._close_after_writing()


class _Calls:
    """How many calls of one connection are running."""

    __slots__ = ("in_flight",)

    def __init__(self) -> None:
        self.in_flight = 0


async def _until_broken(connection: LocalConnection, task: Callable[[], Awaitable[None]]) -> None:
    try:
        await task()
    except OSError:
        # The client is gone. Caught here, since a nursery would wrap it in an exception group.
        connection.close()
