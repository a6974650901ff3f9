"""The node's clock: the time of day, made to never go back and never stand still."""

import time
from collections.abc import Callable

Clock = Callable[[], int]


class SteadyClock:
    """ns since 1970. Where the time of day was set back, it goes on at half speed until that has caught up.

    What a node says carries times that never go back, so without this a node would wait out the whole step: its
    timers would not ring and what it said would not be sealed. `wall` and `steady` are the clocks of the system.
    """

    def __init__(self, *, wall: Clock = time.time_ns, steady: Clock = time.monotonic_ns) -> None:
        self._wall = wall
        self._steady = steady
        self._last_ns = wall()
        self._at_ns = steady()

    def __call__(self) -> int:
        at_ns = self._steady()
        self._last_ns = max(self._wall(), self._last_ns + (at_ns - self._at_ns) // 2)
        self._at_ns = at_ns
        return self._last_ns

    def not_before(self, ns: int) -> None:
        """Go on from here at the earliest: from the last time on record, for one."""
        self._last_ns = max(self._last_ns, ns)
