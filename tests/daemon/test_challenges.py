"""Challenges on real daemons: a wrong result is reversed, a frivolous challenge loses its bond, and money waits for both.

P3. Who judges first looks at the form alone, as the owner asked; who judges again runs the work.
"""

import json
import os
import subprocess
import sys

import pytest
import trio
from swarmd.node.agents.sdk import Agent

pytestmark = pytest.mark.property_id("P3")

GENESIS = {"epoch_s": 2, "challenge_window_s": 4}
LOOSE = {"type": "schema", "schema": {"type": "object", "required": ["text"]}}
BALANCE = 1_000_000_000


@pytest.fixture
def watched(mesh, echo):
    """Five daemons, one of them a cheap liar; the others do honest work for more."""

    async def make():
        five = await mesh(5, genesis=GENESIS)
        owner, liar, *honest = five
        lies = Agent("liar")

        @lies.task("echo", price="0.02", inline=True)
        def answer(job):
            return {"text": "a lie"}

        await liar.attach(lies)
        for index, node in enumerate(honest):
            await node.attach(echo(f"h{index}", price="0.04"))
        await five.until_met()
        return five

    return make


async def fresh_epoch(mesh, wait_until):
    """A new epoch has just begun everywhere: what is posted now is in the next cut."""
    before = max(node.state.epoch for node in mesh)
    await wait_until(lambda: all(node.state.epoch > before for node in mesh), "the next epoch", 40.0)


async def swarmd(node, *words):
    """The command itself, in a process of its own: (exit code, what it printed)."""
    ran = await trio.run_process(
        [sys.executable, "-W", "error", "-m", "swarmd.cli", "--home", str(node.home), *words],
        check=False, stdin=subprocess.DEVNULL, capture_stdout=True, capture_stderr=True, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    return ran.returncode, (ran.stdout or ran.stderr).decode()


async def test_a_lie_that_a_committee_let_pass_is_reversed(watched, task, wait_until):
    five = await watched()
    owner, liar, *honest = five
    await fresh_epoch(five, wait_until)
    need = await owner.post(task(verify=LOOSE), deadline_s=120)
    first = await owner.finish(need)
    assert (first["state"], first["values"]["t"]) == ("FINALIZED", {"text": "a lie"})
    assert (first["paid"], first["held"]) == ("0", "0.02")
    with trio.fail_after(30):
        code, said = await swarmd(owner, "challenge", need, "--reason", "it is not what I said", "--json")
    assert code == 0, said
    made = json.loads(said)
    assert (made["task"], made["worker"], made["bond"]) == ("t", liar.did, "0.01")

    def redone():
        return all(
            (found := node.state.needs.get(need)) is None or (found.invalid and found.complete())
            for node in five
        )

    await wait_until(redone, "it was reversed and done again")
    shown = await owner.call("need.show", need=need)
    assert shown["state"] == "FINALIZED"
    assert [(c["outcome"], c["reason"]) for c in shown["challenges"]] == [("upheld", "it is not what I said")]
    assert shown["tasks"][0]["worker"] in {node.did for node in honest}
    assert [end["cause"] for end in shown["tasks"][0]["ended"]] == ["invalidated"]
    _, text = await swarmd(owner, "need", "show", need)
    assert "reversed the result (reject)" in text
    code, text = await swarmd(owner, "why", need)
    assert code == 0 and "challenges t for a bond of 0.01 USDC" in text and "reverses the result of t" in text
    await wait_until(lambda: not any(node.state.needs for node in five), "its window has ended", 60.0)
    await five.until_agreed()
    five.check_money()
    accounts = owner.state.ledger.accounts
    good = shown["tasks"][0]["worker"]
    assert accounts.get(liar.did) is None or accounts[liar.did].available == BALANCE
    assert accounts[good].available == BALANCE + 40_000
    assert (accounts[owner.did].available, accounts[owner.did].locked) == (BALANCE - 40_000, 0)
    after = await owner.call("need.show", need=need)
    assert (after["values"]["t"], after["paid"], after["held"]) == ({"text": "hello"}, "0.05", "0")
    row = next(row for row in (await owner.call("need.list"))["needs"] if row["need"] == need)
    assert row["paid"] == "0.05"  # with the reward, half of the lie's price, that its owner paid itself
    code, said = await swarmd(owner, "challenge", need, "--reason", "again")
    assert code == 4 and "its challenge window has ended" in said


async def test_a_frivolous_challenge_loses_its_bond_to_the_worker(mesh, task, echo, wait_until):
    four = await mesh(4, genesis=GENESIS)
    owner, *others = four
    for index, node in enumerate(others):
        await node.attach(echo(f"h{index}", price="0.04"))
    await four.until_met()
    await fresh_epoch(four, wait_until)
    need = await owner.post(task(verify=LOOSE), deadline_s=120)
    first = await owner.finish(need)
    assert first["values"]["t"] == {"text": "hello"}
    worker = first["tasks"][0]["worker"]
    made = await owner.call("challenge", need=need, task="t", reason="I do not like it", evidence=[])
    assert made["bond"] == "0.02"

    def ruled():
        found = owner.state.needs.get(need)
        return found is None or found.rulings

    await wait_until(ruled, "others have looked at it")
    shown = await owner.call("need.show", need=need)
    assert [c["outcome"] for c in shown["challenges"]] == ["dismissed"]
    assert (shown["state"], shown["tasks"][0]["worker"]) == ("FINALIZED", worker)
    await wait_until(lambda: not any(node.state.needs for node in four), "its window has ended", 60.0)
    await four.until_agreed()
    four.check_money()
    accounts = owner.state.ledger.accounts
    assert accounts[worker].available == BALANCE + 40_000 + 20_000
    assert accounts[owner.did].available == BALANCE - 40_000 - 20_000
    # The account's chain goes on after the bond.
    later = await owner.post(task(verify=LOOSE), deadline_s=120, pay="at_once")
    done = await owner.finish(later)
    assert (done["state"], done["paid"], done["held"]) == ("FINALIZED", "0.04", "0")
    refused = await owner.refused("challenge", need=later, task="t", reason="", evidence=[])
    assert "paid at once" in refused.message
    for args in ({"reason": 1}, {"evidence": ["no CID"]}, {"task": 7}, {"need": "need-" + "a" * 32}):
        await owner.refused("challenge", **{"need": later, "task": "t", "reason": "", "evidence": [], **args})
