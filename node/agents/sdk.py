"""The Python SDK: an agent in a few lines, attached to the daemon of its host over the local socket.

from swarmd.node.agents import Agent

agent = Agent("wc")

@agent.task("text.wordcount", price="0.02")
async def count(task):
    return {"words": len(task.input["text"].split())}

agent.run()
"""

import inspect
import json
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import trio
from swarmd.node.agents.registry import check_name, offer
from swarmd.node.home import resolve_home, socket_path
from swarmd.node.ports import Capability
from swarmd.node.transport.local_async import AsyncLocalClient, connect_local
from swarmd.protocol.amounts import format_usdc
from swarmd.protocol.canonical_json import MAX_JSON_BYTES, BadJson, parse_json
from swarmd.protocol.faults import LocalFault
from trio import TASK_STATUS_IGNORED, TaskStatus

_BACKOFF_S = (0.1, 5.0)
_DETAIL_CHARS = 2_000
# The daemon is away, or has no room just now; every other refusal is for the author to mend.
_TRANSIENT = frozenset(("daemon-not-running", "daemon-gone", "daemon-timeout", "too-many-clients", "busy"))
_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1_024


@dataclass(frozen=True, slots=True)
class Task:
    """One job. `input` maps arguments to JSON values."""

    input: Mapping[str, Any]
    need: str
    task: str
    capability: str
    purpose: str  # "work", or "verify": somebody else's result is being checked
    timeout_s: float
    traceparent: str = ""  # W3C: of the daemon's span of this job, "" where it is not traced


TaskFunction = Callable[[Task], Any]
_F = TypeVar("_F", bound=TaskFunction)


@dataclass(frozen=True, slots=True)
class _Offer:
    capability: Capability
    function: TaskFunction
    inline: bool


class Agent:
    """Functions that serve capabilities.

    A function gets a Task and returns a JSON value; what it raises becomes the job's error "crashed" with
    the end of the traceback. An async function runs in trio; an ordinary one in a thread, or with
    `inline=True` in the event loop, which saves 100 us a job and is for functions that take less.
    """

    def __init__(self, name: str, *, concurrency: int = 16) -> None:
        """`concurrency`: how many jobs it takes at a time. LocalFault `bad-name`."""
        self.name = check_name(name, "agent")
        self.concurrency = concurrency
        self._offers: dict[str, _Offer] = {}

    def task(self, capability: str, price: str = "0", *, inline: bool = False) -> Callable[[_F], _F]:
        """Serve `capability` with the function, at `price` USDC a task (decimal text). LocalFault."""
        found = offer(capability, price)
        if capability in self._offers:
            raise LocalFault("bad-agent", f"agent {self.name!r} serves {capability} already")

        def register(function: _F) -> _F:
            self._offers[capability] = _Offer(
                found, function, inline or inspect.iscoroutinefunction(function)
            )
            return function

        return register

    def run(self, home: str | None = None) -> None:
        """Attach to the daemon and serve until SIGINT or SIGTERM; waits for the daemon when there is none.

        Its home is `home`, else `--home` of the command line, SWARMD_HOME, the platform's data folder.
        Exits with status 1 and a message if the daemon refuses the agent.
        """
        try:
            path = socket_path(resolve_home(home or _home_flag(sys.argv[1:]), os.environ))
            trio.run(self._until_signal, path)
        except LocalFault as fault:
            raise SystemExit(_sentence(self.name, fault)) from None

    async def serve(self, path: Path, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Attach to the socket `path` and serve until the daemon goes. Raises LocalFault then.

        `started()` once attached.
        """
        if not self._offers:
            raise LocalFault(
                "bad-agent",
                f"agent {self.name!r} serves nothing",
                fix="decorate a function with @agent.task(...)",
            )
        failure: LocalFault | None = None
        async with trio.open_nursery() as nursery:
            session = _Session(self._offers, nursery)
            try:
                async with connect_local(path, on_message=session.on_message) as client:
                    await client.call("agent.attach", self._introduction())
                    task_status.started()
                    nursery.start_soon(session.send_results, client)
                    await client.closed.wait()
                    failure = client.fault
            except LocalFault as fault:
                # Raised again below: a nursery would wrap it in an exception group.
                failure = fault
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _introduction(self) -> dict[str, Any]:
        offers = [each.capability for each in self._offers.values()]
        return {
            "name": self.name,
            "capabilities": [{"name": each.name, "price": format_usdc(each.price)} for each in offers],
            "concurrency": self.concurrency,
        }

    async def _until_signal(self, path: Path) -> None:
        refused: LocalFault | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_signal, nursery.cancel_scope)
            try:
                await self._for_ever(path)
            except LocalFault as fault:
                refused = fault
            nursery.cancel_scope.cancel()
        if refused is not None:
            raise refused

    async def _for_ever(self, path: Path) -> None:
        pause_s = _BACKOFF_S[0]
        told = ""

        def tell(text: str) -> None:
            nonlocal told
            if text != told:
                print(text, file=sys.stderr, flush=True)
                told = text

        class Attached(TaskStatus[None]):
            def started(_, value: None = None) -> None:
                nonlocal pause_s
                pause_s = _BACKOFF_S[0]
                names = ", ".join(
                    f"{each.capability.name} at {format_usdc(each.capability.price)} USDC"
                    for each in self._offers.values()
                )
                tell(f"{self.name}: attached to {path}, serving {names}")

        while True:
            try:
                await self.serve(path, task_status=Attached())
            except LocalFault as fault:
                if fault.code not in _TRANSIENT:
                    raise
                tell(f"{_sentence(self.name, fault)}. Waiting for it.")
            # Not all agents of a host at the same moment.
            await trio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(pause_s * 2, _BACKOFF_S[1])


class _Session:
    """The jobs of one connection."""

    def __init__(self, offers: Mapping[str, _Offer], nursery: trio.Nursery) -> None:
        self._offers = offers
        self._nursery = nursery
        self._running: dict[int, trio.CancelScope] = {}
        self._results: list[dict[str, Any]] = []
        self._has_results = trio.Event()

    def on_message(self, message: dict[str, Any]) -> None:
        if "job" in message:
            self._nursery.start_soon(self._run, message["job"])
        elif (scope := self._running.get(message.get("cancel", 0))) is not None:
            scope.cancel()

    async def _run(self, job: dict[str, Any]) -> None:
        number = job["id"]
        with trio.CancelScope() as scope:
            self._running[number] = scope
            outcome = await self._outcome(job)
            # Looked up only now: while the task ran, `send_results` may have taken the list that was there before.
            self._results.append({"job": number} | outcome)
            self._has_results.set()
        del self._running[number]

    async def _outcome(self, job: dict[str, Any]) -> dict[str, Any]:
        offer = self._offers.get(job["capability"])
        if offer is None:
            return {"error": "crashed", "detail": f"this agent does not serve {job['capability']}"}
        fields = ("input", "need", "task", "capability", "purpose", "timeout_s")
        task = Task(**{name: job[name] for name in fields}, traceparent=job.get("traceparent", ""))
        cpu_ms = 0
        try:
            if offer.inline:
                output = offer.function(task)
                if inspect.isawaitable(output):
                    output = await output
            else:
                output, cpu_ms = await trio.to_thread.run_sync(
                    _timed, offer.function, task, abandon_on_cancel=True
                )
        except Exception:
            # The isolation boundary of the author's code: one job fails, the agent serves the next.
            return {"error": "crashed", "detail": traceback.format_exc()[-_DETAIL_CHARS:]}
        try:
            # As json.dumps would print it: a tuple is a list. Strictly: no NaN, no other objects.
            text = json.dumps(output, allow_nan=False).encode()
            if len(text) > MAX_JSON_BYTES:
                return {
                    "error": "output-too-big",
                    "detail": f"{len(text)} bytes; the most is {MAX_JSON_BYTES}",
                }
            output = parse_json(text)
        except (TypeError, ValueError, RecursionError, BadJson) as error:
            return {"error": "bad-output", "detail": f"what the task returned is no JSON value: {error}"}
        max_rss_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT_BYTES // 1_024
        return {"output": output, "cpu_ms": cpu_ms, "max_rss_kb": max_rss_kb}

    async def send_results(self, client: AsyncLocalClient) -> None:
        """Answers that are ready at the same moment travel in one message."""
        while True:
            await self._has_results.wait()
            self._has_results = trio.Event()
            results, self._results = self._results, []
            try:
                self._post(client, results)
            except LocalFault:
                # Gone, which serve() sees by itself.
                return

    def _post(self, client: AsyncLocalClient, results: Sequence[dict[str, Any]]) -> None:
        try:
            client.tell("agent.result", {"results": results})
        except LocalFault as fault:
            if fault.code != "message-too-big":
                raise
            if len(results) == 1:
                fields = {"error": "output-too-big", "detail": fault.message}
                client.tell("agent.result", {"results": [{"job": results[0]["job"]} | fields]})
            else:
                for result in results:
                    self._post(client, [result])


def _timed(function: Callable[[Task], Any], task: Task) -> tuple[Any, int]:
    started = time.thread_time()
    output = function(task)
    return output, round((time.thread_time() - started) * 1_000)


async def _cancel_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
            return


def _home_flag(arguments: Sequence[str]) -> str | None:
    """`--home DIR` or `--home=DIR` among an agent's own arguments, which are none of our business."""
    for index, argument in enumerate(arguments):
        if argument == "--home":
            return arguments[index + 1] if index + 1 < len(arguments) else None
        if argument.startswith("--home="):
            return argument.removeprefix("--home=")
    return None


def _sentence(name: str, fault: LocalFault) -> str:
    return f"{name}: {fault.message}" + (f"; {fault.fix}" if fault.fix else "")
