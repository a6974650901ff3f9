"""The pool as the last checkpoint fixed it, and what was said in it since."""

from base64 import b32encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from swarmd.protocol.consensus.committee import too_few
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.ledger.accounts import Entry, fund_entry

# Where a verifier stands. WAITING: its stake is not there yet. EXPELLED is for good.
WAITING, ACTIVE, JAILED, LEAVING, EXPELLED = "waiting", "active", "jailed", "leaving", "expelled"
STATES = (WAITING, ACTIVE, JAILED, LEAVING, EXPELLED)
TREASURY = "mesh:slashed"  # the account that slashed stakes go to: nobody can spend from it

MISSED_EPOCHS = 2  # without a sign of life: jail
MISSED_DUTIES = 3  # checkpoints that found a need undecided which it had said nothing about: jail
JAIL_EPOCHS = 3
# What it signed as a member comes to light within two checkpoints of its last epoch.
UNBOND_EPOCHS = 4
FINE_PERMILLE = (
    100  # of `verifier_stake`, for each need in which it made or accepted a result that was reversed
)
SEAT_PERMILLE = 500  # who has less than this of it left has no seat
ATTESTED_EPOCHS = 144  # how long a quote counts: a day of epochs of ten minutes
MAX_SAID = 256  # by one author, between two checkpoints


@dataclass(frozen=True, slots=True)
class Stake:
    """An entry of the member's account chain: `amount` minor units, locked for as long as it is a member."""

    seq: int
    prev: bytes
    amount: int

    def entry(self, did: str) -> Entry:
        return fund_entry(did, self.seq, self.prev, stake_id(did, self.seq), self.amount)


@dataclass(frozen=True, slots=True)
class Member:
    """`since`: the epoch whose checkpoint put it into `state`; `seen`: the last one that it showed itself in; `until`:
    the one in which jail ends or the stake returns.

    `attested`: the last epoch in whose roster it has the weight of an attested verifier. `quote`: the SHA-256 of its
    latest quote, said in `quoted`, and `vouchers` who verified that one so far.
    """

    did: str
    state: str
    since: int = 0
    seen: int = 0
    until: int = 0
    founder: bool = False
    misses: int = 0
    stakes: tuple[Stake, ...] = ()
    attested: int = -1
    quote: bytes = b""
    quoted: int = 0
    vouchers: tuple[str, ...] = ()
    reason: str = ""


@dataclass(slots=True)
class Pool:
    """`said`: did -> envelope id -> envelope, of what no checkpoint has taken in yet. `enough_since_ns`: since when
    there have been enough verifiers to leave bootstrap mode; 0 if there are not. `cut_ns`: the last checkpoint's time."""

    members: dict[str, Member]
    said: dict[str, dict[bytes, Envelope]] = field(default_factory=dict)
    enough_since_ns: int = 0
    cut_ns: int = 0

    def knows(self, did: str) -> bool:
        """Has it joined, as far as we have heard?"""
        return did in self.members or any(
            envelope.payload["op"] == "join" for envelope in self.said.get(did, {}).values()
        )


def of_genesis(genesis: Genesis) -> Pool:
    """The founders: members from the start, without a stake."""
    return Pool({did: Member(did, ACTIVE, founder=True) for did in genesis.roster})


def stake_id(did: str, seq: int) -> str:
    """The name of the escrow that holds what entry `seq` of an account locks as a stake."""
    digest = sha256(b"swarmd/stake/1\0" + did.encode() + b"\0" + seq.to_bytes(8, "big")).digest()
    return "stake-" + b32encode(digest[:20]).decode("ascii").lower()


def quote_data(mesh_id: bytes, did: str, epoch: int) -> bytes:
    """32 bytes that a quote must be over: it is of this mesh, of this verifier and of this epoch."""
    return sha256(b"swarmd/quote/1\0" + mesh_id + did.encode() + b"\0" + epoch.to_bytes(8, "big")).digest()


def bootstrap(
    genesis: Genesis, before: bool, active: int, enough_since_ns: int, now_ns: int
) -> tuple[bool, int]:
    """(is it bootstrap mode next, since when there are enough verifiers or 0), judged at a checkpoint.

    Entered with fewer verifiers than the threshold, left after `bootstrap_stable_s` at or above it (seed 004, command 36).
    """
    if too_few(active, genesis):
        return True, 0
    if not before:
        return False, enough_since_ns or now_ns
    since_ns = enough_since_ns or now_ns
    return now_ns - since_ns < genesis.bootstrap_stable_s * 1_000_000_000, since_ns


def counts(members: Mapping[str, Member]) -> dict[str, int]:
    """state -> how many."""
    found = dict.fromkeys(STATES, 0)
    for member in members.values():
        found[member.state] += 1
    return found
