"""What goes into a turn of a simulated node, and what comes out of it: as `node/turns.py` has it for a daemon."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from swarmd.protocol.batch import Batch
from swarmd.protocol.chains import Gap
from swarmd.protocol.effects import Publish
from swarmd.protocol.identity.manifest import Manifest
from swarmd.protocol.inputs import Input
from swarmd.protocol.state import State
from swarmd.simulations.checkpoints import Certified, Kept
from swarmd.simulations.disk import Kept as Outgoing

Answer = Callable[[Any], None]


@dataclass(slots=True)
class Item:
    """One thing that happened: an input to make at the node's time, batches, or a manifest, that `peer` sent."""

    make: Callable[[int], Input] | None = None
    peer: int = -1
    batches: list[Batch] | None = None
    manifest: Manifest | None = None
    answer: Answer | None = None
    draft: Callable[[State], Publish | None] | None = None  # what a liar says past its core
    snapshot: Kept | None = None  # to keep with it
    adopt: tuple[Kept, tuple[Certified, ...]] | None = None  # a certified snapshot, and what certifies it
    drop: str = ""  # an effect that nobody waits for any more


class Out:
    """What leaves after a commit."""

    __slots__ = ("answers", "effects", "frames", "gaps")

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.effects: list[Outgoing] = []
        self.gaps: list[tuple[int, Gap]] = []
        self.answers: list[tuple[Answer, Any]] = []
