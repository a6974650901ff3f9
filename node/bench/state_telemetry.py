"""What telemetry costs on the receive path: off, on with nothing sampled, on with everything, in one run.

Each the least of some rounds that alternate, so that what others use of the machine weighs on all alike. The spans go
to a collector that is a process of its own: what it costs is not measured, what sending costs is.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from swarmd.protocol.faults import LocalFault

SINK = "swarmd.node.bench.otlp_sink"
ROUNDS = 3
# Of a node: how many needs of others it traces in a second.
MODES = {"off": None, "unsampled": 0, "all": 1 << 62}


@contextmanager
def sink() -> Iterator[str]:
    """The URL of a collector that takes everything and keeps nothing."""
    with subprocess.Popen([sys.executable, "-m", SINK], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                raise LocalFault("bench-stuck", f"{SINK} did not start")
            yield url
        finally:
            process.terminate()


def compared(reports: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Microseconds of CPU an envelope, of the loop and of the whole process, and their ratios to `off`."""
    loop = {
        mode: min(each["receive_cpu_s"] / each["ops"] for each in found) for mode, found in reports.items()
    }
    whole = {
        mode: min(each["process_cpu_s"] / each["ops"] for each in found) for mode, found in reports.items()
    }
    figures: dict[str, Any] = {}
    for mode in MODES:
        figures[f"telemetry_{mode}_loop_us_per_op"] = round(1e6 * loop[mode], 1)
        figures[f"telemetry_{mode}_process_us_per_op"] = round(1e6 * whole[mode], 1)
    for mode in ("unsampled", "all"):
        figures[f"telemetry_{mode}_loop_ratio"] = round(loop[mode] / loop["off"], 3)
        figures[f"telemetry_{mode}_process_ratio"] = round(whole[mode] / whole["off"], 3)
    for name in ("exported", "dropped", "refused"):
        figures[f"telemetry_spans_{name}"] = sum(
            each["spans"].get(f"spans_{name}", 0) for each in reports["all"]
        )
    return figures
