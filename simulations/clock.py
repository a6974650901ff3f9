"""Simulated time: one queue of events in true nanoseconds, a drifting clock for each node, dice by name.

Nothing here looks at the machine's clock, at hashes of objects or at the order of sets, so a run follows from
its seed alone.
"""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any

MS_NS = 1_000_000
S_NS = 1_000_000_000
START_NS = 1_760_000_000 * S_NS
_PPM = 1_000_000


def dice(seed: int, concern: str) -> Random:
    """A generator for one concern, so that drawing more for one of them leaves the others as they are."""
    # Seeded by text: hashed with SHA-512, whatever PYTHONHASHSEED is.
    return Random(f"swarmd/{seed}/{concern}")


class Loop:
    """Events in order of (time, when they were asked for)."""

    def __init__(self) -> None:
        self.now_ns = START_NS
        self.events = 0
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._soon: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._serial = 0

    def at(self, at_ns: int, call: Callable[..., None], *args: Any) -> None:
        """Call `call(*args)` at `at_ns`; now, if that is past."""
        self._serial += 1
        heappush(self._queue, (max(at_ns, self.now_ns), self._serial, call, args))

    def after(self, delay_ns: int, call: Callable[..., None], *args: Any) -> None:
        self._serial += 1
        heappush(self._queue, (self.now_ns + (delay_ns if delay_ns > 0 else 0), self._serial, call, args))

    def soon(self, call: Callable[..., None], *args: Any) -> None:
        """`at` this very time: after what is to happen now already, without the way through the queue."""
        if self._queue and self._queue[0][0] <= self.now_ns:
            self.at(self.now_ns, call, *args)
        else:
            self._soon.append((call, args))

    def run_until(self, end_ns: int, stop: Callable[[], bool] | None = None) -> None:
        """Run events up to `end_ns`; leave early once `stop` says so (asked between events)."""
        queue, soon = self._queue, self._soon
        while soon or (queue and queue[0][0] <= end_ns):
            if soon:
                call, args = soon.popleft()
            else:
                self.now_ns, _, call, args = heappop(queue)
            self.events += 1
            call(*args)
            if stop is not None and stop():
                return
        self.now_ns = max(self.now_ns, end_ns)


class NodeClock:
    """A node's clock: true time with an offset and a drift, both of which a nemesis may change."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._true_ns = loop.now_ns
        self._local_ns = loop.now_ns
        self._rate_ppm = 0

    def now_ns(self) -> int:
        return self._local_ns + (self._loop.now_ns - self._true_ns) * (_PPM + self._rate_ppm) // _PPM

    def true_of(self, local_ns: int) -> int:
        """The true time at which this clock will show `local_ns` or a little more."""
        return self._true_ns + -((self._local_ns - local_ns) * _PPM // (_PPM + self._rate_ppm))

    def jump(self, by_ns: int) -> None:
        self._anchor(self.now_ns() + by_ns, self._rate_ppm)

    def drift(self, rate_ppm: int) -> None:
        self._anchor(self.now_ns(), rate_ppm)

    def heal(self) -> None:
        """True time, at the true rate: what NTP does at last."""
        self._anchor(self._loop.now_ns, 0)

    def _anchor(self, local_ns: int, rate_ppm: int) -> None:
        self._true_ns, self._local_ns, self._rate_ppm = self._loop.now_ns, local_ns, rate_ppm
