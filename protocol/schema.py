"""Small checkers for decoded payloads. A checker takes (value, path) and raises RemoteFault `bad-payload`.

A path is a text, or a path and what follows it: a field's name, a position, KEY. It is spelled only in a fault.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from swarmd.protocol.cbor import Link
from swarmd.protocol.didkey import public_key_of
from swarmd.protocol.faults import RemoteFault

Path = str | tuple["Path", "str | int | None"]
Check = Callable[[Any, Path], None]
KEY = None


def spelled(path: Path) -> str:
    """Such as `NEED.tasks[3].id`; at most 200 characters."""
    ends = []
    while not isinstance(path, str):
        path, step = path
        ends.append(" key" if step is KEY else f"[{step}]" if isinstance(step, int) else f".{step}")
    return f"{path}{''.join(reversed(ends))}"[:200]


def _bad(path: Path, want: str) -> RemoteFault:
    return RemoteFault("bad-payload", f"{spelled(path)}: {want}")


def uint(maximum: int) -> Check:
    def check(value: Any, path: Path) -> None:
        if type(value) is not int or not 0 <= value <= maximum:
            raise _bad(path, f"an integer from 0 to {maximum}")

    return check


def text(max_bytes: int) -> Check:
    def check(value: Any, path: Path) -> None:
        if type(value) is not str or len(value.encode()) > max_bytes:
            raise _bad(path, f"text of at most {max_bytes} bytes")

    return check


def pattern(regex: str, what: str) -> Check:
    match = re.compile(regex).fullmatch

    def check(value: Any, path: Path) -> None:
        if type(value) is not str or match(value) is None:
            raise _bad(path, what)

    return check


def blob(minimum: int, maximum: int) -> Check:
    def check(value: Any, path: Path) -> None:
        if type(value) is not bytes or not minimum <= len(value) <= maximum:
            raise _bad(path, f"a byte string of {minimum} to {maximum} bytes")

    return check


def one_of(*choices: str) -> Check:
    allowed = frozenset(choices)

    def check(value: Any, path: Path) -> None:
        if type(value) is not str or value not in allowed:
            raise _bad(path, f"one of {', '.join(choices)}")

    return check


def link(value: Any, path: Path) -> None:
    if type(value) is not Link:
        raise _bad(path, "a link (tag 42)")


def did(value: Any, path: Path) -> None:
    if type(value) is not str:
        raise _bad(path, "a did:key")
    public_key_of(value)


def scalar(value: Any, path: Path) -> None:
    """What an annotation may hold: text up to 1 KiB, an integer or a bool."""
    if type(value) is bool or type(value) is int or (type(value) is str and len(value.encode()) <= 1024):
        return
    raise _bad(path, "a short text, an integer or a bool")


def list_of(item: Check, minimum: int, maximum: int) -> Check:
    def check(value: Any, path: Path) -> None:
        if type(value) is not list or not minimum <= len(value) <= maximum:
            raise _bad(path, f"a list of {minimum} to {maximum}")
        for position, entry in enumerate(value):
            item(entry, (path, position))

    return check


def map_of(key: Check, item: Check, minimum: int, maximum: int) -> Check:
    def check(value: Any, path: Path) -> None:
        if type(value) is not dict or not minimum <= len(value) <= maximum:
            raise _bad(path, f"a map of {minimum} to {maximum} entries")
        for name, entry in value.items():
            key(name, (path, KEY))
            item(entry, (path, name))

    return check


def record(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """A map with exactly the required keys and any of the optional ones."""
    extra = optional or {}
    known = {**required, **extra}
    shape = required.keys()

    def check(value: Any, path: Path) -> None:
        if type(value) is not dict:
            raise _bad(path, "a map")
        for name, entry in value.items():
            checker = known.get(name)
            if checker is None:
                raise _bad((path, name), "no such field")
            checker(entry, (path, name))
        if len(value) < len(shape) or not shape <= value.keys():
            raise _bad(path, f"fields missing: {', '.join(sorted(shape - value.keys()))}")

    return check


def tagged(key: str, shapes: Mapping[str, Check]) -> Check:
    """A map whose text field `key` picks the shape of the whole."""

    def check(value: Any, path: Path) -> None:
        tag = value.get(key) if type(value) is dict else None
        shape = shapes.get(tag) if type(tag) is str else None
        if shape is None:
            raise _bad((path, key), f"one of {', '.join(shapes)}")
        shape(value, path)

    return check


def any_of(shapes: Mapping[str, Check]) -> Check:
    """A map that has exactly one of the given keys, which picks its shape."""

    def check(value: Any, path: Path) -> None:
        if type(value) is dict:
            for key, shape in shapes.items():
                if key in value:
                    return shape(value, path)
        raise _bad(path, f"a map with one of {', '.join(shapes)}")

    return check


def triple(first: Check, second: Check, third: Check) -> Check:
    def check(value: Any, path: Path) -> None:
        if type(value) is not list or len(value) != 3:
            raise _bad(path, "a triple")
        for at, part in enumerate((first, second, third)):
            part(value[at], (path, at))

    return check


def pair(first: Check, second: Check) -> Check:
    def check(value: Any, path: Path) -> None:
        if type(value) is not list or len(value) != 2:
            raise _bad(path, "a pair")
        first(value[0], (path, 0))
        second(value[1], (path, 1))

    return check
