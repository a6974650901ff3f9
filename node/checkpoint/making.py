"""Makes snapshots out of the journal: small ones here, cooperative, so that the daemon goes on meanwhile; large ones in a
process of their own."""

import time

import trio
from swarmd.node.checkpoint.apart import MIN_BATCHES, beyond, make_apart
from swarmd.node.checkpoint.records import Records
from swarmd.node.journal import Journal
from swarmd.protocol.chains import Chain, Head
from swarmd.protocol.checkpoint.making import Maker
from swarmd.protocol.checkpoint.packing import pack
from swarmd.protocol.checkpoint.snapshot import NO_SNAPSHOT, Cut, Packed, Snapshot
from swarmd.protocol.checkpoint.unpacking import unpack
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.genesis import Genesis

# So long it works before others have their turn; where these take long, because the daemon is busy, half as long as they. So
# it gets a third of the daemon's time whatever the load: with less, more comes in than epochs let go, and they never end.
SLICE_S = 0.01
SLICE_SHARE = 0.5
MAX_SLICE_S = 0.1


class Incomplete(LocalFault):
    """We do not hold what a cut names."""

    def __init__(self, what: str) -> None:
        super().__init__("incomplete-cut", what, fix="sync with the mesh (swarmd sync)")


class Absent(LocalFault):
    """We do not keep a snapshot."""


class Overtaken(LocalFault):
    """Another checkpoint was adopted meanwhile: nobody wants this one any more."""

    def __init__(self) -> None:
        super().__init__("epoch-over", "the epoch has ended meanwhile")


class OtherHistory(LocalFault):
    """An author signed two, and we hold another than a cut names."""

    def __init__(self, author: str) -> None:
        super().__init__("other-history", f"{author} has signed two histories, and we hold the other")


class Snapshots:
    """Remembers the last one as an object: it is what the next one is made on."""

    def __init__(
        self, genesis: Genesis, journal: Journal, records: Records, apart_from: int = MIN_BATCHES
    ) -> None:
        """`apart_from`: of how many batches on a snapshot is made in a process of its own."""
        self._genesis = genesis
        self._apart_from = apart_from
        self.apart = False  # the last one was
        self._journal = journal
        self._records = records
        self._last: tuple[bytes, Snapshot] | None = None
        self._made: tuple[bytes, list[bytes]] = (NO_SNAPSHOT, [])  # a base, and what was made on it

    @property
    def made(self) -> list[bytes]:
        """States of the snapshots made on the last adopted one since the start, oldest first."""
        base, states = self._made
        return states if base == self._records.base else []

    async def load(self, state: bytes) -> Snapshot:
        """A snapshot that we keep. Absent if not, or not all of it."""
        if self._last is not None and self._last[0] == state:
            return self._last[1]
        packed = self._records.packed(state)
        if packed is None:
            raise Absent("no-snapshot", f"the snapshot {state.hex()} is not here")
        found = await trio.to_thread.run_sync(unpack, packed)
        self._last = (state, found)
        return found

    def missing(self, cut: Cut, heads: dict[Chain, Head]) -> list[tuple[Chain, int, int]]:
        """(chain, first seq, last seq) of what we lack of a cut."""
        wants = []
        for chain, head in cut.items():
            have = heads[chain].seq if chain in heads else -1
            if have < head.seq:
                wants.append((chain, have + 1, head.seq))
        return wants

    async def base(self) -> Snapshot | None:
        """The snapshot that the next one is made on; None before the first."""
        state = self._records.base
        return await self.load(state) if state != NO_SNAPSHOT else None

    async def make(self, cut: Cut) -> Packed:
        """The snapshot of `cut` on top of the last adopted one, kept. Incomplete or OtherHistory if we do not hold it,
        Overtaken when there is another last one before it is done."""
        base_state = self._records.base
        base = await self.base()
        packed: Packed | None = None
        if beyond(cut, base.cut if base is not None else {}) >= self._apart_from:
            packed = await make_apart(
                self._journal.path, self._genesis, base_state, cut, lambda: self._records.base == base_state
            )
            if self._records.base != base_state:
                raise Overtaken
        self.apart = packed is not None
        if packed is not None:
            found = await trio.to_thread.run_sync(unpack, packed)
        else:
            found = await self._made_here(cut, base, base_state)
            packed = await trio.to_thread.run_sync(pack, found)
        self._records.put(packed)
        self._last = (packed.state, found)
        if packed.state not in self.made:
            self._made = (base_state, [*self.made, packed.state])
        return packed

    async def _made_here(self, cut: Cut, base: Snapshot | None, base_state: bytes) -> Snapshot:
        maker = Maker(self._genesis, base, base_state)
        ends_s = time.perf_counter() + SLICE_S
        for row in rows_beyond(self._journal, cut, base.cut if base is not None else {}):
            maker.feed(self._journal.batch_at(row))
            if (now_s := time.perf_counter()) > ends_s:
                await trio.lowlevel.checkpoint()
                if self._records.base != base_state:
                    raise Overtaken
                others_s = time.perf_counter() - now_s
                ends_s = now_s + others_s + min(MAX_SLICE_S, max(SLICE_S, SLICE_SHARE * others_s))
        return maker.finish(cut)


def rows_beyond(journal: Journal, cut: Cut, known: Cut) -> list[int]:
    """Rows of the batches in the cut beyond `known`, in the order in which a maker takes them. Incomplete or OtherHistory if
    the journal does not hold them."""
    places = []
    for chain, head in cut.items():
        after = known[chain].seq if chain in known else -1
        if after >= head.seq:
            continue
        found = list(journal.places(chain, after, head.seq))
        if len(found) != head.seq - after:
            raise Incomplete(f"{len(found)} of {head.seq - after} batches of a chain of {chain[0]}")
        if journal.batch_hash((*chain, head.seq)) != head.hash:
            raise OtherHistory(chain[0])
        places += found
    return [row for *_, row in sorted(places)]
