"""Python's collector of cycles, for a process whose heap is large, long-lived and nearly without cycles.

Left alone it looks through a growing history again and again and finds nothing: pauses of hundreds of milliseconds, and
a twelfth of the CPU of receiving. Here it looks only at what is new; what lives then is set aside, and looked through
again once as much was set aside as had been alive the time before. docs/adr/0035-the-collector-looks-at-what-is-new.md.
"""

import ctypes
import gc
import sys
from typing import Any, Final

import trio

# Containers that came and did not go, until it looks: a pause of some milliseconds, whatever else there is.
YOUNG: Final = 10_000
# What was set aside is looked through no sooner than after so many looks at what is new.
MIN_LOOKS: Final = 500
CHECK_S: Final = 30.0
SETTLED_S: Final = 10.0  # after a start: what it took is done with
_NEVER: Final = 1 << 30


# mallopt's parameters (malloc.h), and from what size on memory is the system's again as soon as it is free.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
LARGE_BYTES: Final = 1 << 20


def give_back_large() -> bool:
    """Have glibc's malloc return large buffers at once. Left alone it raises that size each time one is freed, and from
    then on they lie in a heap that only shrinks from its end: who has filled our buffers once would have us keep that.
    False where there is no such malloc."""
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES) and mallopt(_M_TRIM_THRESHOLD, 4 * LARGE_BYTES))


def give_back() -> None:
    """Have glibc's malloc return all that lies free: after a start 10 to 30 MB, of modules that were compiled or read,
    and of the journal's replay. Nothing happens where there is no such malloc."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None), name) if sys.platform == "linux" else None
    except (AttributeError, OSError):
        return None


class Garbage:
    """Of this process, from `start` to `stop`. `looks` counts those at what is new, `full_looks` those at everything."""

    def __init__(self, young: int = YOUNG, min_looks: int = MIN_LOOKS) -> None:
        self.looks = 0
        self.full_looks = 0
        self._young = young
        self._min_looks = min_looks
        self._due = min_looks
        self._threshold: tuple[int, int, int] | None = None

    def start(self) -> None:
        """Take over. What is there, modules above all, is set aside."""
        self._threshold = gc.get_threshold()
        gc.set_threshold(self._young, _NEVER, _NEVER)
        gc.callbacks.append(self._looked)
        self.full()

    def stop(self) -> None:
        """As it was before `start`."""
        if self._threshold is not None:
            gc.callbacks.remove(self._looked)
            gc.set_threshold(*self._threshold)
            gc.unfreeze()
            self._threshold = None

    def _looked(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "stop" and info["generation"] == 0:
            gc.freeze()
            self.looks += 1

    def due(self) -> bool:
        """Was as much set aside as was alive when everything was looked through?"""
        return self.looks >= self._due

    def full(self) -> None:
        """Look through everything: a pause that grows with the heap, so seldom."""
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self.full_looks += 1
        self._due = self.looks + max(self._min_looks, gc.get_freeze_count() // self._young)

    async def watch(self) -> None:
        """Do so whenever it is due, until cancelled."""
        await trio.sleep(SETTLED_S)
        give_back()
        while True:
            await trio.sleep(CHECK_S)
            if self.due():
                self.full()
                give_back()
