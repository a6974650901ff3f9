"""What holds for all tests: no setting of the developer's own node leaks in, and Hypothesis keeps to our time."""

import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import settings
from swarmd.node.bench.kubo import Kubo, find_kubo

# The machines that run this are shared: how long one example takes says nothing. CI tries the same examples
# on each run, so that it fails for a change and not by chance; developers' runs look for new ones.
settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")

# A shell that runs the tests in the background has them ignore Ctrl-C, nohup has them ignore hangups, and all that they
# start does so too; some send it.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

for _name in [name for name in os.environ if name.startswith("SWARMD_")]:
    del os.environ[_name]


RECORDER = Path(__file__).parent / "recorder"


def pytest_configure(config: pytest.Config) -> None:
    """Whatever swarmd a test runs, here or in a process, keeps what it writes with --json (tests/recorder)."""
    kept = Path(tempfile.mkdtemp(prefix="swarmd-documents-"))
    os.environ["CLI_DOCUMENTS"] = str(kept / "documents.jsonl")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(RECORDER), os.environ.get("PYTHONPATH"))))
    runpy.run_path(str(RECORDER / "sitecustomize.py"))
    config.stash[DOCUMENTS] = Documents(kept / "documents.jsonl")
    config.add_cleanup(lambda: shutil.rmtree(kept, ignore_errors=True))


class Documents:
    """What has been written with --json since the tests began, held against the schemas of the commands."""

    def __init__(self, file: Path) -> None:
        self.seen: set[str] = set()
        self._file = file
        self._read = 0
        self._validators: dict[str, Any] = {}

    def skip(self) -> None:
        """What is there is no swarmd's: a test made it up."""
        list(self._new())

    def wrong(self) -> list[str]:
        """What was written since the last look and is not as its schema says."""
        found = []
        for kept in self._new():
            self.seen.add(kept["command"])
            found += [f"{kept['test']}: {each}" for each in self.faults(kept["command"], kept["document"])]
        return found

    def faults(self, command: str, document: Any) -> list[str]:
        """Where a document is not as the schema of its command says."""
        # Late: most tests run no command.
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import best_match
        from swarmd.node.console.documents import ERROR, schema_of

        failed = isinstance(document, dict) and set(document) == {"error"}
        name = "an error" if failed else f"swarmd {command}"
        if name not in self._validators:
            schema = ERROR if failed else schema_of(command)
            if schema is None:
                return [f"{name} has no schema in node/console/documents"]
            self._validators[name] = Draft202012Validator(schema)
        error = best_match(self._validators[name].iter_errors(document))
        return [] if error is None else [f"{name}, {error.json_path}: {error.message[:500]}"]

    def _new(self) -> Iterator[dict[str, Any]]:
        if not self._file.exists():
            return
        with open(self._file, "rb") as file:
            file.seek(self._read)
            for line in file:
                if line.endswith(b"\n"):
                    self._read += len(line)
                    yield json.loads(line)


DOCUMENTS = pytest.StashKey[Documents]()


@pytest.fixture
def documents(pytestconfig: pytest.Config) -> Documents:
    return pytestconfig.stash[DOCUMENTS]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A test whose swarmd writes what no schema says fails, whatever else it looks at."""
    try:
        return (yield)
    finally:
        found = item.config.stash[DOCUMENTS]
        if "canned" in getattr(item, "fixturenames", ()):
            found.skip()
        if wrong := found.wrong():
            pytest.fail("\n".join(wrong), pytrace=False)


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the source tree."""
    return Path(__file__).resolve().parent.parent


class NatsServer:
    """A real nats-server on a port of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"nats://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self._process = subprocess.Popen(  # noqa: ASYNC220 (it starts at once, and outlives the call)
            ["nats-server", "-a", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with trio.fail_after(15):
            while True:
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", self.port)).aclose()
                    return
                except OSError:
                    await trio.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _needs(program: str, package: str) -> None:
    if shutil.which(program) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{program} is not installed")
        pytest.skip(f"{program} is not installed: apt-get install {package}")


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@pytest.fixture
async def kubo(tmp_path: Path):
    """A kubo daemon on loopback, alone."""
    binary = find_kubo()
    if binary is None:
        if os.environ.get("CI"):
            pytest.fail("kubo is not built: run make interop")
        pytest.skip("kubo is not built: run make interop")
    made = Kubo(binary, tmp_path / "ipfs")
    made.home.mkdir()
    try:
        await made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
async def nats_server():
    _needs("nats-server", "nats-server")
    made = NatsServer(*_free_ports(1))
    await made.start()
    yield made
    made.stop()


class EtcdCluster:
    """Three real etcd members on loopback, by number: `kill`, `start` again, `pause` and `resume` them."""

    def __init__(self, folder: Path, size: int = 3) -> None:
        ports = _free_ports(2 * size)
        self.folder = folder
        self.urls = [f"http://127.0.0.1:{port}" for port in ports[:size]]
        self._peers = [f"http://127.0.0.1:{port}" for port in ports[size:]]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, *members: int) -> None:
        cluster = ",".join(f"m{number}={url}" for number, url in enumerate(self._peers))
        for number in members or range(len(self.urls)):
            url, peer = self.urls[number], self._peers[number]
            command = [
                "etcd", "--name", f"m{number}", "--data-dir", str(self.folder / f"m{number}"), "--listen-client-urls", url,
                "--advertise-client-urls", url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", cluster, "--initial-cluster-state", "new", "--heartbeat-interval", "100",
                "--election-timeout", "600", "--logger", "zap",
            ]  # fmt: skip
            with open(self.folder / f"m{number}.log", "ab") as log:
                self._processes[number] = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self, number: int) -> None:
        process = self._processes.pop(number)
        process.kill()
        process.wait()

    def pause(self, number: int) -> None:
        self._processes[number].send_signal(signal.SIGSTOP)

    def resume(self, number: int) -> None:
        self._processes[number].send_signal(signal.SIGCONT)

    def stop(self) -> None:
        for number in list(self._processes):
            self.kill(number)


@pytest.fixture
def etcd(tmp_path_factory: pytest.TempPathFactory):
    """A running cluster; whoever uses it waits until it answers."""
    _needs("etcd", "etcd-server")
    cluster = EtcdCluster(tmp_path_factory.mktemp("etcd"))
    cluster.start()
    yield cluster
    cluster.stop()


def _anvil_program() -> str | None:
    npm = Path(__file__).parents[1] / "contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil"
    return str(npm) if npm.exists() else shutil.which("anvil")


class Anvil:
    """A real anvil on a port of its own. Its blocks are made when a test says so."""

    KEY = bytes.fromhex(
        "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
    )  # the first of its own
    CHAIN_ID = 31_337

    def __init__(self, folder: Path, *, chain_id: int = CHAIN_ID) -> None:
        program = _anvil_program()
        if program is None and os.environ.get("CI"):
            pytest.fail("anvil is not installed: run `npm ci` in contracts/")
        if program is None:
            pytest.skip("anvil is not installed: run `npm ci` in contracts/")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = open(folder / f"anvil-{self.port}.log", "wb")
        self._process = subprocess.Popen(
            [str(program), "--port", str(self.port), "--chain-id", str(chain_id), "--hardfork", "prague"],
            stdout=self._log,
            stderr=self._log,
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                self.rpc("eth_chainId")
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        self.rpc("evm_setAutomine", False)

    def rpc(self, method: str, *params: object) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.loads(answer.read())
        assert "error" not in found, found
        return found["result"]

    def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.rpc("evm_mine")

    def reorg(self, depth: int) -> None:
        """Replace the newest blocks by as many empty ones; what was in them is forgotten."""
        self.rpc("anvil_reorg", depth, [])

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


@pytest.fixture
def make_anvil(tmp_path: Path) -> Iterator[Callable[..., Anvil]]:
    running: list[Anvil] = []

    def make(**options: Any) -> Anvil:
        running.append(Anvil(tmp_path, **options))
        return running[-1]

    yield make
    for each in running:
        each.stop()


@pytest.fixture
def anvil(make_anvil: Callable[..., Anvil]) -> Anvil:
    return make_anvil()
