"""A snapshot: what a mesh agreed on at a cut, as canonical bytes that every node makes alike.

It is a head and parts: the cut, accounts in chunks, and 256 buckets with the needs that are open in them and those that
this epoch closed. The head names each part by its SHA-256, and a checkpoint names the head (adr/0014). Hashes are of the
bytes before compression: what zstandard makes of them may differ from version to version.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from swarmd.protocol.chains import Chain, Head
from swarmd.protocol.consensus.roster import Roster
from swarmd.protocol.escrow import record as escrow_record
from swarmd.protocol.ledger.accounts import Account, Escrow
from swarmd.protocol.pool.record import Member
from swarmd.protocol.shadow.record import ShadowPart

NO_SNAPSHOT = bytes(32)  # before the first

Cut = Mapping[Chain, Head]


@dataclass(frozen=True, slots=True)
class OpenNeed:
    """A need that has not ended. `envelopes`: all of it in the cut, causes first.

    `draws` are the epochs whose committees were asked to decide; `undecided` the first epoch whose checkpoint found it
    undecided, or -1; `decision` and `finals` (task -> FINALIZE) stand whatever else comes, but for a challenge. `escrow`:
    None if its owner had not the money yet. `found`: result (COMMIT) or pending challenge -> time of the first cut with it.
    """

    id: str
    envelopes: tuple[bytes, ...]
    draws: tuple[int, ...]
    undecided: int
    decision: bytes
    finals: Mapping[str, bytes]
    escrow: Escrow | None
    found: Mapping[bytes, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClosedNeed:
    """How a need ended: released, refunded or expired; `paid`: task -> (worker, minor units), and what challengers earned.

    `marks`: who is to be slashed for results that were reversed -> the INVALIDATEs.
    """

    id: str
    owner: str
    outcome: str
    paid: Mapping[str, tuple[str, int]]
    returned: int
    draws: tuple[int, ...]
    marks: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OpenBond:
    """The bond of a challenge about need `thread`; not `funded`: its entry waits for money, or for one before it."""

    thread: str
    owner: str
    seq: int
    prev: bytes
    amount: int
    funded: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`epoch` is the one that it opens. `root`: merkle root over the sorted ids of the envelopes of the cut since the
    snapshot before (`prev`), `ops` their number. `rosters`: epoch -> verifiers, of those still needed and the next two.
    `parked` wait for what they refer to. `reputation`: did -> (accepted, failed).
    """

    epoch: int
    prev: bytes
    root: bytes
    ops: int
    rosters: Mapping[int, Roster]
    cut: Cut
    accounts: Mapping[str, Account]
    reputation: Mapping[str, tuple[int, int]]
    open: Mapping[str, OpenNeed]
    closed: Mapping[str, ClosedNeed]
    parked: Mapping[bytes, int] = field(default_factory=dict)  # envelope -> the epoch that found it so first
    bonds: Mapping[str, OpenBond] = field(default_factory=dict)  # by the name of its escrow
    pool: Mapping[str, Member] = field(default_factory=dict)  # did -> its place in the pool of verifiers
    stakes: Mapping[str, Escrow] = field(
        default_factory=dict
    )  # what verifiers have locked, by the id of the stake
    enough_since_ns: int = (
        0  # since when there are enough verifiers to leave bootstrap mode; 0: there are not
    )
    cut_ns: int = 0  # the latest time that the cut, or one before it, says
    shadow: ShadowPart = field(default_factory=ShadowPart)  # transfers, withdrawals and deposits
    escrows: escrow_record.Book = field(default_factory=escrow_record.Book)
    over: Mapping[str, int] = field(
        default_factory=dict
    )  # author -> the last epoch whose chains are closed (closing.py); the next cut has none of these
    present: Mapping[str, tuple[int, ...]] = field(
        default_factory=dict
    )  # author -> the last epochs at whose end there was a word of it in the cut


@dataclass(frozen=True, slots=True)
class Packed:
    """`head` and, by their hash, the `parts` it names. `state` is what a CHECKPOINT says."""

    head: bytes
    parts: Mapping[bytes, bytes] = field(repr=False)

    @property
    def state(self) -> bytes:
        return state_of(self.head)


def state_of(head: bytes) -> bytes:
    """32 bytes: what a checkpoint certifies of a snapshot."""
    return sha256(b"swarmd/snapshot/1\0" + head).digest()
