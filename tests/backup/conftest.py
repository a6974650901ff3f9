"""Backups of real homes, with the cheapest key stretching that libsodium allows."""

import time
from collections.abc import Callable
from pathlib import Path

import nacl.pwhash.argon2id as argon2id
import pytest
import trio
from swarmd.node.agents.sdk import Agent
from swarmd.node.backup.create import create_backup
from swarmd.node.backup.sealed import Cost
from swarmd.node.daemon import Daemon
from swarmd.node.home import socket_path
from swarmd.node.home_lock import home_lock
from swarmd.node.settings import Settings
from swarmd.node.setup import init_home
from swarmd.node.transport.local_async import connect_local
from swarmd.protocol.digest import state_digest

QUICK = Cost(argon2id.OPSLIMIT_MIN, argon2id.MEMLIMIT_MIN)
PASSPHRASE = b"correct horse battery staple"


@pytest.fixture
def cost() -> Cost:
    return QUICK


@pytest.fixture
def passphrase() -> bytes:
    return PASSPHRASE


async def live(home: Path, while_up: Callable) -> dict:
    """Run the daemon of `home` while `while_up(client)` runs; its last status."""
    agent = Agent("echo")

    @agent.task("echo", price="0.01", inline=True)
    def repeat(job):
        return {"text": job.input["text"]}

    with trio.fail_after(40), home_lock(home):
        daemon, ready = Daemon(Settings(home, anchor_interval_s=0.1)), trio.Event()
        try:
            async with trio.open_nursery() as nursery:

                async def run() -> None:
                    await daemon.run(lambda _: ready.set(), handle_signals=False)

                nursery.start_soon(run)
                await ready.wait()
                await nursery.start(agent.serve, socket_path(home))
                async with connect_local(socket_path(home)) as client:
                    await while_up(client)
                    status = await client.call("status", {})
                nursery.cancel_scope.cancel()
        finally:
            daemon.close()
    return status


@pytest.fixture
def run_live():
    return live


async def post(client, text: str = "hello") -> str:
    task = {"id": "t", "capability": "echo", "input": {"text": {"text": text}}, "max_price": "0.10"}
    posted = await client.call("need.post", {"spec": {"budget": "0.10", "tasks": [task]}})
    await client.call("need.wait", posted)
    return posted["need"]


@pytest.fixture
def post_need():
    return post


@pytest.fixture(scope="session")
def worked_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped home whose node has done a need, anchored it and been configured. Not to be changed."""
    home = tmp_path_factory.mktemp("worked") / "home"
    init_home(home)
    (home / "swarmd.toml").write_text("mdns = false\n")
    (home / "agents.json").write_text('{"format": 1, "agents": []}\n')

    async def work(client) -> None:
        need = await post(client, "x" * 9_000)
        while not (await client.call("need.show", {"need": need}))["anchor"]:  # noqa: ASYNC110
            await trio.sleep(0.02)

    trio.run(live, home, work)
    return home


@pytest.fixture(scope="session")
def backup_file(worked_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of it. Not to be changed."""
    file = tmp_path_factory.mktemp("backup") / "node.swarmd-backup"
    create_backup(worked_home, file, PASSPHRASE, cost=QUICK, clock_ns=time.time_ns)
    return file


@pytest.fixture
def wait_thread():
    """wait_thread(call, *args, **more): in a thread."""

    async def wait(call, *args, **more):
        return await trio.to_thread.run_sync(lambda: call(*args, **more))

    return wait


@pytest.fixture
def swarmd_status():
    """The state digest that a daemon of the home starts with."""

    def digest(home: Path) -> str:
        daemon = Daemon(Settings(home, anchor_interval_s=0.1))
        try:
            return state_digest(daemon.runner.state).hex()
        finally:
            daemon.release()

    return digest
