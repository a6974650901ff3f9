"""`swarmd bench api`: how long requests to the HTTP API of one daemon take while its mesh works.

Requests begin at fixed times, whatever became of those before (an open loop), and a latency counts from the time its
request should have begun: a daemon that stalls pays for all that would have come meanwhile. With `clients`, each of so many
has a connection of its own and its share of the requests, and waits for an answer before it asks again. Beside them
needs run through the mesh over the local sockets, a closed loop. Daemons, agents and this client share the machine.
"""

import json
import random
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trio
from swarmd.node.bench.machine import machine
from swarmd.node.bench.mesh import Bench, spread
from swarmd.node.cluster import Cluster
from swarmd.node.console.output import Output, facts
from swarmd.node.home import socket_path
from swarmd.node.transport.local_async import AsyncLocalClient, connect_local
from swarmd.protocol.faults import LocalFault

GOALS_MS = {"read": 20.0, "write": 50.0}
CLIENTS_GOAL_MS = 200.0  # of the seed: with 100 clients at once
READS = (
    "/api/v1/status",
    "/api/v1/needs?limit=50",
    "/api/v1/ledger/balance",
    "/api/v1/peers",
    "/api/v1/needs/{need}",
)
CONNECTIONS = 64
MAX_CLIENTS = 250  # the daemon keeps 256 connections
REQUEST_TIMEOUT_S = 10.0


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--rate", type=float, default=200.0, metavar="N", help="requests a second (default 200)"
    )
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S", help="for so long (default 20)")
    parser.add_argument(
        "--writes", type=float, default=0.05, metavar="SHARE", help="that post needs (default 0.05)"
    )
    parser.add_argument("--nodes", type=int, default=3, metavar="N", help="daemons of the mesh (default 3)")
    parser.add_argument(
        "--window",
        type=int,
        default=2,
        metavar="N",
        help="needs of the mesh's own under way at a time (default 2)",
    )
    parser.add_argument(
        "--clients",
        type=int,
        default=0,
        metavar="N",
        help="spread the requests over so many clients with a connection each (default: whatever is idle)",
    )


def main(args: Namespace, out: Output) -> int:
    """Exit code 1 if requests failed; a bound that is missed is a figure, as everywhere."""
    if not (
        0 < args.rate <= 5_000
        and 1 <= args.seconds <= 3_600
        and 0 <= args.writes <= 1
        and 1 <= args.nodes <= 16
        and 0 <= args.clients <= MAX_CLIENTS
    ):
        said = "a rate up to 5000, 1 to 3600 seconds, a share from 0 to 1, 1 to 16 nodes"
        raise LocalFault("usage", f"{said}, up to {MAX_CLIENTS} clients")
    found = run(args.rate, args.seconds, args.writes, args.nodes, args.window, args.clients)
    if out.as_json:
        out.document(found)
    else:
        out.print(facts([(name, value) for name, value in found.items() if name != "goals"]))
        for goal in found["goals"]:
            out.note(
                f"{goal['figure']}: {goal['value']:g} ms, goal {goal['goal']:g} ms",
                "green" if goal["met"] else "red",
            )
    return 1 if found["failed"] else 0


def run(
    rate: float, seconds: float, writes: float, nodes: int, window: int, clients: int = 0
) -> dict[str, Any]:
    names = [f"node-{i}" for i in range(nodes)]
    with tempfile.TemporaryDirectory(prefix="swarmd-bench-") as folder:
        cluster = Cluster(
            Path(folder), names, verifiers=names, balance=10**15, mesh="bench", fan_out=nodes, serves_api=True
        )
        bench = Bench(cluster, window, lambda done, of: None)
        try:
            bench.start()
            bench.run(50)  # warm-up: imports, caches, mesh grafting
            member = cluster.members[0]
            url = member.call("api.status")["url"]
            token = member.call("token.create", name="bench", scopes=["spend"])["token"]
            need = member.call("need.list", limit=1)["needs"][0]["need"]
            load = _Load(url, token, need, rate, seconds, writes, clients)
            before, cpu_before = member.call("status"), member.cpu_s()
            trio.run(load.run, [socket_path(each.home) for each in cluster.members], window)
            cpu_s, after = member.cpu_s() - cpu_before, member.call("status")
        finally:
            bench.stop()
    figures = load.figures()
    goals = [
        {
            "figure": f"{kind}_p95_ms",
            "value": figures[f"{kind}_p95_ms"],
            "goal": goal,
            "met": figures[f"{kind}_p95_ms"] < goal,
        }
        for kind, goal in GOALS_MS.items()
        for goal in (CLIENTS_GOAL_MS if clients else goal,)
        if figures[f"{kind}s"]
    ]
    return {
        "rate_per_s": rate,
        "seconds": seconds,
        "nodes": nodes,
        **({"clients": clients} if clients else {}),
        **figures,
        "mesh_needs_per_s": round(load.mesh_done / seconds, 1),
        "finalized": after["needs"].get("FINALIZED", 0) - before["needs"].get("FINALIZED", 0),
        "daemon_cpu_share": round(cpu_s / seconds, 3),
        "goals": goals,
        **machine(),
    }


class _Load:
    def __init__(
        self, url: str, token: str, need: str, rate: float, seconds: float, writes: float, clients: int
    ) -> None:
        place = urlsplit(url)
        self._place = (place.hostname or "", place.port or 0)
        self._head = f"Host: {place.netloc}\r\nAuthorization: Bearer {token}\r\n"
        self._need = need
        self._rate, self._seconds, self._writes, self._clients = rate, seconds, writes, clients
        self._idle: list[trio.SocketStream] = []
        self._taken_ms: dict[str, list[float]] = {"read": [], "write": []}
        self._failed: dict[str, int] = {}
        self.mesh_done = 0

    def figures(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for kind, taken in self._taken_ms.items():
            found |= {f"{kind}s": len(taken), **spread(taken, kind)}
        return {**found, "failed": self._failed}

    async def run(self, sockets: list[Path], window: int) -> None:
        dice = random.Random(7)
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(connect_local(sockets[index % len(sockets)]))
                for index in range(window)
            ]
            async with trio.open_nursery() as nursery:
                for client in clients:
                    nursery.start_soon(self._mesh_work, client)
                plan = [dice.random() < self._writes for _ in range(int(self._rate * self._seconds))]
                begun = trio.current_time()
                async with trio.open_nursery() as requests:
                    if self._clients:
                        for place in range(self._clients):
                            requests.start_soon(self._one_client, place, begun, plan)
                    else:
                        await self._all_clients(requests, begun, plan)
                nursery.cancel_scope.cancel()
        for stream in self._idle:
            await trio.aclose_forcefully(stream)

    async def _all_clients(self, requests: trio.Nursery, begun: float, plan: list[bool]) -> None:
        for number, write in enumerate(plan):
            due = begun + number / self._rate
            await trio.sleep_until(due)
            requests.start_soon(self._request, self._idle, due, number, write)

    async def _one_client(self, place: int, begun: float, plan: list[bool]) -> None:
        own: list[trio.SocketStream] = []
        for number in range(place, len(plan), self._clients):
            due = begun + number / self._rate
            await trio.sleep_until(due)
            await self._request(own, due, number, plan[number])
        for stream in own:
            await trio.aclose_forcefully(stream)

    async def _mesh_work(self, client: AsyncLocalClient) -> None:
        while True:
            posted = await client.call("need.post", {"spec": _spec("mesh")})
            await client.call("need.wait", {"need": posted["need"]})
            self.mesh_done += 1

    async def _request(self, idle: list[trio.SocketStream], due: float, number: int, write: bool) -> None:
        if write:
            body = json.dumps(_spec(f"api {number}"))
            head = f"POST /api/v1/needs HTTP/1.1\r\n{self._head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            wanted = 201
        else:
            path = READS[number % len(READS)].format(need=self._need)
            head, body, wanted = f"GET {path} HTTP/1.1\r\n{self._head}\r\n", "", 200
        status = 0
        with trio.move_on_after(REQUEST_TIMEOUT_S):
            try:
                status = await self._exchange(idle, (head + body).encode())
            except (OSError, trio.BrokenResourceError, ValueError):
                status = -1
        if status == wanted:
            self._taken_ms["write" if write else "read"].append((trio.current_time() - due) * 1e3)
        else:
            name = {0: "timeout", -1: "broken"}.get(status, str(status))
            self._failed[name] = self._failed.get(name, 0) + 1

    async def _exchange(self, idle: list[trio.SocketStream], request: bytes) -> int:
        """Send it on an idle connection or a new one; the status, once the whole body is here."""
        stream = idle.pop() if idle else await trio.open_tcp_stream(*self._place)
        whole = False
        try:
            await stream.send_all(request)
            data = b""
            while b"\r\n\r\n" not in data:
                data += await _some(stream)
            head, _, body = data.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            got = len(body)
            while got < length:
                got += len(await _some(stream))
            whole = True
            return int(head.split(b" ")[1])
        finally:
            if whole and len(idle) < CONNECTIONS:
                idle.append(stream)
            else:
                await trio.aclose_forcefully(stream)


async def _some(stream: trio.SocketStream) -> bytes:
    data = bytes(await stream.receive_some(262_144))
    if not data:
        raise ValueError("the API hung up")
    return data


def _spec(title: str) -> Mapping[str, Any]:
    return {
        "title": title,
        "budget": "0.01",
        "deadline_s": 600,
        "tasks": [{"capability": "bench.echo", "input": {"value": {"json": time.time_ns() % 1_000}}}],
    }
