"""From what an operation answers to JSON."""

import base64
import json
from typing import Any

from starlette.responses import Response
from swarmd.protocol.cids import cid_text, is_cid


def answer(found: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON. CIDs become text and other bytes base64; NaN is our bug, not the reader's problem."""
    body = json.dumps(found, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    return Response(body.encode("utf-8", "replace"), status, headers, "application/json")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return cid_text(value) if is_cid(value) else base64.b64encode(value).decode("ascii")
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"an answer holds a {type(value).__name__}")
