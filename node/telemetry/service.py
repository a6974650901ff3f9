"""Telemetry of one daemon: its tracer and its exporter, if a collector is configured; nothing at all if not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio
from swarmd.node.runner import Runner
from swarmd.node.telemetry.metrics import Sample
from swarmd.node.telemetry.tracing import Tracer
from swarmd.node.version import version

if TYPE_CHECKING:
    from swarmd.node.telemetry.export import Exporter

FLUSH_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """`otlp_endpoint`: base URL of a collector, "" for none. `sample_ratio`: of the needs that nobody else decides."""

    otlp_endpoint: str = ""
    sample_ratio: float = 1.0
    metrics_interval_s: float = 15.0


class Telemetry:
    def __init__(self, settings: TelemetrySettings, runner: Runner) -> None:
        self._settings = settings
        self._runner = runner
        self.started_ns = runner.now_ns()
        self.read: Callable[[], Sequence[Sample]] = tuple
        self.exporter: Exporter | None = None
        self.tracer: Tracer | None = None
        if not settings.otlp_endpoint:
            return
        # Late: OpenTelemetry and requests take a quarter of a second, which nobody pays who has it off.
        from swarmd.node.telemetry import export

        genesis = runner.genesis
        resource = {
            "service.name": "swarmd",
            "service.version": version(),
            "service.instance.id": runner.me,
            "swarmd.mesh": genesis.mesh_name,
        }
        self.exporter = export.Exporter(settings.otlp_endpoint, resource, version())
        self.tracer = Tracer(runner.me, settings.sample_ratio, self.exporter, runner.now_ns)
        runner.trace(self.tracer)

    async def run(self) -> None:
        """Serve until cancelled, then give the collector two seconds for what is left."""
        if self.exporter is None:
            return
        self.exporter.start()
        try:
            while True:
                self.exporter.put_metrics(self.started_ns, self._runner.now_ns(), self.read())
                await trio.sleep(self._settings.metrics_interval_s)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self.exporter.stop, FLUSH_S)

    def span_counts(self) -> dict[str, int]:
        """What became of the spans: exported, dropped, refused, and whole traces over_limit."""
        counts = self.exporter.counts if self.exporter is not None else {}
        return {
            **{name: counts.get(f"spans_{name}", 0) for name in ("exported", "dropped", "refused")},
            "over_limit": self.tracer.over_limit if self.tracer is not None else 0,
        }
