"""Judging a result: run the task again, check a JSON Schema, or ask a command of the operator's."""

import contextlib
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import trio
from swarmd.node.agents.command import clean_environment, diagnose, job_document
from swarmd.node.agents.launcher import Child, Launcher, Limits
from swarmd.node.agents.process import private_folder, run_process
from swarmd.node.agents.registry import resolve_argv
from swarmd.node.ports import AgentHost, Job
from swarmd.protocol.canonical_json import BadJson, canonical_json
from swarmd.protocol.faults import LocalFault

log = logging.getLogger(__name__)

MAX_SCHEMA_BYTES = 65_536
_REASON_CHARS = 500
_MAX_ANSWER_BYTES = 65_536
_SCHEMA_LIMITS = Limits(timeout_s=86_400.0, memory_mb=512)
# Run, not imported: loading jsonschema is the business of its process alone.
_SCHEMA_WORKER = Path(__file__).with_name("schema_worker.py")
# Schemas that every JSON value is valid against: nothing to ask the worker, with whom results wait for each other.
_ANYTHING = (b"true", b"{}")
# Loading jsonschema takes some 150 ms of CPU, more on a busy host; the time limit begins afterwards.
_WORKER_START_S = 20.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a verifier says of a result. "abstain": it could not tell."""

    verdict: Literal["accept", "reject", "abstain"]
    score: int  # 0 to 100
    reason: str
    telemetry: Mapping[str, int] = field(default_factory=dict)  # of our own run, if there was one


class Verifier(Protocol):
    async def judge(self, job: Job, output: Any) -> Judgement:
        """Judge `output`, a worker's answer to `job`. Never raises for what either of them holds."""


def _accept(reason: str) -> Judgement:
    return Judgement("accept", 100, reason)


def _reject(reason: str) -> Judgement:
    return Judgement("reject", 0, reason[:_REASON_CHARS])


def _abstain(reason: str) -> Judgement:
    return Judgement("abstain", 0, reason[:_REASON_CHARS])


class ReexecVerifier:
    """Runs the same capability on an agent of this host and compares the canonical JSON byte for byte.

    For deterministic tasks. That our own run failed says nothing of their result, so it abstains then.
    """

    def __init__(self, agents: AgentHost) -> None:
        self._agents = agents

    async def judge(self, job: Job, output: Any) -> Judgement:
        try:
            theirs = canonical_json(output)
        except BadJson as error:
            return _reject(f"the result is no JSON value: {error}")
        ours = await self._agents.run_job(replace(job, job_id=f"{job.job_id}/verify", purpose="verify"))
        if ours.error is not None:
            return _abstain(f"our own run ended with {ours.error}: {ours.detail[-_REASON_CHARS // 2 :]}")
        if canonical_json(ours.output) == theirs:
            return replace(_accept("the same result from our own run"), telemetry=dict(ours.telemetry))
        return _reject(f"our own run gave another result, {_difference(ours.output, output)}")


def _difference(ours: Any, theirs: Any) -> str:
    """Where two JSON values differ first, for people."""
    path = "$"
    while True:
        if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
            key = next(key for key in sorted(ours) if not _same(ours[key], theirs[key]))
            path, ours, theirs = f"{path}.{key}", ours[key], theirs[key]
        elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
            at = next(at for at, pair in enumerate(zip(ours, theirs, strict=True)) if not _same(*pair))
            path, ours, theirs = f"{path}[{at}]", ours[at], theirs[at]
        else:
            return f"at {path[:200]}: {_short(ours)}, not {_short(theirs)}"


def _same(one: Any, other: Any) -> bool:
    # Not ==, which takes true for 1.
    return canonical_json(one) == canonical_json(other)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


class SchemaVerifier:
    """Checks results against a JSON Schema, draft 2020-12, in a worker process that stays warm.

    References to other documents are refused, never fetched. A check that takes longer than `timeout_s`
    is killed and abstains: see `schema_worker` for why it has a process of its own. One at a time.
    """

    def __init__(self, schema: Any, launcher: Launcher, *, timeout_s: float = 5.0) -> None:
        """LocalFault `bad-schema` if it is no JSON or too large."""
        try:
            text = canonical_json(schema)
        except BadJson as error:
            raise LocalFault("bad-schema", f"the schema is no JSON: {error}") from None
        if not isinstance(schema, dict | bool) or len(text) > MAX_SCHEMA_BYTES:
            raise LocalFault("bad-schema", f"a schema is an object of at most {MAX_SCHEMA_BYTES} bytes")
        self._schema = text
        self._launcher = launcher
        self._timeout_s = timeout_s
        self._worker: _Worker | None = None
        self._turn = trio.Lock()

    async def judge(self, job: Job, output: Any) -> Judgement:
        try:
            value = canonical_json(output)
        except BadJson as error:
            return _reject(f"the result is no JSON value: {error}")
        if self._schema in _ANYTHING:
            return _accept("valid against the schema")
        line = b'{"schema":' + self._schema + b',"value":' + value + b"}\n"
        async with self._turn:
            try:
                answer = await self._ask(line)
            except (OSError, trio.BrokenResourceError) as error:
                await self._end_worker()
                return _abstain(f"the schema checker failed: {error}")
            except trio.TooSlowError:
                await self._end_worker()
                return _abstain(f"the check took longer than {self._timeout_s:g} s")
            except BaseException:
                # Cancelled half way: its late answer must not be taken for the next question's.
                await self._end_worker()
                raise
        verdict, reason = answer["verdict"], answer["reason"]
        return _accept(reason) if verdict == "accept" else _MAKERS[verdict](reason)

    async def aclose(self) -> None:
        """End the worker, after the judgement it is at; the next judgement starts another."""
        async with self._turn:
            await self._end_worker()

    async def _end_worker(self) -> None:
        if self._worker is not None:
            worker, self._worker = self._worker, None
            await worker.child.aclose()

    async def _ask(self, line: bytes) -> dict[str, str]:
        if self._worker is None:
            child = self._launcher.start(
                [sys.executable, "-I", str(_SCHEMA_WORKER)],
                env={"LANG": "C.UTF-8"},
                cwd=Path("/"),
                limits=_SCHEMA_LIMITS,
            )
            self._worker = _Worker(child)
            with trio.fail_after(_WORKER_START_S):
                await self._worker.ask(b'{"schema":true,"value":null}\n')
        with trio.fail_after(self._timeout_s):
            return await self._worker.ask(line)


_MAKERS = {"reject": _reject, "abstain": _abstain}


class _Worker:
    def __init__(self, child: Child) -> None:
        self.child = child

    async def ask(self, line: bytes) -> dict[str, str]:
        """One question, one answer. OSError or BrokenResourceError when the worker is no more."""
        await self.child.stdin.send_all(line)
        answer = b""
        while not answer.endswith(b"\n"):
            data = await self.child.stdout.receive_some(_MAX_ANSWER_BYTES)
            if not data or len(answer) > _MAX_ANSWER_BYTES:
                raise OSError(f"it ended: {await self._last_words()}")
            answer += data
        found: dict[str, str] = json.loads(answer)
        return found

    async def _last_words(self) -> str:
        with trio.move_on_after(1.0), contextlib.suppress(trio.BrokenResourceError):
            return (await self.child.stderr.receive_some(4_096))[-200:].decode("utf-8", "replace").strip()
        return ""


class CommandVerifier:
    """Asks an operator's command: `{"job": ..., "output": ...}` on stdin; exit status 0 accepts, 1 rejects
    with the reason on stdout, anything else (a crash, a time-out) abstains."""

    def __init__(
        self,
        argv: Sequence[str],
        launcher: Launcher,
        *,
        scratch: Path,
        base: Path = Path("/"),
        limits: Limits | None = None,
    ) -> None:
        """LocalFault if the command cannot be found from `base`. `scratch` must exist."""
        self._argv = resolve_argv(argv, base)
        self._launcher = launcher
        self._scratch = scratch
        self._limits = limits or Limits(output_limit_bytes=_MAX_ANSWER_BYTES)

    async def judge(self, job: Job, output: Any) -> Judgement:
        try:
            stdin = canonical_json({"job": job_document(job), "output": output}) + b"\n"
        except BadJson as error:
            return _reject(f"the result is no JSON value: {error}")
        try:
            async with private_folder(self._scratch) as folder:
                done = await run_process(
                    self._launcher,
                    self._argv,
                    stdin=stdin,
                    env=clean_environment(folder, {}),
                    cwd=folder,
                    limits=self._limits,
                )
        except OSError as error:
            return _abstain(f"no private folder for the verifier: {error}")
        reason = done.stdout.decode("utf-8", "replace").strip()
        if done.verdict == "exited" and done.exit.code in (0, 1):
            return _accept(reason[:_REASON_CHARS]) if done.exit.code == 0 else _reject(reason)
        code, why = diagnose(done, self._limits)
        tail = done.stderr[-200:].decode("utf-8", "replace").strip()
        return _abstain(f"the verifier ended with {code}: {why} {tail}".strip())
