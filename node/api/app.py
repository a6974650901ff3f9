"""The ASGI application: routes of FastAPI over the operations of the local socket. Behind `guard.Guard`, always."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send
from swarmd.node.api.asking import Asker
from swarmd.node.api.direct import Direct
from swarmd.node.api.events import EventLog
from swarmd.node.api.guard import App, Place
from swarmd.node.api.models import Problem
from swarmd.node.api.once import Once
from swarmd.node.api.pages import Files, Pages
from swarmd.node.api.problems import internal, problem
from swarmd.node.api.routes import (
    agreement,
    content,
    dashboard,
    events,
    figures,
    harmony,
    money,
    needs,
    node,
    whisperer,
)
from swarmd.node.api.sessions import SESSION_TTL_S, Sessions
from swarmd.node.api.uploads import Uploads
from swarmd.node.content.repo import ContentRepo
from swarmd.node.version import version
from swarmd.protocol.faults import Fault, LocalFault

_MAX_ERRORS = 20


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes are made of."""

    ask: Asker
    pages: Pages
    sessions: Sessions
    place: Place
    cookie: str
    events: EventLog
    uploads: Uploads


def make_app(parts: Parts) -> App:
    """All that the API answers. Nothing in it runs in a thread: each route is async, and none has a sync dependency."""
    routers = _routers(parts)
    return Files(parts.pages, Direct(_all_of_it(parts, routers), routers))


def _routers(parts: Parts) -> tuple[APIRouter, ...]:
    once = Once()
    return (
        *node.routes(parts.ask),
        needs.routes(parts.ask, once),
        agreement.routes(parts.ask, once),
        *money.routes(parts.ask, once),
        content.routes(parts.ask, parts.uploads),
        harmony.routes(parts.ask, once),
        whisperer.routes(parts.ask),
        events.routes(parts.events),
        dashboard.routes(parts.ask),
        figures.routes(parts.ask),
    )


def _all_of_it(parts: Parts, routers: Iterable[APIRouter]) -> FastAPI:
    app = FastAPI(
        title="swarmd",
        version=version(),
        description="The HTTP API of one swarmd node. Errors are application/problem+json with a stable `code`.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        separate_input_output_schemas=False,
        redirect_slashes=False,
    )
    app.add_exception_handler(Fault, _on_fault)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_anything)
    for router in routers:
        app.include_router(router)
    _add_login(app, parts.sessions, parts.place, parts.cookie)
    _add_document(app)
    app.add_api_route("/metrics", figures.metrics_route(parts.ask), include_in_schema=False)
    app.add_api_route("/healthz", _healthz, include_in_schema=False)

    async def others(scope: Scope, receive: Receive, send: Send) -> None:
        """What no route has: a page, or nothing. Not a route itself, so that a wrong method stays a wrong method."""
        request = Request(scope, receive)
        if scope["path"].startswith("/api/"):
            raise LocalFault("not-found", f"there is no {request.url.path[:200]}", fix="see /openapi.json")
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405, "pages are only read", {"Allow": "GET, HEAD"})
        await (await parts.pages.serve(request))(scope, receive, send)

    app.router.default = others
    return app


async def _healthz() -> JSONResponse:
    return JSONResponse({"status": "ok"})


def _add_login(app: FastAPI, sessions: Sessions, place: Place, cookie: str) -> None:
    async def login(code: str = "") -> Response:
        """What `swarmd dashboard` opens: a code that is good once becomes a cookie that scripts cannot read."""
        _, secret = sessions.open(code[:128])
        answer = RedirectResponse("/", 303, {"Cache-Control": "no-store"})
        answer.set_cookie(
            cookie,
            secret,
            max_age=int(SESSION_TTL_S),
            httponly=True,
            samesite="strict",
            secure=place.scheme == "https",
        )
        return answer

    async def logout(request: Request) -> Response:
        asker = request.scope["principal"]
        if asker is not None and asker.csrf:
            sessions.close(asker.id)
        answer = Response(status_code=204)
        answer.delete_cookie(cookie, httponly=True, samesite="strict")
        return answer

    app.add_api_route("/login", login, methods=["GET"], include_in_schema=False)
    app.add_api_route("/api/v1/session", logout, methods=["DELETE"], include_in_schema=False)


def document_of(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document of what the app's routes declare."""
    made: dict[str, Any] = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version="3.1.0",
        description=app.description,
        routes=app.routes,
    )
    parts = made.setdefault("components", {})
    parts.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
    parts["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "`swarmd token create NAME --scope read`",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "swarmd_*",
            "description": "what the link of `swarmd dashboard` sets; changes send X-Swarmd-CSRF as well",
        },
    }
    return made


def declared() -> dict[str, Any]:
    """The document without a node, for the reference: routes declare it, so nothing behind them is ever asked."""

    async def nobody(call: Any) -> Any:
        raise LocalFault("no-node", "there is no node behind this")

    parts = Parts(
        Asker(nobody),
        Pages(Path(os.devnull)),
        Sessions(),
        Place(scheme="http"),
        "swarmd",
        EventLog(lambda need: ""),
        Uploads(cast(ContentRepo, None), Path(os.devnull), 0),
    )
    return document_of(_all_of_it(parts, _routers(parts)))


def _add_document(app: FastAPI) -> None:
    made: dict[str, Any] = {}

    def document() -> dict[str, Any]:
        if not made:
            made.update(document_of(app))
        return made

    app.openapi = document  # type: ignore[method-assign]

    async def openapi() -> JSONResponse:
        return JSONResponse(document())

    app.add_api_route("/openapi.json", openapi, include_in_schema=False)


# Errors ------------------------------------------------------------------------------------------------------


async def _on_fault(request: Request, error: Exception) -> Response:
    assert isinstance(error, Fault)
    return problem(error)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = [
        {"in": ".".join(map(str, each["loc"]))[:200], "message": str(each["msg"])[:200]}
        for each in error.errors()[:_MAX_ERRORS]
    ]
    said = "; ".join(f"{each['in']}: {each['message']}" for each in found[:3])
    fault = LocalFault("bad-request", said, fix="see /openapi.json")
    return problem(fault, status=422, more={"errors": found})


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes: dict[int, str] = {404: "not-found", 405: "wrong-method"}
    code = codes.get(error.status_code, "bad-request")
    fault = LocalFault(
        code, f"{request.method} {request.url.path[:200]}: {error.detail}", fix="see /openapi.json"
    )
    return problem(fault, status=error.status_code, headers=error.headers)


async def _on_anything(request: Request, error: Exception) -> Response:
    return internal()
