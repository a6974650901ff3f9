"""Run a program to its end within limits, keeping a bounded part of what it prints."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio
from swarmd.node.agents.launcher import Child, Exit, Launcher, Limits

STDERR_KEPT_BYTES = 65_536
_READ_BYTES = 65_536
# A killed tree closes its pipes and is reported within milliseconds; this is for what the kernel delays.
_DRAIN_S = 1.0
_DEATH_S = 5.0


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of a run. `verdict`: "exited", "timeout", "output-too-big" or "spawn-failed"."""

    verdict: str
    exit: Exit
    stdout: bytes  # at most the output limit
    stderr: bytes  # the last STDERR_KEPT_BYTES
    wall_ms: int
    output_bytes: int  # read before the end or the limit


async def run_process(
    launcher: Launcher,
    argv: Sequence[str],
    *,
    stdin: bytes,
    env: Mapping[str, str],
    cwd: Path,
    limits: Limits,
) -> Finished:
    """Run `argv` with `stdin`. Returns when it and all it started are gone, or cannot be waited for.

    Memory is bounded by the output limit, whatever the program prints. Cancelling kills the program.
    """
    started = time.monotonic()
    try:
        child = launcher.start(argv, env=env, cwd=cwd, limits=limits)
    except OSError as error:
        return Finished("spawn-failed", Exit(-1, 0, 0, str(error)), b"", b"", 0, 0)
    output = _Output(child, limits.output_limit_bytes)
    try:
        with trio.move_on_after(limits.timeout_s) as time_limit:
            exit = await output.collect(stdin)
        if time_limit.cancelled_caught:
            child.kill()
            exit = await _death(child)
    except BaseException:
        # Cancelled, as a rule, though perhaps as an exception group of that. The program must be gone
        # before the caller goes on, who may remove the folder it runs in.
        child.kill()
        with trio.CancelScope(shield=True):
            await _death(child)
        raise
    finally:
        await child.aclose()
    verdict = "exited"
    if exit.error:
        verdict = "spawn-failed"
    elif output.too_big:
        verdict = "output-too-big"
    elif time_limit.cancelled_caught:
        verdict = "timeout"
    wall_ms = round((time.monotonic() - started) * 1_000)
    return Finished(verdict, exit, b"".join(output.stdout), bytes(output.stderr), wall_ms, output.size)


async def _death(child: Child) -> Exit:
    with trio.move_on_after(_DEATH_S):
        return await child.wait()
    return Exit(-9, 0, 0)  # in uninterruptible sleep, perhaps: the launcher will bury it


class _Output:
    """Feeds a child and collects what it prints."""

    def __init__(self, child: Child, limit_bytes: int) -> None:
        self._child = child
        self._limit_bytes = limit_bytes
        self.stdout: list[bytes] = []
        self.stderr = bytearray()
        self.size = 0
        self.too_big = False

    async def collect(self, stdin: bytes) -> Exit:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._feed, stdin)
            nursery.start_soon(self._read_stdout)
            nursery.start_soon(self._read_stderr)
            exit = await self._child.wait()
            # The pipes end with the last process that holds them: all are dead by now, or out of reach.
            nursery.cancel_scope.deadline = trio.current_time() + _DRAIN_S
        return exit

    async def _feed(self, stdin: bytes) -> None:
        # BrokenResourceError: it need not read its input.
        with contextlib.suppress(trio.BrokenResourceError):
            await self._child.stdin.send_all(stdin)
        await self._child.stdin.aclose()

    async def _read_stdout(self) -> None:
        while data := await self._child.stdout.receive_some(_READ_BYTES):
            self.size += len(data)
            if self.size > self._limit_bytes:
                self.too_big = True
                self.stdout.clear()
                self._child.kill()
                return
            self.stdout.append(data)

    async def _read_stderr(self) -> None:
        while data := await self._child.stderr.receive_some(_READ_BYTES):
            self.stderr += data
            del self.stderr[:-STDERR_KEPT_BYTES]


@asynccontextmanager
async def private_folder(parent: Path) -> AsyncIterator[Path]:
    """A fresh folder (0700) under `parent`, removed with all that is in it afterwards."""
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield folder
    finally:
        # Most agents leave it empty: then without the cost of a thread.
        if not _removed_empty(folder):
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(remove_tree, folder)


def _removed_empty(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


def remove_tree(folder: Path) -> None:
    """Remove a folder even where an agent took its own write permission away. Best effort."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        for path, folders, _ in os.walk(folder):
            for name in folders:
                inner = os.path.join(path, name)
                # Never through a link that the agent left: it may point anywhere.
                with contextlib.suppress(OSError):
                    if not os.path.islink(inner):
                        os.chmod(inner, 0o700)
        shutil.rmtree(folder, ignore_errors=True)
