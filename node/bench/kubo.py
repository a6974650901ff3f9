"""A kubo daemon of our own, on loopback and alone: for measurements beside it, and for tests with it.

It has no bootstrap nodes, no mDNS, no DHT, no telemetry and no automatic configuration, listens on free ports of
loopback only, and keeps its repository in a folder of the caller's. An ipfs that runs on this host is not touched.
"""

import json
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio
from swarmd.protocol.faults import LocalFault

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
_POLL_S = 0.05
_CALL_TIMEOUT_S = 60.0

_CONFIG: dict[str, Any] = {
    "Routing.Type": "none",
    "Provide.Enabled": False,
    "Version.SwarmCheckEnabled": False,
    "Swarm.RelayClient.Enabled": False,
    "Swarm.RelayService.Enabled": False,
    "Plugins.Plugins": {"telemetry": {"Config": {"Mode": "off"}}},
    # kubo asks peers for content that it has seen serve before, or all of them.
    "Internal.Bitswap": {"BroadcastControl": {"Enable": False}},
}


def find_kubo() -> str | None:
    """The binary: the one that `make interop` builds, or `ipfs` on the PATH."""
    built = Path(__file__).resolve().parents[2] / ".tools" / "bin" / "ipfs"
    return str(built) if built.is_file() else shutil.which("ipfs")


class Kubo:
    """One repository in `home`, and the daemon on it."""

    def __init__(self, binary: str, home: Path) -> None:
        self._binary = binary
        self.home = home
        self._process: subprocess.Popen[bytes] | None = None
        self._env = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(home),
            "IPFS_PATH": str(home),
            "IPFS_TELEMETRY": "off",
        }

    async def call(self, *argv: str, data: bytes = b"", timeout_s: float = _CALL_TIMEOUT_S) -> bytes:
        """What `ipfs ARGV` prints; LocalFault `kubo-failed` with what it complains of."""
        with trio.fail_after(timeout_s):
            done = await trio.run_process(
                [self._binary, *argv],
                env=self._env,
                stdin=data,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        if done.returncode:
            raise LocalFault("kubo-failed", f"ipfs {' '.join(argv)[:200]}: {done.stderr.decode()[-500:]}")
        output: bytes = done.stdout
        return output

    async def start(self, **config: Any) -> None:
        """Make the repository if there is none, start the daemon, return when its API answers."""
        if not (self.home / "config").exists():
            await self.call("init", "--empty-repo", "--profile=test")
            path = self.home / "config"
            document = json.loads(path.read_text())
            for dotted, value in {**_CONFIG, **config}.items():
                *folders, last = dotted.split(".")
                place = document
                for folder in folders:
                    place = place.setdefault(folder, {})
                place[last] = value
            path.write_text(json.dumps(document))
        for stale in ("api", "gateway"):
            (self.home / stale).unlink(missing_ok=True)
        with (self.home / "daemon.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 (it starts at once, and outlives the call)
                [self._binary, "daemon", "--migrate=false"], env=self._env, stdout=log, stderr=log
            )
        with trio.move_on_after(_START_TIMEOUT_S):
            while self._process.poll() is None:
                if (self.home / "api").exists():
                    with suppress(LocalFault):
                        await self.call("id")
                        return
                await trio.sleep(_POLL_S)
        complaint = (self.home / "daemon.log").read_text(errors="replace")[-500:]
        self.stop()
        raise LocalFault("kubo-failed", f"the kubo daemon did not start: {complaint}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def api_addr(self) -> str:
        """The multiaddr of its HTTP API."""
        return (self.home / "api").read_text().strip()

    async def swarm_addr(self) -> str:
        """A multiaddr ending in /p2p/PEER_ID at which it is dialled."""
        document = json.loads(await self.call("id"))
        return next(str(addr) for addr in document["Addresses"] if "/tcp/" in addr)
