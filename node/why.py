"""`swarmd why`: the causal chain of a need, each step with its id, the verdict our gate gave when it came, and its
signature checked anew."""

from typing import Any

from swarmd.node.journal import Journal
from swarmd.node.views import escrow_row, need_detail
from swarmd.protocol import kinds
from swarmd.protocol.amounts import format_usdc
from swarmd.protocol.batch import prove, verify_proof
from swarmd.protocol.cids import cid_text
from swarmd.protocol.envelope import Envelope, bucket_of
from swarmd.protocol.faults import CorruptState, RemoteFault
from swarmd.protocol.state import State
from swarmd.protocol.work.need import Need


def explain(state: State, journal: Journal, need: Need) -> dict[str, Any]:
    """Every envelope of the need in causal order, what became of the money, and the anchor."""
    steps = []
    mesh_id = state.genesis.mesh_id
    for author, seq, batch in journal.bucket_batches(bucket_of(need.id)):
        if isinstance(batch, CorruptState):
            steps.append(_damaged(author, seq, batch))
            continue
        verdicts: list[Any] | None = None
        for index, envelope in enumerate(batch.envelopes):
            if envelope.thread != need.id:
                continue
            if verdicts is None:
                verdicts = journal.verdicts((author, batch.epoch, batch.bucket, seq)) or []
            try:
                verified = verify_proof(mesh_id, prove(batch, index)).id == envelope.id
            except RemoteFault:
                verified = False
            steps.append(_step(need, envelope, verified, _gate(verdicts, index)))
    steps.sort(key=lambda step: (step["lamport"], step["id"]))
    detail = need_detail(state, need)
    return {
        "need": need.id,
        "title": need.title,
        "state": need.state(),
        "reason": detail["reason"],
        "waiting_for": detail["waiting_for"],
        "steps": steps,
        "money": {**escrow_row(state.ledger.escrows.get(need.id)), "due": detail["held"]},
        "challenges": detail["challenges"],
        "anchor": detail["anchor"],
        "anchor_note": detail["anchor_note"],
    }


def _damaged(author: str, seq: int, damage: CorruptState) -> dict[str, Any]:
    """In the place of what a damaged row of our journal held: of this need, or of another of its bucket."""
    return {
        "at_ns": 0,
        "kind": "DAMAGED",
        "id": "",
        "sender": author,
        "task": "",
        "lamport": 0,
        "text": f"batch {seq} of this author cannot be read: {damage.message}",
        "refs": [],
        "gate": None,
        "verified": False,
        "void": damage.code,
        "trace": "",
    }


def _gate(verdicts: list[Any], index: int) -> dict[str, Any] | None:
    """What was recorded when the envelope was taken in: reasons are the rules hit. None: before that was recorded."""
    if not verdicts or index >= len(verdicts[1]):
        return None
    policy, gas, denied = verdicts
    reasons = next((reasons for position, reasons in denied if position == index), None)
    return {
        "allow": reasons is None,
        "reasons": reasons or [],
        "gas": gas[index],
        "policy": policy.hex(),
    }


def _step(need: Need, envelope: Envelope, verified: bool, gate: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "at_ns": envelope.ts_ns,
        "kind": envelope.kind,
        "id": cid_text(envelope.id),
        "sender": envelope.sender,
        "task": envelope.payload.get("task", ""),
        "lamport": envelope.lamport,
        "text": describe(envelope),
        "refs": [cid_text(ref) for ref in envelope.refs],
        "gate": gate,
        "author_policy": envelope.policy.hex(),
        "verified": verified,
        "void": need.void.get(envelope.id),
        "trace": envelope.trace,
    }


def describe(envelope: Envelope) -> str:
    """One line for people about what an envelope says."""
    payload = envelope.payload
    match envelope.kind:
        case kinds.NEED:
            names = ", ".join(task["id"] for task in payload["tasks"][:6])
            more = ", ..." if len(payload["tasks"]) > 6 else ""
            count = _plural(len(payload["tasks"]), "task")
            return f"asks for {count} ({names}{more}), locks {format_usdc(payload['budget'])} USDC"
        case kinds.PROPOSE:
            top = sum(max(price for _, price in found) for found in payload["plan"].values())
            count = _plural(len(payload["plan"]), "task")
            again = f" in round {payload['round']}" if payload["round"] else ""
            return f"proposes workers for {count}{again}, at most {format_usdc(top)} USDC"
        case kinds.ATTEST_PLAN:
            if payload["verdict"] == "skip":
                return f"asks for round {payload['round']}: {payload['reason']}"
            return f"votes {payload['verdict']}: {payload['reason']}"
        case kinds.DECIDE:
            return f"decides with {_plural(len(envelope.refs) - 1, 'vote')}, {payload['k']} needed"
        case kinds.CLAIM:
            return f"claims {payload['task']} (attempt {payload['attempt']}) for {payload['lease_s']} s"
        case kinds.COMMIT:
            return (
                f"delivers {payload['task']}: {payload['size']} bytes in {payload['telemetry']['wall_ms']} ms"
            )
        case kinds.ATTEST:
            return (
                f"judges {payload['task']}: {payload['verdict']}, {payload['score']}/100, {payload['reason']}"
            )
        case kinds.FINALIZE:
            if payload["outcome"] == "accepted":
                return f"finalises {payload['task']}: paid, certificate of {len(envelope.refs) - 1}"
            if payload["outcome"] == "dismissed":
                return f"dismisses a challenge of {payload['task']}: {payload['reason']}"
            return f"closes the need: {payload['outcome']}, {payload['reason']}"
        case kinds.CHALLENGE:
            bond = format_usdc(payload["bond"]["amount"])
            return f"challenges {payload['task']} for a bond of {bond} USDC: {payload['reason']}"
        case kinds.INVALIDATE:
            reviews = _plural(len(envelope.refs) - 1, "review")
            return f"reverses the result of {payload['task']} with {reviews}: {payload['reason']}"
        case kinds.YIELD:
            return f"gives {payload['task']} back (attempt {payload['attempt']}): {payload['reason']}"
        case kinds.RELEASE:
            cause = _CAUSES.get(payload["cause"], payload["cause"])
            return f"ends attempt {payload['attempt']} of {payload['task']}: {cause}"
        case kinds.RECONCILE:
            count = _plural(len(payload["orphaned"]), "decision")
            return f"withdraws {count}: epoch {payload['epoch']} had begun without it"
        case kinds.UPDATE_PLAN:
            return "; ".join(_op(op) for op in payload["ops"][:4])
    return payload.get("reason", "") or payload.get("op", "") or envelope.kind.lower()


# Of a RELEASE, for people.
_CAUSES = {
    "expired": "its lease ran out",
    "unclaimed": "its worker did not claim it in time",
    "rejected": "its result was rejected",
}


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _op(op: dict[str, Any]) -> str:
    match op["op"]:
        case "ANNOTATE":
            return f"notes {op['task'] or 'the need'}: {op['key']} = {op['value']}"
        case "ADD_TASK":
            return f"adds task {op['task']['id']}"
        case "LINK":
            return f"links {op['parent']} -> {op['child']}"
    return str(op["op"])
