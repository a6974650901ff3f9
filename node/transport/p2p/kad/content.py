"""Content in the DHT of a mesh: tells the nodes nearest to a CID that we have it, and asks them who does.

`provide` only queues: announcements leave a few a second, so that nobody takes them for a flood, and again before
they are forgotten. What is provided is a DAG's root; who has that has the rest, or says so when it is asked.
"""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice
from typing import Protocol

import trio
from swarmd.node.ports import PeerGone
from swarmd.node.transport.p2p.kad.lookup import Lookup
from swarmd.node.transport.p2p.kad.providers import ProviderBook
from swarmd.node.transport.p2p.kad.table import BUCKET_SIZE, Contact, RoutingTable, key_of

log = logging.getLogger(__name__)

REPROVIDE_S = 22 * 3_600.0  # of kad-dht's specification
ROUND_S = 1.0
PROVIDES_PER_ROUND = 4  # no more: an announcement is small work for many nodes
MAX_PROVIDED = 65_536
ENOUGH_PROVIDERS = 5
FIND_TIMEOUT_S = 15.0
ADD_TIMEOUT_S = 5.0
_EXPIRE_S = 3_600.0


class Dht(Protocol):
    """What this needs of Kademlia."""

    table: RoutingTable

    @property
    def own_id(self) -> bytes: ...

    async def lookup(self, target: bytes) -> list[Contact]: ...

    async def get_providers(self, contact: Contact, key: bytes) -> tuple[list[Contact], list[Contact]]:
        """(providers, nearer contacts); PeerGone if it cannot be asked."""

    async def add_provider(self, contact: Contact, keys: Sequence[bytes]) -> None:
        """PeerGone if it cannot be told."""


class ContentRouting:
    """`own` records are what others told us; `run` sends ours."""

    def __init__(self, dht: Dht) -> None:
        self.records = ProviderBook(trio.current_time)
        self._dht = dht
        self._due: OrderedDict[bytes, float] = OrderedDict()  # key -> when to announce it, soonest first
        self._woken = trio.Event()

    @property
    def provided(self) -> int:
        return len(self._due)

    def provide(self, cid: bytes) -> None:
        """We have the content under `cid`: say so soon, and again as long as we run."""
        key = multihash_of(cid)
        if key in self._due:
            return
        if len(self._due) >= MAX_PROVIDED:
            log.warning("more than %d contents are provided; one is left out", MAX_PROVIDED)
            return
        self._due[key] = 0.0
        self._due.move_to_end(key, last=False)
        self._woken.set()

    def withdraw(self, cid: bytes) -> None:
        """We have it no more. What we said is forgotten by others in its time."""
        self._due.pop(multihash_of(cid), None)

    async def run(self) -> None:
        """Announce what is due, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._expire)
            while True:
                self._woken = trio.Event()
                now_s = trio.current_time()
                key = next(iter(self._due), None)
                if key is None or self._due[key] > now_s or not len(self._dht.table):
                    with trio.move_on_after(60.0 if key is None else max(1.0, self._due[key] - now_s)):
                        await self._woken.wait()
                    continue
                nursery.start_soon(self._announce, self._take_due(now_s))
                await trio.sleep(ROUND_S)

    def _take_due(self, now_s: float) -> list[bytes]:
        keys = [key for key, at_s in islice(self._due.items(), PROVIDES_PER_ROUND) if at_s <= now_s]
        for key in keys:
            self._due[key] = now_s + REPROVIDE_S
            self._due.move_to_end(key)
        return keys

    async def _expire(self) -> None:
        while True:
            await trio.sleep(_EXPIRE_S)
            self.records.expire()

    async def _announce(self, keys: list[bytes]) -> None:
        """Tell who is nearest to each, everybody by one stream: opening it costs more than what goes through."""
        told: dict[bytes, tuple[Contact, list[bytes]]] = {}
        for key in keys:
            for contact in await self._nearest(key):
                told.setdefault(contact.peer_id, (contact, []))[1].append(key)
        async with trio.open_nursery() as nursery:
            for contact, its_keys in told.values():
                nursery.start_soon(self._tell, contact, its_keys)

    async def _nearest(self, key: bytes) -> list[Contact]:
        # In a small mesh everybody is near to everything, and known.
        table = self._dht.table
        if len(table) < BUCKET_SIZE:
            return table.closest(key_of(key), BUCKET_SIZE)
        return await self._dht.lookup(key)

    async def _tell(self, contact: Contact, keys: list[bytes]) -> None:
        try:
            await self._dht.add_provider(contact, keys)
        except PeerGone as error:
            log.debug("not told of %d contents: %s", len(keys), error)

    async def find(self, cid: bytes, enough: int = ENOUGH_PROVIDERS) -> list[Contact]:
        """Who says that it has the content under `cid`, ourselves left out: up to about `enough`, in at most
        FIND_TIMEOUT_S."""
        key = multihash_of(cid)
        found: dict[bytes, Contact] = {each.peer_id: each for each in self.records.of(key)}

        async def query(contact: Contact, target: bytes) -> list[Contact]:
            providers, nearer = await self._dht.get_providers(contact, target)
            for provider in providers:
                if provider.peer_id != self._dht.own_id:
                    found.setdefault(provider.peer_id, provider)
            return nearer

        begin = self._dht.table.closest(key_of(key), BUCKET_SIZE)
        with trio.move_on_after(FIND_TIMEOUT_S):
            await Lookup(key, self._dht.own_id, begin, query, enough=lambda: len(found) >= enough).run()
        return list(found.values())


def multihash_of(cid: bytes) -> bytes:
    """The part of a CIDv1 of ours that names its bytes whatever their codec: the key of its records."""
    return cid[2:]
