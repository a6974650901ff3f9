"""Processes that end with the benchmark, whichever way it ends; their errors are in a log beside their data."""

import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swarmd.node.bench.peers.tree import started_ticks, tree
from swarmd.protocol.faults import LocalFault

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
_LOG_CHARS = 1_500


def _leash() -> list[str]:
    """Words before a command, so that the kernel ends it when this process is gone, `kill -9` included."""
    return ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []


class Child:
    """A process that was started with `command`; its stdout is ours to read, its stderr goes to `log`."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.log = log
        self._env = env
        with open(log, "ab") as errors:
            self._process = subprocess.Popen(
                [*_leash(), *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=env
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def line(self, timeout_s: float) -> str:
        """The next line of its stdout. LocalFault `bench-stuck` with the end of its log if none comes."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                raise self.fault(f"said nothing for {timeout_s:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise self.fault("ended")
        return line.decode()

    def ask(self, document: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send one line of JSON, read one."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(document).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self.fault("ended") from None
        answer: dict[str, Any] = json.loads(self.line(timeout_s))
        return answer

    def listens(self, port: int) -> None:
        """Until it takes connections. LocalFault `bench-stuck`."""
        end_s = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end_s:
                    raise self.fault("did not start") from None
                time.sleep(0.02)

    def fault(self, why: str) -> LocalFault:
        tail = self.log.read_text("utf-8", "replace")[-_LOG_CHARS:].strip()
        return LocalFault("bench-stuck", f"{self.log.stem} {why}{': ' if tail else ''}{tail}")

    def stop(self) -> None:
        """End it and all that it started: asked by the end of its stdin and SIGTERM, then killed."""
        begun = {pid: started_ticks(pid) for pid in tree([self.pid])}
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pass
        for pid in tree(begun):
            if begun.get(pid, started_ticks(pid)) != started_ticks(pid):
                continue  # the number is another's by now
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._process.wait()
        self._process.stdout.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
