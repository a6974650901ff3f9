"""What `tc netem` does to a link, for kernels without it: delay, jitter, loss, duplicates and reordering.

Run in the hub's namespace as `python -m swarmd.node.chaos.wire NODES SEED`. For each node it makes two taps,
`nodeN` (which its parent moves to the node) and `portN` (which its parent puts on the bridge), says "ready", and
then passes every frame from one to the other. A line on stdin, {"N": {"delay_ms": ...}}, says which links are slow
from now on. Ends with its stdin; the taps go with it.
"""

import fcntl
import heapq
import json
import os
import random
import select
import struct
import sys
import time
from collections.abc import Mapping

_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_FRAMES_AT_ONCE = 64
_MAX_DELAYED = 20_000


def open_tap(name: str) -> int:
    """The descriptor of a new tap; each read and write is one Ethernet frame."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return tap


class Wire:
    """Passes frames between the two taps of each node."""

    def __init__(self, nodes: int, seed: int) -> None:
        self._dice = random.Random(seed)
        self._node_of: dict[int, int] = {}
        self._peer: dict[int, int] = {}
        self._slow: Mapping[str, Mapping[str, float]] = {}
        self._delayed: list[tuple[float, int, int, bytes]] = []
        self._count = 0
        for node in range(nodes):
            inner, outer = open_tap(f"node{node}"), open_tap(f"port{node}")
            self._peer |= {inner: outer, outer: inner}
            self._node_of |= {inner: node, outer: node}

    def run(self) -> None:
        poll = select.poll()
        poll.register(0, select.POLLIN)
        for tap in self._peer:
            poll.register(tap, select.POLLIN)
        while True:
            patience_ms = None
            if self._delayed:
                patience_ms = max(0.0, 1_000 * (self._delayed[0][0] - time.monotonic()))
            for fd, _ in poll.poll(patience_ms):
                if fd == 0:
                    line = sys.stdin.readline()
                    if not line:
                        return
                    self._slow = json.loads(line)
                else:
                    self._read(fd)
            now_s = time.monotonic()
            while self._delayed and self._delayed[0][0] <= now_s:
                _, _, tap, frame = heapq.heappop(self._delayed)
                _write(tap, frame)

    def _read(self, tap: int) -> None:
        for _ in range(_FRAMES_AT_ONCE):
            try:
                frame = os.read(tap, 65_536)
            except OSError:  # nothing more, or the device is down
                return
            self._pass(self._peer[tap], frame, self._slow.get(str(self._node_of[tap])))

    def _pass(self, tap: int, frame: bytes, slow: Mapping[str, float] | None) -> None:
        if slow is None:
            _write(tap, frame)
            return
        copies = 1 + self._happens(slow["duplicate_percent"])
        if self._happens(slow["loss_percent"]):
            copies -= 1
        for _ in range(copies):
            # As netem does it: what is reordered goes out at once and overtakes what waits.
            if self._happens(slow["reorder_percent"]):
                _write(tap, frame)
            elif len(self._delayed) < _MAX_DELAYED:
                delay_ms = slow["delay_ms"] + self._dice.uniform(-1, 1) * slow["jitter_ms"]
                self._count += 1
                heapq.heappush(
                    self._delayed, (time.monotonic() + max(0.0, delay_ms) / 1_000, self._count, tap, frame)
                )

    def _happens(self, percent: float) -> bool:
        return percent > 0 and self._dice.random() * 100 < percent


def _write(tap: int, frame: bytes) -> None:
    try:
        os.write(tap, frame)
    except OSError:
        pass  # its queue is full, or it is down: a network loses frames


def main() -> None:
    try:
        wire = Wire(int(sys.argv[1]), int(sys.argv[2]))
    except OSError as error:  # no /dev/net/tun, or it is not ours to use
        print(error)
        sys.exit(1)
    print("ready", flush=True)
    wire.run()


if __name__ == "__main__":
    main()
