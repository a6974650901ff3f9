"""A curve as an SVG of small panels, written by hand: no plotting library is needed to read it or make it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any
from xml.sax.saxutils import escape

PANEL_W, PANEL_H = 330, 170
LEFT, TOP, GAP_X, GAP_Y = 70, 50, 90, 90
COLORS = ("#0b6e99", "#d1495b")
GRID, INK = "#e3e3e3", "#222222"


@dataclass(frozen=True, slots=True)
class Line:
    """`key` of the rows, and what it is called below the panel."""

    key: str
    name: str


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    lines: tuple[Line, ...]


def svg(axis: str, sizes: Sequence[int], rows: Sequence[Mapping[str, Any]], panels: Sequence[Panel]) -> str:
    """The figures of `rows`, one for each size. The x axis is logarithmic, the others begin at 0."""
    height = TOP + ceil(len(panels) / 2) * (PANEL_H + GAP_Y)
    width = LEFT + 2 * PANEL_W + GAP_X + 40
    body = [_panel(panel, sizes, rows, number) for number, panel in enumerate(panels)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            _text(width / 2, 22, f"swarmd: {axis}, logarithmic", 14, "middle"),
            *body,
            "</svg>\n",
        ]
    )


def _panel(panel: Panel, sizes: Sequence[int], rows: Sequence[Mapping[str, Any]], number: int) -> str:
    x0 = LEFT + (number % 2) * (PANEL_W + GAP_X)
    y0 = TOP + (number // 2) * (PANEL_H + GAP_Y)
    bottom = y0 + PANEL_H
    low, high = log10(sizes[0]), max(log10(sizes[-1]), log10(sizes[0]) + 0.1)
    marks = axis_marks(max(row[line.key] for row in rows for line in panel.lines))

    def at_x(size: float) -> float:
        return x0 + (log10(size) - low) / (high - low) * PANEL_W

    def at_y(value: float) -> float:
        return bottom - value / marks[-1] * PANEL_H

    parts = [_text(x0, y0 - 10, panel.title, 12)]
    for mark in marks:
        parts.append(_stroke(x0, at_y(mark), x0 + PANEL_W, at_y(mark), GRID))
        parts.append(_text(x0 - 6, at_y(mark) + 4, f"{mark:,g}", 10, "end"))
    for size in sizes:
        parts.append(_stroke(at_x(size), bottom, at_x(size), bottom + 4, INK))
        parts.append(_text(at_x(size), bottom + 16, f"{size:,}", 10, "middle"))
    for index, line in enumerate(panel.lines):
        color = COLORS[index]
        points = [(at_x(size), at_y(row[line.key])) for size, row in zip(sizes, rows, strict=True)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in points]
        at = x0 + index * 130
        parts.append(_stroke(at, bottom + 32, at + 18, bottom + 32, color))
        parts.append(_text(at + 22, bottom + 36, line.name, 10))
    return "\n".join(parts)


def axis_marks(top: float) -> list[float]:
    """From 0 to at least `top`, at most six steps of 1, 2, 2.5 or 5 times a power of ten."""
    top = max(top, 1e-9)
    power = 10.0 ** floor(log10(top))
    step = next(part * power for part in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0) if top / (part * power) <= 6)
    return [round(step * number, 12) for number in range(ceil(top / step) + 1)]


def _text(x: float, y: float, text: str, size: int, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{INK}">{escape(text)}</text>'


def _stroke(x1: float, y1: float, x2: float, y2: float, color: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"/>'
