"""Percentiles as all benchmarks give them: by nearest rank, of all values, none interpolated."""

from collections.abc import Sequence

SHARES = (50, 95, 99)


def percentile(values: Sequence[float], share: float) -> float:
    """The value at `share` (0 to 1) of the ordered values; 0.0 of nothing."""
    return at_share(sorted(values), share)


def at_share(ordered: Sequence[float], share: float) -> float:
    """As `percentile`, of values that are in order."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def percentiles(values: Sequence[float], digits: int = 2) -> dict[str, float | None]:
    """p50_ms, p95_ms, p99_ms of milliseconds; None of nothing."""
    ordered = sorted(values)
    return {f"p{p}_ms": round(at_share(ordered, p / 100), digits) if ordered else None for p in SHARES}
