"""The API's place in the daemon: Hypercorn's trio worker on our own listeners, kept apart from all else.

Its fall never ends the daemon: it is logged, told in the status, and tried again. Only CorruptState passes through.
"""

import errno
import logging
import math
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h11
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, H11SendableEvent
from hypercorn.utils import parse_socket_addr
from swarmd.node.api.guard import App, Place
from swarmd.node.api.settings import DEFAULT_PORT, ApiSettings
from swarmd.node.groups import first
from swarmd.protocol.faults import CorruptState, LocalFault
from trio import TASK_STATUS_IGNORED, TaskStatus

log = logging.getLogger("swarmd.api")

MAX_CONNECTIONS = 256
# A client that takes nothing for so long while there is something for it is cut off.
STALL_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 15.0  # for a first request and its whole head, and between requests
HANDSHAKE_TIMEOUT_S = 10.0
MAX_HEAD_BYTES = 16_384
RETRY_S = (1.0, 2.0, 5.0, 15.0, 60.0)
_BACKLOG = 100


class Patient(trio.abc.Stream):
    """A socket that does not wait for ever for who does not read. Hypercorn shields its sends from cancellation: one
    stalled client would keep the whole daemon from stopping. Whoever serves the client ends with it."""

    def __init__(self, stream: trio.SocketStream, scope: trio.CancelScope) -> None:
        self._stream = stream
        self._scope = scope
        self.socket = stream.socket

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        while view:
            with trio.move_on_after(STALL_TIMEOUT_S) as patience:
                try:
                    sent = await self.socket.send(view[:65_536])
                except OSError as error:
                    self._scope.cancel()
                    raise trio.BrokenResourceError("the client is gone") from error
            if patience.cancelled_caught:
                self._scope.cancel()
                await trio.aclose_forcefully(self._stream)
                raise trio.BrokenResourceError("the client reads too slowly")
            view = view[sent:]

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Http1(H11Protocol):
    """HTTP/1.1 and nothing else: Hypercorn lets an idle HTTP/2 connection live for ever, and an API needs none."""

    at_head = False  # what is being sent is the head of an answer: its body, or its end, comes at once

    async def _check_protocol(self, event: h11.Request) -> None:
        return

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        self.at_head = isinstance(event, h11.Response)
        await super()._send_h11_event(event)


class _Idle:
    """The end of a connection's patience, in place of a task of Hypercorn's for each pause between requests."""

    def __init__(self) -> None:
        self._scope = trio.CancelScope()
        self._needed = True

    async def restart(self, task_group: Any, action: Any) -> None:
        self._scope.deadline = trio.current_time() + IDLE_TIMEOUT_S

    async def stop(self) -> None:
        self._scope.deadline = math.inf

    def dismiss(self) -> None:
        """The client has left by itself."""
        self._needed = False
        self._scope.cancel()

    async def over(self) -> bool:
        """Wait for it; False if nobody needs to hang up any more."""
        with self._scope:
            await trio.sleep_forever()
        return self._needed


class _Connection(TCPServer):
    """One client. Whoever is left when it is closed (a body that nobody reads any more) ends with it."""

    scope: trio.CancelScope
    idle_since: float | None  # trio's clock; None while a request is answered
    _unsent = b""

    async def protocol_send(self, event: Event) -> None:
        """Each pass of the loop that an answer waits for may be a whole turn of the runner. So none is spent here: the
        head goes with its body, and a lock that is free is taken without a checkpoint."""
        if not isinstance(event, RawData):
            if isinstance(event, Updated):
                self.idle_since = trio.current_time() if event.idle else None
            await super().protocol_send(event)
            return
        data = self._unsent + event.data
        if self.protocol.at_head:  # type: ignore[attr-defined]
            self._unsent = data
        elif data:
            self._unsent = b""
            await self._send(data)

    async def _send(self, data: bytes) -> None:
        try:
            self.send_lock.acquire_nowait()
        except trio.WouldBlock:
            await self.send_lock.acquire()
        try:
            with trio.CancelScope(shield=True):
                await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self.protocol.handle(Closed())
        finally:
            self.send_lock.release()

    async def run(self) -> None:
        try:
            await self._run()
        except OSError:
            pass
        finally:
            await self._close()

    async def _run(self) -> None:
        ssl_stream = isinstance(self.stream, trio.SSLStream)
        if ssl_stream:
            try:
                with trio.fail_after(HANDSHAKE_TIMEOUT_S):
                    await self.stream.do_handshake()
            except (trio.BrokenResourceError, trio.TooSlowError):
                return
        sock = self.stream.transport_stream.socket if ssl_stream else self.stream.socket
        client = parse_socket_addr(sock.family, sock.getpeername())
        server = parse_socket_addr(sock.family, sock.getsockname())
        async with TaskGroup() as self._task_group:
            self.protocol = _Http1(  # type: ignore[assignment]
                self.app,
                self.config,
                self.context,
                self._task_group,
                ConnectionState(self.state),
                ssl_stream,
                client,
                server,
                self.protocol_send,
            )
            self.idle_task = idle = _Idle()  # type: ignore[assignment]
            self._task_group.spawn(self._hang_up_after, idle)
            await self.protocol.initiate()
            await idle.restart(None, None)
            await self._read_data()
            idle.dismiss()

    async def _hang_up_after(self, idle: _Idle) -> None:
        if await idle.over():
            with trio.CancelScope(shield=True):
                await self._initiate_server_close()

    async def _close(self) -> None:
        try:
            await super()._close()
        except OSError:
            pass
        finally:
            self.scope.cancel()


class ApiServer:
    """Serves `app` until cancelled. `place` says where, `state` how it is."""

    def __init__(self, app: App, settings: ApiSettings, place: Place) -> None:
        self._app = ASGIWrapper(app)  # type: ignore[arg-type]
        self._settings = settings
        self._place = place
        self._config = _config()
        self._context = WorkerContext(None)
        self._connections = 0
        self._clients: set[_Connection] = set()
        self._broken: CorruptState | None = None
        self._scope = trio.CancelScope()
        self.error = ""
        self.listening = False

    def status(self) -> dict[str, Any]:
        return {
            "state": "up" if self.listening else "down",
            "url": self._place.url if self.listening else "",
            "error": self.error,
            "connections": self._connections,
        }

    def on_corrupt(self, error: CorruptState) -> None:
        """What a request met and nobody should ignore: it comes out of `run`."""
        self._broken = error
        self._scope.cancel()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Serve, and again after a fall; `started()` once it listens or has failed to for the first time."""
        tries = 0
        first = task_status

        def started() -> None:
            nonlocal first
            first.started()
            first = TASK_STATUS_IGNORED

        with self._scope:
            while True:
                try:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._serve, started)
                except* (OSError, LocalFault) as group:
                    self.error = _reason(group)
                    log.warning("the HTTP API does not serve: %s", self.error)
                except* Exception as group:
                    # The isolation boundary of the API: what is wrong with it must not end the daemon.
                    self.error = _reason(group)
                    log.exception("the HTTP API fell")
                self.listening = False
                started()
                await trio.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
                tries += 1
        if self._broken is not None:
            raise self._broken

    async def _serve(self, started: Callable[[], None]) -> None:
        context = self._tls()
        sock = self._bind()
        with sock:
            listener = trio.SocketListener(sock)
            self._place.scheme = "https" if context else "http"
            self.listening, self.error = True, ""
            log.info("the HTTP API is at %s", self._place.url)
            started()
            async with trio.open_nursery() as nursery:
                while True:
                    try:
                        stream = await listener.accept()
                    except OSError as error:
                        if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                            raise
                        log.warning("cannot accept a client of the API: %s", error.strerror)
                        await trio.sleep(0.1)
                        continue
                    if self._connections >= MAX_CONNECTIONS and not self._make_room():
                        await trio.aclose_forcefully(stream)
                        continue
                    self._connections += 1
                    nursery.start_soon(self._client, stream, context)

    async def _client(self, stream: trio.SocketStream, context: ssl.SSLContext | None) -> None:
        scope = trio.CancelScope()
        served: Any = Patient(stream, scope)
        if context is not None:
            served = trio.SSLStream(served, context, server_side=True, https_compatible=True)
        client = _Connection(self._app, self._config, self._context, ConnectionState({}), served)
        try:
            client.idle_since = trio.current_time()
            self._clients.add(client)
            client.scope = scope  # not Hypercorn's nursery: that lets a Cancelled of its own out
            with scope:
                await client
        except Exception as error:
            # The isolation boundary of a client: what its bytes make of the HTTP library costs it its connection.
            log.debug("a client of the API fell: %r", error)
        finally:
            self._connections -= 1
            self._clients.discard(client)
            await trio.aclose_forcefully(stream)

    def _make_room(self) -> bool:
        """Let go of who has been idle longest, for somebody new; False if all are being answered."""
        idle = [client for client in self._clients if client.idle_since is not None]
        if not idle:
            return False
        oldest = min(idle, key=lambda client: client.idle_since or 0.0)
        self._clients.discard(oldest)
        oldest.scope.cancel()
        return True

    def _bind(self) -> trio.socket.SocketType:
        wanted = self._settings.port or self._place.port or DEFAULT_PORT
        try:
            sock = _listen(self._settings.host, wanted)
        except OSError as error:
            if self._settings.port or error.errno != errno.EADDRINUSE:
                raise LocalFault(
                    "api-port",
                    f"{self._settings.host}:{wanted}: {error.strerror or error}",
                    fix="set api_host and api_port in swarmd.toml; 0 takes a free port",
                ) from None
            sock = _listen(self._settings.host, 0)
        self._place.host, self._place.port = sock.getsockname()[:2]
        return trio.socket.from_stdlib_socket(sock)

    def _tls(self) -> ssl.SSLContext | None:
        if not self._settings.tls:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        cert, key = (Path(file).expanduser() for file in (self._settings.tls_cert, self._settings.tls_key))
        try:
            context.load_cert_chain(cert, key)
        except (OSError, ssl.SSLError) as error:
            raise LocalFault(
                "api-tls", f"{cert}, {key}: {error}", fix="name PEM files that belong together"
            ) from None
        return context


def _listen(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _config() -> Config:
    config = Config()
    config.errorlog = logging.getLogger("swarmd.api.http")
    config.accesslog = None
    config.include_server_header = False
    config.keep_alive_timeout = IDLE_TIMEOUT_S
    config.keep_alive_max_requests = 100_000
    config.h11_max_incomplete_size = MAX_HEAD_BYTES
    return config


def _reason(group: BaseExceptionGroup[Any]) -> str:
    error = first(group)
    return str(error) or type(error).__name__
