"""What one need counts for, and the sums of many: added and taken away again, so that they can be kept level.

Names that strangers choose, capabilities and agents, are bounded in the sums: the least active go into `other`.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeVar

from swarmd.node.telemetry.histogram import Histogram
from swarmd.protocol.limits import S_NS
from swarmd.protocol.state import State
from swarmd.protocol.work import challenging
from swarmd.protocol.work.need import Need
from swarmd.protocol.work.need_states import ENDS

K = TypeVar("K")

HOUR_S: Final = 3_600
MAX_HOURS: Final = 31 * 24
MAX_AGENTS: Final = 4_096
MAX_CAPABILITIES: Final = 512
OTHER: Final = "other"
# Latencies by their name: NEED to DECIDE, DECIDE to the last FINALIZE, and both together.
LATENCIES: Final = ("decide_ms", "execute_ms", "finalize_ms")


@dataclass(frozen=True, slots=True)
class TaskTally:
    """Of one capability and one worker (did:key): tasks accepted and failed; `paid` in minor units."""

    capability: str
    worker: str
    accepted: int
    failed: int
    paid: int


@dataclass(frozen=True, slots=True)
class Tally:
    """What one need counts for now. Amounts in USDC minor units, `hour` since 1970, latencies None until they are."""

    state: str
    owner: str
    hour: int
    budget: int
    paid: int
    tasks: tuple[TaskTally, ...] = ()
    decide_ms: float | None = None
    execute_ms: float | None = None
    finalize_ms: float | None = None
    challenges: int = 0
    upheld: int = 0

    @property
    def ended(self) -> bool:
        return self.state in ENDS

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def tally_from_json(text: str) -> Tally:
    fields = json.loads(text)
    return Tally(**{**fields, "tasks": tuple(TaskTally(**each) for each in fields["tasks"])})


def tally_of(state: State, need: Need) -> Tally:
    """Of a need in memory. What its owner and worker claim of time is what it says: their signed clocks."""
    decided = need.decided
    final_ns = max((final.ts_ns for final in need.finals.values()), default=0) if need.complete() else 0
    escrow = state.ledger.escrows.get(need.id)
    return Tally(
        state=need.state(),
        owner=need.owner,
        hour=need.ts_ns // (HOUR_S * S_NS),
        budget=need.budget,
        paid=sum(amount for _, amount in escrow.paid.values()) if escrow is not None else 0,
        tasks=tuple(_tasks(need)),
        decide_ms=_ms(decided.ts_ns - need.ts_ns) if decided else None,
        execute_ms=_ms(final_ns - decided.ts_ns) if decided and final_ns else None,
        finalize_ms=_ms(final_ns - need.ts_ns) if final_ns else None,
        challenges=len(need.challenges),
        upheld=sum(challenging.outcome(need, each) == "upheld" for each in need.challenges.values()),
    )


def _ms(span_ns: int) -> float:
    return max(0.0, span_ns / 1e6)


def _tasks(need: Need) -> Iterable[TaskTally]:
    found: dict[tuple[str, str], list[int]] = {}
    for name, run in need.runs.items():
        spec = need.spec(name)
        if run.final is not None and spec is not None:
            entry = found.setdefault((spec.capability, run.final.worker), [0, 0, 0])
            entry[0] += 1
            entry[2] += run.final.price
    for ending in need.endings.values():
        proposal, spec = need.proposals.get(ending.proposal), need.spec(ending.task)
        candidates = proposal.plan.get(ending.task, ()) if proposal is not None else ()
        if spec is not None and ending.attempt < len(candidates):
            found.setdefault((spec.capability, candidates[ending.attempt][0]), [0, 0, 0])[1] += 1
    for (capability, worker), (accepted, failed, paid) in found.items():
        yield TaskTally(capability, worker, accepted, failed, paid)


def _counters() -> dict[str, Counter[str]]:
    return {}


@dataclass(slots=True)
class Totals:
    """Sums over tallies. Counters by name: all needs together, by hour, by capability, by agent (did:key)."""

    counts: Counter[str] = field(default_factory=Counter)
    hours: dict[int, Counter[str]] = field(default_factory=dict)
    capabilities: dict[str, Counter[str]] = field(default_factory=_counters)
    agents: dict[str, Counter[str]] = field(default_factory=_counters)
    latencies: dict[str, Histogram] = field(default_factory=lambda: {name: Histogram() for name in LATENCIES})

    def add(self, tally: Tally, times: int = 1) -> None:
        """`times` -1 takes away what was added."""
        counts = {
            "needs": 1,
            tally.state.lower() if tally.ended else "open": 1,
            "budget": tally.budget,
            "paid": tally.paid,
            "returned": tally.budget - tally.paid if tally.ended else 0,
            "challenges": tally.challenges,
            "challenges_upheld": tally.upheld,
            "accepted": sum(each.accepted for each in tally.tasks),
            "failed": sum(each.failed for each in tally.tasks),
        }
        _sum(self.counts, counts, times)
        hour = {"needs": 1, "paid": tally.paid, "finalized": int(tally.state == "FINALIZED")}
        hour["ended"] = int(tally.ended)
        _bump(self.hours, tally.hour, hour, times)
        if tally.owner:  # a checkpoint alone does not tell it
            _bump(self.agents, tally.owner, {"posted": 1, "spent": tally.paid}, times)
        for each in tally.tasks:
            done = {"accepted": each.accepted, "failed": each.failed, "paid": each.paid}
            _bump(self.capabilities, each.capability, done, times)
            earned = {"accepted": each.accepted, "failed": each.failed, "earned": each.paid}
            _bump(self.agents, each.worker, earned, times)
        for name, latency in self.latencies.items():
            value_ms = getattr(tally, name)
            if value_ms is not None:
                latency.add(value_ms, times)

    def merged(self, other: "Totals") -> "Totals":
        """The sums of both."""
        found = Totals()
        for each in (self, other):
            _sum(found.counts, each.counts, 1)
            for hour, counts in each.hours.items():
                _bump(found.hours, hour, counts, 1)
            for name, counts in each.capabilities.items():
                _bump(found.capabilities, name, counts, 1)
            for did, counts in each.agents.items():
                _bump(found.agents, did, counts, 1)
            for name, latency in each.latencies.items():
                found.latencies[name].buckets.update(latency.buckets)
        return found

    def bound(self) -> None:
        """Keep to the bounds. Only of sums that nothing is taken away from any more."""
        for hour in sorted(self.hours)[:-MAX_HOURS]:
            del self.hours[hour]
        _fold(self.capabilities, MAX_CAPABILITIES)
        _fold(self.agents, MAX_AGENTS)

    def to_json(self) -> str:
        return json.dumps(
            {
                "counts": self.counts,
                "hours": list(self.hours.items()),
                "capabilities": self.capabilities,
                "agents": self.agents,
                "latencies": {name: list(each.buckets.items()) for name, each in self.latencies.items()},
            }
        )


def totals_from_json(text: str) -> Totals:
    fields: dict[str, Any] = json.loads(text)
    return Totals(
        counts=Counter(fields["counts"]),
        hours={hour: Counter(counts) for hour, counts in fields["hours"]},
        capabilities={name: Counter(counts) for name, counts in fields["capabilities"].items()},
        agents={did: Counter(counts) for did, counts in fields["agents"].items()},
        latencies={name: Histogram(dict(fields["latencies"][name])) for name in LATENCIES},
    )


def _sum(into: Counter[str], counts: Mapping[str, int], times: int) -> None:
    for name, number in counts.items():
        if number:
            into[name] += number * times
            if not into[name]:
                del into[name]


def _bump(table: dict[K, Counter[str]], key: K, counts: Mapping[str, int], times: int) -> None:
    entry = table.setdefault(key, Counter())
    _sum(entry, counts, times)
    if not entry:
        del table[key]


def _fold(table: dict[str, Counter[str]], most: int) -> None:
    """Over the bound, the quarter that did least goes into `other`."""
    if len(table) <= most:
        return
    rest = table.pop(OTHER, Counter())
    activity = ("accepted", "failed", "posted")
    ordered = sorted(table, key=lambda name: (sum(table[name][each] for each in activity), name))
    for name in ordered[: len(table) - most * 3 // 4]:
        rest.update(table.pop(name))
    table[OTHER] = rest
