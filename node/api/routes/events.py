"""Server-Sent Events."""

from typing import Annotated

import trio
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from swarmd.node.api.describing import Routes, who
from swarmd.node.api.events import EventLog, Reader
from swarmd.node.topics import TopicFilter

_STREAM = {
    "responses": {
        "200": {
            "description": "`event: envelope` with a JSON object; `event: reset` where some were missed",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    }
}


def routes(log: EventLog) -> APIRouter:
    api = Routes("events")

    @api.get("/events", response_class=Response, openapi_extra=_STREAM)
    async def events(
        request: Request,
        topic: Annotated[str | None, Query(max_length=256, description="as /swarm/thread/need-.../+")] = None,
        last_event_id: Annotated[str, Header(max_length=64)] = "",
    ) -> Response:
        """What happens in the mesh from now on, or from after Last-Event-ID: each envelope with the state its need is
        in. A reader that is too slow is cut off and can come back with its last id."""
        asker = who(request)
        wanted = TopicFilter.parse(topic) if topic is not None else None
        log.join(asker.id)
        return _Stream(log, asker.id, log.read(wanted, last_event_id, asker.still))

    return api.router


class _Stream(Response):
    """Sends what its reader takes until either side has enough. Not an async generator: those outlive the request
    when a send fails."""

    def __init__(self, log: EventLog, caller: str, reader: Reader) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"}, media_type="text/event-stream")
        del self.headers["content-length"]
        self._log = log
        self._caller = caller
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until_gone, receive, nursery.cancel_scope)
                while (part := await self._reader.take()) is not None:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                nursery.cancel_scope.cancel()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._log.leave(self._caller)

    async def _until_gone(self, receive: Receive, scope: trio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()
