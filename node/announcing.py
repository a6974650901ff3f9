"""Telling the mesh what this node offers: its manifest, signed anew whenever that changes."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import trio
from swarmd.node.agents.host import Agents
from swarmd.node.keys import Identity
from swarmd.node.ports import Transport
from swarmd.node.runner import Runner
from swarmd.node.settling.own import load_own
from swarmd.protocol.identity.manifest import Manifest, sign_manifest
from swarmd.protocol.inputs import ManifestSeen

INTERVAL_S: Final = 60.0


class Announcer:
    """`frame()` is the last word on what we offer; `run` says it: at once, whenever `poke` is called, and before it
    gets old."""

    def __init__(
        self,
        home: Path,
        identity: Identity,
        runner: Runner,
        agents: Agents,
        transport: Transport,
        clock_ns: Callable[[], int],
        say: Callable[[bytes], Awaitable[None]],
    ) -> None:
        self._chain_folder = home / "chain"
        self._identity = identity
        self._runner = runner
        self._agents = agents
        self._transport = transport
        self._clock_ns = clock_ns
        self._say = say
        self._changed = trio.Event()
        self._manifest: Manifest | None = None

    def poke(self) -> None:
        """What we offer, or where we are, has changed."""
        self._changed.set()

    @property
    def manifest(self) -> Manifest:
        if self._manifest is None:
            self._manifest = self._sign()
        return self._manifest

    def frame(self) -> bytes:
        return self.manifest.frame()

    async def run(self) -> None:
        while True:
            self._changed = trio.Event()
            self._manifest = self._sign()
            await self._say(self._manifest.frame())
            with trio.move_on_after(INTERVAL_S):
                await self._changed.wait()

    def _sign(self) -> Manifest:
        offers = {capability.name: capability.price for capability in self._agents.capabilities()}
        state = self._runner.state
        roles = ("verifier",) if self._identity.did in state.terms.roster(state.epoch) else ()
        manifest = sign_manifest(
            state.genesis.mesh_id,
            self._identity.did,
            self._clock_ns(),
            offers,
            roles,
            self._transport.addrs,
            self._identity.sign,
            load_own(self._chain_folder),
        )
        self._runner.tell(lambda at_ns: ManifestSeen(manifest, at_ns))
        return manifest
