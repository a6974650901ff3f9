"""Keeps a node connected: dials known peers until it has enough of them, and again when it loses some."""

import logging
import random
from collections.abc import Awaitable, Callable, Collection

import trio
from swarmd.bootstrap.book import Known, PeerBook

log = logging.getLogger(__name__)

MAX_DIALS_AT_ONCE = 8
IDLE_S = 30.0
# Who seems to be of another mesh (or has no room for us: it looks the same) is not asked again for a while.
OTHER_MESH_WAIT_S = 60.0


class DialFailed(Exception):
    """Why a peer could not be reached. `other_mesh`: it answers, but is none of ours."""

    def __init__(self, why: str, *, other_mesh: bool = False) -> None:
        super().__init__(why)
        self.other_mesh = other_mesh


class Connector:
    """`dial` connects to a multiaddr or raises DialFailed; `connected` names the peers we have now."""

    def __init__(
        self,
        book: PeerBook,
        dial: Callable[[str], Awaitable[None]],
        connected: Callable[[], Collection[str]],
        *,
        target_peers: int,
    ) -> None:
        self.book = book
        self.target_peers = target_peers
        self._dial = dial
        self._connected = connected
        self._dialing: set[str] = set()
        self._wake = trio.Event()
        book.on_new = self.wake

    def wake(self) -> None:
        """Something changed: a new address, a peer that left."""
        self._wake.set()

    async def run(self) -> None:
        """Dial for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                self._wake = trio.Event()
                busy = {*self._connected(), *self._dialing}
                room = min(self.target_peers - len(busy), MAX_DIALS_AT_ONCE - len(self._dialing))
                for known in self.book.candidates(busy, room):
                    self._dialing.add(known.peer_id)
                    nursery.start_soon(self._try, known)
                with trio.move_on_after(self._pause_s()):
                    await self._wake.wait()
                # Hints come in flocks; both ends of a new pair must not dial in step.
                await trio.sleep(random.uniform(0.01, 0.1))

    def _pause_s(self) -> float:
        busy = {*self._connected(), *self._dialing}
        if len(busy) >= self.target_peers or len(self._dialing) >= MAX_DIALS_AT_ONCE:
            return IDLE_S
        next_s = self.book.next_retry_s(busy)
        if next_s is None:
            return IDLE_S
        return min(IDLE_S, max(0.05, next_s - self.book._clock()))

    async def _try(self, known: Known) -> None:
        errors = []
        try:
            for addr in list(known.addrs):
                if known.peer_id in self._connected():
                    return  # it came to us meanwhile
                try:
                    await self._dial(addr)
                    self.book.worked(known.peer_id, addr)
                    return
                except DialFailed as error:
                    errors.append(str(error))
                    if error.other_mesh:
                        self.book.failed(known.peer_id, str(error), wait_s=OTHER_MESH_WAIT_S)
                        return
            log.debug("not reached: %s: %s", known.peer_id, "; ".join(errors))
            self.book.failed(known.peer_id, "; ".join(errors))
        finally:
            self._dialing.discard(known.peer_id)
            self.wake()
