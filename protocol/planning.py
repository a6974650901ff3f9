"""What a member of a need's committee does until there is a plan: skip, propose, vote, decide.

The rules are those of `work/deciding.py`; this is when to use them. Rounds are counted by our own time from when the
need could first be planned here, so no clock but ours moves us.
"""

from hashlib import sha256
from typing import Any

from swarmd.protocol import kinds, limits
from swarmd.protocol.amounts import format_usdc
from swarmd.protocol.consensus import arbitration, ballot
from swarmd.protocol.consensus.committee import Committee
from swarmd.protocol.effects import Effect
from swarmd.protocol.identity.manifest import TTL_NS
from swarmd.protocol.limits import S_NS
from swarmd.protocol.state import State
from swarmd.protocol.work import committees
from swarmd.protocol.work.facts import Proposal, TaskSpec
from swarmd.protocol.work.need import Need

ROUND_NS = 2_500_000_000  # the first round; each next one takes twice as long, up to
MAX_ROUND_NS = 60 * S_NS
_GROWING_ROUNDS = (MAX_ROUND_NS // ROUND_NS).bit_length()  # how many are shorter than that
VOTE_BACKUP_NS = 1_000_000_000
CERTIFY_BACKUP_NS = 700_000_000
SHORTLIST = 3
UNRELIABLE = 30  # of 100: two failures more than results accepted, for a newcomer
Plan = dict[str, list[list[Any]]]  # task -> [[worker, price], ...]


def attend(state: State, need: Need, out: list[Effect]) -> None:
    committee = committees.plan_committee(state.terms, need, need.draw)
    rank = committee.rank(state.me)
    if rank is None:
        return
    fresh: Plan | None = None
    if not need.since_ns:
        # Rounds are no help as long as nobody could propose anything.
        if not need.proposals and (fresh := _chosen(state, need)) is None:
            return
        need.since_ns = state.now_ns
    _recall(state, need)
    _skip(state, need, committee, out)
    _propose(state, need, committee, fresh, out)
    _vote(state, need, committee, rank, out)
    _decide(state, need, committee, out)


def _recall(state: State, need: Need) -> None:
    """Mind what we said and only heard again: of a node that was restored from a backup others know more than it."""
    for proposal in need.proposals.values():
        if proposal.draw != need.draw:
            continue
        if proposal.sender == state.me:
            need.done_here.add(("proposed", need.draw, proposal.round))
        if state.me in need.votes.get(proposal.id, ()):
            need.voted.setdefault(proposal.round, proposal.id)
            need.promised = max(need.promised, proposal.round)
    for skip in need.skips.values():
        if skip.draw == need.draw and skip.voter == state.me:
            need.promised = max(need.promised, skip.round)


def _chosen(state: State, need: Need) -> Plan | None:
    """A plan for all tasks; None, with what it waits for, if there is none to be made now."""
    plan: Plan = {}
    for spec in need.all_specs():
        found = candidates(state, need, spec)
        if not found:
            need.waiting_for = (
                f"an agent that offers {spec.capability} for at most {format_usdc(spec.max_price)} USDC"
            )
            state.waiting[need.id] = None
            return None
        plan[spec.id] = [[did, price] for price, did in found]
    # An owner can add more than one proposal can refer to or plan.
    if len(need.updates) >= limits.MAX_REFS // 2 or len(plan) > limits.MAX_TASKS_PER_NEED:
        need.waiting_for = "a smaller plan: more updates or tasks than a proposal can hold"
        return None
    need.waiting_for = ""
    state.waiting.pop(need.id, None)
    return plan


def round_start_ns(round_: int) -> int:
    """Nanoseconds after the need could be planned: 0, 2.5 s, 7.5 s, 17.5 s, ... at last one a minute."""
    growing = min(round_, _GROWING_ROUNDS)
    return ROUND_NS * ((1 << growing) - 1) + MAX_ROUND_NS * (round_ - growing)


def _round_at(passed_ns: int) -> int:
    """The round that is on `passed_ns` after the need could be planned: the inverse of `round_start_ns`."""
    over_ns = passed_ns - round_start_ns(_GROWING_ROUNDS)
    if over_ns >= 0:
        return _GROWING_ROUNDS + over_ns // MAX_ROUND_NS
    return (passed_ns // ROUND_NS + 1).bit_length() - 1


def _skip(state: State, need: Need, committee: Committee, out: list[Effect]) -> None:
    """Ask for the next round when this one has taken too long, or when others ask and it has for us too."""
    if len(committee.members) == 1 or _decidable(need, committee):
        return
    wanted, ours = need.promised + 1, _round_at(state.now_ns - need.since_ns)
    if ours < wanted:
        state.due(need, need.since_ns + round_start_ns(wanted), out, "round", wanted)
        # Others may have begun to count earlier; one round ahead of our own count we go with them.
        one_ahead = 0 < ours == wanted - 1
        if not (
            one_ahead and any(skip.draw == need.draw and skip.round == wanted for skip in need.skips.values())
        ):
            return
    own = [need.votes.get(proposal, {}).get(state.me) for proposal in need.voted.values()]
    if None in own:
        return  # our vote is on its way into the journal: a skip must show it
    need.promised = wanted = max(wanted, ours)
    payload = {"verdict": "skip", "round": wanted, "reason": "no decision in time"}
    latest = need.votes[need.voted[max(need.voted)]][state.me] if need.voted else None
    state.draft(
        out, need.id, kinds.ATTEST_PLAN, payload, (need.envelope, latest) if latest else (need.envelope,)
    )
    state.due(need, need.since_ns + round_start_ns(wanted + 1), out, "round", wanted + 1)


def _decidable(need: Need, committee: Committee) -> bool:
    return any(
        len(votes) >= committee.quorum and need.proposals[proposal].draw == need.draw
        for proposal, votes in need.votes.items()
    )


def _propose(state: State, need: Need, committee: Committee, fresh: Plan | None, out: list[Effect]) -> None:
    """In a round of ours, once: what skips bind us to, else `fresh`, a plan that was just made or is made now."""
    round_ = need.promised
    if committee.proposer(round_) != state.me or ("proposed", need.draw, round_) in need.done_here:
        return
    by_voter = {
        skip.voter: skip for skip in need.skips.values() if (skip.draw, skip.round) == (need.draw, round_)
    }
    skips = [by_voter[did] for did in committee.members if did in by_voter][: committee.quorum]
    if round_ and len(skips) < committee.quorum:
        return
    values = ballot.latest_values(need, skips)
    if len(values) > 1:
        return  # their proposer signed two in one round: nobody can tell which was decided
    if values:
        repeated = need.proposals[values.pop()]
        plan, lease_s, updates = repeated.plan, repeated.lease_s, repeated.updates
    else:
        fresh = fresh or _chosen(state, need)
        if fresh is None:
            return
        plan, lease_s, updates = fresh, state.lease_s, tuple(need.updates)
    need.done_here.add(("proposed", need.draw, round_))
    state.draft(
        out,
        need.id,
        kinds.PROPOSE,
        {"round": round_, "lease_s": lease_s, "plan": plan},
        (need.envelope, *updates, *(skip.id for skip in skips)),
    )


def candidates(state: State, need: Need, spec: TaskSpec) -> list[tuple[int, str]]:
    """Who could do a task, best first: by price, then reputation, then a hash that spreads the load."""
    found = []
    for did, manifest in state.manifests.items():
        price = manifest.offers.get(spec.capability)
        if price is None or price > spec.max_price or state.now_ns - manifest.issued_ns > TTL_NS:
            continue
        spread = sha256(f"{need.id}/{spec.id}/{did}".encode()).digest()
        # Who failed again and again comes last whatever it asks: a low price must not buy the right to stall.
        rates = state.rates(did)
        found.append((rates < UNRELIABLE, price, -rates, spread, did))
    return [(price, did) for _, price, _, _, did in sorted(found)[:SHORTLIST]]


def _acceptable(state: State, proposal: Proposal) -> bool:
    """Do we have the manifests of all its workers?"""
    return all(did in state.manifests for workers in proposal.plan.values() for did, _ in workers)


def _backed(state: State, proposal: Proposal) -> bool:
    """Do the workers' manifests, which are here, offer what the proposal says at no more than it says?"""
    for task, workers in proposal.plan.items():
        capability = proposal.specs[task].capability
        for did, price in workers:
            offer = state.manifests[did].offers.get(capability)
            if offer is None or offer > price:
                return False
    return True


def _vote(state: State, need: Need, committee: Committee, rank: int, out: list[Effect]) -> None:
    """For the proposal of the latest round, once a round, and for none below what we promised."""
    for proposal in sorted(need.proposals.values(), key=lambda p: (-p.round, p.id)):
        if proposal.draw != need.draw:
            continue
        if proposal.round < need.promised or proposal.round in need.voted:
            return
        if not _acceptable(state, proposal):
            need.waiting_for = "the offers of the workers in the proposed plan"
            state.waiting[need.id] = None
            continue
        if not _backed(state, proposal):
            if need.once("rejected", proposal.id):
                state.draft(
                    out,
                    need.id,
                    kinds.ATTEST_PLAN,
                    {"verdict": "reject", "reason": "a price or capability that its worker does not offer"},
                    (proposal.id,),
                )
            continue
        # The first K are enough as a rule.
        if (
            proposal.round == 0
            and rank >= committee.quorum
            and not state.due(need, need.since_ns + VOTE_BACKUP_NS, out, "vote")
        ):
            return
        # Two votes in one round are slashable, and so is one below a round that we asked for.
        need.voted[proposal.round] = proposal.id
        need.promised = proposal.round
        state.draft(
            out,
            need.id,
            kinds.ATTEST_PLAN,
            {"verdict": "accept", "reason": "workers and prices are as offered"},
            (proposal.id,),
        )
        return


def _decide(state: State, need: Need, committee: Committee, out: list[Effect]) -> None:
    for proposal in need.proposals.values():
        votes = need.votes.get(proposal.id, {})
        if len(votes) < committee.quorum or proposal.draw != need.draw:
            continue
        # Who cast the completing vote decides at once; the others only if that is not heard of.
        mine = votes.get(state.me)
        last = max(votes.values(), key=lambda vote: need.seen[vote])
        if mine != last and not state.due(
            need, need.seen[last][1] + CERTIFY_BACKUP_NS, out, "decide", proposal.id
        ):
            continue
        if not arbitration.may_decide(state, need, proposal.value, committee.quorum, out):
            continue
        if need.once("decided", need.draw, proposal.id):
            chosen = sorted(votes.values(), key=lambda vote: (need.seen[vote], vote))[: committee.quorum]
            state.draft(
                out,
                need.id,
                kinds.DECIDE,
                {"round": proposal.round, "k": committee.quorum},
                (proposal.id, *chosen),
            )
