"""The collector of cycles: new ones go, what lives is set aside and looked through again when as much was added."""

import gc
import subprocess
import sys
import weakref

import pytest
import trio
from swarmd.node import garbage as module
from swarmd.node.garbage import Garbage


class Cycle:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def garbage():
    before = gc.get_threshold(), list(gc.callbacks)
    found = Garbage(young=500, min_looks=3)
    found.start()
    yield found
    found.stop()
    assert (gc.get_threshold(), gc.callbacks) == before and gc.get_freeze_count() == 0


def allocate(count: int) -> list[list[int]]:
    return [[] for _ in range(count)]


def test_new_cycles_go_and_what_lives_is_set_aside(garbage):
    gone = weakref.ref(Cycle())
    frozen = gc.get_freeze_count()
    kept = allocate(2_000)
    assert garbage.looks >= 3 and gone() is None
    assert gc.get_freeze_count() >= frozen + 1_000
    assert sum(map(len, (gc.get_objects(0), gc.get_objects(1), gc.get_objects(2)))) < 1_500
    assert len(kept) == 2_000


def test_a_cycle_that_was_set_aside_goes_when_everything_is_looked_through(garbage):
    cycle = Cycle()
    gone = weakref.ref(cycle)
    kept = allocate(1_000)
    assert garbage.looks > 0
    del cycle
    gc.collect(0)
    assert gone() is not None  # it was old by then
    garbage.full()
    assert gone() is None and garbage.full_looks == 2 and len(kept) == 1_000


def test_everything_is_looked_through_once_as_much_was_set_aside_as_was_alive(garbage):
    alive = gc.get_freeze_count()
    assert not garbage.due()
    kept = []
    while not garbage.due():
        kept.append(allocate(500))
    assert garbage.looks == pytest.approx(max(3, alive // 500), abs=3)
    looks = garbage.looks
    garbage.full()
    assert not garbage.due() and garbage.looks == looks and kept


async def test_it_watches(garbage, autojump_clock, monkeypatch):
    kept = []
    while not garbage.due():
        kept.append(allocate(500))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(garbage.watch)
        await trio.sleep(1.5 * module.CHECK_S)
        assert garbage.full_looks == 2
        await trio.sleep(2 * module.CHECK_S)
        assert garbage.full_looks == 2 and kept  # nothing was due since
        nursery.cancel_scope.cancel()


def test_stopping_twice_and_without_a_start_is_nothing():
    garbage = Garbage()
    garbage.stop()
    assert gc.isenabled()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc, and /proc")
def test_large_buffers_go_back_to_the_system(tmp_path):
    """Those of a size that malloc, once it has seen one freed, would keep in its heap."""
    script = tmp_path / "held.py"
    script.write_text(
        "import os, sys\n"
        "from swarmd.node.garbage import give_back_large\n"
        "if 'yes' in sys.argv: assert give_back_large()\n"
        "def rss(): return int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE') >> 20\n"
        "b'x' * (30 << 20)\n"  # freed at once: from now on malloc takes this size from its heap
        "held = [b'x' * ((3 << 20) + _) for _ in range(40)]\n"
        "last = b'x' * (3 << 20)\n"  # behind them: a heap shrinks only from its end
        "del held\n"
        "print(rss())\n"
    )

    def rss_mb(*argv):
        done = subprocess.run(
            [sys.executable, str(script), *argv], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert rss_mb() > 120
    assert rss_mb("yes") < 60
