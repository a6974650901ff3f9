"""Serving blocks: takes wantlists, answers who asks what is here, sends blocks by turns (`ledger`)."""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import trio
from swarmd.node.content.bitswap.config import BitswapLimits
from swarmd.node.content.bitswap.ledger import Ledgers
from swarmd.node.content.bitswap.message import Want, why_not_served
from swarmd.node.ports import BlockStore, PeerGone
from swarmd.node.transport.p2p.rates import Bucket
from swarmd.protocol.cids import is_cid

log = logging.getLogger(__name__)

_SLICE_ENTRIES = 256


class Line(Protocol):
    """Where answers go: the service's streams."""

    def tell(self, peer_id: str, have: Sequence[bytes], dont_have: Sequence[bytes]) -> None:
        """Queue who-has-what for a peer, without waiting."""

    async def send_blocks(self, peer_id: str, blocks: Sequence[tuple[bytes, bytes]]) -> None:
        """Return when they are written; PeerGone if they cannot be."""

    def report(self, peer_id: str, code: str) -> None: ...


class _Rates:
    """What one peer may do that costs us, and is of no use to it."""

    def __init__(self, limits: BitswapLimits) -> None:
        self.idle_cancels = Bucket(limits.idle_cancels_per_s, limits.idle_cancels_burst)
        self.foreign_wants = Bucket(limits.foreign_wants_per_s, limits.foreign_wants_burst)


class BlockServer:
    def __init__(
        self,
        store: BlockStore,
        ledgers: Ledgers,
        line: Line,
        limits: BitswapLimits,
        counters: Counter[str],
    ) -> None:
        self._store = store
        self._ledgers = ledgers
        self._line = line
        self._limits = limits
        self._counters = counters
        self._rates: dict[str, _Rates] = {}
        self._work = trio.Event()

    async def run(self) -> None:
        """Send what is wanted, until cancelled."""
        async with trio.open_nursery() as nursery:
            for _ in range(self._limits.senders):
                nursery.start_soon(self._send_on)
            nursery.start_soon(self._look_again)

    def leave(self, peer_id: str) -> None:
        """The peer is gone."""
        self._ledgers.leave(peer_id)
        self._rates.pop(peer_id, None)

    # Wants ---------------------------------------------------------------------------------------------

    async def take(self, peer_id: str, wants: Sequence[Want], *, full: bool) -> None:
        """A wantlist of `peer_id`; `full`: it replaces what was wanted before."""
        if full:
            self._ledgers.leave(peer_id)
        rates = self._rates.setdefault(peer_id, _Rates(self._limits))
        for start in range(0, len(wants), _SLICE_ENTRIES):
            have: list[bytes] = []
            dont_have: list[bytes] = []
            for want in wants[start : start + _SLICE_ENTRIES]:
                if want.cancel:
                    if not self._ledgers.cancel(peer_id, want.cid) and not rates.idle_cancels.try_take():
                        self._charge(peer_id, "cancel-flood")
                        return
                elif not is_cid(want.cid):
                    self._counters[f"refused-{why_not_served(want.cid)}"] += 1
                    if not rates.foreign_wants.try_take():
                        self._charge(peer_id, "foreign-wants")
                        return
                    if want.send_dont_have:
                        dont_have.append(want.cid)
                else:
                    self._take_want(peer_id, want, have, dont_have)
            if have or dont_have:
                self._line.tell(peer_id, have, dont_have)
            self._work.set()
            await trio.lowlevel.checkpoint()

    def _take_want(self, peer_id: str, want: Want, have: list[bytes], dont_have: list[bytes]) -> None:
        here = self._store.has(want.cid)
        if not here:
            if not self._ledgers.wait(peer_id, want.cid, have_only=want.have_only):
                self._counters["refused-wants-beyond-limit"] += 1
            if want.send_dont_have:
                dont_have.append(want.cid)
        elif want.have_only and not self._is_small(want.cid):
            have.append(want.cid)
        elif not self._ledgers.want(peer_id, want.cid):
            self._counters["refused-wants-beyond-limit"] += 1
            if want.send_dont_have:
                dont_have.append(want.cid)

    def _is_small(self, cid: bytes) -> bool:
        block = self._store.get(cid)
        return block is not None and len(block) <= self._limits.replace_have_bytes

    def _charge(self, peer_id: str, code: str) -> None:
        self._counters[code] += 1
        self._line.report(peer_id, code)

    async def _look_again(self) -> None:
        """What was wanted and not here may have come. A few of each peer at a time, oldest first."""
        while True:
            await trio.sleep(self._limits.recheck_interval_s)
            for peer_id, ledger in list(self._ledgers):
                have = []
                for cid in list(ledger.waiting)[: self._limits.recheck_count]:
                    have_only = ledger.waiting.pop(cid)
                    if not self._store.has(cid):
                        ledger.waiting[cid] = have_only  # last in line
                    elif have_only and not self._is_small(cid):
                        have.append(cid)
                    else:
                        self._ledgers.want(peer_id, cid)
                        self._work.set()
                if have:
                    self._line.tell(peer_id, have, ())
                if ledger.waiting:
                    await trio.lowlevel.checkpoint()

    # Sending -------------------------------------------------------------------------------------------

    async def _send_on(self) -> None:
        while True:
            peer_id = self._ledgers.next()
            if peer_id is None:
                self._work = trio.Event() if self._work.is_set() else self._work
                await self._work.wait()
                continue
            await self._serve_turn(peer_id)

    async def _serve_turn(self, peer_id: str) -> None:
        """One message of blocks to one peer. No other is on its way to it meanwhile."""
        ledger = self._ledgers.of(peer_id)
        ledger.busy = True
        blocks: list[tuple[bytes, bytes]] = []
        size = 0
        lost: list[bytes] = []
        try:
            while ledger.ready and size < self._limits.message_target_bytes:
                cid, _ = ledger.ready.popitem(last=False)
                block = self._store.get(cid)
                if block is None:
                    lost.append(cid)
                    continue
                if blocks and size + len(block) > self._limits.message_target_bytes:
                    ledger.ready[cid] = None
                    ledger.ready.move_to_end(cid, last=False)
                    break
                blocks.append((cid, block))
                size += len(block)
            if lost:
                self._line.tell(peer_id, (), lost)
            if blocks:
                self._ledgers.sent(peer_id, len(blocks), size)
                with trio.fail_after(self._limits.send_timeout_s):
                    await self._line.send_blocks(peer_id, blocks)
        except trio.TooSlowError:
            self._ledgers.leave(peer_id)
            self._charge(peer_id, "reads-nothing")
        except PeerGone as error:
            self._ledgers.leave(peer_id)
            log.debug("blocks not sent: %s", error)
        finally:
            ledger.busy = False
            self._work.set()
