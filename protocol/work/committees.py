"""Who decides about a need and who judges its results, drawn from the roster, and when they are enough."""

from typing import Any

from swarmd.protocol.consensus import committee
from swarmd.protocol.consensus.committee import Committee
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.terms import Terms
from swarmd.protocol.work.need import (
    Commit,
    Need,
)
from swarmd.protocol.work.void import Void


def plan_committee(terms: Terms, need: Need, draw: int) -> Committee:
    """The committee of epoch `draw` for `need`: drawn from that roster, the owner only if nobody else is there."""
    roster = terms.roster(draw)
    order = committee.ranked(roster, "plan", need.id, "", draw)
    return committee.draw(
        order, committee.k_plan(len(roster), terms.genesis), {need.owner}, terms.genesis.quorum_mode
    )


def result_committee(
    terms: Terms, need: Need, task: str, draw: int, worker: str, abstained: frozenset[str]
) -> Committee:
    """The committee that judges a result of `worker`; members that abstained are replaced by the next in rank.

    `draw` is the epoch of the decision that the worker works by: a result is judged by the roster it was promised.
    """
    roster = terms.roster(draw)
    order = committee.ranked(roster, "result", need.id, task, draw)
    k = committee.k_result(len(roster), terms.genesis)
    if abstained:
        order = tuple(did for did in order if did not in abstained)
    return committee.draw(order, k, {need.owner, worker}, terms.genesis.quorum_mode)


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
