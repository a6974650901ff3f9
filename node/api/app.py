"""The ASGI application: routes of FastAPI over the operations of the local socket. Behind `guard.Guard`, always."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from swarmd.node.api.asking import Asker
from swarmd.node.api.guard import Place
from swarmd.node.api.models import Problem
from swarmd.node.api.pages import Pages
from swarmd.node.api.problems import internal, problem
from swarmd.node.api.routes import dashboard, needs, node
from swarmd.node.api.sessions import SESSION_TTL_S, Sessions
from swarmd.node.version import version
from swarmd.protocol.faults import Fault, LocalFault

_MAX_ERRORS = 20


def make_app(ask: Asker, pages: Pages, sessions: Sessions, place: Place, cookie: str) -> FastAPI:
    """All that the API answers. Nothing in it runs in a thread: each route is async, and none has a sync dependency."""
    app = FastAPI(
        title="swarmd",
        version=version(),
        description="The HTTP API of one swarmd node. Errors are application/problem+json with a stable `code`.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        separate_input_output_schemas=False,
    )
    app.add_exception_handler(Fault, _on_fault)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_anything)
    for family in (node, needs, dashboard):
        app.include_router(family.routes(ask))
    _add_login(app, sessions, place, cookie)
    _add_document(app)
    app.add_api_route("/healthz", _healthz, include_in_schema=False)

    async def missing(request: Request) -> Response:
        raise LocalFault("not-found", f"there is no {request.url.path[:200]}", fix="see /openapi.json")

    app.add_api_route(
        "/api/{path:path}", missing, methods=["GET", "POST", "PUT", "DELETE"], include_in_schema=False
    )
    app.add_api_route("/{path:path}", pages.serve, methods=["GET", "HEAD"], include_in_schema=False)
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


def _add_document(app: FastAPI) -> None:
    made: dict[str, Any] = {}

    def document() -> dict[str, Any]:
        if not made:
            made.update(
                get_openapi(
                    title=app.title,
                    version=app.version,
                    openapi_version="3.1.0",
                    description=app.description,
                    routes=app.routes,
                )
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


Document = Callable[[], dict[str, Any]]
