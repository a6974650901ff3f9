"""The hybrid mode of a daemon: NATS beside P2P."""

import trio


async def until(true) -> None:
    with trio.fail_after(20):
        while not true():  # noqa: ASYNC110 (what the bridge counts has no event)
            await trio.sleep(0.02)


async def test_daemons_that_only_nats_joins(mesh, task, echo, nats_server):
    """Fallback: without one P2P connection a need is planned, worked, judged and paid over NATS."""
    made = await mesh(2, start=False, nats_url=nats_server.url)
    for node in made:
        await node.start()
    await until(lambda: all(node.daemon.bridge.connected for node in made))
    await made[1].attach(echo())
    await until(
        lambda: made[1].did in made[0].state.manifests and made[0].state.manifests[made[1].did].offers
    )
    detail = await made[0].finish(await made[0].post(task()))
    assert detail["state"] == "FINALIZED"
    await made.until_agreed()
    status = (await made[0].call("status"))["bridge"]
    assert status["connected"] and status["fallback"] > 0 and status["refused"] == 0
    assert (await made[0].call("peers"))["peers"] == []
    made.check_money()


async def test_with_p2p_nats_delivers_nothing_twice(mesh, task, echo, nats_server):
    made = await mesh(2, nats_url=nats_server.url, nats_hold_s=5.0)
    await made.until_met()
    await until(lambda: all(node.daemon.bridge.connected for node in made))
    before = [dict(node.daemon.bridge.status()) for node in made]
    await made[1].attach(echo())
    assert (await made[0].finish(await made[0].post(task())))["state"] == "FINALIZED"
    await made.until_agreed()
    for node, earlier in zip(made, before, strict=True):
        status = node.daemon.bridge.status()
        assert status["in"] > earlier["in"] and status["fallback"] == earlier["fallback"]


async def test_without_a_server_the_daemon_goes_on(mesh, task, echo):
    made = await mesh(1, nats_url="nats://127.0.0.1:1")
    await made[0].attach(echo())
    assert (await made[0].finish(await made[0].post(task())))["state"] == "FINALIZED"
    status = (await made[0].call("status"))["bridge"]
    assert not status["connected"] and status["url"] == "nats://127.0.0.1:1"
