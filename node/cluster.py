"""A mesh of daemon processes on this host, for the demo, the benchmarks and tests: real processes, keys and disks."""

import json
import selectors
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from swarmd.node.home import socket_path
from swarmd.node.process_usage import cpu_seconds, rss_bytes
from swarmd.node.setup import GENESIS_FILE, create_home, found_mesh, write_genesis
from swarmd.node.transport.local_client import LocalClient
from swarmd.protocol.faults import LocalFault

READY_TIMEOUT_S = 120.0  # five start at once, perhaps on a machine that others use
STOP_TIMEOUT_S = 10.0


@dataclass(slots=True)
class Member:
    """One daemon of the mesh: its home, its process while it runs, and a client of its socket."""

    name: str
    home: Path
    did: str
    process: subprocess.Popen[str] | None = None
    addr: str = ""
    client: LocalClient | None = None

    def call(self, op: str, **args: Any) -> Any:
        """Ask the daemon; LocalFault if it refuses or is gone."""
        if self.client is None:
            self.client = LocalClient(socket_path(self.home), timeout_s=60.0)
        return self.client.call(op, args)

    def disconnect(self) -> None:
        if self.client is not None:
            self.client.close()
            self.client = None

    def cpu_s(self) -> float:
        """User and system CPU seconds of the daemon and the children it has reaped (Linux)."""
        assert self.process is not None
        return cpu_seconds(self.process.pid, with_reaped=True)

    def rss_mb(self) -> float:
        assert self.process is not None
        return rss_bytes(self.process.pid) / 1_048_576


class Cluster:
    """Homes under `base`, one genesis for all. Each member dials the first `fan_out` before it."""

    def __init__(
        self,
        base: Path,
        names: Sequence[str],
        *,
        verifiers: Sequence[str],
        balance: int,
        mesh: str,
        fan_out: int = 2,
        serves_api: bool = False,
        **params: Any,
    ) -> None:
        self.base = base
        self.fan_out = fan_out
        self.serves_api = serves_api
        self.members = []
        for name in names:
            identity = create_home(base / name)
            self.members.append(Member(name, base / name, identity.did))
        dids = {member.name: member.did for member in self.members}
        self.genesis = found_mesh(
            mesh, [dids[name] for name in verifiers], {did: balance for did in dids.values()}, **params
        )
        for member in self.members:
            write_genesis(member.home / GENESIS_FILE, self.genesis)

    def start(self, member: Member, *extra: str) -> None:
        """Start a daemon; `wait_ready` waits for it."""
        peers: list[str] = []
        for other in self.members[: self.members.index(member)][: self.fan_out]:
            if other.addr:
                peers += ["--peer", other.addr]
        if member.process is not None and member.process.stdout is not None:
            member.process.stdout.close()  # of its last life
        log = open(member.home / "daemon.log", "a", encoding="utf-8")
        with log:
            member.process = subprocess.Popen(
                self.command(member, "up", *peers, *extra),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def command(self, member: Member, *up: str) -> list[str]:
        """The command line of a member's daemon; `up` are the words of the command. Others may place it elsewhere."""
        swarmd = [sys.executable, "-m", "swarmd.cli", "--home", str(member.home), "--json"]
        quiet = ["--no-mdns"] if self.serves_api else ["--no-mdns", "--no-api"]
        return [*swarmd, *up, *quiet, "--listen", "/ip4/127.0.0.1/tcp/0"]

    def wait_ready(self, member: Member) -> None:
        """Until the daemon says it serves; LocalFault `daemon-failed` with the end of its log if it does not."""
        assert member.process is not None and member.process.stdout is not None
        line = _read_line(member.process.stdout)
        try:
            ready = json.loads(line)
            member.addr = ready["addrs"][0]
        except (ValueError, KeyError, IndexError, TypeError):
            raise _not_started(member, line) from None

    def start_all(self, *extra: str) -> None:
        for member in self.members:
            self.start(member, *extra)
            if self.members.index(member) < self.fan_out:
                self.wait_ready(member)
        for member in self.members[self.fan_out :]:
            self.wait_ready(member)

    def stop_all(self) -> list[int]:
        """SIGTERM all, then SIGKILL what does not end; returns the exit codes."""
        for member in self.members:
            member.disconnect()
            if member.process is not None and member.process.poll() is None:
                member.process.send_signal(signal.SIGTERM)
        codes = []
        for member in self.members:
            if member.process is None:
                continue
            try:
                codes.append(member.process.wait(STOP_TIMEOUT_S))
            except subprocess.TimeoutExpired:
                member.process.kill()
                codes.append(member.process.wait())
            if member.process.stdout is not None:
                member.process.stdout.close()
        return codes


def _not_started(member: Member, line: str) -> LocalFault:
    """Why a daemon is not ready: what it said of itself, how it ended, or that it took too long. Ends it."""
    assert member.process is not None
    ended = member.process.poll()
    member.process.kill()
    member.process.wait()
    try:
        error = json.loads(line)["error"]
        return LocalFault(
            "daemon-failed", f"{member.name} did not start: {error['message']}", fix=error["fix"]
        )
    except (ValueError, KeyError, TypeError):
        pass
    tail = (member.home / "daemon.log").read_text("utf-8", "replace")[-2_000:].strip()
    if ended is None and not line:
        why = f"it was not ready within {READY_TIMEOUT_S:g} s; this machine may be too busy"
    else:
        why = f"it ended with {'its output closed' if ended is None else ended}"
    said = " ".join(part for part in (line.strip(), tail) if part)
    return LocalFault(
        "daemon-failed",
        f"{member.name} did not start: {why}{': ' + said if said else ''}",
        fix="see what else runs (uptime); swarmd demo --keep leaves the logs",
    )


def _read_line(stream: IO[str]) -> str:
    """One line, or what there was within READY_TIMEOUT_S."""

    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        if not selector.select(READY_TIMEOUT_S):
            return ""
    return stream.readline()
