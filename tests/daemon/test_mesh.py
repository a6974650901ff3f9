"""Three daemons: what gossip loses, sync repairs; who was away catches up."""


async def test_a_need_crosses(mesh, task, echo):
    three = await mesh(3)
    await three[1].attach(echo())
    await three[2].attach(echo())
    await three.until_met()
    need = await three[0].post(task())
    shown = await three[0].finish(need)
    assert shown["state"] == "FINALIZED", shown
    await three.until_agreed()
    three.check_money()
