"""Who decides about a need and who judges its results, drawn from the roster, and when they are enough."""

from typing import Any

from swarmd.protocol.consensus.committee import Committee
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.terms import Terms
from swarmd.protocol.work.facts import Commit
from swarmd.protocol.work.need import Need
from swarmd.protocol.work.void import Void


def plan_committee(terms: Terms, need: Need, draw: int) -> Committee:
    """The committee of epoch `draw` for `need`: drawn from that roster, the owner only if nobody else is there."""
    return terms.draw("plan", need.id, "", draw, (need.owner,))


def result_committee(
    terms: Terms, need: Need, task: str, draw: int, worker: str, abstained: frozenset[str]
) -> Committee:
    """The committee that judges a result of `worker`; members that abstained are replaced by the next in rank.

    `draw` is the epoch of the decision that the worker works by: a result is judged by the roster it was promised.
    """
    return terms.draw("result", need.id, task, draw, (need.owner, worker), abstained)


def abstained(need: Need, refs: Any, commit: bytes) -> frozenset[str]:
    """Who abstained about `commit`, as far as `refs` show."""
    return frozenset(
        attest.judge
        for ref in refs
        if (attest := need.attests.get(ref)) is not None
        and attest.commit == commit
        and attest.verdict == "abstain"
    )


def draw_of(need: Need, commit: Commit) -> int:
    """The epoch of the decision that `commit` was made under."""
    return need.proposals[need.claims[commit.claim].proposal].draw


def judges(terms: Terms, need: Need, envelope: Envelope, commit: Commit) -> Committee:
    gone = abstained(need, envelope.refs, commit.id)
    return result_committee(terms, need, commit.task, draw_of(need, commit), commit.worker, gone)


def quorum(terms: Terms, need: Need, envelope: Envelope, commit: Commit, verdict: str) -> tuple[bytes, ...]:
    """The attests among the refs that carry `verdict` with a quorum; Void if they do not."""
    drawn = judges(terms, need, envelope, commit)
    by_judge = {
        attest.judge: ref
        for ref in envelope.refs
        if (attest := need.attests.get(ref)) is not None
        and attest.commit == commit.id
        and attest.verdict == verdict
        and attest.judge in drawn.members
    }
    if len(by_judge) < drawn.quorum:
        raise Void(f"{len(by_judge)} of the committee say {verdict}, {drawn.quorum} are needed")
    return tuple(sorted(by_judge.values()))
