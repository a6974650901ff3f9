"""Which snapshot a node proposes again: the one that most have, as long as a quorum is left that may vote for it."""

import pytest
from swarmd.node.checkpoint.electing import LATE, Electing
from swarmd.protocol.envelope import epoch_thread

OURS, THEIRS = b"o" * 32, b"t" * 32


class Told(Electing):
    """Hears what one author says."""

    def __init__(self, state, author):
        super().__init__()
        self.state, self.author = state, author

    def tell(self, kind, payload, refs=(), epoch=1):
        envelope = self.author.envelope(kind, epoch_thread(epoch), payload, refs)
        self.seen(self.state, envelope)
        return envelope.id

    def propose(self, snapshot, round_=0, epoch=1):
        payload = {"epoch": epoch, "round": round_, "root": bytes(32), "state": snapshot}
        return self.tell("CHECKPOINT", payload, epoch=epoch)

    def refuse(self, proposal, reason, epoch=1):
        return self.tell("ATTEST_PLAN", {"verdict": "reject", "reason": reason}, (proposal,), epoch)


@pytest.fixture
def told(bench, author):
    """In a mesh of two verifiers, of whom `author` is one."""
    state = bench.runner.state
    assert author.did in state.terms.roster(0)
    assert len(state.terms.roster(0)) == 2
    return Told(state, author)


def test_what_was_proposed_first_comes_first(told):
    state = told.state
    assert told.electable(state, []) == []
    assert told.electable(state, [OURS, THEIRS]) == [OURS, THEIRS]
    told.propose(THEIRS)
    assert told.electable(state, [OURS, THEIRS]) == [THEIRS, OURS]
    told.propose(OURS, 1)
    told.propose(THEIRS, 2)
    assert told.electable(state, [OURS, THEIRS]) == [THEIRS, OURS]


def test_what_a_quorum_can_no_longer_vote_for_is_not_proposed_again(told):
    state = told.state
    refused = told.propose(THEIRS)
    told.refuse(refused, LATE)
    assert told.electable(state, [OURS, THEIRS]) == [THEIRS, OURS]
    told.refuse(refused, "the cut gives another")
    assert told.electable(state, [OURS, THEIRS]) == [OURS]


def test_what_strangers_refuse_and_what_was_said_of_another_epoch_does_not_count(
    told, author_of, monkeypatch
):
    state = told.state
    proposal = told.propose(THEIRS)
    told.refuse(proposal, "the cut gives another", epoch=2)
    told.author = author_of("eve")
    told.refuse(proposal, "the cut gives another")
    assert told.electable(state, [THEIRS]) == [THEIRS]
    monkeypatch.setattr(state, "epoch", 1)
    monkeypatch.setitem(state.terms.rosters, 1, state.terms.rosters[0])
    told.propose(OURS, epoch=2)
    assert told.electable(state, [THEIRS, OURS]) == [OURS, THEIRS]
