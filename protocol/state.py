"""The engine's state. It belongs to the engine: others read it through views, nobody changes it outside `step`."""

import heapq
from dataclasses import dataclass, field
from typing import Any

from swarmd.protocol.checkpoint.record import EpochBallot
from swarmd.protocol.effects import Arm, Effect, Publish
from swarmd.protocol.envelope import Envelope, trace_of
from swarmd.protocol.escrow.record import Escrows
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.identity.manifest import Manifest
from swarmd.protocol.ledger.accounts import GENESIS_HEAD, Entry, Ledger
from swarmd.protocol.limits import DEFAULT_LEASE_S, S_NS
from swarmd.protocol.pool.record import Pool
from swarmd.protocol.pool.record import of_genesis as pool_of_genesis
from swarmd.protocol.shadow.record import Shadow
from swarmd.protocol.terms import Terms
from swarmd.protocol.views import Views
from swarmd.protocol.work.need import Need

NOBODY = ""  # no did: an observer is in no committee, owns nothing and works for nobody


@dataclass(slots=True)
class Anchor:
    """Receipts of ours that were sent to the chain together; `tx_hash` is empty until seen there."""

    id: bytes
    root: bytes
    needs: tuple[str, ...]
    leaves: tuple[bytes, ...]
    tx_hash: bytes = b""
    block_number: int = 0
    chain_id: int = 0
    contract: str = ""


@dataclass(slots=True)
class JobRef:
    """What a running local job is for: the claim we hold, the commit we judge, or the challenge of one."""

    need: str
    task: str
    subject: bytes


@dataclass(frozen=True, slots=True)
class Bond:
    """What a CHALLENGE in `thread` locks: an escrow of its own, under the challenger's account entry. Or what the NEED of
    `thread` would have locked, which a checkpoint let go of before its account came to it (adr/0047)."""

    thread: str
    entry: Entry


@dataclass(slots=True)
class State:
    """`needs`, `refused`, `parked` and `ledger` follow from the mesh's envelopes; the rest is this node's own."""

    genesis: Genesis
    me: str
    lease_s: int = DEFAULT_LEASE_S
    anchor_interval_ns: int = 2 * S_NS
    check_everything: bool = False

    ledger: Ledger = field(init=False)
    terms: Terms = field(init=False)
    pool: Pool = field(init=False)
    shadow: Shadow = field(default_factory=Shadow)
    epoch: int = 0  # the one we write in: of the last checkpoint that was adopted
    needs: dict[str, Need] = field(default_factory=dict)
    views: Views = field(default_factory=Views)
    refused: dict[str, str] = field(default_factory=dict)  # NEEDs that are void or denied, the latest ones
    denied: dict[str, None] = field(
        default_factory=dict
    )  # by our policy: what is said about these is dropped
    parked: dict[tuple[str, bytes], list[Envelope]] = field(default_factory=dict)
    parked_ids: set[bytes] = field(default_factory=set)
    parked_by: dict[str, int] = field(default_factory=dict)  # author -> how many of its envelopes wait
    parked_since: dict[tuple[str, bytes], int] = field(
        default_factory=dict
    )  # -> the first checkpoint that found it
    ahead: dict[int, list[Envelope]] = field(
        default_factory=dict
    )  # epoch that has not begun -> what waits for it
    bonds: dict[str, Bond] = field(
        default_factory=dict
    )  # of challenges, by escrow; until a checkpoint is done with them
    escrows: Escrows = field(default_factory=Escrows)
    closed: dict[str, int] = field(
        default_factory=dict
    )  # needs that the last two checkpoints closed -> which
    orphaned: dict[str, list[bytes]] = field(
        default_factory=dict
    )  # need -> decisions that lost to a later epoch
    over: dict[str, int] = field(default_factory=dict)  # author -> the last epoch whose chains are closed
    fenced: int = 0  # envelopes about needs that a checkpoint had closed
    ballot: EpochBallot | None = (
        None  # about the checkpoint that ends this epoch; none before anything was said
    )
    epoch_since_ns: int = 0  # when this epoch began here
    advance: bool = False  # somebody has a reason to end it before its time
    shown: int = 0  # the last epoch in which we showed ourselves in the pool
    witnessed: list[Envelope] = field(default_factory=list)  # by an observer: what was said in ballots

    now_ns: int = 0
    lamport: int = 0
    manifests: dict[str, Manifest] = field(default_factory=dict)
    reputation: dict[str, list[int]] = field(default_factory=dict)  # did -> [accepted, failed]
    jobs: dict[str, JobRef] = field(default_factory=dict)
    timers: list[tuple[int, str]] = field(default_factory=list)
    waiting: dict[str, None] = field(default_factory=dict)
    own_seq: int = 0
    own_head: bytes = GENESIS_HEAD
    own_pending: int = 0
    receipts: list[tuple[str, bytes]] = field(default_factory=list)
    receipts_since_ns: int = 0
    anchors: dict[bytes, Anchor] = field(default_factory=dict)
    anchor_of: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledger = Ledger(dict(self.genesis.balances), watch=self.me)
        self.terms = Terms(self.genesis)
        self.pool = pool_of_genesis(self.genesis)

    def arm(self, out: list[Effect], at_ns: int, need: str) -> None:
        """Look at `need` again at `at_ns`."""
        entry = (at_ns, need)
        first = not self.timers or entry < self.timers[0]
        heapq.heappush(self.timers, entry)
        if first:
            out.append(Arm(at_ns))

    def due(self, need: Need, at_ns: int, out: list[Effect], *key: Any) -> bool:
        """Is it time? If not, be woken then; `key` tells what for from other things that are due at one time."""
        if self.now_ns >= at_ns:
            return True
        if need.once("armed", at_ns, *key):
            self.arm(out, at_ns, need.id)
        return False

    def draft(
        self, out: list[Effect], need: str, kind: str, payload: dict[str, Any], refs: tuple[bytes, ...]
    ) -> None:
        """Say something about a need."""
        self.lamport += 1
        out.append(
            Publish(
                kind=kind,
                thread=need,
                lamport=self.lamport,
                ts_ns=self.now_ns,
                epoch=self.epoch,
                payload=payload,
                refs=refs,
                trace=trace_of(need, self.lamport),
            )
        )

    def unparked(self, envelope: Envelope) -> None:
        """It no longer waits for what it refers to."""
        self.parked_ids.discard(envelope.id)
        self.parked_by[envelope.sender] -= 1

    def go_on_after(self, entry: Entry) -> None:
        """If it is of our own account: our next entry comes after it, if it would have come before."""
        if entry.owner == self.me and entry.seq >= self.own_seq:
            self.own_seq, self.own_head = entry.seq + 1, entry.hash

    def rates(self, did: str) -> int:
        """Reputation 0..100 from settled outcomes only; 50 for the unknown."""
        accepted, failed = self.reputation.get(did, (0, 0))
        return 100 * (accepted + 1) // (accepted + failed + 2)
