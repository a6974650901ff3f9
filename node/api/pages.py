"""The dashboard's files, served from the package. Known names only, so no path leads out of their folder."""

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from swarmd.protocol.faults import LocalFault

INDEX = "index.html"
_EMPTY = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>swarmd</title>"
    "<p>This is the HTTP API of a swarmd node. What it answers: <a href=/openapi.json>/openapi.json</a></p>"
)
# Not left to the host's tables.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
    ".png": "image/png",
    ".ico": "image/x-icon",
}


@dataclass(frozen=True, slots=True)
class _Page:
    body: bytes
    media_type: str
    etag: str
    changed_ns: int


class Pages:
    """Files below `folder`, by their path. A file that changes is read again; a new one counts after a restart."""

    def __init__(self, folder: Path) -> None:
        self._paths = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts
        }
        self._pages: dict[str, _Page] = {}

    def names(self) -> list[str]:
        return list(self._paths)

    def has(self, name: str) -> bool:
        return name in self._paths

    async def serve(self, request: Request) -> Response:
        """The file of the request's path. A path without a suffix is a place in the dashboard: its index."""
        name = request.url.path.lstrip("/") or INDEX
        if name not in self._paths and "." not in name.rpartition("/")[2]:
            name = INDEX
        if name not in self._paths:
            if name == INDEX:
                return Response(_EMPTY, media_type="text/html")
            raise LocalFault("not-found", f"there is no {request.url.path[:200]}")
        page = self._page(name)
        headers = {"ETag": page.etag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == page.etag:
            return Response(status_code=304, headers=headers)
        return Response(page.body, headers=headers, media_type=page.media_type)

    def _page(self, name: str) -> _Page:
        path, known = self._paths[name], self._pages.get(name)
        try:
            changed_ns = path.stat().st_mtime_ns
            if known is not None and known.changed_ns == changed_ns:
                return known
            body = path.read_bytes()
        except OSError:
            raise LocalFault("not-found", f"{name} is not there any more") from None
        media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        made = self._pages[name] = _Page(body, media_type, etag, changed_ns)
        return made


class Files:
    """ASGI: the dashboard's files from here, all else by `app`, which would look through all its routes for each of the
    twenty files of a first view before it found that it has none."""

    def __init__(self, pages: Pages, app: ASGIApp) -> None:
        self._pages = pages
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and scope["method"] == "GET"
            and self._pages.has(scope["path"][1:] or INDEX)
        ):
            await (await self._pages.serve(Request(scope, receive)))(scope, receive, send)
        else:
            await self._app(scope, receive, send)
