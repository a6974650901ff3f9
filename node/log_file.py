"""The daemon's log in a file, kept small: five files of 10 MiB at most."""

import logging
import logging.handlers
import os
from pathlib import Path

LOG_FILE = "swarmd.log"
MAX_BYTES = 10 << 20
KEPT = 4


class _LogFile(logging.handlers.RotatingFileHandler):
    """Python's; and a stderr that goes to the same file, as of a daemon in the background, goes on to the new one."""

    def doRollover(self) -> None:
        same = self.stream is not None and os.path.sameopenfile(self.stream.fileno(), 2)
        super().doRollover()
        if same and self.stream is not None:
            os.dup2(self.stream.fileno(), 2)


def log_handler(path: Path) -> logging.Handler:
    """What writes to `path` and rotates it. The file is its owner's alone (0600): addresses of peers are in it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    return _LogFile(path, maxBytes=MAX_BYTES, backupCount=KEPT, encoding="utf-8")
