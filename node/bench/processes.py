"""Processes of a benchmark: each says that it is ready, gets the word to start, and reports when it is done.

A process is a module run with one argument, its settings as JSON. It prints one line (its address), reads the time at
which all begin, prints one JSON document and ends.
"""

import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio
from swarmd.node.groups import first
from swarmd.protocol.faults import LocalFault

_START_TIMEOUT_S = 60.0
_START_IN_NS = 200_000_000

Ready = Callable[[str], Awaitable[int]]


class Crew:
    """The processes of one measurement. Ends them all when it is left."""

    def __init__(self, nursery: trio.Nursery, start_timeout_s: float = _START_TIMEOUT_S) -> None:
        self._nursery = nursery
        self._start_timeout_s = start_timeout_s
        self._processes: list[trio.Process] = []

    async def add(self, module: str, settings: Mapping[str, Any]) -> str:
        """Start one; returns the line it says it is ready with."""
        command = [sys.executable, "-m", module, json.dumps(settings)]
        process: trio.Process = await self._nursery.start(
            partial(trio.run_process, command, stdin=-1, stdout=-1, check=False)
        )
        self._processes.append(process)
        with trio.move_on_after(self._start_timeout_s):
            line = await _until_newline(process)
            if line:
                return line.decode().strip()
        raise LocalFault("bench-stuck", f"{module} did not start; what it wrote is above")

    async def measure(self, timeout_s: float) -> "Measured":
        """Let all start at once; their reports, and what the machine did meanwhile."""
        reports: list[Any] = [None] * len(self._processes)
        machine = MachineLoad()
        start_ns = time.time_ns() + _START_IN_NS
        with trio.move_on_after(timeout_s) as patience:
            async with trio.open_nursery() as nursery:
                for index, process in enumerate(self._processes):
                    nursery.start_soon(_report, process, index, reports, start_ns)
        if patience.cancelled_caught or None in reports:
            raise LocalFault("bench-stuck", f"a process did not report within {timeout_s:g} s, or failed")
        return Measured(reports, machine)


class Measured:
    def __init__(self, reports: list[Any], machine: "MachineLoad") -> None:
        self.reports = reports
        # Processes report the CPU of their measured time only; reading the reports is not in it.
        self.others_cpu_percent = machine.others_percent(sum(report["cpu_s"] for report in reports))


@asynccontextmanager
async def crew(start_timeout_s: float = _START_TIMEOUT_S) -> Any:
    """A Crew; its LocalFault comes out as it is."""
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield Crew(nursery, start_timeout_s)
            finally:
                nursery.cancel_scope.cancel()
    except* LocalFault as group:
        raise first(group) from None


async def _until_newline(process: trio.Process) -> bytes:
    assert process.stdout is not None
    output = b""
    while not output.endswith(b"\n"):
        chunk = await process.stdout.receive_some()
        if not chunk:
            return b""
        output += chunk
    return output


async def _report(process: trio.Process, index: int, reports: list[Any], start_ns: int) -> None:
    assert process.stdin is not None and process.stdout is not None
    await process.stdin.send_all(f"{start_ns}\n".encode())
    output = bytearray()
    async for chunk in process.stdout:
        output += chunk
    if output:
        reports[index] = json.loads(output)


def serve(main: Callable[[Any, Ready], Awaitable[dict[str, Any]]]) -> None:
    """A process's side: run `main(settings, ready)`; `await ready(line)` returns when all start, with that time in
    ns since 1970."""

    async def run() -> None:
        async def ready(line: str) -> int:
            print(line, flush=True)
            start_ns = int(await trio.to_thread.run_sync(sys.stdin.readline))
            await trio.sleep(max(0.0, (start_ns - time.time_ns()) / 1e9))
            return start_ns

        print(json.dumps(await main(json.loads(sys.argv[1]), ready)), flush=True)

    trio.run(run)


class MachineLoad:
    """What all processes of this machine use, from now on (Linux)."""

    def __init__(self) -> None:
        self._busy_s = _busy_s()
        self._began_s = time.monotonic()

    def others_percent(self, own_cpu_s: float) -> float | None:
        """Of all CPUs together, without our `own_cpu_s`. None where it cannot be known."""
        busy_s = _busy_s()
        if busy_s is None or self._busy_s is None:
            return None
        total_s = (time.monotonic() - self._began_s) * len(os.sched_getaffinity(0))
        return round(max(0.0, 100 * (busy_s - self._busy_s - own_cpu_s) / total_s), 1)


def _busy_s() -> float | None:
    try:
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
