"""Nodes that agree have the same Automerge documents, and a replica that dies is nobody's trouble."""

import os
import signal

import trio
from swarmd.node.state.export import export_automerge


async def test_nodes_that_agree_have_the_same_documents(mesh, task, echo, tmp_path, wait_until):
    found = await mesh(3, state_replica=True)
    await found.until_met()
    for node in found:
        await node.attach(echo(f"echo-{node.name}"))
    await found.until_met()
    replicas = [node.daemon.replica for node in found]
    await wait_until(
        lambda: all(each.status()["state"] == "following" for each in replicas), "replicas are up"
    )
    await found[0].finish(await found[0].post(task()))
    os.kill(replicas[0]._process.pid, signal.SIGKILL)
    os.kill(replicas[1]._process.pid, signal.SIGSTOP)  # hangs
    for node in found:
        await node.finish(await node.post(task("a"), task("b")))
    await found.until_agreed()
    os.kill(replicas[1]._process.pid, signal.SIGCONT)

    def level() -> bool:
        roots = {tuple(node.runner.chains.bucket_roots()) for node in found}
        return len(roots) == 1 and all(each.status()["behind"] == 0 for each in replicas)

    await wait_until(level, "all replicas have all batches", 30)
    assert [each.starts for each in replicas] == [2, 1, 1]
    shown = await found[0].call("state.show")
    assert shown["replica"]["rebuilt"] == 0 and shown["replica"]["changes"] > 0
    heads = []
    for node in found:
        with trio.fail_after(20):
            index = await trio.to_thread.run_sync(export_automerge, node.home, tmp_path / f"out-{node.name}")
        heads.append({row["file"]: row["heads"] for row in index["documents"]})
    assert heads[0] and heads[0] == heads[1] == heads[2]
