"""Real envelopes of a given size, made on a schedule: the load of `swarmd bench gossip`."""

import random
from collections.abc import Iterator

from swarmd.protocol import kinds
from swarmd.protocol.envelope import Envelope, build, need_id, trace_of
from swarmd.protocol.faults import LocalFault

NEEDS_PER_AUTHOR = 4
_REASON = 512  # the longest reason an ATTEST may have


class EnvelopeMaker:
    """ATTESTs of `size_bytes` by `author`, about a few needs in turn. LocalFault for a size it cannot have."""

    def __init__(self, author: str, size_bytes: int) -> None:
        self._author = author
        self._needs = [need_id(author, number) for number in range(NEEDS_PER_AUTHOR)]
        self._lamport = 0
        self._padding = 0
        self._padding = size_bytes - len(self.make(1 << 62).raw)
        while (excess := len(self.make(1 << 62).raw) - size_bytes) > 0:
            self._padding -= excess
        if not 0 < self._padding <= _REASON:
            smallest = size_bytes - self._padding + 1
            raise LocalFault(
                "usage", f"an envelope of this benchmark has {smallest} to {smallest + 500} bytes"
            )

    def make(self, ts_ns: int) -> Envelope:
        self._lamport += 1
        need = self._needs[self._lamport % NEEDS_PER_AUTHOR]
        return build(
            kind=kinds.ATTEST,
            thread=need,
            sender=self._author,
            lamport=(1 << 20) + self._lamport,
            ts_ns=ts_ns,
            epoch=0,
            payload={"task": "a", "verdict": "accept", "score": 90, "reason": "." * max(0, self._padding)},
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
