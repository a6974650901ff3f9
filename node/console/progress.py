"""A bar on stderr while a person waits, and nothing at all for everybody else."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from swarmd.node.console.output import Output

if TYPE_CHECKING:
    from rich.progress import Progress

_PHASES = {"mark": "marking", "sweep": "sweeping", "compact": "packing", "verify": "verifying"}


class Meter:
    """How far something is. Calls are cheap; the bar is drawn ten times a second."""

    def __init__(self, bar: "Progress | None" = None, task: Any = None) -> None:
        self._bar = bar
        self._task = task

    def advance(self, count: int) -> None:
        if self._bar is not None:
            self._bar.advance(self._task, count)

    def at(self, phase: str, count: int) -> None:
        """`count` so far of a named phase."""
        if self._bar is not None:
            self._bar.update(self._task, description=_PHASES.get(phase, phase), completed=count)

    def phase(self, name: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, description=name)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def meter(out: Output, what: str, total: int | None, *, unit: str = "bytes") -> Iterator[Meter]:
    """A bar of `total` (None: not known) bytes or blocks; only where stderr is a terminal and nobody said --json or
    --quiet."""
    if out.as_json or out.quiet or not sys.stderr.isatty():
        yield Meter()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True, no_color=not out.color, highlight=False, markup=False, emoji=False)
    columns = (
        [DownloadColumn(binary_units=True), TransferSpeedColumn()]
        if unit == "bytes"
        else [MofNCompleteColumn()]
    )
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with bar:
        yield Meter(bar, bar.add_task(what, total=total))
