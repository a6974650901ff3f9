"""The command as its user sees it: run in this process, against a real socket, and against a real daemon."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
from swarmd.cli import main
from swarmd.node.home import socket_path
from swarmd.node.transport.local import LocalCall, LocalServer
from swarmd.protocol.faults import LocalFault


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Ran]


@pytest.fixture
def as_in_a_terminal() -> Callable[[], None]:
    """For a process that is sent Ctrl-C, before it begins: whoever started us, as shells do for what they put into the
    background, and what ran in this process before may have left it ignored or held back."""

    def begin() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    return begin


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home that the commands of this test mean. Not made."""
    home = tmp_path / "home"
    monkeypatch.setenv("SWARMD_HOME", str(home))
    return home


@pytest.fixture
def swarmd(capsys: pytest.CaptureFixture[str]) -> Run:
    """`swarmd("need list", "--json")`: the words of the first argument, then the others as they are."""

    def run(words: str, *more: str) -> Ran:
        capsys.readouterr()
        code = main([*shlex.split(words), *more])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def swarmd_process() -> Run:
    """As `swarmd`, in a process of its own: for `up`, which sets up logging and loads the whole node."""

    def run(words: str, *more: str) -> Ran:
        command = [sys.executable, "-m", "swarmd.cli", *shlex.split(words), *more]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def canned(home: Path) -> Iterator[Callable[[Mapping[str, Any]], list[tuple[str, Any]]]]:
    """`canned({op: result})` serves those at the home's real socket; returns the list of calls it will get.

    A result that is a LocalFault is raised, a list [event, ..., result] under a "stream:" name is streamed,
    `trio.sleep_forever` never answers.
    """
    ends: list[Callable[[], None]] = []

    def start(answers: Mapping[str, Any]) -> list[tuple[str, Any]]:
        calls: list[tuple[str, Any]] = []

        async def handle(call: LocalCall) -> Any:
            calls.append((call.op, call.args))
            if f"stream:{call.op}" in answers:
                *events, result = answers[f"stream:{call.op}"]
                for event in events:
                    await call.emit(event)
            elif call.op in answers:
                result = answers[call.op]
            else:
                raise LocalFault("unknown-op", f"no operation {call.op}")
            if result is trio.sleep_forever:
                await trio.sleep_forever()
            if isinstance(result, LocalFault):
                raise result
            return result

        serving = threading.Event()
        scope = trio.CancelScope()
        tokens: list[trio.lowlevel.TrioToken] = []

        async def serve() -> None:
            tokens.append(trio.lowlevel.current_trio_token())
            with scope:
                async with trio.open_nursery() as nursery:
                    await nursery.start(LocalServer(socket_path(home), handle).run)
                    serving.set()

        thread = threading.Thread(target=trio.run, args=(serve,))
        thread.start()
        assert serving.wait(10)

        def end() -> None:
            tokens[0].run_sync_soon(scope.cancel)
            thread.join(10)
            assert not thread.is_alive()

        ends.append(end)
        return calls

    yield start
    for end in ends:
        end()


@contextlib.contextmanager
def running(folder: Path, repo: Path) -> Iterator[Path]:
    """The home, in `folder`, of a running daemon: a mesh of one, with the demo's word counter as its agent."""
    home = folder / "home"
    command = [sys.executable, "-m", "swarmd.cli", "--home", str(home)]
    env = {name: value for name, value in os.environ.items() if name != "SWARMD_HOME"}
    subprocess.run([*command, "init"], env=env, check=True, timeout=30, capture_output=True)
    with open(folder / "log", "wb") as log:
        daemon = subprocess.Popen(
            [*command, "--json", "up", "--no-api", "--listen", "/ip4/127.0.0.1/tcp/0"],
            env=env,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        assert daemon.stdout is not None
        line = daemon.stdout.readline()
        assert json.loads(line or b"{}").get("event") == "ready", (folder / "log").read_text()
        agent = repo / "node" / "demo" / "agents" / "wordcount.py"
        add = ["agent", "add", "wc", "--capability", "text.wordcount", "--price", "0.02"]
        subprocess.run(
            [*command, *add, "--", sys.executable, "-I", str(agent)],
            env=env,
            check=True,
            timeout=30,
            capture_output=True,
        )
        yield home
    finally:
        daemon.terminate()
        code = daemon.wait(20)
        assert daemon.stdout is not None
        daemon.stdout.close()
    assert code == 0, (folder / "log").read_text()


@pytest.fixture(scope="session")
def live_home(tmp_path_factory: pytest.TempPathFactory, repo: Path) -> Iterator[Path]:
    """One for all tests that leave it as it is."""
    with running(tmp_path_factory.mktemp("live"), repo) as home:
        yield home


@pytest.fixture
def own_live(tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A daemon of this test's own, for what the others' must not be put through."""
    with running(tmp_path, repo) as home:
        monkeypatch.setenv("SWARMD_HOME", str(home))
        yield home


@pytest.fixture
def live(live_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As `live_home`, and the commands of this test mean it."""
    monkeypatch.setenv("SWARMD_HOME", str(live_home))
    return live_home
