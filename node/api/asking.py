"""The operations of the local socket, asked in the daemon itself: what the CLI gets and what HTTP gets is one thing."""

from collections.abc import Awaitable, Callable
from typing import Any

from swarmd.node.transport.local import LocalCall

Handle = Callable[[LocalCall], Awaitable[Any]]
OnEvent = Callable[[Any], Awaitable[None]]


class ApiCall(LocalCall):
    """A call without a connection: operations that attach something to theirs are not for HTTP."""

    __slots__ = ("_on_event",)

    def __init__(self, op: str, args: dict[str, Any], on_event: OnEvent | None = None) -> None:
        self.op = op
        self.args = args
        self.size_bytes = 0
        self._on_event = on_event

    async def emit(self, event: Any) -> None:
        if self._on_event is not None:
            await self._on_event(event)


class Asker:
    """`ask("need.show", need=...)`: the answer, or the operation's Fault."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    async def __call__(self, op: str, /, **args: Any) -> Any:
        """Arguments that are None are not given."""
        return await self._handle(ApiCall(op, {k: v for k, v in args.items() if v is not None}))

    async def stream(self, op: str, args: dict[str, Any], on_event: OnEvent) -> Any:
        return await self._handle(ApiCall(op, args, on_event))
