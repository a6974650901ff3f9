"""Agents and verifiers that misbehave, through whole daemons: the reason is on record, the money safe, nobody falls."""

import threading
from pathlib import Path

import pytest
import trio
from swarmd.node.agents.sdk import Agent
from swarmd.protocol.canonical_json import canonical_json
from swarmd.protocol.cbor import Link
from swarmd.protocol.inputs import Commanded

OBJECT = {"type": "schema", "schema": {"type": "object", "required": ["text"]}}
ECHO = ["/bin/sh", "-c", 'cat > /dev/null; echo "{\\"text\\": 1}"']


def sh(script):
    return ["/bin/sh", "-c", script]


# capability -> (the command, more of its record, what `why` says of it)
BAD_AGENTS = {
    "crash": (sh("cat > /dev/null; echo boom >&2; exit 3"), {}, ("crashed", "exit status 3", "boom")),
    "hang": (sh("sleep 600"), {"timeout_s": 0.4}, ("timeout", "longer than 0.4 s")),
    "garbage": (sh("cat > /dev/null; echo 'so sorry'"), {}, ("bad-output", "not one JSON value")),
    "silence": (sh("cat > /dev/null"), {}, ("bad-output",)),
    "flood": (sh("head -c 1073741824 /dev/zero"), {}, ("output-too-big", "8388608 bytes")),
    "errors": (sh("head -c 268435456 /dev/zero >&2; exit 1"), {}, ("crashed", "exit status 1")),
    "gone": (["/bin/sh", "-c", "kill -9 $$"], {}, ("SIGKILL",)),
}


def rss_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


@pytest.fixture
def peak_rss():
    """How far this process grows: peak_rss() says by how many MB so far."""
    start, peak, end = rss_mb(), [0.0], threading.Event()

    def watch():
        while not end.wait(0.005):
            peak[0] = max(peak[0], rss_mb() - start)

    thread = threading.Thread(target=watch)
    thread.start()
    yield lambda: peak[0]
    end.set()
    thread.join()


def attempts(why, kind):
    return [step for step in why["steps"] if step["kind"] == kind]


async def test_what_an_agent_does_wrong_is_on_record_and_the_next_one_takes_over(mesh, task, peak_rss):
    three = await mesh(3, verifiers=1)
    owner, bad, good = three
    for name, (argv, more, _) in BAD_AGENTS.items():
        await bad.add_command(name, name, *argv, price="0.01", **more)
        await good.add_command(name, name, *ECHO, price="0.02")
    await three.until_met()
    grown = peak_rss()
    needs = {name: await owner.post(task(capability=name, verify=OBJECT)) for name in BAD_AGENTS}
    for name, need in needs.items():
        shown = await owner.finish(need, timeout_s=30)
        assert shown["state"] == "FINALIZED", (name, shown)
        [run] = shown["tasks"]
        assert (run["worker"], run["attempt"], shown["paid"]) == (good.did, 1, "0.02")
        why = await owner.call("why", need=need)
        assert all(step["verified"] and not step["void"] for step in why["steps"])
        [given_back] = attempts(why, "YIELD")
        assert given_back["sender"] == bad.did
        for word in BAD_AGENTS[name][2]:
            assert word in given_back["text"], (name, given_back["text"])
        assert [(end["cause"], end["attempt"]) for end in run["ended"]] == [("yielded", 0)]
    # A gigabyte was printed; the limit of one answer is 8 MiB.
    assert peak_rss() - grown < 120
    await three.until_agreed()
    three.check_money()
    assert bad.state.ledger.account(bad.did).earned == 0


async def test_with_nobody_left_the_money_goes_back(mesh, task):
    two = await mesh(2)
    await two[1].add_command("crash", "echo", *BAD_AGENTS["crash"][0])
    await two.until_met()
    need = await two[0].post(task())
    shown = await two[0].finish(need)
    assert (shown["state"], shown["paid"]) == ("REFUNDED", "0")
    assert "every candidate failed" in shown["reason"]
    assert "boom" in shown["reason"]
    assert shown["escrow"]["returned"] == "1"
    assert (await two[0].call("balance"))["locked"] == "0"
    why = await two[0].call("why", need=need)
    assert (why["state"], why["reason"]) == ("REFUNDED", shown["reason"])
    await two.until_agreed()
    two.check_money()


async def test_an_attached_agent_that_leaves_gives_its_work_back(mesh, task, nursery):
    two = await mesh(2, verifiers=1)
    begun = trio.Event()
    agent = Agent("fickle")

    @agent.task("echo", price="0.01")
    async def begin(job):
        begun.set()
        await trio.sleep_forever()

    scope = trio.CancelScope()

    async def serve(*, task_status):
        with scope:
            await agent.serve(two[1].home / "run" / "swarmd.sock", task_status=task_status)

    await nursery.start(serve)
    await two.until_met()
    need = await two[0].post(task(verify=OBJECT))
    with trio.fail_after(10):
        await begun.wait()
    scope.cancel()
    shown = await two[0].finish(need)
    assert shown["state"] == "REFUNDED"
    assert "agent-gone" in shown["reason"]


async def test_an_attached_agent_finds_its_work_after_a_restart(mesh, task, echo):
    """What the outbox holds waits until the agent has attached again."""
    [node] = await mesh(1)
    begun = trio.Event()
    slow = Agent("slow")

    @slow.task("echo", price="0.01")
    async def begin(job):
        begun.set()
        await trio.sleep_forever()

    await node.attach(slow)
    need = await node.post(task())
    with trio.fail_after(10):
        await begun.wait()
    await node.stop()
    await node.start()
    assert (await node.call("need.show", need=need))["state"] == "RUNNING"
    await node.attach(echo("slow"))
    shown = await node.finish(need)
    assert (shown["state"], shown["values"]) == ("FINALIZED", {"t": {"text": "hello"}})


# Verifiers ------------------------------------------------------------------------------------------------

VERIFIERS = {
    "likes": sh("cat > /dev/null; echo fine; exit 0"),
    "dislikes": sh("cat > /dev/null; echo 'the text is too short'; exit 1"),
    "breaks": sh("cat > /dev/null; exit 9"),
    "reads": sh('grep -q \'"output":{"text":"hello"}\' && exit 0; exit 1'),
}


# (how to verify, the verdict, what its reason says, the end of the need or None: open until its deadline)
JUDGEMENTS = [
    (OBJECT, "accept", "", "FINALIZED"),
    ({"type": "schema", "schema": {"required": ["words"]}}, "reject", "words", "REFUNDED"),
    ({"type": "schema", "schema": {"$ref": "http://192.0.2.1/x"}}, "abstain", "", None),
    ({"type": "schema", "schema": {"type": 7}}, "abstain", "schema", None),
    ({"type": "command", "name": "likes"}, "accept", "fine", "FINALIZED"),
    ({"type": "command", "name": "reads"}, "accept", "", "FINALIZED"),
    ({"type": "command", "name": "dislikes"}, "reject", "the text is too short", "REFUNDED"),
    ({"type": "command", "name": "breaks"}, "abstain", "crashed", None),
    ({"type": "command", "name": "unheard-of"}, "abstain", "unheard-of", None),
]


async def test_what_a_verifier_says_is_what_happens(mesh, task, echo, wait_until):
    [node] = await mesh(1, verifier_commands=VERIFIERS)
    await node.attach(echo())
    needs = [await node.post(task(verify=verify)) for verify, *_ in JUDGEMENTS]
    for need, (verify, verdict, reason, end) in zip(needs, JUDGEMENTS, strict=True):
        await wait_until(lambda need=need: node.state.needs[need].attests, "it is judged")
        [judged] = (await node.call("need.show", need=need))["tasks"][0]["judges"]
        assert judged["verdict"] == verdict, (verify, judged)
        assert reason in judged["reason"], (verify, judged)
        if end is not None:
            shown = await node.finish(need)
            assert shown["state"] == end
            assert shown["paid"] == {"FINALIZED": "0.01", "REFUNDED": "0"}[end]
    open_needs = sum(end is None for *_, end in JUDGEMENTS)
    assert (await node.call("balance"))["locked"] == str(open_needs)
    node.state.ledger.check_all()


async def test_reexecution_finds_the_liar_and_the_next_worker_is_paid(mesh, task, echo):
    three = await mesh(3, verifiers=1)
    owner, liar, honest = three
    lies = Agent("liar")

    @lies.task("echo", price="0.01")
    async def lie(job):
        return {"text": "nonsense"}

    await liar.attach(lies)
    await honest.attach(echo("honest", "0.02"))
    await owner.attach(echo("judge", "0.09"))
    await three.until_met()
    shown = await owner.finish(await owner.post(task()))
    assert (shown["state"], shown["tasks"][0]["worker"], shown["paid"]) == ("FINALIZED", honest.did, "0.02")
    [first, _] = shown["tasks"][0]["judges"]
    assert first["verdict"] == "reject"
    assert "at $.text" in first["reason"]
    await three.until_agreed()
    assert owner.state.rates(liar.did) < owner.state.rates(honest.did)


async def test_a_schema_of_a_stranger_that_is_none_costs_its_judgement_only(mesh, task, echo, wait_until):
    [node] = await mesh(1)
    await node.attach(echo())
    content = node.daemon.content
    text, _ = content.add(b"hello")
    broken, _ = content.add(b"{not json")
    args = {
        "title": "theirs",
        "budget": 100_000,
        "deadline_s": 60,
        "inline": [],
        "tasks": [
            {
                "id": "t",
                "capability": "echo",
                "max_price": 100_000,
                "input": {"text": {"cid": Link(text), "as": "text"}},
                "verify": {"type": "schema", "schema": Link(broken)},
            }
        ],
    }
    reply = node.runner.tell(lambda at_ns: Commanded("need.post", args, at_ns), reply=True)
    with trio.fail_after(10):
        need = await reply.wait()
    await wait_until(lambda: node.state.needs[need].attests, "it is judged")
    [judged] = (await node.call("need.show", need=need))["tasks"][0]["judges"]
    assert (judged["verdict"], judged["reason"][:10]) == ("abstain", "bad-schema")
    assert (await node.finish(await node.post(task())))["state"] == "FINALIZED"


async def test_more_schemas_at_once_than_are_kept_warm(mesh, task, echo):
    [node] = await mesh(1)
    await node.attach(echo())
    schemas = [{"type": "object", "title": f"schema {i}"} for i in range(11)]
    assert len({canonical_json(schema) for schema in schemas}) == 11
    needs = [
        await node.post(task(verify={"type": "schema", "schema": schema}), budget="0.10")
        for schema in schemas
    ]
    for need in needs:
        assert (await node.finish(need, timeout_s=40))["state"] == "FINALIZED"
