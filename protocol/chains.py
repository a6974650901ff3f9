"""The hash chains of authors: which batch continues which, what is missing, who equivocates."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from swarmd.protocol import limits
from swarmd.protocol.batch import GENESIS_PREV, Batch
from swarmd.protocol.faults import RemoteFault

Chain = tuple[str, int, int]  # (author, epoch, bucket)
CLOSED = "closed-chain"  # the code of a fault that nobody is charged for


@dataclass(frozen=True, slots=True)
class Head:
    """The last batch of a chain: its seq and hash, the highest lamport and last ts_ns of its envelopes."""

    seq: int
    hash: bytes
    lamport: int
    ts_ns: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Batches `first`..`last` of a chain are missing."""

    chain: Chain
    first: int
    last: int


def chain_of(batch: Batch) -> Chain:
    return (batch.author, batch.epoch, batch.bucket)


def is_over(over: Mapping[str, int], chain: Chain) -> bool:
    """Is a chain closed? `over`: author -> the last epoch whose chains are (adr/0043)."""
    return chain[1] <= over.get(chain[0], -1)


def _follows(batch: Batch, before: Batch) -> bool:
    """Would `batch` be taken right after `before`? What came early is held to the rules of what comes in order."""
    first, last = batch.envelopes[0], before.envelopes[-1]
    return batch.prev == before.hash and first.ts_ns >= last.ts_ns and first.lamport > last.lamport


def _check_clock(batch: Batch, head: Head | None, now_ns: int, lamport: int) -> None:
    """RemoteFault `future-dated`, `lamport-jump` or `not-monotonic`."""
    continues = head is not None and batch.seq == head.seq + 1
    ts_ns, last = (head.ts_ns, head.lamport) if head is not None and continues else (0, 0)
    latest_ns, highest = now_ns + limits.MAX_FUTURE_NS, lamport + limits.MAX_LAMPORT_JUMP
    for envelope in batch.envelopes:
        if envelope.ts_ns > latest_ns:
            raise RemoteFault("future-dated", f"{(envelope.ts_ns - now_ns) / 1e9:.1f} s ahead of us")
        if envelope.lamport > highest:
            raise RemoteFault("lamport-jump", f"{envelope.lamport} while we are at {lamport}")
        if envelope.ts_ns < ts_ns or envelope.lamport <= last:
            raise RemoteFault("not-monotonic", "time or lamport goes back within a chain")
        ts_ns, last = envelope.ts_ns, envelope.lamport


class Chains:
    """Heads of all chains, and batches that arrived before their predecessors (bounded per author)."""

    def __init__(self) -> None:
        self.heads: dict[Chain, Head] = {}
        self._over: Mapping[str, int] = {}
        self._early: dict[Chain, dict[int, Batch]] = {}
        self._early_count: dict[str, int] = {}
        self._dirty: set[int] = set(range(limits.BUCKETS))
        self._roots: list[bytes] = [b""] * limits.BUCKETS
        self._by_bucket: dict[int, dict[Chain, Head]] = {}
        self._sorted: dict[int, list[Chain]] = {}  # of buckets that no chain came to since

    def next_of(self, chain: Chain) -> tuple[int, bytes]:
        """(seq, prev) of the next batch of a chain."""
        head = self.heads.get(chain)
        return (head.seq + 1, head.hash) if head else (0, GENESIS_PREV)

    def accept(self, batch: Batch) -> None:
        """Make `batch`, which continues its chain, the head."""
        last = batch.envelopes[-1]
        chain = chain_of(batch)
        self.restore(chain, Head(batch.seq, batch.hash, last.lamport, last.ts_ns))

    def restore(self, chain: Chain, head: Head) -> None:
        bucket = chain[2]
        if chain not in self.heads:
            self._sorted.pop(bucket, None)
        self.heads[chain] = head
        self._by_bucket.setdefault(bucket, {})[chain] = head
        self._dirty.add(bucket)

    def close(self, over: Mapping[str, int]) -> None:
        """Let go of the chains that a checkpoint closed, for good: author -> the last epoch whose chains are."""
        self._over = over
        for chain in [chain for chain in self.heads if is_over(over, chain)]:
            bucket = chain[2]
            del self.heads[chain]
            del self._by_bucket[bucket][chain]
            self._sorted.pop(bucket, None)
            self._dirty.add(bucket)
        for chain in [chain for chain in self._early if is_over(over, chain)]:
            self._early_count[chain[0]] -= len(self._early.pop(chain))

    def is_over(self, chain: Chain) -> bool:
        return is_over(self._over, chain)

    def order(self, batch: Batch, now_ns: int, lamport: int) -> tuple[list[Batch], Gap | None]:
        """What `batch` (not known yet) lets us admit, in order; and the gap before it, if it came early.

        RemoteFault if it breaks the chain's rules or the clock's; the caller has sorted out duplicates.
        """
        chain = chain_of(batch)
        if self.is_over(chain):
            raise RemoteFault(CLOSED, f"a checkpoint has closed epoch {batch.epoch} of {batch.author}")
        head = self.heads.get(chain)
        _check_clock(batch, head, now_ns, lamport)
        seq, prev = (head.seq + 1, head.hash) if head is not None else (0, GENESIS_PREV)
        if batch.seq < seq:
            raise RemoteFault("equivocation", f"two batches with seq {batch.seq} in one chain")
        if batch.seq > seq:
            self._keep(chain, batch)
            known = min(early for early in self._early[chain] if early > seq)
            return [], Gap(chain, seq, known - 1)
        if batch.prev != prev:
            raise RemoteFault("broken-chain", f"batch {batch.seq} does not continue the chain we know")
        ready = [batch]
        early = self._early.get(chain)
        while early and (follower := early.pop(ready[-1].seq + 1, None)) is not None:
            self._early_count[chain[0]] -= 1
            if not _follows(follower, ready[-1]):
                break  # it belongs to a fork, or goes back in time; sync brings the one that continues this chain
            ready.append(follower)
        if early is not None and not early:
            del self._early[chain]
        return ready, None

    def _keep(self, chain: Chain, batch: Batch) -> None:
        count = self._early_count.get(chain[0], 0)
        if count >= limits.MAX_PARKED_PER_AUTHOR:
            raise RemoteFault("too-many-early", f"{count} batches of {chain[0]} wait for predecessors")
        early = self._early.setdefault(chain, {})
        if batch.seq not in early:
            early[batch.seq] = batch
            self._early_count[chain[0]] = count + 1

    # Summaries for sync --------------------------------------------------------------------------------

    def bucket_roots(self) -> list[bytes]:
        """256 hashes of 32 bytes, each over the heads of a bucket's chains: equal iff the chains are."""
        for bucket in self._dirty:
            digest = sha256(b"swarmd/bucket/1\0")
            for chain, head in self._in_order(bucket):
                digest.update(f"{chain[0]}\0{chain[1]}\0{head.seq}\0".encode() + head.hash)
            self._roots[bucket] = digest.digest()
        self._dirty.clear()
        return list(self._roots)

    def vector(self, bucket: int) -> Iterator[tuple[Chain, int]]:
        """(chain, last seq) of every chain of a bucket."""
        return ((chain, head.seq) for chain, head in self._in_order(bucket))

    def _in_order(self, bucket: int) -> Iterator[tuple[Chain, Head]]:
        heads = self._by_bucket.get(bucket)
        if not heads:
            return iter(())
        order = self._sorted.get(bucket)
        if order is None:
            order = self._sorted[bucket] = sorted(heads)
        return ((chain, heads[chain]) for chain in order)
