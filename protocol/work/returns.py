"""What came of our own work: an agent's result and a judge's verdict become the envelopes that say so."""

from typing import Any

from swarmd.protocol import kinds, limits, reviewing
from swarmd.protocol.cbor import Link
from swarmd.protocol.effects import Effect
from swarmd.protocol.inputs import AgentDone, Judged
from swarmd.protocol.state import State


def agent_done(state: State, given: AgentDone, out: list[Effect]) -> None:
    job = state.jobs.pop(given.job_id, None)
    if job is None:
        return
    need = state.needs[job.need]
    claim = need.claims.get(job.subject)
    if claim is None:
        return  # the decision that it works by was orphaned
    if any(commit.claim == claim.id for commit in need.commits.values()):
        return  # delivered by a life that a backup does not know of
    if given.result is None:
        payload: dict[str, Any] = {
            "task": job.task,
            "attempt": claim.attempt,
            "reason": given.error[:500] or "failed",
        }
        state.draft(out, need.id, kinds.YIELD, payload, (claim.id,))
        return
    if state.now_ns > claim.until_ns:
        return
    payload = {
        "task": job.task,
        "result": Link(given.result),
        "size": given.size,
        "telemetry": {
            name: min(max(given.telemetry.get(name, 0), 0), 1 << 40)
            for name in ("wall_ms", "cpu_ms", "max_rss_kb", "output_bytes")
        },
    }
    if given.inline is not None and len(given.inline) <= limits.MAX_INLINE_BYTES:
        payload["inline"] = given.inline
    state.draft(out, need.id, kinds.COMMIT, payload, (claim.id,))


def judged(state: State, given: Judged, out: list[Effect]) -> None:
    job = state.jobs.pop(given.job_id, None)
    if job is None:
        return
    need = state.needs[job.need]
    if job.subject in need.challenges:
        reviewing.judged(state, need, job.subject, given, out)
        return
    commit = need.commits.get(job.subject)
    if commit is None:
        return
    if any(a.commit == commit.id and a.judge == state.me for a in need.attests.values()):
        return  # as above: judged before, and two judgements might differ
    excused = [
        a.id
        for a in need.attests.values()
        if a.commit == commit.id and a.verdict == "abstain" and a.judge != state.me
    ]
    payload = {
        "task": job.task,
        "verdict": given.verdict,
        "score": given.score,
        "reason": given.reason[:500],
    }
    state.draft(out, need.id, kinds.ATTEST, payload, (commit.id, *excused)[: limits.MAX_REFS])
