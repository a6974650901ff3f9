"""What a need waits for, in words: what its planners say, who has to work, whose judgement is missing."""

from swarmd.protocol.state import State
from swarmd.protocol.work import plan as states
from swarmd.protocol.work.committees import plan_committee
from swarmd.protocol.work.need import Need, Run

_NAMED = 3  # tasks of a need that are told of


def waiting_for(state: State, need: Need) -> str:
    """As this node sees it; "" at the end of the need, and where nothing is known."""
    if need.closed is not None or need.complete():
        return ""
    if need.waiting_for:
        return need.waiting_for
    if need.decided is None:
        return nobody_for(state, need) or _votes(state, need)
    found = [_task(need, name, run) for name, run in need.runs.items() if _due(need, name, run)]
    more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return "; ".join(found[:_NAMED]) + more


def nobody_for(state: State, need: Need) -> str:
    """Who is no verifier is not told what planners wait for; an undecided need of ours may want what nobody offers."""
    if need.owner != state.me or need.decided is not None:
        return ""
    offered = {name for manifest in state.manifests.values() for name in manifest.offers}
    missing = sorted({spec.capability for spec in need.all_specs()} - offered)
    if missing:
        return f"somebody who offers {', '.join(missing[:_NAMED])}"
    return "" if need.proposals else "a plan that its committee agrees on"


def _votes(state: State, need: Need) -> str:
    if not need.proposals:
        return ""
    quorum = plan_committee(state.terms, need, need.draw).quorum
    best = max(len(need.votes.get(proposal, ())) for proposal in need.proposals)
    return f"votes for a plan: the best has {best} of {quorum}"


def _due(need: Need, name: str, run: Run) -> bool:
    return run.state not in (states.FINALIZED, states.FAILED) and need.parents_final(name)


def _task(need: Need, name: str, run: Run) -> str:
    proposal = need.proposal()
    assert proposal is not None
    if run.commit is not None:
        said = [a for a in need.by_task.get("attests/" + name, ()) if a.commit == run.commit.id]
        unable = sorted({a.reason for a in said if a.verdict == "abstain"})
        why = f" ({len(unable)} could not: {'; '.join(unable)})" if unable else ""
        return f"a verifier to judge the result of {name}{why}"
    worker = proposal.plan[name][run.attempt][0]
    return f"{worker} to {'claim' if run.claim is None else 'deliver'} {name}"
