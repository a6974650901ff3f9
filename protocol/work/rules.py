"""What each verb may do: one function a verb, in a table.

A rule looks only at the envelope, at what it refers to, and at what genesis fixes; never at what else happened to
have arrived. So every node voids the same envelopes, whatever the order of delivery. A void envelope stays on
record with its reason (`swarmd why` shows it) and moves nothing.
"""

from collections.abc import Callable

from swarmd.protocol import kinds
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.work import deciding, judging, opening, working
from swarmd.protocol.work.need import Need
from swarmd.protocol.work.void import Void

RULES: dict[str, Callable[[Genesis, Need, Envelope], list[str] | None]] = {
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
    kinds.CHALLENGE: judging.challenge,
}


def apply(genesis: Genesis, need: Need, envelope: Envelope) -> tuple[str, list[str] | None]:
    """Take one envelope whose refs are all on record.

    Returns (void reason or "", the tasks that moved; None for all of them).
    """
    need.seen[envelope.id] = (envelope.lamport, envelope.ts_ns)
    try:
        _known_epoch(envelope)
        for ref in envelope.refs:
            if need.seen[ref][0] >= envelope.lamport:
                raise Void("its lamport is not after that of what it refers to")
        rule = RULES.get(envelope.kind)
        if rule is None:
            raise Void(f"{envelope.kind} does nothing in this version")
        return "", rule(genesis, need, envelope)
    except Void as void:
        need.void[envelope.id] = str(void)
        return str(void), []


def _known_epoch(envelope: Envelope) -> None:
    # The roster is genesis' until checkpoints move it; another epoch would draw another committee at will.
    if envelope.epoch != 0:
        raise Void(f"epoch {envelope.epoch} has no roster")
