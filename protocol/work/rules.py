"""What each verb may do: one function a verb, in a table.

A rule looks only at the envelope, at what it refers to, and at what genesis fixes; never at what else happened to
have arrived. So every node voids the same envelopes, whatever the order of delivery. A void envelope stays on
record with its reason (`swarmd why` shows it) and moves nothing.
"""

from collections.abc import Callable

from swarmd.protocol import kinds
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.terms import Terms
from swarmd.protocol.work import challenging, deciding, judging, opening, working
from swarmd.protocol.work.need import Need
from swarmd.protocol.work.void import ORPHANED, Void


def reconcile(terms: Terms, need: Need, envelope: Envelope) -> list[str] | None:
    """Decisions that lost to an epoch, said on the record: it moves nothing, what it names has moved nothing already."""
    payload = envelope.payload
    if payload["epoch"] not in need.draws[1:]:
        raise Void(f"epoch {payload['epoch']} drew no new committee for the need")
    orphaned = [bytes(ref) for ref in payload["orphaned"]]
    if not orphaned or need.envelope not in envelope.refs or not set(orphaned) <= set(envelope.refs):
        raise Void("it does not refer to the need and to what it says is orphaned")
    for ref in orphaned:
        if not need.void.get(ref, "").startswith(ORPHANED):
            raise Void("it names what no epoch has orphaned")
    need.reconciled |= dict.fromkeys(orphaned, payload["epoch"])
    return []


RULES: dict[str, Callable[[Terms, Need, Envelope], list[str] | None]] = {
    kinds.UPDATE_PLAN: opening.update_plan,
    kinds.PROPOSE: deciding.propose,
    kinds.ATTEST_PLAN: deciding.attest_plan,
    kinds.DECIDE: deciding.decide,
    kinds.CLAIM: working.claim,
    kinds.YIELD: working.yield_,
    kinds.RELEASE: working.release,
    kinds.COMMIT: working.commit,
    kinds.ATTEST: judging.attest,
    kinds.FINALIZE: judging.finalize,
    kinds.CHALLENGE: challenging.challenge,
    kinds.INVALIDATE: challenging.invalidate,
    kinds.RECONCILE: reconcile,
}


def apply(terms: Terms, need: Need, envelope: Envelope) -> tuple[str, list[str] | None]:
    """Take one envelope whose refs are all on record and whose epoch has begun.

    Returns (void reason or "", the tasks that moved; None for all of them).
    """
    need.record(envelope)
    try:
        if envelope.epoch < need.epoch:
            raise Void(f"epoch {envelope.epoch} is over: the need is of epoch {need.epoch}")
        for ref in envelope.refs:
            lamport, _, epoch = need.seen[ref]
            if lamport >= envelope.lamport:
                raise Void("its lamport is not after that of what it refers to")
            if epoch > envelope.epoch:
                raise Void(f"its author knew of epoch {epoch}, and still writes in {envelope.epoch}")
        rule = RULES.get(envelope.kind)
        if rule is None:
            raise Void(f"{envelope.kind} does nothing in this version")
        return "", rule(terms, need, envelope)
    except Void as void:
        need.void[envelope.id] = str(void)
        return str(void), []
