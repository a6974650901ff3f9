"""How a figure grows: least squares against log n and against n, and which of the two explains it better."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, log10

TOLERANCE = 0.05


def solve(rows: Sequence[Sequence[float]], wanted: Sequence[float]) -> list[float]:
    """The x that makes |rows x - wanted| least, by the normal equations. ZeroDivisionError if there is no single one."""
    size = len(rows[0])
    table = [
        [sum(row[i] * row[j] for row in rows) for j in range(size)]
        + [sum(row[i] * y for row, y in zip(rows, wanted, strict=True))]
        for i in range(size)
    ]
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(table[row][column]))
        table[column], table[pivot] = table[pivot], table[column]
        scale = table[column][column]
        if abs(scale) < 1e-12 * max(abs(value) for value in table[column]):
            raise ZeroDivisionError("the rows do not determine the unknowns")
        table[column] = [value / scale for value in table[column]]
        for row in range(size):
            if row != column:
                factor = table[row][column]
                table[row] = [a - factor * b for a, b in zip(table[row], table[column], strict=True)]
    return [row[size] for row in table]


@dataclass(frozen=True, slots=True)
class Line:
    """y = base + slope x, and R^2: the share of y's variance that it explains (1.0 if y does not vary)."""

    base: float
    slope: float
    r2: float


def line(xs: Sequence[float], ys: Sequence[float]) -> Line:
    """The least squares line. ZeroDivisionError if all xs are equal."""
    base, slope = solve([[1.0, x] for x in xs], ys)
    mean = sum(ys) / len(ys)
    total = sum((y - mean) ** 2 for y in ys)
    left = sum((y - base - slope * x) ** 2 for x, y in zip(xs, ys, strict=True))
    return Line(base, slope, 1.0 - left / total if total > 1e-9 * mean * mean else 1.0)


@dataclass(frozen=True, slots=True)
class Growth:
    """`per_decade`: what is added with each tenfold n, between neighbours. `exponent`: of n, between the ends.

    `at_most_log`: y grows no faster than a + b log n. That is so if what a decade adds does not grow: at the end
    it is no more than the most it was before, within 5 % of y. A linear y adds ten times as much each decade.
    """

    against_log: Line
    against_n: Line
    per_decade: tuple[float, ...]
    exponent: float
    at_most_log: bool

    @property
    def better(self) -> str:
        return "log n" if self.against_log.r2 >= self.against_n.r2 else "n"


def growth(sizes: Sequence[int], ys: Sequence[float]) -> Growth:
    """Of `ys` at three or more growing sizes."""
    if len(sizes) < 3 or sorted(set(sizes)) != list(sizes):
        raise ValueError("three or more sizes, each larger than the one before")
    steps = list(zip(sizes, sizes[1:], ys, ys[1:], strict=False))
    adds = tuple((after - before) / log10(large / small) for small, large, before, after in steps)
    exponent = log(ys[-1] / ys[0]) / log(sizes[-1] / sizes[0]) if min(ys[0], ys[-1]) > 0 else 0.0
    return Growth(
        against_log=line([log10(n) for n in sizes], ys),
        against_n=line([float(n) for n in sizes], ys),
        per_decade=adds,
        exponent=exponent,
        at_most_log=adds[-1] <= max(0.0, *adds[:-1]) + TOLERANCE * abs(ys[-1]),
    )
