"""The growth of the swarm as an SVG of four panels, written by hand: no plotting library is needed to read it or make it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 960, 640
PANEL_W, PANEL_H = 350, 210
LEFT, TOP, GAP_X, GAP_Y = 80, 60, 110, 110
COLORS = ("#0b6e99", "#d1495b", "#5a8f29", "#8a8a8a")


@dataclass(frozen=True, slots=True)
class Series:
    name: str
    values: Sequence[float]
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """Series over the sizes. The x axis is logarithmic; `log_y` makes the other so too."""

    title: str
    series: Sequence[Series]
    log_y: bool = False
    limit: float | None = None


def svg(document: Mapping[str, Any]) -> str:
    """The picture of a report's document with two sizes or more."""
    rows, beside = document["sizes"], document["one_flat_mesh"]

    def of(key: str, name: str) -> Series:
        return Series(name, [row[key] for row in rows])

    def one_mesh(key: str) -> Series:
        return Series("one flat mesh, computed", [row[key] for row in beside], dashed=True)

    panels = [
        Panel(
            "end-to-end latency of a goal, ms",
            [of("goal_p50_ms", "p50"), of("goal_p95_ms", "p95"), of("goal_p99_ms", "p99")],
            limit=2_000.0,
        ),
        Panel(
            "messages per need",
            [of("frames_per_need", "hierarchical"), one_mesh("frames_per_need")],
            log_y=True,
        ),
        Panel(
            "messages per node and second",
            [of("node_frames_per_s", "mean"), of("hottest_frames_per_s", "busiest node")],
        ),
        Panel(
            "state per node, MB",
            [of("state_mb", "mean"), of("hottest_state_mb", "largest node"), one_mesh("state_mb")],
            log_y=True,
        ),
    ]
    sizes = [row["agents"] for row in rows]
    body = [_panel(panel, sizes, number) for number, panel in enumerate(panels)]
    title = f"swarmd, hierarchical swarm, simulated (seed {document['seed']}); agents, logarithmic"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
            _text(WIDTH / 2, 26, title, size=15, anchor="middle"),
            *body,
            "</svg>\n",
        ]
    )


def _panel(panel: Panel, sizes: Sequence[int], number: int) -> str:
    x0 = LEFT + (number % 2) * (PANEL_W + GAP_X)
    y0 = TOP + (number // 2) * (PANEL_H + GAP_Y)
    low_x, high_x = log10(sizes[0]), max(log10(sizes[-1]), log10(sizes[0]) + 0.1)
    marks, low_y, high_y = _axis(panel)

    def at_x(size: float) -> float:
        return x0 + (log10(size) - low_x) / (high_x - low_x) * PANEL_W

    def at_y(value: float) -> float:
        scaled = log10(max(value, 1e-9)) if panel.log_y else value
        return y0 + PANEL_H - (scaled - low_y) / (high_y - low_y) * PANEL_H

    parts = [_text(x0, y0 - 12, panel.title, size=13)]
    for mark in marks:
        y = at_y(mark)
        parts.append(_line(x0, y, x0 + PANEL_W, y, "#e3e3e3"))
        parts.append(_text(x0 - 8, y + 4, _number(mark), anchor="end"))
    for size in sizes:
        parts.append(_line(at_x(size), y0 + PANEL_H, at_x(size), y0 + PANEL_H + 4, "#555555"))
        if log10(size) % 1 == 0 or len(sizes) < 5:
            parts.append(_text(at_x(size), y0 + PANEL_H + 18, f"{size:,}", anchor="middle"))
    parts.append(
        f'<rect x="{x0}" y="{y0}" width="{PANEL_W}" height="{PANEL_H}" fill="none" stroke="#555555"/>'
    )
    if panel.limit is not None and not panel.log_y and panel.limit <= high_y:
        parts.append(_line(x0, at_y(panel.limit), x0 + PANEL_W, at_y(panel.limit), "#b00020", dashed=True))
    for index, series in enumerate(panel.series):
        color = COLORS[3] if series.dashed else COLORS[index]
        points = [(at_x(size), at_y(value)) for size, value in zip(sizes, series.values, strict=True)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if series.dashed else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"{dash}/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in points]
        legend_x = x0 + index * 115
        parts.append(
            _line(legend_x, y0 + PANEL_H + 36, legend_x + 18, y0 + PANEL_H + 36, color, series.dashed)
        )
        parts.append(_text(legend_x + 22, y0 + PANEL_H + 40, series.name))
    return "\n".join(parts)


def _axis(panel: Panel) -> tuple[list[float], float, float]:
    """(marks, lowest, highest): the ends are logarithms if the axis is logarithmic."""
    values = [value for series in panel.series for value in series.values]
    if panel.log_y:
        bottom = floor(log10(max(min(values), 1e-9)))
        ceiling = max(ceil(log10(max(*values, 1e-9))), bottom + 1)
        return [10.0**power for power in range(bottom, ceiling + 1)], bottom, ceiling
    top = max(*values, panel.limit or 0.0, 1e-9) * 1.05
    step = 10.0 ** floor(log10(top))
    step = next(part * step for part in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0) if top / (part * step) <= 6)
    high = step * ceil(top / step)
    return [step * number for number in range(round(high / step) + 1)], 0.0, high


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def _text(x: float, y: float, text: str, *, size: int = 11, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="#222222">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, color: str, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"{dash}/>'
