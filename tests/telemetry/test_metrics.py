"""The table of metrics keeps Prometheus's conventions."""

import math
import re

import pytest
from swarmd.node.telemetry.metrics import FAMILIES, FAST_S, MAX_LABEL_VALUES, SLOW_S, Timings, bounded


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_names_follow_the_conventions(family):
    assert re.fullmatch(r"swarmd_[a-z0-9]+(_[a-z0-9]+)*", family.name)
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert not re.search(
        r"_(ms|millis|milliseconds|minutes|kb|mb|percent|count|sum|bucket)(_|$)", family.name
    )
    assert family.kind != "histogram" or family.unit_name == "seconds"
    assert family.help.endswith(".")
    # What strangers choose without a bound: never a label.
    assert not {"peer", "did", "need", "task", "agent", "sender"} & set(family.labels)


def test_timings_count_each_value_once():
    timings = Timings((1.0, 2.0))
    for value_s in (0.5, 1.0, 1.5, 99.0, -3.0):
        timings.add(value_s)
    found = timings.value()
    assert (found.counts, found.count) == ((3, 1, 1), 5)
    assert math.isclose(found.sum, 102.0)
    assert sorted(FAST_S) == list(FAST_S) and sorted(SLOW_S) == list(SLOW_S)


def test_labels_that_others_choose_are_bounded():
    found = dict(bounded((f"code-{n}", 1.0 + (n == 999)) for n in range(1_000)))
    assert len(found) == MAX_LABEL_VALUES + 1
    assert found["code-999"] == 2.0
    assert sum(found.values()) == 1_001
