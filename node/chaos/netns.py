"""A network of its own for each daemon: namespaces, a bridge between them, and what goes wrong on the way.

    node 0: eth0 10.99.0.1 - port0 +
    node 1: eth0 10.99.0.2 - port1 + bridge, in the hub's namespace: nftables drops between ports
    node 2: eth0 10.99.0.3 - port2 +

Every link is a veth pair with `tc netem` at both ends or, where the kernel has no netem, two taps with `wire.py`
between them. All of it lives in namespaces named after the process that made them, so that a later `clean` finds
what a killed run left; nothing is added to the host's own network. Linux, root.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO

from swarmd.protocol.faults import LocalFault

PREFIX = "swarmd-chaos-"
PORT = 4001
MAX_NODES = 32
_NAMESPACES = Path("/run/netns")
_OURS = re.compile(rf"{PREFIX}(\d+)-(\d+)-.+")


@dataclass(frozen=True, slots=True)
class Impairment:
    """What a link does to each frame, in each direction."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss_percent: float = 0.0
    duplicate_percent: float = 0.0
    reorder_percent: float = 0.0

    def netem(self) -> list[str]:
        words = ["limit", "10000", "delay", f"{self.delay_ms:g}ms", f"{self.jitter_ms:g}ms"]
        for name, percent in (
            ("loss random", self.loss_percent),
            ("duplicate", self.duplicate_percent),
            ("reorder", self.reorder_percent),
        ):
            if percent:
                words += [*name.split(), f"{percent:g}%"]
        return words

    def __str__(self) -> str:
        values = ((each.name, getattr(self, each.name)) for each in fields(self))
        units = {"ms": "ms", "percent": "%"}
        return ", ".join(
            f"{name.rpartition('_')[0]} {value:g}{units[name.rpartition('_')[2]]}"
            for name, value in values
            if value
        )


def _run(*argv: str, given: str | None = None) -> str:
    done = subprocess.run(argv, input=given, capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        raise LocalFault(
            "netns-failed",
            f"{' '.join(argv)}: {done.stderr.strip()[:400]}",
            fix="chaos needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN, and a kernel with namespaces, veth and bridge",
        )
    return done.stdout


class Net:
    """Made by `up`, gone after `down`. Nodes are numbered from 0."""

    def __init__(self, nodes: int, *, seed: int = 0) -> None:
        self.nodes = nodes
        self.run = f"{PREFIX}{os.getpid()}-{_started(os.getpid())}"
        self.hub = f"{self.run}-hub"
        self.slow_by = ""
        self._seed = seed
        self._slowed: set[int] = set()
        self._cuts = False
        self._wire: subprocess.Popen[str] | None = None

    def namespace(self, node: int) -> str:
        return f"{self.run}-{node}"

    def address(self, node: int) -> str:
        return f"10.99.0.{node + 1}"

    def listen(self, node: int) -> str:
        """The multiaddr where the daemon of `node` listens."""
        return f"/ip4/{self.address(node)}/tcp/{PORT}"

    def within(self, node: int) -> list[str]:
        """The words before a command that make it run in the namespace of `node`, as the same process."""
        return ["ip", "netns", "exec", self.namespace(node)]

    # Making and removing -------------------------------------------------------------------------------

    def up(self, *, slow: bool) -> None:
        """Make everything; `slow`: its links will be slowed down. LocalFault if this machine does not let us."""
        _run("ip", "netns", "add", self.hub)
        hub = ("ip", "-n", self.hub)
        _run(*hub, "link", "add", "bridge", "type", "bridge")
        _run(*hub, "link", "set", "bridge", "up")
        for node in range(self.nodes):
            _run("ip", "netns", "add", self.namespace(node))
        if slow:
            self.slow_by = "netem" if self._has_netem() else "wire"
        if self.slow_by == "wire":
            self._start_wire()
        for node in range(self.nodes):
            name = self.namespace(node)
            if self._wire is None:
                pair = ("type", "veth", "peer", "name", "eth0", "netns", name)
                _run(*hub, "link", "add", f"port{node}", *pair)
            else:
                _run(*hub, "link", "set", f"node{node}", "netns", name, "name", "eth0")
            _run(*hub, "link", "set", f"port{node}", "master", "bridge", "up")
            inside = ("ip", "-n", name)
            _run(*inside, "addr", "add", f"{self.address(node)}/24", "dev", "eth0")
            _run(*inside, "link", "set", "eth0", "up")
            _run(*inside, "link", "set", "lo", "up")

    def _has_netem(self) -> bool:
        done = subprocess.run(
            ["tc", "-n", self.hub, "qdisc", "replace", "dev", "bridge", "root", "netem", "delay", "1ms"],
            capture_output=True,
        )
        if done.returncode == 0:
            _run("tc", "-n", self.hub, "qdisc", "del", "dev", "bridge", "root")
        return done.returncode == 0

    def _start_wire(self) -> None:
        self._wire = subprocess.Popen(
            ["ip", "netns", "exec", self.hub, sys.executable, "-m", "swarmd.node.chaos.wire"]
            + [str(self.nodes), str(self._seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        said = _pipe(self._wire.stdout).readline().strip()
        if said != "ready":
            raise LocalFault(
                "no-tap",
                f"the kernel has no netem, and taps in its place fail: {said or 'see above'}",
                fix="leave slow out of --nemesis, or give the container /dev/net/tun",
            )

    def down(self) -> None:
        """Kill what still runs in the namespaces and remove them. Never raises."""
        if self._wire is not None:
            self._wire.kill()
            self._wire.wait()
            for pipe in (self._wire.stdin, self._wire.stdout):
                with contextlib.suppress(OSError):
                    _pipe(pipe).close()
            self._wire = None
        for name in [self.hub, *map(self.namespace, range(self.nodes))]:
            _remove(name)

    # What goes wrong -----------------------------------------------------------------------------------

    def cut(self, ways: Iterable[tuple[int, int]]) -> None:
        """Drop, from now on, exactly what goes these ways: (from, to). In one step; () heals all."""
        if not (ways := list(ways)) and not self._cuts:
            return
        self._cuts = True
        rules = "".join(
            f'add rule bridge chaos forward iifname "port{one}" oifname "port{other}" drop\n'
            for one, other in ways
        )
        table = "add table bridge chaos\n"
        chain = "add chain bridge chaos forward { type filter hook forward priority 0 ; }\n"
        flush = "flush chain bridge chaos forward\n"
        _run("ip", "netns", "exec", self.hub, "nft", "-f", "-", given=table + chain + flush + rules)

    def slow(self, links: Mapping[int, Impairment]) -> None:
        """Slow down, from now on, exactly these nodes' links; {} heals all. Only after `up(slow=True)`."""
        if self._wire is not None:
            config = {str(node): asdict(impairment) for node, impairment in links.items()}
            try:
                _pipe(self._wire.stdin).write(json.dumps(config) + "\n")
                _pipe(self._wire.stdin).flush()
            except BrokenPipeError:
                raise LocalFault("netns-failed", "wire.py, which slows the links, has ended") from None
            return
        for node in self._slowed - links.keys():
            for where, device in ((self.hub, f"port{node}"), (self.namespace(node), "eth0")):
                _run("tc", "-n", where, "qdisc", "del", "dev", device, "root")
        for node, impairment in links.items():
            for where, device in ((self.hub, f"port{node}"), (self.namespace(node), "eth0")):
                replace = ("tc", "-n", where, "qdisc", "replace", "dev", device, "root", "netem")
                _run(*replace, *impairment.netem())
        self._slowed = set(links)


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def _started(pid: int) -> int:
    """When a process began, in the kernel's ticks: with its pid, a name that no other process has. 0: it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def _remove(namespace: str) -> None:
    for _ in range(50):
        listed = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True)
        pids = [int(word) for word in listed.stdout.split()]
        if not pids:
            break
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    subprocess.run(["ip", "netns", "del", namespace], capture_output=True)


def alive(name: str) -> bool:
    """Does the run that a namespace or folder is named after still go on? True for names that are not of a run."""
    found = _OURS.fullmatch(name)
    return found is None or _started(int(found[1])) == int(found[2])


def clean() -> list[str]:
    """Remove the namespaces of runs that are no more, and what runs in them; returns their names."""
    removed = [path.name for path in sorted(_NAMESPACES.glob(f"{PREFIX}*")) if not alive(path.name)]
    for name in removed:
        _remove(name)
    return removed
