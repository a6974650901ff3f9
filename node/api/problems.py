"""Errors of the HTTP API: application/problem+json (RFC 9457) with the fault's stable code and its fix."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response
from swarmd.protocol.faults import Fault, LocalFault

MEDIA_TYPE = "application/problem+json"

# Where a fault's code says more than "this cannot be done as asked" (422).
_STATUS: Mapping[str, int] = {
    "client-gone": 400,
    "no-token": 401,
    "bad-token": 401,
    "token-expired": 401,
    "token-revoked": 401,
    "login-expired": 401,
    "session-expired": 401,
    "no-scope": 403,
    "wrong-host": 403,
    "wrong-origin": 403,
    "csrf": 403,
    "not-party": 403,
    "over-budget": 403,
    "not-payer": 403,
    "not-a-member": 403,
    "expelled": 403,
    "not-found": 404,
    "archived": 404,
    "content-missing": 404,
    "not-in-thread": 404,
    "no-acceptance": 409,
    "no-offer": 409,
    "not-on-chain": 404,
    "wrong-method": 405,
    "request-timeout": 408,
    "already-active": 409,
    "approving": 409,
    "busy": 409,
    "challenge-runs": 409,
    "channel-closed": 409,
    "channel-not-open": 409,
    "deploying": 409,
    "duplicate-receipt": 409,
    "escrow-ended": 409,
    "escrow-exists": 409,
    "escrow-refused": 409,
    "exceeds-deposit": 409,
    "gc-running": 409,
    "in-config": 409,
    "incomplete": 409,
    "key-reused": 409,
    "late-quote": 409,
    "not-enough-tokens": 409,
    "not-settled": 409,
    "nothing-to-settle": 409,
    "outbox-conflict": 409,
    "receipt-conflict": 409,
    "refused-need": 409,
    "stale-cursor": 409,
    "too-late": 409,
    "undecided": 409,
    "body-too-big": 413,
    "content-too-big": 413,
    "message-too-big": 413,
    "url-too-long": 414,
    "wrong-media-type": 415,
    "too-many-requests": 429,
    "too-many-streams": 429,
    "internal": 500,
    "disk-error": 503,
    "chain-storage": 503,
    "chain-unavailable": 503,
    "chain-stopped": 503,
    "kubo-failed": 503,
    "disk-full": 507,
    "timeout": 504,
}
_MISSING = ("unknown-", "no-such-")


def status_of(code: str) -> int:
    """The HTTP status for a fault's code; 422 for what is not named."""
    if code in _STATUS:
        return _STATUS[code]
    if code.startswith(_MISSING) or code in (
        "no-channel",
        "no-challenge",
        "no-receipt",
        "no-result",
        "no-contract",
    ):
        return 404
    return 422


def problem(
    fault: Fault,
    *,
    status: int = 0,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """`fault` as an answer; `more` goes beside its members."""
    status = status or status_of(fault.code)
    body = {
        "type": f"urn:swarmd:problem:{fault.code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": fault.code,
        "detail": fault.message,
        "fix": fault.fix,
        **(more or {}),
    }
    found = dict(headers or {})
    if status == 401:
        found.setdefault("WWW-Authenticate", 'Bearer realm="swarmd"')
    return Response(json.dumps(body, ensure_ascii=False), status, found, MEDIA_TYPE)


def internal() -> Response:
    return problem(LocalFault("internal", "the daemon failed at this request", fix="see the daemon's log"))
