"""Words to say what a document is, as JSON Schema: `record(did=DID, peers=COUNT, since_ns=maybe(AT_NS))`.

A record has exactly the properties that are named: what a command writes and its schema does not say fails a test.
"""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]


# name -> what it is in every document that says nothing else
MEANINGS: Mapping[str, str] = {
    "bytes": "bytes",
    "docs": "a page of the documentation, or nothing",
    "epoch": "number of an epoch",
    "fix": "what helps",
    "home": "the node's folder",
    "lamport": "the node's logical clock",
    "me": "is it this node?",
    "mesh_digest": "what all nodes of the mesh come to have in common",
    "pid": "the daemon's process",
    "priority": "of the buyer, by stake",
    "reputation": "0 to 100",
    "seq": "number of an entry of an account",
    "state_digest": "of all that this node's core holds",
    "total": "how many there are in all",
    "version": "of swarmd",
    "void": "why it had no effect, or null",
    "waiting_for": "what it waits for, in words",
    "waits_for": "what it waits for",
}


class Maybe(dict[str, Any]):
    """The schema of a property that may be absent."""


def text(meaning: str = "") -> Schema:
    return _said({"type": "string"}, meaning)


def count(meaning: str = "") -> Schema:
    """A whole number from 0."""
    return _said({"type": "integer", "minimum": 0}, meaning)


def number(meaning: str = "") -> Schema:
    return _said({"type": "number"}, meaning)


def yes(meaning: str = "") -> Schema:
    return _said({"type": "boolean"}, meaning)


def one_of(*values: str, meaning: str = "") -> Schema:
    return _said({"enum": list(values)}, meaning)


def pattern(regular: str, meaning: str) -> Schema:
    return {"type": "string", "pattern": regular, "description": meaning}


def many(item: Schema, meaning: str = "") -> Schema:
    return _said({"type": "array", "items": item}, meaning)


def row(*items: Schema) -> Schema:
    """A list of these, in this order."""
    return {"type": "array", "prefixItems": list(items), "items": False, "minItems": len(items)}


def named(value: Schema, meaning: str = "") -> Schema:
    """An object whose names are data: reasons, ids, states."""
    return _said({"type": "object", "additionalProperties": value}, meaning)


def record(given: Mapping[str, Schema] | None = None, /, **properties: Schema) -> Schema:
    """An object of exactly these properties; `given` for names that are no words of Python."""
    found = {**(given or {}), **properties}
    return {
        "type": "object",
        "properties": {name: _known(name, dict(schema)) for name, schema in found.items()},
        "required": [name for name, schema in found.items() if not isinstance(schema, Maybe)],
        "additionalProperties": False,
    }


def report(meaning: str, **properties: Schema) -> Schema:
    """A record of these and of figures that a version may add or leave out."""
    return {**record(**properties), "additionalProperties": True, "description": meaning}


def more(base: Schema, **properties: Schema) -> Schema:
    """A record of what `base` has and these: in their place, if it has them."""
    kept = {
        name: schema if name in base["required"] else Maybe(schema)
        for name, schema in base["properties"].items()
    }
    return record({**kept, **properties})


def less(base: Schema, *names: str) -> Schema:
    """A record of what `base` has but for these."""
    return {
        **base,
        "properties": {name: schema for name, schema in base["properties"].items() if name not in names},
        "required": [name for name in base["required"] if name not in names],
    }


def maybe(schema: Schema) -> Schema:
    return Maybe(schema)


def nullable(schema: Schema, meaning: str = "") -> Schema:
    kind = schema.get("type")
    if isinstance(kind, str) and "enum" not in schema:
        return _said({**schema, "type": [kind, "null"]}, meaning)
    return _said({"anyOf": [schema, {"type": "null"}]}, meaning)


def either(*schemas: Schema) -> Schema:
    """A document, or row, of one of several forms."""
    return {"anyOf": list(schemas)}


def says(schema: Schema, meaning: str) -> Schema:
    return _said(schema, meaning)


def _said(schema: Schema, meaning: str) -> Schema:
    return {**schema, "description": meaning} if meaning else schema


def _known(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A property that many documents have means the same in each."""
    if "description" not in schema and name in MEANINGS and schema.get("type") not in ("object", "array"):
        schema["description"] = MEANINGS[name]
    return schema


ANY: Schema = {}
TEXT = text()
COUNT = count()
WHOLE: Schema = {"type": "integer"}
NUMBER = number()
YES = yes()
USDC = pattern(r"^-?(0|[1-9]\d*)(\.\d{1,6})?$", "USDC, as decimal text")
DID = pattern("^did:key:z[1-9A-HJ-NP-Za-km-z]+$", "a did:key")
PEER = pattern("^(12D3Koo|Qm|16Uiu2)[1-9A-HJ-NP-Za-km-z]+$", "a libp2p peer id")
CID = pattern("^(b[a-z2-7]{10,}|Qm[1-9A-HJ-NP-Za-km-z]{44})$", "a CID")
NEED = pattern("^need-[a-z2-7]+$", "the id of a need")
ESCROW = pattern("^escrow-[a-z2-7]+$", "the id of an escrow")
ADDRESS = pattern("^0x[0-9a-fA-F]{40}$", "an account or contract on the chain")
TX = pattern("^0x[0-9a-f]{64}$", "32 bytes in hexadecimal: a transaction, a channel, a node of a proof")
HEX = pattern("^([0-9a-f]{2})*$", "bytes in hexadecimal")
MULTIADDR = pattern("^/[a-z0-9]+/", "a multiaddr")
AT_NS: Schema = {"type": "integer", "minimum": 0, "description": "nanoseconds since 1970"}
AT_S: Schema = {"type": "number", "minimum": 0, "description": "seconds since 1970"}
DURATION_S: Schema = {"type": "number", "minimum": 0, "description": "seconds"}
COUNTS = named(count())
MESH = record(id=CID, name=text())
