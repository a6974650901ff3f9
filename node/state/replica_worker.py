"""The replica's process: a line on stdin says that the journal has grown, lines on stdout say how far it is.

    python -m swarmd.node.state.replica_worker JOURNAL STORE MEMORY_BYTES

On its own because Automerge holds the GIL, gives no memory back, and may end its process. Ends when stdin does.
"""

import json
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

from swarmd.node.process_usage import own_rss_bytes
from swarmd.node.state import REPLICA_DIVERGED
from swarmd.node.state.replica import Replica
from swarmd.protocol.faults import CorruptState


def tell(replica: Replica, *, done: bool) -> None:
    said = {
        "done": done,
        "held": replica.held() if done else None,
        "documents": len(replica.open),
        "changes": sum(copy.document.changes for copy in replica.open.values()),
        "rebuilt": replica.rebuilt,
        "rss_bytes": own_rss_bytes(),
    }
    print(json.dumps(said), flush=True)


def main(journal: str, store: str, memory_bytes: str) -> int:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a terminal's Ctrl-C: the daemon closes our stdin when it goes
    with suppress(OSError, ValueError):  # macOS knows no such limit
        resource.setrlimit(resource.RLIMIT_AS, (int(memory_bytes), int(memory_bytes)))
    os.nice(10)
    try:
        replica = Replica(Path(journal), Path(store))
        while os.read(0, 65_536):
            replica.follow(lambda: tell(replica, done=False))
            replica.close_idle()
            tell(replica, done=True)
        replica.close()
        return 0
    except CorruptState as fault:
        print(json.dumps({"error": str(fault)}), flush=True)
        return REPLICA_DIVERGED
    except MemoryError:
        print(json.dumps({"error": f"it needs more than {int(memory_bytes) >> 20} MiB"}), flush=True)
        return 1


if __name__ == "__main__":
    try:
        code = main(*sys.argv[1:])
    except BrokenPipeError:
        code = 0  # the daemon is gone
    # Not sys.exit: what is left of Automerge's memory need not be taken apart.
    sys.stderr.flush()
    os._exit(code)
