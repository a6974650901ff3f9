"""Idempotency-Key: a request that moves money and is sent again, since its answer was lost, is not done again."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import sha256

import trio
from starlette.requests import Request
from starlette.responses import Response
from swarmd.node.api.describing import who
from swarmd.protocol.faults import LocalFault

MAX_KEYS = 4_096
MAX_KEY_CHARS = 200
HEADER = "idempotency-key"


class Once:
    """Keeps the last answers by caller, path and key, while the daemon runs. What failed is forgotten: it may be tried
    again. A key with another body is refused."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, str], tuple[bytes, Response | None]] = OrderedDict()

    async def __call__(self, request: Request, make: Callable[[], Awaitable[Response]]) -> Response:
        key = request.headers.get(HEADER)
        if key is None:
            return await make()
        if not 0 < len(key) <= MAX_KEY_CHARS:
            raise LocalFault("bad-args", f"Idempotency-Key has 1 to {MAX_KEY_CHARS} characters")
        place = (who(request).id, request.url.path, key)
        body = sha256(await request.body()).digest()
        known = self._kept.get(place)
        if known is not None:
            if known[0] != body:
                raise LocalFault(
                    "key-reused", "this Idempotency-Key came with another body", fix="use a new key"
                )
            if known[1] is None:
                raise LocalFault("busy", "this request is being done", fix="ask again in a moment")
            return known[1]
        self._kept[place] = (body, None)
        try:
            # A client that leaves in the middle asks again with its key: then this must be done, or not begun.
            with trio.CancelScope(shield=True), trio.move_on_after(60.0):
                found = await make()
                self._kept[place] = (body, found)
                if len(self._kept) > MAX_KEYS:
                    self._kept.popitem(last=False)
                return found
            raise LocalFault(
                "timeout", "not done within 60 s", fix="look whether it was done before you repeat it"
            )
        finally:
            if self._kept.get(place, (b"", None))[1] is None:
                self._kept.pop(place, None)
