"""Which content stays: a node pins what it adds and fetches, and lets go of it by one of three strategies.

`all` keeps everything. `recent` keeps what was added or fetched in the last `keep_s`. `size` keeps the latest up to
`max_bytes`, and never begins with what alone is larger. Pins that somebody made by hand are not touched: ours are known
by their name, which also holds how large the content is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from swarmd.node.ports import Pin
from swarmd.protocol.faults import LocalFault

STRATEGIES: Final = ("all", "recent", "size")
_PREFIX: Final = "kept:"


class Pins(Protocol):
    """The part of a `ContentStore` that this needs."""

    def pin(self, cid: bytes, *, recursive: bool = True, name: str = "") -> Pin: ...

    def unpin(self, cid: bytes) -> bool: ...

    def pins(self) -> Sequence[Pin]: ...


@dataclass(frozen=True, slots=True)
class PinStrategy:
    """`kind` is one of STRATEGIES; the other two bound `recent` and `size`."""

    kind: str = "all"
    keep_s: int = 30 * 86_400
    max_bytes: int = 10 * (1 << 30)

    def __post_init__(self) -> None:
        if self.kind not in STRATEGIES:
            raise LocalFault(
                "bad-pin-strategy", f"no strategy {self.kind!r}", fix=f"one of {', '.join(STRATEGIES)}"
            )

    def takes(self, size: int) -> bool:
        """Is content of `size` bytes pinned at all?"""
        return self.kind != "size" or size <= self.max_bytes

    def lets_go(self, pins: Sequence[Pin], now_s: int, newest: bytes = b"") -> list[Pin]:
        """Those of our own pins that the strategy keeps no more; the others in `pins` are not ours to judge. `newest`
        is the latest of those made in one second."""
        ours = [(pin, size) for pin in pins if (size := size_in(pin.name)) is not None]
        if self.kind == "recent":
            return [pin for pin, _ in ours if now_s - pin.at_s > self.keep_s]
        if self.kind == "size":
            gone, room = [], self.max_bytes
            latest_first = sorted(ours, key=lambda each: (-each[0].at_s, each[0].cid != newest, each[0].cid))
            for pin, size in latest_first:
                room -= size
                if room < 0:
                    gone.append(pin)
                    room += size
            return gone
        return []


def name_for(size: int) -> str:
    """The name of a pin of ours of content of `size` bytes."""
    return f"{_PREFIX}{size}"


def size_in(name: str) -> int | None:
    """The size of the content of a pin of ours; None for a pin that is not."""
    text = name.removeprefix(_PREFIX)
    return int(text) if name.startswith(_PREFIX) and text.isdecimal() and text.isascii() else None


def keep(store: Pins, strategy: PinStrategy, cid: bytes, size: int, now_s: int) -> list[bytes]:
    """Pin new content as the strategy has it, then let go of what it keeps no more; the CIDs let go. Blocking."""
    if strategy.takes(size):
        known = {pin.cid: pin for pin in store.pins()}
        if cid not in known or size_in(known[cid].name) is not None:
            store.pin(cid, name=name_for(size))
    return trim(store, strategy, now_s, cid)


def trim(store: Pins, strategy: PinStrategy, now_s: int, newest: bytes = b"") -> list[bytes]:
    """Let go of what the strategy keeps no more; the CIDs. Blocking."""
    gone = strategy.lets_go(store.pins(), now_s, newest)
    for pin in gone:
        store.unpin(pin.cid)
    return [pin.cid for pin in gone]
