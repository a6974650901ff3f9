"""Which content stays, by each strategy: pure, on pins in memory."""

from collections.abc import Sequence

import pytest
from swarmd.node.content.pinning import PinStrategy, keep, name_for, size_in, trim
from swarmd.node.ports import Pin
from swarmd.protocol.faults import LocalFault


class Pins:
    def __init__(self) -> None:
        self.held: dict[bytes, Pin] = {}
        self.now_s = 0

    def pin(self, cid: bytes, *, recursive: bool = True, name: str = "") -> Pin:
        self.held[cid] = Pin(cid, recursive, name, self.now_s)
        return self.held[cid]

    def unpin(self, cid: bytes) -> bool:
        return self.held.pop(cid, None) is not None

    def pins(self) -> Sequence[Pin]:
        return sorted(self.held.values(), key=lambda pin: (pin.at_s, pin.cid))


def fill(strategy: PinStrategy, *sizes: int) -> Pins:
    """Contents of these sizes, one a second."""
    pins = Pins()
    for number, size in enumerate(sizes):
        pins.now_s = number
        keep(pins, strategy, bytes([number]), size, number)
    return pins


def test_all_keeps_all() -> None:
    assert len(fill(PinStrategy("all", keep_s=0, max_bytes=0), 10, 20, 30).held) == 3


def test_recent_lets_go_of_what_is_old() -> None:
    pins = fill(PinStrategy("recent", keep_s=5), *[1] * 10)
    assert sorted(pins.held) == [bytes([number]) for number in range(4, 10)]
    assert trim(pins, PinStrategy("recent", keep_s=5), 100) == [bytes([number]) for number in range(4, 10)]


def test_size_keeps_the_latest_that_fit() -> None:
    pins = fill(PinStrategy("size", max_bytes=100), 40, 40, 40, 101, 10)
    assert sorted(pins.held) == [b"\1", b"\2", b"\4"]  # 101 alone is too much, and pushes out nobody


def test_pins_made_by_hand_are_nobodys_business() -> None:
    strategy = PinStrategy("size", max_bytes=50)
    pins = Pins()
    for name in ("", "mine", "kept:", "kept:x", "kept:-1", "kept:١"):
        pins.pin(name.encode() or b"-", name=name)
    before = dict(pins.held)
    keep(pins, strategy, b"mine", 10, 1_000)
    keep(pins, strategy, b"new", 50, 1_000)
    assert {cid: pins.held[cid] for cid in before} == before and b"new" in pins.held
    assert trim(pins, PinStrategy("recent", keep_s=0), 10**9) == [b"new"]


def test_names_hold_sizes() -> None:
    assert size_in(name_for(12)) == 12 and size_in("12") is None
    with pytest.raises(LocalFault, match="bad-pin-strategy"):
        PinStrategy("most")
