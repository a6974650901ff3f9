"""Which of the snapshots that we made of an epoch is worth proposing again."""

from collections.abc import Sequence
from typing import Final

from swarmd.protocol import kinds
from swarmd.protocol.checkpoint import ballots
from swarmd.protocol.envelope import Envelope, epoch_thread
from swarmd.protocol.state import State

# The reason of who had not got the cut in time, and may vote yet.
LATE: Final = "not checked in time"
_NEVER: Final = 1 << 62


class Electing:
    """Remembers what was proposed for the next epoch, and who refused it; since the start, as what we made is."""

    def __init__(self) -> None:
        self._thread = ""
        self._proposals: dict[bytes, bytes] = {}  # CHECKPOINT -> its state
        self._rounds: dict[bytes, int] = {}  # state -> the first round that it was proposed in
        self._refused: dict[bytes, set[str]] = {}  # state -> who will not vote for it

    def seen(self, state: State, envelope: Envelope) -> None:
        """Any envelope, in causal order."""
        if envelope.kind != kinds.CHECKPOINT and envelope.kind != kinds.ATTEST_PLAN:
            return
        if envelope.thread != epoch_thread(state.epoch + 1):
            return
        if envelope.thread != self._thread:
            self._thread = envelope.thread
            for known in (self._proposals, self._rounds, self._refused):
                known.clear()
        said = envelope.payload
        if envelope.kind == kinds.CHECKPOINT:
            self._proposals[envelope.id] = said["state"]
            self._rounds[said["state"]] = min(said["round"], self._rounds.get(said["state"], _NEVER))
        elif said["verdict"] == "reject" and said.get("reason") != LATE:
            for ref in envelope.refs:
                if ref in self._proposals:
                    self._refused.setdefault(self._proposals[ref], set()).add(envelope.sender)

    def electable(self, state: State, made: Sequence[bytes]) -> list[bytes]:
        """Of `made`, the snapshots that a quorum may still vote for, those that were proposed first before the others."""
        drawn = ballots.epoch_committee(state.terms.roster(state.epoch), state.epoch)
        here = epoch_thread(state.epoch + 1) == self._thread
        refused, rounds = (self._refused, self._rounds) if here else ({}, {})

        def willing(snapshot: bytes) -> int:
            return sum(did not in refused.get(snapshot, ()) for did in drawn.members)

        left = [each for each in made if willing(each) >= drawn.quorum]
        return sorted(left, key=lambda each: rounds.get(each, _NEVER))
