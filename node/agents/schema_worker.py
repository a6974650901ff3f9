"""Checks values against JSON Schemas in a process of its own, so that it can be killed.

A schema may come from a stranger, and some take for ever: a regular expression that backtracks, references
that double at each level. Python cannot interrupt either in its own process. One line in,
`{"schema": ..., "value": ...}`, one line out, `{"verdict": "accept" | "reject" | "abstain", "reason": text}`.
"""

import json
import sys
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

_REASON_CHARS = 500


def judge(schema: Any, value: Any) -> tuple[str, str]:
    """(verdict, reason). References outside the schema are never fetched: they abstain."""
    try:
        Draft202012Validator.check_schema(schema)
        # An empty registry that retrieves nothing; the default one of jsonschema would ask the network.
        registry: Registry[Any] = Registry()
        validator = Draft202012Validator(schema, registry=registry)
        error: ValidationError | None = best_match(validator.iter_errors(value))
    except SchemaError as broken:
        return "abstain", f"not a JSON Schema (2020-12): {broken.message}"
    except Unresolvable as unknown:
        return "abstain", f"the schema refers to {unknown.ref!r}, which is not in it; nothing is fetched"
    except RecursionError:
        return "abstain", "the schema never ends"
    if error is None:
        return "accept", "valid against the schema"
    return "reject", f"at {error.json_path}: {error.message}"


def main() -> None:
    for line in sys.stdin.buffer:
        request = json.loads(line)
        verdict, reason = judge(request["schema"], request["value"])
        answer = json.dumps({"verdict": verdict, "reason": reason[:_REASON_CHARS]})
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
