"""What a policy sees of an envelope, at each gate.

At the ingress gate only what every node derives alike from the envelope and the genesis: so all come to one
verdict, and anybody can compute the digest that an author put into its envelope again. Its thread, a hash that says
nothing, is left out: so what is said a thousand times a minute is asked once (docs/adr/0044-verdicts-are-remembered.md).
"""

from collections.abc import Collection, Mapping
from typing import Any

from swarmd.protocol import kinds
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.limits import S_NS

# The preflight gate is told the size of an envelope in these steps: see `projection`.
SIZE_STEP_BYTES = 1_024


def facts_of(envelope: Envelope, roster: Collection[str]) -> dict[str, Any]:
    """The facts of the ingress gate. `roster`: the verifiers of the epoch."""
    facts: dict[str, Any] = {
        "gate": "ingress",
        "kind": envelope.kind,
        "sender": envelope.sender,
        "role": "verifier" if envelope.sender in roster else "member",
        "payload_size": len(envelope.raw),
        "epoch": envelope.epoch,
    }
    if envelope.kind == kinds.NEED:
        _describe_need(envelope, facts)
    elif envelope.kind == kinds.ESCROW and envelope.payload["op"] == "fund":
        facts["budget"] = envelope.payload["amount"]  # it locks as much as a need of that budget
    return facts


def _describe_need(envelope: Envelope, facts: dict[str, Any]) -> None:
    payload = envelope.payload
    tasks = payload["tasks"]
    inputs = [binding for task in tasks for binding in task["input"].values()]
    facts["budget"] = payload["budget"]
    facts["tasks"] = len(tasks)
    facts["max_price"] = max(task["max_price"] for task in tasks)
    facts["deadline_s"] = (payload["deadline_ns"] - envelope.ts_ns) // S_NS
    facts["capabilities"] = sorted({task["capability"] for task in tasks})
    facts["content_types"] = sorted({binding["as"] for binding in inputs if "as" in binding})


def projection(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of the preflight gate: less than the ingress gate is told, so that fewer different inputs occur. The
    exact facts are judged right after, at the author's own ingress gate."""
    projected = {**facts, "gate": "preflight"}
    projected["payload_size"] = -(-facts["payload_size"] // SIZE_STEP_BYTES) * SIZE_STEP_BYTES
    return projected


def result_facts(
    need: str, worker: str, roster: Collection[str], claimed: Mapping[str, int], actual: Mapping[str, int]
) -> dict[str, Any]:
    """The facts of the commit gate: what the worker's COMMIT says of its run, and what this verifier found.

    `claimed`: size, wall_ms, cpu_ms, max_rss_kb, output_bytes. `actual`: size, and the rest of these only if the
    work was done again here.
    """
    return {
        "gate": "commit",
        "kind": kinds.COMMIT,
        "sender": worker,
        "role": "verifier" if worker in roster else "member",
        "thread": need,
        "epoch": 0,
        "claimed": dict(claimed),
        "actual": dict(actual),
    }
