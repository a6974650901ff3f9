"""Two fabrics for the same frames (seed 004, command 51): publish on both, deliver each frame once, prefer P2P.

A frame that comes over P2P is delivered at once. One that comes over the bridge waits a little for P2P to bring it;
if it does not, or there is no P2P peer at all, it is delivered from the bridge. What only one of the two brought is
counted, and said aloud when it becomes much.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from hashlib import sha256

import trio
from swarmd.protocol.faults import RemoteFault

log = logging.getLogger(__name__)

DEFAULT_PREFER_P2P_S = 0.1
# A frame that one fabric brought and the other did not within this time was lost by the other.
SETTLE_S = 10.0
# Divergence is said when more than this share of the last frames came one way only.
WINDOW_FRAMES = 200
ALERT_SHARE = 0.05
_MAX_TRACKED = 20_000
_P2P, _BRIDGE = 1, 2


class HybridInbox:
    """Takes frames from both fabrics; `deliver` gets each once, if it came over the bridge first.

    Frames over P2P go their own way; `heard` only takes note of them.
    """

    def __init__(
        self,
        deliver: Callable[[bytes], None],
        p2p_peers: Callable[[], int],
        prefer_p2p_s: float = DEFAULT_PREFER_P2P_S,
        settle_s: float = SETTLE_S,
    ) -> None:
        self.counters = {
            "both": 0,
            "p2p_only": 0,
            "bridge_only": 0,
            "fallback": 0,
            "refused": 0,
        }
        self._deliver = deliver
        self._p2p_peers = p2p_peers
        self._prefer_p2p_s = prefer_p2p_s
        self._settle_s = settle_s
        self._ways: dict[bytes, int] = {}  # frame -> fabrics that brought it
        self._settling: deque[tuple[float, bytes]] = deque()
        self._held: deque[tuple[float, bytes, bytes]] = deque()
        self._recent: deque[int] = deque(maxlen=WINDOW_FRAMES)
        self._diverging = False
        self._wake = trio.Event()

    def heard(self, frame: bytes) -> None:
        """P2P brought `frame`."""
        self._note(frame, _P2P)

    def offer(self, frame: bytes) -> None:
        """The bridge brought `frame`."""
        key, known = self._note(frame, _BRIDGE)
        if known:
            return
        if not self._p2p_peers():
            self._fall_back(frame)
        else:
            self._held.append((trio.current_time() + self._prefer_p2p_s, key, frame))
            self._wake.set()

    def _note(self, frame: bytes, way: int) -> tuple[bytes, int]:
        key = sha256(frame).digest()[:16]
        known = self._ways.get(key, 0)
        if not known:
            if len(self._ways) >= _MAX_TRACKED:
                self._settle_oldest()
            self._settling.append((trio.current_time() + self._settle_s, key))
        self._ways[key] = known | way
        return key, known

    async def run(self) -> None:
        """Deliver what P2P did not bring in time; count what came one way only. Until cancelled."""
        while True:
            now_s = trio.current_time()
            while self._held and self._held[0][0] <= now_s:
                _, key, frame = self._held.popleft()
                if not self._ways.get(key, 0) & _P2P:
                    self._fall_back(frame)
            while self._settling and self._settling[0][0] <= now_s:
                self._settle_oldest()
            due_s = [queue[0][0] for queue in (self._held, self._settling) if queue]
            with trio.move_on_at(min(due_s, default=now_s + self._settle_s)):
                await self._wake.wait()
            self._wake = trio.Event()

    def _fall_back(self, frame: bytes) -> None:
        self.counters["fallback"] += 1
        try:
            self._deliver(frame)
        except RemoteFault as fault:
            # There is no peer to charge: whoever may publish on the bridge may have sent it.
            self.counters["refused"] += 1
            log.debug("a frame from the bridge was refused: %s", fault)

    def _settle_oldest(self) -> None:
        _, key = self._settling.popleft()
        ways = self._ways.pop(key)
        self.counters[{_P2P: "p2p_only", _BRIDGE: "bridge_only", _P2P | _BRIDGE: "both"}[ways]] += 1
        self._recent.append(ways)
        if len(self._recent) < WINDOW_FRAMES:
            return
        share = sum(way != _P2P | _BRIDGE for way in self._recent) / WINDOW_FRAMES
        if share > ALERT_SHARE and not self._diverging:
            log.warning(
                "P2P and the bridge diverge: of %d frames %.0f %% came one way only",
                WINDOW_FRAMES,
                100 * share,
            )
        self._diverging = share > ALERT_SHARE

    @property
    def diverging(self) -> bool:
        return self._diverging

    def status(self) -> Mapping[str, int | bool]:
        return {**self.counters, "diverging": self._diverging}
