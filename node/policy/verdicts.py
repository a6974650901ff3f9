"""What goes into a policy, what comes out, and the digest that binds both: pure functions."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import cbor2
from swarmd.protocol.canonical_json import too_deep

GATES: Final = frozenset({"preflight", "ingress", "commit"})
MAX_INPUT_BYTES: Final = 65_536
MAX_NESTING: Final = 64
MAX_REASONS: Final = 64
MAX_REASON_CHARS: Final = 256
_DIGEST_DOMAIN: Final = "swarmd/policy-eval/1"
_SCALARS: Final = frozenset({str, int, bool, float, type(None)})
_SORTED: Final[dict[str, Any]] = {
    "sort_keys": True,
    "separators": (",", ":"),
    "ensure_ascii": False,
    "allow_nan": False,
    "check_circular": False,  # `_check` bounds the depth
}
_encoder: Final = json.JSONEncoder(**_SORTED)


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
    _check(value, MAX_NESTING)
    text = _encoder.encode(value)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("a lone surrogate") from error


def canonical_input(gate: str, facts: Mapping[str, Any]) -> bytes:
    """The policy's input document. Denied `bad-gate`, `bad-input` or `input-too-big`."""
    if gate not in GATES:
        raise Denied("bad-gate", str(gate)[:80])
    try:
        document = canonical_json({**facts, "gate": gate})
    except (ValueError, TypeError) as error:
        raise Denied("bad-input", str(error)[:200]) from None
    if len(document) > MAX_INPUT_BYTES:
        raise Denied("input-too-big", f"{len(document)} bytes")
    return document


def parse_result(raw: bytes) -> tuple[bool, tuple[str, ...]]:
    """(allow, sorted reasons) of a policy's result; Denied `bad-result` unless it is exactly one verdict.

    Rego sets come out in hash order, so the reasons are sorted here.
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
    allow, reasons, obligations = verdict["allow"], verdict["reasons"], verdict["obligations"]
    if not isinstance(allow, bool) or not isinstance(reasons, list) or not isinstance(obligations, list):
        raise Denied("bad-result", "allow is a boolean, reasons and obligations are lists")
    if len(reasons) > MAX_REASONS or not all(
        isinstance(reason, str) and len(reason) <= MAX_REASON_CHARS for reason in reasons
    ):
        raise Denied("bad-result", f"reasons are at most {MAX_REASONS} short strings")
    return allow, tuple(sorted(reasons))


def policy_hash(wasm: bytes, data: bytes) -> bytes:
    """32 bytes naming a policy: SHA-256 of its module and its canonical data."""
    return sha256(wasm + data).digest()


def eval_digest(
    document: bytes, allow: bool, reasons: tuple[str, ...], policy: bytes, gas: int, engine: str
) -> bytes:
    """32 bytes that bind an evaluation; whoever has the input and the policy can compute it again.

    SHA-256 of the canonical CBOR array [domain, input as canonical JSON bytes, allow, reasons, policy hash,
    gas, engine version]. No map is in it, so plain encoding is canonical.
    """
    return sha256(cbor2.dumps([_DIGEST_DOMAIN, document, allow, list(reasons), policy, gas, engine])).digest()


def _check(value: Any, depth: int) -> None:
    if type(value) in _SCALARS:
        return
    if depth == 0:
        raise ValueError(f"nested over {MAX_NESTING} deep")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if type(key) is not str:
                raise ValueError("a key that is not a string")
            if type(item) not in _SCALARS:
                _check(item, depth - 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item, depth - 1)
    else:
        raise ValueError(f"{type(value).__name__} is no JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    decoded = dict(pairs)
    if len(decoded) != len(pairs):
        raise ValueError("a key twice")
    return decoded
