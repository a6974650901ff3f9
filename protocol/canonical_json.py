"""Strict JSON in, canonical JSON out: what agents exchange and what verifiers compare byte for byte.

The canonical form: UTF-8, keys sorted by code point, no white space, only `"`, `\\` and control
characters escaped, integers exact, floats by their shortest round-trip digits. A float that is a whole
number below 2**53 prints as that integer, because JSON does not tell 2.0 from 2 and agents of different
languages print either. RFC 8785 differs in two ways: it sorts keys by UTF-16 unit, and it has no exact
integers above 2**53.
"""

import json
import math
import re
from collections.abc import Iterable
from typing import Any

MAX_JSON_BYTES = 16 * 1_048_576
MAX_JSON_DEPTH = 64
# The range of the EVM's words. A bound, since printing a large integer takes quadratic time.
_MAX_INT = 1 << 256
_MAX_INT_CHARS = 79
# No document of MAX_JSON_BYTES has more (a value and its comma), but an object that contains itself twice
# would double at each level.
_MAX_VALUES = MAX_JSON_BYTES // 2
_MAX_EXACT_FLOAT = float(1 << 53)


class BadJson(ValueError):
    """Not strict JSON, or beyond our bounds. The text says what is wrong."""


def parse_json(data: bytes, *, max_bytes: int = MAX_JSON_BYTES, max_depth: int = MAX_JSON_DEPTH) -> Any:
    """Exactly one JSON value (RFC 8259) in UTF-8, white space around it allowed.

    Raises BadJson for anything else, and for what parsers disagree about: duplicate keys, NaN and
    Infinity, floats beyond the range of a double, integers beyond 256 bits, lone surrogates, a byte
    order mark, nesting deeper than `max_depth`, more than `max_bytes`.
    """
    if len(data) > max_bytes:
        raise BadJson(f"{len(data)} bytes, the most is {max_bytes}")
    if too_deep(data, max_depth):
        raise BadJson(f"nested deeper than {max_depth}, or brackets that do not match")
    try:
        value = _decoder.decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadJson(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise BadJson("no JSON value" if not data.strip() else f"{error.msg} at {where}") from None
    except RecursionError:
        raise BadJson(f"nested deeper than {max_depth}") from None
    # Each level needs a bracket, so most documents need no walk.
    if data.count(b"[") + data.count(b"{") > max_depth:
        for _ in _levels(value, max_depth):
            pass
    if b"\\u" in data:
        _refuse_surrogates(value)
    return value


def too_deep(data: bytes, max_depth: int = MAX_JSON_DEPTH) -> bool:
    """Must `data` be kept from a JSON parser? True if it nests deeper than twice `max_depth`, or never closes.

    The parser recurses in C, and libraries of the chain raise Python's recursion limit to 100,000: it would
    overflow the stack, which ends the process, long before it raised RecursionError (P10).
    """
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return False
    brackets = _STRINGS.sub(b"", data).translate(None, _NO_BRACKETS)
    # Each pass takes one or two levels off the inside.
    for _ in range(max_depth):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return bool(brackets)


_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def canonical_json(value: Any, *, max_depth: int = MAX_JSON_DEPTH) -> bytes:
    """The one byte string of a JSON value (None, bool, int, float, str, list, dict with str keys).

    Raises BadJson for any other type, NaN, Infinity, integers beyond 256 bits, lone surrogates, and
    nesting deeper than `max_depth` (which also ends cycles).
    """
    has_float = False
    for level in _levels(value, max_depth):
        has_float |= _check_level(level)
    if has_float:
        value = _whole_floats_as_ints(value)
    try:
        return _encoder.encode(value).encode("utf-8")
    except UnicodeEncodeError:
        raise BadJson("text with a lone surrogate, which UTF-8 cannot carry") from None


def _levels(value: Any, max_depth: int) -> Iterable[list[Any]]:
    """The values of a document, one nesting level at a time: breadth first, so no recursion to exhaust."""
    level = [value]
    for depth in range(max_depth + 1):
        yield level
        containers = [item for item in level if isinstance(item, dict | list)]
        if not containers:
            return
        if depth == max_depth:
            raise BadJson(f"nested deeper than {max_depth}")
        level = []
        for item in containers:
            level.extend(item.values() if isinstance(item, dict) else item)
            if len(level) > _MAX_VALUES:
                raise BadJson(f"more than {_MAX_VALUES} values")


def _check_level(level: list[Any]) -> bool:
    """Refuse what JSON does not know; True if a float is among `level`."""
    kinds = set(map(type, level))
    if not kinds <= _JSON_TYPES:
        names = ", ".join(sorted(kind.__name__ for kind in kinds - _JSON_TYPES))
        raise BadJson(f"not a JSON value: {names}")
    if dict in kinds:
        for item in level:
            if type(item) is dict and not all(type(key) is str for key in item):
                raise BadJson("an object's key is not text")
    if int in kinds and any(type(item) is int and not -_MAX_INT < item < _MAX_INT for item in level):
        raise BadJson("an integer beyond 256 bits")
    if float in kinds:
        if not all(math.isfinite(item) for item in level if type(item) is float):
            raise BadJson("NaN or Infinity")
        return True
    return False


_JSON_TYPES = frozenset((type(None), bool, int, float, str, list, dict))


def _whole_floats_as_ints(value: Any) -> Any:
    """`value` with each whole float below 2**53 as int. Recursion is bounded by the depth check before."""
    if type(value) is float:
        return int(value) if value.is_integer() and abs(value) < _MAX_EXACT_FLOAT else value
    if type(value) is list:
        return [_whole_floats_as_ints(item) for item in value]
    if type(value) is dict:
        return {key: _whole_floats_as_ints(item) for key, item in value.items()}
    return value


def _refuse_surrogates(value: Any) -> None:
    r"""`"\ud800"` parses, but is no Unicode text: it could not be written again."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise BadJson("text with a lone surrogate") from None
    except RecursionError:
        raise BadJson("nested too deep") from None


def _unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BadJson(f"duplicate key {key[:60]!r}")
            seen.add(key)
    return found


def _bounded_int(digits: str) -> int:
    number = int(digits) if len(digits) <= _MAX_INT_CHARS else _MAX_INT
    if not -_MAX_INT < number < _MAX_INT:
        raise BadJson("an integer beyond 256 bits")
    return number


def _finite_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise BadJson(f"a number beyond the range of a double: {digits[:40]}")
    return number


def _no_constant(name: str) -> Any:
    raise BadJson(f"{name} is not JSON")


_decoder = json.JSONDecoder(
    object_pairs_hook=_unique_object,
    parse_int=_bounded_int,
    parse_float=_finite_float,
    parse_constant=_no_constant,
)
# One encoder for all: json.dumps builds a new one at each call that asks for anything unusual.
_encoder = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True, check_circular=False
)
