"""Daemons as processes that start quickly: the imports are done once here, each life is a forked process.

    python lives.py        reads lines "HOME [KEY=VALUE...]" and answers each with the pid of a new daemon
    python lives.py --replay HOME    prints the digest of the state that HOME's journal gives in this process

A daemon writes what happens to it into HOME/life.PID, a JSON object a line: {"restored": digest} when it has read
its journal, {"ready": addr} when it serves, {"end": code, "digest": digest} when it ends by itself.
"""

import gc
import json
import logging
import os
import sys
import threading
import traceback
from importlib import import_module
from pathlib import Path

from swarmd.node import serving
from swarmd.node.chain.service import _HEAVY_MODULES
from swarmd.node.daemon import Daemon
from swarmd.node.serving import serve
from swarmd.node.settings import Settings
from swarmd.protocol.digest import state_digest


def live(home: Path, settings: Settings) -> int:
    out = open(home / f"life.{os.getpid()}", "w", buffering=1)

    def tell(**what: object) -> None:
        print(json.dumps(what), file=out)

    class Watched(Daemon):
        def __init__(self, settings: Settings) -> None:
            super().__init__(settings)
            tell(restored=state_digest(self.runner.state).hex())

    serving.Daemon = Watched  # type: ignore[misc]
    found: list[Daemon] = []

    def ready(daemon: Daemon) -> None:
        found.append(daemon)
        tell(ready=daemon.transport.addrs[0])

    code = 1
    try:
        serve(settings, ready)
        code = 0
    except BaseException as error:
        tell(error=repr(error), trace=traceback.format_exc())
    tell(end=code, digest=state_digest(found[0].runner.state).hex() if found else "")
    return code


def fork_lives() -> None:
    for name in _HEAVY_MODULES:
        import_module(name)
    # A fork with threads would inherit their locks.
    assert threading.active_count() == 1
    gc.freeze()
    print(0, flush=True)
    for line in sys.stdin:
        home, *pairs = line.split()
        child = os.fork()
        if child:
            print(child, flush=True)
            # The daemon is killed by its pid: it must stay known until it was waited for.
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            print(status, flush=True)
            continue
        log = os.open(Path(home) / "daemon.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        logging.basicConfig(level=logging.INFO, format="%(process)d %(name)s %(levelname)s %(message)s")
        options = dict(pair.split("=", 1) for pair in pairs)
        settings = Settings(
            Path(home),
            peers=[options["peer"]] if "peer" in options else [],
            lease_ttl_s=int(options.get("lease_ttl_s", 60)),
            keep_epochs=int(options.get("keep_epochs", 10)),
            anchor_interval_s=float(options.get("anchor_interval_s", 0.1)),
            check_everything=True,
        )
        os._exit(live(Path(home), settings))


def replay(home: Path) -> str:
    daemon = Daemon(Settings(home, anchor_interval_s=0.1, check_everything=True))
    try:
        return state_digest(daemon.runner.state).hex()
    finally:
        daemon.release()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--replay"]:
        print(replay(Path(sys.argv[2])))
    else:
        fork_lives()
