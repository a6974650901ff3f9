"""From bytes of a peer to batches that continue their chains: size, decoding, signature, clock, chain.

Everything wrong is the peer's fault and a RemoteFault; nothing here changes the engine's state.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swarmd.node.codec import BatchKey
from swarmd.node.journal import Journal
from swarmd.protocol import limits
from swarmd.protocol.batch import (
    FRAME_FLUSH,
    Batch,
    batch_to_list,
    parse_flush,
    parse_sealed,
)
from swarmd.protocol.cbor import decode
from swarmd.protocol.chains import CLOSED, Chain, Chains, Gap, Head, chain_of
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.identity.manifest import FRAME_MANIFEST, Manifest, parse_manifest

# How far ahead of what we have of its chain a batch may be to be kept until the gap before it is filled.
MAX_AHEAD = 1_024


@dataclass(slots=True)
class Parsed:
    """A well-formed, signed frame: batches of one author, or a manifest."""

    batches: list[Batch] = field(default_factory=list)
    manifest: Manifest | None = None


@dataclass(slots=True)
class Arrived:
    """What can be admitted now, in order, and what is missing before the rest.

    `faults` are of authors, not of the peer that passed their batches on: [(did, fault)].
    """

    batches: list[Batch] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    faults: list[tuple[str, RemoteFault]] = field(default_factory=list)


class Ingress:
    """`faults` counts refusals by code, `duplicates` batches that were known already."""

    def __init__(self, mesh_id: bytes, me: str, chains: Chains, journal: Journal) -> None:
        self._mesh_id = mesh_id
        self._me = me
        self._chains = chains
        self._journal = journal
        self.faults: Counter[str] = Counter()
        self.duplicates = 0

    def follow(self, chains: Chains) -> None:
        """Go on with chains that were restored from the journal; the counters stay."""
        self._chains = chains

    def parse(self, frame: bytes, now_ns: int) -> Parsed:
        """A gossiped frame. RemoteFault if it is none: who passes such a thing on has not looked at it."""
        try:
            if len(frame) > limits.MAX_FLUSH_BYTES + 65_536:
                raise RemoteFault("frame-too-big", f"{len(frame)} bytes")
            value = decode(frame)
            kind = value[0] if type(value) is list and value else None
            if kind == FRAME_FLUSH and type(kind) is int:
                return Parsed(batches=parse_flush(self._mesh_id, value))
            if kind == FRAME_MANIFEST and type(kind) is int:
                manifest = parse_manifest(self._mesh_id, value)
                if manifest.issued_ns > now_ns + limits.MAX_FUTURE_NS:
                    raise RemoteFault("future-dated", "a manifest from the future")
                return Parsed(manifest=manifest)
            raise RemoteFault("unknown-frame", f"frame type {str(kind)[:32]}")
        except RemoteFault as fault:
            self.faults[fault.code] += 1
            raise

    def parse_synced(self, bodies: Sequence[Any]) -> list[Batch]:
        """Batches of a sync answer, each with its seal; RemoteFault if one is none."""
        verified: set[bytes] = set()
        try:
            return [parse_sealed(self._mesh_id, body, verified) for body in bodies]
        except RemoteFault as fault:
            self.faults[fault.code] += 1
            raise

    def order(
        self, batches: Iterable[Batch], now_ns: int, lamport: int, waiting: Mapping[str, int]
    ) -> Arrived:
        """Sort out duplicates, gaps and forks. The caller journals `batches` of the answer in this turn.

        `waiting`: author -> how many of its envelopes wait for what they refer to. Over the bound its next
        batches are left out, before they count as known: sync brings them when others have caught up.
        """
        arrived = Arrived()
        # Not in the journal yet. What came early fills in behind a gap, and may be in the very answer that closes it.
        new: dict[BatchKey, Batch] = {}
        for batch in batches:
            if waiting.get(batch.author, 0) >= limits.MAX_PARKED_PER_AUTHOR:
                self.faults["too-many-parked"] += 1
                continue
            try:
                self._order_one(batch, now_ns, lamport, arrived, new)
            except RemoteFault as fault:
                self.faults[fault.code] += 1
                # Of a closed chain: most had come before, and the rest may be an honest author's, on its way for long.
                if fault.code != CLOSED:
                    arrived.faults.append((batch.author, fault))
        return arrived

    def _order_one(
        self, batch: Batch, now_ns: int, lamport: int, arrived: Arrived, new: dict[BatchKey, Batch]
    ) -> None:
        chain = chain_of(batch)
        head = self._chains.heads.get(chain)
        if head is not None and batch.seq <= head.seq:
            self._check_same(chain, head, batch, new)
            self.duplicates += 1
            return
        next_seq = head.seq + 1 if head is not None else 0
        if batch.seq - next_seq > MAX_AHEAD and not self._chains.is_over(chain):
            # We were away, or its author makes seqs up: not worth keeping, sync brings what there is in order.
            arrived.gaps.append(Gap(chain, next_seq, next_seq + MAX_AHEAD - 1))
            return
        ready, gap = self._chains.order(batch, now_ns, lamport)
        for follower in ready:
            # Accepted at once, so that the next batch of this frame can follow it. The runner journals it
            # in this very turn or, if the turn fails, restores the chains from the journal.
            self._chains.accept(follower)
            new[(*chain, follower.seq)] = follower
        arrived.batches.extend(ready)
        if gap is not None:
            arrived.gaps.append(gap)

    def _check_same(self, chain: Chain, head: Head, batch: Batch, new: Mapping[BatchKey, Batch]) -> None:
        """It is on record, or among the `new` that will be: a different one with its seq convicts its author."""
        if batch.seq == head.seq and batch.hash == head.hash:
            return
        key = (*chain, batch.seq)
        first = new.get(key)
        known = first.hash if first is not None else self._journal.batch_hash(key)
        if known in (batch.hash, None):
            return  # None: it is part of a chain that we hold, so there is nothing to hold against its author
        if batch.author == self._me:
            raise RemoteFault("equivocation", f"another batch {batch.seq} of a chain of ours")
        raise Equivocation(first or self._journal.batch(key), batch)


class Equivocation(RemoteFault):
    """Two signed batches with one seq: proof against their author that anybody can verify."""

    def __init__(self, first: Batch, second: Batch) -> None:
        super().__init__("equivocation", f"{first.author} signed two batches with seq {first.seq}")
        self.author = first.author
        self.record = [batch_to_list(first), batch_to_list(second)]
