"""The parts any queueing simulation has: an event list, delays, and processor cores that jobs wait for.

All times are integer nanoseconds, so that a run is equal byte for byte wherever the same seed is used.
"""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log
from random import Random
from statistics import NormalDist
from typing import Any

US_NS = 1_000
MS_NS = 1_000_000
S_NS = 1_000_000_000
_STEPS = 1_024
_Z99 = NormalDist().inv_cdf(0.99)


class Events:
    """What happens when. Events of one time happen in the order in which they were set."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, at_ns: int, action: Callable[..., None], *args: Any) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at_ns, self._count, action, args))

    def run(self, until_ns: int, over: Callable[[], bool]) -> None:
        """Let things happen until nothing is left, `until_ns` has come or `over()` (asked every 256 events)."""
        heap = self._heap
        turn = 0
        while heap and heap[0][0] <= until_ns:
            self.now_ns, _, action, args = heapq.heappop(heap)
            action(*args)
            turn += 1
            if not turn & 255 and over():
                return


@dataclass(frozen=True, slots=True)
class Spread:
    """A log-normal time by its median and its 99th percentile, in milliseconds; equal ones mean a constant."""

    p50_ms: float
    p99_ms: float

    def delay(self, random: Random) -> "Delay":
        return Delay(self, random)


class Delay:
    """Draws from a `Spread`, by a table of 1,024 quantiles: one random number a draw."""

    __slots__ = ("_random", "_table")

    def __init__(self, spread: Spread, random: Random) -> None:
        sigma = log(spread.p99_ms / spread.p50_ms) / _Z99 if spread.p50_ms > 0 else 0.0
        normal = NormalDist()
        self._table = [
            int(spread.p50_ms * MS_NS * exp(sigma * normal.inv_cdf((step + 0.5) / _STEPS)))
            for step in range(_STEPS)
        ]
        self._random = random.random

    def draw_ns(self) -> int:
        return self._table[int(self._random() * _STEPS)]


class Cores:
    """`count` cores that serve one queue, first come first served, without preemption."""

    __slots__ = ("_busy", "_count", "_events", "_waiting", "_waking", "busy_ns")

    def __init__(self, events: Events, count: int) -> None:
        self._events = events
        self._count = count
        self._busy: list[int] = []  # when each core that was given work is free again: a heap
        self._waiting: deque[Callable[[], int]] = deque()
        self._waking = False
        self.busy_ns = 0

    def submit(self, job: Callable[[], int]) -> None:
        """Run `job` on a core as soon as one is free; it returns how many nanoseconds it takes."""
        self._waiting.append(job)
        if not self._waking:
            self._serve()

    def _serve(self) -> None:
        """Give waiting jobs to free cores, and come back when the next is free. No event while nobody waits."""
        now_ns, busy = self._events.now_ns, self._busy
        self._waking = False
        while self._waiting:
            while busy and busy[0] <= now_ns:
                heapq.heappop(busy)
            if len(busy) >= self._count:
                self._waking = True
                self._events.at(busy[0], self._serve)
                return
            # A job may submit another while it runs; it must find its own core taken.
            self._waking = True
            took_ns = self._waiting.popleft()()
            self._waking = False
            self.busy_ns += took_ns
            heapq.heappush(busy, now_ns + took_ns)


class Pool:
    """Some agents of one host and role: each does one job at a time, further jobs wait for the first free one."""

    __slots__ = ("_events", "_free", "_waiting", "busy_ns", "jobs")

    def __init__(self, events: Events, count: int) -> None:
        self._events = events
        self._free = count
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()
        self.busy_ns = 0
        self.jobs = 0

    def work(self, took_ns: int, done: Callable[[], None]) -> None:
        self.jobs += 1
        if self._free:
            self._free -= 1
            self._start(took_ns, done)
        else:
            self._waiting.append((took_ns, done))

    def _start(self, took_ns: int, done: Callable[[], None]) -> None:
        self.busy_ns += took_ns
        self._events.at(self._events.now_ns + took_ns, self._end, done)

    def _end(self, done: Callable[[], None]) -> None:
        if self._waiting:
            self._start(*self._waiting.popleft())
        else:
            self._free += 1
        done()
