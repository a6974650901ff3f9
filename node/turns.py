"""What goes into a turn of the runner, and what comes out of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import trio
from swarmd.protocol.batch import Batch
from swarmd.protocol.chains import Gap
from swarmd.protocol.effects import Effect
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.identity.manifest import Manifest
from swarmd.protocol.inputs import Input


@dataclass(slots=True)
class Reply:
    """The answer a caller waits for: set when the commit is on disk."""

    done: trio.Event = field(default_factory=trio.Event)
    fault: LocalFault | None = None
    value: Any = None

    async def wait(self) -> Any:
        await self.done.wait()
        if self.fault is not None:
            raise self.fault
        return self.value


@dataclass(slots=True)
class Item:
    """One thing that happened: an input to make at `now`, or batches or a manifest that `peer` passed on.

    `of_the_mesh`: the input is what others have decided, a checkpoint, and not what this node does.
    """

    make: Callable[[int], Input] | None = None
    of_the_mesh: bool = False
    peer: str = ""
    batches: list[Batch] | None = None
    manifest: Manifest | None = None
    reply: Reply | None = None

    @property
    def waits_in_silence(self) -> bool:
        """Not for a restored node that only listens."""
        return self.make is not None and not self.of_the_mesh


@dataclass(slots=True)
class Out:
    """What leaves once a commit is on disk."""

    frames: list[bytes] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    gaps: list[tuple[str, Gap]] = field(default_factory=list)
    reports: list[tuple[str, str, str]] = field(default_factory=list)  # (peer id, did, code)
    replies: list[Reply] = field(default_factory=list)
    stored: int = 0

    @property
    def speaks(self) -> bool:
        """Does anything leave that must not be taken back?"""
        return bool(self.frames or self.effects or self.replies)

    def __bool__(self) -> bool:
        return bool(self.frames or self.effects or self.gaps or self.reports or self.replies or self.stored)
