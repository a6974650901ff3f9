"""Prometheus's text format of what `collect.py` reads."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as PrometheusMetric
from swarmd.node.telemetry.metrics import HistogramValue, Sample

_MADE: Final[dict[str, Any]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


class _Registered:
    """The samples of one moment, as prometheus_client asks for them."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[PrometheusMetric]:
        families: dict[str, Any] = {}
        for sample in self._samples:
            family = sample.family
            found = families.get(family.name)
            if found is None:
                made = _MADE[family.kind]
                found = families[family.name] = made(family.name, family.help, labels=list(family.labels))
            if isinstance(sample.value, HistogramValue):
                found.add_metric(list(sample.labels), *_cumulative(sample.value))
            else:
                found.add_metric(list(sample.labels), sample.value)
        yield from families.values()


def _cumulative(value: HistogramValue) -> tuple[list[tuple[str, float]], float]:
    total, buckets = 0, []
    for bound, count in zip((*map(str, value.bounds), "+Inf"), value.counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets, value.sum


CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def exposition(samples: Sequence[Sample]) -> bytes:
    """In Prometheus's text format, `CONTENT_TYPE`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Registered(samples))
    return generate_latest(registry)
