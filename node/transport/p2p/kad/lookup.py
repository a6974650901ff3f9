"""One lookup: asks the nearest known peers for nearer ones until nobody nearer answers. No IO of its own."""

from collections.abc import Awaitable, Callable, Sequence

import trio
from swarmd.node.ports import PeerGone
from swarmd.node.transport.p2p.kad.table import BUCKET_SIZE, Contact, key_of

ALPHA = 3
MAX_ASKED = 64
MAX_KNOWN = 512
TIMEOUT_S = 30.0

Query = Callable[[Contact, bytes], Awaitable[list[Contact]]]


class Lookup:
    """`query` asks a contact for its nearest to the target; PeerGone if it does not answer. Nobody more is asked once
    there is `enough`."""

    def __init__(
        self,
        target: bytes,
        own_id: bytes,
        begin: Sequence[Contact],
        query: Query,
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        self._enough = enough
        self._target = target
        self._key = key_of(target)
        self._own_id = own_id
        self._query = query
        self._known = {contact.peer_id: contact for contact in begin}
        self._asked: set[bytes] = set()
        self._silent: set[bytes] = set()
        self._under_way = 0
        self._changed = trio.Event()

    @property
    def asked(self) -> int:
        return len(self._asked)

    async def run(self) -> list[Contact]:
        """Contacts nearest to the target, those that did not answer left out."""
        with trio.move_on_after(TIMEOUT_S):
            async with trio.open_nursery() as nursery:
                for _ in range(ALPHA):
                    nursery.start_soon(self._ask_on)
        return self._nearest()

    def _nearest(self) -> list[Contact]:
        alive = [contact for peer, contact in self._known.items() if peer not in self._silent]
        return sorted(alive, key=lambda contact: contact.key ^ self._key)[:BUCKET_SIZE]

    def _next(self) -> Contact | None:
        """The nearest that was not asked yet, among the BUCKET_SIZE nearest that may still answer."""
        if len(self._asked) >= MAX_ASKED or self._enough():
            return None
        return next((each for each in self._nearest() if each.peer_id not in self._asked), None)

    async def _ask_on(self) -> None:
        while True:
            contact = self._next()
            if contact is None:
                if not self._under_way:
                    return
                await self._changed.wait()  # who is being asked now may know nearer ones
                continue
            self._asked.add(contact.peer_id)
            self._under_way += 1
            try:
                self._take(await self._query(contact, self._target))
            except PeerGone:
                self._silent.add(contact.peer_id)
            finally:
                self._under_way -= 1
                self._changed.set()
                self._changed = trio.Event()

    def _take(self, found: Sequence[Contact]) -> None:
        # Nobody tells us of more than a few peers, so that one liar cannot fill the list.
        for other in found[: 2 * BUCKET_SIZE]:
            if other.peer_id != self._own_id and other.addrs and len(self._known) < MAX_KNOWN:
                self._known.setdefault(other.peer_id, other)
