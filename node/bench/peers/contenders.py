"""Who is measured: each system, with and without what not all of them have, how it is started and driven."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarmd.node.bench.mesh import Bench
from swarmd.node.bench.peers import brokers, interpreter, swarmd_needs
from swarmd.node.bench.peers.children import START_TIMEOUT_S, Child
from swarmd.node.bench.peers.driver import SETTINGS
from swarmd.node.cluster import Cluster
from swarmd.protocol.faults import LocalFault

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
    """`options` are of its `start`. `verified`: a second run of the work is compared with the first. `lacks`: what it does
    not do beside what its whole system does not."""

    name: str
    system: str
    summary: str
    start: Callable[["Start"], Running]
    options: Mapping[str, Any] = field(default_factory=dict)
    verified: bool = False
    lacks: tuple[str, ...] = ()

    @contextmanager
    def running(self, load: Load, folder: Path) -> Iterator[Running]:
        """Up, with its data under `folder`. All of it ends with the context. LocalFault if it does not start."""
        environment = SYSTEMS[self.system].environment
        python = Path(sys.executable) if environment is None else environment.make()
        with ExitStack() as stack:
            yield self.start(Start(self, load, folder, python, stack))


@dataclass(frozen=True, slots=True)
class System:
    """`programs` of Debian and the `environment` of Python that it needs; `lacks`: what it does not do for a need."""

    name: str
    programs: tuple[str, ...]
    environment: interpreter.Environment | None
    lacks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a contender."""

    contender: Contender
    load: Load
    folder: Path
    python: Path
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
        text = json.dumps(settings)
        env = {**interpreter.variables(self.folder), SETTINGS: text}
        command = [str(self.python), "-m", f"{_ROOM}.{module}", text, *words]
        return self.keep(Child(command, self.folder / f"{name}.log", env))


def _nats(start: Start) -> Running:
    nats, url = brokers.start_nats(start.folder, start.keep)
    etcd, etcd_url = brokers.start_etcd(start.folder, start.keep)
    settings = start.settings(nats=url, etcd=etcd_url)
    start.program("nats_etcd", settings, "stream", name="stream").line(START_TIMEOUT_S)
    workers = []
    for number in range(start.load.workers):
        worker = start.program("nats_etcd", settings, "worker", name=f"worker-{number}")
        worker.line(START_TIMEOUT_S)  # the first makes the consumers, and two at once get in each other's way
        workers.append(worker)
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
    redis, url = brokers.start_redis(start.folder, start.keep, start.contender.options["fsync"])
    settings = start.settings(redis=url)
    env = {**interpreter.variables(start.folder), SETTINGS: json.dumps(settings)}
    command = [
        str(start.python),
        "-m",
        "celery",
        "-A",
        f"{_ROOM}.celery_redis",
        "worker",
        "--loglevel",
        "WARNING",
    ]
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


_VERDICT = "verification: the first result is taken"
_OTHERS_LACK = (
    "payment: no price, no escrow, no receipt",
    "policy: who reaches the broker may post, take and record anything",
    "a second owner: brokers and workers are one owner's, nothing is signed, nobody else can check",
)
SYSTEMS: Mapping[str, System] = {
    system.name: system
    for system in (
        System(
            "nats",
            ("nats-server", "etcd"),
            interpreter.QUEUES,
            (*_OTHERS_LACK, "nats-server before 2.10 acknowledges a message before it is on disk"),
        ),
        System(
            "celery",
            ("redis-server",),
            interpreter.QUEUES,
            (*_OTHERS_LACK, "compare-and-set: of two results of one task either may stay; kept for a day"),
        ),
        System(
            "ray",
            (),
            interpreter.RAY,
            (*_OTHERS_LACK, "a record: results are in memory, and gone with the driver; nothing is on disk"),
        ),
        System("swarmd", (), None, ()),
    )
}

_FULL: Mapping[str, Any] = {"price": "0.001", "budget": "0.01", "config": {}, "task": {}}
_LEAN: Mapping[str, Any] = {
    "price": "0",
    "budget": "0",
    "config": LEAN_CONFIG,
    "task": {"verify": {"type": "schema", "schema": True}},
}
_ONE_OWNER = "a second owner: one daemon, whose verdict on its own agent is enough"
_SWITCHED_OFF = (
    "verification: the schema `true`, any result is right",
    "payment: no price, no budget, no anchors on a chain",
    "discovery and reachability: no DHT, NAT, relay, Bitswap",
    "traces",
)
_ALWAYS, _EVERYSEC = {"fsync": "always"}, {"fsync": "everysec"}

CONTENDERS: tuple[Contender, ...] = (
    Contender("nats", "nats", "JetStream, etcd, Python workers", _nats, lacks=(_VERDICT,)),
    Contender("nats-verified", "nats", "... and a queue whose worker runs it again", _nats, verified=True),
    Contender("celery", "celery", "Redis syncs before it answers", _celery, _ALWAYS, lacks=(_VERDICT,)),
    Contender(
        "celery-verified", "celery", "... and a task that runs it again", _celery, _ALWAYS, verified=True
    ),
    Contender(
        "celery-everysec",
        "celery",
        "Redis syncs once a second",
        _celery,
        _EVERYSEC,
        lacks=(_VERDICT, "the last second of its records, if the power fails"),
    ),
    Contender("ray", "ray", "tasks of one host, in memory", _ray, lacks=(_VERDICT,)),
    Contender("ray-verified", "ray", "... and a task that runs it again", _ray, verified=True),
    Contender(
        "swarmd", "swarmd", "four daemons of four owners", _swarmd, {**_FULL, "nodes": 4}, verified=True
    ),
    Contender(
        "swarmd-one",
        "swarmd",
        "one daemon",
        _swarmd,
        {**_FULL, "nodes": 1},
        verified=True,
        lacks=(_ONE_OWNER,),
    ),
    Contender(
        "swarmd-lean",
        "swarmd",
        "one daemon, what can be switched off is off",
        _swarmd,
        {**_LEAN, "nodes": 1},
        lacks=(_ONE_OWNER, *_SWITCHED_OFF),
    ),
)


def why_absent(system: System) -> tuple[str, str] | None:
    """(what is missing, the fix) if the system cannot run here. Makes its environment of Python, which may take minutes."""
    if packages := brokers.missing(system.programs):
        return f"not installed: {', '.join(packages)}", f"Debian: apt-get install {' '.join(packages)}"
    if system.environment is not None:
        try:
            system.environment.make()
        except LocalFault as fault:
            return fault.message, fault.fix
    return None


def versions(systems: Iterable[System]) -> dict[str, str]:
    """Of the programs and libraries that are compared."""
    found: dict[str, str] = {}
    for system in systems:
        found |= {program: brokers.version_of(program) for program in system.programs}
        if system.environment is not None:
            found |= system.environment.versions()
    return found
