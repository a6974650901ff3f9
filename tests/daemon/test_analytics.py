"""Analytics and metrics of real daemons: level soon, the same after a restart and after checkpoints."""

import sqlite3

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from swarmd.node.agents.sdk import Agent
from swarmd.node.analytics.store import FILE
from swarmd.node.telemetry.metrics import FAMILIES


@pytest.fixture
def failing():
    """An agent that never manages."""
    agent = Agent("bad")

    @agent.task("echo.never", price="0.01", inline=True)
    def never(job):
        raise RuntimeError("no")

    return agent


async def level(node, wait_until, **needs):
    """What analytics says once it counts so many."""
    found = {}

    async def look():
        found.update(await node.call("analytics"))
        return all(found["needs"][name] == number for name, number in needs.items())

    for _ in range(100):
        if await look():
            return found
        await node.daemon.analytics.catch_up()
    raise AssertionError(found)


def steady(found):
    """What must not depend on when it is asked, or by which life of the daemon."""
    return {name: value for name, value in found.items() if name not in ("behind_s", "hours")}


async def test_they_count_what_happened(mesh, task, echo, failing, wait_until):
    two = await mesh(2)
    await two[0].attach(echo(price="0.02"))
    await two[1].attach(failing)
    await two.until_met()
    done = [await two[0].post(task(), budget="0.10") for _ in range(3)]
    lost = await two[1].post(task(capability="echo.never"), budget="0.10")
    for need in done:
        assert (await two[1].finish(need))["state"] == "FINALIZED"
    assert (await two[1].finish(lost))["state"] == "REFUNDED"

    for node in two:
        found = await level(node, wait_until, needs=4, finalized=3, refunded=1)
        assert found["behind_s"] < 5
        assert found["escrow"]["success_rate"] == 0.75
        assert found["escrow"]["budget"]["usdc"] == "0.4"
        assert found["escrow"]["paid"]["minor"] == 60_000
        assert found["escrow"]["returned"]["minor"] == 340_000
        assert found["tasks"] == {"accepted": 3, "failed": 1}
        shown = [(await node.call("need.show", need=need)) for need in done]
        slowest = max(each["finalize_ms"] for each in shown)
        latency = found["latency"]["finalize_ms"]
        assert latency["count"] == 3 and slowest <= latency["p99"] <= 1.13 * slowest + 0.01
        assert found["latency"]["decide_ms"]["count"] == 4
        by_capability = {row["capability"]: row for row in found["capabilities"]}
        assert by_capability["echo"]["accepted"] == 3 and by_capability["echo"]["success_rate"] == 1.0
        assert by_capability["echo.never"] == {
            "capability": "echo.never",
            "accepted": 0,
            "failed": 1,
            "success_rate": 0.0,
            "paid": {"usdc": "0", "minor": 0},
        }
        first, second = found["leaderboard"]
        assert (first["did"], first["rank"], first["accepted"]) == (two[0].did, 1, 3)
        assert first["reputation"] == node.state.rates(two[0].did) > second["reputation"]
        assert (second["did"], second["failed"], second["spent"]["minor"]) == (two[1].did, 1, 0)
        assert sum(hour["needs"] for hour in found["hours"]) == 4


@pytest.mark.parametrize("how", ["as it was", "its file is gone", "its file is damaged"])
async def test_a_restart_counts_the_same(mesh, task, echo, wait_until, how):
    one = await mesh(1)
    await one[0].attach(echo())
    needs = [await one[0].post(task()) for _ in range(3)]
    for need in needs:
        await one[0].finish(need)
    before = await level(one[0], wait_until, needs=3, finalized=3)
    await one[0].stop()
    file = one[0].home / FILE
    with sqlite3.connect(file) as db:
        assert db.execute("select count(*) from ended").fetchone() == (3,)
    db.close()
    if how == "its file is gone":
        file.unlink()
    elif how == "its file is damaged":
        file.write_bytes(b"no database at all" * 1_000)
    await one[0].start()
    assert steady(await level(one[0], wait_until, needs=3, finalized=3)) == steady(before)
    assert (one[0].home / "analytics.damaged").exists() == (how == "its file is damaged")


async def test_bad_questions_are_refused(mesh):
    one = await mesh(1)
    for args in ({"limit": 0}, {"limit": "all"}, {"hours": 10_000}, {"hours": True}):
        assert (await one[0].refused("analytics", **args)).code == "bad-args"


async def test_metrics_are_prometheus_text_of_the_table(mesh, task, echo, wait_until):
    two = await mesh(2)
    await two[0].attach(echo())
    await two.until_met()
    need = await two[1].post(task())
    assert (await two[1].finish(need))["state"] == "FINALIZED"
    await level(two[0], wait_until, finalized=1)
    answer = await two[0].call("metrics")
    assert answer["content_type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(answer["text"])}
    named = {family.name.removesuffix("_total") for family in FAMILIES.values()}
    assert set(families) <= named
    assert named - set(families) <= {"swarmd_ingress_faults", "swarmd_capability_tasks"} - set(families)

    def value(name, **labels):
        return next(
            sample.value
            for family in families.values()
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        )

    assert value("swarmd_needs_ended_total", outcome="finalized") == 1
    assert value("swarmd_peers", direction="inbound") + value("swarmd_peers", direction="outbound") == 1
    assert value("swarmd_envelopes_admitted_total") == two[0].runner.counters["admitted"] > 0
    assert value("swarmd_gossip_latency_seconds_count") > 0
    assert value("swarmd_need_finalize_seconds_count") == 1
    assert value("swarmd_capability_tasks_total", capability="echo", outcome="accepted") == 1
    assert value("swarmd_trouble", kind="disk") == 0
    status = await two[0].call("status")
    assert (
        value("swarmd_gate_verdicts_total", gate="ingress", verdict="allow")
        <= status["gates"]["ingress-allow"]
    )


async def test_checkpoints_close_needs_and_analytics_keeps_them(mesh, task, echo, wait_until):
    """Also of a life that a kill ended before it had counted the checkpoint, and of a newcomer that never saw them."""
    three = await mesh(3, verifiers=2, genesis={"epoch_s": 2}, start=False)
    for index in range(2):
        await three[index].start(peers=[three[0].addr] if index else [])
    await three[0].attach(echo())
    await wait_until(lambda: len(three[0].daemon.transport.peers()) == 1, "two are connected")
    needs = [await three[1].post(task(), budget="0.10") for _ in range(4)]
    for need in needs:
        assert (await three[1].finish(need))["state"] == "FINALIZED"
    before = await level(three[1], wait_until, needs=4, finalized=4)

    # From now on it counts nothing, as if it had been killed between the checkpoint and its next second.
    deaf = three[1].daemon.analytics
    deaf.catch_up = trio.sleep_forever
    await wait_until(lambda: not any(set(needs) & set(node.state.needs) for node in three.running), "let go")
    assert set(deaf._live) == set(needs) and deaf._cursor == 0
    await three[1].stop()
    await three[1].start(peers=[three[0].addr])
    after = await level(three[1], wait_until, needs=4, finalized=4)
    assert steady(after) == steady(before)
    assert not three[1].daemon.analytics._live
    with sqlite3.connect(three[1].home / FILE) as db:
        assert db.execute("select count(*) from ended").fetchone() == (0,)
    db.close()
    late = await three[1].post(task())
    assert (await three[1].finish(late))["state"] == "FINALIZED"
    await level(three[1], wait_until, needs=5, finalized=5)

    await three[2].start(peers=[three[0].addr, three[1].addr])
    await wait_until(lambda: three[2].state.epoch >= 1, "the newcomer has a checkpoint")
    found = await level(three[2], wait_until, finalized=5)
    assert found["escrow"]["success_rate"] == 1.0
