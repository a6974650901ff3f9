"""`swarmd bench curves`: its plots, its slopes, what it refuses, and one point of a real mesh."""

import json
import xml.etree.ElementTree as ElementTree

import pytest
from swarmd.node.bench import curves, plot

PANELS = curves.CURVES["nodes"].panels


def row(size, cpu_ms):
    keys = {line.key for panel in PANELS for line in panel.lines}
    return {"size": size, **dict.fromkeys(keys, cpu_ms)}


@pytest.mark.parametrize("top", [0.0, 0.004, 1.0, 9.9, 61.0, 1_250.0, 99_999.0])
def test_marks_reach_the_highest_value_in_few_steps(top):
    marks = plot.axis_marks(top)
    assert marks[0] == 0 and marks[-1] >= top and 2 <= len(marks) <= 7
    assert len({round(b - a, 9) for a, b in zip(marks, marks[1:], strict=False)}) == 1


def test_a_plot_has_a_point_for_each_figure():
    rows = [row(2, 8.0), row(4, 10.0), row(16, 30.0)]
    root = ElementTree.fromstring(plot.svg("nodes", [2, 4, 16], rows, PANELS))
    lines = sum(len(panel.lines) for panel in PANELS)
    tags = [each.tag.rpartition("}")[2] for each in root.iter()]
    assert tags.count("circle") == 3 * lines and tags.count("polyline") == lines
    left, middle, right = [float(each.get("cy")) for each in root.iter() if each.tag.endswith("circle")][:3]
    assert left > middle > right  # more is higher
    assert plot.svg("nodes", [2], [row(2, 8.0)], PANELS)


def test_slopes_are_by_the_unit_of_the_curve():
    curve = curves.CURVES["nodes"]
    found = curves.slopes([row(2, 8.0), row(4, 12.0), row(16, 36.0)], curve)
    assert found["cpu_ms_per_task_per_1"] == pytest.approx(2.0)
    assert curves.slopes([row(2, 8.0)], curve)["cpu_ms_per_task_per_1"] == 0.0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--curves moon", "no curve 'moon'"),
        ("--sizes 2,4", "--sizes goes with one curve"),
        ("--curves nodes --sizes 4,2", "rising list"),
        ("--curves nodes --sizes 2,64", "rising list"),
        ("--curves nodes --sizes 1,2", "two nodes"),
        ("--curves nodes --sizes 2,x", "rising list"),
        ("--rate 0", "--rate"),
        ("--plot /nowhere/at/all", "no folder"),
    ],
)
def test_what_cannot_be_measured_is_said(swarmd, words, said):
    failed = swarmd(f"bench curves {words}")
    assert failed.code == 2 and said in failed.err


def test_a_point_of_a_real_mesh(swarmd, tmp_path):
    words = f"--json bench curves --curves payload --sizes 100,200000 --plot {tmp_path}"
    found = swarmd(words).json
    small, large = found["curves"]["payload"]["rows"]
    assert (small["size"], large["size"], small["unfinished"], large["unfinished"]) == (100, 200_000, 0, 0)
    assert small["cpu_ms_per_task"] > 0 and large["finalize_p95_ms"] > 0
    assert ElementTree.fromstring((tmp_path / "curve-payload.svg").read_text())
    json.dumps(found)
