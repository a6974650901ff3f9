"""Every metric there is, in one table; what reads them is in `collect.py`, who gets them in `export.py` and the API.

Names, units and kinds are Prometheus's: https://prometheus.io/docs/practices/naming/. No label takes a value that
strangers choose without a bound: peers, needs and DIDs are in traces, logs and analytics.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

FAST_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SLOW_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
MAX_LABEL_VALUES: Final = 128
OTHER: Final = "other"
_UNITS: Final = {"seconds": "s", "bytes": "By"}


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: `unit_name` as its name has it, "" if it counts."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    unit_name: str = ""

    @property
    def unit(self) -> str:
        """As UCUM, and so OpenTelemetry, writes it."""
        return _UNITS.get(self.unit_name, "1")


@dataclass(frozen=True, slots=True)
class HistogramValue:
    """`counts`: of each bucket alone, one more than `bounds`."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float

    @property
    def count(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Sample:
    family: Family
    labels: tuple[str, ...]
    value: float | HistogramValue


class Timings:
    """A histogram of fixed buckets, in seconds, as Prometheus and OpenTelemetry have it."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self._bounds = bounds_s
        self._counts = [0] * (len(bounds_s) + 1)
        self._sum = 0.0

    def add(self, value_s: float, times: int = 1) -> None:
        value_s = max(0.0, value_s)
        self._counts[bisect_left(self._bounds, value_s)] += times
        self._sum += value_s * times

    def value(self) -> HistogramValue:
        return HistogramValue(self._bounds, tuple(self._counts), self._sum)


def _f(name: str, kind: Literal["counter", "gauge", "histogram"], help: str, *labels: str) -> Family:
    bare = name.removesuffix("_total")
    unit = next((unit for unit in _UNITS if bare.endswith("_" + unit)), "")
    return Family(f"swarmd_{name}", kind, help, labels, unit)


FAMILIES: Final[dict[str, Family]] = {
    family.name: family
    for family in (
        _f("build_info", "gauge", "Always 1; which version this is.", "version"),
        _f("uptime_seconds", "gauge", "How long the daemon has been up."),
        _f("epoch", "gauge", "The epoch that is on."),
        _f(
            "trouble",
            "gauge",
            "1 while the daemon is in trouble: disk (takes no writes), chain (not ready).",
            "kind",
        ),
        _f(
            "silent",
            "gauge",
            "1 while a node that was restored from a backup only listens.",
        ),
        # Mesh and gossip
        _f("peers", "gauge", "Peers connected, by who dialed.", "direction"),
        _f("peer_frames_total", "counter", "Gossip frames of connections, in and out.", "direction"),
        _f("peer_bytes_total", "counter", "Bytes of gossip frames of connections, in and out.", "direction"),
        _f(
            "peer_score_min",
            "gauge",
            "Score of the worst connected peer, 0 to 1; 1 without peers.",
        ),
        _f("envelopes_admitted_total", "counter", "Envelopes of others taken in."),
        _f("envelopes_authored_total", "counter", "Envelopes said by this node."),
        _f("flushes_total", "counter", "Signed flushes sent."),
        _f("flush_bytes_total", "counter", "Bytes of flushes sent."),
        _f("ingress_faults_total", "counter", "What of peers was refused, by code.", "code"),
        _f("ingress_duplicates_total", "counter", "Batches that were known already."),
        _f("ingress_dropped_frames_total", "counter", "Frames dropped because the runner was behind."),
        _f("envelopes_parked", "gauge", "Envelopes that wait for what they refer to."),
        _f(
            "gossip_latency_seconds",
            "histogram",
            "From the signed time of a batch's last envelope to our taking it; skew of clocks included.",
        ),
        _f("sync_rounds_total", "counter", "Rounds of sync."),
        _f("sync_repaired_batches_total", "counter", "Batches that sync brought."),
        # The runner
        _f("turns_total", "counter", "Turns of the runner that were committed."),
        _f("turn_duration_seconds", "histogram", "A turn of the runner, its fsync included."),
        _f("journal_bytes", "gauge", "The journal's file and its log."),
        _f("journal_inputs", "gauge", "Inputs on record since the last checkpoint."),
        _f("proofs", "gauge", "Proofs of misbehaviour on record."),
        _f("gate_verdicts_total", "counter", "Verdicts of the policy gates.", "gate", "verdict"),
        _f("gate_digests_total", "counter", "Authors' digests compared with ours.", "outcome"),
        # Work and money
        _f("needs", "gauge", "Needs in memory, by state.", "state"),
        _f("tasks", "gauge", "Tasks in memory, by state.", "state"),
        _f("needs_opened_total", "counter", "Needs that were ever seen here."),
        _f("needs_ended_total", "counter", "Needs that ended, by how.", "outcome"),
        _f("need_decide_seconds", "histogram", "From NEED to DECIDE, by the signed times."),
        _f("need_finalize_seconds", "histogram", "From NEED to its last FINALIZE, by the signed times."),
        _f(
            "escrow_usdc_total",
            "counter",
            "USDC of needs: promised, paid to agents, returned to owners.",
            "flow",
        ),
        _f(
            "capability_tasks_total",
            "counter",
            "Tasks that ended, by capability and how.",
            "capability",
            "outcome",
        ),
        _f("agents", "gauge", "Agents of this host."),
        _f("reputation_score", "gauge", "This node's reputation, 0 to 100; 50 of the unknown."),
        _f("balance_usdc", "gauge", "This node's account: available or locked.", "part"),
        # Chain
        _f("chain_head", "gauge", "The newest block that the node knows of."),
        _f("chain_requests", "gauge", "Requests to the chain on record, by state.", "state"),
        _f("chain_pending", "gauge", "Requests to the chain that are not final."),
        # Telemetry itself
        _f("analytics_lag_seconds", "gauge", "How far analytics is behind the journal; 0: level."),
        _f("telemetry_spans_total", "counter", "Spans, by what became of them.", "outcome"),
        _f("telemetry_spans_queued", "gauge", "Spans that wait for the collector."),
    )
}


def bounded(values: Iterable[tuple[str, float]], most: int = MAX_LABEL_VALUES) -> Iterator[tuple[str, float]]:
    """The largest of (label value, number), the rest of them as `other`."""
    ordered = sorted(values, key=lambda each: (-each[1], each[0]))
    yield from ordered[:most]
    if len(ordered) > most:
        yield OTHER, sum(number for _, number in ordered[most:])
