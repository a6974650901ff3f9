"""The agents of this host: who is there, who gets a job, who waits. Implements `ports.AgentHost`."""

import contextlib
from collections import deque
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import trio
from swarmd.node.agents.command import CommandRunner
from swarmd.node.agents.launcher import Launcher
from swarmd.node.agents.process import remove_tree
from swarmd.node.agents.provider import AttachedProvider, CommandProvider, Provider
from swarmd.node.agents.registry import AgentRecord, AgentRegistry, check_name, check_offers, offer
from swarmd.node.ports import Capability, Job, JobResult
from swarmd.node.transport.local import LocalConnection
from swarmd.protocol.amounts import format_usdc
from swarmd.protocol.faults import LocalFault
from trio import TASK_STATUS_IGNORED, TaskStatus

MAX_QUEUED = 1_024
_ATTACHED_DEFAULTS = AgentRecord("attached", "attached", ())
_MAX_ATTACHED_CONCURRENCY = 1_024
# How long an agent whose program cannot be started gets no work.
_REST_S = 30.0


class Agents:
    """Runs jobs on the cheapest agent that has a free place, then on the least busy of the cheapest.

    When all agents of a capability are busy, jobs wait in order of arrival, at most MAX_QUEUED in all.
    `on_change` callbacks are called when what `capabilities` says has changed.
    """

    def __init__(self, registry: AgentRegistry, *, scratch: Path, max_queued: int = MAX_QUEUED) -> None:
        """`scratch`: the folder for the agents' private folders, emptied at the start."""
        self.registry = registry
        self.launcher = Launcher()
        self.runner = CommandRunner(self.launcher, scratch)
        self.on_change: list[Callable[[], None]] = []
        self._scratch = scratch
        self._max_queued = max_queued
        self._commands: dict[str, CommandProvider] = {}
        self._attached: dict[LocalConnection, AttachedProvider] = {}
        self._offers: dict[str, list[Provider]] = {}
        self._capabilities: tuple[Capability, ...] = ()
        self._queues: dict[str, deque[_Waiter]] = {}
        self._queued = 0
        self._arrivals = 0
        self._nursery: trio.Nursery | None = None
        registry.on_change.append(self._on_registry)
        self._on_registry()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; then every process of a command agent is killed."""
        await trio.to_thread.run_sync(_empty_folder, self._scratch)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await nursery.start(self.launcher.run)
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def capabilities(self) -> Sequence[Capability]:
        """The cheapest offer for each capability that an enabled agent can serve now, by name."""
        return self._capabilities

    async def run_job(self, job: Job) -> JobResult:
        """Run to the end; `job.timeout_s` bounds waiting and running, the agent's own limit its run.

        Never raises for what an agent does. Codes besides those of the agents: "no-agent", "busy" (the
        queue is full), "timeout" (also while waiting for an agent).
        """
        if job.capability not in self._offers:
            return _failed(job, "no-agent", f"no agent of this host offers {job.capability}")
        deadline = trio.current_time() + job.timeout_s
        provider = self._take(job.capability)
        if provider is None:
            if self._queued >= self._max_queued:
                return _failed(job, "busy", f"{self._queued} jobs wait for an agent already")
            waiter = await self._wait_for_place(job.capability, deadline)
            provider = waiter.provider
            if provider is None:
                why = "no-agent" if waiter.ready.is_set() else "timeout"
                return _failed(job, why, f"got no agent for {job.capability} within {job.timeout_s:g} s")
        try:
            left_s = deadline - trio.current_time()
            result = await provider.run(job, max(0.0, min(left_s, provider.timeout_s)))
            provider.tally.count(result)
        finally:
            self._release(provider)
        if result.error == "spawn-failed" and isinstance(provider, CommandProvider):
            self._let_rest(provider)
        return result

    def attach(self, connection: LocalConnection, args: dict[str, Any]) -> AttachedProvider:
        """Take in an agent that connected: `{"name", "capabilities": [{"name", "price"}], "concurrency"}`.

        Prices are decimal texts of USDC. Several processes may attach under one name. A record of kind
        "attached" with that name overrides prices and limits. Raises LocalFault with the fix.
        """
        if connection in self._attached:
            raise LocalFault(
                "already-attached", "this connection is an agent already", fix="open another one"
            )
        name = check_name(args.get("name"), "agent")
        declared = {each.name: each.price for each in _offers_of(args.get("capabilities"))}
        concurrency = args.get("concurrency", 1)
        if type(concurrency) is not int or not 1 <= concurrency <= _MAX_ATTACHED_CONCURRENCY:
            raise LocalFault("bad-agent", f"concurrency may be 1 to {_MAX_ATTACHED_CONCURRENCY}")
        record = self.registry.get(name)
        if record is not None and record.kind != "attached":
            raise LocalFault(
                "name-taken", f"{name!r} is a command agent of this host", fix="attach under another name"
            )
        if record is not None and not record.enabled:
            raise LocalFault(
                "agent-disabled", f"agent {name!r} is switched off", fix=f"swarmd agent on {name}"
            )
        if record is not None:
            concurrency = min(concurrency, record.concurrency)
        limits = record or _ATTACHED_DEFAULTS
        provider = AttachedProvider(
            connection,
            name,
            declared,
            concurrency=concurrency,
            timeout_s=limits.timeout_s,
            output_limit_bytes=limits.output_limit_bytes,
        )
        self._attached[connection] = provider
        connection.on_close(lambda: self.detach(connection))
        self._refresh()
        return provider

    def detach(self, connection: LocalConnection) -> None:
        """Forget an attached agent; its jobs end with "agent-gone"."""
        provider = self._attached.pop(connection, None)
        if provider is not None:
            provider.gone()
            self._refresh()

    def attached(self, connection: LocalConnection) -> AttachedProvider:
        """The agent at this connection. LocalFault `not-attached`."""
        provider = self._attached.get(connection)
        if provider is None:
            raise LocalFault("not-attached", "this connection is no agent", fix="call agent.attach first")
        return provider

    def describe(self) -> list[dict[str, Any]]:
        """All agents for an operator: records (without secrets) and attached processes, with their state."""
        found = []
        for record in self.registry.list():
            if record.kind == "command":
                found.append(record.document(secrets=False) | _state(self._commands.get(record.name)))
        for attached in self._attached.values():
            found.append(
                {
                    "name": attached.name,
                    "kind": "attached",
                    "capabilities": [
                        {"name": name, "price": format_usdc(price)} for name, price in attached.prices.items()
                    ],
                    "concurrency": attached.concurrency,
                    "enabled": True,
                }
                | _state(attached)
            )
        names = {each["name"] for each in found}
        for record in self.registry.list():
            if record.name not in names:
                found.append(record.document(secrets=False) | _state(None))
        return sorted(found, key=lambda each: each["name"])

    # -- places -----------------------------------------------------------------------------------------

    def _take(self, capability: str) -> Provider | None:
        """A place at the best free agent, or None."""
        best: Provider | None = None
        for provider in self._offers.get(capability, ()):
            # Sorted by price: the first free one sets the price, those after it compete only at that.
            if best is not None and provider.prices[capability] > best.prices[capability]:
                break
            if provider.running < provider.concurrency and provider.available:
                if best is None or provider.running * best.concurrency < best.running * provider.concurrency:
                    best = provider
        if best is not None:
            best.running += 1
        return best

    def _release(self, provider: Provider) -> None:
        provider.running -= 1
        self._serve_queue(provider.prices)

    def _serve_queue(self, capabilities: Collection[str]) -> None:
        """Give free places to those who waited longest for one of `capabilities`."""
        if not self._queued:
            return
        while True:
            heads = [queue[0] for name in capabilities if (queue := self._queues.get(name))]
            for waiter in sorted(heads, key=lambda each: each.arrival):
                provider = self._take(waiter.capability)
                if provider is not None:
                    self._leave_queue(waiter)
                    waiter.provider = provider
                    waiter.ready.set()
                    break
            else:
                return

    async def _wait_for_place(self, capability: str, deadline: float) -> "_Waiter":
        self._arrivals += 1
        self._queued += 1
        waiter = _Waiter(capability, self._arrivals)
        self._queues.setdefault(capability, deque()).append(waiter)
        try:
            with trio.CancelScope(deadline=deadline):
                await waiter.ready.wait()
        except trio.Cancelled:
            if waiter.provider is not None:
                self._release(waiter.provider)
            raise
        finally:
            if not waiter.ready.is_set():
                self._leave_queue(waiter)
        return waiter

    def _leave_queue(self, waiter: "_Waiter") -> None:
        queue = self._queues[waiter.capability]
        queue.remove(waiter)
        self._queued -= 1
        if not queue:
            del self._queues[waiter.capability]

    # -- who is there -----------------------------------------------------------------------------------

    def _on_registry(self) -> None:
        before = self._commands
        self._commands = {}
        for record in self.registry.list():
            if record.kind == "command":
                old = before.get(record.name)
                same = old is not None and old.record == record
                self._commands[record.name] = old if old and same else CommandProvider(record, self.runner)
        for name in before.keys() - self._commands.keys():
            self.runner.forget(name)
        self._refresh()

    def _refresh(self) -> None:
        """Recompute the offers after any change of who is there, and tell."""
        providers: list[Provider] = []
        providers += [each for each in self._commands.values() if each.record.enabled]
        for attached in self._attached.values():
            record = self.registry.get(attached.name)
            if record is None or record.enabled:
                attached.reprice(record.capabilities if record is not None else ())
                providers.append(attached)
        offers: dict[str, list[Provider]] = {}
        for provider in providers:
            if provider.available:
                for capability in provider.prices:
                    offers.setdefault(capability, []).append(provider)
        for capability, those in offers.items():
            those.sort(key=lambda each: each.prices[capability])
        self._offers = offers
        for capability in list(self._queues):
            if capability not in offers:
                for waiter in list(self._queues[capability]):
                    self._leave_queue(waiter)
                    waiter.ready.set()
        self._serve_queue(list(offers))
        capabilities = tuple(Capability(name, offers[name][0].prices[name]) for name in sorted(offers))
        if capabilities != self._capabilities:
            self._capabilities = capabilities
            for callback in self.on_change:
                callback()

    def _let_rest(self, provider: CommandProvider) -> None:
        """Its program is gone, or the host is out of processes: offer it again after a while."""
        if provider.available and self._nursery is not None:
            provider.available = False
            self._refresh()
            self._nursery.start_soon(self._wake, provider)

    async def _wake(self, provider: CommandProvider) -> None:
        await trio.sleep(_REST_S)
        provider.available = True
        self._refresh()


class _Waiter:
    """A job that waits for a place. `ready` without a provider: nobody offers the capability any more."""

    __slots__ = ("capability", "arrival", "ready", "provider")

    def __init__(self, capability: str, arrival: int) -> None:
        self.capability = capability
        self.arrival = arrival
        self.ready = trio.Event()
        self.provider: Provider | None = None


def _offers_of(value: object) -> list[Capability]:
    if not isinstance(value, list):
        raise LocalFault("bad-agent", "capabilities is a list of {name, price}")
    offers = []
    for each in value:
        if not isinstance(each, dict):
            raise LocalFault("bad-agent", "capabilities is a list of {name, price}")
        offers.append(offer(each.get("name", ""), each.get("price", "")))
    check_offers(offers)
    return offers


def _state(provider: Provider | None) -> dict[str, Any]:
    if provider is None:
        return {"available": False, "running": 0, "done": 0, "failed": {}}
    return {
        "available": provider.available,
        "running": provider.running,
        "done": provider.tally.done,
        "failed": dict(provider.tally.failed),
    }


def _failed(job: Job, code: str, detail: str) -> JobResult:
    return JobResult(job.job_id, None, code, detail, {"wall_ms": 0})


def _empty_folder(folder: Path) -> None:
    """What a killed daemon's agents left behind."""
    with contextlib.suppress(FileNotFoundError):
        for left in folder.iterdir():
            remove_tree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
