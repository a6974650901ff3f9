"""Pages of the list of needs: each ends with a cursor from which the next goes on, however the list has moved."""

import base64
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from swarmd.node import views
from swarmd.node.checkpoint.archive import MAX_ROW, Archive
from swarmd.protocol.canonical_json import BadJson, parse_json
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.state import State

_MAX_CURSOR_CHARS = 512


def list_needs(
    state: State, archive: Archive | None, wanted: object, limit: int, cursor: object = None
) -> dict[str, Any]:
    """{"needs": rows, "total", "next"}: those in memory, newest first (within a state what moved last), then those
    that checkpoints closed. LocalFault `bad-cursor`."""
    name = None if wanted is None else str(wanted).upper()
    after, given, below = _read(cursor)
    rows: list[dict[str, Any]] = []
    following: dict[str, Any] | None = None
    if below is None:
        found = _rest(state, name, after, given)
        for need in islice(found, limit):
            rows.append(views.need_row(state, state.needs[need]))
        if len(rows) == limit and next(found, None) is not None:
            following = {"after": rows[-1]["need"], "given": given + limit}
    total = len(state.needs) if name is None else state.views.need_counts().get(name, 0)
    if archive is not None:
        closed = archive.count(name)
        total += closed
        if following is None and closed:
            room, start = limit - len(rows), MAX_ROW if below is None else below
            lines = archive.rows(name, room + 1, start)  # one more tells whether there is another page
            rows += [line for _, line in lines[:room]]
            if len(lines) > room:
                following = {"below": lines[room - 1][0] if room else start}
    return {"needs": rows, "total": total, "next": _write(following) if following else None}


def _rest(state: State, name: str | None, after: str | None, given: int) -> Iterator[str]:
    found = _ordered(state, name)
    if after is None:
        return found
    for need in found:
        if need == after:
            return found
    # It moved to another state, or a checkpoint closed it: go on by number, which may skip or repeat what moved.
    return islice(_ordered(state, name), given, None)


def _ordered(state: State, name: str | None) -> Iterator[str]:
    return reversed(state.needs) if name is None else state.views.needs_in(name)


def _read(cursor: object) -> tuple[str | None, int, int | None]:
    if cursor is None:
        return None, 0, None
    try:
        if not isinstance(cursor, str) or len(cursor) > _MAX_CURSOR_CHARS:
            raise ValueError
        found = parse_json(base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True))
        after, given, below = found.get("after"), found.get("given", 0), found.get("below")
        if (
            not isinstance(after, str | None)
            or type(given) is not int
            or type(below) not in (int, type(None))
        ):
            raise ValueError
        if not 0 <= given <= MAX_ROW or (below is not None and not 0 <= below <= MAX_ROW):
            raise ValueError
    except (ValueError, BadJson, AttributeError):
        raise LocalFault("bad-cursor", "this is no cursor of a list", fix="begin again without one") from None
    return after, given, below


def _write(following: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(following).encode()).decode("ascii")
