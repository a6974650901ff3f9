"""A command agent: a program that gets a job as JSON on stdin and prints its answer as JSON on stdout."""

import logging
import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio
from swarmd.node.agents.launcher import Launcher, Limits
from swarmd.node.agents.process import Finished, private_folder, run_process
from swarmd.node.agents.registry import AgentRecord
from swarmd.node.ports import Job, JobResult
from swarmd.protocol.canonical_json import BadJson, canonical_json, parse_json

log = logging.getLogger(__name__)

DETAIL_BYTES = 2_048
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
# Parsing a larger answer in the event loop would hold up everything else for more than some 5 ms.
_PARSE_IN_THREAD_BYTES = 262_144
_OUT_OF_MEMORY = re.compile(
    rb"MemoryError|std::bad_alloc|cannot allocate memory|out of memory|memory exhausted"
    rb"|failed to allocate|allocation failed",
    re.IGNORECASE,
)


class CommandRunner:
    """Runs command agents. Each run gets a private empty folder, a clean environment and limits."""

    def __init__(self, launcher: Launcher, scratch: Path) -> None:
        self._launcher = launcher
        self._scratch = scratch
        self._stderr: dict[str, bytes] = {}

    async def run(self, record: AgentRecord, job: Job, *, timeout_s: float) -> JobResult:
        """Run one job. What the agent does wrong is a code in the result, never an exception.

        Codes: "bad-input", "spawn-failed", "timeout", "output-too-big", "out-of-memory" (a best guess),
        "crashed", "bad-output".
        """
        try:
            stdin = canonical_json(job_document(job)) + b"\n"
        except BadJson as error:
            return JobResult(job.job_id, None, "bad-input", f"the job is no JSON: {error}")
        limits = Limits(timeout_s, record.memory_mb, record.output_limit_bytes)
        try:
            async with private_folder(self._scratch) as folder:
                cwd = Path(record.cwd) if record.cwd else folder
                env = clean_environment(folder, traced(job) | dict(record.env))
                done = await run_process(
                    self._launcher, record.argv, stdin=stdin, env=env, cwd=cwd, limits=limits
                )
        except OSError as error:
            # No scratch folder to be had: the disk is full, or read-only.
            return JobResult(job.job_id, None, "spawn-failed", f"no private folder: {error}")
        self._stderr[record.name] = done.stderr
        return await self._result(job, record, done, limits)

    def last_stderr(self, name: str) -> bytes:
        """The last 64 KiB that an agent's last finished run wrote to stderr."""
        return self._stderr.get(name, b"")

    def forget(self, name: str) -> None:
        self._stderr.pop(name, None)

    async def _result(self, job: Job, record: AgentRecord, done: Finished, limits: Limits) -> JobResult:
        telemetry = {
            "wall_ms": done.wall_ms,
            "cpu_ms": done.exit.cpu_ms,
            "max_rss_kb": done.exit.max_rss_kb,
            "output_bytes": done.output_bytes,
        }
        error, why = diagnose(done, limits)
        output = None
        if error is None:
            try:
                output = await _parse(done.stdout, record.output_limit_bytes)
            except BadJson as bad:
                error, why = "bad-output", f"its output is not one JSON value: {bad}"
        detail = _with_stderr(why, done.stderr)
        if error is not None:
            log.info("agent %s, job %s: %s: %s", record.name, job.job_id, error, why)
        return JobResult(job.job_id, output, error, detail, telemetry)


def job_document(job: Job) -> dict[str, Any]:
    """What an agent is told of a job."""
    return {
        "need": job.need,
        "task": job.task,
        "capability": job.capability,
        "input": dict(job.input),
        "purpose": job.purpose,
    }


def traced(job: Job) -> dict[str, str]:
    """How OpenTelemetry hands a trace to a process. Not in the job's document, so that what an agent makes of that
    does not depend on whether anybody traces."""
    return {"TRACEPARENT": job.traceparent} if job.traceparent else {}


def clean_environment(folder: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of an agent: nothing of the daemon's but PATH, then what its record adds."""
    base = {
        "PATH": os.environ.get("PATH", _DEFAULT_PATH),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
    }
    return base | dict(extra)


def diagnose(done: Finished, limits: Limits) -> tuple[str | None, str]:
    """(error code or None, the reason in words) of a run that should have exited with 0."""
    code = done.exit.code
    if done.verdict == "spawn-failed":
        return "spawn-failed", f"could not be started: {done.exit.error}"
    if done.verdict == "timeout" or code == -signal.SIGXCPU:
        return "timeout", f"ran longer than {limits.timeout_s:g} s"
    if done.verdict == "output-too-big":
        return "output-too-big", f"printed more than {limits.output_limit_bytes} bytes"
    if code == 0:
        return None, ""
    how = f"exit status {code}" if code > 0 else f"killed by {_signal_name(-code)}"
    # SIGKILL that was not ours is the kernel's out-of-memory killer, as a rule.
    if code == -signal.SIGKILL or _OUT_OF_MEMORY.search(done.stderr):
        return "out-of-memory", f"{how}; its limit is {limits.memory_mb} MB"
    return "crashed", how


def _with_stderr(why: str, stderr: bytes) -> str:
    tail = stderr[-DETAIL_BYTES:].decode("utf-8", "replace").strip()
    return f"{why}\n{tail}".strip() if tail else why


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


async def _parse(stdout: bytes, limit_bytes: int) -> Any:
    if len(stdout) <= _PARSE_IN_THREAD_BYTES:
        return parse_json(stdout, max_bytes=limit_bytes)
    return await trio.to_thread.run_sync(lambda: parse_json(stdout, max_bytes=limit_bytes))
