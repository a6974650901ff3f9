"""A real daemon with its HTTP API, in a process of its own, and clients as strangers and friends have them."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from swarmd.node.home import socket_path
from swarmd.node.transport.local_client import LocalClient


@dataclass(frozen=True)
class Served:
    """A running daemon: its home, where its API is, and tokens by scope."""

    home: Path
    url: str
    tokens: dict[str, str]

    def ask(self, op: str, **args: Any) -> Any:
        with LocalClient(socket_path(self.home), timeout_s=30) as client:
            return client.call(op, args)

    def client(self, scope: str | None = "read", **more: Any) -> httpx.Client:
        """An HTTP client with a token of this scope; None: with none."""
        headers = {"Authorization": f"Bearer {self.tokens[scope]}"} if scope else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20, **more)

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.partition("://")[2].partition(":")
        return host, int(port)


@contextlib.contextmanager
def serving(folder: Path, repo: Path, *up: str, config: str = "") -> Iterator[Served]:
    home = folder / "home"
    command = [sys.executable, "-m", "swarmd.cli", "--home", str(home)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("SWARMD_")}
    subprocess.run([*command, "init"], env=env, check=True, timeout=30, capture_output=True)
    with open(home / "swarmd.toml", "a", encoding="utf-8") as file:
        file.write(config)
    with open(folder / "log", "wb") as log:
        daemon = subprocess.Popen(
            [*command, "--json", "up", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0", *up],
            env=env,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        assert daemon.stdout is not None
        ready = json.loads(daemon.stdout.readline() or b"{}")
        assert ready.get("event") == "ready", (folder / "log").read_text()
        agent = repo / "node" / "demo" / "agents" / "wordcount.py"
        served = Served(home, ready["api"], {})
        for scope in ("read", "operate", "spend"):
            served.tokens[scope] = served.ask("token.create", name=scope, scopes=[scope])["token"]
        added = {
            "name": "wc",
            "kind": "command",
            "capabilities": [{"name": "text.wordcount", "price": "0.02"}],
            "argv": [sys.executable, "-I", str(agent)],
        }
        served.ask("agent.add", agent=added, base="/")
        yield served
    finally:
        daemon.terminate()
        code = daemon.wait(20)
        assert daemon.stdout is not None
        daemon.stdout.close()
    assert code == 0, (folder / "log").read_text()
    log_text = (folder / "log").read_text()
    assert "Traceback" not in log_text, log_text[log_text.index("Traceback") :][:4_000]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, repo: Path) -> Iterator[Served]:
    """One for all tests that leave it as it is."""
    with serving(tmp_path_factory.mktemp("api"), repo) as found:
        yield found


@pytest.fixture
def serve(tmp_path: Path, repo: Path) -> Iterator[Callable[..., Served]]:
    """`serve(*flags, config="...")`: a daemon of this test's own."""
    with contextlib.ExitStack() as stack:
        yield lambda *up, config="": stack.enter_context(serving(tmp_path, repo, *up, config=config))


def problem_of(answer: httpx.Response) -> tuple[int, str]:
    """Its status and code, once it is a problem as documented."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    found = answer.json()
    assert found["status"] == answer.status_code
    assert {"type", "title", "code", "detail", "fix"} <= found.keys()
    return answer.status_code, found["code"]


@pytest.fixture
def problem() -> Callable[[httpx.Response], tuple[int, str]]:
    return problem_of
