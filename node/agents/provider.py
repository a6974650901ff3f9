"""Who can run a job: a command agent, or an agent that attached itself over the local socket."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import trio
from swarmd.node.agents.command import DETAIL_BYTES, CommandRunner, job_document
from swarmd.node.agents.registry import AgentRecord
from swarmd.node.ports import Capability, Job, JobResult
from swarmd.node.transport.local import LocalConnection
from swarmd.protocol.canonical_json import BadJson, canonical_json
from swarmd.protocol.faults import LocalFault

log = logging.getLogger(__name__)

# An agent may name these itself; anything else it says went wrong counts as a crash.
# A tuple, not a set: what they send as a code may be unhashable.
_ATTACHED_ERRORS = ("crashed", "bad-output", "output-too-big", "timeout")
_MAX_TELEMETRY = 1 << 40
# Checking a larger answer in the event loop would hold up everything else for more than some 5 ms.
_CHECK_IN_THREAD_BYTES = 262_144


@dataclass(slots=True)
class Tally:
    """What an agent did since the daemon began."""

    done: int = 0
    failed: dict[str, int] = field(default_factory=dict)  # error code -> count

    def count(self, result: JobResult) -> None:
        if result.error is None:
            self.done += 1
        else:
            self.failed[result.error] = self.failed.get(result.error, 0) + 1


class Provider(Protocol):
    """One agent with its prices and its limit of jobs at a time."""

    running: int

    @property
    def name(self) -> str: ...

    @property
    def prices(self) -> Mapping[str, int]:
        """capability -> USDC minor units"""

    @property
    def concurrency(self) -> int: ...

    @property
    def timeout_s(self) -> float: ...

    @property
    def tally(self) -> Tally: ...

    @property
    def available(self) -> bool: ...

    async def run(self, job: Job, timeout_s: float) -> JobResult:
        """Never raises for what the agent does."""


class CommandProvider:
    """A command agent."""

    def __init__(self, record: AgentRecord, runner: CommandRunner) -> None:
        self.record = record
        self.name = record.name
        self.prices = {offer.name: offer.price for offer in record.capabilities}
        self.concurrency = record.concurrency
        self.timeout_s = record.timeout_s
        self.running = 0
        self.tally = Tally()
        self.available = True
        self._runner = runner

    async def run(self, job: Job, timeout_s: float) -> JobResult:
        return await self._runner.run(self.record, job, timeout_s=timeout_s)


class AttachedProvider:
    """An agent on the other end of a local connection: jobs are pushed to it, answers come as calls."""

    def __init__(
        self,
        connection: LocalConnection,
        name: str,
        declared: Mapping[str, int],
        *,
        concurrency: int,
        timeout_s: float,
        output_limit_bytes: int,
    ) -> None:
        self.connection = connection
        self.name = name
        self.prices = dict(declared)
        self._declared = declared
        self.concurrency = concurrency
        self.timeout_s = timeout_s
        self.running = 0
        self.tally = Tally()
        self._output_limit_bytes = output_limit_bytes
        self._waiting: dict[int, _Waiting] = {}
        self._next = 0

    @property
    def available(self) -> bool:
        return not self.connection.closed

    def reprice(self, offers: Sequence[Capability]) -> None:
        """Let the operator's prices override the agent's own."""
        theirs = {each.name: each.price for each in offers if each.name in self._declared}
        self.prices = dict(self._declared) | theirs

    async def run(self, job: Job, timeout_s: float) -> JobResult:
        self._next += 1
        number = self._next
        document = job_document(job) | {"id": number, "timeout_s": timeout_s}
        if job.traceparent:
            document["traceparent"] = job.traceparent
        waiting = self._waiting[number] = _Waiting(job.job_id)
        try:
            self.connection.send({"job": document})
            if self.connection.closed:
                return waiting.failed("agent-gone", "it disconnected")
            with trio.move_on_after(timeout_s):
                await waiting.done.wait()
        except LocalFault as fault:
            return waiting.failed("bad-input", f"the job cannot be sent to the agent: {fault.message}")
        finally:
            del self._waiting[number]
            if waiting.result is None:
                # Out of time, or nobody wants it any more: the agent may stop working on it.
                self.connection.send({"cancel": number})
        return waiting.result or waiting.failed("timeout", f"did not answer within {timeout_s:g} s")

    async def on_result(self, answer: object, size_bytes: int) -> None:
        """Take one answer, `{"job": id, "output": any}` or `{"job": id, "error": code, "detail": text}`.

        Answers to jobs that nobody waits for any more are dropped. LocalFault `bad-result` for no answer
        at all.
        """
        if not isinstance(answer, dict) or type(answer.get("job")) is not int:
            raise LocalFault("bad-result", "a result is a map with the job's id")
        waiting = self._waiting.get(answer["job"])
        if waiting is None or waiting.result is not None:
            return
        if "error" in answer:
            code = answer["error"] if answer["error"] in _ATTACHED_ERRORS else "crashed"
            waiting.finish(
                waiting.failed(code, _tail(answer.get("detail", "")), _telemetry(answer, waiting, 0))
            )
            return
        output = answer.get("output")
        try:
            if size_bytes <= _CHECK_IN_THREAD_BYTES:
                output_bytes = len(canonical_json(output))
            else:
                output_bytes = len(await trio.to_thread.run_sync(canonical_json, output))
        except BadJson as error:
            waiting.finish(waiting.failed("bad-output", f"its output is no JSON value: {error}"))
            return
        if output_bytes > self._output_limit_bytes:
            why = f"its output has {output_bytes} bytes; the limit is {self._output_limit_bytes}"
            waiting.finish(waiting.failed("output-too-big", why))
            return
        telemetry = _telemetry(answer, waiting, output_bytes)
        waiting.finish(JobResult(waiting.job_id, output, None, "", telemetry))

    def gone(self) -> None:
        """The connection closed: whoever waits need not wait any longer."""
        for waiting in self._waiting.values():
            if waiting.result is None:
                waiting.finish(waiting.failed("agent-gone", f"agent {self.name} disconnected during the job"))


class _Waiting:
    __slots__ = ("job_id", "done", "result", "_started")

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.done = trio.Event()
        self.result: JobResult | None = None
        self._started = time.monotonic()

    @property
    def wall_ms(self) -> int:
        return round((time.monotonic() - self._started) * 1_000)

    def finish(self, result: JobResult) -> None:
        self.result = result
        self.done.set()

    def failed(self, code: str, detail: str, telemetry: Mapping[str, int] | None = None) -> JobResult:
        self.result = JobResult(self.job_id, None, code, detail, telemetry or {"wall_ms": self.wall_ms})
        return self.result


def _telemetry(answer: Mapping[str, Any], waiting: _Waiting, output_bytes: int) -> dict[str, int]:
    """Wall time and size as we measured them, the rest as the agent says."""
    found = {"wall_ms": waiting.wall_ms, "output_bytes": output_bytes}
    for key in ("cpu_ms", "max_rss_kb"):
        value = answer.get(key, 0)
        found[key] = value if type(value) is int and 0 <= value < _MAX_TELEMETRY else 0
    return found


def _tail(detail: object) -> str:
    return str(detail)[-DETAIL_BYTES:] if isinstance(detail, str) else ""
