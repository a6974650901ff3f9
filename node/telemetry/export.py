"""Spans and metrics to an OTLP collector, from a thread of their own.

The daemon's loop only appends to a bounded queue. What the queue does not hold, and what the collector does not take,
is lost and counted: a collector that is slow, wrong or gone costs nothing but what it would have been told.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from swarmd.node.telemetry.metrics import Family, HistogramValue, Sample
from swarmd.node.telemetry.tracing import Span

log = logging.getLogger("swarmd.telemetry")

MAX_QUEUED_SPANS: Final = 16_384
MAX_SPANS_PER_REQUEST: Final = 512
DELAY_S: Final = 1.0
TIMEOUT_S: Final = 5.0
_LOOPBACK: Final = frozenset(("127.0.0.1", "localhost", "::1"))
_KINDS: Final = {"internal": SpanKind.INTERNAL, "producer": SpanKind.PRODUCER, "consumer": SpanKind.CONSUMER}
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


class Exporter:
    """`counts`: spans exported, dropped (no room here) and refused (by the collector); metric exports likewise."""

    def __init__(
        self, endpoint: str, resource: Mapping[str, str], version: str, delay_s: float = DELAY_S
    ) -> None:
        """`endpoint`: the collector's base URL. Headers and certificates: the OTEL_EXPORTER_OTLP_* variables."""
        base = endpoint.rstrip("/")
        self._resource = Resource(dict(resource))
        self._scope = InstrumentationScope("swarmd", version)
        self._spans = OTLPSpanExporter(f"{base}/v1/traces", timeout=TIMEOUT_S, session=_session(base))
        self._metrics = OTLPMetricExporter(f"{base}/v1/metrics", timeout=TIMEOUT_S, session=_session(base))
        self._delay_s = delay_s
        self._queue: deque[Span] = deque()
        self._reading: tuple[int, int, Sequence[Sample]] | None = None
        self._wake = threading.Event()
        self._stopping = False
        self.counts: Counter[str] = Counter()
        # A daemon thread: a collector that holds us up does not hold up the end of the process.
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    # From the loop -------------------------------------------------------------------------------------

    def start(self) -> None:
        # What the exporters say of a collector that is away, the counts say better and once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._thread.start()

    def put(self, spans: list[Span]) -> None:
        room = MAX_QUEUED_SPANS - len(self._queue)
        if len(spans) > room:
            self.counts["spans_dropped"] += len(spans) - max(0, room)
            spans = spans[: max(0, room)]
        self._queue.extend(spans)
        if len(self._queue) >= MAX_SPANS_PER_REQUEST:
            self._wake.set()

    def put_metrics(self, started_ns: int, at_ns: int, samples: Sequence[Sample]) -> None:
        """The newest reading takes the place of one that has not left yet."""
        self._reading = (started_ns, at_ns, samples)

    @property
    def queued(self) -> int:
        return len(self._queue)

    def stop(self, timeout_s: float) -> None:
        """Send what is left, for at most so long. Blocks: for a thread of the caller's."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._spans.shutdown()  # type: ignore[no-untyped-call]
            self._metrics.shutdown()

    # In the thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._wake.wait(self._delay_s)
            self._wake.clear()
            last = self._stopping
            while self._queue:
                self._send_spans()
            self._send_metrics()
            if last:
                return

    def _send_spans(self) -> None:
        spans = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_SPANS_PER_REQUEST))]
        try:
            taken = self._spans.export([self._readable(span) for span in spans]) is SpanExportResult.SUCCESS
        except Exception:
            # The thread's boundary: whatever the exporter makes of an endpoint or a proxy costs these spans only.
            log.debug("spans not exported", exc_info=True)
            taken = False
        self._tell("spans", taken, len(spans))

    def _send_metrics(self) -> None:
        reading, self._reading = self._reading, None
        if reading is None:
            return
        try:
            taken = self._metrics.export(self._data(*reading)) is MetricExportResult.SUCCESS
        except Exception:
            # As above.
            log.debug("metrics not exported", exc_info=True)
            taken = False
        self._tell("metrics", taken, 1)

    def _tell(self, what: str, taken: bool, count: int) -> None:
        if not taken and not self.counts[f"{what}_refused"]:
            log.warning("the collector takes no %s; they are dropped and counted until it does", what)
        self.counts[f"{what}_{'exported' if taken else 'refused'}"] += count

    def _readable(self, span: Span) -> ReadableSpan:
        context = SpanContext(span.trace_id, span.span_id, is_remote=False, trace_flags=_SAMPLED)
        parent = None
        if span.parent_id:
            parent = SpanContext(
                span.trace_id, span.parent_id, is_remote=span.kind == "consumer", trace_flags=_SAMPLED
            )
        return ReadableSpan(
            span.name,
            context,
            parent,
            self._resource,
            {**span.attributes, "error.type": span.error} if span.error else span.attributes,
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=self._scope,
        )

    def _data(self, started_ns: int, at_ns: int, samples: Sequence[Sample]) -> MetricsData:
        by_family: dict[str, list[Any]] = {}
        families: dict[str, Family] = {}
        for sample in samples:
            families[sample.family.name] = sample.family
            labels = dict(zip(sample.family.labels, sample.labels, strict=True))
            by_family.setdefault(sample.family.name, []).append(_point(sample, labels, started_ns, at_ns))
        metrics = [
            Metric(_otel_name(family), family.help, family.unit, _kind(family, by_family[name]))
            for name, family in families.items()
        ]
        scope = ScopeMetrics(self._scope, metrics, "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])


def _point(sample: Sample, labels: dict[str, str], started_ns: int, at_ns: int) -> Any:
    value = sample.value
    if isinstance(value, HistogramValue):
        return HistogramDataPoint(
            labels, started_ns, at_ns, value.count, value.sum, value.counts, value.bounds, 0.0, 0.0
        )
    return NumberDataPoint(labels, started_ns, at_ns, value)


def _kind(family: Family, points: list[Any]) -> Any:
    if family.kind == "counter":
        return Sum(points, AggregationTemporality.CUMULATIVE, True)
    if family.kind == "histogram":
        return Histogram(points, AggregationTemporality.CUMULATIVE)
    return Gauge(points)


def _otel_name(family: Family) -> str:
    """Collectors that make Prometheus names of OpenTelemetry's add `_total` and the unit themselves."""
    name = family.name.removesuffix("_total")
    return name.removesuffix("_" + family.unit_name) if family.unit_name else name


def _session(base: str) -> requests.Session:
    session = requests.Session()
    if urlsplit(base).hostname in _LOOPBACK:
        session.trust_env = False  # a proxy of the environment does not reach this host's collector
    return session
