"""A full disk: nothing acknowledged, nothing lost, reading goes on, nobody else is blamed, and it heals by itself."""

import contextlib

import pytest
import trio
from swarmd.node.agents.sdk import Agent

pytestmark = pytest.mark.property_id("P9")


@pytest.fixture
def full():
    """full(node): a block in which the node's database cannot grow by a page."""

    @contextlib.contextmanager
    def filled(node):
        db = node.daemon.journal.db
        db.execute("create table ballast (bytes blob)")
        (pages,) = db.execute("pragma page_count").fetchone()
        db.execute(f"pragma max_page_count = {pages}")
        # What is free within the file would still take rows.
        with contextlib.suppress(Exception):
            for size in (65_536, 4_096, 512, 64):
                with contextlib.suppress(Exception):
                    while True:
                        db.execute("insert into ballast values (zeroblob(?))", (size,))
        try:
            yield
        finally:
            if node.daemon is not None:
                db.execute("pragma max_page_count = 1073741823")
                db.execute("drop table ballast")

    return filled


@pytest.fixture
def gated():
    """An agent that answers when it is let."""

    def make():
        agent = Agent("gated")
        agent.begun, agent.go = trio.Event(), trio.Event()

        @agent.task("echo", price="0.01")
        async def wait(job):
            agent.begun.set()
            await agent.go.wait()
            return {"text": job.input["text"]}

        return agent

    return make


async def test_a_post_is_refused_and_reading_goes_on(mesh, task, echo, full, wait_until):
    [node] = await mesh(1)
    await node.attach(echo())
    done = await node.post(task())
    await node.finish(done)
    with full(node):
        fault = await node.refused(
            "need.post", spec={"budget": "0.10", "tasks": [task(input={"text": {"text": "x" * 9000}})]}
        )
        assert fault.code == "disk-full"
        assert "free" in fault.fix
        status = await node.call("status")
        assert status["trouble"] == "disk-full"
        assert status["needs"] == {"FINALIZED": 1}
        assert [row["need"] for row in (await node.call("need.list"))["needs"]] == [done]
        assert (await node.call("need.show", need=done))["values"] == {"t": {"text": "hello"}}
        assert (await node.call("balance"))["locked"] == "0"
        assert all(step["verified"] for step in (await node.call("why", need=done))["steps"])
    # Without anybody asking for anything: the trouble ends with its cause.
    await wait_until(lambda: node.runner.trouble == "", "the trouble is over")
    assert (await node.call("status"))["trouble"] == ""
    shown = await node.finish(await node.post(task()))
    assert shown["state"] == "FINALIZED"


async def test_a_small_post_is_refused_too(mesh, task, echo, full, wait_until):
    """Even where its content would still find room in the file."""
    [node] = await mesh(1)
    await node.attach(echo())
    with full(node):
        with trio.fail_after(10):
            while True:
                try:
                    await node.post(task(), title="t" * 200)
                except Exception as fault:
                    assert fault.code == "disk-full"
                    break
        assert (await node.call("status"))["trouble"] == "disk-full"
    await wait_until(lambda: node.runner.trouble == "", "the trouble is over")


async def test_a_result_that_finds_no_room_comes_later(mesh, task, gated, full):
    [node] = await mesh(1)
    agent = gated()
    await node.attach(agent)
    need = await node.post(
        task(verify={"type": "schema", "schema": {"type": "object"}}, input={"text": {"text": "x" * 9000}})
    )
    with trio.fail_after(10):
        await agent.begun.wait()
    with full(node):
        agent.go.set()
        with trio.fail_after(10):
            while not node.runner.trouble:  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert (await node.call("need.show", need=need))["state"] == "RUNNING"
    shown = await node.finish(need)
    assert shown["state"] == "FINALIZED", shown["tasks"]


async def test_a_waiting_client_is_answered_after_it(mesh, task, gated, full, nursery):
    """need.wait outlives that the state was rebuilt from the journal meanwhile."""
    [node] = await mesh(1)
    agent = gated()
    await node.attach(agent)
    need = await node.post(task())
    answers = []

    async def wait():
        answers.append(await node.call("need.wait", need=need))

    async def watch():
        async with node.connect() as client:
            async for event in client.stream("need.watch", {"need": need}):
                last = event
        answers.append(last)

    nursery.start_soon(wait)
    nursery.start_soon(watch)
    with trio.fail_after(10):
        await agent.begun.wait()
    with full(node):
        await node.refused(
            "need.post",
            spec={
                "budget": "0.10",
                "title": "x" * 200,
                "tasks": [task(f"t{i}", max_price="0") for i in range(200)],
            },
        )
    agent.go.set()
    with trio.fail_after(10):
        while len(answers) < 2:  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert {answer["state"] for answer in answers} == {"FINALIZED"}


async def test_peers_are_not_blamed_and_their_news_comes_later(mesh, task, echo, full):
    two = await mesh(2, sync_interval_s=0.3)
    await two[0].attach(echo())
    await two[1].attach(echo("other"))
    await two.until_met()
    with full(two[1]):
        for _ in range(3):
            await two[0].post(task(input={"text": {"text": "x" * 1500}}))
        with trio.fail_after(10):
            while not two[1].runner.trouble:  # noqa: ASYNC110
                await trio.sleep(0.01)
        [peer] = (await two[1].call("peers"))["peers"]
        trust = two[1].trust(peer["peer_id"])
        assert (peer["did"], peer["faults"], trust) == (two[0].did, {}, 1.0)
    for need in list(two[0].state.needs):
        assert (await two[0].finish(need))["state"] == "FINALIZED"
    await two.until_agreed()
    [peer] = (await two[1].call("peers"))["peers"]
    assert peer["faults"] == {}


async def test_an_anchor_is_noted_later(mesh, task, echo, full, wait_until, monkeypatch):
    """The chain tells once; a full disk at that moment must not make us forget it."""
    [node] = await mesh(1, anchor_interval_s=4.0)  # a busy machine takes seconds for all that is to be in one
    await node.attach(echo())
    chain = node.daemon.chain
    submit_anchor = chain.submit_anchor
    with contextlib.ExitStack() as stack:

        async def submit(*args, **more):
            stack.enter_context(full(node))
            await submit_anchor(*args, **more)

        monkeypatch.setattr(chain, "submit_anchor", submit)
        # So many notes in one turn that they need more room than the last page has.
        for _ in range(12):
            need = await node.post(task())
        await wait_until(lambda: chain.status()["requests"].get("final") == 2, "the anchor is on chain")
        await wait_until(lambda: node.runner.trouble, "we could not note it")
        assert (await node.call("need.show", need=need))["anchor"] is None
    await wait_until(lambda: next(iter(node.state.anchors.values())).tx_hash, "the anchor is noted")
    assert (await node.call("need.show", need=need))["anchor"]["tx_hash"].startswith("0x")
