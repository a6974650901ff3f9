"""Who is measured: each system, with and without what not all of them have, how it is started and driven."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmd.node.bench.mesh import Bench
from swarmd.node.bench.peers import brokers, interpreter, swarmd_needs
from swarmd.node.bench.peers.children import START_TIMEOUT_S, Child
from swarmd.node.bench.peers.driver import SETTINGS
from swarmd.node.cluster import Cluster

_ROOM = "swarmd.node.bench.peers"
_BALANCE = 10**15
# What one owner on one host has no use for, as far as there is a setting for it.
LEAN_CONFIG: Mapping[str, Any] = {
    "dht": False,
    "nat": False,
    "relay": False,
    "content_bitswap": False,
    "anchor_interval_s": 86_400.0,
    "telemetry_sample_ratio": 0.0,
}


@dataclass(frozen=True, slots=True)
class Load:
    """`tasks` needs with inputs of `payload_bytes`, `window` under way at a time, on `workers` processes."""

    tasks: int = 1_000
    window: int = 64
    workers: int = 2
    payload_bytes: int = 4_096


@dataclass(frozen=True, slots=True)
class Running:
    """A system that is up. `parts`: what of it -> the processes that it began with."""

    driver: Child
    parts: Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Contender:
    """`options` are of its `start`; `verified`: a second run of the work is compared with the first."""

    name: str
    system: str
    verified: bool
    summary: str
    start: Callable[["Start"], Running]
    options: Mapping[str, Any]

    @contextmanager
    def running(self, load: Load, folder: Path, python: Path | None) -> Iterator[Running]:
        """Up, with its data under `folder`; `python`: the peers' interpreter. All of it ends with the context."""
        with ExitStack() as stack:
            yield self.start(Start(self, load, folder, python, stack))


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a contender."""

    contender: Contender
    load: Load
    folder: Path
    python: Path | None
    stack: ExitStack

    def keep(self, child: Child) -> Child:
        self.stack.callback(child.stop)
        return child

    def settings(self, **more: Any) -> dict[str, Any]:
        return {
            "window": self.load.window,
            "workers": self.load.workers,
            "payload_bytes": self.load.payload_bytes,
            "verified": self.contender.verified,
            **more,
        }

    def program(self, module: str, settings: Mapping[str, Any], *words: str, name: str = "driver") -> Child:
        """A module of this room in the peers' interpreter."""
        assert self.python is not None
        text = json.dumps(settings)
        env = {**interpreter.environment(self.folder), SETTINGS: text}
        command = [str(self.python), "-m", f"{_ROOM}.{module}", text, *words]
        return self.keep(Child(command, self.folder / f"{name}.log", env))


def _nats(start: Start) -> Running:
    nats, url = brokers.start_nats(start.folder)
    start.keep(nats)
    etcd, etcd_url = brokers.start_etcd(start.folder)
    start.keep(etcd)
    settings = start.settings(nats=url, etcd=etcd_url)
    start.program("nats_etcd", settings, "stream", name="stream").line(START_TIMEOUT_S)
    workers = [
        start.program("nats_etcd", settings, "worker", name=f"worker-{n}") for n in range(start.load.workers)
    ]
    for worker in workers:
        worker.line(START_TIMEOUT_S)
    driver = start.program("nats_etcd", settings)
    driver.line(START_TIMEOUT_S)
    return Running(
        driver,
        {
            "brokers": [nats.pid, etcd.pid],
            "workers": [worker.pid for worker in workers],
            "driver": [driver.pid],
        },
    )


def _celery(start: Start) -> Running:
    redis, url = brokers.start_redis(start.folder, start.contender.options["fsync"])
    start.keep(redis)
    settings = start.settings(redis=url)
    assert start.python is not None
    env = {**interpreter.environment(start.folder), SETTINGS: json.dumps(settings)}
    command = [str(start.python), "-m", "celery", "-A", f"{_ROOM}.celery_redis", "worker", "--loglevel", "WARNING"]
    command += ["--concurrency", str(start.load.workers), "--without-gossip", "--without-mingle"]
    pool = start.keep(Child(command, start.folder / "worker.log", env))
    driver = start.program("celery_redis", settings)
    driver.line(START_TIMEOUT_S)
    return Running(driver, {"brokers": [redis.pid], "workers": [pool.pid], "driver": [driver.pid]})


def _ray(start: Start) -> Running:
    # Ray's sockets are files deep under its folder, and the name of a socket has 107 bytes at most.
    driver = start.program("ray_tasks", start.settings(folder=str(start.folder / "r")))
    driver.line(START_TIMEOUT_S)
    return Running(driver, {"all": [driver.pid]})


def _swarmd(start: Start) -> Running:
    options = start.contender.options
    names = [f"node-{number}" for number in range(options["nodes"])]
    cluster = Cluster(
        start.folder, names, verifiers=names, balance=_BALANCE, mesh="bench", fan_out=len(names)
    )
    for member in cluster.members:
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in options["config"].items()]
        (member.home / "swarmd.toml").write_text("".join(lines), "utf-8")
    bench = Bench(
        cluster,
        start.load.window,
        lambda _done, _all: None,
        ("--price", options["price"]),
        agent=f"{_ROOM}.swarmd_needs",
        capability=swarmd_needs.CAPABILITY,
    )
    start.stack.callback(bench.stop)
    bench.start()
    homes = [str(member.home) for member in cluster.members]
    settings = start.settings(homes=homes, budget=options["budget"], task=options["task"])
    command = [sys.executable, "-m", f"{_ROOM}.swarmd_needs", json.dumps(settings)]
    driver = start.keep(Child(command, start.folder / "driver.log"))
    driver.line(START_TIMEOUT_S)
    daemons = [member.process.pid for member in cluster.members if member.process is not None]
    return Running(driver, {"daemons": daemons, "workers": bench.agent_pids, "driver": [driver.pid]})


_FULL: Mapping[str, Any] = {"price": "0.001", "budget": "0.01", "config": {}, "task": {}}
_ANYTHING = {"verify": {"type": "schema", "schema": True}}

CONTENDERS: tuple[Contender, ...] = (
    Contender("nats", "nats", False, "JetStream, etcd, Python workers", _nats, {}),
    Contender("nats-verified", "nats", True, "... and a second queue whose worker runs it again", _nats, {}),
    Contender("celery", "celery", False, "Redis syncs before it answers", _celery, {"fsync": "always"}),
    Contender(
        "celery-verified", "celery", True, "... and a second task that runs it again", _celery, {"fsync": "always"}
    ),
    Contender(
        "celery-everysec", "celery", False, "Redis syncs once a second", _celery, {"fsync": "everysec"}
    ),
    Contender("ray", "ray", False, "tasks in memory, nothing on disk", _ray, {}),
    Contender("ray-verified", "ray", True, "... and a second task that runs it again", _ray, {}),
    Contender(
        "swarmd", "swarmd", True, "four daemons of four owners, all that it does", _swarmd, {**_FULL, "nodes": 4}
    ),
    Contender("swarmd-one", "swarmd", True, "one daemon of one owner", _swarmd, {**_FULL, "nodes": 1}),
    Contender(
        "swarmd-lean",
        "swarmd",
        False,
        "one daemon; any result will do, no price, no anchors, no discovery",
        _swarmd,
        {"nodes": 1, "price": "0", "budget": "0", "config": LEAN_CONFIG, "task": _ANYTHING},
    ),
)
PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "nats": ("nats-server", "etcd"),
    "celery": ("redis-server",),
    "ray": (),
    "swarmd": (),
}
SYSTEMS = tuple(PROGRAMS)
