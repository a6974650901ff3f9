"""Protocols beside gossip and requests: what serves them outlives the sessions, and cannot end one."""

import logging
from typing import Protocol

import trio
from swarmd.node.transport.p2p.host import MeshHost

log = logging.getLogger(__name__)

_RESTART_S = 5.0


class Plugin(Protocol):
    """Set by whoever composes the transport, before it runs."""

    def attach(self, host: MeshHost) -> None:
        """A new host is about to run: set its stream handlers, forget the last one."""

    async def run(self) -> None:
        """Serve until cancelled, with the host of the last `attach`."""


async def keep_running(plugin: Plugin) -> None:
    """Run a plugin for the life of a session, again if it fails."""
    while True:
        try:
            await plugin.run()
        except Exception:
            # The isolation boundary of one plugin: a bug of ours there must not cost gossip and requests.
            log.exception("%s failed; starting it again", type(plugin).__name__)
        await trio.sleep(_RESTART_S)
