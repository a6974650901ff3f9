"""Waiting for the disk: in the loop where it is quick, in a thread where it is not.

An fsync takes 2 us in memory, 50 us to 5 ms on disks. As long as it takes less than the way to a thread and back, the commit
itself waits. From there on the loop goes on reading, relaying and answering meanwhile, and what the turn says is held back.
A turn that says nothing waits for the next that does, or for `LAZY_S`.
docs/adr/0040-the-disk-is-waited-for-in-a-thread.md.
"""

import math
import time
from collections.abc import Callable
from typing import Final

import trio
from swarmd.node.journal import Journal
from swarmd.protocol.faults import CorruptState

# About four times a way to a thread and back: there is something to win, and figures that vary do not switch it on and off.
SLOW_S: Final = 0.0005
# What was only heard waits so long for the disk at most: a power cut takes that, and peers bring it again.
LAZY_S: Final = 0.05
_WEIGHT: Final = 0.1  # of the newest in the running mean


class Durability:
    """Of the commits of one runner, which makes one at a time and waits for `sync` after each."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._mean_s = 0.0
        self._unsynced: trio.Event | None = None
        self._since_s = 0.0
        self.wake: Callable[[], None] = lambda: None  # whoever calls `sync`

    @property
    def is_slow(self) -> bool:
        """Begin the next transaction with `sync_later`."""
        return self._mean_s > SLOW_S

    def took(self, seconds: float) -> None:
        """A commit that waited for the disk itself."""
        self._mean_s += _WEIGHT * (seconds - self._mean_s)

    def committed(self) -> None:
        """A transaction that was begun with `sync_later`: from now on `sync` and `settled` wait."""
        if self._unsynced is None:
            self._unsynced, self._since_s = trio.Event(), time.perf_counter()

    def due_in_s(self) -> float:
        """When `sync` must be called at the latest, though nothing is to be said: 0 for now, inf for never."""
        if self._unsynced is None:
            return math.inf
        if self._unsynced.statistics().tasks_waiting:
            return 0.0
        return max(0.0, self._since_s + LAZY_S - time.perf_counter())

    async def sync(self) -> None:
        """Return when what was `committed` is on disk; at once if nothing was. CorruptState if the disk failed.

        Cancellation waits, as the file may not be closed before, and is raised then: who would carry out and pass on what
        the turn says ends, too. A restart has it on record.
        """
        if self._unsynced is None:
            return
        try:
            with trio.CancelScope(shield=True):
                self.took(await trio.to_thread.run_sync(self._wait))
        except OSError as error:
            # What the system had of it may be gone, and another call would say that all is well.
            raise CorruptState(
                "bad-journal", f"{self._journal.path}: the disk did not take it: {error}"
            ) from error
        self._unsynced.set()
        self._unsynced = None
        await trio.lowlevel.checkpoint_if_cancelled()

    def _wait(self) -> float:
        began_s = time.perf_counter()
        self._journal.sync()
        return time.perf_counter() - began_s

    async def settled(self) -> None:
        """Return when all is on disk that the state now holds. Before a peer is told of it."""
        if self._unsynced is not None:
            self.wake()
            await self._unsynced.wait()
