"""Real envelopes of a given size, made on a schedule: the load of `swarmd bench gossip`."""

import random
from collections.abc import Iterator, Sequence

from swarmd.protocol import kinds
from swarmd.protocol.envelope import Envelope, build, need_id, trace_of
from swarmd.protocol.faults import LocalFault

NEEDS_PER_AUTHOR = 4
_REASON = 512  # the longest reason an ATTEST may have


class EnvelopeMaker:
    """ATTESTs of `size_bytes` by `author`, about `needs` in turn (default: four of its own). LocalFault for a size it cannot have."""

    def __init__(self, author: str, size_bytes: int, needs: Sequence[str] = ()) -> None:
        self._author = author
        self._needs = needs or [need_id(author, number) for number in range(NEEDS_PER_AUTHOR)]
        self._lamport = 0
        self._padding = 0
        smallest = len(self.make(1 << 62).raw)
        # A longer text also has a longer length before it: by one byte or two.
        for padding in range(max(0, size_bytes - smallest - 2), _REASON + 1):
            self._padding = padding
            if len(self.make(1 << 62).raw) >= size_bytes:
                return
        raise LocalFault(
            "usage", f"an envelope of this benchmark has {smallest} to {smallest + _REASON} bytes"
        )

    def make(self, ts_ns: int) -> Envelope:
        self._lamport += 1
        need = self._needs[self._lamport % len(self._needs)]
        return build(
            kind=kinds.ATTEST,
            thread=need,
            sender=self._author,
            lamport=(1 << 20) + self._lamport,
            ts_ns=ts_ns,
            epoch=0,
            payload={"task": "a", "verdict": "accept", "score": 90, "reason": "." * self._padding},
            refs=(),
            policy=bytes(32),
            eval_digest=bytes(32),
            trace=trace_of(need, 1),
        )


def arrivals(rate: float, began_ns: int, ends_ns: int, seed: int) -> Iterator[int]:
    """Times in ns, as a Poisson process: whoever is late for one counts the delay as latency."""
    if rate <= 0:
        return
    chance = random.Random(seed)
    at_ns = began_ns + int(chance.expovariate(rate) * 1e9)
    while at_ns < ends_ns:
        yield at_ns
        at_ns += int(chance.expovariate(rate) * 1e9)
