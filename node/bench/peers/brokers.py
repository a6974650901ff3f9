"""The brokers of the peers: real servers of Debian on loopback, their data in the benchmark's folder."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from swarmd.node.bench.peers.children import Child, free_port

PACKAGES = {"nats-server": "nats-server", "etcd": "etcd-server", "redis-server": "redis-server"}
_ALWAYS_SINCE = (2, 10)
# Called with a broker as soon as it is a process, whether or not it will serve: it is to be stopped from then on.
Keep = Callable[[Child], Child]


def missing(programs: tuple[str, ...]) -> list[str]:
    """The Debian packages of the programs that are not on PATH."""
    return [PACKAGES[program] for program in programs if shutil.which(program) is None]


def version_of(program: str) -> str:
    """`2.9.10` of `nats-server: v2.9.10`; empty if it says none."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30).stdout
    found = re.search(r"(\d+\.\d+\.\d+)", said)
    return found.group(1) if found else ""


def nats_syncs() -> bool:
    """Can this nats-server sync a message to disk before it acknowledges it? Only from 2.10 on; before, it syncs its
    files every two minutes."""
    return tuple(map(int, version_of("nats-server").split(".")[:2])) >= _ALWAYS_SINCE


def start_nats(folder: Path, keep: Keep) -> tuple[Child, str]:
    """JetStream on files, synced for each message where the server can; its URL."""
    port = free_port()
    sync = ", sync_interval: always" if nats_syncs() else ""
    config = folder / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder / "jetstream"}"{sync} }}\n', "utf-8"
    )
    server = keep(Child(["nats-server", "-c", str(config)], folder / "nats-server.log"))
    server.listens(port)
    return server, f"nats://127.0.0.1:{port}"


def start_etcd(folder: Path, keep: Keep) -> tuple[Child, str]:
    """One member; etcd syncs each commit of its log to disk."""
    port, peer = free_port(), free_port()
    url, peer_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
    command = ["etcd", "--name", "one", "--data-dir", str(folder / "etcd"), "--logger", "zap"]
    command += ["--listen-client-urls", url, "--advertise-client-urls", url]
    command += ["--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url]
    command += ["--initial-cluster", f"one={peer_url}", "--initial-cluster-state", "new"]
    server = keep(Child(command, folder / "etcd.log"))
    server.listens(port)
    return server, url


def start_redis(folder: Path, keep: Keep, fsync: str) -> tuple[Child, str]:
    """With its append-only file; `fsync` is `always` (before it answers) or `everysec`."""
    port = free_port()
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
    server = keep(
        Child([*command, "--appendonly", "yes", "--appendfsync", fsync], folder / "redis-server.log")
    )
    server.listens(port)
    return server, f"redis://127.0.0.1:{port}/0"
