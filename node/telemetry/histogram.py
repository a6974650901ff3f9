"""A histogram of durations in constant memory: buckets that grow by an eighth, so a percentile is within 12 %."""

import math
from collections import Counter
from collections.abc import Mapping

_GROWTH = math.log(1.125)


class Histogram:
    """Milliseconds in, percentiles out. `buckets` can be subtracted from later ones to look at a span of time."""

    def __init__(self, buckets: Mapping[int, int] | None = None) -> None:
        self.buckets: Counter[int] = Counter(buckets or {})

    def add(self, value_ms: float, times: int = 1) -> None:
        """`times` -1 takes away a value that was added."""
        self.buckets[int(math.log(max(value_ms, 0.001) * 1000) / _GROWTH)] += times

    def count(self) -> int:
        return self.buckets.total()

    def percentile(self, share: float) -> float:
        """The upper bound of the bucket that holds the nearest-rank percentile; 0.0 of nothing."""
        left = math.ceil(share * self.count())
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= 0 < self.buckets[bucket]:
                return math.exp((bucket + 1) * _GROWTH) / 1000
        return 0.0
