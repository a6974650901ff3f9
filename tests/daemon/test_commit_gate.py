"""The commit gate at work: a worker that claims more than its run took is not paid for it."""

from swarmd.node.agents import sdk


async def test_a_worker_that_overstates_its_cpu_time_is_rejected(mesh, task, echo, monkeypatch):
    """What it delivers is right. The next worker in the plan gets the task, and the money."""
    two = await mesh(2, verifiers=1)
    judge, liar = two
    boast = echo("boast", price="0.01")
    outcome = sdk._Session._outcome

    async def measured(session, job):
        answer = await outcome(session, job)
        return {**answer, "cpu_ms": 10**8 if session._offers is boast._offers else 5}

    monkeypatch.setattr(sdk._Session, "_outcome", measured)
    await liar.attach(boast)
    await judge.attach(echo("honest", price="0.02"))
    await two.until_met()
    need = await judge.post(task())
    shown = await judge.finish(need)
    assert shown["state"] == "FINALIZED" and shown["paid"] == "0.02"
    steps = (await judge.call("why", need=need))["steps"]
    attests = [step["text"] for step in steps if step["kind"] == "ATTEST"]
    assert "denied at the commit gate: cpu-overstated" in attests[0] and "accept" in attests[1]
    assert [step["kind"] for step in steps].count("RELEASE") == 1
    assert judge.runner.gates.counters["commit-deny"] == 1
    await two.until_agreed()
    two.check_money()
