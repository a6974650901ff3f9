"""The simulated network: gossip to everybody, requests to one; latency by region, and every way to fail.

Gossip goes from an author straight to each other node (no relays): a pessimistic gossipsub, in which whatever a
link loses has to come back by sync. Requests are what libp2p's streams are: answered, or the peer is gone.
"""

from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from swarmd.simulations.clock import MS_NS, S_NS, Loop

# One-way latency in ms within and between three regions (Europe, US east, Asia-Pacific).
REGION_MS = ((4, 42, 95), (42, 6, 105), (95, 105, 8))
REQUEST_TIMEOUT_NS = 2 * S_NS
BASE_LOSS = 0.005


class Endpoint(Protocol):
    up: bool

    def on_frame(self, source: int, frame: bytes) -> None: ...

    def on_request(self, source: int, body: Any) -> Any: ...


class Network:
    """Counters of faults are kept per kind in `faults`. Faults nest: each is undone by its own end."""

    def __init__(self, loop: Loop, random: Random, count: int) -> None:
        self.loop = loop
        self.random = random
        self.endpoints: list[Endpoint] = []
        self.frames = 0
        self.faults: dict[str, int] = {}
        self.loss = BASE_LOSS
        self.duplicate = 0.0
        self.reorder = 0.0
        self.corrupt = 0.0
        self._blocked: dict[tuple[int, int], int] = {}
        self._slow: dict[tuple[int, int], int] = {}
        self._clogged: dict[tuple[int, int], list[bytes]] = {}
        self._base_ns = [
            [REGION_MS[source % 3][to % 3] * MS_NS for to in range(count)] for source in range(count)
        ]

    # Faults --------------------------------------------------------------------------------------------

    def block(self, pairs: list[tuple[int, int]]) -> Callable[[], None]:
        """Nothing passes from the first to the second of each pair until the returned function is called."""
        for pair in pairs:
            self._blocked[pair] = self._blocked.get(pair, 0) + 1

        def heal() -> None:
            for pair in pairs:
                self._blocked[pair] -= 1
                if not self._blocked[pair]:
                    del self._blocked[pair]

        return heal

    def slow(self, pairs: list[tuple[int, int]], factor: int) -> Callable[[], None]:
        """Each pair's latency grows by `factor` times."""
        for pair in pairs:
            self._slow[pair] = self._slow.get(pair, 0) + factor

        def heal() -> None:
            for pair in pairs:
                self._slow[pair] -= factor
                if not self._slow[pair]:
                    del self._slow[pair]

        return heal

    def clog(self, pairs: list[tuple[int, int]]) -> Callable[[], None]:
        """Each pair's gossip is held back and comes all at once, in a heap, at the end."""
        fresh = [pair for pair in pairs if pair not in self._clogged]
        for pair in fresh:
            self._clogged[pair] = []

        def heal() -> None:
            for source, to in fresh:
                held = self._clogged.pop((source, to))
                self.random.shuffle(held)
                for frame in held:
                    self._send(source, to, frame)

        return heal

    def _count(self, fault: str) -> None:
        self.faults[fault] = self.faults.get(fault, 0) + 1

    # Passing things ------------------------------------------------------------------------------------

    def gossip(self, source: int, frame: bytes, only: list[int] | None = None) -> None:
        """Send `frame` to every other node, or to those of `only`."""
        for to in range(len(self.endpoints)) if only is None else only:
            if to != source:
                self._send(source, to, frame)

    def _send(self, source: int, to: int, frame: bytes) -> None:
        random = self.random
        link = (source, to)
        if link in self._clogged:
            self._count("clogged")
            self._clogged[link].append(frame)
            return
        if link in self._blocked:
            self._count("partitioned")
            return
        if random.random() < self.loss:
            self._count("lost")
            return
        copies = 1
        if self.duplicate and random.random() < self.duplicate:
            self._count("duplicated")
            copies = 2
        for _ in range(copies):
            delay_ns = self._latency_ns(link)
            if self.reorder and random.random() < self.reorder:
                self._count("reordered")
                delay_ns += random.randrange(800 * MS_NS)
            sent = frame
            if self.corrupt and random.random() < self.corrupt:
                self._count("corrupted")
                sent = _spoil(frame, random)
            self.frames += 1
            self.loop.after(delay_ns, self._deliver, source, to, sent)

    def _latency_ns(self, link: tuple[int, int]) -> int:
        base_ns = self._base_ns[link[0]][link[1]]
        # A third on top on average, and now and then much more: a queue somewhere on the way.
        jitter = self.random.random()
        delay_ns = base_ns + int(base_ns * jitter * jitter)
        if jitter > 0.995:
            delay_ns += 200 * MS_NS
        factor = self._slow.get(link) if self._slow else None
        return delay_ns * (1 + factor) if factor else delay_ns

    def _deliver(self, source: int, to: int, frame: bytes) -> None:
        endpoint = self.endpoints[to]
        if endpoint.up:
            endpoint.on_frame(source, frame)

    def request(
        self, source: int, to: int, body: Any, answered: Callable[[Any], None], gone: Callable[[], None]
    ) -> None:
        """Ask one node. Exactly one of `answered(answer)` and `gone()` is called, unless we end before."""
        if (source, to) in self._blocked:
            self.loop.after(REQUEST_TIMEOUT_NS, gone)
            return
        self.loop.after(self._latency_ns((source, to)), self._serve, source, to, body, answered, gone)

    def _serve(
        self, source: int, to: int, body: Any, answered: Callable[[Any], None], gone: Callable[[], None]
    ) -> None:
        endpoint = self.endpoints[to]
        answer = endpoint.on_request(source, body) if endpoint.up else None
        if answer is None or (to, source) in self._blocked:
            self._count("unanswered")
            self.loop.after(REQUEST_TIMEOUT_NS, gone)
            return
        self.loop.after(self._latency_ns((to, source)), answered, answer)


def _spoil(frame: bytes, random: Random) -> bytes:
    """`frame` with a flipped bit, a changed byte, or its end cut off."""
    position = random.randrange(len(frame))
    how = random.randrange(3)
    if how == 0:
        return frame[:position]
    flip = 1 << random.randrange(8) if how == 1 else random.randrange(1, 256)
    return frame[:position] + bytes((frame[position] ^ flip,)) + frame[position + 1 :]
