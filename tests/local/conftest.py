"""A real server on a real Unix socket, with ops that exercise each path."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from swarmd.node.transport.local import LocalCall, LocalServer
from swarmd.protocol.faults import LocalFault


class Ops:
    """The handler of the tests. `cancelled` counts calls that ended with their client."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.entered = trio.Event()
        self.closed = trio.Event()

    async def __call__(self, call: LocalCall) -> Any:
        found = getattr(self, "op_" + call.op, None)
        if found is None:
            raise LocalFault("unknown-op", f"no such operation: {call.op[:60]}")
        return await found(call)

    async def op_echo(self, call: LocalCall) -> Any:
        return call.args

    async def op_count(self, call: LocalCall) -> int:
        for number in range(call.args["to"]):
            await call.emit(number)
        return int(call.args["to"])

    async def op_flood(self, call: LocalCall) -> None:
        while True:
            await call.emit(b"x" * 65_536)

    async def op_refuse(self, call: LocalCall) -> None:
        raise LocalFault("no-way", "cannot be done", fix="do not")

    async def op_bug(self, call: LocalCall) -> None:
        raise ZeroDivisionError("a bug in a handler")

    async def op_unsendable(self, call: LocalCall) -> object:
        return {"what": lambda: None}

    async def op_wait(self, call: LocalCall) -> None:
        call.connection.on_close(self.closed.set)
        self.entered.set()
        try:
            await trio.sleep_forever()
        finally:
            self.cancelled += 1

    async def op_push(self, call: LocalCall) -> None:
        for number in range(3):
            call.connection.send({"job": {"number": number}})


Serve = Callable[..., AbstractAsyncContextManager[tuple[Path, Ops, LocalServer]]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    @asynccontextmanager
    async def serving(path: Path | None = None) -> AsyncIterator[tuple[Path, Ops, LocalServer]]:
        where = path or tmp_path / "run" / "s.sock"
        ops = Ops()
        server = LocalServer(where, ops)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                await nursery.start(server.run)
                with contextlib.ExitStack() as stack:
                    stack.callback(nursery.cancel_scope.cancel)
                    yield where, ops, server

    return serving
