"""The node's clock, and a node whose time of day is set back."""

import pytest
from swarmd.node.clock import SteadyClock
from swarmd.protocol.inputs import Commanded
from swarmd.protocol.limits import S_NS

START_NS = 1_800_000_000 * S_NS


class System:
    """The clocks of a machine: `wall_ns` is the time of day, which somebody sets."""

    def __init__(self):
        self.wall_ns = START_NS
        self.steady_ns = 5 * S_NS
        self.clock = SteadyClock(wall=lambda: self.wall_ns, steady=lambda: self.steady_ns)

    def passes(self, duration_s):
        self.wall_ns += int(duration_s * S_NS)
        self.steady_ns += int(duration_s * S_NS)

    def now_s(self):
        return (self.clock() - START_NS) / S_NS


@pytest.fixture
def system():
    return System()


def test_it_is_the_time_of_day(system):
    assert system.now_s() == 0
    system.passes(1.5)
    assert system.now_s() == 1.5
    system.wall_ns += 60 * S_NS
    assert system.now_s() == 61.5


def test_set_back_it_goes_on_slowly_until_the_time_of_day_is_there_again(system):
    system.passes(10)
    assert system.now_s() == 10
    system.wall_ns -= 4 * S_NS
    assert system.now_s() == 10
    system.passes(2)
    assert system.now_s() == 11
    system.passes(4)
    assert system.now_s() == 13
    system.passes(4)
    assert system.now_s() == 16
    assert system.clock() == system.wall_ns


def test_it_goes_on_from_what_is_on_record(system):
    system.clock.not_before(START_NS + 100 * S_NS)
    assert system.now_s() == 100
    system.clock.not_before(START_NS)
    system.passes(10)
    assert system.now_s() == 105


def test_a_node_that_was_set_back_is_not_silent(bench_at, new_task, tmp_path, system):
    """What it says is sealed within the flush window, not when the time of day is there again."""
    node = bench_at(tmp_path, clock_ns=system.clock)
    args = {"title": "x", "budget": 50_000, "deadline_s": 60, "tasks": [new_task("t1")], "inline": []}
    frames = []
    try:
        for _ in range(2):
            node.runner.tell(lambda at_ns: Commanded("need.post", args, at_ns))
            frames.append([])
            for _ in range(4):
                frames[-1] += node.runner.turn().frames
                system.passes(0.005)
            system.wall_ns -= 3600 * S_NS
        assert [len(each) for each in frames] == [1, 1]
    finally:
        node.journal.close()
