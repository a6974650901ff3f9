"""Agents that attach over the local socket, the SDK, and who gets which job."""

import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from swarmd.node.agents import Agent
from swarmd.node.agents.registry import AgentRecord, offer
from swarmd.node.ports import Capability
from swarmd.node.transport.local_async import connect_local
from swarmd.protocol.faults import LocalFault

SDK_AGENT = """
import sys
from swarmd.node.agents import Agent
agent = Agent("wc")
@agent.task("text.wordcount", price="0.02")
async def count(task): return {"words": len(task.input["text"].split())}
assert not {"libp2p", "web3", "wasmtime", "automerge"} & set(sys.modules)
agent.run()
"""


def wordcounter(name: str = "wc", cap: str = "text.wordcount", price: str = "0.02", **options: Any) -> Agent:
    agent = Agent(name, **options)

    @agent.task(cap, price=price)
    async def count(task):
        return {"words": len(task.input["text"].split()), "by": name}

    return agent


def started(script: Path, env: dict[str, str], stderr: Path) -> subprocess.Popen[bytes]:
    with stderr.open("w") as err:
        return subprocess.Popen([sys.executable, str(script)], env=env, stderr=err)


async def changed(agents: Any) -> None:
    """Wait for the next change of what the host offers."""
    event = trio.Event()
    agents.on_change.append(event.set)
    await event.wait()
    agents.on_change.remove(event.set)


async def test_an_agent_attaches_serves_and_goes(hosting, job):
    async with hosting() as h, trio.open_nursery() as nursery:
        await nursery.start(wordcounter().serve, h.path)
        assert h.agents.capabilities() == (Capability("text.wordcount", 20_000),)
        result = await h.agents.run_job(job("text.wordcount", text="one two three"))
        assert (result.error, result.output) == (None, {"words": 3, "by": "wc"})
        assert result.telemetry["output_bytes"] == len(b'{"by":"wc","words":3}')
        assert h.agents.describe()[0]["done"] == 1
        nursery.cancel_scope.cancel()
    assert h.agents.capabilities() == ()


async def test_sync_functions_crashes_and_bad_answers(hosting, job):
    agent = Agent("many")
    agent.task("t.thread")(lambda task: [task.input["n"], (1, 2.0), task.purpose])
    agent.task("t.inline", inline=True)(lambda task: task.input["n"])
    agent.task("t.bad")(lambda task: {1, 2})
    agent.task("t.nan")(lambda task: float("nan"))
    agent.task("t.big")(lambda task: "x" * 9_000_000)
    agent.task("t.huge")(lambda task: "x" * 17_000_000)

    @agent.task("t.crash")
    async def crash(task):
        raise KeyError("what is missing")

    async with hosting() as h, trio.open_nursery() as nursery:
        await nursery.start(agent.serve, h.path)

        async def run(cap: str) -> Any:
            return await h.agents.run_job(job(cap, n=2**200))

        assert (await run("t.thread")).output == [2**200, [1, 2.0], "work"]
        assert (await run("t.inline")).output == 2**200
        crashed = await run("t.crash")
        assert crashed.error == "crashed" and "KeyError: 'what is missing'" in crashed.detail
        assert (await run("t.bad")).error == "bad-output" and (await run("t.nan")).error == "bad-output"
        assert (await run("t.big")).error == "output-too-big" and (
            await run("t.huge")
        ).error == "output-too-big"
        assert (await h.agents.run_job(job("t.inline", n=b"bytes are no JSON"))).error is not None
        nursery.cancel_scope.cancel()


async def test_an_agent_that_leaves_during_a_job(hosting, job):
    async with hosting() as h:
        started = trio.Event()
        agent = Agent("slow")

        @agent.task("t.slow")
        async def slow(task):
            started.set()
            await trio.sleep_forever()

        results = []

        async def run() -> None:
            results.append(await h.agents.run_job(job("t.slow")))

        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as inner:
                await inner.start(agent.serve, h.path)
                nursery.start_soon(run)
                await started.wait()
                inner.cancel_scope.cancel()
        assert results[0].error == "agent-gone"


async def test_a_job_out_of_time_is_cancelled_at_the_agent(hosting, job):
    async with hosting() as h, trio.open_nursery() as nursery:
        stopped = trio.Event()
        agent = Agent("slow")

        @agent.task("t.slow")
        async def slow(task):
            try:
                await trio.sleep_forever()
            finally:
                stopped.set()

        await nursery.start(agent.serve, h.path)
        result = await h.agents.run_job(job("t.slow", timeout_s=0.05))
        assert result.error == "timeout"
        await stopped.wait()
        assert h.agents.describe()[0]["failed"] == {"timeout": 1}
        nursery.cancel_scope.cancel()


async def test_a_task_that_outlasts_another_keeps_its_result(hosting, job):
    """Its answer must not go with those that were sent while it ran."""
    agent = Agent("two")
    begun, go = trio.Event(), trio.Event()

    @agent.task("t.long")
    async def long(task):
        begun.set()
        await go.wait()
        return "at last"

    agent.task("t.short", inline=True)(lambda task: "at once")
    results = {}

    async def run(h, capability):
        results[capability] = (await h.agents.run_job(job(capability))).output

    async with hosting() as h, trio.open_nursery() as nursery:
        await nursery.start(agent.serve, h.path)
        with trio.fail_after(5):
            async with trio.open_nursery() as jobs:
                jobs.start_soon(run, h, "t.long")
                await begun.wait()
                await run(h, "t.short")
                go.set()
        nursery.cancel_scope.cancel()
    assert results == {"t.long": "at last", "t.short": "at once"}


async def test_many_jobs_in_flight_are_answered_each_by_its_own(hosting, job):
    agent = Agent("echo", concurrency=64)
    agent.task("t.echo", inline=True)(lambda task: task.input["n"])
    async with hosting() as h, trio.open_nursery() as nursery:
        await nursery.start(agent.serve, h.path)

        async def run(n: int) -> None:
            assert (await h.agents.run_job(job("t.echo", n=n))).output == n

        async with trio.open_nursery() as jobs:
            for n in range(500):
                jobs.start_soon(run, n)
        nursery.cancel_scope.cancel()


async def test_twenty_agents_at_once_share_the_work(hosting, job):
    async with hosting() as h, trio.open_nursery() as nursery:
        gate = trio.Event()
        for number in range(20):
            agent = Agent(f"a{number}", concurrency=1)

            @agent.task("t.x")
            async def work(task, number=number):
                await gate.wait()
                return number

            await nursery.start(agent.serve, h.path)
        seen = []

        async def run() -> None:
            seen.append((await h.agents.run_job(job())).output)

        async with trio.open_nursery() as jobs:
            for _ in range(20):
                jobs.start_soon(run)
            await trio.testing.wait_all_tasks_blocked(0.01)
            gate.set()
        assert sorted(seen) == list(range(20))
        nursery.cancel_scope.cancel()


async def test_the_cheapest_agent_is_preferred_then_the_least_busy(hosting, job):
    async with hosting() as h, trio.open_nursery() as nursery:
        gate = trio.Event()
        started = []
        for name, price in (("dear", "3"), ("cheap1", "1"), ("cheap2", "1")):
            agent = Agent(name, concurrency=2)

            @agent.task("t.x", price=price)
            async def work(task, name=name):
                started.append(name)
                await gate.wait()

            await nursery.start(agent.serve, h.path)
        assert h.agents.capabilities() == (Capability("t.x", 1_000_000),)
        for count in range(1, 7):
            nursery.start_soon(h.agents.run_job, job())
            while len(started) < count:
                await trio.testing.wait_all_tasks_blocked(0.002)
        assert sorted(started[:2]) == sorted(started[2:4]) == ["cheap1", "cheap2"]
        assert started[4:] == ["dear", "dear"]
        nursery.cancel_scope.cancel()


async def test_the_queue_is_fair_bounded_and_in_time(hosting, job):
    async with hosting(max_queued=2) as h, trio.open_nursery() as nursery:
        gate = trio.Event()
        order = []
        agent = Agent("one", concurrency=1)

        @agent.task("t.x")
        async def work(task):
            order.append(task.input["n"])
            await gate.wait()

        await nursery.start(agent.serve, h.path)
        for n in range(3):
            nursery.start_soon(h.agents.run_job, job(n=n))
            await trio.testing.wait_all_tasks_blocked(0.002)
        busy = await h.agents.run_job(job(n=3))
        assert busy.error == "busy"
        gate.set()
        while len(order) < 3:
            await trio.testing.wait_all_tasks_blocked(0.002)
        assert order == [0, 1, 2]

        gate = trio.Event()
        nursery.start_soon(h.agents.run_job, job(n=4))
        await trio.testing.wait_all_tasks_blocked(0.002)
        late = await h.agents.run_job(job(n=5, timeout_s=0.02))
        assert late.error == "timeout" and order[-1] == 4
        with trio.move_on_after(0.02):
            await h.agents.run_job(job(n=6))  # cancelled while it waits: gives its place back
        assert h.agents._queued == 0 and not h.agents._queues
        gate.set()
        assert (await h.agents.run_job(job(n=7))).error is None
        nursery.cancel_scope.cancel()


async def test_jobs_that_wait_for_an_agent_that_leaves_end(hosting, job):
    async with hosting() as h, trio.open_nursery() as nursery:
        results = []
        agent = Agent("one", concurrency=1)
        agent.task("t.x")(lambda task: None)

        @agent.task("t.y")
        async def stuck(task):
            await trio.sleep_forever()

        async def run(cap: str) -> None:
            results.append((await h.agents.run_job(job(cap))).error)

        async with trio.open_nursery() as jobs:
            async with trio.open_nursery() as serving:
                await serving.start(agent.serve, h.path)
                jobs.start_soon(run, "t.y")
                await trio.testing.wait_all_tasks_blocked(0.01)
                jobs.start_soon(run, "t.x")
                await trio.testing.wait_all_tasks_blocked(0.01)
                serving.cancel_scope.cancel()
        assert sorted(results) == ["agent-gone", "no-agent"]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ({}, "bad-name"),
        ({"name": "Wrong Name"}, "bad-name"),
        ({"name": "a"}, "bad-agent"),
        ({"name": "a", "capabilities": []}, "bad-agent"),
        ({"name": "a", "capabilities": [5]}, "bad-agent"),
        ({"name": "a", "capabilities": [{"name": "t.x"}]}, "bad-amount"),
        ({"name": "a", "capabilities": [{"name": "t.x", "price": "-1"}]}, "bad-amount"),
        ({"name": "a", "capabilities": [{"name": "t.x", "price": 1}]}, "bad-amount"),
        ({"name": "a", "capabilities": [{"name": "../x", "price": "1"}]}, "bad-name"),
        ({"name": "a", "capabilities": [{"name": "x", "price": "1"}] * 2}, "bad-agent"),
        ({"name": "a", "capabilities": [{"name": "x", "price": "1"}], "concurrency": 0}, "bad-agent"),
    ],
)
async def test_a_bad_introduction_is_refused(hosting, args, code):
    async with hosting() as h, connect_local(h.path) as client:
        with pytest.raises(LocalFault) as caught:
            await client.call("agent.attach", args)
        assert caught.value.code == code
        assert h.agents.capabilities() == ()


async def test_rude_answers_hurt_nobody(hosting, job):
    offers = {"name": "rude", "capabilities": [{"name": "t.x", "price": "1"}], "concurrency": 8}
    async with hosting() as h:
        jobs: list[Any] = []
        async with connect_local(h.path, on_message=jobs.append) as client:
            with pytest.raises(LocalFault, match="not-attached"):
                await client.call("agent.result", {"results": []})
            await client.call("agent.attach", offers)
            with pytest.raises(LocalFault, match="already-attached"):
                await client.call("agent.attach", offers)
            for bad in (None, 5, [5], [{}], [{"job": "1"}], [{"job": True}]):
                with pytest.raises(LocalFault, match="bad-result"):
                    await client.call("agent.result", {"results": bad})
            assert await client.call("agent.result", {"results": [{"job": 99, "output": 1}]}) == 1

            async def answer(**fields: Any) -> Any:
                results = []

                async def run() -> None:
                    results.append(await h.agents.run_job(job()))

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(run)
                    while not jobs:
                        await trio.testing.wait_all_tasks_blocked(0.001)
                    number = jobs.pop()["job"]["id"]
                    await client.call("agent.result", {"results": [{"job": number} | fields] * 2})
                return results[0]

            assert (await answer(output=b"bytes")).error == "bad-output"
            assert (await answer(output=float("inf"))).error == "bad-output"
            odd = await answer(error={"no": "code"}, detail=7)
            assert (odd.error, odd.detail) == ("crashed", "")
            lies = await answer(output=1, cpu_ms=-5, max_rss_kb="many")
            assert lies.output == 1 and (lies.telemetry["cpu_ms"], lies.telemetry["max_rss_kb"]) == (0, 0)
            assert len((await answer(error="timeout", detail="x" * 9_000)).detail) == 2_048
            await client.call("agent.detach")
            assert h.agents.capabilities() == ()


async def test_the_operator_sets_prices_and_switches_agents_off(hosting, job):
    async with hosting() as h, trio.open_nursery() as nursery:
        h.agents.registry.add(AgentRecord("wc", "attached", (offer("text.wordcount", "5"),), concurrency=3))
        await nursery.start(wordcounter().serve, h.path)
        assert h.agents.capabilities() == (Capability("text.wordcount", 5_000_000),)
        h.agents.registry.enable("wc", False)
        assert h.agents.capabilities() == ()
        assert (await h.agents.run_job(job("text.wordcount", text=""))).error == "no-agent"
        with pytest.raises(LocalFault, match="agent-disabled"):
            await wordcounter().serve(h.path)
        h.agents.registry.enable("wc", True)
        h.agents.registry.remove("wc")
        assert h.agents.capabilities() == (Capability("text.wordcount", 20_000),)
        h.agents.registry.add(AgentRecord("c", "command", (offer("t.x", "1"),), ("/bin/cat",)))
        with pytest.raises(LocalFault, match="name-taken"):
            await wordcounter("c").serve(h.path)
        nursery.cancel_scope.cancel()


async def test_the_operations_of_the_cli(hosting, tmp_path):
    (tmp_path / "wordcount.py").write_text("print(1)")
    async with hosting() as h, connect_local(h.path) as client:
        agent = {
            "name": "wc",
            "kind": "command",
            "capabilities": [{"name": "text.wordcount", "price": "0.02"}],
            "argv": ["python3", "wordcount.py", "--flag", "no-such-file"],
            "env": {"API_KEY": "secret"},
        }
        added = await client.call(
            "agent.add", {"agent": agent, "base": str(tmp_path), "path": os.environ["PATH"]}
        )
        assert added["argv"][0].startswith("/") and added["argv"][1:] == [
            str(tmp_path / "wordcount.py"),
            "--flag",
            "no-such-file",
        ]
        assert added["env"] == {"API_KEY": "***"}
        with pytest.raises(LocalFault, match="name-taken"):
            await client.call("agent.add", {"agent": agent, "base": str(tmp_path)})
        await client.call("agent.add", {"agent": agent, "base": str(tmp_path), "replace": True})
        (listed,) = await client.call("agent.list")
        assert listed["capabilities"] == [{"name": "text.wordcount", "price": "0.02"}] and listed["available"]
        assert (await client.call("agent.enable", {"name": "wc", "enabled": False}))["enabled"] is False
        assert await client.call("agent.stderr", {"name": "wc"}) == {"stderr": ""}
        await client.call("agent.remove", {"name": "wc"})
        assert await client.call("agent.list") == []
        with pytest.raises(LocalFault, match="no-such-agent"):
            await client.call("agent.remove", {"name": "wc"})
        for args in ({}, {"agent": 5}, {"agent": agent | {"what": 1}}, {"agent": agent, "base": "relative"}):
            with pytest.raises(LocalFault, match="bad-a"):
                await client.call("agent.add", args)


async def test_an_sdk_process_attaches_and_survives_a_restart_of_the_daemon(hosting, job, tmp_path):
    script = tmp_path / "wc.py"
    script.write_text(SDK_AGENT)
    env = {"PATH": os.environ["PATH"], "SWARMD_HOME": str(tmp_path)}
    process = started(script, env, tmp_path / "err")
    try:
        for _ in range(2):
            async with hosting() as h:
                if not h.agents.capabilities():
                    await changed(h.agents)
                result = await h.agents.run_job(job("text.wordcount", text="one two"))
                assert result.output == {"words": 2}
        process.send_signal(signal.SIGTERM)
        with trio.fail_after(10):
            assert await trio.to_thread.run_sync(process.wait) == 0
    finally:
        process.kill()
        process.wait()
    said = (tmp_path / "err").read_text()
    assert "Traceback" not in said and "attached to" in said and "text.wordcount at 0.02 USDC" in said


def test_without_a_daemon_the_agent_says_so_and_waits(tmp_path):
    script = tmp_path / "wc.py"
    script.write_text(SDK_AGENT)
    argv = [sys.executable, str(script), "--home", str(tmp_path / "home")]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env={}) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert "no swarmd daemon answers at" in line and "swarmd up" in line and "Waiting" in line
            assert str(tmp_path / "home") in line
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0, process.stderr.read()
        assert process.stderr.read() == ""


async def test_a_refused_agent_ends_with_the_reason(hosting, tmp_path):
    script = tmp_path / "wc.py"
    script.write_text(SDK_AGENT)
    async with hosting() as h:
        h.agents.registry.add(AgentRecord("wc", "attached", (offer("text.wordcount", "5"),), enabled=False))
        run = await trio.run_process(
            [sys.executable, str(script), f"--home={tmp_path}"],
            check=False,
            capture_stderr=True,
            env={"PATH": os.environ["PATH"]},
        )
        assert run.returncode == 1 and b"switched off" in run.stderr and b"Traceback" not in run.stderr


def test_mistakes_of_an_author_are_told_at_once():
    with pytest.raises(LocalFault, match="bad-name"):
        Agent("Not A Name")
    agent = Agent("a")
    with pytest.raises(LocalFault, match="bad-amount"):
        agent.task("t.x", price="a lot")
    agent.task("t.x")(print)
    with pytest.raises(LocalFault, match="serves t.x already"):
        agent.task("t.x")
    try:
        trio.run(Agent("empty").serve, None)
    except LocalFault as fault:
        assert "serves nothing" in fault.message and "@agent.task" in fault.fix
    else:
        pytest.fail(traceback.format_stack()[-1])
