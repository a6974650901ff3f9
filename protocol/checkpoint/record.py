"""What was said in the ballot about a checkpoint, and this node's part in it."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Proposed:
    """A valid CHECKPOINT. `value`: the first proposal of the same snapshot."""

    id: bytes
    sender: str
    round: int
    value: bytes
    root: bytes
    state: bytes
    draw: int


@dataclass(frozen=True, slots=True)
class Skipped:
    id: bytes
    voter: str
    round: int
    accepted: bytes | None
    lamport: int
    draw: int


@dataclass(slots=True)
class EpochBallot:
    """Opens `epoch`; the roster of the epoch before votes. Fields as of `consensus.ballot.Ballot`."""

    epoch: int
    thread: str
    seen: dict[bytes, tuple[int, int, int]] = field(default_factory=dict)
    void: dict[bytes, str] = field(default_factory=dict)
    proposals: dict[bytes, Proposed] = field(default_factory=dict)
    votes: dict[bytes, dict[str, bytes]] = field(default_factory=dict)
    vote_of: dict[bytes, tuple[str, bytes]] = field(default_factory=dict)
    skips: dict[bytes, Skipped] = field(default_factory=dict)
    equivocators: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    decided: bytes = b""  # the proposal that a DECIDE certifies
    # This node's own:
    since_ns: int = 0
    promised: int = 0
    voted: dict[int, bytes] = field(default_factory=dict)
    done_here: set[tuple[object, ...]] = field(default_factory=set)
    refusals: dict[bytes, str] = field(default_factory=dict)  # proposals we did not vote for, and why

    @property
    def draw(self) -> int:
        """The epoch whose roster votes."""
        return self.epoch - 1

    def once(self, *key: object) -> bool:
        """Has this node not done `key` yet? From now on it has."""
        if key in self.done_here:
            return False
        self.done_here.add(key)
        return True
