"""What `swarmd state export --automerge` writes, read by Automerge's JavaScript: the same envelopes, the same tasks."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import trio
from swarmd.node.agents.sdk import Agent
from swarmd.node.daemon import Daemon
from swarmd.node.home import socket_path
from swarmd.node.home_lock import home_lock
from swarmd.node.settings import Settings
from swarmd.node.setup import init_home
from swarmd.node.state.export import export_automerge
from swarmd.node.transport.local_async import connect_local

READER = Path(__file__).with_name("automerge")


@pytest.fixture
def read_js():
    """read_js(folder) -> the finished process."""
    if shutil.which("node") is None or not (READER / "node_modules" / "@automerge").is_dir():
        message = "Automerge's JavaScript is not set up: run make interop"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)

    def read(folder: Path) -> subprocess.CompletedProcess[str]:
        command = ["node", str(READER / "read.mjs"), str(folder)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    return read


@pytest.fixture
async def exported(tmp_path):
    """(folder, needs as the daemon shows them, its state.show): of a daemon that keeps a replica and works meanwhile."""
    home = tmp_path / "home"
    init_home(home)
    agent = Agent("echo")

    @agent.task("echo", price="0.01", inline=True)
    def repeat(job):
        return {"text": job.input["text"]}

    with trio.fail_after(120), home_lock(home):
        daemon, ready = Daemon(Settings(home, state_replica=True, anchor_interval_s=0.1)), trio.Event()
        try:
            async with trio.open_nursery() as nursery:

                async def run() -> None:
                    await daemon.run(lambda _: ready.set(), handle_signals=False)

                nursery.start_soon(run)
                await ready.wait()
                await nursery.start(agent.serve, socket_path(home))
                async with connect_local(socket_path(home)) as client:
                    needs = {}
                    for number in range(12):
                        tasks = [
                            {
                                "id": f"t{n}",
                                "capability": "echo",
                                "input": {"text": {"text": "ä"}},
                                "max_price": "0.10",
                            }
                            for n in range(number % 3 + 1)
                        ]
                        spec = {"title": f"nééd {number}", "budget": "1.00", "tasks": tasks}
                        posted = await client.call("need.post", {"spec": spec})
                        await client.call("need.wait", posted)
                        needs[posted["need"]] = await client.call("need.show", posted)
                    while True:
                        shown = await client.call("state.show", {})
                        if shown["replica"].get("behind") == 0:
                            break
                        await trio.sleep(0.05)
                    while (await client.call("status", {}))["chain"]["pending"]:  # noqa: ASYNC110
                        await trio.sleep(0.02)
                    await trio.to_thread.run_sync(export_automerge, home, tmp_path / "out")
                nursery.cancel_scope.cancel()
        finally:
            daemon.close()
    return tmp_path / "out", needs, shown


async def test_javascript_reads_the_same_tasks(exported, read_js):
    folder, needs, shown = exported
    assert shown["replica"]["state"] == "following" and shown["replica"]["rebuilt"] == 0
    ran = read_js(folder)
    assert ran.returncode == 0, ran.stderr
    envelopes = json.loads(ran.stdout)["envelopes"]
    posted = {e["thread"]: e for e in envelopes.values() if e["kind"] == "NEED"}
    assert posted.keys() == needs.keys()
    for need, envelope in posted.items():
        assert envelope["title"] == needs[need]["title"]
        assert [task["id"] for task in envelope["tasks"]] == [task["task"] for task in needs[need]["tasks"]]
        assert {task["capability"] for task in envelope["tasks"]} == {"echo"}
    finals = [envelope for envelope in envelopes.values() if envelope["kind"] == "FINALIZE"]
    assert len(finals) == sum(len(need["tasks"]) for need in needs.values())


async def test_javascript_notices_what_is_not_what_it_says(exported, read_js):
    """The check can fail."""
    folder, _, _ = exported
    index = json.loads((folder / "index.json").read_text())
    index["documents"][0]["heads"] = ["00" * 32]
    (folder / "index.json").write_text(json.dumps(index))
    ran = read_js(folder)
    assert ran.returncode == 1 and "has the heads" in ran.stderr
