"""`swarmd up`: logging, the ready line, and the daemon to its end."""

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swarmd.node.daemon import Daemon
from swarmd.node.log_file import log_handler
from swarmd.node.sd_notify import tell_service_manager
from swarmd.node.serving import serve
from swarmd.node.settings import Settings
from swarmd.node.telemetry.logs import JsonFormatter, TextFormatter
from swarmd.node.version import version

log = logging.getLogger(__name__)


def set_up_logging(level: str, style: str, file: Path | None = None) -> None:
    """To stderr or a file, as text or one JSON object a line. Libraries speak from warnings up."""
    handler = logging.StreamHandler(sys.stderr) if file is None else log_handler(file)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("swarmd").setLevel(level.upper())


def ready_line(daemon: Daemon) -> dict[str, Any]:
    return {
        "event": "ready",
        "did": daemon.identity.did,
        "peer_id": daemon.transport.peer_id,
        "addrs": list(daemon.transport.addrs),
        "mesh": {"id": daemon.genesis.mesh_name, "name": daemon.genesis.name},
        "api": daemon.http.status()["url"],
        "at_ns": time.time_ns(),
    }


def run(settings: Settings, announce: Callable[[dict[str, Any]], None]) -> None:
    """Serve until stopped; `announce` gets the ready line once. LocalFault and CorruptState as in `serve`."""

    def on_ready(daemon: Daemon) -> None:
        ready = ready_line(daemon)
        announce(ready)
        log.info("swarmd %s is up: %s, at %s", version(), ready["did"], ", ".join(ready["addrs"]))
        tell_service_manager("READY=1")

    serve(settings, on_ready)
    log.info("stopped")
