"""How far each peer is trusted: 1.0 at best, cut off below a threshold.

A fault costs its weight; what was lost comes back by half every `score_half_life_s`. Falling below the
threshold denies the peer for a time that doubles with each repetition.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from swarmd.node.transport.p2p.config import P2PLimits

_DEFAULT_WEIGHT = 0.1
# Faults that no honest peer commits weigh most; what a busy or slow one may do weighs little.
_WEIGHTS: Mapping[str, float] = {
    "bad-gossip-signature": 0.3,
    "bad-protobuf": 0.5,
    "bad-varint": 0.5,
    "bad-message": 0.5,
    "bad-stream-id": 0.5,
    "bad-yamux-frame": 0.5,
    "control-flood": 0.3,
    "equivocation": 1.0,
    "false-digest": 0.5,
    "flow-control": 0.5,
    "frame-too-big": 0.5,
    "message-too-big": 0.5,
    "publish-flood": 0.3,
    "reads-nothing": 0.2,
    "stream-flood": 0.02,
    "subscription-flood": 0.3,
    "too-many-requests": 0.01,
    "window-overflow": 0.5,
}
_MAX_CODES = 64


@dataclass(slots=True)
class _Entry:
    lost: float = 0.0
    at_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    denials: int = 0
    denied_until_s: float = 0.0


class ScoreBook:
    """Scores by peer id. Outlives connections, bounded in number."""

    def __init__(self, limits: P2PLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._entries: dict[str, _Entry] = {}

    def charge(self, peer_id: str, code: str) -> bool:
        """Count a fault. True if the peer must now be cut off."""
        now_s = self._clock()
        entry = self._entries.pop(peer_id, None) or _Entry(at_s=now_s)
        self._entries[peer_id] = entry  # last: most recently at fault
        if code in entry.faults or len(entry.faults) < _MAX_CODES:
            entry.faults[code] += 1
        else:
            entry.faults["other"] += 1
        entry.lost = min(1.0, self._lost(entry, now_s) + _WEIGHTS.get(code, _DEFAULT_WEIGHT))
        entry.at_s = now_s
        while len(self._entries) > self._limits.max_tracked_peers:
            del self._entries[next(iter(self._entries))]
        if 1.0 - entry.lost >= self._limits.score_threshold or now_s < entry.denied_until_s:
            return False
        deny_s = min(self._limits.deny_max_s, self._limits.deny_min_s * 2**entry.denials)
        entry.denials = min(entry.denials + 1, 16)
        entry.denied_until_s = now_s + deny_s
        return True

    def score(self, peer_id: str) -> float:
        entry = self._entries.get(peer_id)
        return 1.0 if entry is None else 1.0 - self._lost(entry, self._clock())

    def faults(self, peer_id: str) -> Mapping[str, int]:
        entry = self._entries.get(peer_id)
        return {} if entry is None else dict(entry.faults)

    def denied_for_s(self, peer_id: str) -> float:
        """Seconds until the peer may come back; 0.0 if it is not denied."""
        entry = self._entries.get(peer_id)
        return 0.0 if entry is None else max(0.0, entry.denied_until_s - self._clock())

    def _lost(self, entry: _Entry, now_s: float) -> float:
        return float(entry.lost * 0.5 ** ((now_s - entry.at_s) / self._limits.score_half_life_s))
