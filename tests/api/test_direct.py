"""The short way to an operation: taken by what is as it should be, and by nothing else."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Header
from fastapi.routing import APIRoute
from starlette.responses import Response
from swarmd.node.api.answering import answer
from swarmd.node.api.asking import Asker
from swarmd.node.api.direct import Direct, short_of
from swarmd.node.api.guard import Principal
from swarmd.node.api.once import Once
from swarmd.node.api.routes import agreement, content, dashboard, harmony, money, needs, node
from swarmd.node.api.uploads import Uploads
from swarmd.protocol.faults import LocalFault

SPEC = {"budget": "0.10", "tasks": [{"capability": "text.shout"}]}


async def told(call: Any) -> Any:
    """What was asked, as the answer."""
    return {"op": call.op, "args": call.args, "need": "need-k3v7"}


def all_routers(tmp_path: Path) -> list[APIRouter]:
    ask, once = Asker(told), Once()
    return [
        *node.routes(ask),
        needs.routes(ask, once),
        agreement.routes(ask, once),
        *money.routes(ask, once),
        content.routes(ask, Uploads(None, tmp_path, 1)),  # type: ignore[arg-type]
        harmony.routes(ask, once),
        dashboard.routes(ask),
    ]


class Fallback:
    """In FastAPI's place: counts what comes its way, with the body it could read."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        self.bodies.append(message.get("body", b""))
        await Response(status_code=299)(scope, receive, send)


async def request(
    app: Direct, method: str, target: str, body: Any = None, scopes: tuple[str, ...] = ("read", "spend")
) -> tuple[int, Any]:
    path, _, query = target.partition("?")
    raw = b"" if body is None else json.dumps(body).encode()
    inbox = [{"type": "http.request", "body": raw, "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        return inbox.pop() if inbox else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    principal = Principal("id", "token t", "did:key:z", scopes, 1e12, lambda: True)
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [],
        "principal": principal,
        "server": ("127.0.0.1", 1),
        "scheme": "http",
    }
    await app(scope, receive, send)
    text = b"".join(each.get("body", b"") for each in sent[1:])
    return sent[0]["status"], json.loads(text) if text else None


@pytest.fixture
def fallback() -> Fallback:
    return Fallback()


@pytest.fixture
def app(tmp_path: Path, fallback: Fallback) -> Direct:
    return Direct(fallback, all_routers(tmp_path))


@pytest.mark.parametrize(
    ("target", "op", "args"),
    [
        ("/api/v1/status", "status", {"digests_age_s": 1.0}),
        ("/api/v1/needs", "need.list", {"limit": 100}),
        ("/api/v1/needs?limit=7&state=open&more=ignored", "need.list", {"limit": 7, "state": "open"}),
        ("/api/v1/needs?limit=7&limit=9", "need.list", {"limit": 9}),
        (
            "/api/v1/needs?state=a%20b%26c&cursor=",
            "need.list",
            {"limit": 100, "state": "a b&c", "cursor": ""},
        ),
        ("/api/v1/needs/need-1", "need.show", {"need": "need-1"}),
        ("/api/v1/needs/need-1?need=need-2", "need.show", {"need": "need-1"}),
        ("/api/v1/needs/need-1/graph?task=t", "need.graph", {"need": "need-1", "task": "t"}),
        ("/api/v1/tasks?ready=true", "task.list", {"ready": True, "limit": 100}),
        ("/api/v1/harmony/escrow?all=1", "escrow.list", {"all": True, "limit": 100}),
    ],
)
async def test_a_read_goes_past_fastapi(
    app: Direct, fallback: Fallback, target: str, op: str, args: dict[str, Any]
) -> None:
    status, found = await request(app, "GET", target)
    assert (status, found["op"]) == (200, op)
    assert found["args"] == args
    assert not fallback.bodies


async def test_so_does_a_write(app: Direct, fallback: Fallback) -> None:
    status, found = await request(app, "POST", "/api/v1/needs", SPEC)
    assert status == 201 and found["op"] == "need.post" and found["args"] == {"spec": SPEC}
    assert not fallback.bodies


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", "/api/v1/needs?limit=0", None),
        ("GET", "/api/v1/needs?limit=x", None),
        ("GET", "/api/v1/needs?limit=", None),
        ("GET", f"/api/v1/needs/{'x' * 129}", None),
        ("GET", "/api/v1/needs/", None),
        ("GET", "/api/v1/needs//graph", None),
        ("GET", "/api/v1/nothing", None),
        ("GET", "/api/v1/needs/a/b/c", None),
        ("DELETE", "/api/v1/needs", None),
        ("HEAD", "/api/v1/needs", None),
        ("GET", "/", None),
        ("GET", "", None),
        ("POST", "/api/v1/needs", {**SPEC, "more": 1}),
        ("POST", "/api/v1/needs", {**SPEC, "deadline_s": "60"}),
        ("POST", "/api/v1/needs", [SPEC]),
        ("POST", "/api/v1/needs", None),
        ("POST", "/api/v1/wallet/fund", {"amount": "1"}),  # its key is a header
    ],
)
async def test_all_else_is_left_to_fastapi_with_its_body(
    app: Direct, fallback: Fallback, method: str, target: str, body: Any
) -> None:
    status, _ = await request(app, method, target, body)
    assert status == 299
    assert fallback.bodies == [b"" if body is None else json.dumps(body).encode()]


async def test_the_scope_is_asked_for_first(app: Direct, fallback: Fallback) -> None:
    for body in (SPEC, {"nothing": "valid"}):
        with pytest.raises(LocalFault, match="not spend") as caught:
            await request(app, "POST", "/api/v1/needs", body, scopes=("read",))
        assert caught.value.code == "no-scope"
    assert not fallback.bodies


def test_each_route_is_found_where_fastapi_finds_it(tmp_path: Path, app: Direct) -> None:
    """And most have the short way, so that a change of FastAPI's, or of how we write routes, does not lose it."""
    routes = [each for router in all_routers(tmp_path) for each in router.routes]
    short = 0
    for route in routes:
        assert isinstance(route, APIRoute)
        path = route.path.replace("{", "").replace("}", "")
        for method in route.methods:
            first = next(
                each
                for each in routes
                if isinstance(each, APIRoute) and each.path_regex.match(path) and method in each.methods
            )
            found = app.find(method, path)
            assert (found is not None) == (short_of(first) is not None), path
            if found is not None:
                short += 1
                assert found[0].endpoint.__qualname__ == first.endpoint.__qualname__
                assert inspect.getmodule(found[0].endpoint) is inspect.getmodule(first.endpoint)
    assert short > 0.8 * len(routes)


def test_a_route_that_needs_more_has_no_short_way() -> None:
    router = APIRouter()

    async def with_header(x_it: str = Header("")) -> Response:
        return answer({})

    router.add_api_route("/a", with_header)
    assert all(short_of(route) is None for route in router.routes if isinstance(route, APIRoute))
