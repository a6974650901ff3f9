"""A running host of agents, with real processes and a real local socket."""

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from swarmd.node.agents.host import Agents
from swarmd.node.agents.ops import INLINE_OPS, agent_ops
from swarmd.node.agents.registry import AgentRecord, AgentRegistry, offer
from swarmd.node.ports import Job
from swarmd.node.transport.local import LocalCall, LocalServer
from swarmd.protocol.faults import LocalFault

Hosting = Callable[..., AbstractAsyncContextManager[SimpleNamespace]]


@pytest.fixture
def hosting(tmp_path: Path) -> Hosting:
    """`async with hosting() as h`: h.agents, h.path (socket), h.scratch, h.home."""

    @asynccontextmanager
    async def host(timeout_s: float = 25.0, **options: Any) -> AsyncIterator[SimpleNamespace]:
        agents = Agents(AgentRegistry(tmp_path / "agents.json"), scratch=tmp_path / "scratch", **options)
        ops = agent_ops(agents)

        async def handler(call: LocalCall) -> Any:
            if call.op not in ops:
                raise LocalFault("unknown-op", call.op)
            return await ops[call.op](call)

        path = tmp_path / "run" / "swarmd.sock"
        server = LocalServer(path, handler, inline=INLINE_OPS)
        with trio.fail_after(timeout_s):
            async with trio.open_nursery() as nursery:
                await nursery.start(agents.run)
                await nursery.start(server.run)
                yield SimpleNamespace(
                    agents=agents, path=path, scratch=tmp_path / "scratch", home=tmp_path, server=server
                )
                nursery.cancel_scope.cancel()

    return host


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., AgentRecord]:
    """The record of an agent from shell code, or from Python code with `python=`."""
    count = 0

    def make(
        shell: str = "", *, python: str = "", cap: str = "t.x", price: str = "1", **options: Any
    ) -> AgentRecord:
        nonlocal count
        count += 1
        if python:
            script = tmp_path / f"agent{count}.py"
            script.write_text(python)
            argv = (sys.executable, "-I", "-S", str(script))
        else:
            argv = ("/bin/sh", "-c", shell)
        name = options.pop("name", f"a{count}")
        return AgentRecord(name, "command", (offer(cap, price),), argv, **options)

    return make


@pytest.fixture
def job() -> Callable[..., Job]:
    count = 0

    def make(cap: str = "t.x", timeout_s: float = 15.0, purpose: str = "work", **given: Any) -> Job:
        nonlocal count
        count += 1
        return Job(f"j{count}", "need", "task", cap, given, timeout_s, purpose)

    return make


@pytest.fixture
def rss_kb() -> Callable[[], int]:
    """This process's memory now."""

    def measure() -> int:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1_024

    return measure
