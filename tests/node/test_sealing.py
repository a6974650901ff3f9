"""When a flush leaves."""

import pytest
from swarmd.node.sealing import MAX_WINDOW_NS, WINDOW_NS, FlushWindow
from swarmd.protocol import limits

NOW_NS = 1_700_000_000 * 10**9


@pytest.fixture
def window():
    return FlushWindow()


def test_what_comes_after_silence_leaves_at_once(window):
    assert window.due(1, NOW_NS)
    window.flushed(NOW_NS)
    assert window.due(1, NOW_NS + WINDOW_NS)


def test_what_comes_soon_after_a_flush_waits_for_the_windows_end_or_for_64(window):
    window.flushed(NOW_NS)
    assert not window.due(limits.MAX_ENVELOPES_PER_BATCH - 1, NOW_NS + WINDOW_NS - 1)
    assert window.due(limits.MAX_ENVELOPES_PER_BATCH, NOW_NS + 1)
    assert window.ends_at_ns == NOW_NS + WINDOW_NS


def test_late_timers_widen_the_window_within_bounds_and_timely_ones_narrow_it_again(window):
    for _ in range(50):
        window.rang(2_000_000)
    assert WINDOW_NS + 3_900_000 < window.width_ns <= WINDOW_NS + 4_000_000
    for _ in range(50):
        window.rang(3_600 * 10**9)  # the machine slept
    assert window.width_ns == MAX_WINDOW_NS
    for _ in range(50):
        window.rang(-1)
    assert window.width_ns < WINDOW_NS + 10_000
