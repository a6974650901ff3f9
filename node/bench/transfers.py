"""Transfers for `swarmd bench money`: through one daemon as fast as it takes them, and final across a mesh at a steady rate.

Real daemons in processes of their own, clients at their local sockets, signatures, policy gates and journal as always. A
transfer counts when its payer's node has it as final: a majority of the committee has signed it, and that is on its disk.
"""

import tempfile
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import trio
from swarmd.node.bench.mesh import spread
from swarmd.node.bench.processes import MachineLoad
from swarmd.node.cluster import Cluster
from swarmd.node.home import socket_path
from swarmd.node.transport.local_async import AsyncLocalClient, connect_local
from swarmd.protocol.faults import LocalFault

LOCAL = 6_000
LOCAL_WINDOW = 512
MESH_NODES = 5
MESH_RATE = 330.0
MESH_SECONDS = 10.0
WARM_UP = 200
WAIT_S = 30.0
PATIENCE_S = 120.0


def transfers(args: Namespace) -> Mapping[str, Any]:
    """local_transfers_per_s, mesh_final_per_s, mesh_final_p50_ms, mesh_final_p99_ms, and what else the machine did meanwhile."""
    if not args.transfers:
        return {}
    scale = args.transfers / LOCAL
    local = _with_mesh(1, lambda cluster: _local(cluster, max(10, args.transfers)))
    mesh = _with_mesh(MESH_NODES, lambda cluster: _mesh(cluster, MESH_RATE, max(0.2, MESH_SECONDS * scale)))
    return {**local, **mesh}


def _with_mesh(nodes: int, work: Any) -> dict[str, Any]:
    names = [f"node-{i}" for i in range(nodes)]
    with tempfile.TemporaryDirectory(prefix="swarmd-bench-") as folder:
        cluster = Cluster(
            Path(folder), names, verifiers=names, balance=10**15, mesh="bench", fan_out=nodes, epoch_s=0
        )
        try:
            cluster.start_all()
            _until_met(cluster)
            found: dict[str, Any] = work(cluster)
        finally:
            cluster.stop_all()
    return found


def _until_met(cluster: Cluster) -> None:
    ends_at = time.monotonic() + WAIT_S
    for member in cluster.members:
        while member.call("status")["peers"] < len(cluster.members) - 1:
            if time.monotonic() > ends_at:
                raise LocalFault("failed", f"the daemons do not meet within {WAIT_S:g} s")
            time.sleep(0.05)


def _local(cluster: Cluster, count: int) -> dict[str, Any]:
    (member,) = cluster.members
    before_s = member.cpu_s()
    took_s = trio.run(_closed_loop, cluster, count)
    cpu_s = member.cpu_s() - before_s
    _check(cluster, count)
    return {
        "local_transfers_per_s": round(count / took_s),
        "local_cpu_ms_per_transfer": round(1000 * cpu_s / count, 3),
    }


async def _closed_loop(cluster: Cluster, count: int) -> float:
    """As many at a time as the window holds, until all are final; returns how long that took."""
    to = _stranger(cluster)
    slots = trio.Semaphore(LOCAL_WINDOW)
    async with connect_local(socket_path(cluster.members[0].home)) as client:
        begun = time.perf_counter()
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:

                async def one(key: str) -> None:
                    await _pay(client, to, key)
                    slots.release()

                for n in range(count):
                    await slots.acquire()
                    nursery.start_soon(one, f"{n}")
    return time.perf_counter() - begun


def _mesh(cluster: Cluster, rate: float, seconds: float) -> dict[str, Any]:
    trio.run(_open_loop, cluster, WARM_UP, rate / 2, "w")
    machine = MachineLoad()
    cpu_s = sum(member.cpu_s() for member in cluster.members)
    count = int(rate * seconds)
    done = trio.run(_open_loop, cluster, count, rate, "m")
    cpu_s = sum(member.cpu_s() for member in cluster.members) - cpu_s
    _check(cluster, count + WARM_UP)
    waits_ms = [(at - due) * 1000 for due, at in done]
    span_s = max(at for _, at in done) - min(due for due, _ in done)
    figures = {
        name: value
        for name, value in spread(waits_ms, "mesh_final").items()
        if "p50" in name or "p99" in name
    }
    return {
        "mesh_final_per_s": round(count / span_s),
        **figures,
        "cpu_ms_per_transfer": round(1000 * cpu_s / count, 2),
        "cpu_others_percent": machine.others_percent(cpu_s),
    }


async def _open_loop(cluster: Cluster, count: int, rate: float, prefix: str) -> Sequence[tuple[float, float]]:
    """`rate` a second, each member paying the next one in turn; (due, final) of each, in seconds of one clock."""
    done: list[tuple[float, float]] = []
    members = cluster.members
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect_local(socket_path(m.home))) for m in members]

        async def one(number: int, due: float) -> None:
            at = number % len(members)
            await _pay(clients[at], members[(at + 1) % len(members)].did, f"{prefix}{number}")
            done.append((due, trio.current_time()))

        begun = trio.current_time() + 0.05
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                for number in range(count):
                    due = begun + number / rate
                    await trio.sleep_until(due)
                    nursery.start_soon(one, number, due)
    return done


async def _pay(client: AsyncLocalClient, to: str, key: str) -> None:
    found = await client.call("transfer", {"to": to, "amount": "0.000001", "key": key, "wait_s": WAIT_S})
    if found["state"] != "final":
        raise LocalFault("failed", f"a transfer is not final after {WAIT_S:g} s: {found['why']}")


def _check(cluster: Cluster, count: int) -> None:
    """Every one is in the books of its payer, once."""
    entries = sum(member.call("balance")["entries"] for member in cluster.members)
    if entries != count:
        raise LocalFault("failed", f"{entries} entries in the accounts, {count} transfers were final")


def _stranger(cluster: Cluster) -> str:
    """An account that nobody of the mesh owns."""
    import nacl.signing
    from swarmd.protocol.didkey import did_of

    return did_of(bytes(nacl.signing.SigningKey(cluster.genesis.mesh_id).verify_key))
