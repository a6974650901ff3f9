"""What went wrong inside nurseries comes out as the fault it is, not as a group of groups."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio
from swarmd.protocol.faults import LocalFault

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)


def run(main: Callable[[], Awaitable[T]]) -> T:
    """`trio.run`; LocalFault if that, and nothing worse, ended it."""
    try:
        return trio.run(main)
    except BaseExceptionGroup as group:
        faults, rest = group.split(LocalFault)
        if faults is None or rest is not None:
            raise
        raise first(faults) from None


def first(group: BaseExceptionGroup[E]) -> E:
    """The first of what is in the group, however deep: the fault that stands for all."""
    error: Any = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    found: E = error
    return found
