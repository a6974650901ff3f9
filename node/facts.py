"""What a policy sees of an envelope, at each gate."""

from typing import Any

from swarmd.protocol import kinds, limits
from swarmd.protocol.cbor import Link, encode
from swarmd.protocol.effects import Publish
from swarmd.protocol.envelope import Envelope


def facts_of(gate: str, envelope: Envelope) -> dict[str, Any]:
    """What a policy sees of an envelope."""
    facts: dict[str, Any] = {
        "gate": gate,
        "kind": envelope.kind,
        "sender": envelope.sender,
        "thread": envelope.thread,
        "payload_size": len(envelope.raw),
        "epoch": envelope.epoch,
    }
    if envelope.kind == kinds.NEED:
        facts["budget"] = envelope.payload["budget"]
    return facts


def draft_facts(draft: Publish, me: str) -> dict[str, Any]:
    """The same facts of a draft; its size is exact, for policy hash and digest have a fixed length."""
    body = {
        "v": limits.PROTOCOL_VERSION,
        "kind": draft.kind,
        "thread": draft.thread,
        "sender": me,
        "lamport": draft.lamport,
        "ts_ns": draft.ts_ns,
        "epoch": draft.epoch,
        "payload": dict(draft.payload),
        "refs": [Link(ref) for ref in draft.refs],
        "policy": bytes(32),
        "eval": bytes(32),
        "trace": draft.trace,
    }
    facts: dict[str, Any] = {
        "gate": "preflight",
        "kind": draft.kind,
        "sender": me,
        "thread": draft.thread,
        "payload_size": len(encode(body)),
        "epoch": draft.epoch,
    }
    if draft.kind == kinds.NEED:
        facts["budget"] = draft.payload["budget"]
    return facts
