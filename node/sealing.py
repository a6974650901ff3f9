"""When what we have said leaves, how it is split into flushes, and signing them."""

from collections.abc import Iterator

from swarmd.protocol import limits
from swarmd.protocol.batch import Batch, Sign, sign_flush
from swarmd.protocol.chains import Chains
from swarmd.protocol.envelope import Envelope, bucket_of

WINDOW_NS = 3_000_000
MAX_WINDOW_NS = 12_000_000
_LATE_SMOOTHING = 0.2


class FlushWindow:
    """When to flush: at once when we were silent for a window, else when it is over or 64 envelopes wait.

    The window is 3 ms. On a machine that has not enough CPU, where a timer of ours rings late, it widens by
    twice that lateness, up to 12 ms: a flush costs every receiver a signature and a wake-up, and larger ones
    are what there is to save. docs/adr/0008-a-flush-window-that-widens.md.
    """

    def __init__(self, window_ns: int = WINDOW_NS, max_window_ns: int = MAX_WINDOW_NS) -> None:
        self._window_ns = window_ns
        self._max_window_ns = max_window_ns
        self._late_ns = 0.0
        self._flushed_at_ns = 0

    @property
    def width_ns(self) -> int:
        return min(self._max_window_ns, self._window_ns + 2 * int(self._late_ns))

    @property
    def is_late(self) -> bool:
        """Has this machine more to do than it has CPU for?"""
        return 2 * self._late_ns > self._window_ns

    @property
    def ends_at_ns(self) -> int:
        """Until then what we say waits for more; a time long past when we were silent."""
        return self._flushed_at_ns + self.width_ns

    def due(self, waiting: int, now_ns: int) -> bool:
        """Should `waiting` envelopes, one or more, leave now?"""
        return waiting >= limits.MAX_ENVELOPES_PER_BATCH or now_ns >= self.ends_at_ns

    def flushed(self, now_ns: int) -> None:
        self._flushed_at_ns = now_ns

    def rang(self, late_ns: int) -> None:
        """A timer set for the window's end rang `late_ns` after it."""
        self._late_ns += _LATE_SMOOTHING * (min(max(0, late_ns), self._max_window_ns) - self._late_ns)


def seal(
    mesh_id: bytes, me: str, chains: Chains, envelopes: list[Envelope], sign: Sign
) -> Iterator[tuple[bytes, list[Batch]]]:
    """(frame, batches) of each flush. The caller records the batches before it takes the next."""
    for group in split(envelopes):
        links = []
        for (epoch, bucket), members in group.items():
            seq, prev = chains.next_of((me, epoch, bucket))
            links.append((epoch, bucket, seq, prev, members))
        yield sign_flush(mesh_id, me, links, sign)


def split(envelopes: list[Envelope]) -> Iterator[dict[tuple[int, int], list[Envelope]]]:
    """Split into flushes within the wire's bounds: batches by (epoch, bucket), in order."""
    group: dict[tuple[int, int], list[Envelope]] = {}
    size = 0
    for envelope in envelopes:
        key = (envelope.epoch, bucket_of(envelope.thread))
        full = len(group.get(key, ())) >= limits.MAX_ENVELOPES_PER_BATCH
        many = key not in group and len(group) >= limits.MAX_BATCHES_PER_FLUSH
        if group and (full or many or size + len(envelope.raw) > limits.MAX_FLUSH_BYTES - 65_536):
            yield group
            group, size = {}, 0
        group.setdefault(key, []).append(envelope)
        size += len(envelope.raw) + 300
    if group:
        yield group
