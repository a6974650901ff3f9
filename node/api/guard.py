"""What stands before every request: which host was meant, which page asks, who it is, how often, how much.

A plain ASGI layer outside of FastAPI, so that nothing of a request is read or parsed before it may be.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any

import trio
from starlette.responses import Response
from swarmd.node.api.problems import internal, problem
from swarmd.node.api.rates import Rates
from swarmd.node.api.sessions import Sessions
from swarmd.node.api.settings import ApiSettings
from swarmd.node.api.tokens import Tokens
from swarmd.protocol.canonical_json import BadJson, parse_json
from swarmd.protocol.faults import CorruptState, Fault, LocalFault

log = logging.getLogger("swarmd.api")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

API = "/api/"
UPLOAD = "/api/v1/content"
CSRF_HEADER = "x-swarmd-csrf"
SAFE = ("GET", "HEAD", "OPTIONS")
MAX_TARGET_BYTES = 4_096
BODY_TIMEOUT_S = 10.0
# Of requests without a valid token, by address: enough for a page's files, too little to try secrets.
ANONYMOUS_PER_S, ANONYMOUS_BURST = 50.0, 300.0
REFUSED_PER_S, REFUSED_BURST = 2.0, 20.0

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_API_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
PAGE_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    b"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS = ((b"content-security-policy", PAGE_POLICY),)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a token or a browser's session. `still` says whether it may go on, for what takes long."""

    id: str
    name: str
    did: str
    scopes: tuple[str, ...]
    expires_s: float
    still: Callable[[], bool]
    csrf: str = ""  # of a session; tokens need none, no browser sends them by itself

    def need(self, scope: str) -> None:
        if scope not in self.scopes:
            raise LocalFault(
                "no-scope",
                f"{self.name} may {', '.join(self.scopes)}, not {scope}",
                fix=f"swarmd token create NAME --scope {scope}",
            )


@dataclass(slots=True)
class Place:
    """Where the API is reached, known once it listens."""

    host: str = ""
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Guard:
    """ASGI: `app` behind everything above. `on_corrupt` gets what must end the daemon."""

    def __init__(
        self,
        app: App,
        settings: ApiSettings,
        did: str,
        tokens: Tokens,
        sessions: Sessions,
        place: Place,
        on_corrupt: Callable[[CorruptState], None],
    ) -> None:
        self._app = app
        self._settings = settings
        self._did = did
        self._tokens = tokens
        self._sessions = sessions
        self._place = place
        self._on_corrupt = on_corrupt
        self.cookie = cookie_name(did)
        self._rates = Rates(settings.rate_per_s, max(1.0, 2 * settings.rate_per_s))
        self._anonymous = Rates(ANONYMOUS_PER_S, ANONYMOUS_BURST)
        self._refused = Rates(REFUSED_PER_S, REFUSED_BURST)
        self.counters: dict[str, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, _Answer(scope, send))
        # A WebSocket gets no answer: Hypercorn then refuses it.

    async def _serve(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        receive = answer.follow(receive)
        try:
            try:
                early = await self._admit(scope, answer)
                if early is None:
                    if not _streams_up(scope):
                        receive = await self._whole_body(scope, receive)
                    await self._app(scope, receive, answer.send)
                    return
            except Fault as fault:
                if isinstance(fault, CorruptState):
                    raise
                early = problem(fault, headers=getattr(fault, "headers", None))
            await self._finish(scope, receive, answer, early)
        except CorruptState as error:
            self._on_corrupt(error)
            await self._finish(scope, receive, answer, internal())
        except Exception:
            if answer.gone:
                return  # whoever asked left in the middle of the answer
            # The isolation boundary of a request: a bug in one must not end the daemon. What the app raises was
            # answered already, if anything could be.
            log.exception("%s %s failed", scope["method"], scope["path"])
            await self._finish(scope, receive, answer, internal())

    async def _finish(self, scope: Scope, receive: Receive, answer: "_Answer", response: Response) -> None:
        if not answer.begun:
            await response(scope, receive, answer.send)

    # Who may come in -----------------------------------------------------------------------------------

    async def _admit(self, scope: Scope, answer: "_Answer") -> Response | None:
        """An answer if the request goes no further; sets scope["principal"]. Raises the Fault to answer with."""
        headers = Headers(scope)
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET_BYTES:
            raise LocalFault("url-too-long", f"a path and query have at most {MAX_TARGET_BYTES} bytes")
        self._check_host(headers)
        preflight = self._check_origin(scope, headers, answer)
        if preflight is not None:
            return preflight
        address = (scope.get("client") or ("",))[0]
        principal = None
        if headers.one("authorization") or self.cookie in headers.cookies():
            principal = self._principal(headers, address, needed=scope["path"].startswith(API))
        elif scope["path"].startswith(API):
            self._slow_down(self._refused, address)
            raise LocalFault(
                "no-token",
                "this needs a token",
                fix="send Authorization: Bearer TOKEN; swarmd token create makes one, swarmd dashboard logs in",
            )
        scope["principal"] = principal
        if principal is None:
            self._slow_down(self._anonymous, address)
        else:
            self._slow_down(self._rates, principal.id)
            if principal.csrf and scope["method"] not in SAFE:
                self._check_csrf(principal, headers)
        return None

    def _slow_down(self, rates: Rates, caller: str) -> None:
        wait_s = rates.take(caller)
        if wait_s:
            self._count("too-many-requests")
            fault = LocalFault(
                "too-many-requests",
                "too many requests",
                fix=f"wait {wait_s:.3g} s; see api_rate_per_s in swarmd.toml",
            )
            fault.headers = {"Retry-After": str(max(1, round(wait_s + 0.5)))}  # type: ignore[attr-defined]
            raise fault

    def _check_host(self, headers: "Headers") -> None:
        """A page that made its own name point at this address (DNS rebinding) comes with that name."""
        given = headers.one("host").lower()
        name, port = split_host(given)
        place = self._place
        default = 443 if place.scheme == "https" else 80
        if (port if port is not None else default) == place.port and name in (
            "localhost",
            "127.0.0.1",
            "::1",
            place.host.lower(),
        ):
            return
        if name in self._settings.hosts or given in self._settings.hosts:
            return
        self._count("wrong-host")
        raise LocalFault(
            "wrong-host",
            f"this is not {given or 'a request with a Host header'}",
            fix=f"use {place.url}, or set api_hosts",
        )

    def _check_origin(self, scope: Scope, headers: "Headers", answer: "_Answer") -> Response | None:
        """Pages of other origins get nothing, unless `api_cors_origins` names them: then what CORS asks for."""
        origin = headers.one("origin")
        own = f"{self._place.scheme}://{headers.one('host').lower()}"
        if not origin or origin.lower() == own:
            if not origin and headers.one("sec-fetch-site") in ("cross-site", "same-site"):
                # A link or an image on another page: it must not act in the name of who is logged in.
                headers.forget("cookie")
            return None
        if origin not in self._settings.cors_origins:
            self._count("wrong-origin")
            raise LocalFault(
                "wrong-origin", f"pages of {origin} may not ask this", fix="see api_cors_origins"
            )
        headers.forget("cookie")
        answer.extra.extend(
            (
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-expose-headers", b"retry-after"),
                (b"vary", b"origin"),
            )
        )
        if scope["method"] == "OPTIONS" and headers.one("access-control-request-method"):
            return Response(
                status_code=204,
                headers={
                    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE",
                    "Access-Control-Allow-Headers": "authorization, content-type, last-event-id",
                    "Access-Control-Max-Age": "600",
                },
            )
        return None

    def _principal(self, headers: "Headers", address: str, *, needed: bool) -> Principal | None:
        try:
            return self._identified(headers)
        except LocalFault:
            if not needed:
                return None
            self._count("refused")
            self._slow_down(self._refused, address)
            raise

    def _identified(self, headers: "Headers") -> Principal:
        given = headers.one("authorization")
        if given:
            scheme, _, text = given.partition(" ")
            if scheme.lower() != "bearer":
                raise LocalFault(
                    "bad-token", f"{scheme[:20]!r} is not understood", fix="send Authorization: Bearer TOKEN"
                )
            token = self._tokens.find(text.strip())
            return Principal(
                token.id,
                f"token {token.name}",
                token.did,
                token.scopes,
                token.expires_s,
                lambda: self._tokens.valid(token.id),
            )
        session = self._sessions.find(headers.cookies()[self.cookie])
        return Principal(
            session.id,
            "this session",
            self._did,
            session.scopes,
            session.expires_s,
            lambda: self._sessions.valid(session.id),
            session.csrf,
        )

    def _check_csrf(self, principal: Principal, headers: "Headers") -> None:
        if not headers.one("origin") or headers.one(CSRF_HEADER) != principal.csrf:
            self._count("csrf")
            raise LocalFault(
                "csrf",
                "a change from a browser must come from the dashboard's own page",
                fix=f"send {CSRF_HEADER} with the csrf of GET /api/v1/session",
            )

    def _count(self, what: str) -> None:
        self.counters[what] = self.counters.get(what, 0) + 1

    # What it says --------------------------------------------------------------------------------------

    async def _whole_body(self, scope: Scope, receive: Receive) -> Receive:
        """Read all of a body before the app begins: bounded in size and time, and strict JSON if it says so."""
        headers = Headers(scope)
        most = self._settings.max_body_bytes
        declared = headers.one("content-length")
        if declared.isdigit() and int(declared[:20]) > most:
            raise _too_big(most)
        if not declared and not headers.one("transfer-encoding") and scope["http_version"] == "1.1":
            return receive
        body = bytearray()
        with trio.move_on_after(BODY_TIMEOUT_S) as patience:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    # Half a body may be whole JSON: it must not be taken for what was meant.
                    raise LocalFault("client-gone", "the body broke off")
                body += message.get("body", b"")
                if len(body) > most:
                    raise _too_big(most)
                if not message.get("more_body", False):
                    break
        if patience.cancelled_caught:
            raise LocalFault("request-timeout", f"the body did not come in {BODY_TIMEOUT_S:g} s")
        if body:
            _check_json(headers.one("content-type"), bytes(body))
        waiting: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        return replay


def _check_json(media_type: str, body: bytes) -> None:
    essence = media_type.partition(";")[0].strip().lower()
    if essence != "application/json" and not essence.endswith("+json"):
        raise LocalFault(
            "wrong-media-type",
            f"{essence or 'a body without a type'} is not taken",
            fix="send application/json",
        )
    try:
        parse_json(body)
    except BadJson as error:
        raise LocalFault("bad-json", str(error), fix="send one strict JSON value in UTF-8") from None


def _too_big(most: int) -> LocalFault:
    return LocalFault(
        "body-too-big", f"a body has at most {most} bytes", fix="see api_max_body_bytes in swarmd.toml"
    )


def _streams_up(scope: Scope) -> bool:
    return bool(scope["method"] == "POST" and scope["path"] == UPLOAD)


class Headers:
    """The headers of a request, by lower-case name."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def one(self, name: str) -> str:
        """Its value, "" if there is none; of a header that comes twice, the first."""
        wanted = name.encode("latin-1")
        for key, value in self._scope["headers"]:
            if key == wanted:
                text: str = value.decode("latin-1")
                return text.strip()
        return ""

    def cookies(self) -> Mapping[str, str]:
        given = self.one("cookie")
        if not given:
            return {}
        try:
            return {name: morsel.value for name, morsel in SimpleCookie(given).items()}
        except CookieError:
            return {}

    def forget(self, name: str) -> None:
        dropped = name.encode("latin-1")
        self._scope["headers"] = [pair for pair in self._scope["headers"] if pair[0] != dropped]


class _Answer:
    """Sends what is answered, with the headers that all answers have."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        self._api = scope["path"].startswith(API)
        headers = Headers(scope)
        # Of a body that is left unread nobody knows where it ends: the connection is good for nothing more.
        self._unread = headers.one("content-length") not in ("", "0") or bool(
            headers.one("transfer-encoding")
        )
        self.begun = False
        self.gone = False
        self.extra: list[tuple[bytes, bytes]] = []

    def follow(self, receive: Receive) -> Receive:
        async def followed() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                self._unread = False
            return message

        return followed

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            if self._unread:
                self.extra.append((b"connection", b"close"))
            headers = list(message.get("headers", ()))
            names = {name for name, _ in headers}
            for pair in (*_HEADERS, *(_API_HEADERS if self._api else _PAGE_HEADERS)):
                if pair[0] not in names:
                    headers.append(pair)
            message["headers"] = [*headers, *self.extra]
        try:
            await self._send(message)
        except Exception:  # whatever a connection in ruins makes of it: there is nobody to tell
            self.gone = True
            raise


def split_host(text: str) -> tuple[str, int | None]:
    """`[::1]:80` -> ("::1", 80); a port that is none: -1."""
    if text.startswith("["):
        name, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        name, _, port = text.partition(":")
    if not port:
        return name, None
    return name, int(port) if port.isascii() and port.isdigit() and len(port) < 6 else -1


def cookie_name(did: str) -> str:
    """Cookies know no ports: two nodes on a host would log each other's browsers out under one name."""
    return f"swarmd_{did[-12:]}"
