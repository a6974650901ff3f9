"""The daemons under chaos: each a process in its own network namespace, with an agent beside it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import trio
from swarmd.node.chaos.machine import faketime_settings
from swarmd.node.chaos.netns import Impairment, Net
from swarmd.node.cluster import Cluster, Member
from swarmd.node.home import socket_path
from swarmd.node.transport.local_async import connect_local
from swarmd.protocol.faults import LocalFault

SYNC_INTERVAL_S = 2
LEASE_S = 5
WATCH_INTERVAL_S = 0.2
CALL_TIMEOUT_S = 10.0
MAX_DEATHS = 10
# Why a daemon may cut off one that is stopped or slow; every other reason accuses it of what it never does.
_BUSY = frozenset(("foreign", "reads-nothing", "silent", "stream-flood", "too-many-requests"))
_CUT_OFF = re.compile(r"cutting off (\S+): (\S+)$", re.M)  # as node/transport/p2p/session.py logs it


class ChaosCluster(Cluster):
    """A cluster whose members live in the namespaces of `net`, `skewed` ones under libfaketime."""

    def __init__(
        self, base: Path, net: Net, *, skewed: bool, sync_interval_s: float = SYNC_INTERVAL_S
    ) -> None:
        self._sync_interval_s = sync_interval_s
        names = [f"node-{node}" for node in range(net.nodes)]
        # Short times, so that needs end within the run whatever happens to them; and quorums of two also in a
        # small mesh, where K would be 1.
        super().__init__(
            base,
            names,
            verifiers=names,
            balance=10**12,
            mesh="chaos",
            fan_out=net.nodes,
            claim_timeout_s=3,
            expiry_grace_s=2,
            k_target=2,
            alpha_permille=1000,
            bootstrap_threshold=0,
        )
        self.net = net
        self._skewed = skewed
        for node in range(net.nodes):
            self.set_offset(node, 0.0)

    def command(self, member: Member, *up: str) -> list[str]:
        node = self.members.index(member)
        settings = {
            "SWARMD_SYNC_INTERVAL_S": f"{self._sync_interval_s:g}",
            "SWARMD_LEASE_TTL_S": str(LEASE_S),
        }
        module = "swarmd.cli"
        if self._skewed:
            module = "swarmd.node.chaos.skewed"
            settings |= faketime_settings(self._clock(node))
        env = ["env", *(f"{name}={value}" for name, value in settings.items())]
        swarmd = [sys.executable, "-m", module, "--home", str(member.home), "--json"]
        return [*self.net.within(node), *env, *swarmd, *up, "--no-mdns", "--listen", self.net.listen(node)]

    def _clock(self, node: int) -> Path:
        return self.base / f"node-{node}.clock"

    def set_offset(self, node: int, offset_s: float) -> None:
        """By how much the clock of `node` is ahead; it is seen within a second."""
        file = self._clock(node)
        temporary = file.with_suffix(".tmp")
        temporary.write_text(f"{offset_s:+f}\n")
        os.replace(temporary, file)


class ChaosHosts:
    """Does to the daemons what nemeses want, and notices what they do by themselves (P10)."""

    def __init__(self, cluster: ChaosCluster) -> None:
        self.cluster = cluster
        self.deaths: list[str] = []  # of daemons that nobody killed
        self._down: set[int] = set()
        self._starting = [trio.Lock() for _ in cluster.members]
        self._agents: list[subprocess.Popen[bytes]] = []

    @property
    def members(self) -> list[Member]:
        return self.cluster.members

    # Life ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start daemons and agents; `formed` waits until they know each other."""
        self.cluster.start_all()
        for member in self.members:
            with open(member.home / "agent.log", "a", encoding="utf-8") as log:
                self._agents.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "swarmd.node.chaos.agent", "--home", str(member.home)],
                        stdin=subprocess.DEVNULL,
                        stderr=log,
                    )
                )

    async def formed(self, timeout_s: float = 120.0) -> None:
        """LocalFault `chaos-stuck` if the daemons do not get to know each other."""
        with trio.move_on_after(timeout_s):
            for node in range(len(self.members)):
                while not await self._knows_all(node):  # noqa: ASYNC110 - in other processes
                    await trio.sleep(0.1)
            return
        raise LocalFault("chaos-stuck", f"the daemons did not form a mesh within {timeout_s:g} s")

    async def _knows_all(self, node: int) -> bool:
        status = await self.call(node, "status")
        others = (await self.call(node, "peers"))["peers"]
        offering = sum("chaos.echo" in peer["offers"] for peer in others)
        return (
            len(others) == offering == len(self.members) - 1
            and "chaos.echo" in status["capabilities"]
            and status["manifests"] == len(self.members)
        )

    async def call(self, node: int, op: str, timeout_s: float = CALL_TIMEOUT_S, **args: Any) -> Any:
        """Ask a daemon; LocalFault if it refuses, is gone or does not answer."""
        with trio.move_on_after(timeout_s):
            async with connect_local(socket_path(self.members[node].home)) as client:
                return await client.call(op, args)
        raise LocalFault("daemon-timeout", f"node {node} did not answer {op} within {timeout_s:g} s")

    async def watch(self) -> None:
        """Note daemons that end by themselves, and start them again so that the run goes on."""
        while True:
            await trio.sleep(WATCH_INTERVAL_S)
            for node, member in enumerate(self.members):
                assert member.process is not None
                if node not in self._down and member.process.poll() is not None:
                    self._note_death(node, member)
                    self._down.add(node)
                    await self.restart(node)

    def _note_death(self, node: int, member: Member) -> None:
        assert member.process is not None
        log = (member.home / "daemon.log").read_text("utf-8", "replace").rstrip().rpartition("\n")[2]
        self.deaths.append(f"node {node} ended by itself with code {member.process.returncode}: {log[:500]}")

    def stop(self) -> list[int]:
        """End everything; the daemons' exit codes."""
        for node in range(len(self.members)):
            self.resume(node)
        for agent in self._agents:
            agent.terminate()
        codes = self.cluster.stop_all()
        for agent in self._agents:
            agent.wait()
        return codes

    def accusations(self) -> list[str]:
        """What daemons held against each other, from their logs; all of them are honest."""
        found = []
        for member in self.members:
            log = (member.home / "daemon.log").read_text("utf-8", "replace")
            for peer, code in _CUT_OFF.findall(log):
                if code not in _BUSY:
                    found.append(f"{member.name} cut off {peer}: {code}")
        return found

    # What nemeses do -----------------------------------------------------------------------------------

    def cut(self, ways: Iterable[tuple[int, int]]) -> None:
        self.cluster.net.cut(ways)

    def slow(self, links: Mapping[int, Impairment]) -> None:
        self.cluster.net.slow(links)

    def kill(self, node: int) -> None:
        process = self.members[node].process
        assert process is not None
        if node not in self._down:
            self._down.add(node)
            if process.poll() is not None:
                self._note_death(node, self.members[node])
            process.kill()
            process.wait()

    async def restart(self, node: int) -> None:
        """Start a daemon that is down. That it does not come up counts as a death, and it is tried again.

        Not for ever: after MAX_DEATHS it stays down, and the verdict is from what the others hold.
        """
        member = self.members[node]
        async with self._starting[node]:
            while node in self._down:
                self.cluster.start(member)
                try:
                    await trio.to_thread.run_sync(self.cluster.wait_ready, member)
                    self._down.discard(node)
                except LocalFault as fault:
                    self.deaths.append(f"node {node} did not come up again: {fault.message[-500:]}")
                    if len(self.deaths) >= MAX_DEATHS:
                        return

    def pause(self, node: int) -> None:
        self._signal(node, signal.SIGSTOP)

    def resume(self, node: int) -> None:
        self._signal(node, signal.SIGCONT)

    def _signal(self, node: int, number: signal.Signals) -> None:
        process = self.members[node].process
        if process is not None and process.poll() is None:
            process.send_signal(number)

    def skew(self, node: int, offset_s: float) -> None:
        self.cluster.set_offset(node, offset_s)

    def heal(self) -> None:
        """Undo whatever may still be wrong with networks and clocks; processes come back by themselves."""
        self.cut(())
        if self.cluster.net.slow_by:
            self.slow({})
        for node in range(len(self.members)):
            self.resume(node)
            self.skew(node, 0.0)
