"""A trio client of the daemon's local socket, for the agents' SDK: many calls in flight, messages pushed to it."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from swarmd.node.transport.local_client import connect_fault
from swarmd.node.transport.local_wire import (
    LOCAL_VERSION,
    BadMessage,
    FrameReader,
    decode_body,
    encode_message,
    fault_of,
    short_address,
)
from swarmd.protocol.faults import LocalFault

_RECV_BYTES = 262_144
_BACKLOG_RETRY_S = 0.02
_PENDING_EVENTS = 1_024

OnMessage = Callable[[dict[str, Any]], None]


class AsyncLocalClient:
    """An open connection; made by `connect_local`. Any number of tasks may call at the same time."""

    def __init__(self, path: Path, sock: trio.socket.SocketType, on_message: OnMessage | None) -> None:
        self._path = path
        self._socket = sock
        self._on_message = on_message
        self._next_id = 0
        self._calls: dict[int, _Pending] = {}
        self._queue: list[bytes] = []
        self._has_work = trio.Event()
        self._gone: LocalFault | None = None
        self.closed = trio.Event()

    @property
    def fault(self) -> LocalFault | None:
        """Why the connection ended, once `closed` is set."""
        return self._gone

    async def call(self, op: str, args: Mapping[str, Any] | None = None) -> Any:
        """The result of `op`. Raises the daemon's LocalFault, or `daemon-gone`."""
        pending = self.post(op, args)
        try:
            await pending.done.wait()
        finally:
            self._calls.pop(pending.call_id, None)
        return pending.result()

    def post(self, op: str, args: Mapping[str, Any] | None = None) -> "_Pending":
        """Send a call without waiting; many posts in one scheduler tick travel in one system call."""
        if self._gone is not None:
            raise self._gone
        self._next_id += 1
        frame = encode_message({"v": LOCAL_VERSION, "id": self._next_id, "op": op, "args": dict(args or {})})
        pending = self._calls[self._next_id] = _Pending(self._next_id)
        self._queue.append(frame)
        self._has_work.set()
        return pending

    def tell(self, op: str, args: Mapping[str, Any] | None = None) -> None:
        """Send a call whose result nobody wants: it is not answered, unless it fails, and then nobody looks.

        Raises LocalFault as `post` does if it cannot be sent.
        """
        if self._gone is not None:
            raise self._gone
        self._next_id += 1
        message = {"v": LOCAL_VERSION, "id": self._next_id, "op": op, "args": dict(args or {}), "quiet": True}
        self._queue.append(encode_message(message))
        self._has_work.set()

    async def stream(self, op: str, args: Mapping[str, Any] | None = None) -> AsyncIterator[Any]:
        """Yield the events of `op`, then its result as the last item."""
        pending = self.post(op, args)
        pending.events, inbox = trio.open_memory_channel[Any](_PENDING_EVENTS)
        try:
            async with inbox:
                async for event in inbox:
                    yield event
            yield pending.result()
        finally:
            self._calls.pop(pending.call_id, None)

    async def _write(self) -> None:
        while True:
            await self._has_work.wait()
            self._has_work = trio.Event()
            view = memoryview(b"".join(self._queue))
            self._queue.clear()
            while view:
                view = view[await self._socket.send(view) :]

    async def _read(self) -> None:
        frames = FrameReader()
        while data := await self._socket.recv(_RECV_BYTES):
            for body in frames.feed(data):
                await self._handle(decode_body(body))

    async def _handle(self, message: dict[str, Any]) -> None:
        call_id = message.get("id")
        if call_id is None:
            if self._on_message is not None:
                self._on_message(message)
            return
        if call_id == 0:
            self._end(fault_of(message.get("error")))
            return
        pending = self._calls.get(call_id)
        if pending is None:
            return
        if "event" in message:
            if pending.events is not None:
                # A stream that nobody reads holds up its connection, not the memory of this process.
                with contextlib.suppress(trio.BrokenResourceError):
                    await pending.events.send(message["event"])
            return
        del self._calls[call_id]
        pending.finish(message)

    def _end(self, fault: LocalFault) -> None:
        if self._gone is None:
            self._gone = fault
        for pending in self._calls.values():
            pending.finish({"ok": False, "error": None}, self._gone)
        self._calls.clear()
        self.closed.set()

    async def _serve(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until_gone, self._read, nursery.cancel_scope)
            nursery.start_soon(self._until_gone, self._write, nursery.cancel_scope)

    async def _until_gone(self, loop: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
        why = "it closed the connection"
        try:
            await loop()
        except OSError as error:
            why = error.strerror or str(error)
            if loop == self._write:
                # What the daemon said before it hung up can still be read, and reading meets the end too.
                return
        except BadMessage as error:
            why = f"it does not speak our protocol ({error})"
        self._end(LocalFault("daemon-gone", f"lost the daemon at {self._path}: {why}", fix="see its log"))
        scope.cancel()


class _Pending:
    """A call that waits for its answer."""

    __slots__ = ("call_id", "done", "events", "_answer", "_fault")

    def __init__(self, call_id: int) -> None:
        self.call_id = call_id
        self.done = trio.Event()
        self.events: trio.MemorySendChannel[Any] | None = None
        self._answer: dict[str, Any] = {}
        self._fault: LocalFault | None = None

    def finish(self, answer: dict[str, Any], fault: LocalFault | None = None) -> None:
        self._answer, self._fault = answer, fault
        self.done.set()
        if self.events is not None:
            self.events.close()

    def result(self) -> Any:
        if self._fault is not None:
            raise self._fault
        if self._answer.get("ok") is not True:
            raise fault_of(self._answer.get("error"))
        return self._answer.get("result")


@asynccontextmanager
async def connect_local(
    path: Path, *, on_message: OnMessage | None = None, timeout_s: float = 30.0
) -> AsyncIterator[AsyncLocalClient]:
    """A connection to the daemon, open inside the block. LocalFault `daemon-not-running` if there is none.

    `on_message` gets what the daemon began by itself (maps without an id); it must not block.
    """
    sock = await _connect(path, timeout_s)
    client = AsyncLocalClient(path, sock, on_message)
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client._serve)
            try:
                yield client
            except Exception as error:
                # Raised again below: the nursery would wrap the caller's own exception in a group.
                failure = error
            nursery.cancel_scope.cancel()
    finally:
        client._end(LocalFault("daemon-gone", "the connection was closed here"))
        sock.close()
    if failure is not None:
        raise failure


async def _connect(path: Path, timeout_s: float) -> trio.socket.SocketType:
    sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    try:
        with trio.fail_after(timeout_s), short_address(path) as address:
            while True:
                try:
                    await sock.connect(address)
                    return sock
                except BlockingIOError:
                    # Linux says EAGAIN at once when the daemon's backlog is full.
                    await trio.sleep(_BACKLOG_RETRY_S)
    except trio.TooSlowError:
        sock.close()
        raise LocalFault("daemon-timeout", f"the daemon at {path} accepts no connection") from None
    except OSError as error:
        sock.close()
        raise connect_fault(path, error) from None
    except BaseException:
        sock.close()
        raise
