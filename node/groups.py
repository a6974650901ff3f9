"""Running trio for a command: what went wrong inside comes out as the fault it is, not as a group of groups."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
from swarmd.protocol.faults import LocalFault

T = TypeVar("T")


def run(main: Callable[[], Awaitable[T]]) -> T:
    """`trio.run`; LocalFault if that, and nothing worse, ended it."""
    try:
        return trio.run(main)
    except BaseExceptionGroup as group:
        faults, rest = group.split(LocalFault)
        if faults is None or rest is not None:
            raise
        raise _first(faults) from None


def _first(group: BaseExceptionGroup[LocalFault]) -> LocalFault:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, LocalFault)
    return error
