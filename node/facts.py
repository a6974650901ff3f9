"""What a policy sees of an envelope, at each gate."""

from typing import Any

from swarmd.protocol import kinds
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
