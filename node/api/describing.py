"""What all routes have in common in /openapi.json, and the scope that each asks for."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, Request
from swarmd.node.api.guard import Principal
from swarmd.node.api.models import Problem
from swarmd.node.api.problems import MEDIA_TYPE
from swarmd.node.api.tokens import OPERATE, READ, SPEND

_PROBLEM = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
_WHAT = {
    401: "no valid token",
    403: "the token's scopes do not reach, or another page asks",
    404: "there is no such thing",
    405: "not this method",
    409: "it contradicts what is already so",
    413: "too big",
    415: "not application/json",
    422: "not understood, or cannot be",
    429: "too many requests",
    504: "not within the time",
    507: "no room for it",
    503: "what it needs cannot be reached now",
}
_SECURITY: list[dict[str, list[str]]] = [{"token": []}, {"session": []}]


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may answer with, beside those that all may."""
    return {status: {"description": _WHAT[status], **_PROBLEM} for status in (401, 403, 422, 429, *statuses)}


class Scoped:
    """A dependency: the caller's token has this scope."""

    def __init__(self, scope: str) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> None:
        who(request).need(self.scope)


def who(request: Request) -> Principal:
    found: Principal = request.scope["principal"]
    return found


Add = Callable[..., Callable[[Any], Any]]


class Routes:
    """A router whose routes name their scope: `routes.get("/needs", "read", model=..., problems=(404,))`."""

    def __init__(self, tag: str, prefix: str = "") -> None:
        self.router = APIRouter(prefix=f"/api/v1{prefix}", tags=[tag])

    def get(self, path: str, **more: Any) -> Callable[[Any], Any]:
        return self._add("GET", path, READ, **more)

    def look(self, method: str, path: str, **more: Any) -> Callable[[Any], Any]:
        """What changes nothing, though it is sent with a body."""
        return self._add(method, path, READ, **more)

    def change(self, method: str, path: str, **more: Any) -> Callable[[Any], Any]:
        """What changes this node."""
        return self._add(method, path, OPERATE, **more)

    def spend(self, method: str, path: str, **more: Any) -> Callable[[Any], Any]:
        """What moves or binds money of this node."""
        return self._add(method, path, SPEND, **more)

    def _add(
        self,
        method: str,
        path: str,
        scope: str,
        *,
        model: Any = None,
        problems: tuple[int, ...] = (),
        **more: Any,
    ) -> Callable[[Any], Any]:
        said = (415,) if method in ("POST", "PUT") else ()
        extra = {"security": _SECURITY, "x-scope": scope, **more.pop("openapi_extra", {})}
        found: Callable[[Any], Any] = self.router.api_route(
            path,
            methods=[method],
            dependencies=[Depends(Scoped(scope))],
            responses=answers(*problems, *said),
            response_model=model,
            openapi_extra=extra,
            **more,
        )
        return found


__all__ = ["Problem", "Routes", "answers", "who"]
