"""Content: files in, files out, pins."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response
from swarmd.node.api import models
from swarmd.node.api.answering import answer
from swarmd.node.api.asking import Asker
from swarmd.node.api.describing import Routes
from swarmd.node.api.requests import GcSpec, PinSpec
from swarmd.node.api.uploads import Uploads
from swarmd.protocol.cids import cid_text, parse_cid
from swarmd.protocol.faults import LocalFault, RemoteFault

CidPath = Annotated[str, Path(max_length=128, description="a CIDv1")]
# What strangers made is a download: no browser is to show it as a page of this origin.
_AS_FILE = {"Content-Security-Policy": "sandbox; default-src 'none'", "Cache-Control": "private, immutable"}
_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def routes(ask: Asker, uploads: Uploads) -> APIRouter:
    api = Routes("content", "/content")

    @api.get("", model=models.Usage)
    async def usage() -> Response:
        """What the node holds and may hold."""
        return answer(await ask("content.usage"))

    @api.change("POST", "", model=models.Added, status_code=201, problems=(413, 507), openapi_extra=_UPLOAD)
    async def add(
        request: Request,
        name: Annotated[str, Query(max_length=256)] = "",
        pin: Annotated[bool, Query(description="an unpinned file goes with the next collection")] = True,
    ) -> Response:
        """Store the body, a file as it is; its CID."""
        added = await uploads.take(request.stream(), request.headers.get("content-length", ""))
        if pin:
            await ask("content.pin", cid=added.cid, name=name)
        found = {"cid": added.cid, "size": added.size}
        return answer(found, 201, {"Location": f"/api/v1/content/{cid_text(added.cid)}"})

    @api.get("/pins", model=models.Pins)
    async def pins() -> Response:
        """What is kept, oldest first."""
        return answer(await ask("content.pins"))

    @api.change("PUT", "/pins/{cid}", problems=(404, 503))
    async def pin_content(cid: CidPath, spec: PinSpec) -> Response:
        """Keep it; what is not here is fetched from peers first."""
        return answer(await ask("content.pin", cid=_cid(cid), name=spec.name, recursive=spec.recursive))

    @api.change("DELETE", "/pins/{cid}")
    async def unpin_content(cid: CidPath) -> Response:
        """Let it go with the next collection, unless something else keeps it."""
        return answer(await ask("content.unpin", cid=_cid(cid)))

    @api.change("POST", "/gc", problems=(409,))
    async def collect(spec: GcSpec) -> Response:
        """Delete what nothing keeps."""
        return answer(await ask("content.gc", grace_s=spec.grace_s))

    @api.get("/{cid}", model=None, problems=(404, 413, 503), response_class=Response)
    async def content(cid: CidPath) -> Response:
        """The bytes of a file of at most 8 MiB, fetched from peers if need be."""
        _cid(cid)
        found = await ask("content.cat", cid=cid)
        headers = {**_AS_FILE, "Content-Disposition": f'attachment; filename="{cid}"'}
        return Response(found["data"], headers=headers, media_type="application/octet-stream")

    return api.router


def _cid(text: str) -> bytes:
    try:
        return parse_cid(text)
    except RemoteFault as fault:
        raise LocalFault(fault.code, fault.message, fix="a CID begins with baf") from None
