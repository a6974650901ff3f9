"""The short way to an operation, for requests that are as they should be.

FastAPI says what there is (/openapi.json) and what is wrong with a request. Of one with nothing wrong it takes most of
the time: it looks through all routes, twice, and solves dependencies that are always the same. Here the same routes are a
tree of path segments with one Pydantic model each. Whatever does not fit (another method, a value that is not valid, a
header as a parameter) goes FastAPI's way, which answers it; so there is one description of each route, and one of each error.
docs/adr/0037-well-formed-requests-go-past-fastapi.md.
"""

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin
from urllib.parse import parse_qsl

from fastapi import APIRouter
from fastapi.params import Param, Path, Query
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError, create_model
from pydantic.fields import FieldInfo
from starlette.requests import Request
from starlette.responses import Response
from swarmd.node.api.describing import Scoped
from swarmd.node.api.guard import App, Message, Receive, Scope, Send

_ANY = ""  # in the tree: a segment that is a parameter; no segment of a path that counts is empty


@dataclass(frozen=True, slots=True)
class Short:
    """What a request needs to reach an endpoint. Names of parameters; "" if it has none of the kind."""

    endpoint: Callable[..., Any]
    scope: str
    names: tuple[str, ...]  # of the path's parameters, in order
    values: type[BaseModel] | None  # the parameters of path and query
    body: str
    body_model: type[BaseModel] | None
    request: str


@dataclass(slots=True)
class _Place:
    below: dict[str, "_Place"] = field(default_factory=dict)
    methods: dict[str, Short] = field(default_factory=dict)


class Direct:
    """ASGI: `routes` by the short way, all else by `app`. The guard stands before it and answers the faults it raises."""

    def __init__(self, app: App, routers: Iterable[APIRouter]) -> None:
        self._app = app
        self._root = _Place()
        for route in (route for router in routers for route in router.routes):
            if isinstance(route, APIRoute) and (short := short_of(route)) is not None:
                self._add(route, short)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            found = self.find(scope["method"], scope["path"])
            if found is not None:
                short, in_path = found
                scope["principal"].need(short.scope)
                answered, receive = await _answer(short, in_path, scope, receive, send)
                if answered:
                    return
        await self._app(scope, receive, send)

    def _add(self, route: APIRoute, short: Short) -> None:
        place = self._root
        for segment in route.path.split("/")[1:]:
            place = place.below.setdefault(_ANY if segment.startswith("{") else segment, _Place())
        for method in route.methods or ():
            place.methods.setdefault(method, short)  # as in FastAPI: what was declared first

    def find(self, method: str, path: str) -> tuple[Short, list[str]] | None:
        """Its route, if it has one here, and the values of the parameters in the path."""
        place: _Place | None = self._root
        in_path: list[str] = []
        for segment in path.split("/")[1:]:
            assert place is not None
            known = place.below.get(segment) if segment else None
            if known is None:
                known = place.below.get(_ANY) if segment else None
                in_path.append(segment)
            if known is None:
                return None
            place = known
        assert place is not None
        short = place.methods.get(method)
        return None if short is None else (short, in_path)


def short_of(route: APIRoute) -> Short | None:
    """None for a route that needs more of FastAPI than parameters of path and query, a JSON body and a scope."""
    scoped = [each.dependency for each in route.dependencies]
    if len(scoped) != 1 or not isinstance(scoped[0], Scoped) or "{" in route.path and ":" in route.path:
        return None
    signature = inspect.signature(route.endpoint, eval_str=True)
    if not (
        isinstance(signature.return_annotation, type) and issubclass(signature.return_annotation, Response)
    ):
        return None
    values: dict[str, Any] = {}
    body, body_model, request = "", None, ""
    for name, parameter in signature.parameters.items():
        annotation = parameter.annotation
        if annotation is Request:
            request = name
        elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
            body, body_model = name, annotation
        elif _of_path_or_query(annotation):
            missing = parameter.default is inspect.Parameter.empty
            values[name] = (annotation, ... if missing else parameter.default)
        else:
            return None
    return Short(
        route.endpoint,
        scoped[0].scope,
        tuple(segment[1:-1] for segment in route.path.split("/") if segment.startswith("{")),
        create_model(f"Asked_{route.name}", **values) if values else None,
        body,
        body_model,
        request,
    )


def _of_path_or_query(annotation: Any) -> bool:
    """One text of the path or the query: no header, no form, no list."""
    said = [each for each in get_args(annotation)[1:] if isinstance(each, FieldInfo)]
    bare = get_args(annotation)[0] if said else annotation
    kinds = [each for each in (get_args(bare) or (bare,)) if each is not type(None)]
    return (
        get_origin(bare) not in (list, dict, set, tuple)
        and all(kind in (str, int, float, bool) for kind in kinds)
        and all(isinstance(each, Path | Query) or not isinstance(each, Param) for each in said)
    )


async def _answer(
    short: Short, in_path: list[str], scope: Scope, receive: Receive, send: Send
) -> tuple[bool, Receive]:
    """Whether it could be answered; and where what was read of the body can be read again."""
    given: dict[str, Any] = {}
    if short.values is not None:
        try:
            given = _values(short, in_path, scope["query_string"])
        except ValidationError:
            return False, receive
    if short.body_model is not None:
        message = await receive()  # the guard has read it: it is whole, and strict JSON
        receive = _again(message, receive)
        if message["type"] != "http.request" or message.get("more_body") or not message["body"]:
            return False, receive
        try:
            given[short.body] = short.body_model.model_validate(json.loads(message["body"]))
        except ValidationError:
            return False, receive
    if short.request:
        given[short.request] = Request(scope, receive)
    response: Response = await short.endpoint(**given)
    await response(scope, receive, send)
    return True, receive


def _values(short: Short, in_path: list[str], query: bytes) -> dict[str, Any]:
    """What path and query give. Raises ValidationError. Of a name that comes twice the last counts, as in FastAPI."""
    assert short.values is not None
    raw: Mapping[str, str] = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)) if query else {}
    return dict(short.values.model_validate({**raw, **dict(zip(short.names, in_path, strict=True))}).__dict__)


def _again(first: Message, receive: Receive) -> Receive:
    waiting = [first]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
