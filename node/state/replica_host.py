"""The daemon's side of the replica: starts its process, tells it of new batches, watches it."""

import json
import logging
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import trio
from swarmd.node.own_python import own_python
from swarmd.node.state import REPLICA_DIVERGED

log = logging.getLogger("swarmd.replica")

STORE_FILE = "replica.db"
MEMORY_BYTES = 2 << 30
# Between two looks at the journal: a batch a look would cost more than what is looked for.
PAUSE_S = 0.25
WATCHDOG_S = 60.0
RETRY_FIRST_S = 1.0
RETRY_LONGEST_S = 60.0
END_S = 2.0
# Without news it is asked all the same, so that it closes what is idle and its figures are fresh.
LOOK_S = 30.0
MAX_LINE_BYTES = 65_536


class Gone(Exception):
    """The process ended, or was ended."""


class ReplicaHost:
    """`poke` after a commit; it costs the runner nothing more than that, and nothing waits for the replica."""

    def __init__(
        self,
        home: Path,
        total: Callable[[], int],
        *,
        memory_bytes: int = MEMORY_BYTES,
        watchdog_s: float = WATCHDOG_S,
        command: list[str] | None = None,
    ) -> None:
        """`total()`: how many batches are on record."""
        self._argv = [
            *(command or own_python("swarmd.node.state.replica_worker")),
            *(str(home / "journal.db"), str(home / STORE_FILE), str(memory_bytes)),
        ]
        self._total = total
        self._watchdog_s = watchdog_s
        self._news = trio.Event()
        self._process: trio.Process | None = None
        self._buffer = b""
        self._said: dict[str, Any] = {}
        self.state = "off"
        self.error = ""
        self.starts = 0

    def poke(self) -> None:
        self._news.set()

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def status(self) -> Mapping[str, Any]:
        """`state`: off, starting, following, failed (for good: `error` says why). `behind`: batches."""
        if self.state == "off":
            return {"state": "off"}
        return {
            "state": self.state,
            "error": self.error,
            "behind": max(0, self._total() - (self._said.get("held") or 0)),
            "documents": self._said.get("documents", 0),
            "changes": self._said.get("changes", 0),
            "rebuilt": self._said.get("rebuilt", 0),
            "rss_bytes": self._said.get("rss_bytes", 0),
            "starts": self.starts,
        }

    async def run(self) -> None:
        """Until cancelled. The replica is no reason for the daemon to end: its troubles are in `status`."""
        delay_s = RETRY_FIRST_S
        while True:
            self.state = "starting"
            try:
                await self._live()
            except (Gone, OSError) as gone:
                self.error = str(gone)
                log.warning("the replica's process: %s; the journal is untouched", self.error)
            if self.state == "following":
                delay_s = RETRY_FIRST_S
            if self._process is not None and self._process.returncode == REPLICA_DIVERGED:
                self.state = "failed"
                await trio.sleep_forever()
            await trio.sleep(delay_s)
            delay_s = min(2 * delay_s, RETRY_LONGEST_S)

    async def _live(self) -> None:
        self._buffer, self._news = b"", trio.Event()
        self._news.set()  # what it missed
        self.starts += 1
        process = await trio.lowlevel.open_process(
            self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._process = process
        try:
            while True:
                with trio.move_on_after(LOOK_S):
                    await self._news.wait()
                self._news = trio.Event()
                await self._ask(process)
                self.state, self.error = "following", ""
                await trio.sleep(PAUSE_S)
        finally:
            await self._end(process)

    async def _ask(self, process: trio.Process) -> None:
        """One look at the journal. Gone if it ended, or was silent for too long."""
        assert process.stdin is not None
        try:
            await process.stdin.send_all(b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # its last words, if any, are still to be read
        while True:
            with trio.move_on_after(self._watchdog_s) as watchdog:
                said = await self._line(process)
            if watchdog.cancelled_caught:
                process.kill()
                raise Gone(f"silent for {self._watchdog_s:g} s, killed")
            if "error" in said:
                self.error = str(said["error"])
                await process.wait()
                raise Gone(self.error)
            # What it says in between has no count: that is the journal's to make.
            self._said |= {name: value for name, value in said.items() if value is not None}
            if said.get("done"):
                return

    async def _line(self, process: trio.Process) -> dict[str, Any]:
        assert process.stdout is not None
        while b"\n" not in self._buffer:
            data = await process.stdout.receive_some(4_096)
            if not data or len(self._buffer) > MAX_LINE_BYTES:
                raise Gone(f"ended with {await process.wait()}")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        try:
            found: dict[str, Any] = json.loads(line)
        except ValueError:
            process.kill()
            raise Gone("said what makes no sense, killed") from None
        return found

    async def _end(self, process: trio.Process) -> None:
        """Let it save, but not for ever."""
        with trio.CancelScope(shield=True):
            assert process.stdin is not None and process.stdout is not None
            await process.stdin.aclose()
            with trio.move_on_after(END_S):
                # Read on: it must not wait for room in the pipe.
                while await process.stdout.receive_some(65_536):
                    pass
                await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()
            await process.stdout.aclose()
