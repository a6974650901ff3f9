"""How many requests one caller may make: a bucket of tokens each, refilled at a rate."""

import time
from collections import OrderedDict
from collections.abc import Callable

MAX_CALLERS = 4_096


class Rates:
    """`rate_per_s` on average, `burst` at once. Callers that are forgotten begin with a full bucket, and those are
    the ones that asked least recently."""

    def __init__(
        self, rate_per_s: float, burst: float, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate_per_s
        self._burst = burst
        self._clock_s = clock_s
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> float:
        """0.0 if it may, else how many seconds to wait."""
        now = self._clock_s()
        left, at = self._left.get(caller, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        wait_s = 0.0 if left >= 1.0 else (1.0 - left) / self._rate
        self._left[caller] = (left - 1.0 if not wait_s else left, now)
        self._left.move_to_end(caller)
        if len(self._left) > MAX_CALLERS:
            self._left.popitem(last=False)
        return wait_s
