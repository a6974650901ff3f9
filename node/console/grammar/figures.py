"""What a node counts: analytics, metrics."""

from swarmd.node.console.grammar.values import positive, seconds
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
    analytics.add_argument("--watch", action="store_true", help="again and again, until Ctrl-C")
    analytics.add_argument("--interval", type=seconds, metavar="S", default=2.0, help="so often (default: 2)")
    commands.add(
        "metrics",
        "figures:run_metrics",
        "print the metrics of the daemon in Prometheus's text format",
        "swarmd metrics | promtool check metrics",
        "With --json, as a document. The daemon serves the same at /metrics of its HTTP API; docs/telemetry.md.",
    )
