"""Nodes that join one another: real daemons as processes, each with a home of its own."""

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nacl.signing
import pytest
from swarmd.node.chaos.machine import preflight
from swarmd.node.chaos.netns import Net
from swarmd.node.home import socket_path
from swarmd.node.transport.local_client import LocalClient
from swarmd.protocol.didkey import did_of
from swarmd.protocol.faults import LocalFault


@dataclass
class Key:
    seed: bytes
    did: str = ""
    sign: Callable[[bytes], bytes] = field(default=bytes)

    def __post_init__(self) -> None:
        key = nacl.signing.SigningKey(self.seed)
        self.did = did_of(bytes(key.verify_key))
        self.sign = lambda data: key.sign(data).signature


@pytest.fixture
def key() -> Callable[[int], Key]:
    """key(n): the n-th key of the tests, with `did` and `sign`."""
    return lambda n: Key(n.to_bytes(32, "big"))


class Host:
    """A home and what is run in it; `within` are words that put its processes elsewhere, as in a namespace."""

    def __init__(self, home: Path, within: Sequence[str] = ()) -> None:
        self.home = home
        self.within = list(within)
        self.process: subprocess.Popen[str] | None = None
        self.ready: dict[str, Any] = {}

    def _command(self, *words: str) -> list[str]:
        return [*self.within, sys.executable, "-m", "swarmd.cli", "--home", str(self.home), "--json", *words]

    def run(self, *words: str, code: int = 0) -> dict[str, Any]:
        """A command to its end; its document."""
        done = subprocess.run(
            self._command(*words), capture_output=True, text=True, timeout=60, env=environment()
        )
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr[-3000:])
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def start(self, *words: str) -> None:
        """`swarmd up`; `wait_ready` waits until it serves."""
        with open(self.home.with_suffix(".log"), "a") as log:
            self.process = subprocess.Popen(
                self._command("up", *words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(),
            )

    def wait_ready(self) -> dict[str, Any]:
        assert self.process is not None and self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(60), "not ready"
        line = self.process.stdout.readline()
        assert line, self.log()
        self.ready = json.loads(line)
        return self.ready

    def up(self, *words: str) -> dict[str, Any]:
        self.start(*words)
        return self.wait_ready()

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(20)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def ask(self, op: str, **args: Any) -> Any:
        with LocalClient(socket_path(self.home), timeout_s=30.0) as client:
            return client.call(op, args)

    def peers(self) -> set[str]:
        return {peer["peer_id"] for peer in self.ask("peers")["peers"]}

    def log(self) -> str:
        return self.home.with_suffix(".log").read_text()


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SWARMD_")}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """host(name, within=()) -> Host, stopped at the end."""
    made: list[Host] = []

    def make(name: str, within: Sequence[str] = ()) -> Host:
        made.append(Host(tmp_path / name, within))
        return made[-1]

    yield make
    for each in made:
        if each.process is not None:
            each.process.kill()
            each.stop()


@pytest.fixture
def lan() -> Iterator[Callable[[int], Net]]:
    """lan(n) -> Net: n network namespaces on one bridge. Skipped where the machine does not let us make them."""
    made: list[Net] = []

    def make(nodes: int) -> Net:
        require_namespaces()
        net = Net(nodes)
        made.append(net)
        net.up(slow=False)
        return net

    yield make
    for net in made:
        net.down()


def require_namespaces() -> None:
    """What is not installed is a failure in CI; what a kernel or container refuses nobody can install."""
    try:
        preflight(["partition"])
        trial = Net(1)
        try:
            trial.up(slow=False)
        finally:
            trial.down()
    except LocalFault as fault:
        if fault.code == "missing-tools" and os.environ.get("CI"):
            pytest.fail(f"{fault.message}; {fault.fix}")
        pytest.skip(f"no network namespaces here: {fault.message}; {fault.fix}")
