"""What this node posted lately, and what its operator lets it spend: local facts, which no other node could check.

The limits of the configuration hold whatever the policy says; the policy's own (`spending`) are told the same figures.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from swarmd.protocol import kinds
from swarmd.protocol.amounts import format_usdc, parse_usdc
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.limits import S_NS

HOUR_NS = 3_600 * S_NS
DAY_NS = 24 * HOUR_NS
ANYBODY = "*"  # the limit of each agent that has none of its own


@dataclass(frozen=True, slots=True)
class SpendingLimits:
    """In USDC minor units; None: no limit. `per_agent` and `per_capability` are of 24 hours, as `per_day`."""

    per_need: int | None = None
    per_day: int | None = None
    per_agent: Mapping[str, int] = field(default_factory=dict)
    per_capability: Mapping[str, int] = field(default_factory=dict)

    def of_agent(self, agent: str) -> int | None:
        return self.per_agent.get(agent, self.per_agent.get(ANYBODY))


def parse_limit(text: str) -> int | None:
    """USDC as text; "" is no limit. LocalFault `bad-amount`."""
    return parse_usdc(text) if text else None


def parse_limits(entries: Iterable[str]) -> dict[str, int]:
    """Of "name=USDC" each. LocalFault `bad-amount`, `bad-config`."""
    found: dict[str, int] = {}
    for entry in entries:
        name, equals, amount = entry.partition("=")
        if not equals or not name or name in found:
            raise LocalFault("bad-config", f"{entry!r} is no limit of its own", fix='such as "planner=5.00"')
        found[name] = parse_usdc(amount)
    return found


@dataclass(slots=True)
class _Posted:
    """Needs of one agent that were posted one after the other within a second: a busy owner has a million a day."""

    ts_ns: int  # of the last
    count: int
    budget: int
    agent: str
    asked: dict[str, int]  # capability -> the most its tasks may cost

    def takes(self, other: "_Posted") -> bool:
        if self.agent != other.agent or self.ts_ns // S_NS != other.ts_ns // S_NS:
            return False
        self.ts_ns = max(self.ts_ns, other.ts_ns)
        self.count += other.count
        self.budget += other.budget
        for name, asked in other.asked.items():
            self.asked[name] = self.asked.get(name, 0) + asked
        return True


def _posted(envelope: Envelope) -> _Posted:
    payload = envelope.payload
    asked: dict[str, int] = {}
    for task in payload["tasks"]:
        asked[task["capability"]] = asked.get(task["capability"], 0) + task["max_price"]
    return _Posted(envelope.ts_ns, 1, payload["budget"], payload.get("agent", ""), asked)


class Spending:
    """Needs of `me` in the order they were posted. By their own time, so that a restart counts the same."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._needs: deque[_Posted] = deque()  # a day's at most
        self._recent: deque[_Posted] = deque()  # of these, an hour's at most
        self._in_hour = 0
        self._spent = 0
        self._by_agent: Counter[str] = Counter()
        self._by_capability: Counter[str] = Counter()

    def add(self, envelope: Envelope) -> None:
        if envelope.kind == kinds.NEED and envelope.sender == self._me:
            self._add(_posted(envelope))
            self._forget(envelope.ts_ns)

    def _add(self, posted: _Posted) -> None:
        self._count(posted, 1)
        self._in_hour += posted.count
        if not (self._recent and self._recent[-1].takes(posted)):
            self._needs.append(posted)
            self._recent.append(posted)

    def dump(self, counted: Iterable[bytes]) -> bytes:
        """For `load`. `counted`: ids of needs that are in here, and that whoever loads it knows besides."""
        rows = [[each.ts_ns, each.count, each.budget, each.agent, each.asked] for each in self._needs]
        return encode([rows, list(counted)])

    def load(self, dumped: bytes) -> frozenset[bytes]:
        """Begin with what `dump` said; returns what it had counted."""
        rows, counted = decode(dumped)
        for ts_ns, count, budget, agent, asked in rows:
            self._add(_Posted(ts_ns, count, budget, agent, asked))
        return frozenset(counted)

    def facts(self, now_ns: int) -> dict[str, int]:
        """spent_24h: budgets locked in the last day, in USDC minor units; needs_1h: needs of the last hour."""
        self._forget(now_ns)
        return {"spent_24h": self._spent, "needs_1h": self._in_hour}

    def refusal(self, envelope: Envelope, limits: SpendingLimits) -> str:
        """Why a need of ours is over a limit, "" if it is not. A budget counts whole, for all of it may be spent."""
        self._forget(envelope.ts_ns)
        need = _posted(envelope)
        who = f"the agent {need.agent}" if need.agent else "needs of no agent"
        lines = [
            ("a need", limits.per_need, 0, need.budget),
            ("a day", limits.per_day, self._spent, need.budget),
            (
                f"a day for {who}",
                limits.of_agent(need.agent),
                self._by_agent[need.agent],
                need.budget,
            ),
            *(
                (f"a day for {name}", limits.per_capability.get(name), self._by_capability[name], asked)
                for name, asked in sorted(need.asked.items())
            ),
        ]
        for what, limit, spent, more in lines:
            if limit is not None and spent + more > limit:
                used = f", {format_usdc(spent)} of it are used" if spent else ""
                return f"{format_usdc(more)} USDC asked for; {format_usdc(limit)} are allowed {what}{used}"
        return ""

    def report(self, now_ns: int, limits: SpendingLimits) -> dict[str, Any]:
        """Spent in the last day beside its limit, each as (spent, limit or None)."""
        self._forget(now_ns)
        agents = {*(name for name, n in self._by_agent.items() if n), *limits.per_agent} - {ANYBODY}
        names = {*(name for name, n in self._by_capability.items() if n), *limits.per_capability}
        return {
            "per_need": (None, limits.per_need),
            "day": (self._spent, limits.per_day),
            "agents": {name: (self._by_agent[name], limits.of_agent(name)) for name in sorted(agents)},
            "capabilities": {
                name: (self._by_capability[name], limits.per_capability.get(name)) for name in sorted(names)
            },
        }

    def _count(self, posted: _Posted, sign: int) -> None:
        self._spent += sign * posted.budget
        self._by_agent[posted.agent] += sign * posted.budget
        for name, asked in posted.asked.items():
            self._by_capability[name] += sign * asked

    def _forget(self, now_ns: int) -> None:
        while self._needs and self._needs[0].ts_ns <= now_ns - DAY_NS:
            self._count(self._needs.popleft(), -1)
        while self._recent and self._recent[0].ts_ns <= now_ns - HOUR_NS:
            self._in_hour -= self._recent.popleft().count
