"""Starting agents' processes: the daemon's side of `launcher_main`, which says why there is a launcher."""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
from swarmd.node.agents import launcher_main
from trio import TASK_STATUS_IGNORED, TaskStatus

log = logging.getLogger(__name__)

_RESTART_S = 0.5
_LAST_WORK_S = 5.0
_SWEEPS = 50
_SWEEP_PAUSE_S = 0.02
_RECV_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Limits:
    """What a process may use."""

    timeout_s: float = 60.0
    memory_mb: int = 512  # of address space, for each process; 0 for no limit
    output_limit_bytes: int = 8 * 1_048_576


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended, its whole group being gone. `error`: why it could not be started, or ""."""

    code: int  # the exit code, or minus the signal
    cpu_ms: int
    max_rss_kb: int
    error: str = ""


class Child:
    """A started process with its pipes. Close it: that kills whatever still runs."""

    def __init__(self, launcher: "Launcher", job: int, pipes: tuple[int, int, int]) -> None:
        self._launcher = launcher
        self._job = job
        self.stdin = trio.lowlevel.FdStream(pipes[0])
        self.stdout = trio.lowlevel.FdStream(pipes[1])
        self.stderr = trio.lowlevel.FdStream(pipes[2])
        self._done = trio.Event()
        self._exit: Exit | None = None

    async def wait(self) -> Exit:
        """Wait for the process to end."""
        await self._done.wait()
        assert self._exit is not None
        return self._exit

    def kill(self) -> None:
        """Ask for the end of the process and of all it started; `wait` says when. Never blocks."""
        if self._exit is None:
            self._launcher._kill(self._job)

    async def aclose(self) -> None:
        """Kill it if it runs, and close the pipes. Also in a cancelled task."""
        self.kill()
        with trio.CancelScope(shield=True):
            for stream in (self.stdin, self.stdout, self.stderr):
                await stream.aclose()

    def _ended(self, exit: Exit) -> None:
        if self._exit is None:
            self._exit = exit
            self._done.set()


class Launcher:
    """Keeps a launcher process running and starts agents through it."""

    def __init__(self) -> None:
        self._children: dict[int, Child] = {}
        self._next_job = 0
        self._control: trio.socket.SocketType | None = None
        self._outbox: list[tuple[bytes, tuple[int, ...]]] = []
        self._has_work = trio.Event()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; every process started here is gone soon after. Restarts a dead launcher."""
        started = False
        while True:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            with ours:
                token = os.urandom(8).hex()
                with theirs:
                    process = _start(theirs, token)
                try:
                    self._control = trio.socket.from_stdlib_socket(ours)
                    if not started:
                        task_status.started()
                        started = True
                    await self._serve(self._control)
                finally:
                    self._control = None
                    self._drop_everything()
                    # The end of the socket is its order to kill all and go.
                    ours.close()
                    with trio.CancelScope(shield=True):
                        await trio.to_thread.run_sync(_bury, process)
            log.error("the agents' launcher ended unexpectedly (%s); starting another", process.returncode)
            await trio.to_thread.run_sync(_kill_marked, token)
            await trio.sleep(_RESTART_S)

    def start(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, limits: Limits) -> Child:
        """Start a program; `argv[0]` is its path. Never blocks: a failed start shows in `Exit.error`.

        Raises OSError if there are no file descriptors left or no launcher runs.
        """
        if self._control is None:
            raise OSError("the agents' launcher is not running")
        self._next_job += 1
        job = self._next_job
        # One process may burn several cores until its time is over; this is for when nobody can kill it.
        cpu_s = int(limits.timeout_s + 1) * (os.cpu_count() or 1) + 1
        request = {
            "op": "run",
            "job": job,
            "argv": list(argv),
            "env": dict(env),
            "cwd": str(cwd),
            "memory_bytes": limits.memory_mb * 1_048_576,
            "cpu_s": cpu_s,
        }
        ours, theirs = _pipes()
        self._outbox.append((_line(request), theirs))
        self._has_work.set()
        child = self._children[job] = Child(self, job, ours)
        return child

    def _kill(self, job: int) -> None:
        if job in self._children:
            self._outbox.append((_line({"op": "kill", "job": job}), ()))
            self._has_work.set()

    async def _serve(self, control: trio.socket.SocketType) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, control)
            buffer = b""
            # OSError: a launcher that was killed resets the socket.
            with contextlib.suppress(OSError):
                while data := await control.recv(_RECV_BYTES):
                    *lines, buffer = (buffer + data).split(b"\n")
                    for line in lines:
                        self._on_report(json.loads(line))
            nursery.cancel_scope.cancel()

    async def _write(self, control: trio.socket.SocketType) -> None:
        while True:
            await self._has_work.wait()
            self._has_work = trio.Event()
            while self._outbox:
                line, fds = self._outbox.pop(0)
                try:
                    sent = 0
                    if fds:
                        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, b"".join(map(_int_bytes, fds)))
                        sent = await control.sendmsg([line], [rights])
                    while sent < len(line):
                        sent += await control.send(line[sent:])
                except OSError:
                    return  # the reader sees the end too, and restarts
                finally:
                    _close(fds)

    def _on_report(self, report: Mapping[str, Any]) -> None:
        child = self._children.pop(report["job"], None)
        if child is not None:
            code = os.waitstatus_to_exitcode(report["status"])
            child._ended(Exit(code, report.get("cpu_ms", 0), report.get("max_rss_kb", 0), report["error"]))

    def _drop_everything(self) -> None:
        for _, fds in self._outbox:
            _close(fds)
        self._outbox.clear()
        for child in self._children.values():
            child._ended(Exit(-9, 0, 0))
        self._children.clear()


def _start(control: socket.socket, token: str) -> subprocess.Popen[bytes]:
    # start_new_session: a Ctrl-C in the daemon's terminal is the daemon's to handle.
    return subprocess.Popen(
        [sys.executable, "-I", "-S", launcher_main.__file__, token],
        stdin=control.fileno(),
        stdout=subprocess.DEVNULL,
        env={},
        cwd="/",
        start_new_session=True,
    )


def _bury(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_LAST_WORK_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _kill_marked(token: str) -> None:
    """Kill what a launcher that was killed itself left behind (Linux: elsewhere nothing tells whose it is)."""
    mark = f"{launcher_main.JOB_VARIABLE}={token}-".encode()
    for _ in range(_SWEEPS):
        found = False
        for environ in Path("/proc").glob("[0-9]*/environ"):
            # OSError: gone meanwhile, or not ours to see.
            with contextlib.suppress(OSError):
                if any(each.startswith(mark) for each in environ.read_bytes().split(b"\0")):
                    os.kill(int(environ.parent.name), signal.SIGKILL)
                    found = True
        if not found:
            return
        time.sleep(_SWEEP_PAUSE_S)


def _pipes() -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """(our stdin writer, stdout reader, stderr reader), (their stdin reader, stdout and stderr writers)."""
    opened: list[int] = []
    try:
        for _ in range(3):
            opened.extend(os.pipe())
    except OSError:
        _close(tuple(opened))
        raise
    in_read, in_write, out_read, out_write, err_read, err_write = opened
    return (in_write, out_read, err_read), (in_read, out_write, err_write)


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode("ascii") + b"\n"


def _int_bytes(number: int) -> bytes:
    return number.to_bytes(4, sys.byteorder, signed=True)


def _close(fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)
