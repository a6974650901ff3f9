"""SIGKILL at any moment: what was acknowledged is there afterwards, comes to its end, and is paid and anchored once."""

import json
import random
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest
import trio
from swarmd.contracts import load_artifact
from swarmd.node.chain.account import LocalSigner, load_or_create_key
from swarmd.node.chain.codec import ContractCodec
from swarmd.node.chain.embedded import EmbeddedEvm, contract_address
from swarmd.node.chain.kv import SqliteKv
from swarmd.node.daemon import Daemon
from swarmd.node.home import socket_path
from swarmd.node.settings import Settings
from swarmd.node.setup import GENESIS_FILE, init_home
from swarmd.node.transport.local_async import connect_local
from swarmd.protocol.digest import state_digest
from swarmd.protocol.faults import LocalFault

KILLS = 50
NEEDS_PER_LIFE = 3
SEED = 20
# Answers with one JSON value; a shell starts in a fraction of what an interpreter takes.
AGENT = ["/bin/sh", "-c", "cat > /dev/null; echo '{\"done\": true}'"]


def replayed(home: Path) -> Daemon:
    """The daemon of `home` as its journal gives it, in this process; not run."""
    return Daemon(Settings(home, anchor_interval_s=0.1, check_everything=True))


def copied_journal(home: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(mode=0o700)
    for name in ("node.key", "genesis.json", "journal.db", "journal.db-wal"):
        if (home / name).exists():
            shutil.copy(home / name, to / name)
    return to


async def post_needs(home: Path, spec: dict, acknowledged: list[str]) -> None:
    """A client that does not care how often its daemon dies."""
    left = NEEDS_PER_LIFE
    while left:
        try:
            async with connect_local(socket_path(home)) as client:
                while left:
                    answer = await client.call("need.post", {"spec": spec})
                    acknowledged.append(answer["need"])
                    left -= 1
        except LocalFault as fault:
            assert fault.code in ("daemon-not-running", "daemon-gone"), fault
            await trio.sleep(0.002)
    await trio.sleep_forever()


async def register_agent(life) -> None:
    agent = {
        "name": "sh",
        "kind": "command",
        "argv": AGENT,
        "concurrency": 2,
        "capabilities": [{"name": "echo", "price": "0.01"}],
    }
    await life.call("agent.add", agent=agent, base="/")


def anchors_on_chain(home: Path) -> Counter[bytes]:
    """Anchor ids by how often the chain has them, read as a stranger would."""
    signer = LocalSigner(load_or_create_key(home / "chain" / "account.key"))
    evm = EmbeddedEvm(SqliteKv(home / "chain" / "chain.sqlite"), 1337, signer.account)
    codec = ContractCodec(load_artifact("SettlementAnchor"))
    try:
        logs = evm.logs(
            contract_address(signer.account, 0), codec.topic("Anchored"), first_block=0, last_block=evm.head()
        )
        return Counter(codec.decode_event("Anchored", log.topics, log.data)["id"] for log in logs)
    finally:
        evm.close()


@pytest.mark.property_id("P9")
@pytest.mark.property_id("P2")
async def test_killed_fifty_times_under_load(tmp_path, lives, task, wait_until):
    home = tmp_path / "home"
    init_home(home)
    spec = {"budget": "0.10", "deadline_s": 3600, "tasks": [task(verify={"type": "reexec"})]}
    rng = random.Random(SEED)
    acknowledged: list[str] = []
    first = await lives.start(home)
    await first.until_ready()
    await register_agent(first)
    assert await first.end(signal.SIGKILL) == -signal.SIGKILL

    compared = served = 0
    expected = ""
    for kill in range(KILLS):
        life = await lives.start(home)
        # From before the journal is read to some needs being worked on at once; on a slow machine too, two of
        # five lives get as far as serving.
        if kill % 5 < 2:
            await life.until_ready()
        with trio.move_on_after(rng.uniform(0.0, 0.3)):
            await post_needs(home, spec, acknowledged)
        assert await life.end(signal.SIGKILL) == -signal.SIGKILL, life.told()
        told = life.told()
        served += "ready" in told
        if expected and "restored" in told:
            # P2: that process read the same journal as we did, and came to the same state.
            assert told["restored"] == expected
            compared += 1
        expected = ""
        if kill % 5 == 4:
            daemon = replayed(copied_journal(home, tmp_path / "copy"))
            expected = state_digest(daemon.runner.state).hex()
            assert set(acknowledged) <= daemon.runner.state.needs.keys()
            daemon.release()

    assert 2 * KILLS // 5 <= served
    assert compared >= 3
    assert len(acknowledged) > KILLS // 5  # a busy machine gets to few of them before it is killed

    last = await lives.start(home)
    await last.until_ready()
    for need in acknowledged:
        row = await last.call("need.wait", need=need)
        assert row["state"] == "FINALIZED", row
    with trio.fail_after(20):
        while (await last.call("status"))["chain"]["pending"]:  # noqa: ASYNC110
            await trio.sleep(0.02)
        while not all([(await last.call("need.show", need=n))["anchor"] for n in acknowledged]):  # noqa: ASYNC110
            await trio.sleep(0.05)
    assert await last.end(signal.SIGTERM) == 0, last.told()

    daemon = replayed(home)
    state = daemon.runner.state
    try:
        assert state_digest(state).hex() == last.told()["digest"]
        state.ledger.check_all()
        spent = sum(need.state() == "FINALIZED" for need in state.needs.values()) * 10_000
        account = state.ledger.account(state.me)
        assert (account.earned, account.locked) == (spent, 0)
        assert account.available == daemon.genesis.balances[state.me]
        assert daemon.journal.outbox() == []
    finally:
        daemon.release()
    on_chain = anchors_on_chain(home)
    assert set(on_chain.values()) == {1}
    assert set(on_chain) == set(state.anchors)
    per_need = Counter(need for anchor in state.anchors.values() for need in anchor.needs)
    assert {per_need[need] for need in acknowledged} == {1}


@pytest.mark.property_id("P7")
@pytest.mark.property_id("P9")
async def test_killed_while_epochs_end(tmp_path, lives, task):
    """In the middle of making a snapshot, adopting it, putting batches away: the next start is whole."""
    home = tmp_path / "home"
    init_home(home)
    founded = json.loads((home / GENESIS_FILE).read_text())
    (home / GENESIS_FILE).write_text(json.dumps({**founded, "epoch_s": 1}))
    spec = {"budget": "0.10", "deadline_s": 3600, "tasks": [task(verify={"type": "reexec"})]}
    rng = random.Random(SEED)
    acknowledged: list[str] = []
    first = await lives.start(home)
    await first.until_ready()
    await register_agent(first)
    assert await first.end(signal.SIGKILL) == -signal.SIGKILL
    epoch = 0
    for _ in range(6):
        life = await lives.start(home, keep_epochs=1)
        await life.until_ready()
        with trio.move_on_after(rng.uniform(1.5, 4.0)):
            await post_needs(home, spec, acknowledged)
        assert await life.end(signal.SIGKILL) == -signal.SIGKILL, life.told()
        daemon = replayed(copied_journal(home, tmp_path / "copy"))
        state = daemon.runner.state
        assert state.epoch >= epoch
        epoch = state.epoch
        state.ledger.check_all()
        known = {need for (need,) in daemon.journal.db.execute("select need from closed")}
        assert set(acknowledged) <= state.needs.keys() | known
        daemon.release()
    assert epoch >= 2
    last = await lives.start(home, keep_epochs=1)
    await last.until_ready()
    for need in acknowledged:
        row = await last.call("need.wait", need=need)
        assert row["state"] == "FINALIZED", row
    with trio.fail_after(30):
        while not (await last.call("status"))["checkpoint"]["tiers"]["cold"]["batches"]:  # noqa: ASYNC110
            await trio.sleep(0.1)
    assert await last.end(signal.SIGTERM) == 0, last.told()
