"""How much of something a peer may send in a time: it is made to wait, never dropped.

Token buckets that may go into debt: what has arrived is taken, and whoever brought it is read again when
the debt is paid. TCP carries the waiting back to the sender, whose own queue says what it drops.
"""

from collections import Counter
from collections.abc import Callable

import trio

# Nobody is left unread for longer at a time: liveness pings must get through.
MAX_WAIT_S = 1.0


class Bucket:
    """`rate_per_s` in the long run, `burst` at once."""

    __slots__ = ("_at_s", "_burst", "_clock", "_rate_per_s", "level")

    def __init__(self, rate_per_s: float, burst: float, clock: Callable[[], float] | None = None) -> None:
        self._rate_per_s = rate_per_s
        self._burst = float(burst)
        self._clock = clock or trio.current_time
        self._at_s = self._clock()
        self.level = float(burst)

    def take(self, count: float = 1.0) -> float:
        """Take `count`, whether it is there or not. Seconds to wait until the debt is paid; 0.0: go on."""
        self._refill()
        self.level -= count
        return 0.0 if self.level >= 0 else -self.level / self._rate_per_s

    def try_take(self, count: float = 1.0) -> bool:
        """Take `count` only if it is there."""
        self._refill()
        if self.level < count:
            return False
        self.level -= count
        return True

    def give(self, count: float = 1.0) -> None:
        """Give back what was taken and turned out to be welcome."""
        self._refill()
        self.level = min(self._burst, self.level + count)

    def full(self) -> bool:
        self._refill()
        return self.level >= self._burst

    def heavy(self) -> bool:
        """Has its user taken more than half of what it may at once?"""
        return self.level * 2 < self._burst

    def _refill(self) -> None:
        now_s = self._clock()
        self.level = min(self._burst, self.level + (now_s - self._at_s) * self._rate_per_s)
        self._at_s = now_s


class Meter:
    """One kind of thing that peers send: a bucket a peer and one for all.

    Over the limit of all, only those wait who use much: a flood must not slow down who is quiet.
    """

    def __init__(
        self,
        name: str,
        peer: tuple[float, float],
        everybody: tuple[float, float],
        counters: Counter[str],
        share_of: Callable[[str], float] = lambda _: 1.0,
    ) -> None:
        self._name = f"throttled-{name}"
        self._peer = peer
        self._all = Bucket(*everybody)
        self._counters = counters
        self._share_of = share_of
        self._buckets: dict[str, Bucket] = {}

    async def take(self, peer_id: str, count: float = 1.0) -> float:
        """Wait as long as `peer_id` must. Returns the seconds waited."""
        wait_s = self.charge(peer_id, count)
        if wait_s:
            await trio.sleep(wait_s)
        return wait_s

    def charge(self, peer_id: str, count: float = 1.0) -> float:
        """As `take`, for who waits by himself: how many seconds."""
        bucket = self._buckets.get(peer_id)
        if bucket is None:
            bucket = self._buckets[peer_id] = Bucket(*self._peer)
        wait_s = bucket.take(count)
        over_s = self._all.take(count)
        if over_s and bucket.heavy():
            wait_s = max(wait_s, over_s)
        if wait_s:
            # Greylisted peers have a part of the rate: the same debt takes them longer.
            wait_s = min(MAX_WAIT_S, wait_s / self._share_of(peer_id))
            self._counters[self._name] += 1
        return wait_s

    def forget(self, peer_id: str) -> None:
        """The peer left. A debt stays, or leaving would pay it."""
        bucket = self._buckets.get(peer_id)
        if bucket is not None and bucket.full():
            del self._buckets[peer_id]
        if len(self._buckets) > 4_096:
            del self._buckets[next(iter(self._buckets))]
