"""The API's place in the daemon: what it refuses to be told, ports that are taken, TLS, and its fall."""

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from swarmd.node.api.guard import Place
from swarmd.node.api.rates import Rates
from swarmd.node.api.server import ApiServer
from swarmd.node.api.sessions import CODE_TTL_S, SESSION_TTL_S, Sessions
from swarmd.node.api.settings import ApiSettings
from swarmd.node.api.tokens import MAX_TTL_S, TOKENS_FILE, Tokens
from swarmd.protocol.faults import CorruptState, LocalFault

Problem = Callable[[httpx.Response], tuple[int, str]]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "2", "-subj", "/CN=swarmd", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return cert, key


# Settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "node.example", ""])
def test_others_reach_it_only_with_tls(host: str) -> None:
    with pytest.raises(LocalFault, match="no TLS") as caught:
        ApiSettings(True, host).check()
    assert caught.value.code == "bad-config" and "api_tls_cert" in caught.value.fix


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.53"])
def test_loopback_needs_none(host: str) -> None:
    ApiSettings(True, host).check()


def test_half_of_tls_and_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    for cert, key in (("x", ""), ("", "x"), (str(tmp_path / "no"), str(tmp_path / "no"))):
        with pytest.raises(LocalFault, match="api_tls"):
            ApiSettings(True, "127.0.0.1", tls_cert=cert, tls_key=key).check()


@pytest.mark.parametrize(
    "origin", ["*", "https://*.example", "example.com", "https://a/b", "ftp://a", "https://"]
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(LocalFault, match="no origin"):
        ApiSettings(True, cors_origins=(origin,)).check()


def test_unsafe_settings_keep_the_daemon_from_starting(tmp_path: Path, swarmd_up: Any) -> None:
    done = swarmd_up('api_host = "0.0.0.0"\n')
    assert done.returncode == 2 and b"TLS" in done.stderr


@pytest.fixture
def swarmd_up(tmp_path: Path) -> Callable[[str], Any]:
    import sys

    def run(config: str) -> Any:
        home = str(tmp_path / "home")
        command = [sys.executable, "-m", "swarmd.cli", "--home", home]
        subprocess.run([*command, "init"], check=True, capture_output=True, timeout=60)
        (tmp_path / "home" / "swarmd.toml").write_text(config)
        return subprocess.run([*command, "up"], capture_output=True, timeout=60)

    return run


# Its place ---------------------------------------------------------------------------------------------------


def test_over_tls(serve: Any, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    own = serve(config=f'api_host = "0.0.0.0"\napi_tls_cert = "{cert}"\napi_tls_key = "{key}"\n')
    assert own.url.startswith("https://0.0.0.0:")
    port = own.address[1]
    headers = {"Authorization": f"Bearer {own.tokens['read']}"}
    with httpx.Client(verify=ssl.create_default_context(cafile=str(cert))) as client:
        answer = client.get(f"https://127.0.0.1:{port}/api/v1/session", headers=headers)
        assert answer.status_code == 200
        login = own.ask("api.login")["url"].replace("0.0.0.0", "127.0.0.1")
        assert "secure" in client.get(login).headers["set-cookie"].lower()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/1.1 200" not in plain.recv(1_000)


def test_a_port_that_is_taken_is_told_and_the_daemon_lives(serve: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        own = serve(config=f"api_port = {taken.getsockname()[1]}\n")
        found = own.ask("api.status")
        assert found["state"] == "down" and "in use" in found["error"].lower()
        assert own.ask("status")["api"]["state"] == "down"
        with pytest.raises(LocalFault, match="api-down"):
            own.ask("api.login")
    # It tries again by itself.
    for _ in range(300):
        if own.ask("api.status")["state"] == "up":
            return
        threading.Event().wait(0.1)
    pytest.fail("it did not come up once the port was free")


def test_no_api(serve: Any) -> None:
    own = serve("--no-api")
    assert own.url == "" and own.ask("api.status")["state"] == "off"
    with pytest.raises(LocalFault, match="api-down") as caught:
        own.ask("api.login")
    assert "api_enabled" in caught.value.fix


async def serving(app: Any, server_of: list[ApiServer], *, task_status: Any) -> None:
    server = ApiServer(app, ApiSettings(True), Place())
    server_of.append(server)
    await server.run(task_status=task_status)


def get(place: Place, path: str = "/") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(place.host, place.port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


async def test_an_app_that_falls_costs_only_its_request() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/fall":
            raise RuntimeError("no")
        await hello(scope, receive, send)

    found: list[ApiServer] = []
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: serving(app, found, task_status=task_status))
            assert (await trio.to_thread.run_sync(get, found[0]._place, "/fall"))[0] == 500
            assert (await trio.to_thread.run_sync(get, found[0]._place)) == (200, b"hi")
            nursery.cancel_scope.cancel()


async def test_a_server_that_falls_comes_back_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[ApiServer] = []
    monkeypatch.setattr("swarmd.node.api.server.RETRY_S", (0.01,))
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: serving(hello, found, task_status=task_status))
            server, port = found[0], found[0]._place.port
            accept, fell = trio.SocketListener.accept, []

            async def broken(listener: trio.SocketListener) -> Any:
                stream = await accept(listener)
                if not fell:
                    fell.append(stream)
                    await stream.aclose()
                    raise RuntimeError("a bug")
                return stream

            monkeypatch.setattr(trio.SocketListener, "accept", broken)
            while not fell:  # the first may still come to the accept that was there before
                with contextlib.suppress(OSError, http.client.HTTPException):
                    await trio.to_thread.run_sync(get, server._place)
            answer: Any = None
            while answer != (200, b"hi"):
                with contextlib.suppress(OSError, http.client.HTTPException):
                    answer = await trio.to_thread.run_sync(get, server._place)
            assert server._place.port == port and fell
            nursery.cancel_scope.cancel()


async def test_corrupt_state_comes_out() -> None:
    found: list[ApiServer] = []
    with trio.fail_after(10), pytest.RaisesGroup(CorruptState, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: serving(hello, found, task_status=task_status))
            found[0].on_corrupt(CorruptState("bad", "state"))


async def test_idle_clients_make_way_for_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[ApiServer] = []
    monkeypatch.setattr("swarmd.node.api.server.MAX_CONNECTIONS", 3)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: serving(hello, found, task_status=task_status))
            place = found[0]._place
            idle = [await trio.open_tcp_stream(place.host, place.port) for _ in range(3)]
            for _ in range(5):
                assert (await trio.to_thread.run_sync(get, place)) == (200, b"hi")
            assert await idle[0].receive_some(1) == b""  # the first to come was the first to go
            for stream in idle:
                await trio.aclose_forcefully(stream)
            nursery.cancel_scope.cancel()


async def test_a_slow_head_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[ApiServer] = []
    monkeypatch.setattr("swarmd.node.api.server.IDLE_TIMEOUT_S", 0.2)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: serving(hello, found, task_status=task_status))
            place = found[0]._place
            for begun in (b"", b"GET / HTTP/1.1\r\nHo"):
                stream = await trio.open_tcp_stream(place.host, place.port)
                async with stream:
                    if begun:
                        await stream.send_all(begun)
                    assert await stream.receive_some(100) == b""
            while found[0]._connections:  # noqa: ASYNC110
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()


async def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from swarmd.node.api import guard as guards

    monkeypatch.setattr(guards, "BODY_TIMEOUT_S", 0.1)
    tokens = Tokens(tmp_path, "did:key:z")
    _, text = tokens.create("a", ["read"], 60)
    place = Place("127.0.0.1", 80)
    guard = guards.Guard(hello, ApiSettings(True), "did:key:z", tokens, Sessions(), place, lambda error: None)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/v1/needs",
        "raw_path": b"/api/v1/needs",
        "query_string": b"",
        "http_version": "1.1",
        "headers": [
            (b"host", b"127.0.0.1"),
            (b"authorization", f"Bearer {text}".encode()),
            (b"content-length", b"10"),
            (b"content-type", b"application/json"),
        ],
        "client": ("127.0.0.1", 1),
    }

    async def receive() -> Any:
        await trio.sleep_forever()

    with trio.fail_after(5):
        await guard(scope, receive, send)
    assert sent[0]["status"] == 408 and json.loads(sent[1]["body"])["code"] == "request-timeout"


# Tokens, sessions, rates -------------------------------------------------------------------------------------


def test_tokens_are_kept_and_are_of_one_node(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path, "did:key:a")
    made, text = tokens.create("one", ["spend"], 60)
    assert made.scopes == ("read", "spend")  # what changes something can see it
    assert Tokens(tmp_path, "did:key:a").find(text).id == made.id
    with pytest.raises(LocalFault, match="bad-token"):
        Tokens(tmp_path, "did:key:b").find(text)
    with pytest.raises(LocalFault, match="token-exists"):
        tokens.create("one", ["read"], 60)
    tokens.revoke("one")
    with pytest.raises(LocalFault, match="token-revoked"):
        Tokens(tmp_path, "did:key:a").find(text)
    tokens.create("one", ["read"], 60)  # its name is free again
    assert [row["state"] for row in tokens.list()] == ["valid", "revoked"]


@pytest.mark.parametrize(
    ("name", "scopes", "ttl_s"),
    [
        ("", ["read"], 1),
        ("x" * 65, ["read"], 1),
        ("a\n", ["read"], 1),
        ("a", [], 1),
        ("a", ["root"], 1),
        ("a", "read", 1),
        ("a", ["read"], 0),
        ("a", ["read"], MAX_TTL_S + 1),
        ("a", ["read"], True),
        (None, ["read"], 1),
    ],
)
def test_a_token_that_makes_no_sense_is_not_made(tmp_path: Path, name: Any, scopes: Any, ttl_s: Any) -> None:
    tokens = Tokens(tmp_path, "did:key:a")
    with pytest.raises(LocalFault, match="bad-args"):
        tokens.create(name, scopes, ttl_s)
    assert not (tmp_path / TOKENS_FILE).exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"v": 2, "tokens": []}', '{"v": 1, "tokens": [{}]}'])
def test_a_file_of_tokens_that_cannot_be_read_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / TOKENS_FILE).write_text(text)
    with pytest.raises(LocalFault, match="bad-tokens"):
        Tokens(tmp_path, "did:key:a")


def test_codes_and_sessions_end() -> None:
    now = [1_000.0]
    sessions = Sessions(lambda: now[0])
    late = sessions.invite(("read",))
    now[0] += CODE_TTL_S
    with pytest.raises(LocalFault, match="login-expired"):
        sessions.open(late)
    session, cookie = sessions.open(sessions.invite(("read",)))
    assert sessions.find(cookie) == session and sessions.valid(session.id)
    now[0] += SESSION_TTL_S
    with pytest.raises(LocalFault, match="session-expired"):
        sessions.find(cookie)
    assert not sessions.valid(session.id)


def test_a_rate_lets_bursts_through_and_holds_the_average() -> None:
    now = [0.0]
    rates = Rates(10.0, 5.0, lambda: now[0])
    assert [rates.take("a") > 0 for _ in range(6)] == [False] * 5 + [True]
    assert rates.take("b") == 0.0
    now[0] += 0.1
    assert rates.take("a") == 0.0 and rates.take("a") > 0
