"""A client of etcd's gRPC API under trio: one kept channel an endpoint, the next one when one does not answer.

grpcio runs its own threads and tells us of an answer by a callback, so no thread of ours waits. Why not the JSON gateway:
docs/adr/0022-etcd-arbitrates.md.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trio
from google.protobuf.message import DecodeError, Message
from swarmd.node.arbiter.messages import make, parser
from swarmd.protocol.faults import LocalFault

log = logging.getLogger(__name__)

ATTEMPT_S = 1.0
MAX_ANSWER_BYTES = 1 << 20
# gRPC's own patience between dials grows to two minutes.
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    ("grpc.enable_http_proxy", 0),
)
METHODS: Mapping[str, tuple[str, str]] = {
    "Range": ("/etcdserverpb.KV/Range", "RangeResponse"),
    "Txn": ("/etcdserverpb.KV/Txn", "TxnResponse"),
    "LeaseGrant": ("/etcdserverpb.Lease/LeaseGrant", "LeaseGrantResponse"),
    "Status": ("/etcdserverpb.Maintenance/Status", "StatusResponse"),
}


class EtcdError(Exception):
    """No endpoint gave an answer, or all refuse us. `code` is gRPC's, in lower case: unavailable, deadline-exceeded,
    permission-denied, not-found, ..., or bad-answer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: whom to trust, and our own certificate and key if etcd asks for one."""

    ca: str = ""
    cert: str = ""
    key: str = ""

    def credentials(self, grpc: Any) -> Any:
        def read(name: str) -> bytes | None:
            if not name:
                return None
            try:
                return Path(name).expanduser().read_bytes()
            except OSError as error:
                raise LocalFault("bad-config", f"{name}: {error.strerror}", fix="see etcd_ca, etcd_cert, etcd_key") from None  # fmt: skip

        return grpc.ssl_channel_credentials(read(self.ca), read(self.key), read(self.cert))


def parse_endpoint(text: str) -> tuple[bool, str]:
    """(TLS?, "host:port") of http://host:port or https://host:port. LocalFault `bad-config` for all else."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port
    except ValueError:
        good = False
    if not good or parts.path not in ("", "/") or parts.query or parts.username:
        raise LocalFault(
            "bad-config",
            f"{text!r} is no etcd endpoint",
            fix="write it as http://host:2379 or https://host:2379",
        )
    return parts.scheme == "https", parts.netloc


class EtcdClient:
    """`call` one of METHODS. Use as an async context manager, or `close` it."""

    def __init__(self, endpoints: Sequence[str], tls: Tls = Tls(), *, attempt_s: float = ATTEMPT_S) -> None:
        import grpc  # type: ignore[import-untyped]

        self._grpc: Any = grpc
        self.endpoints = tuple(endpoints)
        self.attempt_s = attempt_s
        self.failures: dict[str, int] = dict.fromkeys(self.endpoints, 0)
        self.last_error = ""
        self._first = 0
        self._channels = [self._open(endpoint, tls) for endpoint in self.endpoints]

    def _open(self, endpoint: str, tls: Tls) -> Any:
        secure, target = parse_endpoint(endpoint)
        if secure:
            return self._grpc.secure_channel(target, tls.credentials(self._grpc), options=_OPTIONS)
        return self._grpc.insecure_channel(target, options=_OPTIONS)

    @property
    def endpoint(self) -> str:
        """The one that is asked first: it answered last."""
        return self.endpoints[self._first]

    async def call(self, method: str, request: Message) -> Any:
        """The answer of the first endpoint that gives one. EtcdError if none does, or if it is refused for what it is.

        Whether a request that got no answer was carried out cannot be known: ask only what may be asked twice.
        """
        failed = EtcdError("unavailable", "there is no endpoint")
        for _ in self.endpoints:
            at = self._first
            try:
                return await self._ask(at, method, request)
            except EtcdError as error:
                if error.code in ("not-found", "invalid-argument", "permission-denied", "unauthenticated"):
                    raise
                failed = error
                self.last_error = f"{self.endpoints[at]}: {error}"[:300]
                self.failures[self.endpoints[at]] += 1
                # Somebody else may have moved on meanwhile; then there is nothing to move.
                if self._first == at:
                    self._first = (at + 1) % len(self.endpoints)
        raise failed

    async def _ask(self, at: int, method: str, request: Message) -> Any:
        path, answer = METHODS[method]
        stub = self._channels[at].unary_unary(path)
        done, token = trio.Event(), trio.lowlevel.current_trio_token()
        future = stub.future(request.SerializeToString(), timeout=self.attempt_s)

        def tell(_: Any) -> None:
            try:
                token.run_sync_soon(done.set)
            except trio.RunFinishedError:
                pass  # the daemon ended before the answer came

        future.add_done_callback(tell)
        try:
            await done.wait()
        finally:
            future.cancel()  # does nothing to one that is done
        try:
            return parser(answer)(future.result())
        except self._grpc.FutureCancelledError:
            raise EtcdError("unavailable", "the channel was closed") from None
        except self._grpc.RpcError as error:
            code = error.code().name.lower().replace("_", "-")
            raise EtcdError(code, str(error.details())[:300]) from None
        except DecodeError as error:
            raise EtcdError("bad-answer", str(error)[:300]) from None

    async def status(self) -> dict[str, Any]:
        """endpoint -> {"version", "leader"} or {"error"}, each asked by itself."""
        found: dict[str, Any] = {}

        async def ask(at: int) -> None:
            try:
                said = await self._ask(at, "Status", make("StatusRequest"))
                found[self.endpoints[at]] = {
                    "version": said.version,
                    "leader": said.leader != 0 and said.leader == said.header.member_id,
                }
            except EtcdError as error:
                found[self.endpoints[at]] = {"error": str(error)}

        async with trio.open_nursery() as nursery:
            for at in range(len(self.endpoints)):
                nursery.start_soon(ask, at)
        return {endpoint: found[endpoint] for endpoint in self.endpoints}

    def close(self) -> None:
        for channel in self._channels:
            channel.close()

    async def __aenter__(self) -> "EtcdClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
