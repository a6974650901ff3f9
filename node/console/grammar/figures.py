"""What a node counts: analytics, metrics."""

from swarmd.node.console.grammar.values import positive, watch_flag
from swarmd.node.console.parser import Commands


def add(commands: Commands) -> None:
    analytics = commands.add(
        "analytics",
        "figures:run_analytics",
        "say what came of the needs: success, volumes, latencies, who worked",
        "swarmd analytics --watch",
        "Counted by this node from its own journal, a second behind at most; docs/analytics.md.",
    )
    analytics.add_argument("--limit", type=positive, default=20, help="rows of the tables (default: 20)")
    analytics.add_argument(
        "--hours", type=positive, default=24, help="with --json: how far back the hours go (default: 24)"
    )
    watch_flag(analytics)
    commands.add(
        "metrics",
        "figures:run_metrics",
        "print the metrics of the daemon in Prometheus's text format",
        "swarmd metrics | promtool check metrics",
        "With --json, as a document. The daemon serves the same at /metrics of its HTTP API; docs/telemetry.md.",
    )
