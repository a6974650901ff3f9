"""What a value of the configuration may be: each check gives the value as it is kept; ValueError says what it must be."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from swarmd.node.spending import parse_limit, parse_limits
from swarmd.protocol.didkey import public_key_of
from swarmd.protocol.faults import LocalFault, RemoteFault


def text(value: object) -> str:
    if type(value) is not str:
        raise ValueError("must be text")
    return value


def texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(type(each) is str and each for each in value):
        raise ValueError("must be a list of texts")
    return tuple(value)


@contextmanager
def _refused() -> Iterator[None]:
    """What a parser of the core says is wrong, as the reason why a value is refused."""
    try:
        yield
    except (LocalFault, RemoteFault) as fault:
        raise ValueError(fault.message) from None


def usdc(value: object) -> str:
    limit = text(value)
    with _refused():
        parse_limit(limit)
    return limit


def shares(value: object) -> tuple[str, ...]:
    found = texts(value)
    with _refused():
        parse_limits(found)
    return found


def dids(value: object) -> tuple[str, ...]:
    found = texts(value)
    with _refused():
        for did in found:
            public_key_of(did)
    return found


def choice(*choices: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if value not in choices:
            raise ValueError(f"must be {' or '.join(map(json.dumps, choices))}")
        return str(value)

    return check


def integer(least: int, most: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return value

    return check


def seconds(least: float, most: float) -> Callable[[object], float]:
    def check(value: object) -> float:
        if type(value) not in (int, float) or not least <= value <= most:  # type: ignore[operator]
            raise ValueError(f"must be a number of seconds from {least:g} to {most:g}")
        return float(value)  # type: ignore[arg-type]

    return check


def share(value: object) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 1:  # type: ignore[operator]
        raise ValueError("must be a number from 0 to 1")
    return float(value)  # type: ignore[arg-type]


def url(value: object) -> str:
    found = text(value)
    try:
        parts = urlsplit(found)
        wrong = bool(parts.query or parts.fragment or parts.username or parts.password is not None)
        wrong = wrong or parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError:
        wrong = True
    if found and wrong:
        raise ValueError("must be a URL, http or https, without a user or a query")
    return found


def boolean(value: object) -> bool:
    if type(value) is not bool:
        raise ValueError("must be true or false")
    return value


def commands(value: object) -> Mapping[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise ValueError('must be a table: name = ["program", "argument"]')
    found = {}
    for name, argv in value.items():
        if not isinstance(argv, list | tuple) or not argv or not all(type(word) is str for word in argv):
            raise ValueError(f'{name} must be a list of texts: {name} = ["program", "argument"]')
        found[str(name)] = tuple(argv)
    return found
