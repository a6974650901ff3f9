"""How consensus stands, as plain maps: the mesh's terms, its verifiers, and why one need is where it is."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any

from swarmd.node.consensus.certificates import roster_digest
from swarmd.node.pool.views import bootstrap
from swarmd.protocol import kinds, planning
from swarmd.protocol.cids import cid_text
from swarmd.protocol.consensus.committee import (
    committee_size,
    liars_borne,
    quorum_of,
)
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.identity.manifest import TTL_NS
from swarmd.protocol.state import State
from swarmd.protocol.work.committees import plan_committee
from swarmd.protocol.work.facts import Proposal, Skip
from swarmd.protocol.work.need import Need

MAX_WAITING = 50
VERBS = (kinds.PROPOSE, kinds.ATTEST_PLAN, kinds.DECIDE)


def terms(genesis: Genesis, count: int, k: int) -> dict[str, Any]:
    """Of a full committee: its size, how many decide, and how many of them may lie or be silent."""
    mode = genesis.quorum_mode
    size = min(committee_size(k, mode), max(1, count))
    quorum = quorum_of(size, mode)
    return {
        "k": k,
        "members": size,
        "quorum": quorum,
        "liars_borne": liars_borne(size, mode),
        "silent_borne": size - quorum,
    }


def status(
    state: State, faults: Mapping[str, int], evidence: int, arbiter: Mapping[str, Any] | None
) -> dict[str, Any]:
    """How consensus stands on this node."""
    genesis, members = state.genesis, state.terms.roster(state.epoch)
    count, k_plan = len(members), state.terms.k_plan(state.epoch)
    undecided = [
        need
        for name in ("OPEN", "PROPOSED")
        for need in (state.needs[thread] for thread in state.views.needs_in(name))
    ]
    waits = ({"need": need.id, "for": need.waiting_for} for need in undecided if need.waiting_for)
    void = Counter(_plain(reason) for need in state.needs.values() for reason in need.void.values())
    return {
        "epoch": state.epoch,
        "quorum_mode": genesis.quorum_mode,
        "arbiter": dict(arbiter) if arbiter is not None else {"kind": genesis.arbiter, "state": "none"},
        "roster": count,
        "seen": sum(did == state.me or _fresh(state, did) for did in members),
        "member": state.me in members,
        "plan": terms(genesis, count, k_plan),
        "result": terms(genesis, count, state.terms.k_result(state.epoch)),
        "bootstrap": bootstrap(state),
        "needs": {"undecided": len(undecided), "waiting": list(islice(waits, MAX_WAITING))},
        "refused": {"frames": dict(faults), "void": dict(void.most_common(20))},
        "evidence": evidence,
    }


def _plain(reason: str) -> str:
    """A reason without the ids, names and numbers in it, so that equal mistakes are counted together."""
    return " ".join("N" if word.strip(",:").isdigit() else word for word in reason.split())[:80]


def _fresh(state: State, did: str) -> bool:
    manifest = state.manifests.get(did)
    return manifest is not None and state.now_ns - manifest.issued_ns <= TTL_NS


def roster(state: State, connected: Collection[str], forked: Collection[str]) -> dict[str, Any]:
    """The verifiers, in the order of the roster."""
    contradictions = Counter(did for need in state.needs.values() for did in need.equivocators)
    rows = []
    current = state.terms.rosters[state.epoch]
    for did in current.members:
        manifest = state.manifests.get(did)
        rows.append(
            {
                "did": did,
                "me": did == state.me,
                "weight": current.weight(did),
                "connected": did in connected,
                "seen_ns": manifest.issued_ns if manifest is not None else 0,
                "fresh": did == state.me or _fresh(state, did),
                "reputation": state.rates(did),
                "contradictions": contradictions[did],
                "forked": did in forked,
            }
        )
    return {"epoch": state.epoch, "size": len(rows), "digest": roster_digest(current), "verifiers": rows}


def epoch(state: State) -> dict[str, Any]:
    """The epoch that is on, and what fixed its roster."""
    current = state.terms.rosters[state.epoch]
    return {
        "epoch": state.epoch,
        "roster": len(current.members),
        "digest": roster_digest(current),
        "fixed_by": "genesis" if state.epoch == 0 else "checkpoint",
        "mesh": state.genesis.mesh_name,
    }


# One need ------------------------------------------------------------------------------------------------


def explain(state: State, need: Need, thread: Sequence[Envelope]) -> dict[str, Any]:
    """Who sits in the need's committee, what they said round by round, what won and why, or what is missing."""
    committee = plan_committee(state.terms, need, need.draw)
    proposals = [proposal for proposal in need.proposals.values() if proposal.draw == need.draw]
    proposals.sort(key=lambda proposal: (proposal.round, proposal.id))
    skips = [skip for skip in need.skips.values() if skip.draw == need.draw]
    asked = sorted({skip.round for skip in skips} | {p.round for p in proposals} | {0})
    return {
        "need": need.id,
        "state": need.state(),
        "waiting_for": need.waiting_for if need.decided is None else "",
        "epoch": need.epoch,
        "draws": list(need.draws),
        "quorum_mode": state.genesis.quorum_mode,
        "quorum": committee.quorum,
        "liars_borne": liars_borne(len(committee.members), state.genesis.quorum_mode),
        "committee": [_member(state, need, did, rank) for rank, did in enumerate(committee.members)],
        "rounds": [_round(need, committee.proposer(number), number, proposals, skips) for number in asked],
        "decisions": [
            {
                "decide": cid_text(decide.id),
                "proposal": cid_text(decide.proposal),
                "decider": decide.decider,
                "epoch": decide.epoch,
                "lamport": decide.lamport,
                "votes": len(decide.votes),
                "wins": need.decided is not None and decide.proposal == need.decided.proposal,
            }
            for decide in sorted(need.decides.values(), key=lambda d: (d.lamport, d.id))
        ],
        "arbitrated": cid_text(need.arbitrated) if need.arbitrated else None,
        "why": _why(state, need, proposals, committee.quorum),
        "next_round": _next_round(state, need, asked[-1]),
        "void": [
            {"kind": each.kind, "sender": each.sender, "reason": need.void[each.id], "id": cid_text(each.id)}
            for each in thread
            if each.id in need.void and each.kind in VERBS
        ],
    }


def _member(state: State, need: Need, did: str, rank: int) -> dict[str, Any]:
    votes = [
        {"round": need.proposals[proposal].round, "proposal": cid_text(proposal)}
        for voter, proposal in need.vote_of.values()
        if voter == did and need.proposals[proposal].draw == need.draw
    ]
    skipped: list[Skip] = [
        skip for skip in need.skips.values() if skip.voter == did and skip.draw == need.draw
    ]
    return {
        "rank": rank,
        "did": did,
        "me": did == state.me,
        "votes": sorted(votes, key=lambda vote: (vote["round"], vote["proposal"])),
        "skipped_to": max((skip.round for skip in skipped), default=None),
        "contradicted_itself": did in need.equivocators,
    }


def _round(
    need: Need, proposer: str, number: int, proposals: Sequence[Proposal], skips: Sequence[Skip]
) -> dict[str, Any]:
    return {
        "round": number,
        "proposer": proposer,
        "skips": sorted(skip.voter for skip in skips if skip.round == number),
        "proposals": [
            {
                "proposal": cid_text(proposal.id),
                "plan": cid_text(proposal.value),
                "votes": sorted(need.votes.get(proposal.id, ())),
            }
            for proposal in proposals
            if proposal.round == number
        ],
    }


def _why(state: State, need: Need, proposals: Sequence[Proposal], quorum: int) -> str:
    if need.decided is not None:
        return _why_it_won(need)
    if need.closed is not None:
        return f"not decided before it was {need.closed.outcome}: {need.closed.reason}"
    if need.waiting_for:
        return f"not decided: it waits for {need.waiting_for}"
    if not proposals:
        return "not decided: nobody has proposed a plan that we know of"
    best = max(proposals, key=lambda p: (len(need.votes.get(p.id, ())), p.round))
    return f"not decided: {len(need.votes.get(best.id, ()))} votes for the best plan, {quorum} are needed"


def _why_it_won(need: Need) -> str:
    assert need.decided is not None
    winner = need.proposals[need.decided.proposal]
    count = len(need.decided.votes)
    text = f"{count} member{'s' if count > 1 else ''} voted for it in round {_round_of(need)}"
    if len({decide.proposal for decide in need.decides.values()}) == 1:
        return f"{text}; no other plan has a certificate"
    if need.arbitrated == winner.id:
        return f"{text}; another plan has a certificate too, and the arbiter has this one on record"
    return f"{text}; another plan has a certificate too, and loses by epoch, lamport or decider"


def _round_of(need: Need) -> int:
    assert need.decided is not None
    voted = [need.vote_of[vote][1] for vote in need.decided.votes]
    return need.proposals[voted[0]].round if voted else 0


def _next_round(state: State, need: Need, last: int) -> dict[str, Any] | None:
    """When this node asks for the next round, if nothing is decided; None if it has no reason to."""
    if need.decided is not None or need.closed is not None or not need.since_ns:
        return None
    number = max(need.promised, last) + 1
    at_ns = need.since_ns + planning.round_start_ns(number)
    return {"round": number, "in_s": round((at_ns - state.now_ns) / 1e9, 1)}
