"""A real etcd cluster on loopback for a benchmark: etcd-server of Debian, started and ended with it."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swarmd.protocol.faults import LocalFault

START_TIMEOUT_S = 30.0


def installed() -> bool:
    return shutil.which("etcd") is not None


@contextmanager
def etcd_servers(folder: Path, size: int = 3) -> Iterator[list[str]]:
    """The URLs of `size` members that all answer. LocalFault `bench-stuck`."""
    ports = _free_ports(2 * size)
    urls = [f"http://127.0.0.1:{port}" for port in ports[:size]]
    peers = [f"http://127.0.0.1:{port}" for port in ports[size:]]
    cluster = ",".join(f"m{number}={url}" for number, url in enumerate(peers))
    processes = []
    try:
        for number, (url, peer) in enumerate(zip(urls, peers, strict=True)):
            command = [
                "etcd",
                "--name",
                f"m{number}",
                "--data-dir",
                str(folder / f"m{number}"),
                "--logger",
                "zap",
            ]
            command += ["--listen-client-urls", url, "--advertise-client-urls", url]
            command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
            command += ["--initial-cluster", cluster, "--initial-cluster-state", "new"]
            with open(folder / f"m{number}.log", "wb") as log:
                processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        _wait(ports[:size])
        yield urls
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _wait(ports: list[int]) -> None:
    end_s = time.monotonic() + START_TIMEOUT_S
    for port in ports:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > end_s:
                    raise LocalFault("bench-stuck", "etcd did not start") from None
                time.sleep(0.05)
