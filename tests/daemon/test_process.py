"""The daemon as a process: one a home, refusals that name the fix, an end that is quick and loses nothing."""

import os
import signal
import time

import pytest
import trio
from swarmd.node.cluster import Cluster
from swarmd.node.daemon import Daemon
from swarmd.node.home import socket_path
from swarmd.node.home_lock import home_lock
from swarmd.node.keys import KEY_FILE, create_key
from swarmd.node.serving import serve
from swarmd.node.settings import Settings
from swarmd.node.setup import GENESIS_FILE, found_mesh, init_home, write_genesis
from swarmd.node.transport.local_async import connect_local
from swarmd.protocol import invariants
from swarmd.protocol.digest import state_digest
from swarmd.protocol.faults import CorruptState, LocalFault


@pytest.fixture
def home(tmp_path):
    init_home(tmp_path / "home")
    return tmp_path / "home"


def refused(home, code):
    with pytest.raises(LocalFault) as caught:
        serve(Settings(home))
    assert caught.value.code == code
    assert caught.value.fix
    return caught.value.message


async def test_a_second_daemon_on_a_home_is_told_the_pid(home, lives):
    life = await lives.start(home)
    await life.until_ready()
    assert f"pid {life.pid}" in refused(home, "already-running")
    assert (await life.call("status"))["trouble"] == ""
    assert await life.end(signal.SIGTERM) == 0
    with home_lock(home):
        assert f"pid {os.getpid()}" in refused(home, "already-running")


def test_a_home_that_is_none(tmp_path):
    assert "nowhere" in refused(tmp_path / "nowhere", "no-home")


async def test_the_genesis_or_the_key_of_another(home, lives):
    life = await lives.start(home)
    await life.until_ready()
    did = (await life.call("status"))["did"]
    assert await life.end(signal.SIGTERM) == 0
    genesis, key = (home / GENESIS_FILE).read_bytes(), (home / KEY_FILE).read_bytes()
    write_genesis(home / GENESIS_FILE, found_mesh("another", [did], {did: 5}))
    assert "another mesh" in refused(home, "other-mesh")
    # Nor does a new `init` make another mesh of what the journal is of.
    (home / GENESIS_FILE).unlink()
    with pytest.raises(LocalFault, match="the journal of another mesh"):
        init_home(home, name="another")
    assert not (home / GENESIS_FILE).exists()
    (home / GENESIS_FILE).write_bytes(genesis)
    (home / KEY_FILE).unlink()
    create_key(home)
    assert f"the journal of {did}" in refused(home, "other-key")
    (home / KEY_FILE).write_bytes(key)


def test_a_key_that_others_can_read(home):
    (home / "node.key").chmod(0o644)
    assert "node.key" in refused(home, "key-exposed")
    (home / "node.key").chmod(0o600)
    (home / GENESIS_FILE).write_text("{}")
    refused(home, "bad-genesis")


def test_a_journal_that_is_none_stops_it(home):
    (home / "journal.db").write_bytes(b"not a database" * 100)
    with pytest.raises(CorruptState, match=r"journal\.db"):
        serve(Settings(home))


@pytest.mark.property_id("P9")
async def test_sigterm_while_busy(home, lives, task, nursery):
    """Exit code 0 within 5 s; the agent's process is gone; the need goes on in the next life."""
    life = await lives.start(home)
    await life.until_ready()
    mark = home / "agent.pid"
    script = f"echo $$ > {mark}; exec sleep 600"
    for name in ("a", "b"):
        agent = {
            "name": name,
            "kind": "command",
            "argv": ["/bin/sh", "-c", script],
            "capabilities": [{"name": "echo", "price": "0.01"}],
        }
        await life.call("agent.add", agent=agent, base="/")
    spec = {"budget": "0.50", "deadline_s": 3600, "tasks": [task()]}
    needs = [(await life.call("need.post", spec=spec))["need"] for _ in range(6)]
    answers = []

    async def wait(*, task_status):
        async with connect_local(socket_path(home)) as client:
            task_status.started()
            with pytest.raises(LocalFault) as caught:
                await client.call("need.wait", {"need": needs[0]})
        answers.append(caught.value.code)

    await nursery.start(wait)
    with trio.fail_after(10):
        while not mark.exists():  # noqa: ASYNC110
            await trio.sleep(0.01)
    pid = int(mark.read_text() or (await trio.sleep(0.1)) or mark.read_text())
    began = time.monotonic()
    assert await life.end(signal.SIGTERM) == 0, life.told()
    assert time.monotonic() - began < 5
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with trio.fail_after(5):
        while not answers:  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert answers == ["daemon-gone"]

    again = await lives.start(home)
    await again.until_ready()
    assert again.told()["restored"] == life.told()["digest"]
    for name in ("a", "b"):
        agent = {
            "name": name,
            "kind": "command",
            "argv": ["/bin/sh", "-c", "cat > /dev/null; echo 1"],
            "capabilities": [{"name": "echo", "price": "0.01"}],
        }
        await again.call("agent.add", agent=agent, base="/", replace=True)
    listed = (await again.call("need.list"))["needs"]
    assert {row["need"] for row in listed} == set(needs)
    assert {row["state"] for row in listed} <= {"RUNNING", "DECIDED"}
    assert await again.end(signal.SIGINT) == 0, again.told()


async def test_a_contradiction_in_our_own_state_ends_it(mesh, task, echo, monkeypatch):
    """And nothing of the turn that met it gets on disk: the next life begins before it."""
    [node] = await mesh(1)
    await node.attach(echo())
    await node.finish(await node.post(task()))
    node.may_fall = True

    def breaks(state):
        raise CorruptState("P9", "money appeared")

    with monkeypatch.context() as patch:
        patch.setattr(invariants, "check", breaks)
        before = state_digest(node.state)
        fault = await node.refused("need.post", spec={"budget": "0.10", "tasks": [task()]})
        with trio.fail_after(10):
            await node.ended.wait()
    assert fault.code == "daemon-gone"
    assert "money appeared" in repr(node.fell)
    node.may_fall = False
    daemon = Daemon(node.settings)
    assert state_digest(daemon.runner.state) == before
    daemon.close()


def test_processes_of_the_command_line(tmp_path):
    """`swarmd up` itself, twice: ready, at work for each other, and ended by SIGTERM with exit code 0."""
    cluster = Cluster(tmp_path, ["a", "b"], verifiers=["a", "b"], balance=10**9, mesh="two")
    try:
        cluster.start_all()
        first, second = cluster.members
        agent = {
            "name": "sh",
            "kind": "command",
            "argv": ["/bin/sh", "-c", "cat > /dev/null; echo 1"],
            "capabilities": [{"name": "echo", "price": "0.01"}],
        }
        for member in cluster.members:
            member.call("agent.add", agent=agent, base="/")
        spec = {
            "budget": "0.10",
            "tasks": [{"capability": "echo", "verify": {"type": "schema", "schema": True}}],
        }
        need = first.call("need.post", spec=spec)["need"]
        assert first.call("need.wait", need=need)["state"] == "FINALIZED"
    finally:
        codes = cluster.stop_all()
    assert codes == [0, 0], [(m.home / "daemon.log").read_text() for m in cluster.members]
    assert second.did != first.did


@pytest.mark.property_id("P2")
async def test_a_restart_with_other_settings_remembers_the_same(mesh, task, echo, wait_until):
    """What was anchored together under one interval is not torn apart by a replay under another."""
    [node] = await mesh(1, anchor_interval_s=2)
    await node.attach(echo())
    needs = [await node.post(task()) for _ in range(3)]
    for need in needs:
        await node.finish(need)

    def anchors():
        return [node.state.needs[need].plan.annotations.get(("", "anchor")) for need in needs]

    await wait_until(lambda: all(anchors()), "they are anchored")
    before = anchors()
    assert len({value for _, _, value in before}) == 1
    await node.stop()
    await node.start(anchor_interval_s=0.01, lease_ttl_s=5)
    assert anchors() == before
    [anchor] = node.state.anchors.values()
    assert set(anchor.needs) == set(needs)
