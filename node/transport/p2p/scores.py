"""How far each peer is trusted: 1.0 at best, cut off below a threshold.

A fault costs its weight of `trust`; what was lost comes back by half every `score_half_life_s`. Trust below
the threshold denies the peer for a time that doubles with each repetition. The score that operators see and
rotation goes by is trust lowered by slow or missing answers: those make a peer less useful, never hostile.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from swarmd.node.transport.p2p.config import P2PLimits

_DEFAULT_WEIGHT = 0.1
# Faults that no honest peer commits weigh most; what a busy or slow one may do weighs little.
_WEIGHTS: Mapping[str, float] = {
    "bad-block": 0.3,
    "bad-block-prefix": 0.3,
    "bad-gossip-signature": 0.3,
    "bad-multistream": 0.2,
    "bad-noise": 0.3,
    "bad-protobuf": 0.5,
    "bad-varint": 0.5,
    "bad-message": 0.5,
    "bad-stream-id": 0.5,
    "bad-want": 0.3,
    "bad-yamux-frame": 0.5,
    "contradiction": 0.5,
    "block-too-big": 0.3,
    "cancel-flood": 0.1,
    "control-flood": 0.3,
    "duplicate-flood": 0.1,
    "equivocation": 1.0,
    "false-digest": 0.5,
    "flow-control": 0.5,
    "foreign-wants": 0.1,
    "frame-flood": 0.5,
    "frame-too-big": 0.5,
    "memory-hog": 0.5,
    "message-too-big": 0.5,
    "other-topic": 0.01,
    "publish-flood": 0.3,
    "reads-nothing": 0.2,
    "replayed-frame": 0.02,
    "silent": 0.05,
    "slow-negotiation": 0.05,
    "stream-flood": 0.02,
    "subscription-flood": 0.3,
    "too-many-blocks": 0.3,
    "too-many-requests": 0.01,
    "wantlist-too-big": 0.3,
    "window-overflow": 0.5,
}
_MAX_CODES = 64
_SMOOTHING = 0.1
# How much of the score slow and missing answers can cost.
_LATENCY_PART = 0.2
_DELIVERY_PART = 0.4


@dataclass(slots=True)
class _Entry:
    lost: float = 0.0
    at_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    denials: int = 0
    denied_until_s: float = 0.0
    reason: str = ""
    rtt_ms: float | None = None
    delivery: float = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """All we think of one peer."""

    peer_id: str
    score: float  # 0.0 to 1.0
    trust: float  # of that, what faults alone leave
    rtt_ms: float | None
    delivery: float  # part of our pings and requests that it answered, lately
    faults: Mapping[str, int]
    denials: int
    denied_for_s: float
    reason: str  # why it is denied
    state: str  # "good", "greylisted" or "denied"


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of a peer over restarts. Times are of the wall clock, in seconds."""

    peer_id: str
    lost: float
    at_s: float
    faults: Mapping[str, int]
    denials: int
    denied_until_s: float
    reason: str


class ScoreBook:
    """Scores by peer id. Outlives connections, bounded in number."""

    def __init__(
        self,
        limits: P2PLimits,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._wall = wall
        self._entries: dict[str, _Entry] = {}
        self._dirty: set[str] = set()

    # Changing ------------------------------------------------------------------------------------------

    def charge(self, peer_id: str, code: str) -> bool:
        """Count a fault. True if the peer must now be cut off."""
        now_s = self._clock()
        entry = self._touch(peer_id, now_s)
        if code in entry.faults or len(entry.faults) < _MAX_CODES:
            entry.faults[code] += 1
        else:
            entry.faults["other"] += 1
        entry.lost = min(1.0, self._lost(entry, now_s) + _WEIGHTS.get(code, _DEFAULT_WEIGHT))
        entry.at_s = now_s
        if 1.0 - entry.lost >= self._limits.score_threshold or now_s < entry.denied_until_s:
            return False
        # Good conduct counts: a denial is forgotten for each hour without one.
        calm_s = now_s - entry.denied_until_s if entry.denied_until_s else 0.0
        entry.denials = max(0, entry.denials - int(calm_s // self._limits.denial_forgotten_s))
        deny_s = min(self._limits.deny_max_s, self._limits.deny_min_s * 2**entry.denials)
        entry.denials = min(entry.denials + 1, 16)
        entry.denied_until_s = now_s + deny_s
        entry.reason = code
        return True

    def deny(self, peer_id: str, for_s: float, reason: str) -> None:
        """An operator's ban."""
        now_s = self._clock()
        entry = self._touch(peer_id, now_s)
        entry.denied_until_s = now_s + for_s
        entry.reason = reason

    def forgive(self, peer_id: str) -> bool:
        """Forget all that is held against a peer. False if that was nothing."""
        entry = self._entries.pop(peer_id, None)
        self._dirty.add(peer_id)
        return entry is not None and bool(entry.faults or entry.denied_until_s)

    def observe(self, peer_id: str, answered: bool, rtt_ms: float | None = None) -> None:
        """The peer answered a ping or request of ours, or not; a ping's round trip in milliseconds."""
        entry = self._entries.get(peer_id)
        if entry is None:
            entry = self._touch(peer_id, self._clock())
        entry.delivery += _SMOOTHING * (answered - entry.delivery)
        if rtt_ms is not None:
            entry.rtt_ms = (
                rtt_ms if entry.rtt_ms is None else entry.rtt_ms + _SMOOTHING * (rtt_ms - entry.rtt_ms)
            )

    def _touch(self, peer_id: str, now_s: float) -> _Entry:
        entry = self._entries.pop(peer_id, None) or _Entry(at_s=now_s)
        self._entries[peer_id] = entry  # last: most recently at fault
        self._dirty.add(peer_id)
        while len(self._entries) > self._limits.max_tracked_peers:
            del self._entries[next(iter(self._entries))]
        return entry

    # Asking --------------------------------------------------------------------------------------------

    def trust(self, peer_id: str) -> float:
        entry = self._entries.get(peer_id)
        return 1.0 if entry is None else 1.0 - self._lost(entry, self._clock())

    def score(self, peer_id: str) -> float:
        entry = self._entries.get(peer_id)
        if entry is None:
            return 1.0
        slow = (
            0.0
            if entry.rtt_ms is None
            else 1.0 - min(1.0, self._limits.good_rtt_ms / max(entry.rtt_ms, 1e-3))
        )
        use = 1.0 - _LATENCY_PART * slow - _DELIVERY_PART * (1.0 - entry.delivery)
        return (1.0 - self._lost(entry, self._clock())) * use

    def state(self, peer_id: str) -> str:
        """`denied`, `greylisted` (it is read at a quarter of the rates, and leaves first) or `good`."""
        if self.denied_for_s(peer_id):
            return "denied"
        return "greylisted" if self.trust(peer_id) < self._limits.greylist_below else "good"

    def faults(self, peer_id: str) -> Mapping[str, int]:
        entry = self._entries.get(peer_id)
        return {} if entry is None else dict(entry.faults)

    def denied_for_s(self, peer_id: str) -> float:
        """Seconds until the peer may come back; 0.0 if it is not denied."""
        entry = self._entries.get(peer_id)
        return 0.0 if entry is None else max(0.0, entry.denied_until_s - self._clock())

    def standing(self, peer_id: str) -> Standing:
        entry = self._entries.get(peer_id) or _Entry()
        denied_s = self.denied_for_s(peer_id)
        return Standing(
            peer_id=peer_id,
            score=self.score(peer_id),
            trust=self.trust(peer_id),
            rtt_ms=entry.rtt_ms,
            delivery=entry.delivery,
            faults=dict(entry.faults),
            denials=entry.denials,
            denied_for_s=denied_s,
            reason=entry.reason if denied_s else "",
            state=self.state(peer_id),
        )

    def known(self) -> Sequence[str]:
        """Peers that something is held against, worst first."""
        found = [p for p, entry in self._entries.items() if entry.faults or entry.denied_until_s]
        return sorted(found, key=lambda p: (-self.denied_for_s(p), self.score(p), p))

    def _lost(self, entry: _Entry, now_s: float) -> float:
        return float(entry.lost * 0.5 ** ((now_s - entry.at_s) / self._limits.score_half_life_s))

    # Keeping -------------------------------------------------------------------------------------------

    def take_changes(self) -> tuple[list[Record], list[str]]:
        """What changed since the last time: records to keep, and peers of whom nothing is left to keep."""
        shift_s = self._wall() - self._clock()
        keep, drop = [], []
        for peer_id in self._dirty:
            entry = self._entries.get(peer_id)
            if entry is None or not (entry.faults or entry.denied_until_s):
                drop.append(peer_id)
                continue
            keep.append(
                Record(
                    peer_id,
                    entry.lost,
                    entry.at_s + shift_s,
                    dict(entry.faults),
                    entry.denials,
                    entry.denied_until_s + shift_s if entry.denied_until_s else 0.0,
                    entry.reason,
                )
            )
        self._dirty.clear()
        return keep, drop

    def put_back(self, records: Sequence[Record], dropped: Sequence[str]) -> None:
        """They could not be written: they are still to be kept."""
        self._dirty.update(record.peer_id for record in records)
        self._dirty.update(dropped)

    def restore(self, records: Sequence[Record]) -> None:
        """Go on from what was kept, oldest first."""
        now_s, wall_s = self._clock(), self._wall()
        shift_s = now_s - wall_s
        for record in records[-self._limits.max_tracked_peers :]:
            self._entries[record.peer_id] = _Entry(
                lost=min(1.0, max(0.0, record.lost)),
                at_s=min(now_s, record.at_s + shift_s),
                faults=Counter(record.faults),
                denials=record.denials,
                denied_until_s=max(0.0, record.denied_until_s + shift_s) if record.denied_until_s else 0.0,
                reason=record.reason,
            )
