"""What strangers, buggy clients and other web pages send: a clear answer each, and the daemon lives."""

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

Problem = Callable[[httpx.Response], tuple[int, str]]


@pytest.fixture
def raw(served: Any) -> Callable[..., tuple[int, dict[str, str], bytes]]:
    """`raw(bytes, ...)`: what a socket answers to exactly these, sent one after another; (0, {}, b"") if it hangs up."""

    def send(*parts: bytes, timeout_s: float = 30.0) -> tuple[int, dict[str, str], bytes]:
        with socket.create_connection(served.address, timeout=timeout_s) as sock:
            try:
                for part in parts:
                    sock.sendall(part)
            except OSError:
                pass  # it said why before it hung up
            data = b""
            try:
                while chunk := sock.recv(65_536):
                    data += chunk
                    head, _, body = data.partition(b"\r\n\r\n")
                    if b"content-length: " in head:
                        length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
                        if len(body) >= length:
                            break
            except ConnectionResetError:
                pass
        if not data:
            return 0, {}, b""
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        return int(lines[0].split(" ")[1]), headers, body

    return send


def head(
    served: Any, method: str = "GET", path: str = "/api/v1/status", scope: str | None = "read", **more: str
) -> bytes:
    host = ":".join(map(str, served.address))
    headers = {"Host": host, **({"Authorization": f"Bearer {served.tokens[scope]}"} if scope else {}), **more}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode()


# Who asks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("Bearer swt_000000000000_" + "0" * 64, "bad-token"),
        ("Bearer x", "bad-token"),
        ("Basic dXNlcjpwYXNz", "bad-token"),
        ("Bearer swt__", "bad-token"),
    ],
)
def test_a_wrong_token_is_refused(served: Any, problem: Problem, header: str, code: str) -> None:
    with served.client(None) as client:
        assert problem(client.get("/api/v1/status", headers={"Authorization": header})) == (401, code)


def test_a_token_ends_when_it_expires_or_is_revoked(served: Any, problem: Problem) -> None:
    short = served.ask("token.create", name="short", scopes=["read"], ttl_s=2)["token"]
    long = served.ask("token.create", name="long", scopes=["read"])["token"]
    with served.client(None) as client:

        def said(token: str) -> httpx.Response:
            return client.get("/api/v1/status", headers={"Authorization": f"Bearer {token}"})

        assert said(short).status_code == said(long).status_code == 200
        served.ask("token.revoke", token="long")
        assert problem(said(long)) == (401, "token-revoked")
        for _ in range(200):
            if said(short).status_code != 200:
                break
            time.sleep(0.05)
        assert problem(said(short)) == (401, "token-expired")
        assert "swarmd token create" in said(short).json()["fix"]


def test_a_secret_is_not_on_disk(served: Any) -> None:
    kept = (served.home / "api-tokens.json").read_text()
    assert (served.home / "api-tokens.json").stat().st_mode & 0o777 == 0o600
    for token in served.tokens.values():
        assert token.rpartition("_")[2] not in kept


def test_guessing_is_slowed_down(serve: Any, problem: Problem) -> None:
    own = serve()
    with own.client(None) as client:
        found = [client.get("/api/v1/status", headers={"Authorization": "Bearer swt_a_b"}) for _ in range(40)]
    codes = [problem(answer) for answer in found]
    assert codes[0] == (401, "bad-token") and (429, "too-many-requests") in codes
    assert next(a for a in found if a.status_code == 429).headers["retry-after"].isdigit()
    with own.client() as client:  # who has a token is not slowed by who has none
        assert client.get("/api/v1/status").status_code == 200


def test_a_token_has_a_rate(serve: Any, problem: Problem) -> None:
    own = serve(config="api_rate_per_s = 5.0\n")
    with own.client() as client, own.client("spend") as other:
        found = [client.get("/api/v1/session") for _ in range(25)]
        assert [answer.status_code for answer in found[:10]] == [200] * 10
        assert problem(found[-1]) == (429, "too-many-requests")
        assert other.get("/api/v1/session").status_code == 200


# Where it comes from -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:4280", "127.0.0.1:1", "", "localhost:x", "[::1", "127.0.0.1"]
)
def test_another_host_name_is_refused(served: Any, problem: Problem, host: str) -> None:
    """DNS rebinding: the page of evil.example, which now resolves to 127.0.0.1."""
    for path in ("/api/v1/status", "/", "/openapi.json", "/login?code=x"):
        with served.client() as client:
            assert problem(client.get(path, headers={"Host": host})) == (403, "wrong-host")


def test_the_usual_names_of_this_host_are_taken(served: Any) -> None:
    for name in ("localhost", "127.0.0.1", "[::1]"):
        with served.client() as client:
            answer = client.get("/api/v1/session", headers={"Host": f"{name}:{served.address[1]}"})
        assert answer.status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "file://"])
def test_pages_of_other_origins_get_nothing(served: Any, problem: Problem, origin: str) -> None:
    with served.client() as client:
        for method, path in (
            ("GET", "/api/v1/status"),
            ("POST", "/api/v1/sync"),
            ("OPTIONS", "/api/v1/needs"),
        ):
            headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            answer = client.request(method, path, headers=headers)
            assert problem(answer) == (403, "wrong-origin")
            assert "access-control-allow-origin" not in answer.headers


def test_an_origin_that_is_let_in_gets_what_cors_asks_for(serve: Any, problem: Problem) -> None:
    own = serve(config='api_cors_origins = ["https://ours.example"]\n')
    origin = {"Origin": "https://ours.example"}
    with own.client() as client:
        preflight = client.options(
            "/api/v1/needs", headers={**origin, "Access-Control-Request-Method": "POST"}
        )
        assert preflight.status_code == 204
        assert "authorization" in preflight.headers["access-control-allow-headers"]
        found = client.get("/api/v1/status", headers=origin)
        assert found.headers["access-control-allow-origin"] == "https://ours.example"
        assert "access-control-allow-credentials" not in found.headers
        assert problem(client.get("/api/v1/status", headers={"Origin": "https://x.example"}))[0] == 403


# Browsers ----------------------------------------------------------------------------------------------------


def test_a_login_link_works_once_and_its_cookie_is_for_nobody_elses_scripts(
    served: Any, problem: Problem
) -> None:
    url = served.ask("api.login")["url"]
    with served.client(None) as client:
        answer = client.get(url)
        assert answer.status_code == 303 and answer.headers["location"] == "/"
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie
        session = client.get("/api/v1/session").json()
        assert session["scopes"] == ["read", "operate", "spend"] and session["csrf"]
        assert problem(client.get(url)) == (401, "login-expired")

        # A change needs what a page of ours can read and no other can.
        origin = {"Origin": served.url}
        assert problem(client.post("/api/v1/sync")) == (403, "csrf")
        assert problem(client.post("/api/v1/sync", headers=origin)) == (403, "csrf")
        assert problem(client.post("/api/v1/sync", headers={"X-Swarmd-CSRF": session["csrf"]})) == (
            403,
            "csrf",
        )
        headers = {**origin, "X-Swarmd-CSRF": session["csrf"]}
        assert client.post("/api/v1/sync", headers=headers).status_code == 200
        # An image or link on another page does not act in this session's name.
        assert problem(client.get("/api/v1/status", headers={"Sec-Fetch-Site": "cross-site"})) == (
            401,
            "no-token",
        )

        assert client.delete("/api/v1/session", headers=headers).status_code == 204
        assert problem(client.get("/api/v1/status"))[0] == 401


def test_a_session_may_be_to_look_only(served: Any, problem: Problem) -> None:
    url = served.ask("api.login", scopes=["read"])["url"]
    with served.client(None) as client:
        client.get(url)
        headers = {"Origin": served.url, "X-Swarmd-CSRF": client.get("/api/v1/session").json()["csrf"]}
        assert problem(client.post("/api/v1/sync", headers=headers)) == (403, "no-scope")


@pytest.mark.parametrize("path", ["/login", "/login?code=", "/login?code=x", "/login?code=" + "x" * 2_000])
def test_a_wrong_login_link_says_what_to_do(served: Any, problem: Problem, path: str) -> None:
    with served.client(None) as client:
        answer = client.get(path)
    assert problem(answer) == (401, "login-expired") and "swarmd dashboard" in answer.json()["fix"]


def test_pages_may_load_nothing_from_elsewhere(served: Any) -> None:
    with served.client(None) as client:
        answer = client.get("/")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        *("/../key", "/..%2f..%2fkey", "/%2e%2e/%2e%2e/key", "/static/../../key.pem", "//etc/passwd"),
        *("/..\\key", "/%00", "/a/%2e%2e%5ckey.pem", "/.env", "/index.html%00.js"),
    ],
)
def test_no_path_leads_out(served: Any, raw: Any, path: str) -> None:
    for prefix in ("", "/api/v1/content", "/api/v1/needs"):
        status, headers, body = raw(head(served, path=prefix + path))
        # A path without a suffix is a place in the dashboard; what comes is then its page and nothing else.
        assert status in (400, 404, 422) or headers["content-type"].startswith("text/html"), body
        assert b"PRIVATE" not in body and b"root:" not in body


# What it says ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "bad-json"),
        (b'{"a": NaN}', "bad-json"),
        (b'{"a": Infinity}', "bad-json"),
        (b'{"a": 1, "a": 2}', "bad-json"),
        (b'{"a": 1e999}', "bad-json"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "bad-json"),
        (b'"\\ud800"', "bad-json"),
        (b"\xff\xfe", "bad-json"),
        (b"[" * 100_000, "bad-json"),
        (b"[" * 100 + b"]" * 100, "bad-json"),
        (b"null", "bad-request"),
        (b"[]", "bad-request"),
        (b'{"tasks": []}', "bad-request"),
        (b'{"tasks": 5, "budget": "1"}', "bad-request"),
        (b'{"tasks": [{"capability": "x"}], "budget": 1}', "bad-request"),
        (b'{"tasks": [{"capability": "x"}], "budget": "1", "sudo": true}', "bad-request"),
        (b'{"tasks": [{"capability": "x"}], "budget": "NaN"}', "bad-need"),
        (b'{"tasks": [{"capability": "x"}], "budget": "-1"}', "bad-need"),
        (b'{"tasks": [{"capability": "x"}], "budget": "1e9"}', "bad-need"),
        (b'{"tasks": [{"capability": "x"}], "budget": "0.00000001"}', "bad-need"),
        (b'{"tasks": [{"capability": "x"}], "budget": "1", "deadline_s": 1e300}', "bad-request"),
        (b'{"tasks": [{"capability": "x"}], "budget": "1", "deadline_s": -5}', "bad-deadline"),
        (b'{"tasks": [{"capability": "x"}], "budget": "999999999999999"}', "bad-need"),
    ],
)
def test_a_bad_need_is_refused_whole(served: Any, problem: Problem, body: bytes, code: str) -> None:
    before = served.ask("need.list")["total"], served.ask("balance")["available"]
    with served.client("spend") as client:
        answer = client.post("/api/v1/needs", content=body, headers={"Content-Type": "application/json"})
    status, said = problem(answer)
    assert status in (409, 422), answer.text
    assert said == code, answer.text
    assert (served.ask("need.list")["total"], served.ask("balance")["available"]) == before


@pytest.mark.parametrize(
    "media_type", ["text/plain", "multipart/form-data; boundary=x", "application/xml", ""]
)
def test_a_form_is_no_json(served: Any, problem: Problem, media_type: str) -> None:
    with served.client("spend") as client:
        answer = client.post("/api/v1/needs", content=b"{}", headers={"Content-Type": media_type})
    assert problem(answer) == (415, "wrong-media-type")


def test_a_body_of_ten_megabytes_is_refused(served: Any, raw: Any) -> None:
    body = b"x" * (10 * 1_048_576)
    declared = head(
        served,
        "POST",
        "/api/v1/needs",
        "spend",
        **{"Content-Length": str(len(body)), "Content-Type": "application/json"},
    )
    status, headers, answer = raw(declared, body)
    # The daemon answers and hangs up while most of it is on the way; a client that goes on sending may see only that.
    assert status in (0, 413)
    chunked = head(
        served,
        "POST",
        "/api/v1/needs",
        "spend",
        **{"Transfer-Encoding": "chunked", "Content-Type": "application/json"},
    )
    status, headers, answer = raw(chunked, *[b"10000\r\n" + b"x" * 65_536 + b"\r\n"] * 20)
    assert status in (0, 413)
    status, headers, answer = raw(declared)
    assert (status, json.loads(answer)["code"]) == (413, "body-too-big")
    assert served.ask("status")["did"]


def test_an_upload_that_says_it_is_too_big_is_refused_at_once(served: Any, raw: Any) -> None:
    status, _, body = raw(
        head(served, "POST", "/api/v1/content", "operate", **{"Content-Length": str(1 << 40)})
    )
    assert (status, json.loads(body)["code"]) == (413, "content-too-big")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/v1/status"),
        ("POST", "/api/v1/peers"),
        ("PATCH", "/api/v1/needs"),
        ("TRACE", "/api/v1/needs"),
        ("POST", "/"),
        ("PUT", "/index.html"),
    ],
)
def test_a_wrong_method_is_405(served: Any, problem: Problem, method: str, path: str) -> None:
    with served.client("spend") as client:
        answer = client.request(method, path)
    assert problem(answer) == (405, "wrong-method") and answer.headers["allow"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=1001",
        "limit=NaN",
        "limit=" + "9" * 400,
        "limit=1e3",
        "cursor=" + "x" * 600,
    ],
)
def test_numbers_out_of_bounds_are_refused(served: Any, problem: Problem, query: str) -> None:
    with served.client() as client:
        assert problem(client.get(f"/api/v1/needs?{query}")) == (422, "bad-request")


def test_a_long_address_is_refused(served: Any, problem: Problem) -> None:
    with served.client() as client:
        assert problem(client.get("/api/v1/needs?" + "x" * 5_000)) == (414, "url-too-long")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
        b"GET\r\n\r\n",
        b"\x00" * 1_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 40_000 + b"\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    ],
)
def test_what_is_no_http_costs_its_connection(served: Any, raw: Any, garbage: bytes) -> None:
    status, _, _ = raw(garbage)
    assert status in (0, 400, 403, 431)
    with served.client() as client:
        assert client.get("/api/v1/session").status_code == 200


def test_a_websocket_is_refused(served: Any, raw: Any) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    status, _, _ = raw(head(served, path="/api/v1/events", **upgrade))
    assert status in (403, 404, 500)
