"""A daemon as the whole of a process: its home locked, its memory looked after, its end told as one fault."""

from collections.abc import Callable

import trio
from swarmd.node.daemon import Daemon
from swarmd.node.garbage import Garbage, give_back_large
from swarmd.node.groups import first
from swarmd.node.home_lock import home_lock
from swarmd.node.settings import Settings
from swarmd.protocol.faults import CorruptState, LocalFault


def serve(settings: Settings, on_ready: Callable[[Daemon], None] = lambda _: None) -> None:
    """Run a daemon to its end. LocalFault for what an operator can mend, CorruptState for what nobody should ignore."""
    give_back_large()
    garbage = Garbage()
    garbage.start()
    try:
        with home_lock(settings.home):
            daemon = Daemon(settings)
            try:
                trio.run(_serve, daemon, on_ready, garbage, strict_exception_groups=True)
            except* (LocalFault, CorruptState) as group:
                raise first(group) from None
            finally:
                daemon.close()
    finally:
        garbage.stop()


async def _serve(daemon: Daemon, on_ready: Callable[[Daemon], None], garbage: Garbage) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(garbage.watch)
        await daemon.run(on_ready)
        nursery.cancel_scope.cancel()
