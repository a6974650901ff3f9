"""The `agent.*` operations of the local socket, for the CLI and for agents that attach."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from swarmd.node.agents.host import Agents
from swarmd.node.agents.registry import record_of
from swarmd.node.transport.local import LocalCall
from swarmd.protocol.faults import LocalFault

# What `LocalServer` may await in its reading task: taking answers waits for nothing.
INLINE_OPS = frozenset(("agent.result",))

_MAX_RESULTS = 1_024


def agent_ops(agents: Agents) -> Mapping[str, Callable[[LocalCall], Awaitable[Any]]]:
    """op -> its handler.

    - `agent.add` {agent: AgentRecord.document, base, path, replace}: the record as it was registered.
      `base` and `path`: the caller's folder and PATH, against which the command is resolved.
    - `agent.list` {}: a list, `Agents.describe`.
    - `agent.remove` {name}, `agent.enable` {name, enabled}: the record.
    - `agent.stderr` {name}: {"stderr": text}, the last 64 KiB of its last run.
    - `agent.attach` {name, capabilities, concurrency}: {"name", "capabilities", "concurrency"}. From then
      on the connection gets `{"job": {"id", "need", "task", "capability", "input", "purpose",
      "timeout_s"}}` (and "traceparent" where the need is traced) and `{"cancel": id}`.
    - `agent.result` {results: [{"job": id, "output"} or {"job": id, "error", "detail"}]}: how many.
    - `agent.detach` {}: jobs in flight end with "agent-gone"; the connection stays.
    """
    handlers = _Handlers(agents)
    return {
        "agent.add": handlers.add,
        "agent.list": handlers.list,
        "agent.remove": handlers.remove,
        "agent.enable": handlers.enable,
        "agent.stderr": handlers.stderr,
        "agent.attach": handlers.attach,
        "agent.result": handlers.result,
        "agent.detach": handlers.detach,
    }


class _Handlers:
    def __init__(self, agents: Agents) -> None:
        self._agents = agents

    async def add(self, call: LocalCall) -> Any:
        record = record_of(call.args.get("agent"))
        base, path = call.args.get("base", "/"), call.args.get("path")
        if not isinstance(base, str) or not base.startswith("/") or not isinstance(path, str | None):
            raise LocalFault("bad-args", "base must be an absolute folder, path a PATH")
        added = self._agents.registry.add(
            record, base=Path(base), path=path, replace_it=call.args.get("replace") is True
        )
        return added.document(secrets=False)

    async def list(self, call: LocalCall) -> Any:
        return self._agents.describe()

    async def remove(self, call: LocalCall) -> Any:
        return self._agents.registry.remove(_name(call)).document(secrets=False)

    async def enable(self, call: LocalCall) -> Any:
        enabled = call.args.get("enabled", True)
        if type(enabled) is not bool:
            raise LocalFault("bad-args", "enabled is true or false")
        return self._agents.registry.enable(_name(call), enabled).document(secrets=False)

    async def stderr(self, call: LocalCall) -> Any:
        self._agents.registry.known(_name(call))
        return {"stderr": self._agents.runner.last_stderr(_name(call)).decode("utf-8", "replace")}

    async def attach(self, call: LocalCall) -> Any:
        provider = self._agents.attach(call.connection, call.args)
        return {
            "name": provider.name,
            "capabilities": sorted(provider.prices),
            "concurrency": provider.concurrency,
        }

    async def result(self, call: LocalCall) -> Any:
        provider = self._agents.attached(call.connection)
        results = call.args.get("results")
        if not isinstance(results, list) or len(results) > _MAX_RESULTS:
            raise LocalFault("bad-result", f"results is a list of at most {_MAX_RESULTS}")
        for result in results:
            await provider.on_result(result, call.size_bytes)
        return len(results)

    async def detach(self, call: LocalCall) -> Any:
        self._agents.attached(call.connection)
        self._agents.detach(call.connection)


def _name(call: LocalCall) -> str:
    name = call.args.get("name")
    if not isinstance(name, str):
        raise LocalFault("bad-args", "name an agent")
    return name
