"""Inputs that a policy is asked when nothing else is at hand: the default conformance vector of a capsule, and what
`swarmd policy diff` compares two policies on. The facts are those of node/facts.py."""

from collections.abc import Mapping
from typing import Any, Final

from swarmd.node.policy.verdicts import GATES
from swarmd.protocol.kinds import KINDS
from swarmd.protocol.limits import MAX_PAYLOAD_BYTES

_SENDER: Final = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
_SAID: Final[Mapping[str, Any]] = {
    "sender": _SENDER,
    "role": "member",
    "thread": "need-" + "a" * 32,
    "payload_size": 300,
    "epoch": 0,
}
_NEED: Final[Mapping[str, Any]] = {
    **_SAID,
    "kind": "NEED",
    "budget": 1_000_000,
    "tasks": 3,
    "max_price": 500_000,
    "deadline_s": 600,
    "capabilities": ["text.merge", "text.split", "text.wordcount"],
    "content_types": ["json", "text"],
}
_RESULT: Final[Mapping[str, Any]] = {
    **{key: value for key, value in _SAID.items() if key != "payload_size"},
    "kind": "COMMIT",
    "claimed": {"size": 120, "wall_ms": 40, "cpu_ms": 35, "max_rss_kb": 20_480, "output_bytes": 119},
    "actual": {"size": 120, "wall_ms": 44, "cpu_ms": 36, "max_rss_kb": 20_480, "output_bytes": 119},
}
_OURS: Final = {**{k: v for k, v in _NEED.items() if k != "thread"}, "payload_size": 1_024}


def probes() -> dict[str, dict[str, Any]]:
    """id -> input document, with its gate; at every gate, allowed by the policies that ship and not."""
    found: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        facts = _NEED if kind == "NEED" else {**_SAID, "kind": kind}
        for role in ("member", "verifier"):
            found[f"{kind.lower()}-of-a-{role}"] = {**facts, "gate": "ingress", "role": role}
    found |= {
        "unknown-kind": {**_SAID, "gate": "ingress", "kind": "GOSSIP"},
        "no-sender": {"gate": "ingress", "kind": "CLAIM", "payload_size": 300, "epoch": 0},
        "payload-at-the-bound": {**_NEED, "gate": "ingress", "payload_size": MAX_PAYLOAD_BYTES},
        "payload-below-the-bound": {**_NEED, "gate": "ingress", "payload_size": MAX_PAYLOAD_BYTES - 1},
        "budget-of-a-million": {**_NEED, "gate": "ingress", "budget": 10**12, "max_price": 10**12},
        "budget-beyond-64-bits": {**_NEED, "gate": "ingress", "budget": 1 << 70},
        "many-tasks": {**_NEED, "gate": "ingress", "tasks": 1_024},
        "a-month": {**_NEED, "gate": "ingress", "deadline_s": 30 * 86_400},
        "other-capability": {**_NEED, "gate": "ingress", "capabilities": ["shell.run"]},
        "bytes": {**_NEED, "gate": "ingress", "content_types": ["bytes"]},
        "ours": {**_OURS, "gate": "preflight", "local": {"spent_24h": 0, "needs_1h": 0}},
        "ours-after-much": {**_OURS, "gate": "preflight", "local": {"spent_24h": 10**12, "needs_1h": 10**5}},
        "claim-before-publishing": {"gate": "preflight", **{k: v for k, v in _SAID.items() if k != "thread"}},
        "result": {**_RESULT, "gate": "commit"},
        "result-larger-than-claimed": {**_RESULT, "gate": "commit", "actual": {"size": 121}},
        "result-without-telemetry": {**_RESULT, "gate": "commit", "claimed": {}},
        "result-with-too-much-cpu": {
            **_RESULT,
            "gate": "commit",
            "claimed": {**_RESULT["claimed"], "cpu_ms": 10**9},
        },
        "nothing": {"gate": "ingress"},
    }
    assert all(facts["gate"] in GATES for facts in found.values())
    return found
