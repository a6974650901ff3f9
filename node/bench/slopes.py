"""How much a figure grows."""

from collections.abc import Sequence
from statistics import StatisticsError, linear_regression


def least_squares(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """What y grows by for one more of x; None of fewer than two different x."""
    try:
        return linear_regression(xs, ys).slope
    except StatisticsError:
        return None
