"""What this node posted lately: the local facts of the preflight gate, which no other node could check."""

from collections import deque

from swarmd.protocol import kinds
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.limits import S_NS

HOUR_NS = 3_600 * S_NS
DAY_NS = 24 * HOUR_NS


class Spending:
    """Needs of `me` in the order they were posted. By their own time, so that a restart counts the same."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._needs: deque[tuple[int, int]] = deque()  # (ts_ns, budget), a day's at most
        self._recent: deque[int] = deque()  # ts_ns, an hour's at most
        self._spent = 0

    def add(self, envelope: Envelope) -> None:
        if envelope.kind == kinds.NEED and envelope.sender == self._me:
            budget = envelope.payload["budget"]
            self._needs.append((envelope.ts_ns, budget))
            self._recent.append(envelope.ts_ns)
            self._spent += budget
            self._forget(envelope.ts_ns)

    def facts(self, now_ns: int) -> dict[str, int]:
        """spent_24h: budgets locked in the last day, in USDC minor units; needs_1h: needs of the last hour."""
        self._forget(now_ns)
        return {"spent_24h": self._spent, "needs_1h": len(self._recent)}

    def _forget(self, now_ns: int) -> None:
        while self._needs and self._needs[0][0] <= now_ns - DAY_NS:
            self._spent -= self._needs.popleft()[1]
        while self._recent and self._recent[0] <= now_ns - HOUR_NS:
            self._recent.popleft()
