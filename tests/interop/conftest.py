"""Nodes of other libp2p implementations, as processes that are told what to do: js-libp2p and go-libp2p."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

HERE = Path(__file__).parent
MESH = "test"
TOPIC = f"/swarm/{MESH}/flush/1"
GO_BINARY = HERE.parents[1] / ".tools" / "bin" / "interop-go"
COMMANDS = {
    "js": ("node", str(HERE / "js" / "node.js"), TOPIC),
    "go": (str(GO_BINARY), TOPIC),
}


def missing(language: str) -> str | None:
    """What a run with that implementation lacks here. `make interop` gets it."""
    if language == "js":
        there = shutil.which("node") and (HERE / "js" / "node_modules" / "libp2p").is_dir()
    else:
        there = GO_BINARY.is_file()
    return None if there else f"{language}-libp2p is not set up: run make interop"


class Foreign:
    """A node of another implementation."""

    def __init__(self, process: trio.Process) -> None:
        self.messages: list[tuple[str, bytes, str]] = []  # (author, frame, "signed" or not)
        self.said: list[dict[str, Any]] = []
        self._answers: list[dict[str, Any]] = []
        self._process = process
        self._changed = trio.Event()

    async def read(self) -> None:
        assert self._process.stdout is not None
        buffer = b""
        async for chunk in self._process.stdout:
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                document = json.loads(line)
                if "message" in document:
                    frame = base64.b64decode(document["message"])
                    self.messages.append((document["from"], frame, document["type"]))
                elif document.keys() & {"connected", "identified", "subscribed", "ready"}:
                    self.said.append(document)
                else:
                    self._answers.append(document)
            self._changed.set()
            self._changed = trio.Event()

    async def until(self, true: Callable[[], bool], timeout_s: float = 15) -> None:
        with trio.fail_after(timeout_s):
            while not true():
                await self._changed.wait()

    async def heard(self, **said: str) -> None:
        await self.until(lambda: said in self.said)

    async def call(self, verb: str, argument: str) -> Any:
        """Tell it to do something; what it answers. Fails on an error."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps({verb: argument}).encode() + b"\n")
        await self.until(lambda: bool(self._answers))
        answer = self._answers.pop(0)
        assert "error" not in answer, answer
        (value,) = answer.values()
        return value

    async def publish(self, frame: bytes) -> int:
        count: int = await self.call("publish", base64.b64encode(frame).decode())
        return count

    @property
    def id(self) -> str:
        peer: str = self.said[0]["peer"]
        return peer

    @property
    def addr(self) -> str:
        addr: str = self.said[0]["ready"][0]
        return addr if "/p2p/" in addr else f"{addr}/p2p/{self.id}"


@asynccontextmanager
async def running(language: str) -> AsyncIterator[Foreign]:
    process = await trio.lowlevel.open_process(
        list(COMMANDS[language]), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        async with trio.open_nursery() as nursery:
            node = Foreign(process)
            nursery.start_soon(node.read)
            await node.until(lambda: bool(node.said), timeout_s=30)
            yield node
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    await pipe.aclose()


@pytest.fixture(params=["js", "go"])
async def foreign(request) -> AsyncIterator[Foreign]:
    if (lacks := missing(request.param)) is not None:
        if os.environ.get("CI"):
            pytest.fail(lacks)
        pytest.skip(lacks)
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(running(request.param))
