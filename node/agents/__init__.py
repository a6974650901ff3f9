"""The agents of a host. `from swarmd.node.agents import Agent` is all that an agent's author needs."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swarmd.node.agents.sdk import Agent, Task

__all__ = ["Agent", "Task"]


def __getattr__(name: str) -> Any:
    # Lazily, so that the CLI can import a module of this package without loading trio.
    if name in __all__:
        from swarmd.node.agents import sdk

        return getattr(sdk, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
