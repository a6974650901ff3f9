"""One instance of Paxos (Lamport, "Paxos Made Simple", 2001) among the members of a committee, as signed envelopes.

A round has one proposer. To open round r > 0 it shows a quorum of skips, by which members promise to vote in no earlier
round and say what they voted for last; if any of them did, that is proposed again. So whatever a quorum may have decided
unseen is what is decided, however late and between whom messages come. The decision about a need (work/deciding.py) and
the checkpoint that ends an epoch (checkpoint/ballots.py) are both such instances.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from swarmd.protocol.envelope import Envelope
from swarmd.protocol.work.void import Void


class Proposed(Protocol):
    """A proposal: `value` is the id of the first one that named what it names; `draw` tells instances apart."""

    @property
    def id(self) -> bytes: ...
    @property
    def sender(self) -> str: ...
    @property
    def round(self) -> int: ...
    @property
    def value(self) -> bytes: ...
    @property
    def draw(self) -> int: ...


class Skipped(Protocol):
    """A member accepts nothing below `round` any more. `accepted`: of the highest round it had voted in, if any."""

    @property
    def id(self) -> bytes: ...
    @property
    def voter(self) -> str: ...
    @property
    def round(self) -> int: ...
    @property
    def accepted(self) -> bytes | None: ...
    @property
    def lamport(self) -> int: ...
    @property
    def draw(self) -> int: ...


class Ballot(Protocol):
    """What was said in it; envelopes by id."""

    @property
    def proposals(self) -> Mapping[bytes, Proposed]: ...
    @property
    def skips(self) -> Mapping[bytes, Skipped]: ...

    seen: dict[bytes, tuple[int, int, int]]
    votes: dict[bytes, dict[str, bytes]]  # proposal -> voter -> envelope
    vote_of: dict[bytes, tuple[str, bytes]]  # envelope -> (voter, proposal)
    equivocators: dict[str, tuple[bytes, bytes]]  # who contradicted itself, with the pair that shows it


def note_proposal(ballot: Ballot, proposal: Proposed) -> None:
    """Note whether its proposer said another in that round: two split those who vote, and nobody could propose after them."""
    place = (proposal.sender, proposal.draw, proposal.round)
    twice = [
        other.id
        for other in ballot.proposals.values()
        if (other.sender, other.draw, other.round) == place and other.id != proposal.id
    ]
    _note(ballot, proposal.sender, proposal.id, twice)


def cast(ballot: Ballot, envelope: Envelope, proposal: Proposed) -> None:
    """Count the vote that `envelope` is, and note whether it contradicts what its sender said before."""
    sender = envelope.sender
    ballot.votes.setdefault(proposal.id, {}).setdefault(sender, envelope.id)
    twice = [
        ref
        for ref, (voter, other) in ballot.vote_of.items()
        if voter == sender
        and other != proposal.id
        and (ballot.proposals[other].draw, ballot.proposals[other].round) == (proposal.draw, proposal.round)
    ]
    ballot.vote_of[envelope.id] = (sender, proposal.id)
    skipped = [
        skip.id
        for skip in ballot.skips.values()
        if skip.voter == sender and _hides_or_returns(ballot, skip, envelope.id, proposal)
    ]
    _note(ballot, sender, envelope.id, twice + skipped)


def shown(ballot: Ballot, envelope: Envelope, draw: int, asked: int) -> bytes | None:
    """The proposal that a skip to round `asked` shows as its sender's latest vote. Void if it must not be said."""
    if asked == 0:
        raise Void("there is nothing below round 0 to skip")
    own = [
        proposal
        for ref in envelope.refs
        if (vote := ballot.vote_of.get(ref)) is not None
        and vote[0] == envelope.sender
        and (proposal := ballot.proposals[vote[1]]).draw == draw
    ]
    latest = max(own, key=lambda proposal: (proposal.round, proposal.id), default=None)
    if latest is not None and latest.round >= asked:
        raise Void(f"its sender has voted in round {latest.round}")
    return latest.id if latest is not None else None


def note_skip(ballot: Ballot, skip: Skipped) -> None:
    """Note whether a skip, on record already, contradicts votes of its sender."""
    votes = [
        ref
        for ref, (voter, proposal) in ballot.vote_of.items()
        if voter == skip.voter and _hides_or_returns(ballot, skip, ref, ballot.proposals[proposal])
    ]
    _note(ballot, skip.voter, skip.id, votes)


def to_repeat(
    ballot: Ballot, refs: Iterable[bytes], draw: int, asked: int, quorum: int, members: Sequence[str]
) -> bytes | None:
    """The value that a proposal in round `asked` must repeat, by the skips it refers to; None if it is free."""
    if asked == 0:
        return None
    skips = {
        skip.voter: skip
        for ref in refs
        if (skip := ballot.skips.get(ref)) is not None
        and (skip.draw, skip.round) == (draw, asked)
        and skip.voter in members
    }
    if len(skips) < quorum:
        raise Void(f"{len(skips)} of the committee ask for round {asked}, {quorum} are needed")
    values = latest_values(ballot, skips.values())
    if len(values) > 1:
        raise Void("there are two proposals of one round: nobody can say which was decided")
    return values.pop() if values else None


def latest_values(ballot: Ballot, skips: Iterable[Skipped]) -> set[bytes]:
    """Of the latest round that any of `skips` voted in, what those voted for. Honest proposers leave one at most."""
    voted = [ballot.proposals[skip.accepted] for skip in skips if skip.accepted is not None]
    latest = max((proposal.round for proposal in voted), default=0)
    return {proposal.value for proposal in voted if proposal.round == latest}


def certificate(ballot: Ballot, envelope: Envelope, proposal: Proposed, quorum: int) -> tuple[bytes, ...]:
    """The votes among the refs of a decision, one a member, sorted. Void if they are too few, or it says otherwise."""
    voters = {
        vote[0]: ref
        for ref in envelope.refs
        if (vote := ballot.vote_of.get(ref)) is not None and vote[1] == proposal.id
    }
    if len(voters) < quorum:
        raise Void(f"{len(voters)} votes of the committee, {quorum} are needed")
    said = envelope.payload["round"], envelope.payload["k"]
    if said != (proposal.round, quorum):
        raise Void(f"it says round {said[0]}, K {said[1]}; it is round {proposal.round}, K {quorum}")
    return tuple(sorted(voters.values()))


def _note(ballot: Ballot, voter: str, said: bytes, contradicted: Iterable[bytes]) -> None:
    """`said` contradicts these of the same member: any pair is proof, and of all the smallest is kept."""
    known = ballot.equivocators.get(voter)
    pairs = [(min(said, other), max(said, other)) for other in contradicted] + ([known] if known else [])
    if pairs:
        ballot.equivocators[voter] = min(pairs)


def _hides_or_returns(ballot: Ballot, skip: Skipped, vote: bytes, proposal: Proposed) -> bool:
    """Does a vote of who skipped stand below the skip, said after it, or before it and not shown by it?

    An author's lamports order what it said, so it does not matter which of the two was heard first.
    """
    if proposal.draw != skip.draw or proposal.round >= skip.round:
        return False
    lamport = ballot.seen[vote][0]
    round_shown = ballot.proposals[skip.accepted].round if skip.accepted is not None else -1
    return lamport > skip.lamport or (lamport < skip.lamport and proposal.round > round_shown)
