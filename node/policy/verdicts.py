"""What goes into a policy, what comes out, and the digest that binds both: pure functions."""

import json
import json.encoder
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import cbor2
from swarmd.protocol.canonical_json import too_deep

GATES: Final = frozenset({"preflight", "ingress", "commit"})
MAX_INPUT_BYTES: Final = 65_536
MAX_NESTING: Final = 64
MAX_REASONS: Final = 64
MAX_REASON_CHARS: Final = 256
# What a policy may ask of the host beside its verdict. One that asks for more is not obeyed by halves: denied.
OBLIGATIONS: Final = frozenset({"log"})
_DIGEST_DOMAIN: Final = "swarmd/policy-eval/2"
_SCALARS: Final = frozenset({str, int, bool, float, type(None)})
_TEXT: Final = frozenset({str})


def _no_json(value: object) -> Any:
    raise ValueError(f"{type(value).__name__} is no JSON")


# JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False), whose `encode` builds
# this anew each time (2 us). No memo of containers: `_check` bounds the depth.
_encode: Final = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
    None, _no_json, json.encoder.encode_basestring, None, ":", ",", True, False, False
)


# How the facts of an envelope are written: by their type, without looking further.
_WRITE: Final[dict[type, Callable[[Any], str]]] = {
    str: json.encoder.encode_basestring,
    int: int.__repr__,
    bool: {True: "true", False: "false"}.__getitem__,
    type(None): {None: "null"}.__getitem__,
}
_MAX_ORDERS: Final = 1_024
_orders: Final[dict[tuple[Any, ...], tuple[tuple[str, str], ...]]] = {}


def _flat(value: dict[Any, Any]) -> str | None:
    """The canonical text of an object of scalars, and of lists of them, in half the time; None for any other.

    The sorted order of its keys is remembered: facts come in few shapes.
    """
    keys = tuple(value)
    order = _orders.get(keys)
    if order is None:
        if not _TEXT.issuperset(map(type, keys)):
            return None
        order = tuple((key, f"{json.encoder.encode_basestring(key)}:") for key in sorted(keys))
        if len(_orders) < _MAX_ORDERS and len(keys) <= 64:
            _orders[keys] = order
    try:
        return "{" + ",".join([head + _WRITE[type(item := value[key])](item) for key, head in order]) + "}"
    except KeyError:  # a float, or something nested
        return None


def _write_list(items: list[Any]) -> str:
    if _SCALARS.issuperset(map(type, items)):
        return "[" + ",".join([_WRITE[type(item)](item) for item in items]) + "]"
    raise KeyError(list)  # nested


_WRITE[list] = _write_list


class Denied(Exception):
    """The evaluation itself failed; `reason` is the verdict's, `gas` what it burnt until then."""

    def __init__(self, reason: str, detail: str = "", *, gas: int = 0) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
        self.gas = gas


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces. Key order changes the gas, so all must send the same bytes.

    ValueError for what JSON cannot carry exactly: NaN, keys that are no strings, nesting over MAX_NESTING.
    """
    text = _flat(value) if type(value) is dict else None
    if text is None:
        _check(value, MAX_NESTING)
        text = "".join(_encode(value, 0))
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("a lone surrogate") from error


def canonical_input(gate: str, facts: Mapping[str, Any]) -> bytes:
    """The policy's input document. Denied `bad-gate`, `bad-input` or `input-too-big`."""
    if gate not in GATES:
        raise Denied("bad-gate", str(gate)[:80])
    try:
        same = type(facts) is dict and facts.get("gate") == gate
        document = canonical_json(facts if same else {**facts, "gate": gate})
    except (ValueError, TypeError) as error:
        raise Denied("bad-input", str(error)[:200]) from None
    if len(document) > MAX_INPUT_BYTES:
        raise Denied("input-too-big", f"{len(document)} bytes")
    return document


@dataclass(frozen=True, slots=True)
class Answer:
    """A policy's answer. `tail` is what the digest takes of it: the CBOR of allow, reasons and obligations."""

    allow: bool
    reasons: tuple[str, ...]
    obligations: tuple[str, ...]
    tail: bytes


def make_answer(allow: bool, reasons: tuple[str, ...], obligations: tuple[str, ...] = ()) -> Answer:
    tail = b"".join(map(cbor2.dumps, (allow, list(reasons), list(obligations))))
    return Answer(allow, reasons, obligations, tail)


def parse_result(raw: bytes) -> Answer:
    """A policy's result; Denied `bad-result` unless it is exactly one verdict, `obligation-unknown`.

    Rego sets come out in hash order, so reasons and obligations are sorted here.
    """
    if too_deep(raw):
        raise Denied("bad-result", "nested too deep")
    try:
        results = json.loads(raw, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise Denied("bad-result", str(error)[:200]) from None
    if not isinstance(results, list) or len(results) != 1 or not isinstance(results[0], dict):
        raise Denied("bad-result", "not exactly one result")
    verdict = results[0].get("result")
    if not isinstance(verdict, dict) or verdict.keys() != {"allow", "reasons", "obligations"}:
        raise Denied("bad-result", "a verdict has allow, reasons and obligations")
    allow = verdict["allow"]
    if not isinstance(allow, bool):
        raise Denied("bad-result", "allow is a boolean")
    reasons, obligations = _words(verdict["reasons"]), _words(verdict["obligations"])
    unknown = next((each for each in obligations if each not in OBLIGATIONS), None)
    if unknown is not None:
        raise Denied("obligation-unknown", unknown)
    return make_answer(allow, reasons, obligations)


def _words(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_REASONS:
        raise Denied("bad-result", f"reasons and obligations are lists of at most {MAX_REASONS}")
    if not all(isinstance(each, str) and len(each) <= MAX_REASON_CHARS for each in value):
        raise Denied("bad-result", f"reasons and obligations are texts of at most {MAX_REASON_CHARS}")
    return tuple(sorted(value))


def policy_hash(wasm: bytes, data: bytes, gas_limit: int, engine: str) -> bytes:
    """32 bytes naming a policy as it is run: module, canonical data, gas limit and engine version.

    All that a verdict follows from besides its input: two nodes with one hash must come to one digest. So the number counts
    up when the facts of the ingress gate change.
    """
    parts = ["swarmd/policy/3", sha256(wasm).digest(), sha256(data).digest(), gas_limit, engine]
    return sha256(cbor2.dumps(parts)).digest()


class Digests:
    """The digests of one policy's evaluations: 32 bytes that bind input, verdict, policy, gas and engine.

    SHA-256 of the canonical CBOR array [domain, input as canonical JSON bytes, allow, reasons, obligations,
    policy hash, gas, engine version]. Whoever has the input and the policy can compute it again.
    """

    def __init__(self, policy: bytes, engine: str) -> None:
        self._head = sha256(b"\x88" + cbor2.dumps(_DIGEST_DOMAIN))
        self._policy = cbor2.dumps(policy)
        self._engine = cbor2.dumps(engine)

    def digest(self, document: bytes, answer: Answer, gas: int) -> bytes:
        # The parts of the array one by one: half the time of encoding it whole. No map, so it is canonical.
        state = self._head.copy()
        state.update(
            b"".join(
                (_byte_head(len(document)), document, answer.tail, self._policy, _uint(gas), self._engine)
            )
        )
        return state.digest()


def _byte_head(size: int) -> bytes:
    """The CBOR head of a byte string."""
    if size < 24:
        return bytes((0x40 | size,))
    if size < 0x100:
        return bytes((0x58, size))
    if size < 0x10000:
        return b"\x59" + size.to_bytes(2, "big")
    return b"\x5a" + size.to_bytes(4, "big")


def _uint(value: int) -> bytes:
    if value < 0x10000:
        encoded: bytes = cbor2.dumps(value)
        return encoded
    return b"\x1a" + value.to_bytes(4, "big") if value < 0x100000000 else b"\x1b" + value.to_bytes(8, "big")


def _check(value: Any, depth: int) -> None:
    if type(value) in _SCALARS:
        return
    if depth == 0:
        raise ValueError(f"nested over {MAX_NESTING} deep")
    if isinstance(value, Mapping):
        if not _TEXT.issuperset(map(type, value)):
            raise ValueError("a key that is not a string")
        value = value.values()
    elif not isinstance(value, list | tuple):
        raise ValueError(f"{type(value).__name__} is no JSON")
    if not _SCALARS.issuperset(map(type, value)):
        for item in value:
            if type(item) not in _SCALARS:
                _check(item, depth - 1)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    decoded = dict(pairs)
    if len(decoded) != len(pairs):
        raise ValueError("a key twice")
    return decoded
