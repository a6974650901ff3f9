"""Who decides about a need and who judges its results, drawn from the roster, and when they are enough."""

from typing import Any

from swarmd.protocol.consensus import committee
from swarmd.protocol.consensus.committee import Committee
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.work.need import (
    Commit,
    Need,
)
from swarmd.protocol.work.void import Void


def plan_committee(genesis: Genesis, need: Need, epoch: int) -> Committee:
    """The committee that decides about `need`: drawn from the roster, the owner only if nobody else is there."""
    order = committee.ranked(genesis.roster, "plan", need.id, "", epoch)
    return committee.draw(
        order, committee.k_plan(len(genesis.roster), genesis), {need.owner}, genesis.quorum_mode
    )


def result_committee(
    genesis: Genesis, need: Need, task: str, epoch: int, worker: str, abstained: frozenset[str]
) -> Committee:
    """The committee that judges a result of `worker`; members that abstained are replaced by the next in rank."""
    order = committee.ranked(genesis.roster, "result", need.id, task, epoch)
    k = committee.k_result(len(genesis.roster), genesis)
    if abstained:
        order = tuple(did for did in order if did not in abstained)
    return committee.draw(order, k, {need.owner, worker}, genesis.quorum_mode)


def abstained(need: Need, refs: Any, commit: bytes) -> frozenset[str]:
    """Who abstained about `commit`, as far as `refs` show."""
    return frozenset(
        attest.judge
        for ref in refs
        if (attest := need.attests.get(ref)) is not None
        and attest.commit == commit
        and attest.verdict == "abstain"
    )


def judges(genesis: Genesis, need: Need, envelope: Envelope, commit: Commit) -> Committee:
    gone = abstained(need, envelope.refs, commit.id)
    return result_committee(genesis, need, commit.task, envelope.epoch, commit.worker, gone)


def quorum(
    genesis: Genesis, need: Need, envelope: Envelope, commit: Commit, verdict: str
) -> tuple[bytes, ...]:
    """The attests among the refs that carry `verdict` with a quorum; Void if they do not."""
    drawn = judges(genesis, need, envelope, commit)
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
