"""CHECKPOINT, and ATTEST_PLAN and DECIDE about one: how an epoch ends.

A committee of up to 31, drawn from the roster of the epoch, agrees on one snapshot by Paxos (consensus/ballot.py). Its
K signatures are the certificate: anybody who knows that roster verifies it offline, and the snapshot has the roster of
the epoch after the next, so certificates form a chain from genesis on.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from swarmd.protocol import kinds
from swarmd.protocol.batch import EnvelopeProof, verify_proof
from swarmd.protocol.checkpoint.record import EpochBallot, Proposed, Skipped
from swarmd.protocol.consensus import ballot as paxos
from swarmd.protocol.consensus import committee
from swarmd.protocol.consensus.committee import Committee
from swarmd.protocol.effects import Adopt, CheckSnapshot, Effect, MakeSnapshot, Report
from swarmd.protocol.envelope import Envelope, epoch_thread
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.inputs import SnapshotChecked, SnapshotMade
from swarmd.protocol.limits import S_NS
from swarmd.protocol.state import NOBODY, State
from swarmd.protocol.work.void import Void, first, member

K = 16  # of 31: a certificate and the skips before it fit into an envelope's refs
ROUND_NS = 30 * S_NS  # the first; each next one takes twice as long, up to
MAX_ROUND_NS = 600 * S_NS
DECIDE_BACKUP_NS = 2 * S_NS
MIN_EPOCH_NS = 10 * S_NS  # nobody but the committee as a whole can make epochs follow each other faster


@lru_cache(maxsize=64)  # every ballot asks for it again
def epoch_committee(roster: tuple[str, ...], epoch: int) -> Committee:
    """Who ends `epoch`: drawn from its roster."""
    return committee.draw(committee.ranked(roster, "epoch", "", "", epoch), K, ())


# What is said ------------------------------------------------------------------------------------------------


def take(state: State, envelope: Envelope, out: list[Effect]) -> None:
    """An envelope of a ballot's thread, of an epoch that has begun here. Void ones stay on record in the ballot."""
    if envelope.thread != epoch_thread(state.epoch + 1):
        return  # of an epoch that has ended, or no ballot there can be
    if envelope.epoch != state.epoch:
        out.append(Report(envelope.sender, "void-" + envelope.kind.lower()))
        return
    ballot = _ballot(state)
    if envelope.id in ballot.seen:
        return
    missing = [ref for ref in envelope.refs if ref not in ballot.seen]
    ballot.seen[envelope.id] = (envelope.lamport, envelope.ts_ns, envelope.epoch)
    try:
        if missing:
            raise Void("it refers to what is not in this ballot")
        _apply(_committee(state), ballot, envelope)
    except Void as void:
        ballot.void[envelope.id] = str(void)
        if envelope.sender != state.me:
            out.append(Report(envelope.sender, "void-" + envelope.kind.lower()))
        return
    attend(state, out)


def _apply(drawn: Committee, ballot: EpochBallot, envelope: Envelope) -> None:
    """Take what refers only to what is in the ballot. Void if it moves nothing."""
    if any(ballot.seen[ref][0] >= envelope.lamport for ref in envelope.refs):
        raise Void("its lamport is not after that of what it refers to")
    rule = _RULES.get(envelope.kind)
    if rule is None:
        raise Void(f"{envelope.kind} has no place in a ballot about a checkpoint")
    rule(drawn, ballot, envelope)


def liars(state: State) -> dict[str, str]:
    """did -> the thread of a ballot in which it contradicted itself, of what an observer `witnessed`: the ballot that
    ended the epoch before, and what of this epoch's is in the cut."""
    found: dict[str, str] = {}
    for epoch in (state.epoch - 1, state.epoch):
        if epoch not in state.terms.rosters:
            continue
        drawn = epoch_committee(state.terms.roster(epoch), epoch)
        ballot = EpochBallot(epoch + 1, epoch_thread(epoch + 1))
        said = {e.id: e for e in state.witnessed if (e.thread, e.epoch) == (ballot.thread, epoch)}
        for envelope in sorted(said.values(), key=lambda e: (e.lamport, e.id)):
            if all(ref in ballot.seen for ref in envelope.refs):
                ballot.seen[envelope.id] = (envelope.lamport, envelope.ts_ns, envelope.epoch)
                with suppress(Void):
                    _apply(drawn, ballot, envelope)
        for did in sorted(ballot.equivocators):
            found.setdefault(did, ballot.thread)
    return found


def waits_for(state: State, envelope: Envelope) -> bytes | None:
    """What a ballot's envelope refers to and we have not got; None if it can be taken."""
    if envelope.thread != epoch_thread(state.epoch + 1):
        return None
    known = state.ballot.seen if state.ballot is not None else {}
    return next((bytes(ref) for ref in envelope.refs if ref not in known), None)


def _ballot(state: State) -> EpochBallot:
    if state.ballot is None:
        epoch = state.epoch + 1
        state.ballot = EpochBallot(epoch, epoch_thread(epoch))
    return state.ballot


def _committee(state: State) -> Committee:
    return epoch_committee(state.terms.roster(state.epoch), state.epoch)


def _checkpoint(drawn: Committee, ballot: EpochBallot, envelope: Envelope) -> None:
    member(drawn, envelope.sender)
    payload = envelope.payload
    if payload["epoch"] != ballot.epoch:
        raise Void(f"it is about epoch {payload['epoch']}")
    round_ = payload["round"]
    if drawn.proposer(round_) != envelope.sender:
        raise Void(f"round {round_} is another's to propose in")
    value = paxos.to_repeat(ballot, envelope.refs, ballot.draw, round_, drawn.quorum, drawn.members)
    if value is not None:
        bound = ballot.proposals[value]
        if (bound.root, bound.state) != (payload["root"], payload["state"]):
            raise Void("members have accepted a snapshot in an earlier round: it must be proposed again")
    ballot.proposals[envelope.id] = Proposed(
        id=envelope.id,
        sender=envelope.sender,
        round=round_,
        value=value if value is not None else envelope.id,
        root=payload["root"],
        state=payload["state"],
        draw=ballot.draw,
    )


def _vote(drawn: Committee, ballot: EpochBallot, envelope: Envelope) -> None:
    member(drawn, envelope.sender)
    verdict = envelope.payload["verdict"]
    if verdict == "skip":
        asked = envelope.payload["round"]
        accepted = paxos.shown(ballot, envelope, ballot.draw, asked)
        skip = Skipped(envelope.id, envelope.sender, asked, accepted, envelope.lamport, ballot.draw)
        ballot.skips[envelope.id] = skip
        paxos.note_skip(ballot, skip)
        return
    proposal = first(envelope.refs, ballot.proposals, "checkpoint")
    if verdict == "accept":
        paxos.cast(ballot, envelope, proposal)


def _decide(drawn: Committee, ballot: EpochBallot, envelope: Envelope) -> None:
    proposal = first(envelope.refs, ballot.proposals, "checkpoint")
    member(drawn, envelope.sender)
    paxos.certificate(ballot, envelope, proposal, drawn.quorum)
    ballot.decided = ballot.decided or proposal.id


_RULES = {kinds.CHECKPOINT: _checkpoint, kinds.ATTEST_PLAN: _vote, kinds.DECIDE: _decide}


# What this node does -----------------------------------------------------------------------------------------


def attend(state: State, out: list[Effect]) -> None:
    """Do what is due about the end of this epoch."""
    if state.ballot is not None and state.ballot.decided:
        _adopt(state, state.ballot, out)
        return
    if state.me == NOBODY or (state.genesis.epoch_s == 0 and not state.advance and state.ballot is None):
        return
    drawn = _committee(state)
    if state.me not in drawn.members:
        return
    due_ns = state.epoch_since_ns + state.genesis.epoch_s * S_NS
    begun = state.ballot is not None and state.ballot.seen
    if not begun and not state.advance and state.now_ns < due_ns:
        _wake(state, due_ns, out)
        return
    ballot = _ballot(state)
    if not ballot.since_ns:
        ballot.since_ns = state.now_ns
    _recall(state, ballot)
    _skip(state, ballot, drawn, out)
    _propose(state, ballot, drawn, out)
    _check(state, ballot, out)
    _certify(state, ballot, drawn, out)


def _wake(state: State, at_ns: int, out: list[Effect]) -> None:
    thread = epoch_thread(state.epoch + 1)
    if (at_ns, thread) not in state.timers:
        state.arm(out, at_ns, thread)


def _recall(state: State, ballot: EpochBallot) -> None:
    """Mind what we said and only heard again: a restored node's journal knows less than its mesh."""
    for proposal in ballot.proposals.values():
        if state.me in ballot.votes.get(proposal.id, ()):
            ballot.voted.setdefault(proposal.round, proposal.id)
            ballot.promised = max(ballot.promised, proposal.round)
    for skip in ballot.skips.values():
        if skip.voter == state.me:
            ballot.promised = max(ballot.promised, skip.round)


def _round_end_ns(state: State, round_: int) -> int:
    """Nanoseconds after the ballot began: 30 s, 90 s, 210 s, ... at last ten minutes each; less if epochs are short."""
    first_ns = ROUND_NS
    if state.genesis.epoch_s:
        first_ns = min(first_ns, state.genesis.epoch_s * S_NS // 4)
    growing = (MAX_ROUND_NS // first_ns).bit_length()
    whole = min(round_ + 1, growing)
    return first_ns * ((1 << whole) - 1) + MAX_ROUND_NS * (round_ + 1 - whole)


def _skip(state: State, ballot: EpochBallot, drawn: Committee, out: list[Effect]) -> None:
    if len(drawn.members) == 1 or any(len(votes) >= drawn.quorum for votes in ballot.votes.values()):
        return
    ends_ns = ballot.since_ns + _round_end_ns(state, ballot.promised)
    if state.now_ns < ends_ns:
        _wake(state, ends_ns, out)
        return
    own = [ballot.votes.get(proposal, {}).get(state.me) for proposal in ballot.voted.values()]
    if None in own:
        return  # our vote is on its way into the journal: a skip must show it
    ballot.promised += 1
    latest = ballot.votes[ballot.voted[max(ballot.voted)]][state.me] if ballot.voted else None
    payload = {"verdict": "skip", "round": ballot.promised, "reason": "no checkpoint in time"}
    state.draft(out, ballot.thread, kinds.ATTEST_PLAN, payload, (latest,) if latest else ())
    _wake(state, ballot.since_ns + _round_end_ns(state, ballot.promised), out)


def _propose(state: State, ballot: EpochBallot, drawn: Committee, out: list[Effect]) -> None:
    """In a round of ours: what skips bind us to, else ask the node for a snapshot (`made` goes on)."""
    round_ = ballot.promised
    if drawn.proposer(round_) != state.me:
        return
    skips = _skips(ballot, drawn, round_)
    if round_ and len(skips) < drawn.quorum:
        return
    values = paxos.latest_values(ballot, skips)
    if _refused(ballot, values) and _more_to_come(state, ballot, drawn, round_, out):
        return
    if len(values) > 1 or not ballot.once("proposed", round_):
        return
    if values:
        bound = ballot.proposals[values.pop()]
        _draft_checkpoint(state, ballot, round_, bound.root, bound.state, skips, out)
    else:
        out.append(MakeSnapshot(ballot.epoch, round_))


def _skips(ballot: EpochBallot, drawn: Committee, round_: int) -> list[Skipped]:
    """A quorum of them. Those that would bind us to what we refused come last: liars vote for what nobody can make, and
    any quorum will do."""
    by_voter = {skip.voter: skip for skip in ballot.skips.values() if skip.round == round_}

    def binds(skip: Skipped) -> bool:
        return skip.accepted is not None and _refused(ballot, (skip.accepted,))

    order = sorted((did for did in drawn.members if did in by_voter), key=lambda did: binds(by_voter[did]))
    return [by_voter[did] for did in order][: drawn.quorum]


def _refused(ballot: EpochBallot, proposals: Iterable[bytes]) -> bool:
    """Is the snapshot of one of `proposals` one that we did not vote for?"""
    refused = {(p.root, p.state) for ref in ballot.refusals if (p := ballot.proposals.get(ref)) is not None}
    return any(
        (p.root, p.state) in refused for ref in proposals if (p := ballot.proposals.get(ref)) is not None
    )


def _more_to_come(
    state: State, ballot: EpochBallot, drawn: Committee, round_: int, out: list[Effect]
) -> bool:
    """Some have not asked for the round yet, and there is time to wait for them.

    Else liars that are quick would bind every round to a snapshot that nobody can make: the skips of the first quorum show
    their votes, those of the next quorum need not.
    """
    asked = {skip.voter for skip in ballot.skips.values() if skip.round == round_}
    if len(asked.intersection(drawn.members)) == len(drawn.members):
        return False
    begins_ns, ends_ns = (ballot.since_ns + _round_end_ns(state, n) for n in (round_ - 1, round_))
    at_ns = begins_ns + (ends_ns - begins_ns) // 2
    if state.now_ns >= at_ns:
        return False
    _wake(state, at_ns, out)
    return True


def _draft_checkpoint(
    state: State,
    ballot: EpochBallot,
    round_: int,
    root: bytes,
    digest: bytes,
    skips: Sequence[Skipped],
    out: list[Effect],
) -> None:
    payload = {"epoch": ballot.epoch, "round": round_, "root": root, "state": digest}
    state.draft(out, ballot.thread, kinds.CHECKPOINT, payload, tuple(skip.id for skip in skips))


def made(state: State, given: SnapshotMade, out: list[Effect]) -> None:
    """Our snapshot is there: propose it, if it is still our turn."""
    ballot = state.ballot
    if ballot is None or ballot.epoch != given.epoch or ballot.promised != given.round or ballot.decided:
        return
    skips = _skips(ballot, _committee(state), given.round)
    _draft_checkpoint(state, ballot, given.round, given.root, given.state, skips, out)


def _check(state: State, ballot: EpochBallot, out: list[Effect]) -> None:
    """Look into the proposal of the latest round, before we vote for it."""
    earliest_ns = state.epoch_since_ns + min(MIN_EPOCH_NS, state.genesis.epoch_s * S_NS)
    if ballot.proposals and state.now_ns < earliest_ns:
        _wake(state, earliest_ns, out)
        return
    for proposal in sorted(ballot.proposals.values(), key=lambda p: (-p.round, p.id)):
        if proposal.round < ballot.promised or proposal.round in ballot.voted:
            return
        if proposal.id not in ballot.refusals and ballot.once("check", proposal.id):
            out.append(
                CheckSnapshot(ballot.epoch, proposal.id, proposal.root, proposal.state, proposal.sender)
            )
            return


def round_of(state: State, proposal: bytes) -> int:
    """The round of a proposal that is being checked; 0 if it is over."""
    known = state.ballot.proposals.get(proposal) if state.ballot is not None else None
    return known.round if known is not None else 0


def checked(state: State, given: SnapshotChecked, out: list[Effect]) -> None:
    """We have made a snapshot of the proposal's cut: vote for it if it is the same."""
    ballot = state.ballot
    proposal = ballot.proposals.get(given.proposal) if ballot is not None else None
    if ballot is None or proposal is None or ballot.decided:
        return
    if not given.same:
        ballot.refusals[proposal.id] = given.reason
        payload: dict[str, Any] = {"verdict": "reject", "reason": given.reason[:500]}
        state.draft(out, ballot.thread, kinds.ATTEST_PLAN, payload, (proposal.id,))
        return
    if proposal.round < ballot.promised or proposal.round in ballot.voted:
        return
    # Two votes in one round are slashable, and so is one below a round that we asked for.
    ballot.voted[proposal.round] = proposal.id
    ballot.promised = proposal.round
    payload = {"verdict": "accept", "reason": "the cut gives this snapshot"}
    state.draft(out, ballot.thread, kinds.ATTEST_PLAN, payload, (proposal.id,))


def _certify(state: State, ballot: EpochBallot, drawn: Committee, out: list[Effect]) -> None:
    for proposal in ballot.proposals.values():
        votes = ballot.votes.get(proposal.id, {})
        if len(votes) < drawn.quorum:
            continue
        last = max(votes.values(), key=lambda vote: ballot.seen[vote])
        if votes.get(state.me) != last:
            # Who cast the completing vote decides at once; the others only if that is not heard of.
            backup_ns = ballot.seen[last][1] + DECIDE_BACKUP_NS
            if state.now_ns < backup_ns:
                _wake(state, backup_ns, out)
                continue
        if ballot.once("decided", proposal.id):
            chosen = sorted(votes.values(), key=lambda vote: (ballot.seen[vote], vote))[: drawn.quorum]
            payload = {"round": proposal.round, "k": drawn.quorum}
            state.draft(out, ballot.thread, kinds.DECIDE, payload, (proposal.id, *chosen))


def _adopt(state: State, ballot: EpochBallot, out: list[Effect]) -> None:
    if not ballot.once("adopt"):
        return
    proposal = ballot.proposals[ballot.decided]
    votes = ballot.votes[proposal.id]
    chosen = sorted(votes.values(), key=lambda vote: (ballot.seen[vote], vote))
    holders = tuple(dict.fromkeys((proposal.sender, *sorted(votes))))
    out.append(Adopt(ballot.epoch, proposal.state, (proposal.id, *chosen), holders))


# For those who were not there --------------------------------------------------------------------------------


def verify_certificate(
    mesh_id: bytes, epoch: int, roster: tuple[str, ...], proofs: Sequence[EnvelopeProof]
) -> tuple[bytes, bytes]:
    """(root, state) of the checkpoint that opens `epoch`, certified by the roster of the epoch before, offline.

    `proofs`: the CHECKPOINT's first, then its votes'. RemoteFault `bad-certificate` if they do not carry it.
    """
    if not 2 <= len(proofs) <= 1 + 2 * K:
        raise RemoteFault("bad-certificate", f"{len(proofs)} envelopes")
    said = [verify_proof(mesh_id, proof) for proof in proofs]
    proposal, votes = said[0], said[1:]
    drawn = epoch_committee(roster, epoch - 1)
    thread = epoch_thread(epoch)
    if any((each.thread, each.epoch) != (thread, epoch - 1) for each in said):
        raise RemoteFault("bad-certificate", f"it is not about epoch {epoch}")
    if proposal.kind != kinds.CHECKPOINT or proposal.sender not in drawn.members:
        raise RemoteFault("bad-certificate", "no checkpoint of the committee")
    voters = {
        vote.sender
        for vote in votes
        if vote.kind == kinds.ATTEST_PLAN
        and vote.payload["verdict"] == "accept"
        and vote.refs == (proposal.id,)
        and vote.sender in drawn.members
    }
    if len(voters) < drawn.quorum:
        raise RemoteFault(
            "bad-certificate", f"{len(voters)} votes of the committee, {drawn.quorum} are needed"
        )
    if proposal.payload["epoch"] != epoch:
        raise RemoteFault("bad-certificate", f"it opens epoch {proposal.payload['epoch']}")
    return proposal.payload["root"], proposal.payload["state"]
